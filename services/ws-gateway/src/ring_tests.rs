use proptest::prelude::*;
use tickcast_model::Tick;

use super::*;
use crate::wire::payload_of;

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
        details: None,
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

fn frames(ticks: &[(u64, u64)]) -> Vec<Arc<Frame>> {
    ticks.iter().map(|(epoch, seq)| frame(*epoch, *seq)).collect()
}

fn seqs(ring: &Ring) -> Vec<(u64, u64)> {
    ring.frames.iter().map(|frame| (frame.position.epoch, frame.position.seq)).collect()
}

#[test]
fn history_goes_in_front_as_far_as_there_is_room() {
    let mut ring = ring(4, &[(1, 8), (1, 9)]);
    let mut cursor = ring.join();
    assert_eq!(ring.fill(frames(&[(1, 5), (1, 6), (1, 7), (1, 8), (1, 9)])), 2);
    assert_eq!(seqs(&ring), [(1, 6), (1, 7), (1, 8), (1, 9)]);
    assert_eq!(all(&ring, &mut cursor), ["snapshot 1.9"], "readers get nothing again");
    assert_eq!(ring.fill(frames(&[(1, 6), (1, 7), (1, 8)])), 0, "what is here is not taken again");
}

#[test]
fn who_waits_for_the_first_tick_begins_with_the_newest_of_history() {
    let mut ring = ring(2, &[]);
    let mut waiting = ring.join();
    assert_eq!(ring.fill(frames(&[(1, 3), (1, 4), (1, 5)])), 2);
    assert_eq!(all(&ring, &mut waiting), ["snapshot 1.5"]);
    ring.push(frame(1, 6));
    assert_eq!(all(&ring, &mut waiting), ["tick 1.6"]);
    assert_eq!(all(&ring, &mut ring.join()), ["snapshot 1.6"]);
}

#[test]
fn what_came_live_before_history_stays_where_who_waited_begins() {
    let mut ring = ring(8, &[]);
    let mut waiting = ring.join();
    ring.push(frame(1, 7));
    ring.fill(frames(&[(1, 5), (1, 6)]));
    assert_eq!(all(&ring, &mut waiting), ["snapshot 1.7"]);
}

#[test]
fn a_hole_that_history_fills_is_no_gap_for_who_has_not_come_to_it() {
    let mut ring = ring(8, &[(1, 1)]);
    let (mut quick, mut slow) = (ring.tip(), ring.tip());
    ring.push(frame(1, 4));
    assert!(ring.has_hole());
    assert_eq!(all(&ring, &mut quick), ["gap 1.2-3", "tick 1.4"]);
    assert_eq!(ring.fill(frames(&[(1, 3), (1, 2)])), 2);
    assert!(!ring.has_hole());
    assert_eq!(all(&ring, &mut slow), ["tick 1.2", "tick 1.3", "tick 1.4"]);
    assert_eq!(all(&ring, &mut quick), [] as [&str; 0]);
}

#[test]
fn history_that_is_ahead_goes_on_where_the_ring_ends() {
    let mut ring = ring(8, &[(1, 1)]);
    let mut cursor = ring.tip();
    assert_eq!(ring.fill(frames(&[(1, 1), (1, 2), (1, 3)])), 2);
    assert_eq!(all(&ring, &mut cursor), ["tick 1.2", "tick 1.3"]);
    assert_eq!(ring.fill(frames(&[(1, 4), (2, 1), (2, 2)])), 2);
    assert_eq!(all(&ring, &mut cursor), ["snapshot 2.1", "tick 2.2"]);
}

#[test]
fn incarnations_that_have_ended_are_not_taken_from_history() {
    let mut filled = ring(8, &[(2, 3)]);
    assert_eq!(filled.fill(frames(&[(1, 8), (1, 9), (2, 1), (2, 2)])), 2);
    assert_eq!(seqs(&filled), [(2, 1), (2, 2), (2, 3)]);
    let mut empty = ring(8, &[]);
    assert_eq!(empty.fill(frames(&[(1, 8), (1, 9), (2, 1)])), 1);
    assert_eq!(seqs(&empty), [(2, 1)]);
    assert_eq!(ring(8, &[(3, 1)]).fill(frames(&[(1, 8), (2, 1)])), 0);
}

#[test]
fn a_tick_takes_the_place_of_its_repeat() {
    let repeat =
        || Arc::new(Frame::new(Position { epoch: 1, seq: 2 }, tick(true), 0, b"{\"snapshot\":true}"));
    let mut ring = ring(8, &[]);
    ring.push(repeat());
    assert_eq!(ring.fill(vec![frame(1, 1), repeat(), frame(1, 2)]), 1);
    assert!(ring.frames.iter().all(|frame| !frame.tick.snapshot));
    ring.fill(vec![repeat()]);
    assert!(ring.frames.iter().all(|frame| !frame.tick.snapshot));
}

#[test]
fn who_follows_a_ring_takes_over_what_it_was_filled_with() {
    let mut source = ring(4, &[(1, 5)]);
    let mut mirror = source.clone();
    let next = source.end();
    source.push(frame(1, 6));
    source.fill(frames(&[(1, 3), (1, 4)]));
    source.push(frame(1, 7));
    let next = mirror.follow(&source, next);
    assert_eq!(seqs(&mirror), seqs(&source));
    source.push(frame(1, 8));
    assert_eq!(mirror.follow(&source, next), source.end());
    assert_eq!(seqs(&mirror), seqs(&source));
}

#[derive(Clone, Debug)]
enum Op {
    Publish {
        skip: u64,
    },
    Lose {
        count: u64,
    },
    Repeat,
    Restart {
        skip: u64,
    },
    Join,
    Leave(usize),
    Read {
        reader: usize,
        items: usize,
    },
    /// What was published, all but the newest few, and some of it lost.
    Fill {
        behind: usize,
        depth: usize,
        keep: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Publish { skip: 0 }),
        2 => (1u64..5).prop_map(|skip| Op::Publish { skip }),
        1 => (1u64..4).prop_map(|count| Op::Lose { count }),
        1 => Just(Op::Repeat),
        1 => (0u64..3).prop_map(|skip| Op::Restart { skip }),
        2 => Just(Op::Join),
        1 => any::<usize>().prop_map(Op::Leave),
        5 => (any::<usize>(), 0usize..12).prop_map(|(reader, items)| Op::Read { reader, items }),
        2 => (0usize..4, 0usize..20, any::<u64>()).prop_map(|(behind, depth, keep)| Op::Fill { behind, depth, keep }),
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

/// A ring with all that was ever published, a ring that follows it, and readers of that one.
struct Scene {
    said: Vec<Position>,
    ring: Ring,
    mirror: Ring,
    next: u64,
    readers: Vec<Model>,
}

impl Scene {
    fn new(capacity: usize) -> Self {
        let ring = Ring::new(capacity);
        let (mirror, next) = (ring.clone(), ring.end());
        Self { said: Vec::new(), ring, mirror, next, readers: Vec::new() }
    }

    /// Changes the ring, and counts what its readers have to hear of from then on.
    fn change(&mut self, change: impl FnOnce(&mut Ring)) {
        let before = self.ring.last().map(|last| last.position);
        change(&mut self.ring);
        let after = self.ring.last().map(|last| last.position);
        let news = match (before, after) {
            (Some(before), Some(after)) if before.epoch == after.epoch => after.seq - before.seq,
            // What an incarnation said after the last that was heard of it is nobody's.
            (Some(_), Some(after)) => after.seq,
            // What was before the first tick there ever was is nobody's either.
            (None, Some(_)) => 1,
            (_, None) => 0,
        };
        self.readers.iter_mut().for_each(|reader| reader.published += news);
    }

    /// Says all up to this position; the newest one is heard.
    fn publish(&mut self, epoch: u64, seqs: std::ops::RangeInclusive<u64>) {
        self.lose(epoch, seqs);
        let last = self.said[self.said.len() - 1];
        self.change(|ring| assert_eq!(ring.push(frame(last.epoch, last.seq)), Order::Next));
    }

    /// Says these, unheard.
    fn lose(&mut self, epoch: u64, seqs: std::ops::RangeInclusive<u64>) {
        self.said.extend(seqs.map(|seq| Position { epoch, seq }));
    }

    fn fill(&mut self, behind: usize, depth: usize, keep: u64) {
        let end = self.said.len().saturating_sub(behind);
        let range = end.saturating_sub(depth)..end;
        let kept = self.said[range].iter().enumerate().filter(|(n, _)| keep >> (n % 64) & 1 == 1);
        let frames = kept.map(|(_, position)| frame(position.epoch, position.seq)).collect();
        self.change(|ring| _ = ring.fill(frames));
    }

    fn join(&mut self) {
        self.next = self.mirror.follow(&self.ring, self.next);
        self.readers.push(Model {
            cursor: self.mirror.join(),
            snapshot: self.mirror.last().map(|last| last.position),
            published: 0,
            delivered: 0,
            missed: 0,
            last: None,
            items: 0,
        });
    }

    fn read(&mut self, reader: usize, items: usize) {
        self.next = self.mirror.follow(&self.ring, self.next);
        let Some(newest) = self.mirror.last().map(|last| last.position) else { return };
        for _ in 0..items {
            let Some(item) = self.mirror.next(&mut self.readers[reader].cursor) else { break };
            self.readers[reader].see(&item, newest);
        }
    }
}

proptest! {
    #[test]
    fn delivered_and_missed_are_what_was_published(capacity in 1usize..10,
                                                   ops in proptest::collection::vec(op(), 1..300)) {
        let mut scene = Scene::new(capacity);
        let (mut epoch, mut seq) = (1, 0);
        // Restarts are kept below what a ring remembers.
        let mut restarts = 0;
        for op in ops {
            match op {
                Op::Publish { skip } => {
                    scene.publish(epoch, seq + 1..=seq + 1 + skip);
                    seq += 1 + skip;
                }
                Op::Lose { count } => {
                    scene.lose(epoch, seq + 1..=seq + count);
                    seq += count;
                }
                Op::Repeat => {
                    if let Some(last) = scene.ring.last().map(|last| last.position) {
                        prop_assert_eq!(scene.ring.push(frame(last.epoch, last.seq)), Order::Repeated);
                    }
                }
                Op::Restart { skip } if restarts < ENDS_MAX - 1 => {
                    restarts += 1;
                    (epoch, seq) = (epoch + 1, 1 + skip);
                    scene.publish(epoch, 1..=seq);
                }
                Op::Restart { .. } => {}
                Op::Fill { behind, depth, keep } => scene.fill(behind, depth, keep),
                Op::Join => scene.join(),
                Op::Leave(n) => if !scene.readers.is_empty() {
                    let n = n % scene.readers.len();
                    scene.readers.swap_remove(n);
                },
                Op::Read { reader, items } => if !scene.readers.is_empty() {
                    scene.read(reader % scene.readers.len(), items);
                },
            }
        }
        for n in 0..scene.readers.len() {
            scene.read(n, usize::MAX);
            let reader = &scene.readers[n];
            prop_assert_eq!(reader.delivered + reader.missed, reader.published);
            prop_assert_eq!(reader.cursor, scene.ring.tip());
        }
    }
}
