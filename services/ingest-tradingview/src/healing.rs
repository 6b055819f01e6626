use std::time::Duration;

/// How soon a broken quote session is replaced: at once, and later each time it happens again soon.
#[derive(Default)]
pub(crate) struct Healing {
    in_a_row: u32,
    last: Option<Duration>,
    /// When a session may be opened again.
    not_before: Duration,
    /// The last one broke because there were too many.
    is_limited: bool,
}

/// The longest wait before a broken session is replaced, and the time after which it was the first one again.
const HEAL_AFTER_MAX: Duration = Duration::from_secs(30);
const HEALED_AFTER: Duration = Duration::from_secs(60);

impl Healing {
    /// A session broke, and no key of it is to blame; perhaps there are too many of them.
    pub(crate) fn broke(&mut self, now: Duration, is_limited: bool) {
        if self.last.is_none_or(|last| last + HEALED_AFTER <= now) {
            self.in_a_row = 0;
        }
        let wait = match self.in_a_row {
            0 => Duration::ZERO,
            before => Duration::from_secs(1 << (before - 1).min(5)).min(HEAL_AFTER_MAX),
        };
        self.in_a_row += 1;
        self.last = Some(now);
        self.not_before = now + wait;
        self.is_limited = is_limited;
    }

    /// When a session may be opened again. Keys on trial wait only for a limit: what broke theirs says nothing about
    /// others, but one session too many is one whoever needs it.
    pub(crate) fn opens_at(&self, on_trial: bool) -> Duration {
        if on_trial && !self.is_limited { Duration::ZERO } else { self.not_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_replaced_at_once_and_those_soon_after_ever_later() {
        let s = Duration::from_secs;
        let mut healing = Healing::default();
        let mut now = s(100);
        let waits: Vec<Duration> = (0..8)
            .map(|_| {
                healing.broke(now, false);
                let wait = healing.opens_at(false) - now;
                now += wait;
                wait
            })
            .collect();
        assert_eq!(waits, [s(0), s(1), s(2), s(4), s(8), s(16), s(30), s(30)]);
        healing.broke(now + HEALED_AFTER, false);
        assert_eq!(healing.opens_at(false), now + HEALED_AFTER, "long ago is forgotten");
    }

    #[test]
    fn a_limit_holds_for_keys_on_trial_too() {
        let now = Duration::from_secs(100);
        for is_limited in [false, true] {
            let mut healing = Healing::default();
            healing.broke(now, is_limited);
            healing.broke(now, is_limited);
            assert_eq!(healing.opens_at(true) > now, is_limited);
            assert!(healing.opens_at(false) > now);
        }
    }
}
