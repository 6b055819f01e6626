use std::collections::VecDeque;
use std::time::Duration;

/// Times within a sliding window.
#[derive(Default)]
pub(crate) struct Window(VecDeque<Duration>);

impl Window {
    /// Adds one at `now` and counts those of the last `window`.
    pub(crate) fn count(&mut self, now: Duration, window: Duration) -> usize {
        while self.0.front().is_some_and(|at| now - *at >= window) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len()
    }
}
