use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tickcast_bus::BusSettings;
use tickcast_model::VenueId;
use tickcast_service::Reader;

use crate::limits::ClientLimits;
use crate::origins::Origins;
use crate::tls::server_config;

/// The gateway's settings.
pub struct Config {
    /// How to reach the bus.
    pub bus: BusSettings,
    /// Where browsers connect.
    pub listen: SocketAddr,
    /// Venues offered, the default one first; at least one.
    pub venues: Vec<VenueId>,
    /// How long a demand lease holds.
    pub lease_ttl: Duration,
    /// How long a channel nobody reads is kept.
    pub interest_linger: Duration,
    /// Ticks kept of each channel.
    pub ring_ticks: usize,
    /// Channels held at a time.
    pub channels_max: usize,
    /// Clients at a time.
    pub connections_max: usize,
    /// Clients at a time of one address; 0 = any number.
    pub connections_per_ip_max: usize,
    /// What one client may do.
    pub limits: ClientLimits,
    /// Which web pages may connect.
    pub origins: Origins,
    /// Whether anybody may ask a venue to reconnect.
    pub anonymous_admin: bool,
    /// Time between two WebSocket pings of one client.
    pub ping: Duration,
    /// Time in which a stopping gateway spreads its clients' moves.
    pub drain: Duration,
    /// A busy client is written to no sooner than this after its last write.
    pub flush: Duration,
    /// A client that has not taken everything for this long goes on with the newest ticks.
    pub slow_after: Duration,
    /// Threads that write to clients; 0 = as many as there are cores.
    pub writers: usize,
    /// Connections accepted in a second.
    pub accepts_per_s: u32,
    /// What is shown to browsers that connect with TLS; none = plain.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Config {
    /// Reads the settings; problems are collected in the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let bus = BusSettings::read(|v| reader.optional(v.name, v.default, v.help));
        for (name, problem) in bus.problems() {
            reader.problem(name, problem);
        }
        let listen = listen(reader);
        let venues = venues(reader);
        let config = Self {
            bus,
            listen,
            venues,
            lease_ttl: reader.millis(
                "LEASE_TTL_MS",
                15_000,
                500..=600_000,
                "demand lease, renewed at a third of it",
            ),
            interest_linger: reader.millis(
                "INTEREST_LINGER_MS",
                5_000,
                0..=600_000,
                "a channel nobody reads any more is kept this long",
            ),
            ring_ticks: reader.number(
                "RING_TICKS",
                256,
                2..=65_536,
                "ticks",
                "kept of each channel for slow clients",
            ),
            channels_max: reader.number(
                "MAX_CHANNELS",
                20_000,
                1..=1_000_000,
                "channels",
                "held at a time, of all venues and clients",
            ),
            connections_max: reader.number(
                "MAX_CONNECTIONS",
                18_000,
                1..=1_000_000,
                "connections",
                "clients at a time",
            ),
            connections_per_ip_max: reader.number(
                "MAX_CONNECTIONS_PER_IP",
                0,
                0..=1_000_000,
                "connections",
                "clients at a time from one address, 0 = any number",
            ),
            limits: ClientLimits {
                subscriptions_max: reader.number(
                    "MAX_SUBSCRIPTIONS",
                    1_000,
                    1..=100_000,
                    "symbols",
                    "subscribed at a time by one client",
                ),
                message_bytes_max: reader.number(
                    "MAX_MESSAGE_BYTES",
                    65_536,
                    256..=16_777_216,
                    "bytes",
                    "size of one message of a client",
                ),
                messages_per_s: reader.number(
                    "MAX_MESSAGES_PER_S",
                    50,
                    1..=100_000,
                    "messages",
                    "of one client in a second",
                ),
            },
            origins: origins(reader),
            anonymous_admin: reader.flag(
                "ALLOW_ANONYMOUS_ADMIN",
                false,
                "anybody may ask a venue to reconnect while AUTH=none",
            ),
            flush: reader.millis(
                "FLUSH_MS",
                5,
                0..=1_000,
                "a busy client gets what is pending in one write no sooner than this after its last; a quiet one at once; \
                 0 = off",
            ),
            slow_after: reader.millis(
                "SLOW_AFTER_MS",
                2_000,
                100..=600_000,
                "a client that has not taken everything for this long goes on with the newest ticks, and is told what it \
                 misses or gets it merged",
            ),
            accepts_per_s: reader.number(
                "ACCEPTS_PER_S",
                2_000,
                1..=1_000_000,
                "connections",
                "let in in a second; more wait for their turn",
            ),
            tls: tls(reader),
            writers: reader.number(
                "WRITERS",
                0,
                0..=256,
                "threads",
                "that write to clients; 0 = as many as the machine has cores",
            ),
            ping: reader.millis(
                "PING_MS",
                25_000,
                100..=600_000,
                "time between two WebSocket pings; a client silent for two of them is dropped",
            ),
            drain: reader.millis(
                "DRAIN_MS",
                10_000,
                0..=600_000,
                "time in which a stopping gateway spreads its clients' moves",
            ),
        };
        not_served_yet(reader);
        config
    }
}

fn listen(reader: &mut Reader) -> SocketAddr {
    let ip = reader.text("WS_ADDR", "0.0.0.0", "IP address of the listener for browsers");
    let ip = ip.parse().unwrap_or_else(|_| {
        reader.problem("WS_ADDR", "is not an IP address");
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    });
    let port: u16 =
        reader.number("WS_PORT", 8080, 0..=u16::MAX, "", "port of that listener; 0 = any free one, logged");
    let over = reader.optional("PORT", "", "overrides WS_PORT").map(|text| text.trim().parse::<u16>());
    let port = match over {
        None => port,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            reader.problem("PORT", "is not a port number");
            port
        }
    };
    SocketAddr::new(ip, port)
}

/// Venues one gateway can offer.
const VENUES_MAX: usize = 64;

fn venues(reader: &mut Reader) -> Vec<VenueId> {
    let text = reader.text(
        "GATEWAY_VENUES",
        "ctrader,tradingview",
        "venues offered; the first is the default source",
    );
    let mut venues: Vec<VenueId> = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match VenueId::new(name) {
            Some(venue) if venues.contains(&venue) => {}
            Some(venue) => venues.push(venue),
            None => reader.problem("GATEWAY_VENUES", format!("\"{name}\" is not the name of a venue")),
        }
    }
    if venues.is_empty() {
        reader.problem("GATEWAY_VENUES", "names no venue");
    }
    if venues.len() > VENUES_MAX {
        reader.problem("GATEWAY_VENUES", format!("at most {VENUES_MAX} venues"));
    }
    venues
}

fn origins(reader: &mut Reader) -> Origins {
    let text = reader.text("ALLOWED_ORIGINS", "*", "comma-separated origins or patterns of web pages");
    Origins::read(&text).unwrap_or_else(|problem| {
        reader.problem("ALLOWED_ORIGINS", problem);
        Origins::default()
    })
}

/// Settings of the contract that this version cannot honour are refused: ignored ones would be a false safety.
fn not_served_yet(reader: &mut Reader) {
    let auth = reader.choice("AUTH", &["none", "jwt"], "none", "who may connect; only none is served yet");
    if auth != "none" {
        reader.problem("AUTH", "jwt is not served yet; put an authenticating proxy in front");
    }
    let _: u32 = reader.number(
        "MAX_CONNECTIONS_PER_USER",
        20,
        1..=1_000_000,
        "connections",
        "of one user; without effect while AUTH=none, as there are no users",
    );
}

fn tls(reader: &mut Reader) -> Option<Arc<ServerConfig>> {
    let certificates =
        reader.path("TLS_CERT_FILE", "TLS at the gateway itself: certificate chain, PEM; unset = plain");
    let key = reader.path("TLS_KEY_FILE", "private key of TLS_CERT_FILE, PEM");
    match (certificates, key) {
        (Some(certificates), Some(key)) => match server_config(&certificates, &key) {
            Ok(config) => return Some(config),
            Err(problem) => reader.problem("TLS_CERT_FILE", problem),
        },
        (Some(_), None) => reader.problem("TLS_KEY_FILE", "is missing beside TLS_CERT_FILE"),
        (None, Some(_)) => reader.problem("TLS_CERT_FILE", "is missing beside TLS_KEY_FILE"),
        (None, None) => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
        let mut reader = Reader::from_pairs(pairs.iter().copied());
        let config = Config::read(&mut reader);
        (config, reader.problems().to_vec())
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let (config, problems) = read(&[]);
        assert_eq!(problems, [] as [&str; 0]);
        assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(config.venues, ["ctrader", "tradingview"].map(|name| VenueId::new(name).unwrap()));
        assert_eq!(config.lease_ttl, Duration::from_secs(15));
        assert_eq!(config.connections_max, 18_000);
        assert_eq!(config.connections_per_ip_max, 0);
        let limits = &config.limits;
        assert_eq!(
            (limits.subscriptions_max, limits.message_bytes_max, limits.messages_per_s),
            (1_000, 65_536, 50)
        );
        assert_eq!(config.drain, Duration::from_secs(10));
        assert!(!config.anonymous_admin);
    }

    #[test]
    fn port_overrides_ws_port() {
        let (config, problems) = read(&[("WS_ADDR", "127.0.0.1"), ("WS_PORT", "1"), ("PORT", "9000")]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:9000");
        assert_eq!(problems, [] as [&str; 0]);
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_variable() {
        let (_, problems) = read(&[
            ("NATS_URL", " , "),
            ("NATS_CREDS", "/nonexistent/creds"),
            ("WS_ADDR", "everywhere"),
            ("PORT", "99999"),
            ("GATEWAY_VENUES", "cTrader"),
            ("LEASE_TTL_MS", "soon"),
            ("ALLOWED_ORIGINS", "example"),
            ("AUTH", "jwt"),
            ("TLS_CERT_FILE", "a.pem"),
        ]);
        for name in [
            "NATS_URL",
            "NATS_CREDS",
            "WS_ADDR",
            "PORT",
            "GATEWAY_VENUES",
            "LEASE_TTL_MS",
            "ALLOWED_ORIGINS",
            "AUTH",
            "TLS_CERT_FILE",
        ] {
            assert!(problems.iter().any(|problem| problem.contains(name)), "{name} in {problems:?}");
        }
    }
}
