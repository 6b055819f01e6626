//! The cTrader venue in a box: what the real one does when all is well, and faults on demand.
//!
//! Floor 4, for tests and for trying things out; nothing of Tickcast depends on it. The pure half ([`Venue`]) takes
//! bytes and the time and returns bytes and endings; it has no socket, no clock and no task. The thin shell around it
//! is [`serve`].
//!
//! Facts numbers in comments point into the collected facts about the venue (section 7 lists what a simulator does).
//! Depth of market, conversion chains and trading are refused with `UNSUPPORTED_MESSAGE`; history answers from what
//! the walks have told since the start.

mod bars;
mod catalogue;
mod class;
mod connection;
mod desk;
mod fault;
mod frame;
mod grants;
mod history;
mod hours;
mod limits;
mod login;
mod loss;
mod market;
mod message;
mod mishap;
mod outcome;
mod outgoing;
mod player;
mod quotes;
mod recording;
mod reference;
mod scenario;
mod settings;
mod shell;
mod venue;

/// The venue's messages as generated from `proto/ctrader`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
}

pub use catalogue::{Catalogue, Listing, SYMBOLS_MAX};
pub use class::Class;
pub use connection::Sent;
pub use fault::{FAULTS, Fault, FaultRow, FaultSet, FaultSpec};
pub use frame::{FrameDecoder, FrameError, put_frame};
pub use market::Quote;
pub use message::{PAYLOADS, Payload};
pub use outcome::{Counters, Ending, Output, Reason};
pub use recording::{Recording, RecordingError};
pub use scenario::{Scenario, ScenarioError};
pub use settings::{Account, ExpiredAnswer, Grant, RateAnswer, VenueSettings};
pub use shell::{ServerSettings, ShellError, serve};
pub use sim_kit::fault::{Kind, Lasting, Param, ParamRow, SpecError};
pub use sim_kit::{ConnectionId, Now, ReasonKind, SimulatedVenue};
pub use venue::Venue;

/// Prices travel as integers: price x this, whatever the digits of the symbol (facts 3.6).
pub const PRICE_UNITS: u64 = 100_000;

/// What the venue's files were compiled to, as an encoded `FileDescriptorSet`, for comparing with official ones.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ctrader.fds"));
