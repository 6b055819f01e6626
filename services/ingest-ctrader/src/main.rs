//! Holds the connection to cTrader and publishes its quotes and health to the bus.

use std::path::Path;
use std::process::ExitCode;

use ingest_ctrader::{Config, CtraderSession, Memory, SessionSettings};
use tickcast_ingest::{Names, Patient, TlsDialler, Upstream, read_kept};
use tickcast_model::{Symbol, VenueId};
use tickcast_service::{About, Context, Examiner};
use tickcast_session::DialPace;
use tracing::{info, warn};

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
    let upstream = Upstream {
        venue,
        account: session.account_id.to_string(),
        application: session.client_id.clone(),
        dials: DialPace::unlimited(),
        keep_file: config.token_file.clone(),
    };
    let token_file = config.token_file;
    let new_session = move || {
        // Another instance may have renewed the tokens since, or a person put new ones there.
        if let Some(file) = &token_file {
            reload(&session.memory, file);
        }
        CtraderSession::new(session.clone())
    };
    tickcast_ingest::run(upstream, config.ingest, dialler, new_session, context).await?;
    Ok(())
}

/// `--doctor`
async fn examine(config: Config, examiner: Examiner) {
    let Some(venue) = VenueId::new("ctrader") else { return };
    // Looking changes nothing: a refresh token works once, and nobody would keep what it is traded for.
    let memory = config.session.memory.never_renewed();
    let session = SessionSettings { memory, ..config.session };
    let patient = Patient {
        venue,
        dialler: TlsDialler::new(&config.host, config.port, config.ca_file.as_deref()),
        settings: config.ingest,
        session: CtraderSession::new(session),
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

/// Takes the tokens of the file where they are newer than those at hand.
fn reload(memory: &Memory, file: &Path) {
    match read_kept(file).map(|text| text.map(|text| memory.load(text.expose()))) {
        Ok(None | Some(Ok(false))) => {}
        Ok(Some(Ok(true))) => info!(file = %file.display(), "newer tokens taken from the token file"),
        Ok(Some(Err(error))) => warn!(file = %file.display(), %error, "token file not usable"),
        Err(error) => warn!(file = %file.display(), %error, "token file not readable"),
    }
}
