use std::path::PathBuf;
use std::time::Duration;

use tickcast_ingest::IngestSettings;
use tickcast_service::Reader;

use crate::SessionSettings;

/// The settings of this service (contract, section 1).
pub struct Config {
    /// What every ingest has.
    pub ingest: IngestSettings,
    /// The venue's host.
    pub host: String,
    /// The venue's port.
    pub port: u16,
    /// Extra trust anchors as PEM.
    pub ca_file: Option<PathBuf>,
    /// Who we are to the venue.
    pub session: SessionSettings,
}

/// The venue's own names for its two environments (facts 1).
const DEMO: &str = "demo.ctraderapi.com";
/// The port that speaks protobuf (facts 1).
const PORT: u16 = 5035;

impl Config {
    /// Reads them.
    pub fn read(reader: &mut Reader) -> Self {
        let ingest = IngestSettings::read(reader);
        let host = reader.optional("CTRADER_HOST", DEMO, "upstream host; live accounts: live.ctraderapi.com");
        let port = reader.number("CTRADER_PORT", PORT, 1..=u16::MAX, "", "upstream port (protobuf over TLS)");
        // Older names, used only as a pair: a PORT alone often means something else on the same machine.
        let older_host = reader.optional("HOST", "", "older name of CTRADER_HOST, with PORT");
        let older_port = reader.optional("PORT", "", "older name of CTRADER_PORT, with HOST");
        let (host, port) = match (older_host, older_port) {
            (Some(older), Some(older_port)) if host.as_deref() == Some(DEMO) => {
                let older_port = older_port.parse().unwrap_or(0);
                if older_port == 0 {
                    reader.problem("PORT", "is not a port");
                }
                (older, older_port)
            }
            _ => (host.unwrap_or_default(), port),
        };
        Self {
            host,
            port,
            ca_file: reader
                .path("CTRADER_CA_FILE", "extra PEM trust anchor; certificate checks are never switched off"),
            session: SessionSettings {
                client_id: reader.required("CTRADER_CLIENT_ID", "id of the registered application"),
                client_secret: reader.secret("CTRADER_CLIENT_SECRET", "secret of the registered application"),
                access_token: reader.secret("CTRADER_ACCESS_TOKEN", "OAuth access token of the account"),
                account_id: reader.required_number(
                    "CTRADER_ACCOUNT_ID",
                    1..=i64::MAX,
                    "ctidTraderAccountId of the account (not its login number)",
                ),
                heartbeat: heartbeat(reader),
            },
            ingest,
        }
    }
}

fn heartbeat(reader: &mut Reader) -> Duration {
    // The venue may cut after 10 s of silence and some tens of seconds at most (facts 3.3).
    reader.millis("HEARTBEAT_MS", 10_000, 100..=30_000, "outgoing heartbeat after this much own silence")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: [(&str, &str); 4] = [
        ("CTRADER_CLIENT_ID", "app"),
        ("CTRADER_CLIENT_SECRET", "sec"),
        ("CTRADER_ACCESS_TOKEN", "tok"),
        ("CTRADER_ACCOUNT_ID", "7"),
    ];

    fn read(more: &[(&'static str, &'static str)]) -> (Config, Vec<String>) {
        let mut reader = Reader::from_pairs(CREDENTIALS.iter().chain(more).copied());
        let config = Config::read(&mut reader);
        let problems = reader.problems().to_vec();
        (config, problems)
    }

    #[test]
    fn credentials_are_enough() {
        let (config, problems) = read(&[]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((config.host.as_str(), config.port), ("demo.ctraderapi.com", 5035));
        assert_eq!(config.session.heartbeat, Duration::from_secs(10));
    }

    #[test]
    fn the_older_names_count_as_a_pair_only() {
        assert_eq!(read(&[("HOST", "old"), ("PORT", "1")]).0.host, "old");
        assert!(read(&[("HOST", "old"), ("PORT", "x")]).1[0].contains("PORT"));
        assert_eq!(read(&[("HOST", "old")]).0.host, "demo.ctraderapi.com");
        assert_eq!(read(&[("PORT", "1")]).0.port, 5035);
        let newer = read(&[("HOST", "old"), ("PORT", "1"), ("CTRADER_HOST", "new"), ("CTRADER_PORT", "2")]).0;
        assert_eq!((newer.host.as_str(), newer.port), ("new", 2));
    }

    #[test]
    fn every_missing_credential_is_named_and_no_secret_is_shown() {
        let mut reader = Reader::from_pairs([
            ("CTRADER_ACCOUNT_ID", "x"),
            ("BACKOFF_MIN_MS", "9"),
            ("BACKOFF_MAX_MS", "8"),
        ]);
        Config::read(&mut reader);
        let problems = reader.problems().join("\n");
        for name in [
            "CTRADER_CLIENT_ID",
            "CTRADER_CLIENT_SECRET",
            "CTRADER_ACCESS_TOKEN",
            "CTRADER_ACCOUNT_ID",
            "BACKOFF_MAX_MS",
        ] {
            assert!(problems.contains(name), "{name} in {problems}");
        }
    }
}
