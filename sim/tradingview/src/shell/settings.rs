use sim_kit::shell::{ListenerSettings, MarketSettings, file, secret};
use tickcast_service::Reader;

use crate::settings::UNKNOWN_SYMBOL;
use crate::{SYMBOLS_MAX, Script, VenueSettings};

/// How to run the simulator as a process.
pub struct ServerSettings {
    /// Where it is reached.
    pub listener: ListenerSettings,
    /// The venue itself.
    pub venue: VenueSettings,
}

impl ServerSettings {
    /// Reads the settings of the process; problems stay with the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let usual = VenueSettings::default();
        let help =
            "listener of the venue, wss and for loopback clients also ws; port 0 = any free one, logged";
        let listener = ListenerSettings::read(reader, "127.0.0.1:5036", help);
        let help =
            "a recorded session, played to every client in place of the market; lines of <ms> <payload>";
        let script =
            file(reader, "SIM_PLAYBACK", help, |text| Script::read(text).map_err(|error| error.to_string()));
        let market =
            MarketSettings { seed: usual.seed, symbols: usual.symbols, ticks_per_s: usual.ticks_per_s };
        let market = MarketSettings::read(reader, market, 1..=SYMBOLS_MAX);
        let venue = VenueSettings {
            seed: market.seed,
            symbols: market.symbols,
            ticks_per_s: market.ticks_per_s,
            slower: usual.slower,
            auth_token: secret(
                reader,
                "SIM_AUTH_TOKEN",
                "token let in beside the anonymous one; it makes delayed symbols stream; unset = sim-token",
                usual.auth_token,
            ),
            origin: reader.optional("SIM_ORIGIN", "", "the only Origin let in, others get 403; unset = any"),
            calendar: reader.flag(
                "SIM_CALENDAR",
                usual.calendar,
                "markets close at weekends and shares at night (docs/simulator-tradingview.md); else they never close",
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
            unknown_symbol: reader.text(
                "SIM_UNKNOWN_SYMBOL",
                UNKNOWN_SYMBOL,
                "errmsg of the error of an unknown symbol",
            ),
            session_symbols_max: reader.number(
                "SIM_SESSION_SYMBOLS_MAX",
                usual.session_symbols_max,
                1..=100_000,
                "",
                "symbols a quote session may hold, more cost it a critical_error",
            ),
            strict: reader.flag(
                "SIM_STRICT",
                usual.strict,
                "unknown methods are answered with critical_error",
            ),
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
        Self { listener, venue }
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
        assert_eq!(settings.listener.addr.to_string(), "127.0.0.1:5036");
        assert_eq!((settings.venue.auth_token.as_str(), settings.venue.origin), ("sim-token", None));
        assert_eq!((settings.venue.symbols, settings.venue.ticks_per_s), (200, 5));
        assert_eq!(settings.venue.heartbeat_every, VenueSettings::default().heartbeat_every);
        assert_eq!(settings.venue.echo_within, VenueSettings::default().echo_within);
        assert_eq!((settings.listener.ca_file, settings.listener.hosts), (None, Vec::<String>::new()));
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
        assert_eq!(settings.listener.hosts, ["sim", "venue.test"]);
        let problems = reader.problems().join("\n");
        for name in ["SIM_SYMBOLS", "SIM_ADDR", "SIM_BOOK", "SIM_STRICT", "SIM_PLAYBACK"] {
            assert!(problems.contains(name), "{problems}");
        }
    }
}
