//! The TradingView data socket in a box: what the real one does when all is well, and faults on demand.
//!
//! Floor 4, for tests and for trying things out; nothing of Tickcast depends on it. The pure half ([`Venue`]) takes
//! WebSocket messages and the time and returns messages and endings; it has no socket, no clock and no task. The thin
//! shell around it is [`serve`].
//!
//! Facts numbers in comments point into the collected facts about the venue (section 8 lists what a simulator does).

mod catalogue;
mod chart_session;
mod charts;
mod connection;
mod connection_id;
mod desk;
mod fault;
mod fault_spec;
mod faults;
mod fields;
mod frame;
mod market;
mod mishap;
mod outcome;
mod param;
mod quotes;
mod request;
mod say;
mod script;
mod settings;
mod shell;
mod value;
mod venue;

use std::time::Duration;

pub use catalogue::{Catalogue, Instrument, SYMBOLS_MAX};
pub use connection_id::ConnectionId;
pub use fault::{FAULTS, Fault, FaultRow, FaultSet, Lasting};
pub use fault_spec::{FaultSpec, SpecError};
pub use frame::{FrameError, Payloads, payloads, put_frame, utf16_len};
pub use market::Quote;
pub use outcome::{Counters, Ending, Message, Output, Reason, Refusal};
pub use param::{Kind, Param, ParamRow};
pub use request::METHODS;
pub use script::{SCRIPT_LINES_MAX, Script, ScriptError};
pub use settings::{ANONYMOUS_TOKEN, VenueSettings};
pub use shell::{ServerSettings, ShellError, serve};
pub use venue::Venue;

/// A reading of both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Time since a start of the caller's choice; never goes back.
    pub elapsed: Duration,
    /// Wall clock, Unix milliseconds; what quotes are stamped with.
    pub unix_ms: i64,
}
