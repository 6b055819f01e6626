use std::collections::VecDeque;
use std::time::Duration;

/// No window of a second holds more than so many messages of ours.
pub(crate) struct Pace {
    most: usize,
    /// When the latest ones went, at most `most`.
    sent: VecDeque<Duration>,
}

const WINDOW: Duration = Duration::from_secs(1);

impl Pace {
    /// So many messages in any second.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), sent: VecDeque::new() }
    }

    /// Takes leave for so many messages at once.
    ///
    /// # Errors
    /// When there will be leave for them. More than fit in a second are let go once a whole one is free.
    pub(crate) fn take(&mut self, now: Duration, messages: usize) -> Result<(), Duration> {
        while self.sent.front().is_some_and(|at| *at + WINDOW <= now) {
            self.sent.pop_front();
        }
        let messages = messages.min(self.most);
        let over = (self.sent.len() + messages).saturating_sub(self.most);
        if let Some(last_in_the_way) = over.checked_sub(1).and_then(|index| self.sent.get(index)) {
            return Err(*last_in_the_way + WINDOW);
        }
        self.sent.extend(std::iter::repeat_n(now, messages));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_holds_more_than_allowed_and_none_is_wasted() {
        let mut pace = Pace::new(10);
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
        let mut pace = Pace::new(2);
        assert_eq!(pace.take(Duration::ZERO, 5), Ok(()));
        assert_eq!(pace.take(Duration::ZERO, 1), Err(WINDOW));
        assert_eq!(pace.take(WINDOW, 1), Ok(()));
    }
}
