//! A TradingView data socket as a venue: its framing, its messages, and what a session of it says and hears.
//!
//! Floor 3: knows this one venue. When to connect, what is wanted and how events reach the bus is
//! [`tickcast_ingest`]'s; there is no socket, clock or task in this crate, for its WebSocket is spoken over bytes.
//!
//! The protocol is unofficial and the vendor's terms forbid its use without permission, so nothing here dials the vendor
//! unless the operator has said that he has it (`TRADINGVIEW_LIVE`).

mod blame;
mod board;
mod config;
mod entry;
mod frame;
mod healing;
mod limit;
mod memory;
mod message;
mod number;
mod quote;
mod session;
mod socket;

pub use board::Limits;
pub use config::{Config, Endpoint, read_token};
pub use memory::Memory;
pub use session::{SessionSettings, TradingViewSession};
