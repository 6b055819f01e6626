//! The values every part of Tickcast speaks in.
//!
//! Floor 0: the standard library only. Nothing here does input or output, reads a clock or knows a venue.

mod cause;
mod decimal;
mod details;
mod event;
mod health;
mod hop;
mod instrument;
mod lease;
mod symbol;
mod venue;

pub use cause::{Cause, CauseKind};
pub use decimal::{Decimal, Price};
pub use details::{Details, Phase};
pub use event::{Body, ChannelEvent, Position, StateChange, SymbolState, Tick};
pub use health::{AuthState, DataState, LinkState, VenueHealth};
pub use hop::Hop;
pub use instrument::{Catalogue, Instrument};
pub use lease::Lease;
pub use symbol::Symbol;
pub use venue::VenueId;
