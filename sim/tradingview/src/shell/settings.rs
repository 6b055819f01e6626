use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use tickcast_service::Reader;

use crate::{SYMBOLS_MAX, Script, VenueSettings};

/// How to run the simulator as a process.
pub struct ServerSettings {
    /// Where clients connect; port 0 means any free one.
    pub addr: SocketAddr,
    /// Where the certificate is written, for clients to trust.
    pub ca_file: Option<PathBuf>,
    /// Names in the certificate besides `localhost` and `127.0.0.1`.
    pub hosts: Vec<String>,
    /// The venue itself.
    pub venue: VenueSettings,
}

impl ServerSettings {
    /// Reads the settings of the process; problems stay with the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let usual = VenueSettings::default();
        let addr = reader.address(
            "SIM_ADDR",
            "127.0.0.1:5036",
            "listener of the venue, wss and for loopback clients also ws; port 0 = any free one, logged",
        );
        let ca_file = reader.path(
            "SIM_CA_FILE",
            "the certificate made at start is written here as PEM, before the venue listens",
        );
        let hosts = reader.text(
            "SIM_HOSTS",
            "",
            "names in the certificate besides localhost and 127.0.0.1, comma-separated",
        );
        let hosts =
            hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
        let script = reader.path(
            "SIM_PLAYBACK",
            "a recorded session, played to every client in place of the market; lines of <ms> <payload>",
        );
        let script = script.and_then(|path| {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
            let script = text.and_then(|text| Script::read(&text).map_err(|error| error.to_string()));
            script.map_err(|why| reader.problem("SIM_PLAYBACK", format!("{}: {why}", path.display()))).ok()
        });
        let secret = |value: Option<SecretString>, usual: String| {
            value.map_or(usual, |value| value.expose_secret().to_owned())
        };
        let venue = VenueSettings {
            seed: reader.number(
                "SIM_SEED",
                usual.seed,
                0..=u64::MAX,
                "",
                "the same seed gives the same prices",
            ),
            symbols: reader.number("SIM_SYMBOLS", usual.symbols, 1..=SYMBOLS_MAX, "", "number of symbols"),
            ticks_per_s: reader.number(
                "SIM_TICKS_PER_S",
                usual.ticks_per_s,
                1..=1_000,
                "",
                "mean number of quotes per second of each subscribed symbol",
            ),
            auth_token: secret(
                reader.optional_secret(
                    "SIM_AUTH_TOKEN",
                    "token let in beside the anonymous one; it makes delayed symbols stream; unset = sim-token",
                ),
                usual.auth_token,
            ),
            origin: reader.optional(
                "SIM_ORIGIN",
                "",
                "the only Origin let in, others get 403; unset = any",
            ),
            heartbeat_every: reader.millis(
                "SIM_HEARTBEAT_MS",
                10_000,
                50..=3_600_000,
                "time between two heartbeats",
            ),
            echo_within: reader.millis(
                "SIM_ECHO_MS",
                30_000,
                50..=3_600_000,
                "a heartbeat not echoed for this long ends the connection",
            ),
            hibernate_every: reader.millis(
                "SIM_HIBERNATE_MS",
                5_000,
                1..=3_600_000,
                "time between two quotes of a symbol in a hibernating session",
            ),
            book_first: reader.choice(
                "SIM_BOOK",
                &["after", "before"],
                "after",
                "where the message with bid and ask comes in a snapshot",
            ) == "before",
            completes_errors: reader.flag(
                "SIM_COMPLETES_ERRORS",
                usual.completes_errors,
                "quote_completed follows the error of an unknown symbol, too",
            ),
            strict: reader.flag("SIM_STRICT", usual.strict, "unknown methods are answered with critical_error"),
            connections_max: reader.number(
                "SIM_CONNECTIONS_MAX",
                usual.connections_max,
                1..=64,
                "",
                "connections let in, more get 429",
            ),
            sessions_max: reader.number(
                "SIM_SESSIONS_MAX",
                usual.sessions_max,
                1..=100_000,
                "",
                "sessions a connection may create in its life",
            ),
            script,
        };
        Self { addr, ca_file, hosts, venue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_gives_the_usual_venue() {
        let mut reader = Reader::from_pairs([("", ""); 0]);
        let settings = ServerSettings::read(&mut reader);
        assert!(reader.problems().is_empty());
        assert_eq!(settings.addr.to_string(), "127.0.0.1:5036");
        assert_eq!((settings.venue.auth_token.as_str(), settings.venue.origin), ("sim-token", None));
        assert_eq!((settings.venue.symbols, settings.venue.ticks_per_s), (200, 5));
        assert_eq!(settings.venue.heartbeat_every, VenueSettings::default().heartbeat_every);
        assert_eq!(settings.venue.echo_within, VenueSettings::default().echo_within);
        assert_eq!((settings.ca_file, settings.hosts), (None, Vec::<String>::new()));
    }

    #[test]
    fn every_unusable_setting_is_named() {
        let mut reader = Reader::from_pairs([
            ("SIM_SYMBOLS", "0"),
            ("SIM_ADDR", "nowhere"),
            ("SIM_BOOK", "never"),
            ("SIM_STRICT", "perhaps"),
            ("SIM_PLAYBACK", "/no/such/file"),
            ("SIM_HOSTS", "sim, venue.test"),
        ]);
        let settings = ServerSettings::read(&mut reader);
        assert_eq!(settings.hosts, ["sim", "venue.test"]);
        let problems = reader.problems().join("\n");
        for name in ["SIM_SYMBOLS", "SIM_ADDR", "SIM_BOOK", "SIM_STRICT", "SIM_PLAYBACK"] {
            assert!(problems.contains(name), "{problems}");
        }
    }
}
