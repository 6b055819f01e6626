//! A load tool for the gateway: thousands of light WebSocket clients in one process, what they saw, and what it cost
//! the server.
//!
//! Each connection is one task that holds no buffer while nothing is under way, so the tool's own weight stays out of
//! the figures. It never reconnects and never asks for anything but ticks. Floor 4: it knows the public protocol
//! (contract section 2) and nothing of the gateway's code.

mod audit;
mod client;
mod connection;
mod error;
mod frame;
mod handshake;
mod process;
mod report;
mod run;
mod scan;
mod settings;
mod tally;

pub use audit::{Audit, Findings};
pub use error::LoadError;
pub use frame::{FrameReader, MESSAGE_BYTES_MAX, Message, close_frame, pong_frame, text_frame};
pub use handshake::{Answer, Target};
pub use process::{ServerCost, ServerUse};
pub use report::{Latency, Report};
pub use run::run;
pub use scan::{Scanned, TickFields, scan};
pub use settings::{Arguments, CLIENTS_MAX, SECONDS_MAX, Settings, Wanted};
