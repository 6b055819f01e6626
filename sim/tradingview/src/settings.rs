//! How the venue is set up.

use std::time::Duration;

use crate::script::Script;

/// The token of those who have none (facts 5.3).
pub const ANONYMOUS_TOKEN: &str = "unauthorized_user_token";

/// What is said of an unknown symbol where nothing else is wanted (facts 4.1).
pub(crate) const UNKNOWN_SYMBOL: &str = "invalid symbol";

/// How the venue behaves when nothing is wrong.
#[derive(Clone)]
pub struct VenueSettings {
    /// Chooses the walks and every other chance; the same seed gives the same venue.
    pub seed: u64,
    /// Number of instruments, 1 to [`crate::SYMBOLS_MAX`].
    pub symbols: usize,
    /// Mean number of updates per second of each watched instrument.
    pub ticks_per_s: u32,
    /// The market moves so many times more slowly than `ticks_per_s`, for long simulations.
    pub slower: u32,
    /// The good token beside the anonymous one; it makes delayed instruments stream. So is any that goes on with a dot after
    /// it, so that one can be replaced by another.
    pub auth_token: String,
    /// The only Origin let in; `None` = any (facts 1.3).
    pub origin: Option<String>,
    /// Whether markets close at weekends, and shares at night; else they never close.
    pub calendar: bool,
    /// Time between heartbeats (facts 2.2).
    pub heartbeat_every: Duration,
    /// Time in which a heartbeat has to be echoed (facts 2.2).
    pub echo_within: Duration,
    /// Time between two updates of a symbol in a hibernating session (facts 3.3).
    pub hibernate_every: Duration,
    /// Whether bid and ask come before the main part of a snapshot (2019) or after it (2025; facts 0.9).
    pub book_first: bool,
    /// Whether `quote_completed` follows the error of an unknown symbol; an open question of the facts.
    pub completes_errors: bool,
    /// The `errmsg` of an unknown symbol; an open question of the facts.
    pub unknown_symbol: String,
    /// Keys a quote session may hold; more cost the session. No such limit is known (facts 5.4).
    pub session_symbols_max: usize,
    /// Whether unknown methods are answered with a `critical_error` (facts 8).
    pub strict: bool,
    /// Connections let in; more get 429 (facts 5.4).
    pub connections_max: usize,
    /// Sessions a connection may ever create (facts 5.4).
    pub sessions_max: usize,
    /// Played in place of the market where there is one: added keys are judged and not answered (facts 8).
    pub script: Option<Script>,
}

impl Default for VenueSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            symbols: 200,
            ticks_per_s: 5,
            slower: 1,
            auth_token: "sim-token".into(),
            origin: None,
            calendar: false,
            heartbeat_every: Duration::from_secs(10),
            echo_within: Duration::from_secs(30),
            hibernate_every: Duration::from_secs(5),
            book_first: false,
            completes_errors: false,
            unknown_symbol: UNKNOWN_SYMBOL.into(),
            session_symbols_max: 100_000,
            strict: false,
            connections_max: 20,
            sessions_max: 200,
            script: None,
        }
    }
}
