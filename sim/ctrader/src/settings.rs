//! How the venue is set up.

use std::time::Duration;

/// How the venue behaves when nothing is wrong.
#[derive(Clone)]
pub struct VenueSettings {
    /// Chooses the walks and every other chance; the same seed gives the same venue.
    pub seed: u64,
    /// Number of symbols, 1 to [`crate::SYMBOLS_MAX`].
    pub symbols: usize,
    /// Mean number of spot events per second of each watched symbol.
    pub ticks_per_s: u32,
    /// The application let in.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The first access token; a refresh replaces it.
    pub access_token: String,
    /// The first refresh token; using it replaces it.
    pub refresh_token: String,
    /// The one account.
    pub account_id: i64,
    /// Own silence after which the venue sends a heartbeat; up to a fifth more is added by chance (facts 3.3).
    pub heartbeat_after: Duration,
    /// Silence of a client after which it is disconnected (facts 3.3).
    pub inactivity_cutoff: Duration,
    /// Requests per second and connection, historical ones not counted (facts 3.4).
    pub requests_per_s: usize,
    /// Historical requests per second and connection (facts 3.4).
    pub historical_per_s: usize,
    /// Connections of the application that are let in (facts 3.4).
    pub connections_max: usize,
    /// What a client is told that asks too often.
    pub rate_answer: RateAnswer,
    /// Longest frame accepted from a client, in bytes.
    pub frame_bytes_max: usize,
}

/// The two answers seen in the wild to too many requests (facts 3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateAnswer {
    /// `BLOCKED_PAYLOAD_TYPE` with `retryAfter` (2026).
    Blocked,
    /// `REQUEST_FREQUENCY_EXCEEDED` (2022).
    FrequencyExceeded,
}

impl Default for VenueSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            symbols: 200,
            ticks_per_s: 20,
            client_id: "sim-app".into(),
            client_secret: "sim-secret".into(),
            access_token: "sim-token".into(),
            refresh_token: "sim-refresh".into(),
            account_id: 1_000_001,
            heartbeat_after: Duration::from_secs(25),
            inactivity_cutoff: Duration::from_secs(30),
            requests_per_s: 50,
            historical_per_s: 5,
            connections_max: 25,
            rate_answer: RateAnswer::Blocked,
            frame_bytes_max: 1 << 20,
        }
    }
}
