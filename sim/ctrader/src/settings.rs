//! How the venue is set up.

use std::time::Duration;

use crate::recording::Recording;
use crate::wire::ProtoOaErrorCode;

/// How the venue behaves when nothing is wrong.
#[derive(Clone)]
pub struct VenueSettings {
    /// Chooses the walks and every other chance; the same seed gives the same venue.
    pub seed: u64,
    /// Number of symbols, 1 to [`crate::SYMBOLS_MAX`].
    pub symbols: usize,
    /// Mean number of spot events per second of each watched symbol.
    pub ticks_per_s: u32,
    /// How many times slower than that, for markets with less than one event a second.
    pub slower: u32,
    /// The application let in.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The first access token of the first grant, which opens every account; a refresh replaces it.
    pub access_token: String,
    /// Its first refresh token; using it replaces it.
    pub refresh_token: String,
    /// The first account; it lives in this environment.
    pub account_id: i64,
    /// Further accounts.
    pub more_accounts: Vec<Account>,
    /// Further grants. Grants are independent of each other.
    pub more_grants: Vec<Grant>,
    /// Whether this is the live environment; accounts of the other one cannot be routed (facts 3.1).
    pub is_live: bool,
    /// How long an access token is good, from the start (time elapsed 0) or from its refresh on (facts 3.2).
    pub token_lifetime: Duration,
    /// What a login with an expired access token is answered with.
    pub expired_answer: ExpiredAnswer,
    /// Whether markets open and close; else they never close, and the schedules told say so.
    pub calendar: bool,
    /// What is played in place of the walks of its symbols.
    pub recording: Option<Recording>,
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

/// A trading account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its `ctidTraderAccountId`.
    pub id: i64,
    /// True where it lives in the live environment, false in the demo one.
    pub is_live: bool,
}

/// A pair of tokens and the accounts it opens. Without `Debug`: tokens are shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The first access token.
    pub access_token: String,
    /// The first refresh token.
    pub refresh_token: String,
    /// The accounts.
    pub accounts: Vec<i64>,
}

/// The two answers thinkable to an expired access token; which one the real venue gives is not confirmed (facts 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpiredAnswer {
    /// `OA_AUTH_TOKEN_EXPIRED`.
    Expired,
    /// `CH_ACCESS_TOKEN_INVALID`.
    Invalid,
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
            slower: 1,
            client_id: "sim-app".into(),
            client_secret: "sim-secret".into(),
            access_token: "sim-token".into(),
            refresh_token: "sim-refresh".into(),
            account_id: 1_000_001,
            more_accounts: Vec::new(),
            more_grants: Vec::new(),
            is_live: false,
            token_lifetime: Duration::from_secs(2_628_000),
            expired_answer: ExpiredAnswer::Expired,
            calendar: false,
            recording: None,
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

impl VenueSettings {
    /// Every account there is.
    pub fn accounts(&self) -> Vec<Account> {
        let first = Account { id: self.account_id, is_live: self.is_live };
        std::iter::once(first).chain(self.more_accounts.iter().copied()).collect()
    }

    /// Every grant there is.
    pub fn grants(&self) -> Vec<Grant> {
        let first = Grant {
            access_token: self.access_token.clone(),
            refresh_token: self.refresh_token.clone(),
            accounts: self.accounts().iter().map(|account| account.id).collect(),
        };
        std::iter::once(first).chain(self.more_grants.iter().cloned()).collect()
    }
}

impl ExpiredAnswer {
    pub(crate) fn code(self) -> ProtoOaErrorCode {
        match self {
            Self::Expired => ProtoOaErrorCode::OaAuthTokenExpired,
            Self::Invalid => ProtoOaErrorCode::ChAccessTokenInvalid,
        }
    }
}
