//! A load tool for the gateway: thousands of light WebSocket clients in one process, what they saw, and what it cost
//! the server.
//!
//! A thread owns all its connections: one poll, one read buffer, and for each client a socket and a cursor for each of
//! its symbols, so the tool's own weight stays out of the figures. It asks for nothing but ticks. Beside it stands
//! [`feed`], which plays an ingest on the bus for loads beyond what a venue gives. Floor 4: it knows the public protocol
//! (contract section 2) and nothing of the gateway's code.

mod ask;
mod audit;
mod client;
mod compact;
mod error;
pub mod feed;
mod frame;
mod handshake;
mod link;
mod nats;
mod parts;
pub mod picture;
mod process;
mod progress;
mod pusher;
mod report;
mod run;
mod samples;
mod scan;
mod settings;
mod symbols;
mod tally;
mod worker;

pub use audit::{Audit, Channel, Findings};
pub use compact::{CompactError, CompactReader, CompactTick};
pub use error::LoadError;
pub use frame::{FrameReader, MESSAGE_BYTES_MAX, Message, binary_frame, close_frame, pong_frame, text_frame};
pub use handshake::{Answer, Target, upgrade_answer};
pub use nats::{NatsEvent, NatsReader, nats_greeting};
pub use process::{ServerCost, ServerUse};
pub use pusher::{PusherEvent, PusherReader, pusher_pong, pusher_subscriptions};
pub use report::{Latency, OwnCost, Report, SliceReport};
pub use run::{run, run_part};
pub use samples::{Samples, growth, read_samples};
pub use scan::{Scanned, TickFields, scan};
pub use settings::{Arguments, CLIENTS_MAX, Protocol, SECONDS_MAX, Settings, Wanted};
pub use tally::Span;
