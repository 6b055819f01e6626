//! Holds the connection to a TradingView data socket and publishes its quotes and health to the bus.

use std::process::ExitCode;

use ingest_tradingview::{Config, TradingViewSession, read_token};
use tickcast_ingest::{IngestError, Names, Patient, TlsDialler, Upstream};
use tickcast_model::{Symbol, VenueId};
use tickcast_service::{About, Context, Examiner};
use tickcast_session::DialPace;
use tracing::warn;

fn main() -> ExitCode {
    let about = About {
        name: "ingest-tradingview",
        version: env!("CARGO_PKG_VERSION"),
        purpose: "Holds the connection to a TradingView data socket and publishes its quotes and health to NATS.",
        admin_default: "127.0.0.1:0",
    };
    tickcast_service::main_with_doctor(about, Config::read, run, examine)
}

async fn run(config: Config, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let venue = VenueId::new("tradingview").ok_or("the venue has no name")?;
    let dialler = dialler(&config)?;
    // There is one connection for the venue whatever the token: its limits are by address, and its channels have one source.
    let upstream = Upstream {
        venue,
        account: "quotes".to_owned(),
        application: String::new(),
        dials: DialPace::per_minute(config.dials_per_minute),
        keep_file: None,
    };
    let (mut session, token_file) = (config.session, config.token_file);
    let new_session = move || {
        // A person may have put a new one there.
        match token_file.as_deref().map(read_token) {
            Some(Ok(token)) => session = session.clone().with_token(token),
            Some(Err(error)) => warn!(%error, "token file not usable, the last token stays"),
            None => {}
        }
        TradingViewSession::new(session.clone())
    };
    tickcast_ingest::run(upstream, config.ingest, dialler, new_session, context).await?;
    Ok(())
}

/// `--doctor`
async fn examine(config: Config, examiner: Examiner) {
    let Some(venue) = VenueId::new("tradingview") else { return };
    let patient = Patient {
        venue,
        dialler: dialler(&config),
        settings: config.ingest,
        session: TradingViewSession::new(config.session),
        names: Names {
            host: "TRADINGVIEW_URL",
            ca_file: "TRADINGVIEW_CA_FILE",
            credentials: "TRADINGVIEW_AUTH_TOKEN or TRADINGVIEW_AUTH_TOKEN_FILE",
        },
        // The first trades at weekends too.
        favourites: ["BITSTAMP:BTCUSD", "OANDA:EURUSD"].into_iter().filter_map(Symbol::new).collect(),
    };
    tickcast_ingest::doctor(patient, &examiner).await;
}

fn dialler(config: &Config) -> Result<TlsDialler, IngestError> {
    let endpoint = &config.endpoint;
    if endpoint.is_secure {
        TlsDialler::new(&endpoint.host, endpoint.port, config.ca_file.as_deref())
    } else {
        Ok(TlsDialler::plain_to_loopback(&endpoint.host, endpoint.port))
    }
}
