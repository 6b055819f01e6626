//! The cTrader Open API as a venue: its framing, its messages, and what a session of it says and hears.
//!
//! Floor 3: knows this one venue. When to connect, what is wanted and how events reach the bus is
//! [`tickcast_ingest`]'s; there is no socket, clock or task in this crate.

mod config;
mod frame;
mod instruments;
mod messages;
mod refusal;
mod requests;
mod session;

pub use config::Config;
pub use session::{CtraderSession, SessionSettings};
