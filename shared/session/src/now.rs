use std::time::Duration;

/// One reading of both clocks: the monotonic one decides, the wall clock only stamps.
///
/// Deadlines are `elapsed` values, so a step of the wall clock moves none of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Monotonic time since an arbitrary start of the process.
    pub elapsed: Duration,
    /// Wall clock, Unix microseconds.
    pub unix_us: i64,
}

impl Now {
    /// Wall clock, Unix milliseconds.
    pub fn unix_ms(self) -> i64 {
        self.unix_us.div_euclid(1000)
    }

    /// What the wall clock as it goes now would have said at another monotonic time, Unix milliseconds.
    pub fn unix_ms_of(self, elapsed: Duration) -> i64 {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.unix_ms()
            .saturating_sub(millis(self.elapsed.saturating_sub(elapsed)))
            .saturating_add(millis(elapsed.saturating_sub(self.elapsed)))
    }
}
