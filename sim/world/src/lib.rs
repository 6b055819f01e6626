//! A whole feed in virtual time: the venue, the network, ingest processes, the bus and those who want prices.
//!
//! No socket, no clock, no sleep: the time goes from one thing that happens to the next, so a week passes in a second,
//! and a seed gives the same life each time. [`World`] asserts at every step what has to be true at all times; a broken
//! promise panics with the seed that replays it. Floor 5.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a harness of tests: it fails by panicking"
)]

mod ctrader;
mod lead;
mod life;
mod measure;
mod meter;
mod node;
mod receiver;
mod store;
mod strike;
mod tradingview;
mod trouble;
mod tuning;
mod venue;
mod wire;
mod world;

pub use ctrader::Ctrader;
pub use life::{Kind, Tally, live};
pub use measure::{RUNS, Times, measure, page};
pub use tradingview::TradingView;
pub use trouble::{Bound, Case, Trouble};
pub use tuning::Tuning;
pub use venue::{Disk, Door, Meter, Output, Venue};
pub use world::World;
