use std::time::Duration;

use fastrand::Rng;

/// The settings of a life. Where the contract has a default, the defaults are among them.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// `CONNECT_TIMEOUT_MS`.
    pub connect_timeout: Duration,
    /// `SILENCE_TIMEOUT_MS`.
    pub silence_timeout: Duration,
    /// `STALE_AFTER_MS`.
    pub stale_after: Duration,
    /// `BACKOFF_MIN_MS`.
    pub backoff_min: Duration,
    /// `BACKOFF_MAX_MS`; shorter than the default, for everything has to be live within 30 s of the last fault.
    pub backoff_max: Duration,
    /// `AUTH_RETRY_MS`.
    pub auth_retry: Duration,
    /// `LINGER_MS`.
    pub linger: Duration,
    /// `LEASE_TTL_MS` of the gateways.
    pub lease_ttl: Duration,
    /// `LEADER_TTL_MS`.
    pub leader_ttl: Duration,
    /// Seconds between two ticks of a watched symbol, on average.
    pub slower: u32,
    /// Whether the markets have a weekend.
    pub calendar: bool,
    /// Symbols the venue has.
    pub symbols: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(60),
            stale_after: Duration::from_secs(30),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(10),
            auth_retry: Duration::from_secs(120),
            linger: Duration::from_secs(5),
            lease_ttl: Duration::from_secs(15),
            leader_ttl: Duration::from_secs(3),
            slower: 1,
            calendar: false,
            symbols: 12,
        }
    }
}

impl Tuning {
    /// Settings by chance, so that no test passes by an accident of the defaults.
    pub fn drawn(rng: &mut Rng) -> Self {
        let mut seconds = |range| Duration::from_secs(rng.u64(range));
        Self {
            connect_timeout: seconds(3..=10),
            silence_timeout: seconds(40..=60),
            stale_after: seconds(8..=30),
            backoff_max: seconds(2..=10),
            auth_retry: seconds(30..=120),
            linger: seconds(0..=5),
            lease_ttl: seconds(10..=30),
            leader_ttl: seconds(2..=6),
            ..Self::default()
        }
    }
}
