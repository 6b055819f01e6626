mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use sim_ctrader::{Fault, Output, Reason, ReasonKind as _, SimulatedVenue as _, Venue, VenueSettings};
use tickcast_model::{
    AuthState, Body, Cause, CauseKind, DataState, Lease, LinkState, Symbol, SymbolState, VenueHealth,
};
use tickcast_session::{Action, LeadershipAction, LeaseAnswer, Note, Now};

use crate::node::{Node, Power, Said, Term};
use crate::receiver::Receiver;
use crate::store::Store;
use crate::trouble::Trouble;
use crate::tuning::Tuning;
use crate::wire::{Outcome, Socket, Wire};

/// 2026-11-20 00:00 UTC, a Friday.
const EPOCH_MS: i64 = 1_795_132_800_000;
/// A health that is not repeated for so long means that the ingest is gone (contract, section 4).
const BEAT_MISSED: Duration = Duration::from_secs(3);
/// The one account.
pub(crate) const ACCOUNT: i64 = 1_000_001;
/// Processes that compete for it.
const NODES: usize = 2;
/// Gateways and others that want something.
const HOLDERS: usize = 3;
/// How many things may happen in one instant before time is said to stand still.
const STEPS_PER_INSTANT_MAX: u32 = 200_000;
/// What may wait on a connection towards the venue.
const UNSENT_MAX: usize = 10_000;

/// One venue, the network, the ingests and the people who want something.
pub struct World {
    pub(crate) rng: Rng,
    pub(crate) elapsed: Duration,
    /// The wall clock of the ingests' machines against the true time.
    pub(crate) clock_off_ms: i64,
    pub(crate) tuning: Tuning,
    pub(crate) venue: Venue,
    names: Vec<Symbol>,
    pub(crate) nodes: Vec<Node>,
    /// What the ingests keep on their disk.
    pub(crate) token_file: Arc<Mutex<Option<String>>>,
    pub(crate) store: Store,
    /// The greatest epoch anybody has led in.
    pub(crate) epoch: u64,
    receiver: Receiver,
    led: Led,
    holders: Vec<Holder>,
    pub(crate) agenda: BTreeMap<(Duration, u64), Entry>,
    entries: u64,
    /// When the tokens last expired.
    pub(crate) refreshed_at: Option<Duration>,
    /// Troubles that last, and the process they struck.
    pub(crate) present: Vec<(Trouble, usize)>,
    talkative: bool,
    /// What happened, kept only where somebody asked for it.
    pub history: Option<Vec<String>>,
    /// Connections opened.
    pub dials: u64,
    /// Connections that became ready.
    pub recoveries: u64,
    /// Troubles that struck.
    pub struck: u64,
    /// Times a symbol or the venue was called stale.
    pub stales: u64,
}

struct Holder {
    generation: u64,
    symbols: BTreeSet<usize>,
    alive: bool,
}

/// What receivers hear of the beats.
#[derive(Clone, Copy)]
enum Led {
    Now,
    Unled(Duration),
    Noticed,
}

/// Something that will happen at a certain time.
pub(crate) enum Entry {
    Renew,
    Ends(Trouble),
    /// The disk of a process has stored what it was given.
    Kept {
        index: usize,
        life: u64,
        number: u64,
    },
    /// An operation arrives at the store.
    Asked {
        index: usize,
        life: u64,
        operation: LeadershipAction,
    },
    /// An answer of the store arrives.
    Answered {
        index: usize,
        life: u64,
        op: u64,
        answer: LeaseAnswer,
    },
    /// A process hears that the lease was written.
    Hinted {
        index: usize,
    },
    /// Holders hear that somebody wants to know what they want.
    AskedForDemand,
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
            ticks_per_s: 1,
            slower: tuning.slower,
            calendar: tuning.calendar,
            ..VenueSettings::default()
        });
        let listed = venue.catalogue().listings().iter().map(|listing| Symbol::new(&listing.name).unwrap());
        // One more is a name the venue does not have.
        let names = listed.chain(Symbol::new("NOSUCH")).collect();
        let holder = |_| Holder { generation: 0, symbols: BTreeSet::new(), alive: true };
        let mut world = Self {
            rng,
            elapsed: Duration::from_secs(1),
            clock_off_ms: 0,
            tuning,
            venue,
            names,
            nodes: Vec::new(),
            token_file: Arc::default(),
            store: Store::default(),
            epoch: 0,
            receiver: Receiver::default(),
            led: Led::Now,
            holders: (0..HOLDERS).map(holder).collect(),
            agenda: BTreeMap::new(),
            entries: 0,
            refreshed_at: None,
            present: Vec::new(),
            talkative: std::env::var_os("SIMULATION_SEED").is_some(),
            history: None,
            dials: 0,
            recoveries: 0,
            struck: 0,
            stales: 0,
        };
        world.plan(world.elapsed, Entry::Renew);
        for index in 0..NODES {
            let node = world.start_node(index, 0);
            world.nodes.push(node);
        }
        (0..NODES).for_each(|index| world.settle_leadership(index));
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

    /// How many wanted symbols receivers were told are closed.
    pub fn closed(&self) -> usize {
        let closed = |symbol: &&Symbol| self.receiver.state(symbol) == Some(SymbolState::Closed);
        self.wanted().iter().filter(closed).count()
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

    fn run_while(&mut self, until: Duration, mut go_on: impl FnMut(&mut Self) -> bool) {
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

    /// The wanted symbols the venue has.
    fn wanted(&self) -> BTreeSet<Symbol> {
        let alive = self.holders.iter().filter(|holder| holder.alive);
        let known = self.names.len() - 1;
        let wanted = alive.flat_map(|holder| &holder.symbols).filter(|index| **index < known);
        wanted.map(|index| self.names[*index].clone()).collect()
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
        for index in 0..self.nodes.len() {
            while let Some((_, said)) = self.nodes[index].published.pop_front() {
                self.hear(said);
            }
        }
        assert_eq!(self.venue.connections().count(), 0);
        assert_eq!(self.receiver.cause().map(|cause| cause.kind), Some(CauseKind::Stopping));
    }

    pub(crate) fn now(&self) -> Now {
        let micros = i64::try_from(self.elapsed.as_micros()).unwrap();
        Now { elapsed: self.elapsed, unix_us: (EPOCH_MS + self.clock_off_ms) * 1000 + micros }
    }

    pub(crate) fn venue_now(&self) -> sim_ctrader::Now {
        let millis = i64::try_from(self.elapsed.as_millis()).unwrap();
        sim_ctrader::Now { elapsed: self.elapsed, unix_ms: EPOCH_MS + millis }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.talkative || self.history.is_some() {
            let line = format!("{:>12.3} {}", self.elapsed.as_secs_f64(), line());
            if self.talkative {
                println!("{line}");
            }
            self.history.iter_mut().for_each(|history| history.push(line.clone()));
        }
    }

    pub(crate) fn plan(&mut self, at: Duration, entry: Entry) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), entry);
    }

    fn next_time(&self) -> Option<Duration> {
        let nodes = self.nodes.iter().filter_map(Node::next_time).min();
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let unled = match self.led {
            Led::Unled(since) => Some(since + BEAT_MISSED),
            Led::Now | Led::Noticed => None,
        };
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
                self.step_node(index);
            }
            while let Some((_, said)) =
                self.nodes[index].published.pop_front_if(|(at, _)| *at <= self.elapsed)
            {
                self.hear(said);
            }
            self.settle();
        }
        self.notice_who_leads();
    }

    fn step_node(&mut self, index: usize) {
        // A process that was paused past its term must not go on, whatever it hears first.
        if self.nodes[index].leadership.deadline().is_some_and(|at| at <= self.elapsed) {
            self.nodes[index].leadership.timeout(self.elapsed);
            self.settle_leadership(index);
        }
        self.step_socket(index);
        let now = self.now();
        if let Some(term) = &mut self.nodes[index].term
            && term.supervisor.deadline().is_some_and(|at| at <= now.elapsed)
        {
            term.supervisor.timeout(now);
        }
    }

    fn happen(&mut self, entry: Entry) {
        match entry {
            Entry::Renew => {
                self.renew();
                self.plan(self.elapsed + self.tuning.lease_ttl / 3, Entry::Renew);
            }
            Entry::AskedForDemand => self.renew(),
            Entry::Ends(trouble) => self.over(trouble),
            Entry::Kept { index, life, number } => {
                let now = self.now();
                let node = &mut self.nodes[index];
                if let Some(term) = node.term.as_mut().filter(|_| node.life == life) {
                    term.supervisor.kept(now, number, Ok(()));
                }
            }
            Entry::Asked { index, life, operation } => self.asked(index, life, &operation),
            Entry::Answered { index, life, op, answer } => self.answered(index, life, op, answer),
            Entry::Hinted { index } => self.hinted(index),
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
        let leads = self.nodes.iter().any(Node::leads) && !self.has(Trouble::BusAway);
        self.led = match self.led {
            _ if leads => Led::Now,
            Led::Now => Led::Unled(self.elapsed),
            Led::Unled(since) if since + BEAT_MISSED <= self.elapsed => {
                self.receiver.ingest_gone(self.elapsed);
                Led::Noticed
            }
            led => led,
        };
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
    pub(crate) fn settle(&mut self) {
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
        let longest = if self.has(Trouble::SlowNetwork) { 4_000 } else { 80 };
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
                let term = self.nodes[index].term.as_ref().unwrap();
                if let Body::Tick(tick) = &event.body
                    && !tick.snapshot
                {
                    assert!(matches!(term.socket, Socket::Up(_)), "a tick without a connection");
                    assert!(term.ready, "a tick before ready");
                }
                assert_eq!(event.position.epoch, term.epoch);
                if let Body::State(state) = &event.body {
                    self.stales += u64::from(state.state == SymbolState::Stale);
                    let line = format!("{} {} {:?}", event.symbol, state.state.as_str(), state.code);
                    self.note(|| line);
                }
                self.publish(index, Said::Event(event));
            }
            Action::Health(health) => {
                self.judge(&health);
                let term = self.nodes[index].term.as_mut().unwrap();
                term.ready = (health.link, health.auth) == (LinkState::Up, AuthState::Ok);
                self.publish(index, Said::Health(health));
            }
            Action::Keep(number, secret) => {
                *self.token_file.lock().unwrap() = Some(secret.expose().to_owned());
                let at = self.elapsed + Duration::from_millis(self.rng.u64(0..50));
                let life = self.nodes[index].life;
                self.plan(at, Entry::Kept { index, life, number });
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
        let outcome = if faults.has(Fault::Refuse) || faults.has(Fault::ResetHandshake) {
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

    fn judge(&mut self, health: &VenueHealth) {
        self.stales += u64::from(health.data == DataState::Stale);
        self.note(|| {
            let (link, auth, data) = (health.link, health.auth, health.data);
            let cause = health.cause.as_ref().map(ToString::to_string);
            format!("{link:?} {auth:?} {data:?} attempt {} {cause:?}", health.attempt)
        });
        if health.link == LinkState::Down && health.attempt > 0 {
            let stopping = health.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Stopping);
            assert!(stopping || health.retry_in_ms.is_some(), "down without a plan: {health:?}");
        }
    }

    /// A process says something on the bus. Only the one that leads may.
    fn publish(&mut self, index: usize, said: Said) {
        let epoch = self.nodes[index].term.as_ref().map(|term| term.epoch);
        assert_eq!(epoch, Some(self.epoch), "{index} publishes and does not lead");
        let slow = self.has(Trouble::SlowBus) || self.has(Trouble::BusAway);
        if !slow && self.nodes[index].published.is_empty() {
            return self.hear(said);
        }
        let late = if slow { self.rng.u64(0..5_000) } else { 0 };
        let at = self.elapsed + Duration::from_millis(late);
        let published = &mut self.nodes[index].published;
        let at = published.back().map_or(at, |(last, _)| at.max(*last));
        published.push_back((at, said));
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Event(event) => _ = self.receiver.event(self.elapsed, event),
            Said::Health(health) => _ = self.receiver.health(self.elapsed, health),
        }
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
            Output::Send { message, .. } => wire.carry(at, message, &mut self.rng),
            Output::Close { reason, .. } => {
                wire.ended(self.elapsed, Cause::new(CauseKind::PeerClosed, reason.as_str()));
            }
        }
    }

    /// Everybody alive says what they want.
    pub(crate) fn renew(&mut self) {
        if self.has(Trouble::BusAway) {
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
