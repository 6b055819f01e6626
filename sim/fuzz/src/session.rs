use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ingest_ctrader::{CtraderSession, Memory, SessionSettings, TokenPair};
use prost::Message as _;
use sim_ctrader::wire::{
    ProtoErrorRes, ProtoMessage, ProtoOaAccountDisconnectEvent, ProtoOaAccountsTokenInvalidatedEvent,
    ProtoOaClientDisconnectEvent, ProtoOaErrorRes, ProtoOaSpotEvent, ProtoOaSymbolChangedEvent,
};
use sim_ctrader::{ConnectionId, FAULTS, Fault, Output, Reason, SimulatedVenue as _, Venue, VenueSettings};
use tickcast_model::Symbol;
use tickcast_session::{Now, Session, SessionOutput};

use crate::input::Input;

const ACCOUNT: i64 = 1_000_001;
const EPOCH_MS: i64 = 1_795_132_800_000;
/// Outputs one call may make.
const OUTPUTS_MAX: usize = 20_000;
/// Calls within one instant after which time is said to stand still.
const CALLS_PER_INSTANT_MAX: usize = 2_000;
/// Requests that are not historical, in any second (facts 3.4).
const REQUESTS_PER_S_MAX: usize = 50;

/// Codes the venue says, those it should not say at that moment, and one nobody knows.
const CODES: [&str; 20] = [
    "ALREADY_LOGGED_IN",
    "ALREADY_SUBSCRIBED",
    "NOT_SUBSCRIBED_TO_SPOTS",
    "REQUEST_FREQUENCY_EXCEEDED",
    "BLOCKED_PAYLOAD_TYPE",
    "CONNECTIONS_LIMIT_EXCEEDED",
    "SERVER_IS_UNDER_MAINTENANCE",
    "CANT_ROUTE_REQUEST",
    "ACCOUNT_NOT_AUTHORIZED",
    "INVALID_REQUEST",
    "CH_CLIENT_NOT_AUTHENTICATED",
    "OA_AUTH_TOKEN_EXPIRED",
    "CH_ACCESS_TOKEN_INVALID",
    "CH_CLIENT_AUTH_FAILURE",
    "CH_CLIENT_ALREADY_AUTHENTICATED",
    "SYMBOL_NOT_FOUND",
    "UNSUPPORTED_MESSAGE",
    "TIMEOUT_ERROR",
    "FRAME_TOO_LONG",
    "NO_SUCH_CODE",
];

/// A session with a venue that is honest at heart, over a wire that corrupts, forges, repeats and forgets: it never
/// panics, always has a next deadline, keeps to the venue's limits, publishes no impossible price, and once everything
/// is honest again a new connection holds exactly what is wanted.
pub(crate) fn session(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut peers = Peers::new();
    peers.connect();
    while !input.is_empty() {
        peers.operate(&mut input);
        assert!(peers.session.deadline().is_some(), "a living session has a next deadline");
    }
    peers.end_well();
}

struct Peers {
    elapsed: Duration,
    venue: Venue,
    names: Vec<Symbol>,
    session: CtraderSession,
    memory: Memory,
    id: ConnectionId,
    to_venue: VecDeque<Bytes>,
    to_session: BytesMut,
    wanted: Arc<BTreeSet<Symbol>>,
    keeping: bool,
    sent_at: VecDeque<Duration>,
}

impl Peers {
    fn new() -> Self {
        let settings = VenueSettings { symbols: 8, ticks_per_s: 1, ..VenueSettings::default() };
        let mut venue = Venue::new(settings);
        let elapsed = Duration::from_secs(1);
        let id = venue.open(sim_ctrader::Now { elapsed, unix_ms: EPOCH_MS });
        let names = venue.catalogue().listings().iter().filter_map(|listing| Symbol::new(&listing.name));
        let names = names.chain(Symbol::new("NOSUCH")).collect();
        let memory = new_memory();
        Self {
            elapsed,
            venue,
            names,
            session: new_session(&memory),
            memory,
            id,
            to_venue: VecDeque::new(),
            to_session: BytesMut::new(),
            wanted: Arc::default(),
            keeping: false,
            sent_at: VecDeque::new(),
        }
    }

    fn now(&self) -> Now {
        let micros = i64::try_from(self.elapsed.as_micros()).unwrap();
        Now { elapsed: self.elapsed, unix_us: EPOCH_MS * 1000 + micros }
    }

    fn venue_now(&self) -> sim_ctrader::Now {
        sim_ctrader::Now { elapsed: self.elapsed, unix_ms: self.now().unix_ms() }
    }

    /// A new connection with a new session, as after any end.
    fn connect(&mut self) {
        self.venue.closed(self.id, Reason::Peer);
        self.id = self.venue.open(self.venue_now());
        self.session = new_session(&self.memory);
        self.to_venue.clear();
        self.to_session.clear();
        self.sent_at.clear();
        self.keeping = false;
        let (now, wanted) = (self.now(), Arc::clone(&self.wanted));
        self.session.want(now, &wanted);
        self.session.start(now);
        self.drain();
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let now = self.now();
        match input.below(14) {
            0 | 1 => {
                let spell = input.spell().min(Duration::from_secs(130));
                self.pass(spell);
            }
            2 => self.exchange(),
            3 => {
                let length = input.below(64);
                self.hear(length);
            }
            4 => {
                let length = self.to_session.len();
                self.hear_one_by_one(length);
            }
            5 => {
                let (at, with) = (input.below(256), input.byte());
                if let Some(byte) = self.to_session.get_mut(at) {
                    *byte ^= with;
                }
            }
            6 => {
                let length = input.below(64).min(self.to_session.len());
                let taken = self.to_session.split_to(length);
                if input.bit() {
                    // Twice instead of not at all.
                    let rest = self.to_session.split();
                    self.to_session.extend_from_slice(&taken);
                    self.to_session.extend_from_slice(&taken);
                    self.to_session.extend_from_slice(&rest);
                }
            }
            7 => self.forge_envelope(input),
            8 => self.forge_event(input),
            9 => self.forge_error(input),
            10 => {
                let mask = input.byte();
                let chosen = (0..8).filter(|bit| mask >> bit & 1 == 1);
                let mut wanted: BTreeSet<Symbol> = chosen.map(|index| self.names[index].clone()).collect();
                if input.bit() {
                    wanted.insert(self.names[8].clone());
                }
                self.wanted = Arc::new(wanted);
                let wanted = Arc::clone(&self.wanted);
                self.session.want(now, &wanted);
                self.drain();
            }
            11 => {
                let wanted = Arc::clone(&self.wanted);
                self.session.ask_again(now, &wanted);
                self.drain();
            }
            12 => {
                if std::mem::take(&mut self.keeping) {
                    let result = if input.bit() { Ok(()) } else { Err("the disk is full".to_owned()) };
                    self.session.kept(now, result);
                    self.drain();
                }
            }
            _ => {
                let (fault, on) = (FAULTS[input.below(FAULTS.len())].fault, input.bit());
                // From an expired token a session alone does not come back: somebody has to keep the new pair.
                if fault != Fault::ExpireToken {
                    self.venue.fault(self.venue_now(), fault, on);
                    self.collect();
                }
            }
        }
    }

    /// Lets time pass, with everything that is due on the way.
    fn pass(&mut self, spell: Duration) {
        let until = self.elapsed + spell;
        let mut calls = 0;
        loop {
            let next = [self.session.deadline(), self.venue.deadline()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            if next > self.elapsed {
                self.elapsed = next;
                calls = 0;
            }
            calls += 1;
            assert!(calls < CALLS_PER_INSTANT_MAX, "time stands still");
            if self.venue.deadline().is_some_and(|at| at <= self.elapsed) {
                self.venue.timeout(self.venue_now());
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
                self.venue.receive(self.id, self.venue_now(), &bytes);
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
        while let Some(output) = self.venue.poll() {
            match output {
                Output::Send { id, message } if id == self.id => self.to_session.extend_from_slice(&message),
                Output::Close { id, .. } if id == self.id => gone = true,
                Output::Send { .. } | Output::Close { .. } => {}
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

    fn hear_one_by_one(&mut self, length: usize) {
        let id = self.id;
        for _ in 0..length {
            if self.id != id {
                return;
            }
            self.hear(1);
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
                    let (Some(bid), Some(ask)) = (tick.bid, tick.ask) else { panic!("a tick with one side") };
                    assert!(bid.units() > 0 && ask.units() > 0, "{bid:?} {ask:?}");
                }
                SessionOutput::State(symbol, _) => {
                    let _ = self.session.standing(self.now(), &symbol);
                }
                SessionOutput::Keep(_) => {
                    assert!(!self.keeping, "one at a time");
                    self.keeping = true;
                }
                SessionOutput::Auth(..)
                | SessionOutput::Catalogue(_)
                | SessionOutput::Hours(..)
                | SessionOutput::Note(_) => {}
            }
        }
    }

    /// Holds what goes out against the venue's limit; heartbeats do not count.
    fn count(&mut self, frame: &[u8]) {
        if frame.get(4..6) == Some(&[0x08, 51]) {
            return;
        }
        while self.sent_at.front().is_some_and(|at| self.elapsed - *at >= Duration::from_secs(1)) {
            self.sent_at.pop_front();
        }
        self.sent_at.push_back(self.elapsed);
        assert!(self.sent_at.len() <= REQUESTS_PER_S_MAX, "{} requests within a second", self.sent_at.len());
    }

    fn forge_envelope(&mut self, input: &mut Input<'_>) {
        let kinds = sim_ctrader::PAYLOADS;
        let known = kinds[input.below(kinds.len())].1;
        let payload_type = if input.below(8) == 0 { u32::from(input.byte()) * 16 } else { known };
        let client_msg_id = self.forged_id(input);
        self.forge(payload_type, Bytes::copy_from_slice(input.run()), client_msg_id);
    }

    fn forge(&mut self, payload_type: u32, payload: Bytes, client_msg_id: Option<String>) {
        let envelope = ProtoMessage { payload_type, payload: Some(payload), client_msg_id };
        let body = envelope.encode_to_vec();
        self.to_session.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        self.to_session.extend_from_slice(&body);
    }

    /// An id that was, is or will be in use, or none.
    fn forged_id(&self, input: &mut Input<'_>) -> Option<String> {
        match input.below(3) {
            0 => None,
            1 => Some(input.below(40).to_string()),
            _ => Some(String::from_utf8_lossy(input.take(3)).into_owned()),
        }
    }

    fn listed(&self, input: &mut Input<'_>) -> i64 {
        let listings = self.venue.catalogue().listings();
        listings.get(input.below(10)).map_or_else(|| input.number().cast_signed(), |listing| listing.id)
    }

    fn account(input: &mut Input<'_>) -> i64 {
        if input.below(4) == 0 { input.number().cast_signed() } else { ACCOUNT }
    }

    fn forge_event(&mut self, input: &mut Input<'_>) {
        let account = Self::account(input);
        match input.below(5) {
            0 | 1 => {
                let event = ProtoOaSpotEvent {
                    ctid_trader_account_id: account,
                    symbol_id: self.listed(input),
                    bid: input.bit().then(|| input.number()),
                    ask: input.bit().then(|| input.number()),
                    session_close: input.bit().then(|| input.number()),
                    timestamp: input.bit().then(|| input.number().cast_signed()),
                    ..ProtoOaSpotEvent::default()
                };
                self.forge(2131, event.encode_to_vec().into(), None);
            }
            2 => {
                let event =
                    ProtoOaAccountDisconnectEvent { payload_type: None, ctid_trader_account_id: account };
                self.forge(2164, event.encode_to_vec().into(), None);
            }
            3 => {
                let event = ProtoOaAccountsTokenInvalidatedEvent {
                    payload_type: None,
                    ctid_trader_account_ids: vec![account; input.below(3)],
                    reason: Some(String::from_utf8_lossy(input.take(9)).into_owned()),
                };
                self.forge(2147, event.encode_to_vec().into(), None);
            }
            _ if input.bit() => {
                let ids = (0..input.below(4)).map(|_| self.listed(input)).collect();
                let event = ProtoOaSymbolChangedEvent {
                    payload_type: None,
                    ctid_trader_account_id: account,
                    symbol_id: ids,
                };
                self.forge(2120, event.encode_to_vec().into(), None);
            }
            _ => {
                let reason = Some(String::from_utf8_lossy(input.take(9)).into_owned());
                let event = ProtoOaClientDisconnectEvent { payload_type: None, reason };
                self.forge(2148, event.encode_to_vec().into(), None);
            }
        }
    }

    fn forge_error(&mut self, input: &mut Input<'_>) {
        let error_code = CODES[input.below(CODES.len())].to_owned();
        let description = input.bit().then(|| "Trading account is not authorized".to_owned());
        let id = self.forged_id(input);
        if input.bit() {
            let error = ProtoErrorRes {
                error_code,
                description,
                maintenance_end_timestamp: input.bit().then(|| input.number()),
                ..ProtoErrorRes::default()
            };
            self.forge(50, error.encode_to_vec().into(), id);
        } else {
            let error = ProtoOaErrorRes {
                error_code,
                description,
                ctid_trader_account_id: input.bit().then(|| Self::account(input)),
                maintenance_end_timestamp: input.bit().then(|| input.number().cast_signed()),
                retry_after: input.bit().then(|| input.number()),
                ..ProtoOaErrorRes::default()
            };
            self.forge(2142, error.encode_to_vec().into(), id);
        }
    }

    /// Everybody is honest from now on.
    fn end_well(&mut self) {
        for row in FAULTS {
            self.venue.fault(self.venue_now(), row.fault, false);
        }
        while self.venue.poll().is_some() {}
        self.pass(Duration::from_secs(2));
        self.connect();
        for _ in 0..60 {
            self.exchange();
            self.pass(Duration::from_millis(250));
        }
        self.exchange();
        let known: BTreeSet<Symbol> =
            self.wanted.iter().filter(|symbol| **symbol != self.names[8]).cloned().collect();
        assert_eq!(self.session.held(), known, "an honest connection holds what is wanted");
    }
}

fn new_memory() -> Memory {
    let pair = TokenPair::new("sim-token".to_owned().into(), Some("sim-refresh".to_owned().into()));
    Memory::new(pair, "sim-app", ACCOUNT)
}

fn new_session(memory: &Memory) -> CtraderSession {
    CtraderSession::new(SessionSettings {
        client_id: "sim-app".into(),
        client_secret: "sim-secret".to_owned().into(),
        account_id: ACCOUNT,
        host: "demo.ctraderapi.com".into(),
        memory: memory.clone(),
        heartbeat: Duration::from_secs(10),
    })
}
