//! Runs the TradingView data socket in a box as a process.

use std::process::ExitCode;

use sim_tradingview::{ServerSettings, serve};
use tickcast_service::About;

fn main() -> ExitCode {
    let about = About {
        name: "sim-tradingview",
        version: env!("CARGO_PKG_VERSION"),
        purpose: "The TradingView data socket in a box: quotes from a random walk, and faults switched on the admin port.",
        admin_default: "127.0.0.1:5081",
    };
    tickcast_service::main(about, ServerSettings::read, |settings, context| async move {
        Ok(serve(settings, context).await?)
    })
}
