mod act;
mod demand;
mod network;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tickcast_model::{CauseKind, Symbol, SymbolState};
use tickcast_session::{LeadershipAction, LeaseAnswer, Now};

use crate::node::{Node, Power};
use crate::receiver::Receiver;
use crate::store::Store;
use crate::trouble::Trouble;
use crate::tuning::Tuning;
use crate::venue::{Disk, Venue};
use crate::wire::Socket;
use act::Led;
use demand::{HOLDERS, Holder};

/// 2026-11-20 00:00 UTC, a Friday.
const EPOCH_MS: i64 = 1_795_132_800_000;
/// Processes that compete for it.
const NODES: usize = 2;
/// How many things may happen in one instant before time is said to stand still.
const STEPS_PER_INSTANT_MAX: u32 = 200_000;
/// One venue, the network, the ingests and the people who want something.
pub struct World<V: Venue> {
    pub(crate) rng: Rng,
    pub(crate) elapsed: Duration,
    /// The wall clock of the ingests' machines against the true time.
    pub(crate) clock_off_ms: i64,
    pub(crate) tuning: Tuning,
    pub(crate) venue: V,
    names: Vec<Symbol>,
    pub(crate) nodes: Vec<Node<V>>,
    /// What the ingests keep on their disk.
    pub(crate) disk: Disk,
    pub(crate) store: Store,
    /// The greatest epoch anybody has led in.
    pub(crate) epoch: u64,
    receiver: Receiver,
    led: Led,
    holders: Vec<Holder>,
    pub(crate) agenda: BTreeMap<(Duration, u64), Entry>,
    entries: u64,
    /// Until when nothing else may go wrong.
    pub(crate) alone_until: Option<Duration>,
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

impl<V: Venue> World<V> {
    /// A life that begins healthy, with nobody connected yet.
    pub fn new(seed: u64, tuning: Tuning) -> Self {
        let rng = Rng::with_seed(seed);
        let venue = V::new(seed, &tuning);
        // One more is a name the venue does not have.
        let names = venue.symbols().into_iter().chain(Symbol::new("NOSUCH")).collect();
        let mut world = Self {
            rng,
            elapsed: Duration::from_secs(1),
            clock_off_ms: 0,
            tuning,
            venue,
            names,
            nodes: Vec::new(),
            disk: Disk::default(),
            store: Store::default(),
            epoch: 0,
            receiver: Receiver::default(),
            led: Led::Now,
            holders: (0..HOLDERS).map(|_| Holder::new()).collect(),
            agenda: BTreeMap::new(),
            entries: 0,
            alone_until: None,
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
        assert_eq!(self.venue.connections(), 0);
        assert_eq!(self.receiver.cause().map(|cause| cause.kind), Some(CauseKind::Stopping));
    }

    /// The time on the ingests' clocks.
    pub(crate) fn now(&self) -> Now {
        let now = self.true_now();
        Now { unix_us: now.unix_us + self.clock_off_ms * 1000, ..now }
    }

    /// The time as it is, which the ingests' clocks may not know.
    pub(crate) fn true_now(&self) -> Now {
        let micros = i64::try_from(self.elapsed.as_micros()).unwrap();
        Now { elapsed: self.elapsed, unix_us: EPOCH_MS * 1000 + micros }
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
        [nodes, agenda, self.led.deadline(), self.venue.deadline()].into_iter().flatten().min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.elapsed) {
            let entry = entry.remove();
            self.happen(entry);
        }
        if self.venue.deadline().is_some_and(|at| at <= self.elapsed) {
            self.venue.timeout(self.true_now());
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
}
