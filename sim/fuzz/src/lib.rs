//! Everything that reads what a stranger sent, driven by bytes that are read as a sequence of operations.
//!
//! A target is a function from bytes to nothing that panics where a promise is broken, so that any fuzzer can drive it:
//! `tests/replay.rs` replays the corpus and mutations of it in `./check`; `fuzz-one` runs a single input and shrinks it.
//! Every input means something, and the same input always does the same. Floor 5.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a harness of tests: it fails by panicking")]

mod browser;
mod bus;
mod frames;
mod input;
mod session;
mod supervisor;
mod tradingview;

/// A target: does what the bytes say.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its directory in the corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("frames", frames::frames),
    ("session", session::session),
    ("tradingview_stream", tradingview::stream),
    ("tradingview_session", tradingview::session),
    ("supervisor", supervisor::supervisor),
    ("browser_frames", browser::frames),
    ("browser_session", browser::session),
    ("bus_messages", bus::messages),
    ("bus_ticks", bus::ticks),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
