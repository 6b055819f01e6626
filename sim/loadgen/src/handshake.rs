use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::LoadError;

/// The key of RFC 6455's own example and the only right answer to it. A key proves that the answer is not a cached one;
/// a load tool on its own server needs no fresh one for each connection.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The longest answer to an upgrade, bytes.
const ANSWER_BYTES_MAX: usize = 8192;

/// Where to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// `host:port`, for connecting and the `Host` header.
    pub authority: String,
    /// Path and query, from the slash on.
    pub path: String,
    /// Whether it is `wss`.
    pub is_tls: bool,
}

impl Target {
    /// Reads `ws://host[:port][/path]` or `wss://…`.
    ///
    /// # Errors
    /// [`LoadError::Url`] for anything else.
    pub fn parse(url: &str) -> Result<Self, LoadError> {
        let bad = || LoadError::Url(url.into());
        let (rest, is_tls) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err(bad()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match authority[host_end..].rfind(':') {
            Some(colon) => (&authority[..host_end + colon], &authority[host_end + colon + 1..]),
            None => (authority, if is_tls { "443" } else { "80" }),
        };
        if host.is_empty()
            || port.parse::<u16>().is_err()
            || url.bytes().any(|b| b.is_ascii_control() || b == b' ')
        {
            return Err(bad());
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority: format!("{host}:{port}"), path: path.into(), is_tls })
    }

    /// The host, without the port and without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or(&*self.authority, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The address to connect to.
    ///
    /// # Errors
    /// Where the name is not known.
    pub fn resolve(&self) -> Result<SocketAddr, LoadError> {
        let found = self.authority.to_socket_addrs()?.next();
        found.ok_or_else(|| LoadError::Url(format!("{self}")))
    }

    /// The upgrade request.
    pub fn request(&self) -> String {
        let Self { authority, path, .. } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nUser-Agent: tickcast-loadgen\r\n\r\n"
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// A right answer to [`Target::request`], for a server that knows no other clients.
pub fn upgrade_answer() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

/// The server's answer to the upgrade, as its bytes come in.
#[derive(Default)]
pub struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    /// Takes the next bytes; once the answer is whole and right, gives what came after it (the first frames).
    ///
    /// # Errors
    /// [`LoadError::Http`] where the server said no, [`LoadError::Handshake`] where its yes is not a right one.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, LoadError> {
        self.bytes.extend_from_slice(bytes);
        let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return match self.bytes.len() {
                0..=ANSWER_BYTES_MAX => Ok(None),
                _ => Err(LoadError::Handshake("is too long")),
            };
        };
        let frames = self.bytes.split_off(end + 4);
        let head = String::from_utf8_lossy(&self.bytes);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        match status {
            Some(101) => {}
            Some(status) => return Err(LoadError::Http(status)),
            None => return Err(LoadError::Handshake("is not HTTP")),
        }
        let accept = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("sec-websocket-accept").then_some(value.trim())
        });
        if accept == Some(ACCEPT) {
            Ok(Some(frames))
        } else {
            Err(LoadError::Handshake("does not accept the key"))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

    use super::*;

    #[test]
    fn the_known_answer_is_the_one_the_rules_ask_for() {
        assert_eq!(derive_accept_key(KEY.as_bytes()), ACCEPT);
    }

    #[test]
    fn addresses_are_read_with_and_without_port_and_path() {
        let cases = [
            ("ws://127.0.0.1:8080/ws", "127.0.0.1:8080", "127.0.0.1", "/ws", false),
            ("ws://localhost", "localhost:80", "localhost", "/", false),
            ("wss://localhost", "localhost:443", "localhost", "/", true),
            ("ws://localhost/ws?token=x:y/z", "localhost:80", "localhost", "/ws?token=x:y/z", false),
            ("ws://[::1]:9000/", "[::1]:9000", "::1", "/", false),
            ("ws://[::1]/ws", "[::1]:80", "::1", "/ws", false),
        ];
        for (url, authority, host, path, is_tls) in cases {
            let target = Target::parse(url).unwrap();
            assert_eq!(target, Target { authority: authority.into(), path: path.into(), is_tls }, "{url}");
            assert_eq!(target.host(), host, "{url}");
        }
        for bad in
            ["", "wss://", "http://a/", "ws://", "ws://:80/", "ws://a:99999/", "ws://a:x/", "ws://a/\r\nx"]
        {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_may_come_one_byte_at_a_time_and_bring_frames_along() {
        let bytes = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n\x01\x02"
        );
        for piece in [1, 2, bytes.len() / 2, bytes.len()] {
            let mut answer = Answer::default();
            let mut frames = None;
            for part in bytes.as_bytes().chunks(piece) {
                match &mut frames {
                    None => frames = answer.feed(part).unwrap(),
                    Some(frames) => frames.extend_from_slice(part),
                }
            }
            assert_eq!(frames.as_deref(), Some(&b"\x01\x02"[..]), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_no_is_told_by_its_status_and_a_wrong_yes_is_not_taken() {
        let feed = |text: &str| Answer::default().feed(text.as_bytes());
        assert!(matches!(feed("HTTP/1.1 503 Service Unavailable\r\n\r\n"), Err(LoadError::Http(503))));
        assert!(matches!(feed("HTTP/1.1 101 X\r\n\r\n"), Err(LoadError::Handshake(_))));
        assert!(matches!(
            feed("HTTP/1.1 101 X\r\nSec-WebSocket-Accept: x\r\n\r\n"),
            Err(LoadError::Handshake(_))
        ));
        assert!(matches!(feed("SSH-2.0\r\n\r\n"), Err(LoadError::Handshake(_))));
        assert!(feed(&"x".repeat(ANSWER_BYTES_MAX + 1)).is_err());
    }
}
