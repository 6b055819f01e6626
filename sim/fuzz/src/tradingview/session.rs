use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ingest_tradingview::TradingViewSession;
use sim_tradingview::{FAULTS, LineId, VenueSettings, Wired, WiredOutput, client_texts, payloads};
use tickcast_model::Symbol;
use tickcast_session::{Now, Session as _, SessionOutput};

use super::{MESSAGES_PER_S, forge, new_session};
use crate::input::Input;

const EPOCH_MS: i64 = 1_795_132_800_000;
/// Outputs one call may make.
const OUTPUTS_MAX: usize = 20_000;
/// Calls within one instant after which time is said to stand still.
const CALLS_PER_INSTANT_MAX: usize = 2_000;
/// Symbols the venue has; one more is wanted at times.
const SYMBOLS: usize = 6;

/// A session with a venue that is honest at heart, over a wire that corrupts, forges, repeats and forgets: it never
/// panics, keeps to its own limit of messages, publishes no impossible price, holds no more than is wanted, and once
/// everything is honest again a new connection holds exactly that.
pub(crate) fn session(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut peers = Peers::new(input.bit());
    peers.connect();
    while !input.is_empty() {
        peers.operate(&mut input);
        let held = peers.session.held();
        assert!(held.is_subset(&peers.wanted), "{held:?} is held, and wanted is {:?}", peers.wanted);
    }
    peers.end_well();
}

struct Peers {
    elapsed: Duration,
    wired: Wired,
    names: Vec<Symbol>,
    token: Option<&'static str>,
    session: TradingViewSession,
    line: LineId,
    to_venue: VecDeque<Bytes>,
    to_session: BytesMut,
    wanted: Arc<BTreeSet<Symbol>>,
    sent_at: VecDeque<Duration>,
    /// The name of the last quote session it created.
    quotes: String,
}

impl Peers {
    fn new(has_token: bool) -> Self {
        let settings = VenueSettings { symbols: SYMBOLS, ticks_per_s: 1, ..VenueSettings::default() };
        let mut wired = Wired::new(settings);
        let line = wired.open();
        let instruments = wired.venue().catalogue().instruments().iter();
        let names = instruments.filter_map(|instrument| Symbol::new(&instrument.name));
        let names = names.chain(Symbol::new("A:NOSUCH")).collect();
        let token = has_token.then_some("sim-token");
        Self {
            elapsed: Duration::from_secs(1),
            wired,
            names,
            token,
            session: new_session(token),
            line,
            to_venue: VecDeque::new(),
            to_session: BytesMut::new(),
            wanted: Arc::default(),
            sent_at: VecDeque::new(),
            quotes: "qs_000000000000".into(),
        }
    }

    fn now(&self) -> Now {
        let micros = i64::try_from(self.elapsed.as_micros()).unwrap();
        Now { elapsed: self.elapsed, unix_us: EPOCH_MS * 1000 + micros }
    }

    fn venue_now(&self) -> sim_tradingview::Now {
        sim_tradingview::Now { elapsed: self.elapsed, unix_ms: self.now().unix_ms() }
    }

    /// A new connection with a new session, as after any end.
    fn connect(&mut self) {
        self.wired.closed(self.line);
        self.line = self.wired.open();
        self.session = new_session(self.token);
        self.to_venue.clear();
        self.to_session.clear();
        self.sent_at.clear();
        let (now, wanted) = (self.now(), Arc::clone(&self.wanted));
        self.session.want(now, &wanted);
        self.session.start(now);
        self.drain();
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let now = self.now();
        match input.below(13) {
            0 | 1 => {
                let spell = input.spell().min(Duration::from_secs(130));
                self.pass(spell);
            }
            2 | 3 => self.exchange(),
            4 => {
                let length = input.below(64);
                self.hear(length);
            }
            5 => {
                for _ in 0..self.to_session.len() {
                    self.hear(1);
                }
            }
            6 => {
                let (at, with) = (input.below(256), input.byte());
                if let Some(byte) = self.to_session.get_mut(at) {
                    *byte ^= with;
                }
            }
            7 => {
                let length = input.below(64).min(self.to_session.len());
                let taken = self.to_session.split_to(length);
                if input.bit() {
                    // Twice instead of not at all.
                    let rest = self.to_session.split();
                    for part in [&taken, &taken, &rest] {
                        self.to_session.extend_from_slice(part);
                    }
                }
            }
            8 | 9 => {
                let keys: Vec<&str> = self.names.iter().map(Symbol::as_str).collect();
                let message = forge::message(input, &keys, &self.quotes);
                let mut frame = Vec::new();
                forge::put_websocket(&mut frame, input, message.as_bytes());
                self.to_session.extend_from_slice(&frame);
            }
            10 => {
                let mask = input.byte();
                let chosen = (0..self.names.len()).filter(|bit| mask >> bit & 1 == 1);
                self.wanted = Arc::new(chosen.map(|index| self.names[index].clone()).collect());
                let wanted = Arc::clone(&self.wanted);
                self.session.want(now, &wanted);
                self.drain();
            }
            11 => {
                let wanted = Arc::clone(&self.wanted);
                self.session.ask_again(now, &wanted);
                self.drain();
            }
            _ => {
                let (fault, on) = (FAULTS[input.below(FAULTS.len())].fault, input.bit());
                self.wired.fault(self.venue_now(), fault, on);
                self.collect();
            }
        }
    }

    /// Lets time pass, with everything that is due on the way.
    fn pass(&mut self, spell: Duration) {
        let until = self.elapsed + spell;
        let mut calls = 0;
        loop {
            let next = [self.session.deadline(), self.wired.deadline()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            if next > self.elapsed {
                self.elapsed = next;
                calls = 0;
            }
            calls += 1;
            assert!(calls < CALLS_PER_INSTANT_MAX, "time stands still");
            if self.wired.deadline().is_some_and(|at| at <= self.elapsed) {
                self.wired.timeout(self.venue_now());
                self.collect();
            }
            if self.session.deadline().is_some_and(|at| at <= self.elapsed) {
                let now = self.now();
                match self.session.timeout(now) {
                    Ok(()) => self.drain(),
                    Err(_) => self.connect(),
                }
            }
        }
        self.elapsed = until;
    }

    /// Everything under way arrives, on both sides, until nothing is.
    fn exchange(&mut self) {
        for _ in 0..50 {
            while let Some(bytes) = self.to_venue.pop_front() {
                self.wired.receive(self.line, self.venue_now(), &bytes);
            }
            self.collect();
            if self.to_session.is_empty() && self.to_venue.is_empty() {
                return;
            }
            let length = self.to_session.len();
            self.hear(length);
        }
    }

    fn collect(&mut self) {
        let mut gone = false;
        while let Some(output) = self.wired.poll() {
            match output {
                WiredOutput::Send { line, bytes } if line == self.line => {
                    self.to_session.extend_from_slice(&bytes);
                }
                WiredOutput::End { line, .. } if line == self.line => gone = true,
                WiredOutput::Send { .. } | WiredOutput::End { .. } => {}
            }
        }
        if gone {
            self.connect();
        }
    }

    fn hear(&mut self, length: usize) {
        let bytes = self.to_session.split_to(length.min(self.to_session.len()));
        if bytes.is_empty() {
            return;
        }
        let now = self.now();
        match self.session.receive(now, &bytes) {
            Ok(()) => self.drain(),
            Err(_) => self.connect(),
        }
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.session.poll() {
            outputs += 1;
            assert!(outputs < OUTPUTS_MAX, "one call makes no end of outputs");
            match output {
                SessionOutput::Send(bytes) => {
                    self.count(&bytes);
                    self.to_venue.push_back(bytes);
                }
                SessionOutput::Tick(symbol, tick) => {
                    assert!(self.names.contains(&symbol), "a tick of {symbol}");
                    assert!(
                        tick.last.is_some() || tick.bid.is_some() && tick.ask.is_some(),
                        "a tick of nothing: {tick:?}"
                    );
                }
                SessionOutput::State(symbol, _) => {
                    let _ = self.session.standing(self.now(), &symbol);
                }
                SessionOutput::Keep(_) => panic!("there is nothing to keep"),
                SessionOutput::Auth(..)
                | SessionOutput::Catalogue(_)
                | SessionOutput::Hours(..)
                | SessionOutput::Note(_) => {}
            }
        }
    }

    /// Holds what goes out against the limit; answers to heartbeats do not count.
    fn count(&mut self, bytes: &[u8]) {
        if bytes.starts_with(b"GET ") {
            return;
        }
        for text in client_texts(bytes).expect("frames of ours") {
            for payload in payloads(&text) {
                let payload = payload.expect("a frame of ours");
                if payload.starts_with("~h~") {
                    continue;
                }
                while self.sent_at.front().is_some_and(|at| self.elapsed - *at >= Duration::from_secs(1)) {
                    self.sent_at.pop_front();
                }
                self.sent_at.push_back(self.elapsed);
                assert!(
                    self.sent_at.len() <= MESSAGES_PER_S,
                    "{} messages within a second",
                    self.sent_at.len()
                );
                if payload.contains("quote_create_session") {
                    let from = payload.find("qs_").unwrap();
                    self.quotes = payload[from..from + 15].to_owned();
                }
            }
        }
    }

    /// Everybody is honest from now on.
    fn end_well(&mut self) {
        self.wired.heal(self.venue_now());
        while self.wired.poll().is_some() {}
        self.pass(Duration::from_secs(2));
        self.connect();
        for _ in 0..60 {
            self.exchange();
            self.pass(Duration::from_millis(250));
        }
        self.exchange();
        let unknown = &self.names[SYMBOLS];
        let known: BTreeSet<Symbol> =
            self.wanted.iter().filter(|symbol| *symbol != unknown).cloned().collect();
        assert_eq!(self.session.held(), known, "an honest connection holds what is wanted");
    }
}
