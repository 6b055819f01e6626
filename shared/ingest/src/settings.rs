use std::time::Duration;

use tickcast_bus::{BusSettings, HistoryBounds};
use tickcast_model::VenueId;
use tickcast_service::Reader;
use tickcast_session::{DemandLimits, DialPace, SupervisorSettings};

use crate::history;

/// Settings every ingest has, whatever its venue (contract, section 1).
pub struct IngestSettings {
    /// How to reach the bus.
    pub bus: BusSettings,
    stale_after: Duration,
    symbol_stale_min: Duration,
    symbol_stale_max: Duration,
    silence_timeout: Duration,
    connect_timeout: Duration,
    backoff_min: Duration,
    backoff_max: Duration,
    auth_retry: Duration,
    linger: Duration,
    pub(crate) leader_ttl: Duration,
    pub(crate) leader_replicas: usize,
    pub(crate) history: Option<HistoryBounds>,
}

const HOUR_MS: u64 = 3_600_000;

/// A session that was ready for so long is stable (cTrader facts 4, row 19).
const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Channels one ingest numbers at most.
const CHANNELS_MAX: usize = 100_000;

impl IngestSettings {
    /// Reads them.
    pub fn read(reader: &mut Reader) -> Self {
        let settings = Self {
            bus: BusSettings::read(|v| reader.optional(v.name, v.default, v.help)),
            stale_after: reader.millis(
                "STALE_AFTER_MS",
                30_000,
                100..=HOUR_MS,
                "data counts as stale after this long without any, while something is wanted",
            ),
            symbol_stale_min: reader.millis(
                "SYMBOL_STALE_MIN_MS",
                5_000,
                100..=HOUR_MS,
                "a symbol that ticks fast is stale after this long, at most STALE_AFTER_MS",
            ),
            symbol_stale_max: reader.millis(
                "SYMBOL_STALE_MAX_MS",
                300_000,
                100..=24 * HOUR_MS,
                "a symbol that ticks slowly is stale after this long, at least STALE_AFTER_MS",
            ),
            silence_timeout: reader.millis(
                "SILENCE_TIMEOUT_MS",
                60_000,
                100..=HOUR_MS,
                "nothing at all from the venue for this long: the link is dead",
            ),
            connect_timeout: reader.millis(
                "CONNECT_TIMEOUT_MS",
                15_000,
                100..=HOUR_MS,
                "dial, TLS and login together",
            ),
            backoff_min: reader.millis(
                "BACKOFF_MIN_MS",
                500,
                1..=HOUR_MS,
                "ceiling of the first wait before a redial (full jitter)",
            ),
            backoff_max: reader.millis(
                "BACKOFF_MAX_MS",
                30_000,
                1..=HOUR_MS,
                "ceiling of any wait before a redial",
            ),
            auth_retry: reader.millis(
                "AUTH_RETRY_MS",
                180_000,
                100..=24 * HOUR_MS,
                "next try after refused credentials, at least half of this",
            ),
            linger: reader.millis(
                "LINGER_MS",
                5_000,
                0..=HOUR_MS,
                "a symbol nobody wants any more is kept this long",
            ),
            leader_ttl: reader.millis(
                "LEADER_TTL_MS",
                3_000,
                1_000..=60_000,
                "a leader not heard of for this long is replaced; the same for all that serve an account",
            ),
            leader_replicas: reader.number(
                "LEADER_REPLICAS",
                1,
                1..=5,
                "",
                "copies of the leader lease, where its bucket has to be created; 3 in a cluster",
            ),
            history: history::read(reader),
        };
        for (name, problem) in settings.bus.problems() {
            reader.problem(name, problem);
        }
        if settings.symbol_stale_max < settings.symbol_stale_min {
            reader.problem("SYMBOL_STALE_MAX_MS", "is smaller than SYMBOL_STALE_MIN_MS");
        }
        if settings.backoff_max < settings.backoff_min {
            reader.problem("BACKOFF_MAX_MS", "is smaller than BACKOFF_MIN_MS");
        }
        settings
    }

    /// `CONNECT_TIMEOUT_MS`
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// `STALE_AFTER_MS`
    pub(crate) fn stale_after(&self) -> Duration {
        self.stale_after
    }

    pub(crate) fn supervisor(&self, venue: VenueId, epoch: u64, dials: DialPace) -> SupervisorSettings {
        SupervisorSettings {
            venue,
            epoch,
            connect_timeout: self.connect_timeout,
            silence_timeout: self.silence_timeout,
            stale_after: self.stale_after,
            symbol_stale_min: self.symbol_stale_min,
            symbol_stale_max: self.symbol_stale_max,
            backoff_min: self.backoff_min,
            backoff_max: self.backoff_max,
            auth_retry: self.auth_retry,
            dials,
            stable_after: STABLE_AFTER,
            linger: self.linger,
            demand: DemandLimits::default(),
            channels_max: CHANNELS_MAX,
            seed: fastrand::u64(..),
        }
    }
}
