//! Starts the whole system as real processes on free ports and looks at it from outside, as its users do.
//!
//! Nothing here knows the code of the services: only their settings, pages, logs and the public protocol. Every wait has
//! a deadline and says what was there instead when it fails; every process dies with its test. Floor 5.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness of tests: it fails by panicking"
)]

mod client;
mod collector;
mod http;
mod nats;
mod place;
mod process;
mod scene;
mod spine;
mod venue;
mod wait;

pub use client::{Client, tick_numbers};
pub use collector::{Collector, ExportedSpan};
pub use http::{fetch, fetch_json};
pub use nats::{LEASE_KEYS, Nats};
pub use place::{Place, binary};
pub use process::{Process, Signal};
pub use scene::{axes, cause_code};
pub use spine::{Feed, Gateway, Ingest, Setup, Sim, Spine, Variables};
pub use venue::{SECRETS, Venue};
pub use wait::{DEADLINE, eventually, within};
