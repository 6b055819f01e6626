use std::collections::VecDeque;
use std::sync::Arc;

use tickcast_model::Price;

use crate::frame::{Frame, Gap};

/// Extremes remembered of each kind. Prices that rise and fall need about the root of so many ticks, and a price that
/// moves one way for longer than this lets go of the oldest.
const PEAKS_MAX: usize = 512;

/// Holes remembered in one incarnation.
const HOLES_MAX: usize = 64;

/// What any reader's pending ticks come to when they are told as one: how many, the highest and the lowest price.
///
/// Pending is always everything from the reader's place to the newest tick. Of all such stretches the extremes are known from
/// two lists: the ticks that are higher than everything after them, and those that are lower. It reaches further back than
/// the ring does. There is one for each channel of a writer that has readers who need it.
#[derive(Clone, Debug, Default)]
pub struct Folds {
    /// The incarnation of the newest tick.
    newest: Option<Suffix>,
    /// The one before, for who has not got the end of it.
    before: Option<Suffix>,
}

/// Ticks told as one.
#[derive(Clone, Copy, Debug)]
pub struct Merged<'a> {
    /// The newest of them.
    pub frame: &'a Frame,
    /// How many they are, this one included.
    pub count: u64,
    /// The highest price among them; absent where none of them has one.
    pub high: Option<Price>,
    /// The lowest.
    pub low: Option<Price>,
    /// True at the beginning of a series.
    pub begins: bool,
    /// True where some could not be told of as they are too long ago; they were announced as missing.
    pub is_cut: bool,
}

/// The ticks of one incarnation.
#[derive(Clone, Debug)]
struct Suffix {
    /// Stretches that begin behind this tick or any later one are known.
    floor: u64,
    last: Arc<Frame>,
    /// All up to this number is taken.
    end: u64,
    /// In falling prices.
    highs: VecDeque<Peak>,
    /// In rising prices.
    lows: VecDeque<Peak>,
    /// Numbers that never came, `from` to `to`, oldest first.
    holes: VecDeque<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Peak {
    seq: u64,
    price: Price,
}

impl<'a> Merged<'a> {
    /// One tick and nothing else.
    pub fn one(frame: &'a Frame, begins: bool) -> Self {
        let price = frame.tick.price();
        Self { frame, count: 1, high: price, low: price, begins, is_cut: false }
    }
}

impl Folds {
    /// Takes over ticks in growing positions that are new, or, after a ring was filled from elsewhere, all there are: what
    /// is known from before the first of them stays.
    pub fn take<'a>(&mut self, frames: impl IntoIterator<Item = &'a Arc<Frame>>) {
        for frame in frames {
            self.push(frame);
        }
    }

    /// Goes back to before this tick, as all from there on will be taken again.
    pub fn rewind(&mut self, first: &Frame) {
        let (epoch, seq) = (first.position.epoch, first.position.seq);
        if self.newest.as_ref().is_some_and(|newest| newest.epoch() > epoch) {
            self.newest = self.before.take();
        }
        match &mut self.newest {
            Some(newest) if newest.epoch() == epoch && newest.floor < seq => newest.rewind(seq),
            Some(newest) if newest.epoch() < epoch => {}
            _ => self.newest = None,
        }
    }

    /// The newest tick taken.
    pub fn last(&self) -> Option<&Frame> {
        self.newest.as_ref().map(|newest| &*newest.last)
    }

    fn push(&mut self, frame: &Arc<Frame>) {
        match &mut self.newest {
            Some(newest) if newest.epoch() == frame.position.epoch => newest.push(frame),
            newest => {
                // Who followed the one before expects the first tick there is; else nothing is known from before this one.
                let floor = if newest.is_some() { 0 } else { frame.position.seq.saturating_sub(1) };
                let next = Suffix::new(frame, floor);
                self.before = newest.replace(next);
            }
        }
    }

    /// What is pending of one incarnation behind tick number `after`, as one; what is missing of it is told first.
    pub fn merge(&self, epoch: u64, after: u64, gap: impl FnMut(Gap)) -> Option<Merged<'_>> {
        let known = [&self.newest, &self.before].into_iter().flatten();
        known.into_iter().find(|suffix| suffix.epoch() == epoch)?.merge(after, gap)
    }
}

impl Suffix {
    fn new(first: &Arc<Frame>, floor: u64) -> Self {
        let mut suffix = Self {
            floor,
            last: first.clone(),
            end: floor,
            highs: VecDeque::new(),
            lows: VecDeque::new(),
            holes: VecDeque::new(),
        };
        suffix.push(first);
        suffix
    }

    fn epoch(&self) -> u64 {
        self.last.position.epoch
    }

    fn push(&mut self, frame: &Arc<Frame>) {
        let (before, seq) = (self.end, frame.position.seq);
        self.last = frame.clone();
        self.end = seq;
        if seq > before + 1 {
            if self.holes.len() == HOLES_MAX
                && let Some((_, to)) = self.holes.pop_front()
            {
                self.floor = self.floor.max(to);
            }
            self.holes.push_back((before + 1, seq - 1));
        }
        let Some(price) = frame.tick.price() else { return };
        let peak = Peak { seq, price };
        for (peaks, is_beaten) in [
            (&mut self.highs, (|old: Price, new| old.compare(new).is_le()) as fn(Price, Price) -> bool),
            (&mut self.lows, |old: Price, new| old.compare(new).is_ge()),
        ] {
            while peaks.back().is_some_and(|back| is_beaten(back.price, price)) {
                peaks.pop_back();
            }
            if peaks.len() == PEAKS_MAX
                && let Some(oldest) = peaks.pop_front()
            {
                self.floor = self.floor.max(oldest.seq);
            }
            peaks.push_back(peak);
        }
    }

    /// Forgets this tick and all behind it. What they had beaten they will beat again.
    fn rewind(&mut self, seq: u64) {
        self.end = self.end.min(seq - 1);
        for peaks in [&mut self.highs, &mut self.lows] {
            while peaks.back().is_some_and(|back| back.seq >= seq) {
                peaks.pop_back();
            }
        }
        while let Some((from, to)) = self.holes.pop_back() {
            if from < seq {
                self.holes.push_back((from, to.min(seq - 1)));
                break;
            }
        }
    }

    fn merge(&self, mut after: u64, mut gap: impl FnMut(Gap)) -> Option<Merged<'_>> {
        let position = self.last.position;
        if after >= position.seq {
            return None;
        }
        let mut missing = |from: u64, to: u64| {
            gap(Gap { epoch: position.epoch, from, to });
            to - from + 1
        };
        let is_cut = after < self.floor;
        if is_cut {
            missing(after + 1, self.floor);
            after = self.floor;
        }
        let holes = self.holes.iter().filter(|(_, to)| *to > after);
        let missed: u64 = holes.map(|(from, to)| missing((*from).max(after + 1), *to)).sum();
        let extreme = |peaks: &VecDeque<Peak>| {
            let place = peaks.partition_point(|peak| peak.seq <= after);
            peaks.get(place).map(|peak| peak.price)
        };
        Some(Merged {
            frame: &self.last,
            count: position.seq - after - missed,
            high: extreme(&self.highs),
            low: extreme(&self.lows),
            begins: false,
            is_cut,
        })
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
