use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tickcast_model::Position;

/// What the sequence audit found, summed over channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Ticks looked at, snapshots included.
    pub ticks: u64,
    /// Ticks marked as snapshots.
    pub snapshots: u64,
    /// `gap` messages.
    pub gaps: u64,
    /// Ticks the gaps declared as missed.
    pub missed: u64,
    /// Jumps in the numbering that no gap announced in full.
    pub holes: u64,
    /// Ticks lost in these jumps.
    pub lost: u64,
    /// Gaps that announced more than was missing.
    pub overstated: u64,
    /// Ticks that came twice.
    pub duplicates: u64,
    /// Ticks that came after a later one.
    pub disordered: u64,
    /// Changes to a later incarnation of the ingest.
    pub epoch_changes: u64,
    /// Ticks of channels nobody asked for.
    pub unasked: u64,
    /// Ticks that came folded into a later one (`latest` mode).
    pub folded: u64,
}

impl Findings {
    /// True where every promise about order and completeness was kept.
    pub fn is_clean(&self) -> bool {
        let Self { holes, overstated, duplicates, disordered, unasked, .. } = *self;
        [holes, overstated, duplicates, disordered, unasked] == [0; 5]
    }

    /// Adds another client's findings.
    pub fn add(&mut self, other: &Self) {
        self.ticks += other.ticks;
        self.snapshots += other.snapshots;
        self.gaps += other.gaps;
        self.missed += other.missed;
        self.holes += other.holes;
        self.lost += other.lost;
        self.overstated += other.overstated;
        self.duplicates += other.duplicates;
        self.disordered += other.disordered;
        self.epoch_changes += other.epoch_changes;
        self.unasked += other.unasked;
        self.folded += other.folded;
    }

    /// A tick arrived of a channel nobody asked for.
    pub fn unasked(&mut self, snapshot: bool) {
        self.ticks += 1;
        self.snapshots += u64::from(snapshot);
        self.unasked += 1;
    }
}

/// Where one client stands in one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Channel {
    last: Option<Position>,
    /// Ticks declared missing since the last tick.
    announced: u32,
}

impl Channel {
    /// The last tick that arrived.
    pub fn last(&self) -> Option<Position> {
        self.last
    }

    /// A tick arrived; `folded` ticks before it are in it (`latest` mode), which is no loss.
    pub fn tick(&mut self, findings: &mut Findings, position: Position, snapshot: bool, folded: u64) {
        findings.ticks += 1;
        findings.snapshots += u64::from(snapshot);
        findings.folded += folded;
        let announced = u64::from(std::mem::take(&mut self.announced));
        let Some(last) = self.last.replace(position) else { return };
        if position.epoch != last.epoch || position.seq <= last.seq {
            if position.epoch > last.epoch {
                findings.epoch_changes += 1;
                return;
            }
            if position == last {
                findings.duplicates += 1;
            } else {
                findings.disordered += 1;
            }
            self.last = Some(last);
            self.announced = u32::try_from(announced).unwrap_or(u32::MAX);
            return;
        }
        let missing = position.seq - last.seq - 1;
        let accounted = announced.saturating_add(folded);
        if missing > accounted {
            findings.holes += 1;
            findings.lost += missing - accounted;
        } else if missing < accounted {
            findings.overstated += 1;
        }
    }

    /// A `gap` message arrived, declaring `missed` ticks.
    pub fn gap(&mut self, findings: &mut Findings, missed: u64) {
        findings.gaps += 1;
        findings.missed = findings.missed.saturating_add(missed);
        self.announced = self.announced.saturating_add(u32::try_from(missed).unwrap_or(u32::MAX));
    }
}

/// One client's check that each channel's ticks come once, in order, and that nothing goes missing unannounced.
pub struct Audit {
    channels: HashMap<Box<[u8]>, Channel>,
    channels_max: usize,
    findings: Findings,
}

impl Audit {
    /// An audit of a client that asked for `channels_max` channels; ticks of more are counted as unasked.
    pub fn new(channels_max: usize) -> Self {
        Self { channels: HashMap::new(), channels_max, findings: Findings::default() }
    }

    /// What was found so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// A tick arrived.
    pub fn tick(&mut self, symbol: &[u8], position: Position, snapshot: bool) {
        match channel_of(&mut self.channels, self.channels_max, symbol) {
            Some(channel) => channel.tick(&mut self.findings, position, snapshot, 0),
            None => self.findings.unasked(snapshot),
        }
    }

    /// A `gap` message arrived, declaring `missed` ticks.
    pub fn gap(&mut self, symbol: &[u8], missed: u64) {
        match channel_of(&mut self.channels, self.channels_max, symbol) {
            Some(channel) => channel.gap(&mut self.findings, missed),
            None => Channel::default().gap(&mut self.findings, missed),
        }
    }

    /// The client left the channel: what comes after it subscribes again is a new start.
    pub fn forget(&mut self, symbol: &[u8]) {
        self.channels.remove(symbol);
    }
}

fn channel_of<'a>(
    channels: &'a mut HashMap<Box<[u8]>, Channel>,
    channels_max: usize,
    symbol: &[u8],
) -> Option<&'a mut Channel> {
    if !channels.contains_key(symbol) {
        if channels.len() >= channels_max {
            return None;
        }
        channels.insert(symbol.into(), Channel::default());
    }
    channels.get_mut(symbol)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch, seq }
    }

    fn of_ticks(ticks: &[(u64, u64)]) -> Findings {
        let mut audit = Audit::new(1);
        for &(epoch, seq) in ticks {
            audit.tick(b"A", at(epoch, seq), false);
        }
        *audit.findings()
    }

    #[test]
    fn an_unbroken_sequence_is_clean_wherever_it_starts() {
        let found = of_ticks(&[(1, 17), (1, 18), (1, 19)]);
        assert!(found.is_clean());
        assert_eq!(found.ticks, 3);
    }

    #[test]
    fn a_jump_is_a_hole_unless_announced_in_full() {
        let found = of_ticks(&[(1, 1), (1, 5), (1, 6), (1, 8)]);
        assert_eq!((found.holes, found.lost), (2, 4));
        assert!(!found.is_clean());

        let mut audit = Audit::new(1);
        audit.tick(b"A", at(1, 1), true);
        audit.gap(b"A", 2);
        audit.gap(b"A", 1);
        audit.tick(b"A", at(1, 5), false);
        assert!(audit.findings().is_clean());
        assert_eq!((audit.findings().gaps, audit.findings().missed, audit.findings().snapshots), (2, 3, 1));

        audit.gap(b"A", 1);
        audit.tick(b"A", at(1, 8), false);
        assert_eq!((audit.findings().holes, audit.findings().lost), (1, 1));
    }

    #[test]
    fn a_gap_that_says_too_much_is_found() {
        let mut audit = Audit::new(1);
        audit.tick(b"A", at(1, 1), false);
        audit.gap(b"A", 2);
        audit.tick(b"A", at(1, 3), false);
        assert_eq!(audit.findings().overstated, 1);
        audit.tick(b"A", at(1, 4), false);
        assert_eq!(
            (audit.findings().overstated, audit.findings().holes),
            (1, 0),
            "an announcement counts once"
        );
    }

    #[test]
    fn twice_and_late_are_told_apart_and_do_not_move_the_sequence_back() {
        let found = of_ticks(&[(1, 1), (1, 2), (1, 2), (1, 1), (1, 3)]);
        assert_eq!((found.duplicates, found.disordered, found.holes), (1, 1, 0));
        assert_eq!(of_ticks(&[(2, 1), (1, 9), (2, 2)]).disordered, 1);
    }

    #[test]
    fn a_later_incarnation_starts_anew() {
        let found = of_ticks(&[(1, 900), (2, 1), (2, 2)]);
        assert!(found.is_clean());
        assert_eq!(found.epoch_changes, 1);
    }

    #[test]
    fn channels_nobody_asked_for_are_counted_and_not_remembered() {
        let mut audit = Audit::new(1);
        audit.tick(b"A", at(1, 1), false);
        audit.tick(b"B", at(1, 1), false);
        audit.gap(b"C", 4);
        assert_eq!(audit.findings().unasked, 1);
        assert_eq!(audit.channels.len(), 1);
        audit.forget(b"A");
        audit.tick(b"A", at(1, 1), true);
        assert_eq!(audit.findings().duplicates, 0);
    }

    #[test]
    fn ticks_folded_into_one_are_accounted_for_and_nothing_more() {
        let (mut channel, mut found) = (Channel::default(), Findings::default());
        channel.tick(&mut found, at(1, 1), false, 0);
        channel.tick(&mut found, at(1, 5), false, 3);
        assert!(found.is_clean());
        assert_eq!(found.folded, 3);
        channel.tick(&mut found, at(1, 9), false, 1);
        assert_eq!((found.holes, found.lost), (1, 2));
    }

    proptest! {
        #[test]
        fn whatever_is_dropped_is_found_to_the_tick(kept in proptest::collection::vec(any::<bool>(), 2..200)) {
            let mut audit = Audit::new(1);
            let mut inside = Vec::new();
            for (index, kept) in kept.iter().enumerate() {
                if *kept {
                    audit.tick(b"A", at(1, index as u64 + 1), false);
                    inside.push(index);
                }
            }
            let between = match (inside.first(), inside.last()) {
                (Some(first), Some(last)) => last - first + 1 - inside.len(),
                _ => 0,
            };
            prop_assert_eq!(audit.findings().lost, between as u64);
            prop_assert_eq!(audit.findings().is_clean(), between == 0);
        }
    }
}
