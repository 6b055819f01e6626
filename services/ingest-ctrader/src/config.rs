use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tickcast_ingest::{IngestSettings, TlsDialler, read_kept, try_to_keep};
use tickcast_service::Reader;

use crate::{Memory, SessionSettings, TokenPair};

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
    /// Where the newest tokens are kept.
    pub token_file: Option<PathBuf>,
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
        let (host_name, host, port) = upstream(reader);
        let ca_file = reader
            .path("CTRADER_CA_FILE", "extra PEM trust anchor; certificate checks are never switched off");
        TlsDialler::check(reader, (host_name, &host), ("CTRADER_CA_FILE", ca_file.as_deref()));
        let client_id = reader.required("CTRADER_CLIENT_ID", "id of the registered application");
        let client_secret = reader.secret("CTRADER_CLIENT_SECRET", "secret of the registered application");
        let access = reader.secret("CTRADER_ACCESS_TOKEN", "OAuth access token of the account");
        let refresh = reader.optional_secret(
            "CTRADER_REFRESH_TOKEN",
            "renews the access token ahead of its end; needs CTRADER_TOKEN_FILE",
        );
        let token_file = reader.path(
            "CTRADER_TOKEN_FILE",
            "keeps the newest pair of tokens (mode 0600); it wins until other tokens are configured",
        );
        let account_id = reader.required_number(
            "CTRADER_ACCOUNT_ID",
            1..=i64::MAX,
            "ctidTraderAccountId of the account (not its login number)",
        );
        let memory = Memory::new(TokenPair::new(access, refresh.clone()), &client_id, account_id);
        load_tokens(reader, &memory, refresh.as_ref(), token_file.as_deref());
        let heartbeat = heartbeat(reader);
        let session =
            SessionSettings { host: host.clone(), client_id, client_secret, account_id, memory, heartbeat };
        Self { host, port, ca_file, token_file, session, ingest }
    }
}

/// The venue's host and port, and the variable the host was read from.
fn upstream(reader: &mut Reader) -> (&'static str, String, u16) {
    let host = reader.text("CTRADER_HOST", DEMO, "upstream host; live accounts: live.ctraderapi.com");
    let port = reader.number("CTRADER_PORT", PORT, 1..=u16::MAX, "", "upstream port (protobuf over TLS)");
    let older_host = reader.optional("HOST", "", "older name of CTRADER_HOST, with PORT");
    let older_port = reader.optional("PORT", "", "older name of CTRADER_PORT, with HOST");
    // Used only as a pair: a PORT alone often means something else on the same machine, and so does one beside a newer host.
    let (Some(older_host), Some(older_port)) = (older_host, older_port) else {
        return ("CTRADER_HOST", host, port);
    };
    if reader.is_set("CTRADER_HOST") {
        return ("CTRADER_HOST", host, port);
    }
    if reader.is_set("CTRADER_PORT") {
        return ("HOST", older_host, port);
    }
    let older_port = older_port.parse().unwrap_or(0);
    if older_port == 0 {
        reader.problem("PORT", "is not a port");
    }
    ("HOST", older_host, older_port)
}

/// Takes the tokens an earlier life kept, and makes sure that this one can keep some.
fn load_tokens(reader: &mut Reader, memory: &Memory, refresh: Option<&SecretString>, file: Option<&Path>) {
    let Some(file) = file else {
        if refresh.is_some_and(|token| !token.expose_secret().is_empty()) {
            // A refresh token works once (facts 3.2): what replaces it would be lost with the process.
            reader.problem(
                "CTRADER_REFRESH_TOKEN",
                "needs CTRADER_TOKEN_FILE to keep the tokens it is traded for",
            );
        }
        return;
    };
    match read_kept(file) {
        Ok(Some(text)) => {
            if let Err(error) = memory.load(text.expose()) {
                reader.problem("CTRADER_TOKEN_FILE", error.to_string());
            }
        }
        Ok(None) => {}
        Err(error) => reader.problem("CTRADER_TOKEN_FILE", format!("cannot be read: {error}")),
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        reader.problem("CTRADER_TOKEN_FILE", "is to lie in a folder that does not exist");
    } else if let Err(error) = try_to_keep(file) {
        let problem = format!("new tokens could not be kept, its folder cannot be written to: {error}");
        reader.problem("CTRADER_TOKEN_FILE", problem);
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

    /// Row 15: tokens that would be lost with the process are not traded for.
    #[test]
    fn a_refresh_token_needs_a_file_and_the_file_has_to_be_one() {
        assert!(read(&[("CTRADER_REFRESH_TOKEN", "r")]).1[0].contains("CTRADER_TOKEN_FILE"));
        let folder = std::env::temp_dir().join(format!("tickcast-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("tokens.json");
        let name: &'static str = file.to_str().unwrap().to_owned().leak();
        let settings = [("CTRADER_REFRESH_TOKEN", "r"), ("CTRADER_TOKEN_FILE", name)];
        assert!(read(&settings).1.is_empty(), "it is written when there is something to keep");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "trying leaves nothing behind");
        std::fs::write(&file, r#"{"accessToken":"kept","refreshToken":"next"}"#).unwrap();
        let (config, problems) = read(&settings);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(config.session.memory.lock().tokens.access().expose_secret(), "kept");
        std::fs::write(&file, "secret-looking garbage").unwrap();
        let problem = read(&settings).1.remove(0);
        assert!(problem.contains("CTRADER_TOKEN_FILE") && !problem.contains("garbage"), "{problem}");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(read(&settings).1[0].contains("folder"));
    }

    #[test]
    fn a_folder_that_takes_no_file_is_told_before_tokens_are_traded_for() {
        // Nobody can make a file there, whoever runs the test.
        let settings = [("CTRADER_REFRESH_TOKEN", "r"), ("CTRADER_TOKEN_FILE", "/proc/tokens.json")];
        let problems = read(&settings).1;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("CTRADER_TOKEN_FILE: new tokens could not be kept"), "{problems:?}");
    }

    #[test]
    fn the_older_names_count_as_a_pair_only() {
        assert_eq!(read(&[("HOST", "old"), ("PORT", "1")]).0.host, "old");
        assert!(read(&[("HOST", "old"), ("PORT", "x")]).1[0].contains("PORT"));
        assert_eq!(read(&[("HOST", "old")]).0.host, "demo.ctraderapi.com");
        assert_eq!(read(&[("PORT", "1")]).0.port, 5035);
    }

    #[test]
    fn the_newer_names_win_where_they_are_set_even_to_their_defaults() {
        let upstream = |more: &[(&'static str, &'static str)]| {
            let older = [("HOST", "old"), ("PORT", "1")];
            let (config, problems) = read(&[&older[..], more].concat());
            assert!(problems.is_empty(), "{problems:?}");
            (config.host, config.port)
        };
        let both = [("CTRADER_HOST", "new"), ("CTRADER_PORT", "2")];
        assert_eq!(upstream(&both), ("new".into(), 2));
        assert_eq!(upstream(&[("CTRADER_HOST", DEMO)]), (DEMO.into(), PORT));
        assert_eq!(upstream(&[("CTRADER_PORT", "5035")]), ("old".into(), 5035));
        assert_eq!(upstream(&[("CTRADER_HOST", "")]), ("old".into(), 1), "set to nothing is not set");
    }

    #[test]
    fn a_host_that_is_none_is_told_of_the_variable_it_was_read_from() {
        let blamed = |settings: &[(&'static str, &'static str)]| read(settings).1.join("\n");
        let newer = blamed(&[("HOST", "old"), ("PORT", "x"), ("CTRADER_HOST", "not a host")]);
        assert!(newer.starts_with("CTRADER_HOST: ") && newer.lines().count() == 1, "{newer}");
        let older = blamed(&[("HOST", "not a host"), ("PORT", "1")]);
        assert!(older.starts_with("HOST: ") && older.lines().count() == 1, "{older}");
    }

    #[test]
    fn every_missing_credential_is_named_and_no_secret_is_shown() {
        let mut reader = Reader::from_pairs([
            ("CTRADER_ACCOUNT_ID", "x"),
            ("CTRADER_HOST", "not a host"),
            ("CTRADER_CA_FILE", "/nonexistent/anchors.pem"),
            ("NATS_URL", "nats://me@[x"),
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
            "CTRADER_HOST",
            "CTRADER_CA_FILE",
            "NATS_URL",
            "BACKOFF_MAX_MS",
        ] {
            assert!(problems.contains(name), "{name} in {problems}");
        }
    }
}
