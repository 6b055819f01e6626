//! Holds the connection to cTrader and publishes its quotes and health to the bus.

use std::process::ExitCode;

use ingest_ctrader::{Config, CtraderSession};
use tickcast_ingest::{Names, Patient, TlsDialler};
use tickcast_model::{Symbol, VenueId};
use tickcast_service::{About, Context, Examiner};

fn main() -> ExitCode {
    let about = About {
        name: "ingest-ctrader",
        version: env!("CARGO_PKG_VERSION"),
        purpose: "Holds the connection to the cTrader Open API and publishes its quotes and health to NATS.",
        admin_default: "127.0.0.1:0",
    };
    tickcast_service::main_with_doctor(about, Config::read, run, examine)
}

async fn run(config: Config, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let venue = VenueId::new("ctrader").ok_or("the venue has no name")?;
    let dialler = TlsDialler::new(&config.host, config.port, config.ca_file.as_deref())?;
    let session = config.session;
    let new_session = move || CtraderSession::new(session.clone());
    tickcast_ingest::run(venue, config.ingest, dialler, new_session, None, context).await?;
    Ok(())
}

/// `--doctor`
async fn examine(config: Config, examiner: Examiner) {
    let Some(venue) = VenueId::new("ctrader") else { return };
    let patient = Patient {
        venue,
        dialler: TlsDialler::new(&config.host, config.port, config.ca_file.as_deref()),
        settings: config.ingest,
        session: CtraderSession::new(config.session),
        names: Names {
            host: "CTRADER_HOST and CTRADER_PORT",
            ca_file: "CTRADER_CA_FILE",
            credentials: "CTRADER_CLIENT_ID, CTRADER_CLIENT_SECRET, CTRADER_ACCESS_TOKEN and CTRADER_ACCOUNT_ID",
        },
        // Nearly every broker has the first; the second trades at weekends too.
        favourites: ["EURUSD", "BTCUSD"].into_iter().filter_map(Symbol::new).collect(),
    };
    tickcast_ingest::doctor(patient, &examiner).await;
}
