use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tickcast_session::Now;
use tokio::time::Instant;

/// The clocks of this process, as the pure code wants them read.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Both clocks, read at once.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { elapsed: self.started.elapsed(), unix_us: i64::try_from(unix.as_micros()).unwrap_or(i64::MAX) }
    }

    /// The instant of an [`Now::elapsed`] value.
    pub fn instant(&self, elapsed: Duration) -> Instant {
        self.started + elapsed
    }
}
