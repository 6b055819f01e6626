//! Every form tells the same: whatever happens in some channels, what a client reads over WebSocket as text, as binary ticks
//! and as server-sent events comes out as the same messages in the same order.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test; the lint knows only functions marked as one")]

mod support;

use loadgen::{CompactReader, FrameReader, Message};
use proptest::prelude::*;
use serde_json::Value;
use tickcast_model::{Body, ChannelEvent, Position, Price, StateChange, Symbol, SymbolState, Tick, VenueId};
use ws_gateway::feed::{Feed, Reading, Step};
use ws_gateway::form::{EventsForm, Form, Of};
use ws_gateway::frame::Gap;
use ws_gateway::hub::ChannelKey;
use ws_gateway::places::Places;
use ws_gateway::protocol::ChannelWriter;

use support::any_details;

const SYMBOLS: [&str; 3] = ["EURUSD", "GER40.cash", "Ä/B"];

/// Ticks a ring holds: few, so that readers are lapped.
const RING_TICKS: usize = 6;

#[derive(Clone, Debug)]
enum Op {
    /// A tick, so many numbers after the one before; of a new incarnation where it is one.
    Publish { channel: usize, skip: u64, is_new_epoch: bool, tick: Tick },
    /// A state.
    State { channel: usize, is_live: bool },
    /// The client leaves the channel and takes it up again, under a number that may have meant another: anew, or so many
    /// ticks back from the newest.
    Join { channel: usize, number: u32, back: Option<u64> },
    /// The client gets what there is of a channel.
    Read { channel: usize, merged: bool },
    /// A write ends.
    Write,
}

fn any_tick() -> impl Strategy<Value = Tick> {
    let side = || prop::option::weighted(0.9, prop_oneof![9 => 100_000i64..100_200, 1 => any::<i64>()]);
    let last = prop_oneof![4 => Just(None), 1 => side()];
    let delayed = prop_oneof![9 => Just(None), 1 => Just(Some(900))];
    (
        side(),
        side(),
        last,
        0i64..10_000_000,
        prop::option::of(0i64..10_000),
        prop::bool::weighted(0.1),
        delayed,
        any_details(),
    )
        .prop_map(|(bid, ask, last, received_us, venue_time_ms, snapshot, delayed_s, details)| Tick {
            bid: bid.and_then(|units| Price::new(units, 5)),
            ask: ask.and_then(|units| Price::new(units, 5)),
            last: last.and_then(|units| Price::new(units, 5)),
            digits: 5,
            venue_time_ms,
            received_us,
            snapshot,
            delayed_s,
            details,
        })
}

fn any_op() -> impl Strategy<Value = Op> {
    let channel = || 0..SYMBOLS.len();
    let skip = prop_oneof![6 => Just(0u64), 1 => 1u64..4];
    prop_oneof![
        8 => (channel(), skip, prop::bool::weighted(0.05), any_tick())
            .prop_map(|(channel, skip, is_new_epoch, tick)| Op::Publish { channel, skip, is_new_epoch, tick }),
        1 => (channel(), any::<bool>()).prop_map(|(channel, is_live)| Op::State { channel, is_live }),
        1 => (channel(), 0u32..5, prop::option::of(0u64..8)).prop_map(|(channel, number, back)| Op::Join { channel, number, back }),
        5 => (channel(), prop::bool::weighted(0.3)).prop_map(|(channel, merged)| Op::Read { channel, merged }),
        2 => Just(Op::Write),
    ]
}

/// One client three times, each told in another form.
struct Clients {
    channels: Vec<Channel>,
    forms: [Form; 3],
    written: [Vec<u8>; 3],
    heard: [Vec<Value>; 3],
    text: FrameReader,
    binary: FrameReader,
    compact: CompactReader,
}

struct Channel {
    key: ChannelKey,
    /// As the bus fills it, and as a writer follows it.
    source: Feed,
    feed: Feed,
    next: u64,
    position: Position,
    /// The number under which the client reads it, and its place.
    reads: Option<(u32, Reading)>,
}

impl Clients {
    fn new() -> Self {
        let venue = VenueId::new("ctrader").unwrap();
        let channel = |name: &&str| {
            let key = ChannelKey { venue: venue.clone(), symbol: Symbol::new(name).unwrap() };
            let source = Feed::new(ChannelWriter::new(&key.venue, &key.symbol), RING_TICKS);
            let mut feed = source.clone();
            feed.fold();
            Channel { key, source, feed, next: 0, position: Position { epoch: 1, seq: 0 }, reads: None }
        };
        let places = Places::new("ctrader", SYMBOLS.iter().map(|name| (*name).to_owned()).collect());
        let events = Form::Events(Box::new(EventsForm::new(Box::default(), places)));
        Self {
            channels: SYMBOLS.iter().map(channel).collect(),
            forms: [Form::Text, events, Form::Binary(Box::default())],
            written: [const { Vec::new() }; 3],
            heard: [const { Vec::new() }; 3],
            text: FrameReader::default(),
            binary: FrameReader::default(),
            compact: CompactReader::default(),
        }
    }

    fn perform(&mut self, op: Op) {
        match op {
            Op::Publish { channel, skip, is_new_epoch, tick } => {
                let channel = &mut self.channels[channel];
                let Position { epoch, seq } = channel.position;
                channel.position = if is_new_epoch {
                    Position { epoch: epoch + 1, seq: 1 }
                } else {
                    Position { epoch, seq: seq + 1 + skip }
                };
                channel.publish(Body::Tick(tick));
            }
            Op::State { channel, is_live } => {
                let state = if is_live { SymbolState::Live } else { SymbolState::Stale };
                self.channels[channel].publish(Body::State(StateChange::plain(state)));
            }
            Op::Join { channel, number, back } => self.join(channel, number, back),
            Op::Read { channel, merged } => self.read(channel, merged),
            Op::Write => self.write(),
        }
    }

    fn join(&mut self, channel: usize, number: u32, back: Option<u64>) {
        let is_taken = |other: &Channel| other.reads.is_some_and(|(taken, _)| taken == number);
        if self.channels.iter().enumerate().any(|(place, other)| place != channel && is_taken(other)) {
            return;
        }
        let channel = &mut self.channels[channel];
        channel.follow();
        let seq = back.map(|back| channel.position.seq.saturating_sub(back));
        let resumed = seq.and_then(|seq| channel.feed.resume(Position { seq, ..channel.position }, false));
        channel.reads = Some((number, resumed.unwrap_or_else(|| channel.feed.join(false))));
        self.forms.iter_mut().for_each(|form| form.joined(number, &channel.key));
    }

    fn read(&mut self, channel: usize, merged: bool) {
        self.channels[channel].follow();
        let Channel { feed, reads: Some((number, reading)), .. } = &mut self.channels[channel] else {
            return;
        };
        let of = Of { channel: *number, feed };
        loop {
            let mut gaps: Vec<Gap> = Vec::new();
            let step = if merged {
                feed.next_merged(reading, true, |gap| gaps.push(gap))
            } else {
                feed.next(reading)
            };
            for (form, out) in self.forms.iter_mut().zip(&mut self.written) {
                gaps.iter().for_each(|gap| form.gap(of, gap, out));
                match &step {
                    None => {}
                    Some(Step::Tick(frame)) => form.tick(of, frame, out),
                    Some(Step::Snapshot(frame)) => form.snapshot(of, frame, out),
                    Some(Step::Merged(merged)) => form.merged(of, merged, out),
                    Some(Step::Gap(gap)) => form.gap(of, gap, out),
                    Some(Step::State(json)) => form.state(of, json, out),
                }
            }
            if step.is_none() && gaps.is_empty() {
                break;
            }
        }
    }

    fn write(&mut self) {
        for (form, out) in self.forms.iter_mut().zip(&mut self.written) {
            form.finish(out);
        }
        let [text, events, binary] = self.written.each_mut().map(std::mem::take);
        let [in_text, in_events, in_binary] = &mut self.heard;
        self.text.feed(&text, |message| in_text.push(json(&message))).unwrap();
        for event in std::str::from_utf8(&events).unwrap().split_terminator("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            in_events.push(serde_json::from_str(data).unwrap());
        }
        let compact = &mut self.compact;
        let each = |message: Message<'_>| match message {
            Message::Binary(payload) => compact.read(payload, |tick| in_binary.push(tick.message())).unwrap(),
            message => in_binary.push(json(&message)),
        };
        self.binary.feed(&binary, each).unwrap();
    }
}

impl Channel {
    fn follow(&mut self) {
        self.next = self.feed.follow(&self.source, self.next);
    }

    fn publish(&mut self, body: Body) {
        let event = ChannelEvent { symbol: self.key.symbol.clone(), position: self.position, body };
        self.source.publish(&event, 0);
    }
}

fn json(message: &Message<'_>) -> Value {
    match message {
        Message::Text(text) => serde_json::from_slice(text).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A price without decimals is a whole number in text.
fn plain(mut message: Value) -> Value {
    let fields = message.as_object_mut().unwrap();
    fields.values_mut().for_each(|value| *value = value.as_f64().map_or(value.take(), Value::from));
    message
}

/// Plays it, and gives how many messages each client heard.
fn play(ops: impl IntoIterator<Item = Op>) -> usize {
    let mut clients = Clients::new();
    for op in ops {
        clients.perform(op);
    }
    for channel in 0..SYMBOLS.len() {
        clients.read(channel, false);
    }
    clients.write();
    let [text, events, binary] = clients.heard;
    assert_eq!(text, events);
    let [text, binary] = [text, binary].map(|heard| heard.into_iter().map(plain).collect::<Vec<_>>());
    assert_eq!(text, binary);
    text.len()
}

#[test]
fn no_step_is_told_from_a_tick_that_came_as_text() {
    let tick = |bid| Tick {
        bid: Price::new(bid, 5),
        ask: None,
        last: None,
        digits: 5,
        venue_time_ms: None,
        received_us: 0,
        snapshot: false,
        delayed_s: None,
        details: None,
    };
    let publish = |bid| Op::Publish { channel: 0, skip: 0, is_new_epoch: false, tick: tick(bid) };
    let read = |merged| Op::Read { channel: 0, merged };
    let join = Op::Join { channel: 0, number: 0, back: None };
    // The high of the second and third together is none the binary form can say; what follows must not lean on it.
    let ops =
        [publish(1), join, read(false), publish(1 << 60), publish(2), read(true), publish(3), read(false)];
    assert_eq!(play(ops), 3, "a snapshot, two ticks as one, and a tick");
}

proptest! {
    #[test]
    fn every_form_tells_the_same(ops in proptest::collection::vec(any_op(), 1..120)) {
        play(ops);
    }
}
