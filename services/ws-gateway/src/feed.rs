use std::sync::Arc;

use bytes::Bytes;
use tickcast_model::{Body, ChannelEvent, Position, StateChange, SymbolState};

use crate::fold::{Folds, Merged};
use crate::frame::{Frame, Gap};
use crate::protocol::ChannelWriter;
use crate::ring::{Cursor, Item, Order, Ring};

/// What is known of one channel: its last ticks and its state.
///
/// The hub has one for each channel, and each writer one that follows it, so that the writer's clients read without a lock.
#[derive(Clone, Debug)]
pub struct Feed {
    writer: ChannelWriter,
    ring: Ring,
    /// Where somebody may want ticks merged.
    folds: Option<Box<Folds>>,
    /// The greatest incarnation heard of, by a tick or a state.
    epoch: u64,
    state: StateChange,
    /// The state as a message.
    state_json: Bytes,
    /// Grows with each change of the state; it may wrap.
    state_version: u16,
    /// Grows with each event that was accepted; it may wrap.
    events: u16,
    /// Somebody joined while the venue was away, and waits for the next event whatever it says.
    is_awaited: bool,
    /// What there is of history is here, or will not come.
    is_settled: bool,
    /// Where the first history ended, until the next tick shows whether something is missing between.
    filled_to: Option<Position>,
}

/// What became of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Published {
    /// A tick readers have to be told of.
    Tick,
    /// The same, and it is the first after history, which should have what is missing between.
    TickAfterHole,
    /// A state readers may have to be told of.
    State,
    /// Its position was there before, or its state changes nothing.
    Repeated,
    /// It is from an incarnation that has been replaced.
    OldEpoch,
}

/// A reader's place in a feed. There is one for each symbol of each client: twelve bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    cursor: Cursor,
    /// The version of the state it was told last; while `away`, how many events there were when it joined. Both cut: a
    /// reader would have to sleep through 65,536 changes to take one for another.
    told: u16,
    away: Away,
}

impl Reading {
    /// The reader's place once it has the very next tick. Where that is [`Feed::tip`], this tick is the newest and all
    /// there is for it.
    pub fn advanced(self) -> Self {
        Self { cursor: self.cursor.advanced(), ..self }
    }

    /// Whether two readers were told the same of the symbol's state.
    pub fn knows_state_of(self, other: Self) -> bool {
        (self.told, self.away) == (other.told, other.away)
    }
}

/// Whether a reader joined while the venue was away. Then what the feed says counts again after the next event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Away {
    No,
    /// It was told so.
    Told,
    /// It is still to be told so.
    Untold,
}

/// What a reader gets next.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// The beginning of a series of ticks.
    Snapshot(&'a Frame),
    /// The tick after the one before.
    Tick(&'a Frame),
    /// Ticks told as one.
    Merged(Merged<'a>),
    /// Ticks that are lost for this reader.
    Gap(Gap),
    /// The symbol's state changed (the message, JSON).
    State(Bytes),
}

/// The code that goes with the state `pending` while the venue cannot serve.
pub(crate) const VENUE_DOWN: &str = "VENUE_DOWN";

impl Feed {
    /// A feed of which nothing is known yet, keeping `ring_ticks` ticks.
    pub fn new(writer: ChannelWriter, ring_ticks: usize) -> Self {
        let state = StateChange::plain(SymbolState::Pending);
        Self {
            state_json: writer.state(&state),
            writer,
            ring: Ring::new(ring_ticks),
            folds: None,
            epoch: 0,
            state,
            state_version: 1,
            events: 0,
            is_awaited: false,
            is_settled: false,
            filled_to: None,
        }
    }

    /// Takes over ticks from history, and gives how many. They can only add to what is known, see [`Ring::fill`];
    /// incarnations before `epoch` have been replaced.
    pub fn fill(&mut self, mut frames: Vec<Arc<Frame>>, epoch: u64) -> usize {
        let epoch = epoch.max(self.epoch);
        frames.retain(|frame| frame.position.epoch >= epoch);
        let Some(newest) = frames.iter().map(|frame| frame.position).max() else { return 0 };
        self.epoch = epoch.max(newest.epoch);
        let taken = self.ring.fill(frames);
        if !self.is_settled {
            self.filled_to = self.ring.last().map(|last| last.position).filter(|last| *last == newest);
        }
        taken
    }

    /// Whether ticks are missing between those that are known, which history might have.
    pub fn has_hole(&self) -> bool {
        self.ring.has_hole()
    }

    /// Says that what there is of history is here, or will not come.
    pub fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Whether all is known that can be: history was read, or given up. Before, a position may be unknown only for now.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Takes an event from the bus. A tick is encoded here, once for everybody.
    pub fn publish(&mut self, event: &ChannelEvent, arrived_us: i64) -> Published {
        if event.position.epoch < self.epoch {
            return Published::OldEpoch;
        }
        self.epoch = event.position.epoch;
        match &event.body {
            Body::Tick(tick) => {
                match self.ring.order(event.position) {
                    Order::Next => {}
                    Order::Repeated => return Published::Repeated,
                    Order::OldEpoch => return Published::OldEpoch,
                }
                let json = self.writer.tick(tick, event.position);
                let frame = Frame::new(event.position, tick.clone(), arrived_us, &json);
                let frame = frame.after(self.ring.last().map(|last| &**last));
                self.ring.push(Arc::new(frame));
                self.accept();
                // A tick proves that the symbol is live; what the venue reports on subscribing proves nothing.
                if !tick.snapshot {
                    self.change_state(&StateChange::plain(SymbolState::Live));
                }
                match self.filled_to.take() {
                    Some(end) if end.epoch == event.position.epoch && end.seq + 1 < event.position.seq => {
                        Published::TickAfterHole
                    }
                    _ => Published::Tick,
                }
            }
            Body::State(state) => {
                let was_awaited = self.accept();
                let has_changed = self.change_state(state);
                if has_changed || was_awaited { Published::State } else { Published::Repeated }
            }
        }
    }

    /// Counts an event; true where somebody waited for any.
    fn accept(&mut self) -> bool {
        self.events = self.events.wrapping_add(1);
        std::mem::take(&mut self.is_awaited)
    }

    fn change_state(&mut self, state: &StateChange) -> bool {
        // A live symbol needs no reason, so two of them never differ.
        if self.state == *state || (self.is_live() && state.state == SymbolState::Live) {
            return false;
        }
        self.state = state.clone();
        self.state_json = self.writer.state(state);
        self.state_version = self.state_version.wrapping_add(1);
        true
    }

    fn is_live(&self) -> bool {
        self.state.state == SymbolState::Live
    }

    /// Takes over what another feed of the channel got since its frame number `from`; gives the number to go on from.
    pub fn follow(&mut self, source: &Self, from: u64) -> u64 {
        if self.state_version != source.state_version {
            self.state.clone_from(&source.state);
            self.state_json.clone_from(&source.state_json);
            self.state_version = source.state_version;
        }
        self.epoch = source.epoch;
        self.events = source.events;
        self.is_settled = source.is_settled;
        let is_filled = self.ring.fills() != source.ring.fills();
        let next = self.ring.follow(&source.ring, from);
        if let Some(folds) = &mut self.folds {
            match (folds.last().map(|last| last.position), self.ring.frames().next()) {
                (Some(last), _) if !is_filled => folds.take(self.ring.frames_behind(last)),
                (_, Some(first)) => {
                    folds.rewind(first);
                    folds.take(self.ring.frames());
                }
                _ => {}
            }
        }
        next
    }

    /// From now on ticks can be merged, see [`Feed::next_merged`].
    pub fn fold(&mut self) {
        let folds = self.folds.get_or_insert_default();
        if folds.last().is_none() {
            folds.take(self.ring.frames());
        }
    }

    /// The number of the frame that comes next, see [`Feed::follow`].
    pub fn end(&self) -> u64 {
        self.ring.end()
    }

    /// The place of a reader that has everything. Any other may have something coming.
    pub fn tip(&self) -> Reading {
        Reading { cursor: self.ring.tip(), told: self.state_version, away: Away::No }
    }

    /// The newest tick.
    pub fn last(&self) -> Option<&Arc<Frame>> {
        self.ring.last()
    }

    /// The state of the symbol.
    pub fn state(&self) -> SymbolState {
        self.state.state
    }

    /// Makes the next event worth telling whatever it says: somebody joins while the venue is away.
    pub fn await_any(&mut self) {
        self.is_awaited = true;
    }

    /// A place for a new reader. Where the venue is `away`, what is known may be old: the reader is told `pending`, and
    /// the state again once something is heard.
    pub fn join(&self, away: bool) -> Reading {
        let told = match (away, self.is_live()) {
            (true, _) => self.events,
            // Live goes without saying.
            (false, true) => self.state_version,
            (false, false) => self.untold(),
        };
        Reading { cursor: self.ring.join(), told, away: if away { Away::Untold } else { Away::No } }
    }

    /// A place for a reader that got everything up to `position` elsewhere, see [`Feed::join`]; `None` where what it missed
    /// is not all here.
    pub fn resume(&self, position: Position, away: bool) -> Option<Reading> {
        Some(Reading { cursor: self.ring.resume(position)?, ..self.join(away) })
    }

    /// Whether a reader stands exactly where one stands that got everything up to `position`.
    pub fn is_at(&self, reading: Reading, position: Position) -> bool {
        self.ring.is_at(reading.cursor, position)
    }

    /// What comes next for this reader; `None` where it has everything.
    pub fn next(&self, reading: &mut Reading) -> Option<Step<'_>> {
        if let Some(state) = self.state_first(reading) {
            return Some(Step::State(state));
        }
        Some(match self.ring.next(&mut reading.cursor)? {
            Item::Snapshot(frame) => Step::Snapshot(frame),
            Item::Tick(frame) => Step::Tick(frame),
            Item::Gap(gap) => Step::Gap(gap),
        })
    }

    /// What comes next for a reader that gets all there is of the ticks as one, where that is due; what is missing of them is
    /// told first. [`Feed::fold`] was called.
    pub fn next_merged(&self, reading: &mut Reading, is_due: bool, gap: impl FnMut(Gap)) -> Option<Step<'_>> {
        if let Some(state) = self.state_first(reading) {
            return Some(Step::State(state));
        }
        let folds = self.folds.as_ref().filter(|_| is_due)?;
        self.ring.next_merged(folds, &mut reading.cursor, gap).map(Step::Merged)
    }

    /// Moves a reader to just before the newest tick; what it will not get is told. It stays where it is as long as it has
    /// not begun; true where it moved or stands there anyway.
    pub fn jump(&self, reading: &mut Reading, gap: impl FnMut(Gap)) -> bool {
        let has_begun = !reading.cursor.is_joined();
        self.ring.jump(&mut reading.cursor, gap);
        has_begun
    }

    /// Whether a reader can have each tick it has not got yet.
    pub fn has_all_behind(&self, reading: Reading) -> bool {
        self.ring.has_all_behind(reading.cursor)
    }

    /// The state, where it comes before any tick.
    fn state_first(&self, reading: &mut Reading) -> Option<Bytes> {
        let knows_state = reading.told == self.state_version && reading.away == Away::No;
        // The first message of a channel is its last known tick, where one is known.
        if knows_state || !(reading.cursor.has_started() || self.ring.last().is_none()) {
            return None;
        }
        self.next_state(reading)
    }

    fn next_state(&self, reading: &mut Reading) -> Option<Bytes> {
        match reading.away {
            Away::Untold => {
                reading.away = Away::Told;
                let state = self.writer.state(&StateChange {
                    state: SymbolState::Pending,
                    code: Some(VENUE_DOWN.into()),
                    message: Some("the venue is not available; the symbol becomes live by itself".into()),
                    until_ms: None,
                });
                return Some(state);
            }
            Away::Told if self.events == reading.told => return None,
            Away::Told => {
                reading.away = Away::No;
                // That it is pending was said already.
                let is_known = self.state.state == SymbolState::Pending;
                reading.told = if is_known { self.state_version } else { self.untold() };
            }
            Away::No => {}
        }
        if reading.told == self.state_version {
            return None;
        }
        reading.told = self.state_version;
        Some(self.state_json.clone())
    }

    /// A version that was not told.
    fn untold(&self) -> u16 {
        self.state_version.wrapping_sub(1)
    }

    /// Writes the channel's messages.
    pub fn writer(&self) -> &ChannelWriter {
        &self.writer
    }
}

#[cfg(test)]
mod tests {
    use tickcast_model::{Price, Symbol, Tick, VenueId};

    use super::*;

    fn feed() -> Feed {
        Feed::new(ChannelWriter::new(&VenueId::new("ctrader").unwrap(), &Symbol::new("EURUSD").unwrap()), 8)
    }

    fn tick(epoch: u64, seq: u64, snapshot: bool) -> ChannelEvent {
        let body = Body::Tick(Tick {
            bid: Price::new(110_000, 5),
            ask: None,
            last: None,
            digits: 5,
            venue_time_ms: None,
            received_us: 1,
            snapshot,
            delayed_s: None,
            details: None,
        });
        ChannelEvent { symbol: Symbol::new("EURUSD").unwrap(), position: Position { epoch, seq }, body }
    }

    fn state(epoch: u64, state: SymbolState) -> ChannelEvent {
        let body = Body::State(StateChange::plain(state));
        ChannelEvent { symbol: Symbol::new("EURUSD").unwrap(), position: Position { epoch, seq: 0 }, body }
    }

    fn all(feed: &Feed, reading: &mut Reading) -> Vec<String> {
        std::iter::from_fn(|| feed.next(reading))
            .map(|step| match step {
                Step::Snapshot(frame) => format!("snapshot {}", frame.position.seq),
                Step::Tick(frame) => format!("tick {}", frame.position.seq),
                Step::Merged(merged) => format!("merged {} to {}", merged.count, merged.frame.position.seq),
                Step::Gap(gap) => format!("gap {}-{}", gap.from, gap.to),
                Step::State(json) => {
                    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
                    format!("{} {}", value["state"].as_str().unwrap(), value["code"].as_str().unwrap_or(""))
                }
            })
            .collect()
    }

    #[test]
    fn a_new_symbol_is_pending_and_its_first_tick_makes_it_live() {
        let mut feed = feed();
        let mut reading = feed.join(false);
        assert_eq!(all(&feed, &mut reading), ["pending "]);
        assert_eq!(feed.publish(&tick(1, 1, false), 0), Published::Tick);
        assert_eq!(all(&feed, &mut reading), ["snapshot 1", "live "]);
        assert_eq!(feed.publish(&state(1, SymbolState::Live), 0), Published::Repeated);
        assert_eq!(all(&feed, &mut reading), [] as [&str; 0]);
    }

    #[test]
    fn a_state_that_is_known_is_news_to_who_joined_while_the_venue_was_away() {
        let mut feed = feed();
        feed.publish(&tick(1, 1, false), 0);
        feed.await_any();
        let mut reading = feed.join(true);
        assert_eq!(all(&feed, &mut reading), ["snapshot 1", "pending VENUE_DOWN"]);
        assert_eq!(feed.publish(&state(1, SymbolState::Live), 0), Published::State);
        assert_eq!(all(&feed, &mut reading), ["live "]);
        assert_eq!(feed.publish(&state(1, SymbolState::Live), 0), Published::Repeated);
    }

    #[test]
    fn live_goes_without_saying_on_joining_and_anything_else_follows_the_snapshot() {
        let mut feed = feed();
        feed.publish(&tick(1, 1, false), 0);
        let mut reading = feed.join(false);
        assert_eq!(all(&feed, &mut reading), ["snapshot 1"]);
        feed.publish(&state(1, SymbolState::Stale), 0);
        let mut reading = feed.join(false);
        assert_eq!(all(&feed, &mut reading), ["snapshot 1", "stale "]);
    }

    #[test]
    fn what_the_venue_reports_on_subscribing_does_not_make_a_symbol_live() {
        let mut feed = feed();
        let mut reading = feed.join(false);
        feed.publish(&tick(1, 1, true), 0);
        assert_eq!(all(&feed, &mut reading), ["snapshot 1", "pending "]);
    }

    #[test]
    fn while_the_venue_is_away_a_reader_is_pending_until_something_is_heard() {
        let mut feed = feed();
        feed.publish(&tick(1, 1, false), 0);
        let mut before = feed.join(false);
        feed.await_any();
        let mut reading = feed.join(true);
        assert_eq!(all(&feed, &mut reading), ["snapshot 1", "pending VENUE_DOWN"]);
        assert_eq!(all(&feed, &mut before), ["snapshot 1"]);
        feed.publish(&tick(1, 2, false), 0);
        assert_eq!(all(&feed, &mut reading), ["live ", "tick 2"]);
        assert_eq!(all(&feed, &mut before), ["tick 2"]);
    }

    #[test]
    fn pending_is_not_said_twice() {
        let mut feed = feed();
        let mut reading = feed.join(true);
        assert_eq!(all(&feed, &mut reading), ["pending VENUE_DOWN"]);
        feed.publish(&state(1, SymbolState::Pending), 0);
        assert_eq!(all(&feed, &mut reading), [] as [&str; 0]);
        feed.publish(&state(1, SymbolState::Refused), 0);
        assert_eq!(all(&feed, &mut reading), ["refused "]);
    }

    #[test]
    fn events_of_a_replaced_incarnation_are_dropped() {
        let mut feed = feed();
        feed.publish(&state(2, SymbolState::Pending), 0);
        assert_eq!(feed.publish(&tick(1, 9, false), 0), Published::OldEpoch);
        assert_eq!(feed.publish(&state(1, SymbolState::Live), 0), Published::OldEpoch);
        assert_eq!(feed.publish(&tick(2, 1, false), 0), Published::Tick);
        assert_eq!(feed.publish(&tick(2, 1, true), 0), Published::Repeated);
    }

    fn fill(feed: &mut Feed, ticks: &[(u64, u64)], epoch: u64) -> usize {
        let frames = ticks.iter().map(|(epoch, seq)| {
            let event = tick(*epoch, *seq, false);
            let Body::Tick(tick) = event.body else { panic!("a tick") };
            Arc::new(Frame::new(event.position, tick, 0, b"{}"))
        });
        feed.fill(frames.collect(), epoch)
    }

    #[test]
    fn history_gives_a_new_channel_its_last_tick_and_proves_nothing_about_its_state() {
        let mut feed = feed();
        let mut reading = feed.join(false);
        assert_eq!(all(&feed, &mut reading), ["pending "]);
        assert_eq!(fill(&mut feed, &[(1, 1), (1, 2)], 0), 2);
        assert_eq!(all(&feed, &mut reading), ["snapshot 2"]);
        assert_eq!(feed.publish(&tick(1, 3, false), 0), Published::Tick);
        assert_eq!(all(&feed, &mut reading), ["live ", "tick 3"]);
    }

    #[test]
    fn history_of_a_replaced_incarnation_is_none() {
        let mut feed = feed();
        assert_eq!(fill(&mut feed, &[(1, 1), (1, 2)], 2), 0, "the venue's health tells of a later one");
        feed.publish(&state(3, SymbolState::Pending), 0);
        assert_eq!(fill(&mut feed, &[(2, 1)], 2), 0, "the channel has heard of a later one");
        assert_eq!(fill(&mut feed, &[(2, 1), (3, 1)], 2), 1);
        assert_eq!(feed.last().unwrap().position, Position { epoch: 3, seq: 1 });
    }

    #[test]
    fn the_first_tick_after_history_tells_whether_some_are_missing_between() {
        let mut whole = feed();
        fill(&mut whole, &[(1, 1), (1, 2)], 0);
        assert_eq!(whole.publish(&tick(1, 3, false), 0), Published::Tick);
        assert_eq!(
            whole.publish(&tick(1, 5, false), 0),
            Published::Tick,
            "later holes are no matter of history"
        );
        let mut holed = feed();
        fill(&mut holed, &[(1, 1), (1, 2)], 0);
        assert!(!holed.has_hole());
        assert_eq!(holed.publish(&tick(1, 4, false), 0), Published::TickAfterHole);
        assert!(holed.has_hole());
        holed.settle();
        fill(&mut holed, &[(1, 2), (1, 3), (1, 4)], 0);
        assert!(!holed.has_hole());
        assert_eq!(holed.publish(&tick(1, 6, false), 0), Published::Tick, "it is looked after once");
    }

    #[test]
    fn who_follows_learns_that_history_is_settled() {
        let mut source = feed();
        let mut mirror = source.clone();
        let next = source.end();
        fill(&mut source, &[(1, 1), (1, 2)], 0);
        source.settle();
        assert!(!mirror.is_settled());
        mirror.follow(&source, next);
        assert!(mirror.is_settled());
        assert_eq!(mirror.last().unwrap().position.seq, 2);
    }
}
