use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tickcast_session::Now;
use tokio::time::Instant;

/// The clocks of this process, as the pure code wants them read.
///
/// [`Now::elapsed`] goes on while the machine sleeps, which the clock of the timers does not: a sleep shows as a call that
/// comes much later than it was asked for, like any other pause.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Duration,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started: since_boot() }
    }

    /// Both clocks, read at once.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { elapsed: self.elapsed(), unix_us: i64::try_from(unix.as_micros()).unwrap_or(i64::MAX) }
    }

    /// When the timers reach an [`Now::elapsed`] value, as long as the machine does not sleep on the way.
    pub fn instant(&self, elapsed: Duration) -> Instant {
        Instant::now() + elapsed.saturating_sub(self.elapsed())
    }

    /// Time since the start, sleep included.
    pub(crate) fn elapsed(&self) -> Duration {
        since_boot().saturating_sub(self.started)
    }
}

/// Time since the machine started, its sleep included.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_forward_and_an_instant_is_where_its_time_is() {
        let clock = Clock::start();
        let first = clock.now();
        let in_a_minute = clock.instant(first.elapsed + Duration::from_secs(60));
        let left = in_a_minute.saturating_duration_since(Instant::now());
        assert!(left > Duration::from_secs(30) && left <= Duration::from_secs(60), "{left:?}");
        assert!(clock.now().elapsed >= first.elapsed);
        assert!(clock.instant(Duration::ZERO) <= Instant::now(), "what is over is now");
    }
}
