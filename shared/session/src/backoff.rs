use std::time::Duration;

/// Exponential backoff with full jitter: the n-th wait is uniform between zero and min × 2ⁿ, at most max.
///
/// It never gives up. It forgets only when told to, which the supervisor does after a session that was stable:
/// a peer that accepts and drops us at once must not be dialled in a tight loop.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
}

/// The longest wait somebody else can ask for (cTrader facts 3.13: cap it and try again anyway).
const ASKED_MAX: Duration = Duration::from_secs(3_600);

impl Backoff {
    /// A backoff between the two bounds; `max` is raised to `min` where it is smaller.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), attempt: 0 }
    }

    /// Failed attempts since the last [`Backoff::forget`].
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Counts a failure and says how long to wait before the next attempt.
    pub fn fail(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let ceiling =
            self.min.saturating_mul(1u32.checked_shl(self.attempt).unwrap_or(u32::MAX)).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(rng.f64())
    }

    /// Counts a failure that waiting will hardly mend (refused credentials): between half of `slow` and all of it.
    pub fn fail_slowly(&mut self, slow: Duration, rng: &mut fastrand::Rng) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        slow.mul_f64(0.5 + rng.f64() / 2.0)
    }

    /// Counts a failure after which the other side said how long to wait: at least that, at most an hour, and up to a
    /// tenth more so that not everybody comes back at once. Where it asks for next to nothing, [`Backoff::fail`] holds.
    pub fn fail_until(&mut self, wait: Duration, rng: &mut fastrand::Rng) -> Duration {
        let asked = wait.min(ASKED_MAX).mul_f64(1.0 + rng.f64() / 10.0);
        asked.max(self.fail(rng))
    }

    /// Forgets the failures.
    pub fn forget(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn waits_grow_to_the_maximum_and_fill_the_whole_range() {
        let mut rng = fastrand::Rng::with_seed(1);
        for attempt in 0..40u32 {
            let ceiling = MIN.saturating_mul(1 << attempt.min(20)).min(MAX);
            let waits: Vec<Duration> = (0..500)
                .map(|_| {
                    let mut backoff = Backoff { min: MIN, max: MAX, attempt };
                    backoff.fail(&mut rng)
                })
                .collect();
            assert!(waits.iter().all(|wait| *wait <= ceiling));
            assert!(waits.iter().any(|wait| *wait < ceiling / 10), "full jitter reaches down");
            assert!(waits.iter().any(|wait| *wait > ceiling * 9 / 10), "full jitter reaches up");
        }
    }

    #[test]
    fn it_never_gives_up_and_forgets_when_told() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..10_000 {
            assert!(backoff.fail(&mut rng) <= MAX);
        }
        assert_eq!(backoff.attempt(), 10_000);
        backoff.forget();
        assert!(backoff.fail(&mut rng) <= MIN);
    }

    #[test]
    fn a_wait_that_was_asked_for_is_kept_and_bounded() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..1000 {
            let wait = backoff.fail_until(Duration::from_secs(100), &mut rng);
            assert!(wait >= Duration::from_secs(100) && wait <= Duration::from_secs(110));
            assert!(backoff.fail_until(Duration::MAX, &mut rng) <= ASKED_MAX.mul_f64(1.1));
        }
        let soon: Duration = (0..1000).map(|_| backoff.fail_until(Duration::ZERO, &mut rng)).sum();
        assert!(soon > MAX * 400, "asked to come back at once, we still back off: {soon:?} for a thousand");
    }

    #[test]
    fn a_refusal_waits_at_least_half_of_the_slow_time() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut backoff = Backoff::new(MIN, MAX);
        let slow = Duration::from_secs(180);
        for _ in 0..1000 {
            let wait = backoff.fail_slowly(slow, &mut rng);
            assert!(wait >= slow / 2 && wait <= slow);
        }
    }
}
