//! Random sequences of everything that can be called, against what must always hold. A failing seed says its number.

use std::collections::BTreeMap;

use super::*;

/// What the shell has of a connection.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Line {
    Down,
    Dialling,
    Up,
}

struct Life {
    bench: Bench,
    rng: fastrand::Rng,
    line: Line,
    /// The last thing to keep that has no answer yet.
    keeping: Option<u64>,
    seqs: BTreeMap<Symbol, u64>,
    states: BTreeMap<Symbol, SymbolState>,
    health: Option<VenueHealth>,
    /// When the last quote of each was received, or a snapshot made it live.
    quotes: BTreeMap<Symbol, Duration>,
    /// When the wall clock was last set.
    stepped_at: Duration,
    /// When a deadline was last met.
    looked_at: Duration,
    /// What happened, for comparing lives.
    trace: Vec<String>,
    /// False for a life in which the wall clock is never set and no hours are known.
    with_clock: bool,
    counts: BTreeMap<&'static str, u32>,
}

impl Life {
    fn new(seed: u64, with_clock: bool) -> Self {
        // A Friday, an hour before the closing.
        let wall_clock = Duration::from_millis(u64::try_from(unix_ms("2026-11-20T21:00:00Z")).unwrap());
        Self {
            bench: Bench::at(wall_clock),
            rng: fastrand::Rng::with_seed(seed),
            line: Line::Down,
            keeping: None,
            seqs: BTreeMap::new(),
            states: BTreeMap::new(),
            health: None,
            quotes: BTreeMap::new(),
            stepped_at: s(100),
            looked_at: s(100),
            trace: Vec::new(),
            with_clock,
            counts: BTreeMap::new(),
        }
    }

    /// Takes what the supervisor wants done, as a shell that checks it.
    fn take(&mut self) {
        for action in self.bench.actions() {
            match action {
                Action::Dial => {
                    assert_eq!(self.line, Line::Down, "never two connections");
                    self.line = Line::Dialling;
                    self.note("dial");
                }
                Action::Send(_) => assert_eq!(self.line, Line::Up, "sent without a connection"),
                Action::Close(cause) => {
                    assert_ne!(self.line, Line::Down, "closed without a connection");
                    self.line = Line::Down;
                    self.note(cause.kind.code());
                }
                Action::Keep(number, _) => self.keeping = Some(number),
                Action::Event(event) => self.event(event),
                Action::Health(health) => {
                    assert_ne!(
                        self.health.as_ref().map(|before| VenueHealth { at_ms: 0, ..before.clone() }),
                        Some(VenueHealth { at_ms: 0, ..health.clone() }),
                        "told without a change"
                    );
                    self.note("health");
                    self.health = Some(health);
                }
                Action::Catalogue(_) | Action::Note(_) | Action::Demand(_) => {}
                Action::Recovered(_) => self.note("recovered"),
            }
        }
    }

    fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
        self.trace.push(format!("{:?} {what}", self.bench.elapsed));
    }

    fn event(&mut self, event: ChannelEvent) {
        let seq = self.seqs.entry(event.symbol.clone()).or_default();
        assert_eq!(event.position.epoch, 3);
        match event.body {
            Body::Tick(tick) if tick.snapshot && event.position.seq == *seq => {}
            Body::Tick(tick) => {
                *seq += 1;
                assert_eq!(event.position.seq, *seq, "{} counts by one", event.symbol);
                assert_eq!(self.line, Line::Up, "a tick without a connection");
                assert_eq!(tick.received_us, self.bench.now().unix_us, "an old tick sold as new");
            }
            Body::State(state) => {
                assert_eq!(event.position.seq, *seq, "a state makes no hole");
                self.note(state.state.as_str());
                self.trace.push(format!("{} {}", event.symbol, state.state.as_str()));
                if state.state == SymbolState::Live {
                    self.quotes.insert(event.symbol.clone(), self.bench.elapsed);
                }
                self.states.insert(event.symbol, state.state);
            }
        }
    }

    /// Runs every deadline of this time; a supervisor that makes time stand still is found.
    fn pass(&mut self, time: Duration) {
        let until = self.bench.elapsed + time;
        let mut calls = 0;
        while let Some(deadline) = self.bench.supervisor.deadline().filter(|deadline| *deadline <= until) {
            if deadline > self.bench.elapsed {
                calls = 0;
            }
            self.bench.elapsed = self.bench.elapsed.max(deadline);
            self.bench.supervisor.timeout(self.bench.now());
            self.looked_at = self.bench.elapsed;
            self.take();
            self.check();
            calls += 1;
            assert!(calls < 20, "time stands still");
        }
        self.bench.elapsed = until;
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.line == Line::Up {
            self.bench.supervisor.received(self.bench.now(), bytes);
            for byte in bytes.iter().filter(|byte| byte.eq_ignore_ascii_case(&b't')) {
                self.quotes.insert(named(*byte), self.bench.elapsed);
            }
        }
    }

    fn want(&mut self) {
        let holder = self.rng.usize(0..3);
        let names = [&["EURUSD"][..], &["GBPUSD"], &["EURUSD", "GBPUSD"], &[]][self.rng.usize(0..4)];
        let lease = Lease {
            holder: format!("h{holder}"),
            generation: u64::try_from(self.bench.elapsed.as_micros()).unwrap(),
            ttl_ms: [0, 5_000, 600_000, 600_000][self.rng.usize(0..4)],
            symbols: names.iter().map(|name| symbol(name)).collect(),
            repeat_last: self.rng.bool(),
        };
        self.bench.supervisor.lease(self.bench.now(), lease);
    }

    /// One random thing; the choice does not depend on the wall clock.
    fn step(&mut self) {
        let spell = Duration::from_millis([10, 300, 3_000, 40_000][self.rng.usize(0..4)]);
        let spell = spell.mul_f64(self.rng.f64());
        self.pass(spell);
        let now = self.bench.now();
        let hours = if self.with_clock { &b"hH"[..] } else { b"" };
        if self.line == Line::Dialling && self.rng.u8(0..3) > 0 {
            self.line = Line::Up;
            self.bench.supervisor.dialled(now);
            self.take();
            self.receive(&[&b"o"[..], hours].concat());
        }
        match self.rng.usize(0..22) {
            0..=6 => self.receive(b"tT"),
            7 => self.receive(b"tttt"),
            8 => self.receive(b"sS"),
            9 => self.receive(&[&b"o"[..], hours].concat()),
            10 => {
                let fate = b"lkmerxXc"[self.rng.usize(0..8)];
                self.receive(&[fate]);
            }
            11..=13 if self.line == Line::Dialling => {
                if self.rng.u8(0..4) == 0 {
                    self.line = Line::Down;
                    self.bench.supervisor.dial_failed(now, Cause::new(CauseKind::Refused, ""));
                } else {
                    self.line = Line::Up;
                    self.bench.supervisor.dialled(now);
                    self.take();
                    self.receive(&[&b"o"[..], hours].concat());
                }
            }
            14 if self.line == Line::Up => {
                self.line = Line::Down;
                self.bench.supervisor.closed(now, Cause::new(CauseKind::Reset, ""));
            }
            15 => {
                let number = self.keeping.take().unwrap_or(99);
                self.bench.supervisor.kept(
                    now,
                    number,
                    if self.rng.bool() { Ok(()) } else { Err("no".into()) },
                );
            }
            16 => self.bench.supervisor.bus(now, self.rng.bool()),
            17 if self.rng.u8(0..8) == 0 => self.bench.supervisor.reconnect(now),
            18 if self.rng.u8(0..4) == 0 => {
                self.bench.elapsed += Duration::from_millis(self.rng.u64(..90_000));
            }
            19 => {
                let (step, back) = (Duration::from_millis(self.rng.u64(..3 * 86_400_000)), self.rng.bool());
                if self.with_clock {
                    let clock = self.bench.wall_clock;
                    self.bench.wall_clock = if back { clock - step } else { clock + step };
                    self.stepped_at = self.bench.elapsed;
                }
            }
            20.. => self.want(),
            _ => {}
        }
        self.take();
        self.check();
    }

    /// What holds at any time.
    fn check(&mut self) {
        let supervisor = &self.bench.supervisor;
        let (now, health) = (self.bench.now(), self.bench.health());
        let deadline = supervisor.deadline().expect("alive and without a deadline");
        assert!(deadline <= now.elapsed + LOOK_EVERY, "the next look is far");
        let told = self.health.as_ref().expect("health was said");
        assert_eq!(
            (told.link, told.auth, told.data, &told.cause, told.attempt),
            (health.link, health.auth, health.data, &health.cause, health.attempt),
            "what was said of the health is true"
        );
        let unwell = health.data == DataState::Stale
            || health.auth == AuthState::Refused
            || (health.link == LinkState::Down && health.attempt > 0);
        assert!(!unwell || health.cause.is_some(), "unwell without a cause: {health:?}");
        match self.line {
            Line::Down => assert!(health.link == LinkState::Down && health.retry_in_ms.is_some()),
            Line::Dialling => assert_eq!(health.link, LinkState::Connecting),
            Line::Up => assert_eq!(health.link, LinkState::Up),
        }
        let ready = health.link == LinkState::Up && health.auth == AuthState::Ok;
        let bounds = supervisor.bounds;
        let grace = s(3);
        for symbol in supervisor.wanted().iter() {
            let state = self.states.get(symbol).expect("a state was said of everything wanted");
            assert_eq!(supervisor.ledger.state_of(symbol), Some(*state));
            let quiet = self.quotes.get(symbol).map(|at| now.elapsed - *at);
            match state {
                SymbolState::Live | SymbolState::Stale => {
                    assert!(ready, "{symbol} is {state:?} without a login");
                }
                SymbolState::Closed if self.stepped_at + LOOK_EVERY < self.looked_at => {
                    let span = supervisor.ledger.get(symbol).unwrap().pulse.seen_span().expect("known hours");
                    let late = span.until_ms.saturating_add(3_000);
                    assert!(!span.open && self.looked_ms() < late, "{symbol} closed beyond its opening");
                }
                _ => {}
            }
            if *state == SymbolState::Live && self.called_lately() {
                let limit = bounds.max + grace;
                assert!(quiet.is_some_and(|quiet| quiet <= limit), "{symbol} is dead and looks alive");
                assert_eq!(health.data, DataState::Live, "a live symbol of a venue that is not");
            }
        }
        if health.data == DataState::Live && self.called_lately() {
            let age = Duration::from_millis(health.last_tick_age_ms.unwrap());
            assert!(age <= bounds.start + grace, "live and quiet for {age:?}");
        }
    }

    /// What the wall clock said when a deadline was last met, as far as it was not set since.
    fn looked_ms(&self) -> i64 {
        self.bench.now().unix_ms_of(self.looked_at)
    }

    fn called_lately(&self) -> bool {
        self.bench.supervisor.called_at + LOOK_EVERY >= self.bench.elapsed
    }

    /// Ends all trouble: the venue takes every connection, and everything it has ticks.
    fn heal(&mut self) {
        self.bench.supervisor.bus(self.bench.now(), true);
        let lease = Lease {
            holder: "last".into(),
            generation: u64::MAX,
            ttl_ms: 900_000,
            symbols: vec![symbol("EURUSD"), symbol("GBPUSD")],
            repeat_last: false,
        };
        self.bench.supervisor.lease(self.bench.now(), lease);
        self.take();
        // The longest wait that trouble can have left behind, then half a minute.
        let until = self.bench.elapsed + s(660) + s(30);
        while self.bench.elapsed < until {
            self.pass(s(1));
            match self.line {
                Line::Dialling => {
                    self.line = Line::Up;
                    self.bench.supervisor.dialled(self.bench.now());
                    self.take();
                    self.receive(b"o");
                }
                Line::Up if self.bench.health().auth != AuthState::Ok => self.receive(b"o"),
                Line::Up => self.receive(b"tT"),
                Line::Down => {}
            }
            self.take();
            self.check();
        }
        let health = self.bench.health();
        assert_eq!((health.link, health.auth, health.data), (LinkState::Up, AuthState::Ok, DataState::Live));
        assert_eq!((health.cause, health.attempt), (None, 0));
        for symbol in self.bench.supervisor.wanted().iter() {
            assert_eq!(self.states[symbol], SymbolState::Live);
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.trace[self.trace.len().saturating_sub(60)..].join("\n"));
        }
    }
}

fn live(seed: u64, steps: usize, with_clock: bool) -> Life {
    println!("seed {seed}");
    let mut life = Life::new(seed, with_clock);
    life.pass(Duration::ZERO);
    for _ in 0..steps {
        life.step();
    }
    life
}

#[test]
fn no_sequence_of_calls_breaks_what_always_holds_and_all_of_them_heal() {
    let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in 0..120 {
        let mut life = live(seed, 400, true);
        life.heal();
        for (what, count) in std::mem::take(&mut life.counts) {
            *counts.entry(what).or_default() += count;
        }
    }
    // It met what it is about.
    for what in [
        "suspended",
        "silence",
        "stale",
        "closed",
        "refused",
        "live",
        "recovered",
        "session_lost",
        "requested",
    ] {
        assert!(counts.get(what).is_some_and(|count| *count >= 20), "{what} in {counts:?}");
    }
}

#[test]
fn setting_the_wall_clock_changes_nothing_where_no_hours_are_known() {
    for seed in 0..60 {
        let steady = live(seed, 300, false);
        println!("seed {seed} with a clock that is set");
        let mut stepped = Life::new(seed, false);
        let mut clock = fastrand::Rng::with_seed(seed);
        stepped.pass(Duration::ZERO);
        for _ in 0..300 {
            if clock.bool() {
                stepped.bench.wall_clock = Duration::from_millis(clock.u64(..4_000_000_000_000));
            }
            stepped.step();
        }
        let differs = stepped.trace.iter().zip(&steady.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(stepped.trace.len(), steady.trace.len(), "seed {seed}");
    }
}
