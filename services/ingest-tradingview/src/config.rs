use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::{HeaderValue, Uri};
use secrecy::{ExposeSecret as _, SecretString};
use tickcast_ingest::{IngestSettings, TlsDialler};
use tickcast_service::Reader;

use crate::socket::Upgrade;
use crate::{Limits, Memory, SessionSettings};

/// The settings of this service (contract, section 1).
pub struct Config {
    /// What every ingest has.
    pub ingest: IngestSettings,
    /// Where the venue is.
    pub endpoint: Endpoint,
    /// Extra trust anchors as PEM.
    pub ca_file: Option<PathBuf>,
    /// Connections that may be opened in any minute.
    pub dials_per_minute: usize,
    /// Who we are to the venue, and how much we ask of it.
    pub session: SessionSettings,
    /// Where the token stands, for [`read_token`] before each connection.
    pub token_file: Option<PathBuf>,
}

/// Where the venue is dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// True for `wss`, false for `ws`, which only a loopback address may have.
    pub is_secure: bool,
}

/// The vendor's own hosts: this name and everything under it.
const VENDOR: &str = "tradingview.com";
/// What an operator says who has the vendor's permission.
const ACCEPTED: &str = "accept-terms";
/// The page that the vendor's servers expect to be asked from (facts 1.3).
const ORIGIN: &str = "https://www.tradingview.com";

impl Config {
    /// Reads them.
    pub fn read(reader: &mut Reader) -> Self {
        let ingest = IngestSettings::read(reader);
        let url = reader
            .required("TRADINGVIEW_URL", "data socket, wss://HOST/PATH; ws:// only to a loopback address");
        let live = reader.optional(
            "TRADINGVIEW_LIVE",
            "",
            "accept-terms: you have the vendor's permission and its own hosts may be dialled",
        );
        let (uri, endpoint) = match endpoint_of(&url) {
            Ok(found) => found,
            Err(problem) => {
                if !url.is_empty() {
                    reader.problem("TRADINGVIEW_URL", problem);
                }
                (Uri::default(), Endpoint { host: String::new(), port: 0, is_secure: true })
            }
        };
        if live.as_deref().is_some_and(|live| live != ACCEPTED) {
            reader.problem("TRADINGVIEW_LIVE", format!("is neither unset nor {ACCEPTED}"));
        } else if is_vendor(&endpoint.host) && live.is_none() {
            reader.problem(
                "TRADINGVIEW_LIVE",
                format!(
                    "must be {ACCEPTED} where TRADINGVIEW_URL is the vendor's own host: its terms forbid automated use without \
                     permission, see README.md"
                ),
            );
        }
        let ca_file = reader
            .path("TRADINGVIEW_CA_FILE", "extra PEM trust anchor; certificate checks are never switched off");
        let anchors = ("TRADINGVIEW_CA_FILE", ca_file.as_deref());
        TlsDialler::check(reader, ("TRADINGVIEW_URL", &endpoint.host), anchors);
        let (auth_token, token_file) = auth_token(reader).unzip();
        let origin = reader.text("TRADINGVIEW_ORIGIN", ORIGIN, "Origin header of the WebSocket upgrade");
        if HeaderValue::from_str(&origin).is_err() {
            reader.problem("TRADINGVIEW_ORIGIN", "is no value for a header");
        }
        let limits = Limits {
            messages_per_s: reader.number(
                "TRADINGVIEW_MESSAGES_PER_S",
                10,
                3..=100,
                "",
                "messages to the venue in any second at most, answers to heartbeats beside",
            ),
            symbols_per_session: reader.number(
                "TRADINGVIEW_SYMBOLS_PER_SESSION",
                100,
                1..=500,
                "",
                "symbols in one quote session",
            ),
            symbols_max: reader.number(
                "TRADINGVIEW_SYMBOLS_MAX",
                1_000,
                1..=10_000,
                "",
                "symbols on the one connection; those beyond are refused",
            ),
        };
        if limits.symbols_max.div_ceil(limits.symbols_per_session) > SESSIONS_MAX {
            let words = format!("needs more than {SESSIONS_MAX} quote sessions for TRADINGVIEW_SYMBOLS_MAX");
            reader.problem("TRADINGVIEW_SYMBOLS_PER_SESSION", words);
        }
        let dials_per_minute = reader.number(
            "TRADINGVIEW_DIALS_PER_MINUTE",
            5,
            1..=60,
            "",
            "connections opened in any minute at most, whatever ended the last ones",
        );
        let upgrade = Upgrade { uri, origin };
        let session = SessionSettings { upgrade, auth_token, limits, memory: Memory::default() };
        let token_file = token_file.flatten();
        Self { ingest, endpoint, ca_file, dials_per_minute, session, token_file }
    }
}

/// Quote sessions that one connection may need: well below what it has in it (facts 5.4).
const SESSIONS_MAX: usize = 100;
/// A token is some kilobytes at most.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// The token from the one setting, or from the file that the other names and that file.
fn auth_token(reader: &mut Reader) -> Option<(SecretString, Option<PathBuf>)> {
    const FILE: &str = "TRADINGVIEW_AUTH_TOKEN_FILE";
    let token = reader
        .optional_secret("TRADINGVIEW_AUTH_TOKEN", "token the operator was given; unset = anonymous")
        .map(|token| ("TRADINGVIEW_AUTH_TOKEN", token));
    let file = reader.path(
        FILE,
        "file that holds the token, in place of TRADINGVIEW_AUTH_TOKEN; read before each connection",
    );
    let (name, token) = match (token, &file) {
        (Some(_), Some(_)) => {
            reader.problem(FILE, "and TRADINGVIEW_AUTH_TOKEN are both set");
            return None;
        }
        (None, Some(file)) => match read_token(file) {
            Ok(token) => (FILE, token),
            Err(problem) => {
                reader.problem(FILE, problem);
                return None;
            }
        },
        (token, None) => token?,
    };
    if let Err(problem) = check_length(&token) {
        reader.problem(name, problem);
    }
    Some((token, file))
}

fn check_length(token: &SecretString) -> Result<(), String> {
    let is_short = token.expose_secret().len() <= TOKEN_BYTES_MAX;
    is_short.then_some(()).ok_or_else(|| format!("is longer than {TOKEN_BYTES_MAX} bytes"))
}

/// The one word in a file; the end of its line does not belong to it.
///
/// # Errors
/// In words, where there is no token; they show nothing of what is there.
pub fn read_token(file: &Path) -> Result<SecretString, String> {
    let mut text = Vec::new();
    let longest = TOKEN_BYTES_MAX as u64 + 2;
    let read = File::open(file).and_then(|file| file.take(longest).read_to_end(&mut text));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| "holds no text")?;
    let token = text.trim();
    if token.is_empty() {
        return Err("is empty".to_owned());
    }
    let token = token.to_owned().into();
    check_length(&token)?;
    Ok(token)
}

fn endpoint_of(url: &str) -> Result<(Uri, Endpoint), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
    let is_secure = match uri.scheme_str() {
        Some("wss") => true,
        Some("ws") => false,
        _ => return Err("begins with neither wss:// nor ws://"),
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must not hold a user or password");
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err("names no host");
    }
    if !is_secure && !is_loopback(&host) {
        return Err("ws:// is allowed only to a loopback address (localhost, 127.0.0.1, ::1)");
    }
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    if port == 0 {
        return Err("has no port");
    }
    Ok((uri, Endpoint { host, port, is_secure }))
}

/// The name is looked at again when it is dialled: `localhost` must then have a loopback address.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn is_vendor(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == VENDOR || host.strip_suffix(VENDOR).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> (Config, String) {
        let mut reader = Reader::from_pairs(pairs.iter().copied());
        let config = Config::read(&mut reader);
        let problems = reader.problems().join("\n");
        (config, problems)
    }

    fn problem_of(url: &'static str) -> String {
        read(&[("TRADINGVIEW_URL", url)]).1
    }

    #[test]
    fn a_url_is_enough() {
        for (url, endpoint) in [
            ("ws://127.0.0.1:8081/socket.io/websocket?type=chart", ("127.0.0.1", 8081, false)),
            ("ws://[::1]:9/x", ("::1", 9, false)),
            ("ws://LOCALHOST/x", ("LOCALHOST", 80, false)),
            ("wss://feed.example.com/x", ("feed.example.com", 443, true)),
        ] {
            let (config, problems) = read(&[("TRADINGVIEW_URL", url)]);
            assert_eq!(problems, "", "{url}");
            let (host, port, is_secure) = endpoint;
            assert_eq!(config.endpoint, Endpoint { host: host.into(), port, is_secure }, "{url}");
            assert!(config.session.auth_token.is_none());
            assert_eq!(config.session.limits.messages_per_s, 10);
        }
    }

    #[test]
    fn the_vendors_hosts_need_the_operators_word() {
        for url in [
            "wss://data.tradingview.com/socket.io/websocket",
            "wss://PRODATA.TradingView.com./x",
            "wss://tradingview.com/x",
        ] {
            assert!(problem_of(url).contains("TRADINGVIEW_LIVE: must be accept-terms"), "{url}");
            assert_eq!(read(&[("TRADINGVIEW_URL", url), ("TRADINGVIEW_LIVE", "accept-terms")]).1, "");
        }
        assert_eq!(problem_of("wss://nottradingview.com/x"), "");
        let (_, problems) = read(&[("TRADINGVIEW_URL", "ws://127.0.0.1:1/"), ("TRADINGVIEW_LIVE", "yes")]);
        assert!(problems.contains("TRADINGVIEW_LIVE"), "{problems}");
    }

    #[test]
    fn a_url_that_cannot_be_dialled_is_named() {
        for (url, words) in [
            ("", "required"),
            ("http://127.0.0.1/x", "neither"),
            ("127.0.0.1:80", "neither"),
            ("not a url", "not a URL"),
            ("ws://192.0.2.7/x", "loopback"),
            ("ws://localhost.example.com/x", "loopback"),
            ("wss://me:secret@example.com/x", "password"),
        ] {
            let problem = problem_of(url);
            assert!(problem.starts_with("TRADINGVIEW_URL") && problem.contains(words), "{url}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn trust_anchors_that_cannot_be_read_are_named() {
        let (_, problems) =
            read(&[("TRADINGVIEW_URL", "wss://a.example/x"), ("TRADINGVIEW_CA_FILE", "/nonexistent/a.pem")]);
        assert!(problems.starts_with("TRADINGVIEW_CA_FILE: "), "{problems}");
        let (_, problems) = read(&[("TRADINGVIEW_CA_FILE", "/nonexistent/a.pem")]);
        assert_eq!(problems.lines().count(), 2, "the missing URL hides nothing: {problems}");
    }

    #[test]
    fn more_sessions_than_a_connection_has_are_refused() {
        let url = ("TRADINGVIEW_URL", "ws://127.0.0.1:1/");
        let (_, problems) = read(&[url, ("TRADINGVIEW_SYMBOLS_PER_SESSION", "9")]);
        assert!(problems.contains("TRADINGVIEW_SYMBOLS_PER_SESSION"), "{problems}");
    }

    #[test]
    fn a_token_comes_from_the_environment_or_from_a_file_and_not_from_both() {
        let folder = std::env::temp_dir().join(format!("tickcast-token-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let url = ("TRADINGVIEW_URL".to_owned(), "ws://127.0.0.1:1/".to_owned());
        let read = |settings: &[(&str, String)]| {
            let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let mut reader = Reader::from_pairs(settings.chain([url.clone()]));
            let token = Config::read(&mut reader).session.auth_token;
            (token.map(|token| token.expose_secret().to_owned()), reader.problems().join("\n"))
        };
        std::fs::write(path("good"), "ey.secret\n").unwrap();
        std::fs::write(path("empty"), " \n").unwrap();
        std::fs::write(path("binary"), [0xff, 0xfe]).unwrap();
        std::fs::write(path("long"), "x".repeat(TOKEN_BYTES_MAX + 1)).unwrap();
        let file = |name: &str| ("TRADINGVIEW_AUTH_TOKEN_FILE", path(name));
        let own = ("TRADINGVIEW_AUTH_TOKEN", "ey.other".to_owned());
        assert_eq!(read(&[file("good")]), (Some("ey.secret".into()), String::new()));
        assert_eq!(read(std::slice::from_ref(&own)).0.as_deref(), Some("ey.other"));
        for (settings, words) in [
            (vec![own, file("good")], "both"),
            (vec![file("empty")], "empty"),
            (vec![file("binary")], "no text"),
            (vec![file("long")], "longer"),
            (vec![file("none")], "cannot be read"),
        ] {
            let (_, problems) = read(&settings);
            assert!(problems.starts_with("TRADINGVIEW_AUTH_TOKEN_FILE"), "{problems}");
            assert!(problems.contains(words) && !problems.contains("secret"), "{words}: {problems}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
