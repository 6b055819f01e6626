//! The TradingView data socket in a box: what the real one does when all is well, and faults on demand.
//!
//! Floor 4, for tests and for trying things out; nothing of Tickcast depends on it. The pure half ([`Venue`]) takes
//! WebSocket messages and the time and returns messages and endings; it has no socket, no clock and no task. The thin
//! shell around it is [`serve`].
//!
//! Facts numbers in comments point into the collected facts about the venue (section 8 lists what a simulator does).

mod calendar;
mod catalogue;
mod chart_session;
mod charts;
mod connection;
mod desk;
mod fault;
mod fields;
mod frame;
mod market;
mod mishap;
mod outcome;
mod quotes;
mod request;
mod say;
mod script;
mod settings;
mod shell;
mod value;
mod venue;
mod websocket;
mod wired;

pub use catalogue::{Catalogue, Instrument, SYMBOLS_MAX};
pub use fault::{FAULTS, Fault, FaultRow, FaultSet, FaultSpec};
pub use frame::{FrameError, Payloads, payloads, put_frame, utf16_len};
pub use market::Quote;
pub use outcome::{Counters, Ending, Message, Output, Reason, Refusal};
pub use request::METHODS;
pub use script::{SCRIPT_LINES_MAX, Script, ScriptError};
pub use settings::{ANONYMOUS_TOKEN, VenueSettings};
pub use shell::{ServerSettings, ShellError, serve};
pub use sim_kit::fault::{Kind, Lasting, Param, ParamRow, SpecError};
pub use sim_kit::{ConnectionId, Now, ReasonKind, SimulatedVenue};
pub use venue::Venue;
pub use websocket::client_texts;
pub use wired::{LineId, Wired, WiredOutput};
