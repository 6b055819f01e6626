//! The decisions of an upstream connection as pure code.
//!
//! Floor 1: bytes, wanted sets and a clock reading go in, actions come out. Nothing here owns a socket, reads a clock,
//! sleeps or knows the bus; tokio is not in this crate's manifest, so it cannot. A venue adds its protocol by
//! implementing [`Session`]; everything about *when* to dial, give up, wait and tell is [`Supervisor`]'s. Whether this process
//! is the one that may is [`Leadership`]'s.

mod agenda;
mod backoff;
mod bucket;
mod demand;
mod ending;
mod freshness;
mod hours;
mod leader;
mod ledger;
mod now;
mod pace;
mod pulse;
mod secret;
mod session;
mod standing;
mod supervisor;

pub use backoff::Backoff;
pub use bucket::TokenBucket;
pub use demand::{DemandLimits, DemandNote, DemandTable};
pub use ending::{Ending, Retry};
pub use freshness::Freshness;
pub use hours::{Holiday, HoursError, HoursState, MarketHours};
pub use leader::{
    Claim, Leadership, LeadershipAction, LeadershipSettings, LeaseAnswer, LeaseEntry, StepDown,
};
pub use ledger::Ledger;
pub use now::Now;
pub use pace::{DialPace, Pace};
pub use secret::Secret;
pub use session::{Note, Session, SessionOutput};
pub use standing::Standing;
pub use supervisor::{Action, Supervisor, SupervisorSettings};
