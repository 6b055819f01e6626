//! Runs the cTrader venue in a box as a process.

use std::process::ExitCode;

use sim_ctrader::{ServerSettings, serve};
use tickcast_service::About;

fn main() -> ExitCode {
    let about = About {
        name: "sim-ctrader",
        version: env!("CARGO_PKG_VERSION"),
        purpose: "The cTrader venue in a box: quotes from a random walk, and faults switched on the admin port.",
        admin_default: "127.0.0.1:5080",
    };
    tickcast_service::main(about, ServerSettings::read, |settings, context| async move {
        Ok(serve(settings, context).await?)
    })
}
