use std::net::SocketAddr;
use std::path::Path;

/// Secrets of the test's own; no log may show them.
pub const SECRETS: [(&str, &str); 3] = [
    ("CLIENT_SECRET", "s3cret-of-the-app-71c2"),
    ("ACCESS_TOKEN", "t0ken-of-the-trader-9b4e"),
    ("AUTH_TOKEN", "t0ken-of-the-viewer-55ad"),
];

/// A venue as the system under test knows it: a simulator, an ingest, and what lets the one in at the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Venue {
    /// With a login and a list of symbols.
    CTrader,
    /// Anonymous unless a test says otherwise, and without a list.
    TradingView,
}

impl Venue {
    /// Its `source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CTrader => "ctrader",
            Self::TradingView => "tradingview",
        }
    }

    /// Two symbols it quotes in real time, with bid and ask.
    pub fn symbols(self) -> [&'static str; 2] {
        match self {
            Self::CTrader => ["EURUSD", "GBPUSD"],
            Self::TradingView => ["OANDA:EURUSD", "OANDA:GBPUSD"],
        }
    }

    /// The program that is the venue.
    pub fn simulator(self) -> String {
        format!("sim-{}", self.name())
    }

    /// The program that talks to it.
    pub fn ingest(self) -> String {
        format!("ingest-{}", self.name())
    }

    /// What a simulator of the venue is told beside what all are.
    pub(crate) fn simulator_settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::CTrader => &[("SIM_CLIENT_SECRET", SECRETS[0].1), ("SIM_ACCESS_TOKEN", SECRETS[1].1)],
            Self::TradingView => &[("SIM_AUTH_TOKEN", SECRETS[2].1)],
        }
    }

    /// With what an ingest finds the simulator that listens there, and is let in.
    pub(crate) fn ingest_settings(self, at: SocketAddr, ca_file: &Path) -> Vec<(&'static str, String)> {
        let ca_file = ca_file.to_str().unwrap().to_owned();
        match self {
            Self::CTrader => vec![
                ("CTRADER_HOST", "localhost".into()),
                ("CTRADER_PORT", at.port().to_string()),
                ("CTRADER_CA_FILE", ca_file),
                ("CTRADER_CLIENT_ID", "sim-app".into()),
                ("CTRADER_CLIENT_SECRET", SECRETS[0].1.into()),
                ("CTRADER_ACCESS_TOKEN", SECRETS[1].1.into()),
                ("CTRADER_ACCOUNT_ID", "1000001".into()),
            ],
            Self::TradingView => vec![
                ("TRADINGVIEW_URL", format!("wss://localhost:{}/socket.io/websocket", at.port())),
                ("TRADINGVIEW_CA_FILE", ca_file),
                // Tests break connections faster than anybody else would.
                ("TRADINGVIEW_DIALS_PER_MINUTE", "60".into()),
            ],
        }
    }
}

/// Makes a test for each venue, `ctrader::name` and `tradingview::name`, of each `async fn name(venue: Venue)`.
#[macro_export]
macro_rules! for_each_venue {
    ($($name:ident),+ $(,)?) => {
        $crate::for_each_venue! { ctrader, $crate::Venue::CTrader, $($name),+ }
        $crate::for_each_venue! { tradingview, $crate::Venue::TradingView, $($name),+ }
    };
    ($module:ident, $venue:expr, $($name:ident),+) => {
        mod $module {
            $(#[tokio::test]
            async fn $name() {
                super::$name($venue).await;
            })+
        }
    };
}
