use std::collections::HashMap;
use std::sync::Mutex;

use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tickcast_model::{
    Body, Catalogue, ChannelEvent, Instrument, Position, Price, StateChange, Symbol, SymbolState, Tick,
    VenueId,
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_util::sync::CancellationToken;

use super::super::*;
use crate::bulletin::Bulletin;
use crate::catalogue::Book;
use crate::feed::Feed;
use crate::hub::Hub;
use crate::limits::{ClientLimits, Doors};
use crate::metrics::GatewayMetrics;
use crate::origins::Origins;
use crate::venues::Venues;

/// Ticks a ring holds here.
pub(super) const RING: usize = 8;

/// A socket the test holds the other end of. It takes `room` bytes and then blocks.
#[derive(Clone, Default)]
pub(super) struct Pipe(pub(super) Arc<Mutex<Ends>>);

#[derive(Default)]
pub(super) struct Ends {
    pub(super) to_gateway: VecDeque<u8>,
    pub(super) to_browser: Vec<u8>,
    pub(super) room: usize,
    /// The browser is gone.
    pub(super) is_cut: bool,
    /// The gateway has said everything.
    pub(super) is_finished: bool,
    pub(super) writes: usize,
}

impl Socket for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.0.lock().unwrap();
        if ends.to_gateway.is_empty() {
            return if ends.is_cut { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = buffer.len().min(ends.to_gateway.len());
        for (to, from) in buffer.iter_mut().zip(ends.to_gateway.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = self.0.lock().unwrap();
        assert!(!ends.is_finished, "written after the end");
        if ends.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        ends.writes += 1;
        let bytes = &bytes[..bytes.len().min(ends.room)];
        ends.room -= bytes.len();
        ends.to_browser.extend(bytes);
        Ok(bytes.len())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().is_finished = true;
        Ok(())
    }
}

/// A browser at the other end of a pipe.
pub(super) struct Browser {
    pub(super) number: u32,
    pub(super) pipe: Pipe,
}

impl Browser {
    /// Sends a frame, cut into single bytes or whole.
    pub(super) fn send(&self, opcode: OpCode, payload: &[u8]) {
        let header = FrameHeader { opcode, mask: Some([1, 2, 3, 4]), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        self.pipe.0.lock().unwrap().to_gateway.extend(bytes);
    }

    /// Takes the whole frames that have come: opcode and payload.
    pub(super) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        frames(&mut self.pipe.0.lock().unwrap().to_browser)
    }

    /// Takes the text messages that have come.
    pub(super) fn hear(&self) -> Vec<Value> {
        messages(&mut self.pipe.0.lock().unwrap().to_browser)
    }

    /// The code of the close frame that has come.
    pub(super) fn closed_with(&self) -> Option<u16> {
        let close = self.frames().into_iter().find(|(opcode, _)| *opcode == 8)?;
        Some(u16::from_be_bytes(*close.1.first_chunk::<2>()?))
    }

    pub(super) fn send_text(&self, text: &str) {
        self.send(OpCode::Data(Data::Text), text.as_bytes());
    }

    /// Answers a ping, asked for or not.
    pub(super) fn send_pong(&self) {
        self.send(OpCode::Control(Control::Pong), b"");
    }

    /// Takes the bytes that have come.
    pub(super) fn take_bytes(&self) -> Vec<u8> {
        take(&mut self.pipe.0.lock().unwrap().to_browser)
    }

    /// Leaves bytes for later that were taken.
    pub(super) fn give_back(&self, bytes: &[u8]) {
        self.pipe.0.lock().unwrap().to_browser.splice(0..0, bytes.iter().copied());
    }

    /// Goes without a word.
    pub(super) fn cut(&self) {
        self.pipe.0.lock().unwrap().is_cut = true;
    }

    pub(super) fn room(&self, bytes: usize) {
        self.pipe.0.lock().unwrap().room = bytes;
    }

    pub(super) fn writes(&self) -> usize {
        take(&mut self.pipe.0.lock().unwrap().writes)
    }
}

/// Takes the whole frames from the beginning of what came: opcode and payload.
pub(super) fn frames(bytes: &mut Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    let (mut frames, mut done) = (Vec::new(), 0);
    while let Some([first, second]) = bytes[done..].first_chunk::<2>() {
        let rest = &bytes[done + 2..];
        let (skip, length) = match second {
            126 => (2, rest.first_chunk::<2>().map(|n| usize::from(u16::from_be_bytes(*n)))),
            127 => (8, rest.first_chunk::<8>().map(|n| usize::try_from(u64::from_be_bytes(*n)).unwrap())),
            short => (0, Some(usize::from(*short))),
        };
        let Some(payload) = length.and_then(|length| rest.get(skip..skip + length)) else { break };
        frames.push((first & 0x0F, payload.to_vec()));
        done += 2 + skip + payload.len();
    }
    bytes.drain(..done);
    frames
}

/// Takes the text messages among them.
pub(super) fn messages(bytes: &mut Vec<u8>) -> Vec<Value> {
    let texts = frames(bytes).into_iter().filter(|(opcode, _)| *opcode == 1);
    texts.map(|(_, payload)| serde_json::from_slice(&payload).unwrap()).collect()
}

/// A shard with a clock that the test moves.
pub(super) struct Bench {
    pub(super) shard: Shard<Pipe>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) registry: Registry,
    pub(super) now: Instant,
    pub(super) seqs: HashMap<String, u64>,
    /// Channels have a history, which a test gives; else they are settled as soon as they are there.
    pub(super) has_history: bool,
    pub(super) epoch: u64,
    /// The price of a tick by its number.
    pub(super) price: fn(u64) -> Option<Price>,
}

impl Bench {
    pub(super) fn new(flush_ms: u64) -> Self {
        Self::with(flush_ms, Duration::from_secs(25), 10, true)
    }

    pub(super) fn with(flush_ms: u64, ping: Duration, subscriptions_max: usize, has_catalogue: bool) -> Self {
        let mut registry = Registry::default();
        let hub = Arc::new(Hub::new(RING, 100, || {}));
        let venues = Arc::new(Venues::new(vec![VenueId::new("ctrader").unwrap()], hub.clone()));
        let gateway = Arc::new(Gateway {
            venues,
            hub,
            bulletin: Arc::new(Bulletin::default()),
            metrics: Arc::new(GatewayMetrics::register(&mut registry)),
            doors: Arc::new(Doors::new(10, 0)),
            limits: Arc::new(ClientLimits {
                subscriptions_max,
                message_bytes_max: 30 * subscriptions_max,
                messages_per_s: 1_000_000,
            }),
            origins: Origins::read("*").unwrap(),
            ping,
            drain: Duration::from_secs(10),
            stop: CancellationToken::new(),
            flush: Duration::from_millis(flush_ms),
            slow_after: Duration::from_secs(2),
        });
        let now = Instant::now();
        let shard = Shard::new(gateway.clone(), Arc::new(Mailbox::new(|| {})), now);
        let (seqs, price) = (HashMap::new(), price_of as fn(u64) -> Option<Price>);
        let bench = Self { shard, gateway, registry, now, seqs, has_history: false, epoch: 1, price };
        if has_catalogue {
            bench.learn_names();
        }
        bench
    }

    /// The venue's catalogue comes.
    pub(super) fn learn_names(&self) {
        let instruments = ["EURUSD", "GBPUSD"].map(|name| Instrument {
            symbol: Symbol::new(name).unwrap(),
            description: String::new(),
            digits: None,
            pip_position: None,
        });
        let catalogue = Catalogue { version: 1, open: false, instruments: instruments.into() };
        self.gateway.venues.set_book(0, Book::new(1, catalogue));
        self.gateway.bulletin.nudge();
    }

    pub(super) fn open(&mut self) -> Browser {
        self.open_as(Form::Text, None)
    }

    /// A client of this form that asks for something by its handshake.
    pub(super) fn open_as(&mut self, form: Form, first: Option<Request>) -> Browser {
        let pipe = Pipe::default();
        pipe.0.lock().unwrap().room = usize::MAX / 2;
        let number = self.shard.next_number();
        let arrival = Arrival {
            socket: pipe.clone(),
            form,
            early: Vec::new(),
            first,
            peer: ([127, 0, 0, 1], 9).into(),
            place: self.gateway.doors.enter([127, 0, 0, 1].into()).ok(),
        };
        self.shard.insert(arrival, self.now);
        self.settle();
        Browser { number, pipe }
    }

    fn pass(&mut self) {
        self.shard.pass(self.now);
        let channels = if self.has_history { Vec::new() } else { self.gateway.hub.channels() };
        for channel in channels.into_iter().filter(|channel| !channel.with_feed(Feed::is_settled)) {
            channel.settle();
            self.shard.pass(self.now);
        }
    }

    /// Runs passes until nothing is due now.
    pub(super) fn settle(&mut self) {
        for _ in 0..1000 {
            self.pass();
            if self.shard.deadline() > self.now && !self.shard.mailbox.take_notice() {
                return;
            }
        }
        panic!("the shard has no rest");
    }

    pub(super) fn pass_time(&mut self, time: Duration) {
        let until = self.now + time;
        while self.shard.deadline() <= until {
            self.now = self.now.max(self.shard.deadline());
            self.pass();
        }
        self.now = until;
        self.settle();
    }

    pub(super) fn say(&mut self, browser: &Browser, message: &Value) {
        browser.send(OpCode::Data(Data::Text), message.to_string().as_bytes());
        self.shard.readable(browser.number, self.now);
        self.settle();
    }

    pub(super) fn subscribe(&mut self, browser: &Browser, symbols: &[&str]) {
        self.say(browser, &json!({"type": "subscribe", "symbols": symbols}));
        browser.hear();
    }

    pub(super) fn publish(&mut self, symbol: &str, skip: u64) -> u64 {
        let seq = self.seqs.entry(symbol.to_owned()).or_default();
        *seq += 1 + skip;
        let seq = *seq;
        let body = self.body(seq);
        self.publish_event(symbol, body);
        seq
    }

    /// A new incarnation of the ingest numbers the next tick.
    pub(super) fn restart(&mut self, symbol: &str) {
        self.epoch += 1;
        self.seqs.insert(symbol.to_owned(), 0);
    }

    pub(super) fn state(&mut self, symbol: &str, state: SymbolState) {
        self.publish_event(symbol, Body::State(StateChange::plain(state)));
        self.settle();
    }

    fn body(&self, seq: u64) -> Body {
        Body::Tick(Tick {
            bid: (self.price)(seq),
            ask: None,
            last: None,
            digits: 5,
            venue_time_ms: None,
            received_us: 0,
            snapshot: false,
            delayed_s: None,
            details: None,
        })
    }

    fn event(&self, symbol: &str, seq: u64, body: Body) -> ChannelEvent {
        let position = Position { epoch: self.epoch, seq };
        ChannelEvent { symbol: Symbol::new(symbol).unwrap(), position, body }
    }

    fn publish_event(&self, symbol: &str, body: Body) {
        let seq = self.seqs.get(symbol).copied().unwrap_or(0);
        if let Some(channel) = self.channel(symbol) {
            channel.publish(&self.event(symbol, seq, body), 0);
        }
    }

    /// The history of a channel that is open comes.
    pub(super) fn fill(&mut self, symbol: &str, seqs: std::ops::RangeInclusive<u64>) {
        let channel = self.channel(symbol).unwrap();
        let events: Vec<ChannelEvent> = seqs.map(|seq| self.event(symbol, seq, self.body(seq))).collect();
        channel.fill(&events, 0, 0);
        channel.settle();
        self.settle();
    }

    fn channel(&self, symbol: &str) -> Option<Arc<crate::hub::Channel>> {
        let venue = VenueId::new("ctrader").unwrap();
        self.gateway.hub.channel(&ChannelKey { venue, symbol: Symbol::new(symbol).unwrap() })
    }

    pub(super) fn tick(&mut self, symbol: &str) {
        self.publish(symbol, 0);
        self.settle();
    }

    pub(super) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{text}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// The price of a tick in these tests, up and down without a pattern.
pub(super) fn price_of(seq: u64) -> Option<Price> {
    Price::new(110_000 + i64::try_from(seq * 7_919 % 101).unwrap(), 5)
}

/// Type and seq of each message about a channel.
pub(super) fn told(messages: &[Value]) -> Vec<String> {
    let line = |message: &Value| match message["type"].as_str() {
        Some("tick") => format!("tick {}", message["seq"]),
        Some("gap") => format!("gap {}-{}", message["from"], message["to"]),
        other => other.unwrap_or("").to_owned(),
    };
    messages.iter().map(line).collect()
}
