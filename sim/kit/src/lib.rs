//! What every venue in a box is made of, whatever the venue.
//!
//! The pure half is [`fault`] (faults as data: a venue gives its table) and [`SimulatedVenue`], a venue without a socket,
//! a clock or a task. [`shell`] is the process around one: the port, TLS, the admin pages, the metrics. What a venue says
//! and how it goes wrong stays with the venue.

pub mod fault;
pub mod shell;
#[cfg(feature = "testing")]
pub mod testing;

mod connection_id;
mod output;
mod venue;

use std::time::Duration;

pub use connection_id::ConnectionId;
pub use output::{EndingKind, Output, ReasonKind};
pub use venue::SimulatedVenue;

/// A reading of both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Time since a start of the caller's choice; never goes back.
    pub elapsed: Duration,
    /// Wall clock, Unix milliseconds; what quotes are stamped with.
    pub unix_ms: i64,
}
