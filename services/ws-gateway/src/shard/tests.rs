use std::collections::HashMap;
use std::sync::Mutex;

use prometheus_client::registry::Registry;
use proptest::prelude::*;
use serde_json::{Value, json};
use tickcast_model::{Body, Catalogue, ChannelEvent, Instrument, Position, Price, Symbol, Tick, VenueId};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bulletin::Bulletin;
use crate::catalogue::Book;
use crate::hub::Hub;
use crate::limits::{ClientLimits, Doors};
use crate::metrics::GatewayMetrics;
use crate::origins::Origins;
use crate::venues::Venues;

const RING: usize = 8;

/// A socket the test holds the other end of. It takes `room` bytes and then blocks.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    to_gateway: VecDeque<u8>,
    to_browser: Vec<u8>,
    room: usize,
    /// The browser is gone.
    is_cut: bool,
    /// The gateway has said everything.
    is_finished: bool,
    writes: usize,
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
struct Browser {
    number: u32,
    pipe: Pipe,
}

impl Browser {
    /// Sends a frame, cut into single bytes or whole.
    fn send(&self, opcode: OpCode, payload: &[u8]) {
        let header = FrameHeader { opcode, mask: Some([1, 2, 3, 4]), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        self.pipe.0.lock().unwrap().to_gateway.extend(bytes);
    }

    /// Takes the whole frames that have come: opcode and payload.
    fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let mut ends = self.pipe.0.lock().unwrap();
        let (mut frames, mut done) = (Vec::new(), 0);
        while let Some([first, second]) = ends.to_browser[done..].first_chunk::<2>() {
            let rest = &ends.to_browser[done + 2..];
            let (skip, length) = match second {
                126 => (2, rest.first_chunk::<2>().map(|n| usize::from(u16::from_be_bytes(*n)))),
                127 => (8, rest.first_chunk::<8>().map(|n| usize::try_from(u64::from_be_bytes(*n)).unwrap())),
                short => (0, Some(usize::from(*short))),
            };
            let Some(payload) = length.and_then(|length| rest.get(skip..skip + length)) else { break };
            frames.push((first & 0x0F, payload.to_vec()));
            done += 2 + skip + payload.len();
        }
        ends.to_browser.drain(..done);
        frames
    }

    /// Takes the text messages that have come.
    fn hear(&self) -> Vec<Value> {
        let texts = self.frames().into_iter().filter(|(opcode, _)| *opcode == 1);
        texts.map(|(_, payload)| serde_json::from_slice(&payload).unwrap()).collect()
    }

    /// The code of the close frame that has come.
    fn closed_with(&self) -> Option<u16> {
        let close = self.frames().into_iter().find(|(opcode, _)| *opcode == 8)?;
        Some(u16::from_be_bytes(*close.1.first_chunk::<2>()?))
    }

    fn room(&self, bytes: usize) {
        self.pipe.0.lock().unwrap().room = bytes;
    }

    fn writes(&self) -> usize {
        take(&mut self.pipe.0.lock().unwrap().writes)
    }
}

/// A shard with a clock that the test moves.
struct Bench {
    shard: Shard<Pipe>,
    gateway: Arc<Gateway>,
    registry: Registry,
    now: Instant,
    seqs: HashMap<String, u64>,
}

impl Bench {
    fn new(flush_ms: u64) -> Self {
        Self::with(flush_ms, Duration::from_secs(25), 10, true)
    }

    fn with(flush_ms: u64, ping: Duration, subscriptions_max: usize, has_catalogue: bool) -> Self {
        let mut registry = Registry::default();
        let hub = Arc::new(Hub::new(RING, 100, || {}));
        let venues = Arc::new(Venues::new(vec![VenueId::new("ctrader").unwrap()], hub.clone()));
        let instruments = ["EURUSD", "GBPUSD"].map(|name| Instrument {
            symbol: Symbol::new(name).unwrap(),
            description: String::new(),
            digits: None,
            pip_position: None,
        });
        if has_catalogue {
            let catalogue = Catalogue { version: 1, open: false, instruments: instruments.into() };
            venues.set_book(0, Book::new(1, catalogue));
        }
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
        });
        let now = Instant::now();
        let shard = Shard::new(gateway.clone(), Arc::new(Mailbox::new(|| {})), now);
        Self { shard, gateway, registry, now, seqs: HashMap::new() }
    }

    fn open(&mut self) -> Browser {
        let pipe = Pipe::default();
        pipe.0.lock().unwrap().room = usize::MAX / 2;
        let number = self.shard.next_number();
        let arrival = Arrival {
            socket: pipe.clone(),
            form: Form::Text,
            early: Vec::new(),
            first: None,
            peer: ([127, 0, 0, 1], 9).into(),
            place: self.gateway.doors.enter([127, 0, 0, 1].into()).ok(),
        };
        self.shard.insert(arrival, self.now);
        self.settle();
        Browser { number, pipe }
    }

    /// Runs passes until nothing is due now.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.shard.pass(self.now);
            if self.shard.deadline() > self.now && !self.shard.mailbox.take_notice() {
                return;
            }
        }
        panic!("the shard has no rest");
    }

    fn pass_time(&mut self, time: Duration) {
        let until = self.now + time;
        while self.shard.deadline() <= until {
            self.now = self.now.max(self.shard.deadline());
            self.shard.pass(self.now);
        }
        self.now = until;
        self.settle();
    }

    fn say(&mut self, browser: &Browser, message: &Value) {
        browser.send(OpCode::Data(Data::Text), message.to_string().as_bytes());
        self.shard.readable(browser.number, self.now);
        self.settle();
    }

    fn subscribe(&mut self, browser: &Browser, symbols: &[&str]) {
        self.say(browser, &json!({"type": "subscribe", "symbols": symbols}));
        browser.hear();
    }

    fn publish(&mut self, symbol: &str, skip: u64) -> u64 {
        let seq = self.seqs.entry(symbol.to_owned()).or_default();
        *seq += 1 + skip;
        let seq = *seq;
        let body = Body::Tick(Tick {
            bid: Price::new(110_000, 5),
            ask: None,
            last: None,
            digits: 5,
            venue_time_ms: None,
            received_us: 0,
            snapshot: false,
            delayed_s: None,
        });
        let key =
            ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new(symbol).unwrap() };
        let event = ChannelEvent { symbol: key.symbol.clone(), position: Position { epoch: 1, seq }, body };
        if let Some(channel) = self.gateway.hub.channel(&key) {
            channel.publish(&event, 0);
        }
        seq
    }

    fn tick(&mut self, symbol: &str) {
        self.publish(symbol, 0);
        self.settle();
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{text}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Type and seq of each message about a channel.
fn told(messages: &[Value]) -> Vec<String> {
    let line = |message: &Value| match message["type"].as_str() {
        Some("tick") => format!("tick {}", message["seq"]),
        Some("gap") => format!("gap {}-{}", message["from"], message["to"]),
        other => other.unwrap_or("").to_owned(),
    };
    messages.iter().map(line).collect()
}

#[test]
fn a_quiet_client_gets_its_tick_at_once_and_a_busy_one_all_that_is_pending_in_one_write() {
    let mut bench = Bench::new(5);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    bench.pass_time(Duration::from_millis(50));
    browser.writes();
    bench.tick("EURUSD");
    assert_eq!((told(&browser.hear()), browser.writes()), (vec!["tick 1".into(), "symbolState".into()], 1));
    bench.tick("EURUSD");
    bench.pass_time(Duration::from_millis(4));
    bench.tick("EURUSD");
    assert_eq!(browser.writes(), 0, "five milliseconds are not over");
    bench.pass_time(Duration::from_millis(1));
    assert_eq!((told(&browser.hear()), browser.writes()), (vec!["tick 2".into(), "tick 3".into()], 1));
    bench.pass_time(Duration::from_millis(5));
    bench.tick("EURUSD");
    assert_eq!(browser.writes(), 1, "quiet again, at once again");
}

#[test]
fn without_a_pace_every_tick_goes_out_at_once() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    browser.writes();
    for _ in 0..5 {
        bench.tick("EURUSD");
    }
    assert_eq!(browser.writes(), 5);
}

#[test]
fn however_many_clients_read_it_a_tick_reaches_the_shard_once_and_is_shared() {
    let mut bench = Bench::new(0);
    let browsers: Vec<Browser> = (0..8).map(|_| bench.open()).collect();
    for browser in &browsers {
        bench.subscribe(browser, &["EURUSD", "GBPUSD"]);
    }
    let key = ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new("EURUSD").unwrap() };
    assert_eq!(
        bench.gateway.hub.channel(&key).unwrap().reader_count(),
        1,
        "the shard reads it, not its clients"
    );
    bench.tick("EURUSD");
    for browser in &browsers {
        assert_eq!(told(&browser.hear())[0], "tick 1");
    }
    assert!(bench.metric("ticks_delivered_total") >= 8.0);
    for browser in &browsers {
        bench.say(browser, &json!({"type": "unsubscribe", "symbols": ["EURUSD"]}));
    }
    assert_eq!(bench.gateway.hub.channel(&key).unwrap().reader_count(), 0);
}

#[test]
fn a_quiet_client_gets_a_heartbeat_and_pings() {
    let mut bench = Bench::new(5);
    let browser = bench.open();
    bench.pass_time(Duration::from_secs(26));
    let frames = browser.frames();
    assert!(frames.iter().any(|(opcode, _)| *opcode == 9), "a ping");
    assert_eq!(frames.iter().filter(|(opcode, _)| *opcode == 1).count(), 1, "a heartbeat");
}

#[test]
fn a_client_that_answers_nothing_is_let_go() {
    let mut bench = Bench::new(5);
    let browser = bench.open();
    bench.pass_time(Duration::from_secs(80));
    assert_eq!(browser.closed_with(), Some(4408));
    assert!(bench.shard.is_empty());
}

#[test]
fn a_client_that_takes_nothing_is_dropped_and_others_do_not_notice() {
    let mut bench = Bench::new(0);
    let (stuck, good) = (bench.open(), bench.open());
    bench.subscribe(&stuck, &["EURUSD"]);
    bench.subscribe(&good, &["EURUSD"]);
    stuck.room(100);
    for _ in 0..40 {
        bench.pass_time(Duration::from_secs(1));
        bench.tick("EURUSD");
        bench.say(&good, &json!({"type": "ping"}));
        assert!(told(&good.hear()).iter().any(|line| line.starts_with("tick")));
    }
    assert_eq!(bench.shard.len(), 1, "stuck for half a minute");
    assert!((bench.metric("connections") - 1.0).abs() < 0.1);
}

#[test]
fn a_lapped_client_gets_the_newest_and_the_exact_gap() {
    let mut bench = Bench::new(0);
    let slow = bench.open();
    bench.subscribe(&slow, &["EURUSD"]);
    bench.tick("EURUSD");
    slow.hear();
    slow.room(10);
    for _ in 2..=30 {
        bench.tick("EURUSD");
    }
    slow.room(usize::MAX / 2);
    bench.shard.writable(slow.number, bench.now);
    bench.settle();
    let heard = told(&slow.hear());
    // What the socket had begun to take, the gap, and what the ring still holds.
    assert_eq!(heard[0], "tick 2");
    assert_eq!(heard[1], format!("gap 3-{}", 30 - RING));
    assert_eq!(heard.len(), 2 + RING);
    assert_eq!(heard.last().unwrap(), "tick 30");
}

#[test]
fn a_client_that_asks_and_does_not_read_is_closed() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    browser.room(0);
    // What one write takes over, and more replies than may wait.
    for _ in 0..600 {
        browser.send(OpCode::Data(Data::Text), br#"{"type":"ping"}"#);
    }
    bench.shard.readable(browser.number, bench.now);
    bench.settle();
    browser.room(usize::MAX / 2);
    bench.shard.writable(browser.number, bench.now);
    bench.settle();
    assert_eq!(browser.closed_with(), Some(4002));
}

#[test]
fn a_client_that_asks_much_at_once_and_reads_gets_every_answer() {
    let mut bench = Bench::new(5);
    let browser = bench.open();
    for _ in 0..5_000 {
        browser.send(OpCode::Data(Data::Text), br#"{"type":"ping"}"#);
    }
    bench.shard.readable(browser.number, bench.now);
    bench.pass_time(Duration::from_millis(100));
    assert_eq!(browser.hear().iter().filter(|message| message["type"] == "pong").count(), 5_000);
    assert_eq!(bench.shard.len(), 1);
}

#[test]
fn one_request_may_have_more_answers_than_may_wait() {
    let mut bench = Bench::with(5, Duration::from_secs(25), 1_000, false);
    let (quick, slow) = (bench.open(), bench.open());
    slow.room(0);
    let symbols: Vec<String> = (0..1_000).map(|n| format!("SYM{n}")).collect();
    let request = json!({"type": "subscribe", "symbols": symbols});
    bench.say(&quick, &request);
    bench.say(&slow, &request);
    bench.pass_time(Duration::from_millis(100));
    slow.room(usize::MAX / 2);
    bench.shard.writable(slow.number, bench.now);
    bench.pass_time(Duration::from_millis(100));
    for browser in [quick, slow] {
        let pending = browser.hear().iter().filter(|message| message["state"] == "pending").count();
        assert_eq!(pending, 1_000, "all of them are told that the venue is not known yet");
    }
}

#[test]
fn bad_frames_are_closed_with_their_code_and_what_was_said_before_is_answered() {
    let mut bench = Bench::new(0);
    let big = bench.open();
    big.send(OpCode::Data(Data::Text), &[b'x'; 301]);
    let not_text = bench.open();
    not_text.send(OpCode::Data(Data::Text), &[0xFF]);
    let rubbish = bench.open();
    rubbish.pipe.0.lock().unwrap().to_gateway.extend(*b"GET / HTTP/1.1\r\n");
    for (browser, code) in [(big, 1009), (not_text, 1007), (rubbish, 1002)] {
        bench.shard.readable(browser.number, bench.now);
        bench.settle();
        assert_eq!(browser.closed_with(), Some(code));
        assert!(browser.pipe.0.lock().unwrap().is_finished);
        browser.pipe.0.lock().unwrap().is_cut = true;
        bench.shard.readable(browser.number, bench.now);
    }
    assert!(bench.shard.is_empty());
}

#[test]
fn the_clients_close_and_ping_are_answered_in_kind() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    browser.send(OpCode::Control(Control::Ping), b"hi");
    bench.shard.readable(browser.number, bench.now);
    bench.settle();
    assert_eq!(browser.frames(), [(10, b"hi".to_vec())]);
    browser.send(OpCode::Control(Control::Close), &4321u16.to_be_bytes());
    bench.shard.readable(browser.number, bench.now);
    bench.settle();
    assert_eq!(browser.closed_with(), Some(4321));
    bench.pass_time(Duration::from_secs(3));
    assert!(bench.shard.is_empty(), "not waited for longer than two seconds");
}

#[test]
fn a_full_gateway_says_so() {
    let mut bench = Bench::new(0);
    let places: Vec<Browser> = (0..10).map(|_| bench.open()).collect();
    let late = bench.open();
    assert_eq!(late.closed_with(), Some(4003));
    assert!(places.iter().all(|browser| browser.closed_with().is_none()));
    assert!((bench.metric("connections") - 10.0).abs() < 0.1);
}

#[test]
fn a_stopping_gateway_sends_its_clients_elsewhere_within_the_time() {
    let mut bench = Bench::new(0);
    let browsers: Vec<Browser> = (0..10).map(|_| bench.open()).collect();
    bench.gateway.stop.cancel();
    bench.gateway.bulletin.nudge();
    bench.settle();
    let mut moves = Vec::new();
    for browser in &browsers {
        let heard = browser.hear();
        assert_eq!(heard[0]["type"], "goaway");
        moves.push(heard[0]["reconnectInMs"].as_u64().unwrap());
    }
    assert!(moves.iter().all(|ms| *ms <= 7_500) && moves.iter().max() != moves.iter().min(), "{moves:?}");
    bench.pass_time(Duration::from_secs(11));
    assert!(browsers.iter().all(|browser| browser.closed_with() == Some(1001)));
    bench.pass_time(Duration::from_secs(2));
    assert!(bench.shard.is_empty());
}

#[test]
fn statuses_reach_everybody_and_who_missed_some_gets_the_present_one() {
    let mut bench = Bench::new(0);
    let (quick, slow) = (bench.open(), bench.open());
    slow.room(0);
    // The first is on its way already; of the rest there is one more than is kept.
    for n in 0..NOTES_MAX + 2 {
        bench.gateway.bulletin.post(json!({"type": "status", "n": n}).to_string().into());
        bench.settle();
        assert_eq!(quick.hear().last().unwrap()["n"], n);
    }
    slow.room(usize::MAX / 2);
    bench.shard.writable(slow.number, bench.now);
    bench.settle();
    let heard = slow.hear();
    assert_eq!(heard.last().unwrap()["source"], "ctrader");
    assert!(heard.len() <= 2, "{}", heard.len());
}

/// A socket that takes everything and keeps nothing.
struct Sink;

impl Socket for Sink {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_delivery_allocates_nothing() {
    // Pings are no deliveries.
    let mut bench = Bench::with(5, Duration::from_secs(100_000), 10, true);
    let mut shard = Shard::new(bench.gateway.clone(), Arc::new(Mailbox::new(|| {})), bench.now);
    let request = json!({"type": "subscribe", "symbols": ["EURUSD", "GBPUSD"]}).to_string();
    let mut early = Vec::new();
    let header =
        FrameHeader { opcode: OpCode::Data(Data::Text), mask: Some([0; 4]), ..FrameHeader::default() };
    Frame::from_payload(header, request.into_bytes().into()).format(&mut early).unwrap();
    for _ in 0..10 {
        let place = bench.gateway.doors.enter([127, 0, 0, 1].into()).ok();
        let arrival = Arrival {
            socket: Sink,
            form: Form::Text,
            early: early.clone(),
            first: None,
            peer: ([127, 0, 0, 1], 9).into(),
            place,
        };
        shard.insert(arrival, bench.now);
    }
    let (mut allocations, mut steady_from) = (0, 0.0);
    for round in 0..1_000 {
        bench.publish("EURUSD", 0);
        bench.publish("GBPUSD", 0);
        bench.now += Duration::from_millis(3);
        let now = bench.now;
        let counted = allocation_counter::measure(|| shard.pass(now));
        // Until the rings and the lists have their sizes.
        if round == 100 {
            steady_from = bench.metric("ticks_delivered_total");
        }
        if round > 100 {
            allocations += counted.count_total;
        }
    }
    let delivered = bench.metric("ticks_delivered_total") - steady_from;
    assert!(delivered > 15_000.0, "{delivered}");
    assert_eq!(allocations, 0, "in {delivered} deliveries");
}

#[test]
fn encodes_are_ticks_however_many_clients_there_are() {
    let count = |clients: usize| {
        let mut bench = Bench::new(0);
        let browsers: Vec<Browser> = (0..clients).map(|_| bench.open()).collect();
        browsers.iter().for_each(|browser| bench.subscribe(browser, &["EURUSD"]));
        bench.tick("EURUSD");
        let key =
            ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new("EURUSD").unwrap() };
        let channel = bench.gateway.hub.channel(&key).unwrap();
        let frame = channel.with_feed(|feed| feed.last().unwrap().clone());
        for browser in &browsers {
            assert_eq!(told(&browser.hear())[0], "tick 1");
        }
        // The hub, the shard's own ring, and the test: no copy for a client.
        Arc::strong_count(&frame)
    };
    assert_eq!(count(1), count(9));
}

#[test]
fn an_idle_client_holds_nothing_of_what_it_was_sent() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    for _ in 0..100 {
        bench.tick("EURUSD");
    }
    let client = &bench.shard.clients[browser.number as usize];
    assert_eq!(client.replies.capacity(), 0);
    assert!(size_of::<Client<Pipe>>() <= 640, "{}", size_of::<Client<Pipe>>());
    assert!(size_of::<Option<Sub>>() <= 64, "{}", size_of::<Option<Sub>>());
}

/// What happens to the shard in the property test.
#[derive(Clone, Debug)]
enum Op {
    Publish { symbol: usize, skip: u64 },
    Room { browser: usize, bytes: usize },
    Pass { ms: u64 },
    Open,
    Leave { browser: usize },
    Cut { browser: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0usize..2, prop_oneof![8 => Just(0u64), 1 => 1u64..3]).prop_map(|(symbol, skip)| Op::Publish { symbol, skip }),
        5 => (0usize..4, 0usize..700).prop_map(|(browser, bytes)| Op::Room { browser, bytes }),
        3 => (0u64..8).prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Open),
        1 => (0usize..4).prop_map(|browser| Op::Leave { browser }),
        1 => (0usize..4).prop_map(|browser| Op::Cut { browser }),
    ]
}

/// What one browser has been told, checked while it is told.
struct Checked {
    browser: Browser,
    /// By symbol: number when it joined (0 = nothing was known), last number accounted for.
    seen: HashMap<String, (u64, u64)>,
    is_reading: bool,
}

impl Checked {
    fn hear(&mut self) {
        for message in self.browser.hear() {
            let Some(symbol) = message["symbol"].as_str() else { continue };
            let Some((joined, last)) = self.seen.get_mut(symbol) else { continue };
            match message["type"].as_str() {
                Some("tick") => {
                    let seq = message["seq"].as_u64().unwrap();
                    if message["snapshot"] == true && *last == 0 {
                        // Either what was known on joining or, where nothing was, the first there was.
                        assert!(*joined == 0 || seq == *joined, "{symbol}: snapshot {seq}, known {joined}");
                    } else {
                        assert_eq!(seq, *last + 1, "{symbol}: a hole unannounced, or twice");
                    }
                    *last = seq;
                }
                Some("gap") => {
                    assert_eq!(message["from"].as_u64().unwrap(), *last + 1);
                    *last = message["to"].as_u64().unwrap();
                    let missed = message["missed"].as_u64().unwrap();
                    assert_eq!(missed, *last - message["from"].as_u64().unwrap() + 1);
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Through real frames and sockets that take a few bytes at a time: every tick is delivered once, or declared missing.
    #[test]
    fn every_tick_is_delivered_once_or_declared_missing(flush_ms in 0u64..6, ops in proptest::collection::vec(op(), 1..250)) {
        let mut bench = Bench::new(flush_ms);
        let symbols = ["EURUSD", "GBPUSD"];
        let mut browsers: Vec<Checked> = Vec::new();
        for op in ops {
            match op {
                Op::Publish { symbol, skip } => {
                    // Before the first tick nobody can miss one.
                    let skip = if bench.seqs.contains_key(symbols[symbol]) { skip } else { 0 };
                    let has_readers = browsers.iter().any(|checked| checked.is_reading);
                    if has_readers {
                        bench.publish(symbols[symbol], skip);
                        bench.settle();
                    }
                }
                Op::Room { browser, bytes } => if let Some(checked) = browsers.get_mut(browser) {
                    checked.browser.room(bytes);
                    bench.shard.writable(checked.browser.number, bench.now);
                    bench.settle();
                    checked.hear();
                },
                Op::Pass { ms } => bench.pass_time(Duration::from_millis(ms)),
                Op::Open => if browsers.len() < 4 {
                    let browser = bench.open();
                    let seen = symbols.iter().map(|name| {
                        let key = ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new(name).unwrap() };
                        // A channel nobody read meanwhile is known only to the hub, as it is kept for a while.
                        let known = bench.gateway.hub.channel(&key).and_then(|channel| {
                            channel.with_feed(|feed| feed.last().map(|frame| frame.position.seq))
                        });
                        ((*name).to_owned(), (known.unwrap_or(0), 0))
                    });
                    let mut checked = Checked { browser, seen: seen.collect(), is_reading: true };
                    let request = json!({"type": "subscribe", "symbols": symbols}).to_string();
                    checked.browser.send(OpCode::Data(Data::Text), request.as_bytes());
                    bench.shard.readable(checked.browser.number, bench.now);
                    bench.settle();
                    checked.hear();
                    browsers.push(checked);
                },
                Op::Leave { browser } => if let Some(checked) = browsers.get_mut(browser) {
                    checked.hear();
                    checked.is_reading = false;
                    let request = json!({"type": "unsubscribe", "symbols": symbols}).to_string();
                    checked.browser.send(OpCode::Data(Data::Text), request.as_bytes());
                    bench.shard.readable(checked.browser.number, bench.now);
                    bench.settle();
                    checked.seen.clear();
                },
                Op::Cut { browser } => if browser < browsers.len() {
                    let checked = browsers.swap_remove(browser);
                    checked.browser.pipe.0.lock().unwrap().is_cut = true;
                    bench.shard.readable(checked.browser.number, bench.now);
                    bench.settle();
                },
            }
        }
        bench.pass_time(Duration::from_millis(20));
        for checked in &mut browsers {
            checked.browser.room(usize::MAX / 2);
            bench.shard.writable(checked.browser.number, bench.now);
            bench.settle();
            checked.hear();
            for (symbol, (joined, last)) in &checked.seen {
                let published = bench.seqs.get(symbol).copied().unwrap_or(0);
                let nothing_since = *last == 0 && (*joined == 0 || *joined == published);
                prop_assert!(*last == published || nothing_since, "{}: {} of {}", symbol, last, published);
            }
        }
    }
}
