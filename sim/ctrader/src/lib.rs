//! The cTrader venue in a box.

/// The venue's messages as generated from `proto/ctrader`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
}
