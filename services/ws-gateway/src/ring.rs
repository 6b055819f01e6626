use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tickcast_model::{Position, Tick};

use crate::binary::Step;
use crate::wire::{payload_of, text_frame};

/// One tick, and how browsers get it: a whole WebSocket frame, encoded once and shared by everybody who reads it.
#[derive(Debug)]
pub struct Frame {
    /// Where the tick stands in its channel.
    pub position: Position,
    /// Its numbers.
    pub tick: Tick,
    /// When the tick reached this gateway, Unix microseconds.
    pub arrived_us: i64,
    text: Bytes,
    snapshot: OnceLock<Bytes>,
    step: Option<Step>,
}

impl Frame {
    /// A frame of `tick`, whose JSON object is `json`.
    pub fn new(position: Position, tick: Tick, arrived_us: i64, json: &[u8]) -> Self {
        let text = text_frame(json);
        let snapshot = OnceLock::new();
        if tick.snapshot {
            // It says so already.
            let _ = snapshot.set(text.clone());
        }
        Self { position, tick, arrived_us, text, snapshot, step: None }
    }

    /// The same frame as the one that comes after `before` in the ring: where it is also the next tick of the channel, it can
    /// be told as a step.
    pub fn after(mut self, before: Option<&Self>) -> Self {
        let Position { epoch, seq } = self.position;
        let before = before.filter(|before| {
            before.position.epoch == epoch && before.position.seq.checked_add(1) == Some(seq)
        });
        self.step = before.and_then(|before| Step::between(&before.tick, &self.tick));
        self
    }

    /// The tick as a step from the one before it in the channel, encoded once.
    pub fn step(&self) -> Option<&Step> {
        self.step.as_ref()
    }

    /// The message as it stands, framed.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// The message as the beginning of a series, framed: the same object with `"snapshot":true`. Made once, when first
    /// needed.
    pub fn snapshot(&self) -> &Bytes {
        self.snapshot.get_or_init(|| {
            const MARK: &[u8] = b",\"snapshot\":true}";
            let json = payload_of(&self.text);
            let body = json.strip_suffix(b"}").unwrap_or(&json);
            text_frame(&[body, MARK].concat())
        })
    }
}

/// Ticks that a reader will not get, all of one incarnation: `from` to `to`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The incarnation whose ticks are missing.
    pub epoch: u64,
    /// The first that is missing.
    pub from: u64,
    /// The last that is missing.
    pub to: u64,
}

impl Gap {
    /// How many are missing.
    pub fn missed(&self) -> u64 {
        self.to - self.from + 1
    }
}

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

    /// The number of the frame that comes next, counted over the life of the ring.
    pub fn end(&self) -> u64 {
        self.gone + self.frames.len() as u64
    }

    /// Adds what another ring got since its frame number `from`, and gives the number to go on from.
    ///
    /// Where the other ring has dropped some of it meanwhile, the jump in the numbers says so.
    pub fn follow(&mut self, source: &Self, from: u64) -> u64 {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(epoch: u64, seq: u64) -> Arc<Frame> {
        let json = format!("{{\"epoch\":\"{epoch}\",\"seq\":{seq}}}");
        Arc::new(Frame::new(Position { epoch, seq }, tick(false), 0, json.as_bytes()))
    }

    fn tick(snapshot: bool) -> Tick {
        Tick {
            bid: None,
            ask: None,
            last: None,
            digits: 5,
            venue_time_ms: None,
            received_us: 0,
            snapshot,
            delayed_s: None,
        }
    }

    fn ring(capacity: usize, ticks: &[(u64, u64)]) -> Ring {
        let mut ring = Ring::new(capacity);
        for (epoch, seq) in ticks {
            ring.push(frame(*epoch, *seq));
        }
        ring
    }

    fn all(ring: &Ring, cursor: &mut Cursor) -> Vec<String> {
        std::iter::from_fn(|| ring.next(cursor))
            .map(|item| match item {
                Item::Snapshot(f) => format!("snapshot {}.{}", f.position.epoch, f.position.seq),
                Item::Tick(f) => format!("tick {}.{}", f.position.epoch, f.position.seq),
                Item::Gap(g) => format!("gap {}.{}-{}", g.epoch, g.from, g.to),
            })
            .collect()
    }

    #[test]
    fn a_snapshot_is_the_same_message_with_a_mark() {
        let frame = frame(1, 2);
        assert_eq!(payload_of(frame.text()), &br#"{"epoch":"1","seq":2}"#[..]);
        assert_eq!(payload_of(frame.snapshot()), &br#"{"epoch":"1","seq":2,"snapshot":true}"#[..]);
        let marked = Frame::new(Position::default(), tick(true), 0, b"{\"snapshot\":true}");
        assert_eq!(marked.snapshot(), marked.text());
    }

    #[test]
    fn a_reader_gets_the_last_known_tick_and_then_what_follows() {
        let mut ring = ring(4, &[(1, 1), (1, 2)]);
        let mut cursor = ring.join();
        ring.push(frame(1, 3));
        assert_eq!(all(&ring, &mut cursor), ["snapshot 1.2", "tick 1.3"]);
        assert_eq!(all(&ring, &mut cursor), [] as [&str; 0]);
    }

    #[test]
    fn a_reader_that_was_lapped_before_its_snapshot_begins_with_the_newest_tick() {
        let mut ring = ring(2, &[(1, 5)]);
        let mut cursor = ring.join();
        for seq in 6..=9 {
            ring.push(frame(1, seq));
        }
        assert_eq!(all(&ring, &mut cursor), ["snapshot 1.9"]);
        ring.push(frame(1, 10));
        assert_eq!(all(&ring, &mut cursor), ["tick 1.10"]);
    }

    #[test]
    fn a_cursor_is_small_and_numbers_of_any_size_are_exact() {
        assert_eq!(size_of::<Cursor>(), 8);
        let base = (1 << SEQ_BITS) - 2;
        let mut ring = ring(8, &[(1, base)]);
        let mut cursor = ring.join();
        for seq in [base + 1, base + 2, base + 3, base + 6] {
            ring.push(frame(1, seq));
        }
        let expected = [
            format!("snapshot 1.{base}"),
            format!("tick 1.{}", base + 1),
            format!("tick 1.{}", base + 2),
            format!("tick 1.{}", base + 3),
            format!("gap 1.{}-{}", base + 4, base + 5),
            format!("tick 1.{}", base + 6),
        ];
        assert_eq!(all(&ring, &mut cursor), expected);
        assert_eq!(cursor, ring.tip());
    }

    #[test]
    fn a_ring_that_follows_another_tells_its_readers_the_same() {
        let mut source = ring(4, &[(1, 1), (1, 2)]);
        let mut mirror = source.clone();
        let mut next = source.end();
        let mut cursor = mirror.join();
        source.push(frame(1, 3));
        next = mirror.follow(&source, next);
        assert_eq!(all(&mirror, &mut cursor), ["snapshot 1.2", "tick 1.3"]);
        for seq in 4..=9 {
            source.push(frame(1, seq));
        }
        source.push(frame(2, 2));
        next = mirror.follow(&source, next);
        assert_eq!(
            all(&mirror, &mut cursor),
            ["gap 1.4-6", "tick 1.7", "tick 1.8", "tick 1.9", "gap 2.1-1", "snapshot 2.2"]
        );
        assert_eq!(mirror.follow(&source, next), source.end());
        assert_eq!(all(&mirror, &mut cursor), [] as [&str; 0]);
    }

    #[test]
    fn who_joined_before_the_first_tick_starts_with_it() {
        let mut ring = ring(2, &[]);
        let (mut quick, mut slow) = (ring.join(), ring.join());
        ring.push(frame(1, 41));
        assert_eq!(all(&ring, &mut quick), ["snapshot 1.41"]);
        ring.push(frame(1, 42));
        ring.push(frame(1, 43));
        assert_eq!(all(&ring, &mut slow), ["gap 1.41-41", "snapshot 1.42", "tick 1.43"]);
    }

    #[test]
    fn a_jump_in_the_numbers_is_a_gap() {
        let mut ring = ring(8, &[(1, 1)]);
        let mut cursor = ring.join();
        ring.push(frame(1, 4));
        assert_eq!(all(&ring, &mut cursor), ["snapshot 1.1", "gap 1.2-3", "tick 1.4"]);
    }

    #[test]
    fn a_new_incarnation_starts_over_with_a_snapshot() {
        let mut ring = ring(8, &[(1, 7)]);
        let mut cursor = ring.join();
        ring.push(frame(2, 1));
        ring.push(frame(2, 2));
        ring.push(frame(3, 3));
        assert_eq!(
            all(&ring, &mut cursor),
            ["snapshot 1.7", "snapshot 2.1", "tick 2.2", "gap 3.1-2", "snapshot 3.3"]
        );
    }

    #[test]
    fn who_was_lapped_over_several_incarnations_is_told_of_each() {
        let mut ring = ring(1, &[(1, 7)]);
        let mut cursor = ring.join();
        assert_eq!(all(&ring, &mut cursor), ["snapshot 1.7"]);
        for (epoch, seq) in [(1, 8), (1, 9), (2, 1), (2, 2), (3, 1), (3, 2)] {
            ring.push(frame(epoch, seq));
        }
        let expected = ["gap 1.8-9", "gap 2.1-2", "gap 3.1-1", "snapshot 3.2"];
        assert_eq!(all(&ring, &mut cursor), expected);
    }

    #[test]
    fn a_tick_that_is_not_new_is_refused() {
        let mut ring = ring(4, &[(2, 5)]);
        assert_eq!(ring.push(frame(2, 5)), Order::Repeated);
        assert_eq!(ring.push(frame(2, 4)), Order::Repeated);
        assert_eq!(ring.push(frame(1, 99)), Order::OldEpoch);
        assert_eq!(ring.push(frame(2, 6)), Order::Next);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Publish { skip: u64 },
        Repeat,
        Restart { skip: u64 },
        Join,
        Leave(usize),
        Read { reader: usize, items: usize },
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => Just(Op::Publish { skip: 0 }),
            2 => (1u64..5).prop_map(|skip| Op::Publish { skip }),
            1 => Just(Op::Repeat),
            1 => (0u64..3).prop_map(|skip| Op::Restart { skip }),
            2 => Just(Op::Join),
            1 => any::<usize>().prop_map(Op::Leave),
            5 => (any::<usize>(), 0usize..12).prop_map(|(reader, items)| Op::Read { reader, items }),
        ]
    }

    /// What a reader must see, kept beside the real cursor: every tick since it joined, lost ones too.
    struct Model {
        cursor: Cursor,
        snapshot: Option<Position>,
        published: u64,
        delivered: u64,
        missed: u64,
        last: Option<Position>,
        items: usize,
    }

    impl Model {
        fn see(&mut self, item: &Item<'_>, newest: Position) {
            self.items += 1;
            if self.items == 1
                && let Some(known) = self.snapshot
            {
                let Item::Snapshot(frame) = item else { panic!("{item:?} before the snapshot") };
                if frame.position != known {
                    // Lapped before it began: it begins with the newest, and what was before is none of it.
                    assert_eq!(frame.position, newest, "the barrier");
                    self.published = 0;
                }
                self.last = Some(frame.position);
                return;
            }
            match item {
                Item::Gap(gap) => {
                    let from = Position { epoch: gap.epoch, seq: gap.from };
                    assert!(self.last.is_none_or(|last| last < from), "a gap over what was there");
                    self.missed += gap.missed();
                    self.last = Some(Position { epoch: gap.epoch, seq: gap.to });
                }
                Item::Snapshot(frame) => self.deliver(frame.position),
                Item::Tick(frame) => self.deliver(frame.position),
            }
        }

        fn deliver(&mut self, position: Position) {
            if let Some(last) = self.last {
                let next = if last.epoch == position.epoch { last.seq + 1 } else { 1 };
                assert!(position > last, "twice");
                assert_eq!(position.seq, next, "a hole unannounced");
            }
            self.delivered += 1;
            self.last = Some(position);
        }
    }

    proptest! {
        #[test]
        fn delivered_and_missed_are_what_was_published(capacity in 1usize..10,
                                                       ops in proptest::collection::vec(op(), 1..300)) {
            let mut ring = Ring::new(capacity);
            let mut at = Position { epoch: 1, seq: 0 };
            let mut readers: Vec<Model> = Vec::new();
            // Restarts are kept below what a ring remembers.
            let mut restarts = 0;
            for op in ops {
                match op {
                    Op::Publish { skip } => {
                        let empty = ring.last().is_none();
                        at.seq += 1 + skip;
                        prop_assert_eq!(ring.push(frame(at.epoch, at.seq)), Order::Next);
                        // What was lost before the first tick there ever was is nobody's.
                        let count = if empty { 1 } else { 1 + skip };
                        readers.iter_mut().for_each(|reader| reader.published += count);
                    }
                    Op::Repeat => {
                        if let Some(last) = ring.last().map(|last| last.position) {
                            prop_assert_eq!(ring.push(frame(last.epoch, last.seq)), Order::Repeated);
                        }
                    }
                    Op::Restart { skip } if restarts < ENDS_MAX - 1 => {
                        restarts += 1;
                        let empty = ring.last().is_none();
                        at = Position { epoch: at.epoch + 1, seq: 1 + skip };
                        prop_assert_eq!(ring.push(frame(at.epoch, at.seq)), Order::Next);
                        let count = if empty { 1 } else { 1 + skip };
                        readers.iter_mut().for_each(|reader| reader.published += count);
                    }
                    Op::Restart { .. } => {}
                    Op::Join => readers.push(Model {
                        cursor: ring.join(),
                        snapshot: ring.last().map(|last| last.position),
                        published: 0, delivered: 0, missed: 0, last: None, items: 0,
                    }),
                    Op::Leave(n) => if !readers.is_empty() { readers.swap_remove(n % readers.len()); },
                    Op::Read { reader, items } => if !readers.is_empty() {
                        let n = reader % readers.len();
                        for _ in 0..items {
                            let Some(item) = ring.next(&mut readers[n].cursor) else { break };
                            readers[n].see(&item, at);
                        }
                    },
                }
            }
            for reader in &mut readers {
                while let Some(item) = ring.next(&mut reader.cursor) {
                    reader.see(&item, at);
                }
                prop_assert_eq!(reader.delivered + reader.missed, reader.published);
                prop_assert_eq!(reader.cursor, ring.tip());
            }
        }
    }
}
