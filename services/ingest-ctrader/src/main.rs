//! Holds the connection to cTrader and publishes its quotes and health to the bus.

use std::process::ExitCode;

use ingest_ctrader::{Config, CtraderSession};
use tickcast_ingest::TlsDialler;
use tickcast_model::VenueId;
use tickcast_service::{About, Context};

fn main() -> ExitCode {
    let about = About {
        name: "ingest-ctrader",
        version: env!("CARGO_PKG_VERSION"),
        purpose: "Holds the connection to the cTrader Open API and publishes its quotes and health to NATS.",
        admin_default: "127.0.0.1:0",
    };
    tickcast_service::main(about, Config::read, run)
}

async fn run(config: Config, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let venue = VenueId::new("ctrader").ok_or("the venue has no name")?;
    let dialler = TlsDialler::new(&config.host, config.port, config.ca_file.as_deref())?;
    let session = config.session;
    let new_session = move || CtraderSession::new(session.clone());
    tickcast_ingest::run(venue, config.ingest, dialler, new_session, None, context).await?;
    Ok(())
}
