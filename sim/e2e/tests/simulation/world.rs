use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use ingest_ctrader::{CtraderSession, Memory, SessionSettings, TokenPair};
use sim_ctrader::{ConnectionId, Fault, Output, Reason, Venue, VenueSettings};
use tickcast_model::{
    AuthState, Body, Cause, CauseKind, ChannelEvent, DataState, Lease, LinkState, Symbol, SymbolState, Tick,
    VenueHealth, VenueId,
};
use tickcast_session::{Action, DemandLimits, Note, Now, Supervisor, SupervisorSettings};

const SYMBOLS: usize = 12;
const HOLDERS: usize = 3;
const LEASE_MS: u64 = 15_000;
const RENEWAL: Duration = Duration::from_secs(5);
/// 2026-11-20, so that stamps look like stamps.
const EPOCH_MS: i64 = 1_795_132_800_000;

/// One ingest, one venue, the network between them and the people who want something, all in virtual time.
pub(crate) struct World {
    seed: u64,
    rng: fastrand::Rng,
    elapsed: Duration,
    supervisor: Supervisor<CtraderSession>,
    venue: Venue,
    socket: Socket,
    holders: Vec<Holder>,
    renew_at: Duration,
    seqs: BTreeMap<Symbol, u64>,
    last: BTreeMap<Symbol, Tick>,
    states: BTreeMap<Symbol, SymbolState>,
    health: Option<VenueHealth>,
    talkative: bool,
    pub(crate) history: Vec<String>,
    pub(crate) dials: u64,
    pub(crate) faults: u64,
    pub(crate) recoveries: u64,
    pub(crate) ticks: u64,
}

enum Socket {
    None,
    Dialling { at: Duration, outcome: Outcome },
    Up(Wire),
}

#[derive(Clone, Copy)]
enum Outcome {
    Connected,
    Refused,
    /// TLS is never answered.
    Never,
}

struct Wire {
    id: ConnectionId,
    to_venue: VecDeque<(Duration, Bytes)>,
    to_ingest: VecDeque<(Duration, Bytes)>,
    ends: Option<(Duration, Cause)>,
}

struct Holder {
    generation: u64,
    symbols: BTreeSet<usize>,
    alive: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let venue = Venue::new(VenueSettings {
            seed,
            symbols: SYMBOLS,
            ticks_per_s: 2,
            heartbeat_after: Duration::from_secs(5),
            ..VenueSettings::default()
        });
        let session = SessionSettings {
            client_id: "sim-app".into(),
            client_secret: "sim-secret".to_owned().into(),
            account_id: 1_000_001,
            host: "demo.ctraderapi.com".into(),
            memory: Memory::new(TokenPair::new("sim-token".to_owned().into(), None), "sim-app", 1_000_001),
            heartbeat: Duration::from_secs(10),
        };
        let settings = SupervisorSettings {
            venue: VenueId::new("ctrader").unwrap(),
            epoch: 9,
            connect_timeout: Duration::from_secs(5),
            silence_timeout: Duration::from_secs(15),
            stale_after: Duration::from_secs(8),
            symbol_stale_min: Duration::from_secs(4),
            symbol_stale_max: Duration::from_secs(30),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(5),
            auth_retry: Duration::from_secs(10),
            stable_after: Duration::from_secs(30),
            linger: Duration::from_secs(2),
            demand: DemandLimits::default(),
            channels_max: 1000,
            seed: rng.u64(..),
        };
        let start = Now { elapsed: Duration::from_secs(1), unix_us: EPOCH_MS * 1000 };
        let supervisor = Supervisor::new(settings, start, move || CtraderSession::new(session.clone()));
        let holders =
            (0..HOLDERS).map(|_| Holder { generation: 0, symbols: BTreeSet::new(), alive: true }).collect();
        Self {
            seed,
            rng,
            elapsed: start.elapsed,
            supervisor,
            venue,
            socket: Socket::None,
            holders,
            renew_at: start.elapsed,
            seqs: BTreeMap::new(),
            last: BTreeMap::new(),
            states: BTreeMap::new(),
            health: None,
            talkative: std::env::var_os("SIMULATION_SEED").is_some(),
            history: Vec::new(),
            dials: 0,
            faults: 0,
            recoveries: 0,
            ticks: 0,
        }
    }

    /// A few minutes in which faults come and go and demand changes.
    pub(crate) fn live_with_faults(&mut self) {
        let faults = [
            Fault::Cut,
            Fault::CutInsideFrame,
            Fault::Stall,
            Fault::Mute,
            Fault::HangTls,
            Fault::Refuse,
            Fault::RejectCredentials,
        ];
        for _ in 0..self.rng.usize(5..20) {
            let spell = Duration::from_millis(self.rng.u64(10..12_000));
            self.run_for(spell);
            match self.rng.usize(0..10) {
                0..=6 => {
                    let fault = faults[self.rng.usize(..faults.len())];
                    let on = self.rng.bool();
                    self.faults += 1;
                    self.note(|| format!("fault {fault:?} {on}"));
                    self.venue.fault(venue_now(self.elapsed), fault, on);
                }
                7 => {
                    self.note(|| "bus away for a while".into());
                    self.supervisor.bus(self.now(), false);
                    self.settle();
                    let away = Duration::from_millis(self.rng.u64(10..20_000));
                    self.run_for(away);
                    self.supervisor.bus(self.now(), true);
                    self.settle();
                }
                8 => {
                    self.note(|| "reconnect asked for".into());
                    self.supervisor.reconnect(self.now());
                    self.settle();
                }
                _ => {
                    let holder = self.rng.usize(..HOLDERS);
                    self.holders[holder].alive = self.rng.bool();
                }
            }
            let holder = self.rng.usize(..HOLDERS);
            let count = self.rng.usize(0..6);
            self.holders[holder].symbols = (0..count).map(|_| self.rng.usize(..SYMBOLS + 1)).collect();
            self.holders[holder].generation += 1;
            self.renew();
        }
    }

    /// Ends every fault, keeps the demand as it is, and gives all timers the time to act.
    pub(crate) fn heal(&mut self) {
        for fault in [Fault::Stall, Fault::Mute, Fault::HangTls, Fault::Refuse, Fault::RejectCredentials] {
            self.venue.fault(venue_now(self.elapsed), fault, false);
        }
        self.note(|| "all faults end".into());
        self.holders[0].alive = true;
        self.holders[0].symbols = [0, 1, 2, SYMBOLS].into();
        self.holders[0].generation += 1;
        self.renew();
        self.run_for(Duration::from_secs(60));
    }

    pub(crate) fn demand_nothing(&mut self) {
        for holder in &mut self.holders {
            holder.symbols.clear();
        }
    }

    pub(crate) fn run_for(&mut self, spell: Duration) {
        let until = self.elapsed + spell;
        let mut idle_steps = 0;
        self.settle();
        while let Some(next) = self.next_time().filter(|next| *next <= until) {
            if next > self.elapsed {
                self.elapsed = next;
                idle_steps = 0;
            }
            idle_steps += 1;
            assert!(idle_steps < 10_000, "time stands still at {:?}", self.elapsed);
            self.step();
        }
        self.elapsed = until;
    }

    /// What is wanted and exists is subscribed on both sides, ticks, and shows the venue's own prices.
    pub(crate) fn assert_everything_wanted_is_held_and_true(&mut self) {
        let wanted: BTreeSet<Symbol> = self.supervisor.wanted().iter().cloned().collect();
        let unknown = symbol(SYMBOLS, &self.venue);
        let known: BTreeSet<Symbol> = wanted.iter().filter(|symbol| **symbol != unknown).cloned().collect();
        assert!(known.len() >= 3, "{wanted:?}");
        let Socket::Up(wire) = &self.socket else { panic!("no connection after all faults ended") };
        let session = self.supervisor.session().expect("a session");
        assert_eq!(session.held(), known, "held is what is wanted");
        let listings = self.venue.catalogue().listings();
        let name = |id: &i64| {
            listings.iter().find(|listing| listing.id == *id).map(|listing| listing.name.to_string())
        };
        let at_venue: BTreeSet<String> = self.venue.subscribed(wire.id).iter().filter_map(name).collect();
        assert_eq!(at_venue, known.iter().map(ToString::to_string).collect(), "the venue agrees");
        for symbol in &known {
            assert_eq!(self.states.get(symbol), Some(&SymbolState::Live), "{symbol}");
            let tick = &self.last[symbol];
            let id = listings.iter().find(|listing| listing.name == symbol.as_str()).unwrap().id;
            let told = self.venue.sent(wire.id, id).unwrap();
            let in_flight = !wire.to_ingest.is_empty();
            let shown = (tick.bid.unwrap().units(), tick.ask.unwrap().units());
            let venue = (i64::try_from(told.bid).unwrap(), i64::try_from(told.ask).unwrap());
            assert!(in_flight || shown == venue, "{symbol}: {shown:?} is not the venue's {venue:?}");
        }
        assert_eq!(self.states.get(&unknown), Some(&SymbolState::Refused), "a name the venue does not have");
        let health = self.supervisor.health(self.now());
        assert_eq!((health.link, health.auth, health.data), (LinkState::Up, AuthState::Ok, DataState::Live));
        assert_eq!(health.cause, None);
        let blocked = self.venue.counters().errors.get("BLOCKED_PAYLOAD_TYPE");
        assert_eq!(blocked, None, "the venue's request limit was never broken");
    }

    pub(crate) fn stop(mut self) {
        self.supervisor.stop(self.now());
        self.settle();
        assert!(self.supervisor.deadline().is_none());
        assert!(matches!(self.socket, Socket::None));
        assert_eq!(self.venue.connections().count(), 0);
        let said = self.health.as_ref().and_then(|health| health.cause.as_ref()).expect("a cause");
        assert_eq!(said.kind, CauseKind::Stopping);
    }

    fn now(&self) -> Now {
        let micros = i64::try_from(self.elapsed.as_micros()).unwrap();
        Now { elapsed: self.elapsed, unix_us: EPOCH_MS * 1000 + micros }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{:>10.3} {}", self.elapsed.as_secs_f64(), line());
        if self.talkative {
            println!("{line}");
        }
        self.history.push(line);
    }

    fn next_time(&self) -> Option<Duration> {
        let supervisor = self.supervisor.deadline();
        assert!(supervisor.is_some(), "alive and without a deadline");
        let socket = match &self.socket {
            Socket::None | Socket::Dialling { outcome: Outcome::Never, .. } => None,
            Socket::Dialling { at, .. } => Some(*at),
            Socket::Up(wire) => {
                let ends = wire.ends.as_ref().map(|(at, _)| *at);
                [wire.to_venue.front().map(|(at, _)| *at), wire.to_ingest.front().map(|(at, _)| *at), ends]
                    .into_iter()
                    .flatten()
                    .min()
            }
        };
        [supervisor, socket, self.venue.deadline(), Some(self.renew_at)].into_iter().flatten().min()
    }

    fn step(&mut self) {
        let now = self.now();
        if self.renew_at <= self.elapsed {
            self.renew();
        }
        if self.venue.deadline().is_some_and(|at| at <= self.elapsed) {
            self.venue.timeout(venue_now(self.elapsed));
        }
        self.step_socket(now);
        if self.supervisor.deadline().is_some_and(|at| at <= self.elapsed) {
            self.supervisor.timeout(now);
        }
        self.settle();
    }

    fn step_socket(&mut self, now: Now) {
        match &mut self.socket {
            Socket::Dialling { at, outcome } if *at <= now.elapsed => match outcome {
                Outcome::Never => {}
                Outcome::Refused => {
                    self.socket = Socket::None;
                    self.supervisor.dial_failed(now, Cause::new(CauseKind::Refused, ""));
                }
                Outcome::Connected => {
                    let id = self.venue.open(venue_now(self.elapsed));
                    self.socket = Socket::Up(Wire {
                        id,
                        to_venue: VecDeque::new(),
                        to_ingest: VecDeque::new(),
                        ends: None,
                    });
                    self.supervisor.dialled(now);
                }
            },
            Socket::Up(wire) => {
                while let Some((_, bytes)) = wire.to_venue.pop_front_if(|(at, _)| *at <= now.elapsed) {
                    self.venue.receive(wire.id, venue_now(now.elapsed), &bytes);
                }
                // Network pieces may arrive one by one or several in one read.
                let mut read = Vec::new();
                while let Some((_, bytes)) = wire.to_ingest.pop_front_if(|(at, _)| *at <= now.elapsed) {
                    read.extend_from_slice(&bytes);
                    if self.rng.bool() {
                        break;
                    }
                }
                let ended = wire
                    .to_ingest
                    .is_empty()
                    .then(|| wire.ends.take_if(|(at, _)| *at <= now.elapsed))
                    .flatten();
                if !read.is_empty() {
                    self.supervisor.received(now, &read);
                }
                if let Some((_, cause)) = ended {
                    // The supervisor may have ended it by itself on what was just read.
                    self.settle();
                    if matches!(self.socket, Socket::Up(_)) {
                        self.socket = Socket::None;
                        self.supervisor.closed(now, cause);
                    }
                }
            }
            _ => {}
        }
    }

    /// Does everything that is to be done at this instant.
    fn settle(&mut self) {
        while let Some(action) = self.supervisor.poll() {
            self.act(action);
        }
        while let Some(output) = self.venue.poll() {
            self.deliver(output);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial => {
                assert!(matches!(self.socket, Socket::None), "never two sockets");
                self.dials += 1;
                let faults = self.venue.faults();
                let outcome = if faults.has(Fault::Refuse) {
                    Outcome::Refused
                } else if faults.has(Fault::HangTls) {
                    Outcome::Never
                } else {
                    Outcome::Connected
                };
                let at = self.elapsed + Duration::from_millis(self.rng.u64(0..200));
                self.note(|| "dial".into());
                self.socket = Socket::Dialling { at, outcome };
            }
            Action::Send(bytes) => {
                let delay = Duration::from_millis(self.rng.u64(0..100));
                let at = self.elapsed + delay;
                let Socket::Up(wire) = &mut self.socket else { panic!("sent without a connection") };
                let at = wire.to_venue.back().map_or(at, |(last, _)| at.max(*last));
                wire.to_venue.push_back((at, bytes));
            }
            Action::Close(cause) => {
                self.note(|| format!("close {cause}"));
                assert!(!matches!(self.socket, Socket::None), "closed without a connection");
                if let Socket::Up(wire) = std::mem::replace(&mut self.socket, Socket::None) {
                    self.venue.closed(wire.id, Reason::Peer);
                }
            }
            Action::Event(event) => self.event(event),
            Action::Health(health) => self.hear(health),
            Action::Keep(number, _) => {
                let now = self.now();
                self.supervisor.kept(now, number, Ok(()));
            }
            Action::Recovered(_) => self.recoveries += 1,
            Action::Note(Note::Odd(kind)) => {
                assert_ne!(kind, "tick_before_ready");
                assert_ne!(kind, "channels_full");
            }
            Action::Note(_) | Action::Catalogue(_) => {}
        }
    }

    fn event(&mut self, event: ChannelEvent) {
        let seq = self.seqs.entry(event.symbol.clone()).or_default();
        match event.body {
            Body::Tick(tick) => {
                let repeated =
                    tick.snapshot && event.position.seq == *seq && self.last.contains_key(&event.symbol);
                if !repeated {
                    assert_eq!(event.position.seq, *seq + 1, "{} counts by one", event.symbol);
                    *seq += 1;
                    self.ticks += 1;
                    assert!(matches!(self.socket, Socket::Up(_)), "a tick without a connection");
                    let health = self.supervisor.health(self.now());
                    assert_eq!(
                        (health.link, health.auth),
                        (LinkState::Up, AuthState::Ok),
                        "a tick before ready"
                    );
                }
                assert!(tick.bid.is_some() && tick.ask.is_some());
                self.last.insert(event.symbol, tick);
            }
            Body::State(state) => {
                assert_eq!(event.position.seq, *seq, "a state makes no hole");
                self.note(|| format!("{} {}", event.symbol, state.state.as_str()));
                self.states.insert(event.symbol, state.state);
            }
        }
    }

    fn hear(&mut self, health: VenueHealth) {
        self.note(|| {
            let (link, auth, data) = (health.link, health.auth, health.data);
            let cause = health.cause.as_ref().map(ToString::to_string);
            format!("{link:?} {auth:?} {data:?} attempt {} {cause:?}", health.attempt)
        });
        let unwell = health.attempt > 0 && health.link != LinkState::Up
            || health.data == DataState::Stale
            || health.auth == AuthState::Refused;
        assert!(!unwell || health.cause.is_some(), "unwell without a cause: {health:?}");
        if health.link == LinkState::Down && health.attempt > 0 {
            let stopping = health.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Stopping);
            assert!(stopping || health.retry_in_ms.is_some(), "down without a plan: {health:?}");
        }
        self.health = Some(health);
    }

    fn deliver(&mut self, output: Output) {
        let Socket::Up(wire) = &mut self.socket else { return };
        match output {
            Output::Send { id, bytes } if id == wire.id => {
                let mut at = self.elapsed + Duration::from_millis(self.rng.u64(0..100));
                let mut rest = bytes;
                while !rest.is_empty() {
                    let piece = match self.rng.usize(0..4) {
                        0 => 1,
                        1 => self.rng.usize(1..=rest.len()),
                        _ => rest.len(),
                    };
                    at = wire.to_ingest.back().map_or(at, |(last, _)| at.max(*last));
                    wire.to_ingest.push_back((at, rest.split_to(piece)));
                }
            }
            Output::Close { id, reason, .. } if id == wire.id => {
                let at = wire.to_ingest.back().map_or(self.elapsed, |(last, _)| *last);
                wire.ends = Some((at, Cause::new(CauseKind::PeerClosed, reason.as_str())));
            }
            Output::Send { .. } | Output::Close { .. } => {}
        }
    }

    /// Everybody alive says what they want.
    fn renew(&mut self) {
        self.renew_at = self.elapsed + RENEWAL;
        for index in 0..self.holders.len() {
            let holder = &self.holders[index];
            if holder.alive {
                let lease = Lease {
                    holder: format!("holder-{index}"),
                    generation: holder.generation,
                    ttl_ms: LEASE_MS,
                    symbols: holder.symbols.iter().map(|index| symbol(*index, &self.venue)).collect(),
                    repeat_last: self.rng.u8(..8) == 0,
                };
                self.supervisor.lease(self.now(), lease);
                self.settle();
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SIMULATION_SEED={} replays this life and prints it", self.seed);
        }
    }
}

/// The venue's symbols by number; one more is a name it does not have.
fn symbol(index: usize, venue: &Venue) -> Symbol {
    let name = venue.catalogue().listings().get(index).map_or("NOSUCH", |listing| &listing.name);
    Symbol::new(name).unwrap()
}

fn venue_now(elapsed: Duration) -> sim_ctrader::Now {
    let millis = i64::try_from(elapsed.as_millis()).unwrap();
    sim_ctrader::Now { elapsed, unix_ms: EPOCH_MS + millis }
}
