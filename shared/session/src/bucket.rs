use std::time::Duration;

/// A token bucket: at most `burst` at once and `per_second` in the long run.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    interval: Duration,
    window: Duration,
    /// When the bucket will be full again. One token costs one interval; a full bucket lies in the past.
    full_at: Duration,
}

impl TokenBucket {
    /// A full bucket; a rate or burst of zero counts as one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, window: interval * burst.max(1), full_at: Duration::ZERO }
    }

    /// Takes one token at time `now`, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        let free = self.next_at() <= now;
        if free {
            self.full_at = self.full_at.max(now) + self.interval;
        }
        free
    }

    /// When the next token can be taken; a time in the past means now.
    pub fn next_at(&self) -> Duration {
        (self.full_at + self.interval).saturating_sub(self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(45, 10);
        let start = Duration::from_secs(100);
        assert_eq!((0..50).filter(|_| bucket.take(start)).count(), 10);
        let mut taken = 0;
        for step in 1..=1000u32 {
            taken += u32::from(bucket.take(start + Duration::from_millis(1) * step));
        }
        assert!((44..=45).contains(&taken), "{taken} in a second");
    }

    #[test]
    fn it_says_when_the_next_one_is_free() {
        let mut bucket = TokenBucket::new(4, 1);
        let start = Duration::from_secs(5);
        assert!(bucket.take(start));
        assert!(!bucket.take(start));
        assert_eq!(bucket.next_at(), start + Duration::from_millis(250));
        assert!(bucket.take(bucket.next_at()));
    }
}
