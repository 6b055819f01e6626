//! Random lives of a whole fleet in front of browsers: an ingest that restarts, a bus that lags and loses, a history, gateways
//! that come and go, sockets of any speed, browsers that subscribe, change their minds, go and come back elsewhere. Whatever
//! happens, each tick is delivered once, merged with a count, or declared missing.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

use prometheus_client::registry::Registry;
use tickcast_model::{Body, Catalogue, ChannelEvent, Instrument, Position, Price, Symbol, Tick, VenueId};
use tokio_util::sync::CancellationToken;

use super::super::*;
use super::account::{Account, Heard, Published, Said};
use super::bench::Pipe;
use crate::bulletin::Bulletin;
use crate::catalogue::Book;
use crate::hub::{Channel, Hub};
use crate::limits::{ClientLimits, Doors};
use crate::metrics::GatewayMetrics;
use crate::origins::Origins;
use crate::venues::Venues;

const SYMBOLS: [&str; 2] = ["EURUSD", "GBPUSD"];
const GATEWAYS: usize = 2;
const PEOPLE: usize = 3;
const RING: usize = 4;
/// Ticks the history has of a channel.
const HISTORY: usize = 6;
const STEPS: usize = 30;

/// What all lives of a test share, for it is costly to make.
struct Ground {
    venue: VenueId,
    keys: [ChannelKey; 2],
    metrics: Arc<GatewayMetrics>,
    limits: Arc<ClientLimits>,
    catalogue: Catalogue,
    started: Instant,
}

/// How often things happened that are to happen.
#[derive(Default, Debug)]
struct Seen {
    ticks: u64,
    merged: u64,
    gaps: u64,
    recovered: u64,
    /// Of those, at another gateway than the one that was left.
    recovered_elsewhere: u64,
    not_recovered: u64,
    unsubscribed: u64,
    epochs: u64,
    restarts: u64,
}

struct Node {
    gateway: Arc<Gateway>,
    shard: Shard<Pipe>,
    /// On the way from the bus, by symbol, where the channel is open.
    bus: [Option<VecDeque<ChannelEvent>>; 2],
    heard: [Heard; 2],
}

#[derive(Default)]
struct Person {
    connection: Option<(usize, u32, Pipe)>,
    /// What it is told of each symbol it reads.
    accounts: [Option<Account>; 2],
    /// Where it would go on.
    memory: [Option<Position>; 2],
    /// The gateway it was at when it had that.
    left: [usize; 2],
    /// Requests that are not answered: the symbols, and whether they are wanted.
    asked: HashMap<u64, ([bool; 2], bool)>,
    asked_last: u64,
}

struct Life<'a> {
    ground: &'a Ground,
    rng: fastrand::Rng,
    now: Instant,
    nodes: Vec<Node>,
    people: Vec<Person>,
    epoch: u64,
    seqs: [u64; 2],
    published: [Published; 2],
    history: [Vec<ChannelEvent>; 2],
    seen: &'a mut Seen,
    /// What happened, where somebody wants to read it.
    story: Option<String>,
}

impl Ground {
    fn new() -> Self {
        let venue = VenueId::new("ctrader").unwrap();
        let symbols = SYMBOLS.map(|name| Symbol::new(name).unwrap());
        let instruments = symbols.clone().map(|symbol| Instrument {
            symbol,
            description: String::new(),
            digits: None,
            pip_position: None,
        });
        let limits =
            ClientLimits { subscriptions_max: 10, message_bytes_max: 4_096, messages_per_s: 1_000_000 };
        Self {
            keys: symbols.map(|symbol| ChannelKey { venue: venue.clone(), symbol }),
            venue,
            metrics: Arc::new(GatewayMetrics::register(&mut Registry::default())),
            limits: Arc::new(limits),
            catalogue: Catalogue { version: 1, open: false, instruments: instruments.into() },
            started: Instant::now(),
        }
    }

    fn node(&self, rng: &mut fastrand::Rng, now: Instant) -> Node {
        let hub = Arc::new(Hub::new(RING, 100, || {}));
        let venues = Arc::new(Venues::new(vec![self.venue.clone()], hub.clone()));
        venues.set_book(0, Book::new(1, self.catalogue.clone()));
        let gateway = Arc::new(Gateway {
            venues,
            hub,
            bulletin: Arc::new(Bulletin::default()),
            metrics: self.metrics.clone(),
            doors: Arc::new(Doors::new(10, 0)),
            limits: self.limits.clone(),
            origins: Origins::read("*").unwrap(),
            ping: Duration::from_secs(1_000_000),
            drain: Duration::from_secs(10),
            stop: CancellationToken::new(),
            flush: Duration::from_millis(rng.u64(0..6)),
            slow_after: Duration::from_millis(rng.u64(20..200)),
        });
        let shard = Shard::new(gateway.clone(), Arc::new(Mailbox::new(|| {})), now);
        Node { gateway, shard, bus: [None, None], heard: [Heard::new(), Heard::new()] }
    }
}

impl Node {
    fn settle(&mut self, now: Instant) {
        for _ in 0..1_000 {
            self.shard.pass(now);
            if self.shard.deadline() > now {
                return;
            }
        }
        panic!("the shard has no rest");
    }

    fn channel(&self, key: &ChannelKey) -> Option<Arc<Channel>> {
        self.gateway.hub.channel(key)
    }

    fn deliver(&mut self, keys: &[ChannelKey; 2], symbol: usize) -> bool {
        let Some(event) = self.bus[symbol].as_mut().and_then(VecDeque::pop_front) else { return false };
        if let Some(channel) = self.channel(&keys[symbol]) {
            channel.publish(&event, 0);
            self.note(&channel, symbol);
        }
        true
    }

    /// Remembers how far the channel is.
    fn note(&mut self, channel: &Channel, symbol: usize) {
        let last = channel.with_feed(|feed| feed.last().map(|frame| frame.position));
        if let Some(last) = last {
            self.heard[symbol].insert(last.epoch, last.seq);
        }
    }
}

impl Life<'_> {
    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let _ = writeln!(story, "{}", what());
        }
    }

    fn live(&mut self) {
        // Something is going on already.
        for person in 0..PEOPLE {
            let node = self.rng.usize(0..GATEWAYS);
            self.connect(person, node);
        }
        for _ in 0..self.rng.usize(0..6) {
            let symbol = self.rng.usize(0..2);
            self.publish(symbol, 0);
        }
        for place in 0..2 * GATEWAYS {
            if self.rng.bool() {
                self.read_history(place / 2, place % 2);
            }
        }
        for _ in 0..STEPS {
            self.step();
        }
        self.finish();
    }

    fn step(&mut self) {
        let (symbol, node, person) =
            (self.rng.usize(0..2), self.rng.usize(0..GATEWAYS), self.rng.usize(0..PEOPLE));
        match self.rng.u32(0..100) {
            0..30 => {
                let skip = self.rng.u64(0..12).saturating_sub(10);
                self.publish(symbol, skip);
            }
            30..50 => {
                let count = self.rng.usize(1..8);
                self.tell(|| format!("gateway {node} gets {count} of {symbol}"));
                for _ in 0..count {
                    self.nodes[node].deliver(&self.ground.keys, symbol);
                }
                if self.rng.bool() {
                    self.nodes[node].settle(self.now);
                }
            }
            50..52 => {
                self.tell(|| format!("gateway {node} loses one of {symbol}"));
                _ = self.nodes[node].bus[symbol].as_mut().and_then(VecDeque::pop_front);
            }
            52..57 => self.read_history(node, symbol),
            57..65 => self.connect(person, node),
            65..74 => self.subscribe(person),
            74..77 => self.unsubscribe(person),
            77..85 => self.room(person),
            85..91 => {
                self.lose(person);
                self.come_back(person);
            }
            91..97 => {
                let ms = [0, 1, 5, 30, 120, 300, 2_100][self.rng.usize(0..7)];
                self.pass(Duration::from_millis(ms));
            }
            97 => self.let_go(node),
            98 => {
                self.epoch += 1;
                self.seqs = [0, 0];
                self.seen.epochs += 1;
                self.tell(|| "the ingest restarts".into());
            }
            _ => {
                self.seen.restarts += 1;
                self.tell(|| format!("gateway {node} restarts"));
                let is_here = |them: &Person| them.connection.as_ref().is_some_and(|(at, ..)| *at == node);
                let gone: Vec<usize> = (0..PEOPLE).filter(|person| is_here(&self.people[*person])).collect();
                gone.iter().for_each(|person| self.lose(*person));
                self.nodes[node] = self.ground.node(&mut self.rng, self.now);
                gone.iter().for_each(|person| self.come_back(*person));
            }
        }
        self.look();
    }

    fn publish(&mut self, symbol: usize, skip: u64) {
        self.seqs[symbol] += 1 + skip;
        let position = Position { epoch: self.epoch, seq: self.seqs[symbol] };
        let units = self.rng.i64(100_000..100_020);
        self.tell(|| format!("publish {symbol} {}.{} at {units}", position.epoch, position.seq));
        let body = Body::Tick(Tick {
            bid: Price::new(units, 5),
            ask: None,
            last: None,
            digits: 5,
            venue_time_ms: None,
            received_us: 0,
            snapshot: false,
            delayed_s: None,
            details: None,
        });
        let event = ChannelEvent { symbol: self.ground.keys[symbol].symbol.clone(), position, body };
        self.published[symbol].insert((position.epoch, position.seq), units);
        self.history[symbol].push(event.clone());
        for bus in self.nodes.iter_mut().filter_map(|node| node.bus[symbol].as_mut()) {
            bus.push_back(event.clone());
        }
    }

    /// A gateway's history of a channel comes, or it gives up.
    fn read_history(&mut self, node: usize, symbol: usize) {
        let lags = self.rng.usize(0..3);
        let gives_up = self.rng.u8(0..4) == 0;
        let all = &self.history[symbol][..self.history[symbol].len().saturating_sub(lags)];
        let last = all[all.len().saturating_sub(HISTORY)..].to_vec();
        let node = &mut self.nodes[node];
        let Some(channel) = node.channel(&self.ground.keys[symbol]) else { return };
        if !gives_up {
            channel.fill(&last, 0, 0);
            node.note(&channel, symbol);
        }
        channel.settle();
        node.settle(self.now);
        self.tell(|| format!("history of {symbol}: {} ticks, gives up: {gives_up}", last.len()));
    }

    fn connect(&mut self, person: usize, node: usize) {
        if self.people[person].connection.is_some() {
            return;
        }
        let pipe = Pipe::default();
        pipe.0.lock().unwrap().room = usize::MAX / 2;
        let shard = &mut self.nodes[node].shard;
        let number = shard.next_number();
        let place = self.nodes[node].gateway.doors.enter([127, 0, 0, 1].into()).ok();
        let arrival = Arrival {
            socket: pipe.clone(),
            form: Form::Text,
            early: Vec::new(),
            first: None,
            peer: ([127, 0, 0, 1], 9).into(),
            place,
        };
        self.nodes[node].shard.insert(arrival, self.now);
        self.people[person].connection = Some((node, number, pipe));
        self.tell(|| format!("{person} connects to {node}"));
        // Most come for something.
        if self.rng.u8(0..4) > 0 {
            self.subscribe(person);
        }
    }

    fn subscribe(&mut self, person: usize) {
        let rng = &mut self.rng;
        let them = &mut self.people[person];
        if them.connection.is_none() {
            return;
        }
        // One request at a time for a symbol: else nobody could tell what an answer is about.
        let is_free = |symbol: usize| !them.asked.values().any(|(symbols, _)| symbols[symbol]);
        let wanted = [0, 1].map(|symbol| is_free(symbol) && rng.bool());
        if wanted == [false, false] {
            return;
        }
        let mut resume = Vec::new();
        let mut names = Vec::new();
        for symbol in (0..2).filter(|symbol| wanted[*symbol]) {
            names.push(format!("\"{}\"", SYMBOLS[symbol]));
            if let Some(at) = them.memory[symbol].filter(|_| rng.u8(0..5) > 0) {
                resume.push(format!(
                    "\"{}\":{{\"epoch\":\"{}\",\"seq\":{}}}",
                    SYMBOLS[symbol], at.epoch, at.seq
                ));
            }
        }
        let rate = match rng.u8(0..6) {
            0..3 => String::new(),
            3 => ",\"onSlow\":\"merge\"".to_owned(),
            4 => ",\"mode\":\"latest\"".to_owned(),
            _ => format!(",\"mode\":\"latest\",\"minIntervalMs\":{}", rng.u32(1..80)),
        };
        let rate =
            if resume.is_empty() { rate } else { format!("{rate},\"resume\":{{{}}}", resume.join(",")) };
        them.asked_last += 1;
        let id = them.asked_last;
        them.asked.insert(id, (wanted, true));
        let text = format!("{{\"type\":\"subscribe\",\"symbols\":[{}],\"id\":{id}{rate}}}", names.join(","));
        self.send(person, &text);
    }

    fn unsubscribe(&mut self, person: usize) {
        let symbol = self.rng.usize(0..2);
        let them = &mut self.people[person];
        let is_free = !them.asked.values().any(|(symbols, _)| symbols[symbol]);
        if them.connection.is_none() || !is_free || them.accounts[symbol].is_none() {
            return;
        }
        them.asked_last += 1;
        let id = them.asked_last;
        them.asked.insert(id, ([symbol == 0, symbol == 1], false));
        let text = format!("{{\"type\":\"unsubscribe\",\"symbols\":[\"{}\"],\"id\":{id}}}", SYMBOLS[symbol]);
        self.send(person, &text);
    }

    fn send(&mut self, person: usize, text: &str) {
        self.tell(|| format!("{person} says {text}"));
        let Some((node, number, pipe)) = &self.people[person].connection else { return };
        let mut bytes = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(short @ ..126) => bytes.push(0x80 | short),
            _ => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(text.as_bytes());
        pipe.0.lock().unwrap().to_gateway.extend(bytes);
        let node = &mut self.nodes[*node];
        node.shard.readable(*number, self.now);
        node.settle(self.now);
        self.follow_hubs();
    }

    /// Channels that were opened are read from the bus from now on.
    fn follow_hubs(&mut self) {
        for node in &mut self.nodes {
            for (symbol, key) in self.ground.keys.iter().enumerate() {
                if node.bus[symbol].is_none() && node.gateway.hub.channel(key).is_some() {
                    node.bus[symbol] = Some(VecDeque::new());
                }
            }
        }
    }

    /// A socket gets room, or has none any more.
    fn room(&mut self, person: usize) {
        let room = [0, 0, 90, 400, 2_000, usize::MAX / 2][self.rng.usize(0..6)];
        let Some((node, number, pipe)) = &self.people[person].connection else { return };
        pipe.0.lock().unwrap().room = room;
        self.nodes[*node].shard.writable(*number, self.now);
        self.nodes[*node].settle(self.now);
        self.tell(|| format!("{person} takes {room}"));
    }

    /// A connection breaks.
    fn lose(&mut self, person: usize) {
        self.hear(person);
        let them = &mut self.people[person];
        let Some((node, number, pipe)) = them.connection.take() else { return };
        pipe.0.lock().unwrap().is_cut = true;
        self.nodes[node].shard.readable(number, self.now);
        self.nodes[node].settle(self.now);
        for symbol in 0..2 {
            if let Some(account) = them.accounts[symbol].take() {
                them.memory[symbol] = account.resume_from().or(them.memory[symbol]);
                them.left[symbol] = node;
            }
        }
        them.asked.clear();
        self.tell(|| format!("{person} is gone"));
    }

    /// Most come back, anywhere.
    fn come_back(&mut self, person: usize) {
        if self.rng.u8(0..3) > 0 {
            let node = self.rng.usize(0..GATEWAYS);
            self.connect(person, node);
        }
    }

    fn let_go(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        for (symbol, key) in self.ground.keys.iter().enumerate() {
            if node.gateway.hub.remove_idle(key) {
                node.bus[symbol] = None;
                node.heard[symbol].clear();
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.tell(|| format!("{time:?} pass"));
        let until = self.now + time;
        for node in &mut self.nodes {
            while node.shard.deadline() <= until {
                let now = node.shard.deadline().max(self.now);
                node.shard.pass(now);
            }
            node.shard.pass(until);
        }
        self.now = until;
        for node in &mut self.nodes {
            node.settle(until);
        }
    }

    /// Everybody hears what has come.
    fn look(&mut self) {
        for person in 0..PEOPLE {
            self.hear(person);
        }
    }

    fn hear(&mut self, person: usize) {
        let them = &mut self.people[person];
        let Some((at, _, pipe)) = &them.connection else { return };
        let (at, node) = (*at, &self.nodes[*at]);
        let mut bytes = take(&mut pipe.0.lock().unwrap().to_browser);
        let mut done = 0;
        while let Some((opcode, payload)) = next_frame(&bytes[done..]) {
            done += payload.end;
            assert_ne!(opcode, 8, "closed");
            if opcode != 1 {
                continue;
            }
            let json = std::str::from_utf8(&bytes[done - (payload.end - payload.start)..done]).unwrap();
            if let Some(story) = &mut self.story {
                let _ = writeln!(story, "    {person} hears {json}");
            }
            let said: Said<'_> = serde_json::from_str(json).unwrap();
            let symbol = said.symbol.and_then(|name| SYMBOLS.iter().position(|known| *known == name));
            match (said.kind, symbol) {
                ("tick", Some(symbol)) => {
                    let account = them.accounts[symbol].as_mut().expect("told of what it does not read");
                    account.tick(&said, &self.published[symbol], &node.heard[symbol]);
                    self.seen.ticks += 1;
                    self.seen.merged += said.merged.unwrap_or(1) - 1;
                }
                ("gap", Some(symbol)) => {
                    them.accounts[symbol].as_mut().expect("told of what it does not read").gap(&said);
                    self.seen.gaps += 1;
                }
                ("subscribeResponse", _) => {
                    let (symbols, _) = them.asked.remove(&said.id.unwrap()).expect("asked");
                    for one in &said.results {
                        let symbol = SYMBOLS.iter().position(|known| *known == one.symbol).unwrap();
                        assert!(symbols[symbol] && one.status == "subscribed", "{said:?}");
                        if them.accounts[symbol].is_some() {
                            continue;
                        }
                        them.accounts[symbol] = Some(match one.recovered {
                            Some(true) => {
                                self.seen.recovered += 1;
                                self.seen.recovered_elsewhere += u64::from(them.left[symbol] != at);
                                Account::from(them.memory[symbol].unwrap())
                            }
                            recovered => {
                                self.seen.not_recovered += u64::from(recovered.is_some());
                                Account::default()
                            }
                        });
                    }
                }
                ("unsubscribeResponse", _) => {
                    let (symbols, _) = them.asked.remove(&said.id.unwrap()).expect("asked");
                    for symbol in (0..2).filter(|symbol| symbols[*symbol]) {
                        if let Some(account) = them.accounts[symbol].take() {
                            them.memory[symbol] = account.resume_from().or(them.memory[symbol]);
                            them.left[symbol] = at;
                            self.seen.unsubscribed += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        bytes.drain(..done);
        // What is not whole yet stays.
        let mut ends = pipe.0.lock().unwrap();
        bytes.append(&mut ends.to_browser);
        ends.to_browser = bytes;
    }

    /// Everything gets through, and then all is accounted for.
    fn finish(&mut self) {
        self.tell(|| "the end".into());
        for node in 0..GATEWAYS {
            for symbol in 0..2 {
                while self.nodes[node].deliver(&self.ground.keys, symbol) {}
                if let Some(channel) = self.nodes[node].channel(&self.ground.keys[symbol]) {
                    channel.settle();
                }
            }
        }
        for _ in 0..3 {
            for person in 0..PEOPLE {
                if let Some((node, number, pipe)) = &self.people[person].connection {
                    pipe.0.lock().unwrap().room = usize::MAX / 2;
                    self.nodes[*node].shard.writable(*number, self.now);
                }
            }
            self.pass(Duration::from_secs(1));
            self.look();
        }
        for them in &self.people {
            let Some((node, ..)) = &them.connection else { continue };
            assert!(them.asked.is_empty(), "not answered: {:?}", them.asked);
            for (symbol, account) in them.accounts.iter().enumerate() {
                if let Some(account) = account {
                    account.close(&self.nodes[*node].heard[symbol]);
                }
            }
        }
    }
}

/// The opcode of the first whole frame, and where its payload stands.
pub(super) fn next_frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let [first, second] = bytes.first_chunk::<2>()?;
    let (header, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(*bytes[2..].first_chunk::<2>()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes[2..].first_chunk::<8>()?)).unwrap()),
        short => (2, usize::from(*short)),
    };
    (bytes.len() >= header + length).then_some((first & 0x0F, header..header + length))
}

/// Says which life it was that ended badly.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("LIFE_SEED={} cargo test -p ws-gateway lives -- --nocapture replays it", self.0);
        }
    }
}

fn live(ground: &Ground, seed: u64, seen: &mut Seen, is_told: bool) {
    let _seed = Seed(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let now = ground.started;
    let nodes = (0..GATEWAYS).map(|_| ground.node(&mut rng, now)).collect();
    let mut life = Life {
        ground,
        rng,
        now,
        nodes,
        people: (0..PEOPLE).map(|_| Person::default()).collect(),
        epoch: 1,
        seqs: [0, 0],
        published: Default::default(),
        history: Default::default(),
        seen,
        story: is_told.then(String::new),
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.live()));
    if let Err(panic) = result {
        if let Some(story) = life.story {
            eprintln!("{story}");
        }
        std::panic::resume_unwind(panic);
    }
}

/// A sixteenth of a million lives.
fn lives(part: u64) {
    const LIVES: u64 = 62_500;
    let ground = Ground::new();
    let mut seen = Seen::default();
    if let Ok(seed) = std::env::var("LIFE_SEED") {
        return live(&ground, seed.parse().unwrap(), &mut seen, true);
    }
    for seed in part * LIVES..(part + 1) * LIVES {
        live(&ground, seed, &mut seen, false);
    }
    let told = [seen.ticks, seen.merged, seen.gaps, seen.recovered, seen.not_recovered];
    for often in told.into_iter().chain([seen.unsubscribed, seen.epochs, seen.restarts]) {
        assert!(often > LIVES / 40, "{seen:?}");
    }
    assert!(seen.recovered_elsewhere > LIVES / 100, "{seen:?}");
}

macro_rules! part {
    ($name:ident, $part:expr) => {
        #[test]
        fn $name() {
            lives($part);
        }
    };
}

part!(every_tick_is_accounted_for_in_any_life_1_of_16, 0);
part!(every_tick_is_accounted_for_in_any_life_2_of_16, 1);
part!(every_tick_is_accounted_for_in_any_life_3_of_16, 2);
part!(every_tick_is_accounted_for_in_any_life_4_of_16, 3);
part!(every_tick_is_accounted_for_in_any_life_5_of_16, 4);
part!(every_tick_is_accounted_for_in_any_life_6_of_16, 5);
part!(every_tick_is_accounted_for_in_any_life_7_of_16, 6);
part!(every_tick_is_accounted_for_in_any_life_8_of_16, 7);
part!(every_tick_is_accounted_for_in_any_life_9_of_16, 8);
part!(every_tick_is_accounted_for_in_any_life_10_of_16, 9);
part!(every_tick_is_accounted_for_in_any_life_11_of_16, 10);
part!(every_tick_is_accounted_for_in_any_life_12_of_16, 11);
part!(every_tick_is_accounted_for_in_any_life_13_of_16, 12);
part!(every_tick_is_accounted_for_in_any_life_14_of_16, 13);
part!(every_tick_is_accounted_for_in_any_life_15_of_16, 14);
part!(every_tick_is_accounted_for_in_any_life_16_of_16, 15);
