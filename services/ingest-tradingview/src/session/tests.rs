mod failures;
mod limits;
mod peer;
mod quotes;
mod sequences;
mod subscriptions;

use peer::{Peer, settings};
