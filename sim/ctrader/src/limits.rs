//! How many requests a connection may make (facts 3.4).

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;

const WINDOW: Duration = Duration::from_secs(1);

/// How long a payload type stays blocked after a breach, in seconds, unless chosen otherwise.
const BLOCK_S: u64 = 1;

/// Counts the requests of one connection over the last second, historical ones apart.
#[derive(Debug)]
pub(crate) struct RequestLimits {
    ordinary: Window,
    historical: Window,
    block_s: u64,
    /// Until when a payload type is refused. Unknown types share the key 0, so there are as many as the schema has.
    blocked: FxHashMap<u32, Duration>,
}

#[derive(Debug)]
struct Window {
    requests_max: usize,
    recent: VecDeque<Duration>,
}

impl RequestLimits {
    pub(crate) fn new(requests_per_s: usize, historical_per_s: usize) -> Self {
        let window = |requests_max| Window { requests_max, recent: VecDeque::new() };
        Self {
            ordinary: window(requests_per_s),
            historical: window(historical_per_s),
            block_s: BLOCK_S,
            blocked: FxHashMap::default(),
        }
    }

    /// Other limits from now on; `block_s` is how long a payload type stays blocked after a breach.
    pub(crate) fn choose(&mut self, requests_per_s: usize, historical_per_s: usize, block_s: Option<u64>) {
        self.ordinary.requests_max = requests_per_s;
        self.historical.requests_max = historical_per_s;
        self.block_s = block_s.unwrap_or(BLOCK_S);
    }

    /// Counts a request, or says in how many seconds this payload type is accepted again.
    ///
    /// A refused request does not count, and a block concerns its own payload type only.
    pub(crate) fn admit(&mut self, payload_type: u32, historical: bool, now: Duration) -> Result<(), u64> {
        if let Some(until) = self.blocked.get(&payload_type).copied() {
            if now < until {
                return Err((until - now).as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX));
            }
            self.blocked.remove(&payload_type);
        }
        let window = if historical { &mut self.historical } else { &mut self.ordinary };
        if window.admit(now) {
            return Ok(());
        }
        self.blocked.insert(payload_type, now + Duration::from_secs(self.block_s));
        Err(self.block_s)
    }
}

impl Window {
    fn admit(&mut self, now: Duration) -> bool {
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) >= WINDOW) {
            self.recent.pop_front();
        }
        let admitted = self.recent.len() < self.requests_max;
        if admitted {
            self.recent.push_back(now);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_window_slides() {
        let mut limits = RequestLimits::new(3, 1);
        for at in [0, 400, 800] {
            assert_eq!(limits.admit(1, false, ms(at)), Ok(()));
        }
        assert_eq!(limits.admit(2, false, ms(999)), Err(1));
        assert_eq!(limits.admit(1, false, ms(1_000)), Ok(()));
        assert_eq!(limits.admit(1, false, ms(1_001)), Err(1));
    }

    #[test]
    fn a_block_lasts_its_time_and_concerns_one_payload_type() {
        let mut limits = RequestLimits::new(1, 1);
        assert_eq!(limits.admit(1, false, ms(0)), Ok(()));
        assert_eq!(limits.admit(1, false, ms(900)), Err(1));
        assert_eq!(limits.admit(2, false, ms(1_000)), Ok(()));
        assert_eq!(limits.admit(1, false, ms(1_899)), Err(1));
        assert_eq!(limits.admit(1, false, ms(2_000)), Ok(()));
    }

    #[test]
    fn historical_requests_are_counted_apart() {
        let mut limits = RequestLimits::new(1, 1);
        assert_eq!(limits.admit(1, false, ms(0)), Ok(()));
        assert_eq!(limits.admit(2, true, ms(0)), Ok(()));
        assert_eq!(limits.admit(3, true, ms(0)), Err(1));
    }
}
