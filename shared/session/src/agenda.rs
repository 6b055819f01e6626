use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tickcast_model::Symbol;

use crate::pulse::Pulse;

/// When which symbol has to be looked at next.
///
/// Lazy: a quote moves no entry. An entry that comes up early is put back for later, so a busy symbol costs one entry
/// per threshold and nothing per quote. The entry that counts is the one whose time is in the symbol's [`Pulse`].
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BinaryHeap<Reverse<(Duration, Symbol)>>,
}

/// Entries come up together on this grid, so that thousands of symbols wake us a few times a second at most.
const GRID_MS: u64 = 250;
/// A symbol whose time moved closer by less than this keeps its entry.
const SLACK: Duration = Duration::from_millis(500);
/// Entries that may lie around beside one for each channel.
const SPARE: usize = 1_024;

impl Agenda {
    /// When the first entry comes up.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.entries.peek().map(|Reverse((due, _))| *due)
    }

    /// Sees to it that a symbol is looked at no later than the grid's next step after `due`.
    pub(crate) fn enter(&mut self, symbol: &Symbol, pulse: &mut Pulse, due: Duration) {
        let due = on_grid(due);
        if due < pulse.due {
            pulse.due = due;
            self.entries.push(Reverse((due, symbol.clone())));
        }
    }

    /// The same after a quote, for which being half a second late is good enough.
    #[inline]
    pub(crate) fn hurry(&mut self, symbol: &Symbol, pulse: &mut Pulse, due: Duration) {
        if due.saturating_add(SLACK) < pulse.due {
            self.enter(symbol, pulse, due);
        }
    }

    /// The next symbol whose time has come, with that time.
    pub(crate) fn next(&mut self, now: Duration) -> Option<(Duration, Symbol)> {
        self.entries.peek().filter(|Reverse((due, _))| *due <= now)?;
        self.entries.pop().map(|Reverse(entry)| entry)
    }

    /// Drops entries that do not count any more, where there are many of them.
    pub(crate) fn tidy(&mut self, channels: usize, counts: impl Fn(&Symbol, Duration) -> bool) {
        if self.entries.len() > channels.saturating_mul(2).saturating_add(SPARE) {
            self.entries.retain(|Reverse((due, symbol))| counts(symbol, *due));
        }
    }

    /// Entries, those that do not count any more included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn on_grid(due: Duration) -> Duration {
    let millis = u64::try_from(due.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Duration::from_millis(millis.div_ceil(GRID_MS).saturating_mul(GRID_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulse::NEVER;

    #[test]
    fn entries_come_up_in_order_on_the_grid_and_an_earlier_one_replaces_a_later() {
        let mut agenda = Agenda::default();
        let (a, b) = (Symbol::new("A").unwrap(), Symbol::new("B").unwrap());
        let (mut pulse_a, mut pulse_b) = (Pulse::new(), Pulse::new());
        agenda.enter(&a, &mut pulse_a, Duration::from_millis(2_001));
        agenda.enter(&b, &mut pulse_b, Duration::from_millis(1_000));
        agenda.hurry(&a, &mut pulse_a, Duration::from_millis(1_900));
        assert_eq!((agenda.len(), agenda.deadline()), (2, Some(Duration::from_secs(1))));
        agenda.hurry(&a, &mut pulse_a, Duration::from_millis(100));
        assert_eq!((agenda.len(), pulse_a.due), (3, Duration::from_millis(250)));
        let at = Duration::from_secs(1);
        assert_eq!(agenda.next(at), Some((Duration::from_millis(250), a.clone())));
        assert_eq!(agenda.next(at), Some((at, b)));
        assert_eq!(agenda.next(at), None);
        assert_eq!(agenda.next(Duration::from_secs(9)), Some((Duration::from_millis(2_250), a)));
    }

    #[test]
    fn entries_that_do_not_count_are_dropped_when_there_are_many() {
        let mut agenda = Agenda::default();
        let symbol = Symbol::new("A").unwrap();
        for second in (1..5_000).rev() {
            let mut pulse = Pulse::new();
            assert_eq!(pulse.due, NEVER);
            agenda.enter(&symbol, &mut pulse, Duration::from_secs(second));
            agenda.tidy(1, |_, due| due == Duration::from_secs(second));
            assert!(agenda.len() <= 2 + SPARE);
        }
    }
}
