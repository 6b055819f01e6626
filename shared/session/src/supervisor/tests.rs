//! The supervisor with a session that does what the test writes into its bytes; real protocols and random faults meet it
//! in the whole-system tests.

use tickcast_model::{Body, Instrument};

use super::*;

/// Reads one letter a command: `o` login ok, `t` tick of EURUSD, `s` snapshot of EURUSD, `r` refused credentials,
/// `e` another end, `c` a catalogue.
#[derive(Default)]
struct Scripted {
    outputs: VecDeque<SessionOutput>,
    refreshes: u32,
}

impl Session for Scripted {
    fn start(&mut self, _: Now) {
        self.outputs.push_back(SessionOutput::Auth(AuthState::Pending));
        self.outputs.push_back(SessionOutput::Send(Bytes::from_static(b"hello")));
    }

    fn receive(&mut self, now: Now, bytes: &[u8]) -> Result<(), Cause> {
        for command in bytes {
            match command {
                b'o' => self.outputs.push_back(SessionOutput::Auth(AuthState::Ok)),
                b't' | b's' => self.outputs.push_back(SessionOutput::Tick(
                    symbol("EURUSD"),
                    Tick {
                        bid: None,
                        ask: None,
                        last: None,
                        digits: 5,
                        venue_time_ms: None,
                        received_us: now.unix_us,
                        snapshot: *command == b's',
                    },
                )),
                b'c' => {
                    let instrument = Instrument {
                        symbol: symbol("EURUSD"),
                        description: String::new(),
                        digits: None,
                        pip_position: None,
                    };
                    let instruments = vec![instrument];
                    let catalogue = Catalogue { version: 0, open: false, instruments };
                    self.outputs.push_back(SessionOutput::Catalogue(catalogue));
                }
                b'r' => return Err(Cause::new(CauseKind::AuthRefused, "no")),
                _ => return Err(Cause::new(CauseKind::SessionLost, "end")),
            }
        }
        Ok(())
    }

    fn want(&mut self, _: Now, _: &Arc<BTreeSet<Symbol>>) {}

    fn refresh(&mut self, _: Now) {
        self.refreshes += 1;
    }

    fn timeout(&mut self, _: Now) -> Result<(), Cause> {
        Ok(())
    }

    fn deadline(&self) -> Option<Duration> {
        None
    }

    fn poll(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }
}

fn symbol(name: &str) -> Symbol {
    Symbol::new(name).unwrap()
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A supervisor with a clock that the test moves.
struct Bench {
    supervisor: Supervisor<Scripted>,
    elapsed: Duration,
}

impl Bench {
    fn new() -> Self {
        let settings = SupervisorSettings {
            venue: VenueId::new("test").unwrap(),
            epoch: 3,
            connect_timeout: s(15),
            silence_timeout: s(60),
            stale_after: s(30),
            backoff_min: s(1),
            backoff_max: s(8),
            auth_retry: s(180),
            stable_after: s(30),
            linger: s(5),
            demand: DemandLimits::default(),
            channels_max: 10,
            seed: 5,
        };
        let now = Now { elapsed: s(100), unix_us: 0 };
        Self { supervisor: Supervisor::new(settings, now, Scripted::default), elapsed: now.elapsed }
    }

    /// Dialled and logged in, with EURUSD wanted.
    fn ready() -> Self {
        let mut bench = Self::new();
        bench.want(&["EURUSD"]);
        bench.connect();
        bench.receive(b"o");
        bench
    }

    fn now(&self) -> Now {
        Now { elapsed: self.elapsed, unix_us: i64::try_from(self.elapsed.as_micros()).unwrap() }
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.supervisor.poll()).collect()
    }

    /// Moves the clock and runs every deadline on the way, up to the next dialling.
    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let until = self.elapsed + time;
        let mut actions = self.actions();
        while let Some(deadline) = self.supervisor.deadline().filter(|deadline| *deadline <= until) {
            self.elapsed = self.elapsed.max(deadline);
            self.supervisor.timeout(self.now());
            actions.extend(self.actions());
            if actions.contains(&Action::Dial) {
                return actions;
            }
        }
        self.elapsed = until;
        actions
    }

    fn connect(&mut self) {
        self.pass(Duration::ZERO);
        self.supervisor.dialled(self.now());
        self.actions();
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<Action> {
        self.supervisor.received(self.now(), bytes);
        self.actions()
    }

    fn want(&mut self, names: &[&str]) -> Vec<Action> {
        let lease = Lease {
            holder: "holder".into(),
            generation: u64::try_from(self.elapsed.as_millis()).unwrap(),
            ttl_ms: 300_000,
            symbols: names.iter().map(|name| symbol(name)).collect(),
            repeat_last: false,
        };
        self.supervisor.lease(self.now(), lease);
        self.actions()
    }

    fn health(&self) -> VenueHealth {
        self.supervisor.health(self.now())
    }

    fn axes(&self) -> (LinkState, AuthState, DataState) {
        let health = self.health();
        (health.link, health.auth, health.data)
    }

    fn cause(&self) -> Option<CauseKind> {
        self.health().cause.map(|cause| cause.kind)
    }
}

fn closes(actions: &[Action]) -> Vec<CauseKind> {
    let close = |action: &Action| match action {
        Action::Close(cause) => Some(cause.kind),
        _ => None,
    };
    actions.iter().filter_map(close).collect()
}

fn states(actions: &[Action]) -> Vec<SymbolState> {
    let state = |action: &Action| match action {
        Action::Event(ChannelEvent { body: Body::State(state), .. }) => Some(state.state),
        _ => None,
    };
    actions.iter().filter_map(state).collect()
}

#[test]
fn it_dials_at_once_and_says_each_step() {
    let mut bench = Bench::new();
    assert!(bench.pass(Duration::ZERO).contains(&Action::Dial));
    assert_eq!(bench.axes(), (LinkState::Connecting, AuthState::None, DataState::Idle));
    bench.supervisor.dialled(bench.now());
    assert!(bench.actions().contains(&Action::Send(Bytes::from_static(b"hello"))));
    assert_eq!(bench.axes(), (LinkState::Up, AuthState::Pending, DataState::Idle));
    bench.receive(b"o");
    assert_eq!(bench.axes(), (LinkState::Up, AuthState::Ok, DataState::Idle));
    assert_eq!(bench.health().attempt, 0);
}

#[test]
fn dialling_and_login_share_one_time_limit() {
    let mut bench = Bench::new();
    bench.pass(Duration::ZERO);
    assert_eq!(closes(&bench.pass(s(15))), [CauseKind::ConnectTimeout], "no connection");

    let mut bench = Bench::new();
    bench.pass(Duration::ZERO);
    bench.elapsed += s(10);
    bench.supervisor.dialled(bench.now());
    assert_eq!(closes(&bench.pass(s(5))), [CauseKind::ConnectTimeout], "no login");
    assert_eq!(bench.cause(), Some(CauseKind::ConnectTimeout));
    assert_eq!(bench.health().attempt, 1);
}

#[test]
fn silence_ends_a_link_and_any_byte_is_life() {
    let mut bench = Bench::ready();
    assert!(closes(&bench.pass(s(59))).is_empty());
    bench.receive(b"");
    assert!(closes(&bench.pass(s(59))).is_empty());
    assert_eq!(closes(&bench.pass(s(1))), [CauseKind::Silence]);
}

#[test]
fn failures_are_forgotten_only_after_a_stable_session() {
    let mut bench = Bench::ready();
    bench.receive(b"e");
    assert_eq!(bench.health().attempt, 1);
    assert!(bench.pass(s(8)).contains(&Action::Dial));
    bench.supervisor.dialled(bench.now());
    bench.receive(b"o");
    assert_eq!((bench.health().attempt, bench.cause()), (1, None), "ready, and not yet stable");
    bench.receive(b"e");
    assert_eq!(bench.health().attempt, 2);
    bench.pass(s(8));
    bench.supervisor.dialled(bench.now());
    bench.receive(b"o");
    bench.pass(s(30));
    assert_eq!(bench.health().attempt, 0);
}

#[test]
fn refused_credentials_are_said_until_a_login_works_and_tried_rarely() {
    let mut bench = Bench::ready();
    bench.receive(b"r");
    assert_eq!(bench.axes().1, AuthState::Refused);
    assert!(bench.health().retry_in_ms.unwrap() >= 90_000);
    assert!(bench.pass(s(180)).contains(&Action::Dial));
    bench.supervisor.dialled(bench.now());
    assert_eq!(bench.axes(), (LinkState::Up, AuthState::Refused, DataState::Stale), "a try is no success");
    bench.receive(b"o");
    assert_eq!(bench.axes().1, AuthState::Ok);
}

#[test]
fn stale_data_is_told_and_asked_for_once_more_and_the_link_stays() {
    let mut bench = Bench::ready();
    assert_eq!(states(&bench.receive(b"t")), [SymbolState::Live]);
    let actions = bench.pass(s(30));
    assert_eq!((states(&actions), closes(&actions)), (vec![SymbolState::Stale], vec![]));
    assert_eq!((bench.axes().2, bench.cause()), (DataState::Stale, Some(CauseKind::Stale)));
    assert_eq!(bench.supervisor.session().unwrap().refreshes, 1);
    bench.receive(b"s");
    assert_eq!(bench.axes().2, DataState::Stale, "a snapshot is no new quote");
    bench.pass(s(29));
    assert_eq!(bench.supervisor.session().unwrap().refreshes, 1, "once a spell");
    bench.receive(b"t");
    assert_eq!((bench.axes(), bench.cause()), ((LinkState::Up, AuthState::Ok, DataState::Live), None));
    bench.pass(s(30));
    assert_eq!(bench.supervisor.session().unwrap().refreshes, 2, "a new spell");
}

#[test]
fn a_lost_link_makes_symbols_pending_and_the_first_tick_makes_them_live() {
    let mut bench = Bench::ready();
    bench.receive(b"t");
    assert_eq!(states(&bench.receive(b"e")), [SymbolState::Pending]);
    bench.pass(s(8));
    bench.supervisor.dialled(bench.now());
    assert_eq!(states(&bench.receive(b"o")), [SymbolState::Pending], "now only waiting for a price");
    assert_eq!(states(&bench.receive(b"t")), [SymbolState::Live]);
}

#[test]
fn ticks_before_the_login_and_of_unwanted_symbols_are_not_published() {
    let mut bench = Bench::new();
    bench.want(&["EURUSD"]);
    bench.connect();
    assert_eq!(bench.receive(b"t"), [Action::Note(Note::Odd("tick_before_ready"))]);
    let mut bench = Bench::ready();
    bench.want(&["GBPUSD"]);
    bench.pass(s(5));
    assert_eq!(bench.receive(b"t"), [Action::Note(Note::Odd("tick_unwanted"))]);
}

#[test]
fn a_second_holder_is_told_the_last_tick_and_state() {
    let mut bench = Bench::ready();
    bench.receive(b"t");
    let lease = Lease {
        holder: "another".into(),
        generation: 1,
        ttl_ms: 15_000,
        symbols: vec![symbol("EURUSD")],
        repeat_last: false,
    };
    bench.supervisor.lease(bench.now(), lease);
    let actions = bench.actions();
    assert!(
        matches!(&actions[..], [
        Action::Event(ChannelEvent { body: Body::Tick(tick), position, .. }),
        Action::Event(ChannelEvent { body: Body::State(_), .. }),
    ] if tick.snapshot && position.seq == 1),
        "{actions:?}"
    );
}

#[test]
fn a_requested_reconnect_drops_the_link_and_dials_at_once() {
    let mut bench = Bench::ready();
    bench.supervisor.reconnect(bench.now());
    assert_eq!(closes(&bench.actions()), [CauseKind::Requested]);
    assert!(bench.pass(Duration::ZERO).contains(&Action::Dial));
}

#[test]
fn the_same_catalogue_keeps_its_version_over_a_reconnect() {
    let mut bench = Bench::ready();
    bench.receive(b"c");
    assert_eq!(bench.health().catalogue_version, 1);
    bench.receive(b"e");
    bench.pass(s(8));
    bench.supervisor.dialled(bench.now());
    bench.receive(b"oc");
    assert_eq!(bench.health().catalogue_version, 1);
}

#[test]
fn a_stop_closes_and_plans_nothing_more() {
    let mut bench = Bench::ready();
    bench.supervisor.stop(bench.now());
    assert_eq!(closes(&bench.actions()), [CauseKind::Stopping]);
    assert_eq!((bench.supervisor.deadline(), bench.health().attempt), (None, 0));
    bench.supervisor.timeout(bench.now());
    bench.supervisor.reconnect(bench.now());
    assert!(bench.actions().is_empty());
}

#[test]
fn health_is_told_when_something_changed_and_not_when_time_passed() {
    let mut bench = Bench::ready();
    bench.receive(b"t");
    let told =
        |actions: &[Action]| actions.iter().filter(|action| matches!(action, Action::Health(_))).count();
    assert_eq!(told(&bench.receive(b"tttt")), 0);
    assert_eq!(told(&bench.receive(b"e")), 1);
}
