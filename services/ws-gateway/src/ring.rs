use std::cmp::Ordering;
use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;

use tickcast_model::Position;

use crate::fold::{Folds, Merged};
use crate::frame::{Frame, Gap};

/// What a reader gets next.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// The beginning of a series: the last known tick on joining, or the first of a new incarnation.
    Snapshot(&'a Frame),
    /// The tick after the one before.
    Tick(&'a Frame),
    /// Ticks that are lost for this reader.
    Gap(Gap),
}

/// Where a tick stands against those a ring has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// After all of them.
    Next,
    /// It was there before.
    Repeated,
    /// It is from an incarnation that has been replaced.
    OldEpoch,
}

/// The last ticks of one channel, oldest first, in strictly growing positions.
///
/// One rule covers being lapped, losses on the bus and drops at ingest: where the next frame's number is not the one
/// expected, the difference is announced first.
#[derive(Clone, Debug)]
pub struct Ring {
    frames: VecDeque<Arc<Frame>>,
    capacity: usize,
    /// How many frames were here before the oldest that is left.
    gone: u64,
    /// The first tick there ever was.
    first: Option<Position>,
    /// How many incarnations there were before that of the newest tick; it may wrap.
    incarnation: u16,
    /// The last ticks of earlier incarnations, oldest first; the last one ended `incarnation - 1`.
    ends: VecDeque<Position>,
    /// Grows with each [`Ring::fill`], after which frames cannot be counted on; it may wrap.
    fills: u32,
}

/// Ends of incarnations remembered. A reader that slept through more restarts of the ingest than this (its connection
/// is dropped long before, for its stuck write) misses the oldest ones unannounced.
const ENDS_MAX: usize = 64;

/// A reader's place in a ring: the last position it got or was told that it misses.
///
/// There is one for each symbol of each client, so it is eight bytes: of the number the lower 40 bits, which the ring
/// completes, for no reader is so far behind; of the incarnation how many there were before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    seq_low: u32,
    incarnation: u16,
    seq_high: u8,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// It joined before the first tick: it is nowhere.
    Nowhere,
    /// Its place is the tick that was the last known on joining, which it is still to get.
    Joined,
    /// No tick was delivered; it was told that some are missing.
    Begun,
    /// A tick was delivered, of an incarnation before that of its place.
    OfAnOlderEpoch,
    /// A tick was delivered, of the incarnation of its place.
    OfThisEpoch,
}

/// Bits of `seq` a cursor holds.
const SEQ_BITS: u32 = 40;

impl Cursor {
    /// True once a tick was delivered.
    pub fn has_started(self) -> bool {
        matches!(self.progress, Progress::OfAnOlderEpoch | Progress::OfThisEpoch)
    }

    /// True until the last tick known on joining was delivered, where one was.
    pub fn is_joined(self) -> bool {
        self.progress == Progress::Joined
    }

    /// Where a reader stands that gets the very next tick.
    pub fn advanced(self) -> Self {
        let (seq_low, carries) = self.seq_low.overflowing_add(1);
        Self { seq_low, seq_high: self.seq_high.wrapping_add(u8::from(carries)), ..self }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the number is cut on purpose")]
    fn at(seq: u64, incarnation: u16, progress: Progress) -> Self {
        Self { seq_low: seq as u32, incarnation, seq_high: (seq >> 32) as u8, progress }
    }

    /// The number in full: the greatest that ends like this and is not above `most`.
    fn seq(self, most: u64) -> u64 {
        let low = u64::from(self.seq_low) | u64::from(self.seq_high) << 32;
        let seq = most >> SEQ_BITS << SEQ_BITS | low;
        if seq > most { seq.saturating_sub(1 << SEQ_BITS) } else { seq }
    }
}

impl Ring {
    /// An empty ring of at most `capacity` frames (at least one).
    pub fn new(capacity: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            capacity: capacity.max(1),
            gone: 0,
            first: None,
            incarnation: 0,
            ends: VecDeque::new(),
            fills: 0,
        }
    }

    /// The newest tick.
    pub fn last(&self) -> Option<&Arc<Frame>> {
        self.frames.back()
    }

    /// Where a tick of this position would stand.
    pub fn order(&self, position: Position) -> Order {
        match self.last() {
            Some(last) if position.epoch < last.position.epoch => Order::OldEpoch,
            Some(last) if position <= last.position => Order::Repeated,
            _ => Order::Next,
        }
    }

    /// Adds a tick, and drops the oldest where the ring is full. One that is not the next is refused.
    pub fn push(&mut self, frame: Arc<Frame>) -> Order {
        let order = self.order(frame.position);
        if order != Order::Next {
            return order;
        }
        match self.last().map(|last| last.position) {
            Some(last) if last.epoch < frame.position.epoch => {
                if self.ends.len() == ENDS_MAX {
                    self.ends.pop_front();
                }
                self.ends.push_back(last);
                self.incarnation = self.incarnation.wrapping_add(1);
            }
            Some(_) => {}
            None => self.first = Some(frame.position),
        }
        if self.frames.len() == self.capacity {
            self.frames.pop_front();
            self.gone += 1;
        }
        self.frames.push_back(frame);
        Order::Next
    }

    /// Puts ticks in from elsewhere, in any order: before, between and behind those that are here. Gives how many.
    ///
    /// Only those of the newest incarnation of all count: an older one has ended, and nobody here was in it. Readers need
    /// not be told, for a cursor is a position: who is beyond a tick does not get it, and who is before it is not told that
    /// it is missing.
    pub fn fill(&mut self, mut frames: Vec<Arc<Frame>>) -> usize {
        // The tick itself before its repeats.
        frames.sort_by_key(|frame| (frame.position, frame.tick.snapshot));
        frames.dedup_by_key(|frame| frame.position);
        let Some(newest) = frames.last().map(|frame| frame.position) else { return 0 };
        let epoch = self.last().map_or(newest.epoch, |last| last.position.epoch.max(newest.epoch));
        frames.retain(|frame| frame.position.epoch == epoch);
        let ahead = match self.last().map(|last| last.position) {
            Some(last) => frames.split_off(frames.partition_point(|frame| frame.position <= last)),
            None => {
                // Who waits for the first tick begins with the last known one.
                self.first = Some(newest);
                self.frames.extend(frames.split_off(frames.len().saturating_sub(self.capacity)));
                self.fills = self.fills.wrapping_add(1);
                return self.frames.len();
            }
        };
        self.put_between(frames) + ahead.into_iter().filter(|f| self.push(f.clone()) == Order::Next).count()
    }

    /// Puts ticks in that are not beyond the newest one, in strictly growing positions.
    fn put_between(&mut self, frames: Vec<Arc<Frame>>) -> usize {
        let mut merged = VecDeque::with_capacity(self.capacity);
        let (mut here, mut others) = (take(&mut self.frames).into_iter().rev(), frames.into_iter().rev());
        let (mut own, mut other) = (here.next(), others.next());
        let mut taken = 0;
        // From the newest back, as far as there is room.
        while merged.len() < self.capacity {
            let order = match (&own, &other) {
                (Some(own), Some(other)) => own.position.cmp(&other.position),
                (Some(_), None) => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (None, None) => break,
            };
            let next = match order {
                Ordering::Greater => std::mem::replace(&mut own, here.next()),
                Ordering::Less => {
                    taken += 1;
                    std::mem::replace(&mut other, others.next())
                }
                Ordering::Equal => {
                    let known = std::mem::replace(&mut own, here.next());
                    let again = std::mem::replace(&mut other, others.next());
                    // What is here may be a repeat of the tick.
                    if known.as_ref().is_some_and(|known| known.tick.snapshot) { again } else { known }
                }
            };
            merged.extend(next);
        }
        merged.make_contiguous().reverse();
        self.frames = merged;
        self.fills = self.fills.wrapping_add(1);
        taken
    }

    /// Whether ticks of the newest incarnation are missing between those that are here.
    pub fn has_hole(&self) -> bool {
        let Some(last) = self.last() else { return false };
        let newest = self.frames.iter().filter(|frame| frame.position.epoch == last.position.epoch);
        let mut seqs = newest.map(|frame| frame.position.seq);
        let Some(mut before) = seqs.next() else { return false };
        seqs.any(|seq| seq != std::mem::replace(&mut before, seq) + 1)
    }

    /// How often ticks were put in from elsewhere; it may wrap.
    pub fn fills(&self) -> u32 {
        self.fills
    }

    /// The number of the frame that comes next, counted since the last [`Ring::fill`] at least.
    pub fn end(&self) -> u64 {
        self.gone + self.frames.len() as u64
    }

    /// Adds what another ring got since its frame number `from`, and gives the number to go on from.
    ///
    /// Where the other ring has dropped some of it meanwhile, the jump in the numbers says so.
    pub fn follow(&mut self, source: &Self, from: u64) -> u64 {
        if self.fills != source.fills {
            self.clone_from(source);
            return source.end();
        }
        let passed = usize::try_from(from.saturating_sub(source.gone)).unwrap_or(usize::MAX);
        for frame in source.frames.iter().skip(passed) {
            self.push(frame.clone());
        }
        // Whole incarnations may have been among what was dropped.
        if self.incarnation != source.incarnation || self.ends != source.ends {
            self.ends.clone_from(&source.ends);
            self.incarnation = source.incarnation;
        }
        self.first = source.first;
        source.end()
    }

    /// A place for a new reader: it gets the last known tick as a snapshot and then whatever follows.
    pub fn join(&self) -> Cursor {
        match self.last() {
            Some(last) => Cursor::at(last.position.seq, self.incarnation, Progress::Joined),
            None => Cursor::at(0, 0, Progress::Nowhere),
        }
    }

    /// A place for a reader that got everything up to `position` elsewhere; `None` where what it missed is not all here.
    pub fn resume(&self, position: Position) -> Option<Cursor> {
        let last = self.last()?.position;
        let oldest = self.frames.partition_point(|frame| frame.position.epoch < last.epoch);
        let oldest = self.frames.get(oldest)?.position;
        let is_here =
            position.epoch == last.epoch && (oldest.seq.saturating_sub(1)..=last.seq).contains(&position.seq);
        is_here.then(|| Cursor::at(position.seq, self.incarnation, Progress::OfThisEpoch))
    }

    /// Whether this is the place of a reader that got everything up to `position`, and that tick itself.
    pub fn is_at(&self, cursor: Cursor, position: Position) -> bool {
        cursor.progress == Progress::OfThisEpoch && self.position(cursor) == Some(position)
    }

    /// The ticks, oldest first.
    pub fn frames(&self) -> impl Iterator<Item = &Arc<Frame>> {
        self.frames.iter()
    }

    /// Those behind a position, oldest first.
    pub fn frames_behind(&self, position: Position) -> impl Iterator<Item = &Arc<Frame>> {
        // Nearly always one or none.
        let newer = self.frames.iter().rev().take_while(|frame| frame.position > position).count();
        self.frames.range(self.frames.len() - newer..)
    }

    /// Whether a reader can have each tick it has not got yet.
    pub fn has_all_behind(&self, cursor: Cursor) -> bool {
        match (self.position(cursor), self.frames.front().map(|frame| frame.position)) {
            (Some(at), Some(oldest)) => at >= oldest || at.epoch == oldest.epoch && at.seq + 1 == oldest.seq,
            _ => true,
        }
    }

    /// What comes next for a reader that gets all there is as one tick; what is missing is told first. The rest of a replaced
    /// incarnation is one of its own.
    pub fn next_merged<'a>(
        &'a self,
        folds: &'a Folds,
        cursor: &mut Cursor,
        mut gap: impl FnMut(Gap),
    ) -> Option<Merged<'a>> {
        if cursor.progress == Progress::Joined {
            return match self.seek(cursor)? {
                Item::Snapshot(frame) => Some(Merged::one(frame, true)),
                Item::Tick(frame) => Some(Merged::one(frame, false)),
                Item::Gap(lost) => {
                    gap(lost);
                    None
                }
            };
        }
        let at = self.position(*cursor)?;
        for part in self.pending_parts(at) {
            let Some(merged) = folds.merge(part.epoch, part.from - 1, &mut gap) else {
                gap(part);
                continue;
            };
            let begins = cursor.progress != Progress::OfThisEpoch || at.epoch != part.epoch;
            self.move_to(cursor, merged.frame.position, Progress::OfThisEpoch);
            return Some(Merged { begins, ..merged });
        }
        None
    }

    /// Moves a reader to just before the newest tick; what it will not get is told. It stays where it is as long as it has
    /// not begun.
    pub fn jump(&self, cursor: &mut Cursor, mut gap: impl FnMut(Gap)) {
        let (Some(at), Some(last)) = (self.position(*cursor), self.last().map(|last| last.position)) else {
            return;
        };
        if cursor.progress == Progress::Joined || at >= last {
            return;
        }
        for mut part in self.pending_parts(at) {
            if part.epoch == last.epoch {
                part.to -= 1;
            }
            if part.from <= part.to {
                gap(part);
            }
        }
        let progress = match cursor.progress {
            Progress::OfThisEpoch if at.epoch == last.epoch => Progress::OfThisEpoch,
            Progress::OfThisEpoch | Progress::OfAnOlderEpoch => Progress::OfAnOlderEpoch,
            Progress::Nowhere | Progress::Joined | Progress::Begun => Progress::Begun,
        };
        self.move_to(cursor, Position { epoch: last.epoch, seq: last.seq - 1 }, progress);
    }

    /// All numbers behind a position, incarnation by incarnation.
    fn pending_parts(&self, at: Position) -> impl Iterator<Item = Gap> {
        let ends = self.ends.iter().copied().chain(self.last().map(|last| last.position));
        ends.filter(move |end| end.epoch >= at.epoch)
            .map(move |end| Gap {
                epoch: end.epoch,
                from: if end.epoch == at.epoch { at.seq + 1 } else { 1 },
                to: end.seq,
            })
            .filter(|part| part.from <= part.to)
    }

    /// The cursor of a reader that has everything.
    pub fn tip(&self) -> Cursor {
        match self.last() {
            Some(last) => Cursor::at(last.position.seq, self.incarnation, Progress::OfThisEpoch),
            None => Cursor::at(0, 0, Progress::Nowhere),
        }
    }

    /// What comes next for this reader; `None` where it has everything.
    pub fn next(&self, cursor: &mut Cursor) -> Option<Item<'_>> {
        let last = self.last()?.position;
        if cursor.progress == Progress::OfThisEpoch && cursor.incarnation == self.incarnation {
            // The usual case: so many numbers behind is so many frames behind.
            let behind = usize::try_from(last.seq - cursor.seq(last.seq)).unwrap_or(usize::MAX);
            if behind == 0 {
                return None;
            }
            if let Some(place) = self.frames.len().checked_sub(behind)
                && let Some(frame) = self.frames.get(place)
                && frame.position.epoch == last.epoch
                && frame.position.seq == last.seq - (behind as u64 - 1)
            {
                *cursor = Cursor::at(frame.position.seq, self.incarnation, Progress::OfThisEpoch);
                return Some(Item::Tick(frame));
            }
        }
        self.seek(cursor)
    }

    /// The general case of [`Ring::next`].
    fn seek(&self, cursor: &mut Cursor) -> Option<Item<'_>> {
        let at = self.position(*cursor)?;
        if cursor.progress == Progress::Joined {
            // A series begins with the last known tick: that of the joining, or of now where that one is gone.
            let known = self.frames.binary_search_by_key(&at, |frame| frame.position).ok();
            let frame = self.frames.get(known.unwrap_or(self.frames.len() - 1))?;
            self.move_to(cursor, frame.position, Progress::OfThisEpoch);
            return Some(Item::Snapshot(frame));
        }
        // A lapped reader goes on with the oldest there is.
        let place = self.frames.partition_point(|frame| frame.position <= at);
        let frame = self.frames.get(place)?;
        if let Some(gap) = self.gap(at, frame.position) {
            let progress = match cursor.progress {
                Progress::Nowhere | Progress::Begun | Progress::Joined => Progress::Begun,
                Progress::OfThisEpoch if gap.epoch == at.epoch => Progress::OfThisEpoch,
                Progress::OfThisEpoch | Progress::OfAnOlderEpoch => Progress::OfAnOlderEpoch,
            };
            self.move_to(cursor, Position { epoch: gap.epoch, seq: gap.to }, progress);
            return Some(Item::Gap(gap));
        }
        let begins = cursor.progress != Progress::OfThisEpoch || at.epoch != frame.position.epoch;
        self.move_to(cursor, frame.position, Progress::OfThisEpoch);
        Some(if begins { Item::Snapshot(frame) } else { Item::Tick(frame) })
    }

    /// The position a cursor stands for. Who joined before the first tick expects that very tick.
    fn position(&self, cursor: Cursor) -> Option<Position> {
        if cursor.progress == Progress::Nowhere {
            let first = self.first?;
            return Some(Position { seq: first.seq.saturating_sub(1), ..first });
        }
        let end = match self.incarnation.wrapping_sub(cursor.incarnation) {
            0 => self.last()?.position,
            // Where so many incarnations were not remembered, the oldest that is.
            ago => {
                let place = self.ends.len().checked_sub(usize::from(ago));
                let Some(end) = place.and_then(|place| self.ends.get(place)) else {
                    return self.ends.front().map(|end| Position { seq: 0, ..*end });
                };
                *end
            }
        };
        Some(Position { epoch: end.epoch, seq: cursor.seq(end.seq) })
    }

    fn move_to(&self, cursor: &mut Cursor, position: Position, progress: Progress) {
        let ago = self.ends.iter().rev().take_while(|end| end.epoch >= position.epoch).count();
        let incarnation = self.incarnation.wrapping_sub(u16::try_from(ago).unwrap_or(u16::MAX));
        *cursor = Cursor::at(position.seq, incarnation, progress);
    }

    /// The first hole between two positions.
    fn gap(&self, at: Position, to: Position) -> Option<Gap> {
        let between = |epoch: u64, after: u64, last: u64| {
            (after < last).then_some(Gap { epoch, from: after + 1, to: last })
        };
        if at.epoch == to.epoch {
            return between(at.epoch, at.seq, to.seq.saturating_sub(1));
        }
        let passed = self.ends.iter().filter(|end| (at.epoch..to.epoch).contains(&end.epoch));
        passed
            .map(|end| (end, if end.epoch == at.epoch { at.seq } else { 0 }))
            .find_map(|(end, after)| between(end.epoch, after, end.seq))
            .or_else(|| between(to.epoch, 0, to.seq.saturating_sub(1)))
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
