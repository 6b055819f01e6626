//! When the calibrator sends, and which ticks go in one write.

use loadgen::feed::FeedPlan;

/// Rounds of sending: in each, every client gets the ticks that became due since the last one, in one write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rounds {
    /// The ticks.
    pub plan: FeedPlan,
    /// Time between two rounds, microseconds; 0 = a round for each tick.
    pub window_us: u64,
    next: u64,
    round: u64,
}

impl Rounds {
    /// Before the first round.
    pub fn new(plan: FeedPlan, window_us: u64) -> Self {
        Self { plan, window_us, next: 0, round: 0 }
    }

    /// When the next round is due, microseconds from the start.
    pub fn due_us(&self) -> u64 {
        match self.window_us {
            0 => self.plan.due_us(self.next),
            window_us => (self.round + 1) * window_us,
        }
    }

    /// Numbers of the ticks that go in the next round; what is late goes with it where there is a window.
    pub fn take(&mut self, now_us: u64) -> std::ops::Range<u64> {
        let first = self.next;
        match self.window_us {
            0 => self.next += 1,
            window_us => {
                self.round = now_us / window_us;
                while self.plan.due_us(self.next) <= now_us {
                    self.next += 1;
                }
            }
        }
        first..self.next
    }
}

#[cfg(test)]
mod tests {
    use tickcast_model::VenueId;

    use super::*;

    fn rounds(window_us: u64) -> Rounds {
        let venue = VenueId::new("bench").unwrap();
        Rounds::new(FeedPlan { venue, epoch: 1, symbols: 20, ticks_per_s: 50, slowdown: 1 }, window_us)
    }

    #[test]
    fn without_a_window_each_tick_is_a_round_however_late() {
        let mut rounds = rounds(0);
        assert_eq!((rounds.due_us(), rounds.take(0)), (0, 0..1));
        assert_eq!((rounds.due_us(), rounds.take(900_000)), (1_000, 1..2));
        assert_eq!(rounds.due_us(), 2_000);
    }

    #[test]
    fn with_a_window_a_round_takes_all_that_is_due() {
        let mut rounds = rounds(10_000);
        assert_eq!((rounds.due_us(), rounds.take(10_000)), (10_000, 0..11));
        assert_eq!((rounds.due_us(), rounds.take(45_000)), (20_000, 11..46));
        assert_eq!(rounds.due_us(), 50_000, "a late round makes no row of empty ones");
    }
}
