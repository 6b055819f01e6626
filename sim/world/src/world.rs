use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use ingest_ctrader::{CtraderSession, Memory, SessionSettings, TokenPair};
use sim_ctrader::{Fault, Output, Reason, Venue, VenueSettings};
use tickcast_model::{
    AuthState, Body, Cause, CauseKind, DataState, Lease, LinkState, Symbol, SymbolState, VenueHealth, VenueId,
};
use tickcast_session::{Action, DemandLimits, Note, Now, Supervisor, SupervisorSettings};

use crate::node::{Node, Power, Term};
use crate::receiver::Receiver;
use crate::trouble::{Case, Trouble};
use crate::tuning::Tuning;
use crate::wire::{Outcome, Socket, Wire};

/// 2026-11-20, a Friday, so that stamps look like stamps.
const EPOCH_MS: i64 = 1_795_132_800_000;
/// A health that is not repeated for so long means that the ingest is gone (contract, section 4).
const BEAT_MISSED: Duration = Duration::from_secs(3);
/// The one account.
const ACCOUNT: i64 = 1_000_001;
/// Gateways and others that want something.
const HOLDERS: usize = 3;
/// How many things may happen in one instant before time is said to stand still.
const STEPS_PER_INSTANT_MAX: u32 = 20_000;
/// What may wait on a connection towards the venue.
const UNSENT_MAX: usize = 10_000;

/// One venue, the network, the ingests and the people who want something.
pub struct World {
    rng: Rng,
    elapsed: Duration,
    /// The wall clock of the ingests' machines against the true time.
    clock_off: i64,
    tuning: Tuning,
    venue: Venue,
    names: Vec<Symbol>,
    nodes: Vec<Node>,
    /// What the ingests keep on their disk.
    token_file: Arc<Mutex<Option<String>>>,
    epochs: u64,
    receiver: Receiver,
    /// Since when nobody publishes, until the receivers have noticed.
    unled_since: Option<Duration>,
    holders: Vec<Holder>,
    agenda: BTreeMap<(Duration, u64), Entry>,
    entries: u64,
    /// Troubles that last, by what they are.
    present: Vec<Trouble>,
    talkative: bool,
    /// What happened, kept only where somebody asked for it.
    pub history: Option<Vec<String>>,
    /// Connections opened.
    pub dials: u64,
    /// Connections that became ready.
    pub recoveries: u64,
    /// Troubles that struck.
    pub struck: u64,
}

struct Holder {
    generation: u64,
    symbols: BTreeSet<usize>,
    alive: bool,
}

/// Something that will happen at a certain time.
#[derive(Clone, Copy)]
enum Entry {
    Renew,
    Ends(Trouble),
    /// The disk of a process has stored what it was given.
    Kept {
        index: usize,
        number: u64,
    },
    /// Receivers must know by now of what happened at this time.
    Named {
        case: &'static str,
        struck: Duration,
        number: u64,
    },
}

impl World {
    /// A life that begins healthy, with nobody connected yet.
    pub fn new(seed: u64, tuning: Tuning) -> Self {
        let rng = Rng::with_seed(seed);
        let venue = Venue::new(VenueSettings {
            seed,
            symbols: tuning.symbols,
            ticks_per_s: tuning.ticks_per_s,
            ..VenueSettings::default()
        });
        let listed = venue.catalogue().listings().iter().map(|listing| Symbol::new(&listing.name).unwrap());
        // One more is a name the venue does not have.
        let names = listed.chain(Symbol::new("NOSUCH")).collect();
        let holder = |_| Holder { generation: 0, symbols: BTreeSet::new(), alive: true };
        let mut world = Self {
            rng,
            elapsed: Duration::from_secs(1),
            clock_off: 0,
            tuning,
            venue,
            names,
            nodes: vec![Node::new(new_memory())],
            token_file: Arc::default(),
            epochs: 0,
            receiver: Receiver::default(),
            unled_since: None,
            holders: (0..HOLDERS).map(holder).collect(),
            agenda: BTreeMap::new(),
            entries: 0,
            present: Vec::new(),
            talkative: std::env::var_os("SIMULATION_SEED").is_some(),
            history: None,
            dials: 0,
            recoveries: 0,
            struck: 0,
        };
        world.plan(world.elapsed, Entry::Renew);
        world.lead(0);
        world
    }

    /// The time, from an arbitrary start.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// How this life is set up.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Ticks that reached the receivers.
    pub fn ticks(&self) -> u64 {
        self.receiver.ticks
    }

    /// A number by chance, part of this life.
    pub fn chance(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.rng.u64(range)
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, spell: Duration) {
        let until = self.elapsed + spell;
        self.run_while(until, |_| true);
        self.elapsed = until;
    }

    /// Lets time pass until everything wanted and tradable is live and nothing is complained of: how long that took.
    ///
    /// # Panics
    /// Where it is not so within `limit`.
    pub fn run_until_well(&mut self, limit: Duration) -> Duration {
        let began = self.elapsed;
        self.run_while(began + limit, |world| !world.is_well());
        if !self.is_well() {
            let states: Vec<_> =
                self.wanted().iter().map(|symbol| (symbol.clone(), self.receiver.state(symbol))).collect();
            panic!("not well {limit:?} later: {:?}, {states:?}", self.receiver.health);
        }
        self.elapsed - began
    }

    /// Lets time pass until receivers are told of something that is not well, with a cause: how long that took.
    pub fn run_until_named(&mut self, limit: Duration) -> Option<Duration> {
        let began = self.elapsed;
        let named =
            |world: &Self| world.receiver.named_at.is_some_and(|at| at > began || at == world.elapsed);
        self.run_while(began + limit, |world| !named(world));
        named(self).then(|| self.elapsed - began)
    }

    fn run_while(&mut self, until: Duration, mut go_on: impl FnMut(&Self) -> bool) {
        let mut steps = 0;
        self.settle();
        while go_on(self)
            && let Some(next) = self.next_time().filter(|next| *next <= until)
        {
            if next > self.elapsed {
                self.elapsed = next;
                steps = 0;
            }
            steps += 1;
            assert!(steps < STEPS_PER_INSTANT_MAX, "time stands still at {:?}", self.elapsed);
            self.step();
        }
        if go_on(self) {
            self.elapsed = until.max(self.elapsed);
        }
    }

    /// Everybody wants other symbols, and one of them may come or go.
    pub fn change_demand(&mut self) {
        let holder = self.rng.usize(..HOLDERS);
        self.holders[holder].alive = holder == 0 || self.rng.u8(..4) > 0;
        let count = self.rng.usize(0..6);
        self.holders[holder].symbols = (0..count).map(|_| self.rng.usize(..self.names.len())).collect();
        self.holders[holder].generation += 1;
        self.agenda.retain(|_, entry| !matches!(entry, Entry::Named { .. }));
        self.renew();
    }

    /// This is wanted from now on, and nothing else; the last number is a symbol the venue does not have.
    pub fn demand(&mut self, symbols: &[usize]) {
        for holder in &mut self.holders {
            holder.alive = true;
            holder.symbols.clear();
            holder.generation += 1;
        }
        self.holders[0].symbols = symbols.iter().copied().collect();
        self.renew();
    }

    /// True where nothing that lasts is wrong.
    pub fn is_untroubled(&self) -> bool {
        self.present.is_empty()
    }

    /// Lets a trouble begin. It ends by itself after a time its case gives it, or with [`World::heal`].
    pub fn strike(&mut self, case: &'static Case) {
        let lasts = if case.lasts_s.is_empty() { 0 } else { self.rng.u64(case.lasts_s.clone()) };
        self.strike_for(case, Duration::from_secs(lasts));
    }

    /// Lets a trouble begin that ends by itself after this time, if it is one that lasts.
    pub fn strike_for(&mut self, case: &'static Case, lasts: Duration) {
        if self.present.contains(&case.trouble) {
            return;
        }
        self.struck += 1;
        self.note(|| format!("--- {}", case.name));
        let untroubled = self.present.is_empty() && self.is_well() && !self.wanted().is_empty();
        let lasts = Some(lasts).filter(|_| !case.lasts_s.is_empty());
        self.begin(case.trouble);
        if case.cuts {
            self.begin(Trouble::Venue(Fault::Cut));
        }
        if let Some(lasts) = lasts {
            self.present.push(case.trouble);
            self.plan(self.elapsed + lasts, Entry::Ends(case.trouble));
        }
        if let Some(within) = case.named_within.filter(|_| untroubled) {
            let within = within(&self.tuning);
            if lasts.is_none_or(|lasts| lasts > within) {
                let named = Entry::Named { case: case.name, struck: self.elapsed, number: self.struck };
                self.plan(self.elapsed + within, named);
            }
        }
    }

    /// Ends every trouble now.
    pub fn heal(&mut self) {
        self.note(|| "--- all troubles end".into());
        for trouble in std::mem::take(&mut self.present) {
            self.end(trouble);
        }
        self.agenda.retain(|_, entry| !matches!(entry, Entry::Ends(_) | Entry::Named { .. }));
    }

    fn begin(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Venue(fault) => self.venue.fault(self.venue_now(), fault, true),
            Trouble::LinkLost => {
                for node in &mut self.nodes {
                    if let Some(Term { socket: Socket::Up(wire), .. }) = &mut node.term {
                        wire.lose();
                    }
                }
            }
            Trouble::SlowNetwork => {}
            Trouble::Paused => self.nodes[0].power = Power::Paused,
            Trouble::Killed => {
                let node = &mut self.nodes[0];
                node.power = Power::Dead;
                if let Some(Term { socket: Socket::Up(wire), .. }) = node.term.take().as_ref() {
                    self.venue.closed(wire.id, Reason::Peer);
                }
            }
            Trouble::ClockStep => self.clock_off += self.rng.i64(-3_600_000..3_600_000),
            Trouble::BusAway => self.bus(false),
        }
        self.settle();
    }

    fn end(&mut self, trouble: Trouble) {
        self.note(|| format!("--- {trouble:?} ends"));
        match trouble {
            Trouble::Venue(fault) => self.venue.fault(self.venue_now(), fault, false),
            Trouble::Paused => self.nodes[0].power = Power::Running,
            Trouble::Killed => {
                self.nodes[0].power = Power::Running;
                self.nodes[0].memory = new_memory();
                self.lead(0);
                self.renew();
            }
            Trouble::BusAway => {
                self.bus(true);
                self.renew();
            }
            Trouble::SlowNetwork | Trouble::LinkLost | Trouble::ClockStep => {}
        }
        self.settle();
    }

    fn bus(&mut self, up: bool) {
        let now = self.now();
        for node in self.nodes.iter_mut().filter(|node| node.power == Power::Running) {
            if let Some(term) = &mut node.term {
                term.supervisor.bus(now, up);
            }
        }
    }

    /// The wanted symbols the venue has.
    fn wanted(&self) -> BTreeSet<Symbol> {
        let alive = self.holders.iter().filter(|holder| holder.alive);
        let known = self.names.len() - 1;
        let wanted = alive.flat_map(|holder| &holder.symbols).filter(|index| **index < known);
        wanted.map(|index| self.names[*index].clone()).collect()
    }

    /// True where receivers are told that all is well, and it is: on the one connection, at the venue too.
    fn is_well(&self) -> bool {
        let wanted = self.wanted();
        let Some(Term { supervisor, socket: Socket::Up(wire), .. }) = self.term(0) else { return false };
        let wanted_there = supervisor.wanted();
        !wire.lost
            && self.receiver.is_well(wanted.iter())
            && wanted.iter().all(|symbol| wanted_there.contains(symbol))
            && self.venue.subscribed(wire.id).len() >= wanted.len()
    }

    fn term(&self, index: usize) -> Option<&Term> {
        self.nodes[index].term.as_ref()
    }

    /// What is wanted and exists is subscribed on both sides, ticks, and shows the venue's own prices.
    pub fn assert_everything_wanted_is_held_and_true(&self) {
        let wanted = self.wanted();
        let term = self.term(0).expect("a leader");
        let Socket::Up(wire) = &term.socket else { panic!("no connection after all troubles ended") };
        let session = term.supervisor.session().expect("a session");
        assert_eq!(session.held(), wanted, "held is what is wanted");
        let listings = self.venue.catalogue().listings();
        let name = |id: &i64| {
            listings.iter().find(|listing| listing.id == *id).map(|listing| listing.name.to_string())
        };
        let at_venue: BTreeSet<String> = self.venue.subscribed(wire.id).iter().filter_map(name).collect();
        let missing = wanted.iter().find(|symbol| !at_venue.contains(symbol.as_str()));
        assert_eq!(missing, None, "the venue agrees");
        assert_eq!(self.venue.connections().count(), 1, "one connection");
        for symbol in &wanted {
            assert_eq!(self.receiver.state(symbol), Some(SymbolState::Live), "{symbol}");
            let tick = self.receiver.tick(symbol).expect("a price");
            let id = listings.iter().find(|listing| listing.name == symbol.as_str()).unwrap().id;
            let told = self.venue.sent(wire.id, id).unwrap();
            let shown = (tick.bid.unwrap().units(), tick.ask.unwrap().units());
            let venue = (i64::try_from(told.bid).unwrap(), i64::try_from(told.ask).unwrap());
            let in_flight = !wire.to_ingest.is_empty();
            assert!(in_flight || shown == venue, "{symbol}: {shown:?} is not the venue's {venue:?}");
        }
        let unknown = self.names.last().unwrap();
        if term.supervisor.wanted().contains(unknown) {
            assert_eq!(
                self.receiver.state(unknown),
                Some(SymbolState::Refused),
                "a name the venue does not have"
            );
        }
        let health = term.supervisor.health(self.now());
        assert_eq!((health.link, health.auth, health.data), (LinkState::Up, AuthState::Ok, DataState::Live));
        assert_eq!(health.cause, None);
        let blocked = self.venue.counters().errors.get("BLOCKED_PAYLOAD_TYPE");
        assert_eq!(blocked, None, "the venue's request limit was never broken");
    }

    /// Stops every process in order: nothing is left behind.
    pub fn stop(mut self) {
        let now = self.now();
        for index in 0..self.nodes.len() {
            if let Some(term) = &mut self.nodes[index].term {
                term.supervisor.stop(now);
            }
            self.settle();
            if let Some(term) = self.nodes[index].term.take() {
                assert!(term.supervisor.deadline().is_none());
                assert!(matches!(term.socket, Socket::None));
            }
        }
        assert_eq!(self.venue.connections().count(), 0);
        assert_eq!(self.receiver.cause().map(|cause| cause.kind), Some(CauseKind::Stopping));
    }

    fn lead(&mut self, index: usize) {
        self.epochs += 1;
        let epoch = self.epochs;
        let memory = self.nodes[index].memory.clone();
        let session = SessionSettings {
            client_id: "sim-app".into(),
            client_secret: "sim-secret".to_owned().into(),
            account_id: ACCOUNT,
            host: "demo.ctraderapi.com".into(),
            memory: memory.clone(),
            heartbeat: Duration::from_secs(10),
        };
        let settings = SupervisorSettings {
            venue: VenueId::new("ctrader").unwrap(),
            epoch,
            connect_timeout: self.tuning.connect_timeout,
            silence_timeout: self.tuning.silence_timeout,
            stale_after: self.tuning.stale_after,
            symbol_stale_min: Duration::from_secs(5),
            symbol_stale_max: Duration::from_secs(300),
            backoff_min: self.tuning.backoff_min,
            backoff_max: self.tuning.backoff_max,
            auth_retry: self.tuning.auth_retry,
            stable_after: Duration::from_secs(30),
            linger: self.tuning.linger,
            demand: DemandLimits::default(),
            channels_max: 1000,
            seed: self.rng.u64(..),
        };
        self.note(|| format!("{index} leads as {epoch}"));
        let file = Arc::clone(&self.token_file);
        let new_session = move || {
            if let Some(text) = file.lock().unwrap().as_deref() {
                memory.load(text).expect("what was kept can be read");
            }
            CtraderSession::new(session.clone())
        };
        let supervisor = Supervisor::new(settings, self.now(), new_session);
        self.nodes[index].term = Some(Term { epoch, supervisor, socket: Socket::None });
    }

    fn now(&self) -> Now {
        let micros = i64::try_from(self.elapsed.as_micros()).unwrap();
        Now { elapsed: self.elapsed, unix_us: (EPOCH_MS + self.clock_off) * 1000 + micros }
    }

    fn venue_now(&self) -> sim_ctrader::Now {
        let millis = i64::try_from(self.elapsed.as_millis()).unwrap();
        sim_ctrader::Now { elapsed: self.elapsed, unix_ms: EPOCH_MS + millis }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.talkative || self.history.is_some() {
            let line = format!("{:>12.3} {}", self.elapsed.as_secs_f64(), line());
            if self.talkative {
                println!("{line}");
            }
            self.history.iter_mut().for_each(|history| history.push(line.clone()));
        }
    }

    fn plan(&mut self, at: Duration, entry: Entry) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), entry);
    }

    fn next_time(&self) -> Option<Duration> {
        let nodes = self.nodes.iter().filter_map(Node::next_time).min();
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let unled = self.unled_since.map(|since| since + BEAT_MISSED);
        [nodes, agenda, unled, self.venue.deadline()].into_iter().flatten().min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.elapsed) {
            let entry = entry.remove();
            self.happen(entry);
        }
        if self.venue.deadline().is_some_and(|at| at <= self.elapsed) {
            self.venue.timeout(self.venue_now());
        }
        for index in 0..self.nodes.len() {
            self.step_venue_side(index);
            if self.nodes[index].power == Power::Running {
                self.step_socket(index);
                let now = self.now();
                if let Some(term) = &mut self.nodes[index].term
                    && term.supervisor.deadline().is_some_and(|at| at <= now.elapsed)
                {
                    term.supervisor.timeout(now);
                }
            }
            self.settle();
        }
        self.notice_who_leads();
    }

    fn happen(&mut self, entry: Entry) {
        match entry {
            Entry::Renew => {
                self.renew();
                self.plan(self.elapsed + self.tuning.lease_ttl / 3, Entry::Renew);
            }
            Entry::Ends(trouble) => {
                self.present.retain(|present| *present != trouble);
                self.end(trouble);
            }
            Entry::Kept { index, number } => {
                let now = self.now();
                if let Some(term) = &mut self.nodes[index].term {
                    term.supervisor.kept(now, number, Ok(()));
                }
            }
            // What struck or was healed meanwhile may have hidden it.
            Entry::Named { case, struck, number } if number == self.struck => {
                let named = self.receiver.named_at.is_some_and(|at| at >= struck);
                let health = &self.receiver.health;
                assert!(
                    named,
                    "{case} struck at {struck:?}, nobody was told by {:?}: {health:?}",
                    self.elapsed
                );
            }
            Entry::Named { .. } => {}
        }
    }

    /// Receivers hear nothing while nobody who leads runs.
    fn notice_who_leads(&mut self) {
        let led = self.nodes.iter().any(|node| node.power == Power::Running && node.term.is_some());
        match self.unled_since {
            _ if led => self.unled_since = None,
            None if self.receiver.named_at.is_none_or(|_| true) => {
                self.unled_since = Some(self.elapsed);
            }
            Some(since) if since + BEAT_MISSED <= self.elapsed => {
                self.receiver.ingest_gone(self.elapsed);
                self.unled_since = Some(Duration::MAX - BEAT_MISSED);
            }
            _ => {}
        }
    }

    fn step_venue_side(&mut self, index: usize) {
        let now = self.venue_now();
        let Some(Term { socket: Socket::Up(wire), .. }) = &mut self.nodes[index].term else { return };
        while let Some(bytes) = wire.to_venue.pop_due(now.elapsed) {
            self.venue.receive(wire.id, now, &bytes);
        }
    }

    fn step_socket(&mut self, index: usize) {
        let (now, venue_now) = (self.now(), self.venue_now());
        let Some(term) = &mut self.nodes[index].term else { return };
        match &mut term.socket {
            Socket::Dialling { at, outcome } if *at <= now.elapsed => match outcome {
                Outcome::Never => {}
                Outcome::Refused => {
                    term.socket = Socket::None;
                    term.supervisor.dial_failed(now, Cause::new(CauseKind::Refused, ""));
                }
                Outcome::Connected => {
                    term.socket = Socket::Up(Wire::new(self.venue.open(venue_now)));
                    term.supervisor.dialled(now);
                }
            },
            Socket::Up(wire) => {
                // Network pieces may arrive one by one or several in one read.
                let mut read = Vec::new();
                while let Some(bytes) = wire.to_ingest.pop_due(now.elapsed) {
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
                    term.supervisor.received(now, &read);
                }
                if let Some((_, cause)) = ended {
                    // The supervisor may have ended it by itself on what was just read.
                    self.settle();
                    if let Some(term) = &mut self.nodes[index].term
                        && matches!(term.socket, Socket::Up(_))
                    {
                        term.socket = Socket::None;
                        term.supervisor.closed(now, cause);
                    }
                }
            }
            _ => {}
        }
    }

    /// Does everything that is to be done at this instant.
    fn settle(&mut self) {
        for index in 0..self.nodes.len() {
            while let Some(action) = self.nodes[index].term.as_mut().and_then(|term| term.supervisor.poll()) {
                self.act(index, action);
            }
        }
        while let Some(output) = self.venue.poll() {
            self.deliver(output);
        }
    }

    fn delay(&mut self) -> Duration {
        let longest = if self.present.contains(&Trouble::SlowNetwork) { 4_000 } else { 80 };
        Duration::from_millis(self.rng.u64(0..longest))
    }

    fn act(&mut self, index: usize, action: Action) {
        match action {
            Action::Dial => self.dial(index),
            Action::Send(bytes) => {
                let at = self.elapsed + self.delay();
                let elapsed = self.elapsed;
                let node = &mut self.nodes[index];
                node.meter.sent(elapsed, &bytes);
                let Some(Term { socket: Socket::Up(wire), .. }) = &mut node.term else {
                    panic!("sent without a connection")
                };
                if !wire.lost {
                    wire.to_venue.push(at, bytes);
                    assert!(wire.to_venue.len() < UNSENT_MAX, "requests pile up");
                }
            }
            Action::Close(cause) => {
                self.note(|| format!("close {cause}"));
                let term = self.nodes[index].term.as_mut().unwrap();
                assert!(!matches!(term.socket, Socket::None), "closed without a connection");
                if let Socket::Up(wire) = std::mem::replace(&mut term.socket, Socket::None) {
                    self.venue.closed(wire.id, Reason::Peer);
                }
            }
            Action::Event(event) => {
                let term = self.term(index).unwrap();
                if let Body::Tick(tick) = &event.body
                    && !tick.snapshot
                {
                    assert!(matches!(term.socket, Socket::Up(_)), "a tick without a connection");
                    let health = term.supervisor.health(self.now());
                    assert_eq!(
                        (health.link, health.auth),
                        (LinkState::Up, AuthState::Ok),
                        "a tick before ready"
                    );
                }
                assert_eq!(event.position.epoch, term.epoch);
                if let Body::State(state) = &event.body {
                    let line = format!("{} {} {:?}", event.symbol, state.state.as_str(), state.code);
                    self.note(|| line);
                }
                self.receiver.event(self.elapsed, event);
            }
            Action::Health(health) => self.hear(health),
            Action::Keep(number, secret) => {
                *self.token_file.lock().unwrap() = Some(secret.expose().to_owned());
                let at = self.elapsed + Duration::from_millis(self.rng.u64(0..50));
                self.plan(at, Entry::Kept { index, number });
            }
            Action::Recovered(_) => self.recoveries += 1,
            Action::Note(Note::Odd(kind)) => {
                assert_ne!(kind, "tick_before_ready");
                assert_ne!(kind, "channels_full");
            }
            Action::Note(_) | Action::Catalogue(_) => {}
        }
    }

    fn dial(&mut self, index: usize) {
        self.dials += 1;
        self.note(|| format!("{index} dials"));
        let faults = self.venue.faults();
        let outcome = if faults.has(Fault::Refuse) {
            Outcome::Refused
        } else if faults.has(Fault::HangTls) {
            Outcome::Never
        } else {
            Outcome::Connected
        };
        let at = self.elapsed + self.delay() * 2;
        let elapsed = self.elapsed;
        self.nodes[index].meter.dialled(elapsed);
        let term = self.nodes[index].term.as_mut().unwrap();
        assert!(matches!(term.socket, Socket::None), "never two sockets");
        term.socket = Socket::Dialling { at, outcome };
    }

    fn hear(&mut self, health: VenueHealth) {
        self.note(|| {
            let (link, auth, data) = (health.link, health.auth, health.data);
            let cause = health.cause.as_ref().map(ToString::to_string);
            format!("{link:?} {auth:?} {data:?} attempt {} {cause:?}", health.attempt)
        });
        if health.link == LinkState::Down && health.attempt > 0 {
            let stopping = health.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Stopping);
            assert!(stopping || health.retry_in_ms.is_some(), "down without a plan: {health:?}");
        }
        self.receiver.health(self.elapsed, health);
    }

    fn deliver(&mut self, output: Output) {
        let at = self.elapsed + self.delay();
        let (Output::Send { id, .. } | Output::Close { id, .. }) = output;
        let wires = self.nodes.iter_mut().filter_map(|node| match &mut node.term {
            Some(Term { socket: Socket::Up(wire), .. }) => Some(wire),
            _ => None,
        });
        let Some(wire) = wires.into_iter().find(|wire| wire.id == id) else { return };
        match output {
            Output::Send { bytes, .. } => wire.carry(at, bytes, &mut self.rng),
            Output::Close { reason, .. } => {
                wire.ended(self.elapsed, Cause::new(CauseKind::PeerClosed, reason.as_str()));
            }
        }
    }

    /// Everybody alive says what they want.
    fn renew(&mut self) {
        if self.present.contains(&Trouble::BusAway) {
            return;
        }
        let now = self.now();
        for index in 0..self.holders.len() {
            let holder = &self.holders[index];
            if !holder.alive {
                continue;
            }
            let lease = Lease {
                holder: format!("holder-{index}"),
                generation: holder.generation,
                ttl_ms: u64::try_from(self.tuning.lease_ttl.as_millis()).unwrap(),
                symbols: holder.symbols.iter().map(|index| self.names[*index].clone()).collect(),
                repeat_last: self.rng.u8(..8) == 0,
            };
            for node in self.nodes.iter_mut().filter(|node| node.power == Power::Running) {
                if let Some(term) = &mut node.term {
                    term.supervisor.lease(now, lease.clone());
                }
            }
            self.settle();
        }
    }
}

/// The configured tokens, as a process has them when it starts.
fn new_memory() -> Memory {
    let pair = TokenPair::new("sim-token".to_owned().into(), Some("sim-refresh".to_owned().into()));
    Memory::new(pair, "sim-app", ACCOUNT)
}
