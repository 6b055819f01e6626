//! The gateway as a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    let about = tickcast_service::About {
        name: "ws-gateway",
        version: env!("CARGO_PKG_VERSION"),
        purpose: "Serves browsers: live ticks and venue health over WebSocket.",
        admin_default: "127.0.0.1:0",
    };
    tickcast_service::main(about, ws_gateway::Config::read, ws_gateway::run)
}
