use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// No window of this length holds more than so many of something.
#[derive(Clone, Debug)]
pub struct Pace {
    most: usize,
    window: Duration,
    /// When the latest ones went, at most `most`.
    sent: VecDeque<Duration>,
}

impl Pace {
    /// So many in any window of this length; none counts as one.
    pub fn new(most: usize, window: Duration) -> Self {
        Self { most: most.max(1), window, sent: VecDeque::new() }
    }

    /// When there will be leave for so many at once; a time that is over means now. More than fit in a window are let go
    /// once a whole one is free.
    pub fn next_at(&self, count: usize) -> Duration {
        let over = (self.sent.len() + count.min(self.most)).saturating_sub(self.most);
        let last_in_the_way = over.checked_sub(1).and_then(|index| self.sent.get(index));
        last_in_the_way.map_or(Duration::ZERO, |at| *at + self.window)
    }

    /// Takes leave for so many at once.
    ///
    /// # Errors
    /// When there will be leave for them.
    pub fn take(&mut self, now: Duration, count: usize) -> Result<(), Duration> {
        while self.sent.front().is_some_and(|at| *at + self.window <= now) {
            self.sent.pop_front();
        }
        let at = self.next_at(count);
        if at > now {
            return Err(at);
        }
        self.sent.extend(std::iter::repeat_n(now, count.min(self.most)));
        Ok(())
    }
}

/// How often a venue may be dialled by a process, whatever it does with the connections. Clones share the count, so that a
/// process does not forget it with its leadership.
#[derive(Clone, Debug, Default)]
pub struct DialPace(Option<Arc<Mutex<Pace>>>);

impl DialPace {
    /// As often as the backoff wants.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// So often in any minute.
    pub fn per_minute(most: usize) -> Self {
        Self(Some(Arc::new(Mutex::new(Pace::new(most, Duration::from_secs(60))))))
    }

    /// When there will be leave for the next one; a time that is over means now.
    pub(crate) fn next_at(&self) -> Duration {
        self.with(|pace| pace.next_at(1)).unwrap_or_default()
    }

    /// Takes leave for one.
    ///
    /// # Errors
    /// When there will be leave for it.
    pub(crate) fn take(&self, now: Duration) -> Result<(), Duration> {
        self.with(|pace| pace.take(now, 1)).unwrap_or(Ok(()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Pace) -> T) -> Option<T> {
        // Nothing is left half done by a panic elsewhere.
        self.0.as_ref().map(|pace| act(&mut pace.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    #[test]
    fn no_second_holds_more_than_allowed_and_none_is_wasted() {
        let mut pace = Pace::new(10, WINDOW);
        let mut sent = Vec::new();
        let mut now = Duration::from_secs(5);
        while now < Duration::from_secs(15) {
            match pace.take(now, 1 + sent.len() % 3) {
                Ok(()) => sent.extend(std::iter::repeat_n(now, 1 + sent.len() % 3)),
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        for start in &sent {
            let within = sent.iter().filter(|at| *at >= start && **at < *start + WINDOW).count();
            assert!(within <= 10, "{within} in a second");
        }
        assert!(sent.len() >= 80, "{} in ten seconds", sent.len());
    }

    #[test]
    fn more_than_fits_in_a_second_goes_when_one_is_free() {
        let mut pace = Pace::new(2, WINDOW);
        assert_eq!(pace.take(Duration::ZERO, 5), Ok(()));
        assert_eq!(pace.take(Duration::ZERO, 1), Err(WINDOW));
        assert_eq!(pace.take(WINDOW, 1), Ok(()));
    }

    #[test]
    fn clones_of_a_dial_pace_share_the_count() {
        let s = Duration::from_secs;
        let dials = DialPace::per_minute(2);
        let other = dials.clone();
        assert_eq!(
            (dials.take(s(100)), other.take(s(130)), dials.take(s(140))),
            (Ok(()), Ok(()), Err(s(160)))
        );
        assert_eq!(other.next_at(), s(160));
        assert_eq!((other.take(s(160)), dials.take(s(161))), (Ok(()), Err(s(190))));
        assert_eq!(DialPace::unlimited().take(s(0)), Ok(()));
    }
}
