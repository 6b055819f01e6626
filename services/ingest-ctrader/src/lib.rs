//! The cTrader Open API as a venue: its framing, its messages, and what a session of it says and hears.
//!
//! Floor 3: knows this one venue. When to connect, what is wanted and how events reach the bus is
//! [`tickcast_ingest`]'s; there is no socket, clock or task in this crate.

mod config;
mod entry;
mod frame;
mod instruments;
mod listing;
mod login;
mod memory;
mod messages;
mod outgoing;
mod pace;
mod refusal;
mod renewal;
mod requests;
mod session;
mod subscriptions;
mod tokens;

pub use config::Config;
pub use frame::FrameReader;
pub use memory::Memory;
pub use session::{CtraderSession, SessionSettings};
pub use tokens::{TokenFileError, TokenPair};
