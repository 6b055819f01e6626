//! The supervisor with a session that does what the test writes into its bytes; real protocols and random faults meet it
//! in the whole-system tests.

use tickcast_model::{Body, DataState, Instrument, StateChange, SymbolState, Tick};

use super::*;
use crate::{MarketHours, Standing};

mod dialling;
mod life;
mod limits;
mod market;

/// Reads one letter a command, a capital one for GBPUSD instead of EURUSD: `h` its market's hours, `x` it is refused,
/// `o` login ok, `t` tick of EURUSD, `s` snapshot of EURUSD, `r` refused credentials,
/// `e` another end, `c` a catalogue, `l` a login taken away, `k` something to keep, `m` maintenance for ten minutes.
#[derive(Default)]
struct Scripted {
    outputs: VecDeque<SessionOutput>,
    asked_again: u32,
    silent: Vec<BTreeSet<Symbol>>,
    kept: Vec<Result<(), String>>,
}

impl Session for Scripted {
    fn start(&mut self, _: Now) {
        self.outputs.push_back(SessionOutput::Auth(AuthState::Pending, None));
        self.outputs.push_back(SessionOutput::Send(Bytes::from_static(b"hello")));
    }

    fn receive(&mut self, now: Now, bytes: &[u8]) -> Result<(), Ending> {
        for command in bytes {
            match command {
                b'o' => self.outputs.push_back(SessionOutput::Auth(AuthState::Ok, None)),
                b'l' => {
                    let cause = Cause::new(CauseKind::SessionLost, "logged out");
                    self.outputs.push_back(SessionOutput::Auth(AuthState::Pending, Some(cause)));
                }
                b'k' => self.outputs.push_back(SessionOutput::Keep(Secret::new("pair".into()))),
                b'm' => {
                    let cause = Cause::new(CauseKind::Maintenance, "until noon");
                    return Err(Ending { cause, retry: Retry::After(s(600)) });
                }
                b'h' | b'H' => {
                    let hours = MarketHours::new("UTC", &[WEEK], &[]).unwrap();
                    self.outputs.push_back(SessionOutput::Hours(named(*command), Arc::new(hours)));
                }
                b'd' | b'D' => {
                    let closed = Arc::new(MarketHours::until_told(false));
                    self.outputs.push_back(SessionOutput::Hours(named(*command), closed));
                }
                b'x' | b'X' => {
                    let refused = StateChange::plain(SymbolState::Refused);
                    self.outputs.push_back(SessionOutput::State(named(*command), refused));
                }
                b't' | b's' | b'T' | b'S' => {
                    let snapshot = command.eq_ignore_ascii_case(&b's');
                    self.outputs.push_back(SessionOutput::Tick(named(*command), quote(now, snapshot)));
                }
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
                b'r' => return Err(Cause::new(CauseKind::AuthRefused, "no").into()),
                _ => return Err(Cause::new(CauseKind::SessionLost, "end").into()),
            }
        }
        Ok(())
    }

    fn want(&mut self, _: Now, _: &Arc<BTreeSet<Symbol>>) {}

    fn ask_again(&mut self, _: Now, silent: &BTreeSet<Symbol>) {
        assert!(!silent.is_empty());
        self.silent.push(silent.clone());
        self.asked_again += 1;
    }

    fn kept(&mut self, _: Now, result: Result<(), String>) {
        self.kept.push(result);
    }

    fn standing(&self, _: Now, symbol: &Symbol) -> Standing {
        Standing { ok: true, since: None, detail: format!("{symbol} held"), next: String::new() }
    }

    fn timeout(&mut self, _: Now) -> Result<(), Ending> {
        Ok(())
    }

    fn deadline(&self) -> Option<Duration> {
        None
    }

    fn poll(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }
}

/// Sunday 22:00 to Friday 22:00 in Greenwich.
const WEEK: (u32, u32) = (79_200, 511_200);

fn named(command: u8) -> Symbol {
    symbol(if command.is_ascii_uppercase() { "GBPUSD" } else { "EURUSD" })
}

fn quote(now: Now, snapshot: bool) -> Tick {
    Tick {
        bid: None,
        ask: None,
        last: None,
        digits: 5,
        venue_time_ms: None,
        received_us: now.unix_us,
        snapshot,
        delayed_s: None,
        details: None,
    }
}

fn symbol(name: &str) -> Symbol {
    Symbol::new(name).unwrap()
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(channels_max: usize) -> SupervisorSettings {
    SupervisorSettings {
        venue: VenueId::new("test").unwrap(),
        epoch: 3,
        connect_timeout: s(15),
        silence_timeout: s(60),
        stale_after: s(30),
        symbol_stale_min: s(5),
        symbol_stale_max: s(300),
        backoff_min: s(1),
        backoff_max: s(8),
        auth_retry: s(180),
        dials: DialPace::unlimited(),
        stable_after: s(30),
        linger: s(5),
        demand: DemandLimits { ttl_max: s(1_000_000), ..DemandLimits::default() },
        channels_max,
        seed: 5,
    }
}

/// A supervisor with a clock that the test moves.
struct Bench {
    supervisor: Supervisor<Scripted>,
    elapsed: Duration,
    /// Wall clock less monotonic clock.
    wall_clock: Duration,
}

impl Bench {
    fn new() -> Self {
        Self::at(Duration::ZERO)
    }

    /// One whose wall clock is ahead by so much.
    fn at(wall_clock: Duration) -> Self {
        Self::made(wall_clock, 10)
    }

    fn with_channels(channels_max: usize) -> Self {
        Self::made(Duration::ZERO, channels_max)
    }

    fn made(wall_clock: Duration, channels_max: usize) -> Self {
        Self::since(s(100), wall_clock, settings(channels_max))
    }

    /// One that begins at this time.
    fn since(elapsed: Duration, wall_clock: Duration, settings: SupervisorSettings) -> Self {
        let now = now(elapsed, wall_clock);
        Self { supervisor: Supervisor::new(settings, now, Scripted::default), elapsed, wall_clock }
    }

    /// Dialled and logged in, with EURUSD wanted.
    fn ready() -> Self {
        let mut bench = Self::new();
        bench.want(&["EURUSD"]);
        bench.connect();
        bench.receive(b"o");
        bench
    }

    /// Dialled and logged in at this time, with EURUSD and GBPUSD wanted.
    fn ready_at(time: &str) -> Self {
        let unix_ms = unix_ms(time);
        let mut bench = Self::at(Duration::from_millis(u64::try_from(unix_ms).unwrap()) - s(100));
        bench.want(&["EURUSD", "GBPUSD"]);
        bench.connect();
        bench.receive(b"o");
        bench
    }

    /// Passes time in steps, in each of which these bytes arrive.
    fn pass_with(&mut self, time: Duration, step: Duration, bytes: &[u8]) -> Vec<Action> {
        let until = self.elapsed + time;
        let mut actions = Vec::new();
        while self.elapsed < until {
            actions.extend(self.pass(step.min(until - self.elapsed)));
            actions.extend(self.receive(bytes));
        }
        actions
    }

    fn now(&self) -> Now {
        now(self.elapsed, self.wall_clock)
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
            ttl_ms: 1_000_000_000,
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

fn now(elapsed: Duration, wall_clock: Duration) -> Now {
    Now { elapsed, unix_us: i64::try_from((elapsed + wall_clock).as_micros()).unwrap() }
}

fn unix_ms(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().unwrap().as_millisecond()
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
    bench.pass(s(10));
    bench.supervisor.dialled(bench.now());
    assert_eq!(closes(&bench.pass(s(5))), [CauseKind::ConnectTimeout], "no login");
    assert_eq!(bench.cause(), Some(CauseKind::ConnectTimeout));
    assert_eq!(bench.health().attempt, 1);
}

/// cTrader facts 4, rows 2 and 21.
#[test]
fn silence_ends_a_link_and_any_byte_is_life() {
    let mut bench = Bench::ready();
    assert!(closes(&bench.pass(s(59))).is_empty());
    bench.receive(b"");
    assert!(closes(&bench.pass(s(59))).is_empty());
    assert_eq!(closes(&bench.pass(s(1))), [CauseKind::Silence]);
}

/// cTrader facts 4, row 19.
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
fn a_login_taken_away_on_a_living_link_is_said_and_heals_there() {
    let mut bench = Bench::ready();
    bench.receive(b"t");
    bench.pass(s(1));
    let actions = bench.receive(b"l");
    assert_eq!((closes(&actions), states(&actions)), (vec![], vec![SymbolState::Pending]));
    assert_eq!(bench.axes(), (LinkState::Up, AuthState::Pending, DataState::Live));
    assert_eq!(bench.cause(), Some(CauseKind::SessionLost));
    bench.pass(s(20));
    let actions = bench.receive(b"o");
    assert!(actions.contains(&Action::Recovered(s(20))), "{actions:?}");
    assert_eq!((bench.axes().1, bench.cause()), (AuthState::Ok, None));
    assert_eq!(states(&bench.receive(b"t")), [SymbolState::Live]);
}

#[test]
fn a_login_that_does_not_come_back_is_looked_for_on_a_new_connection() {
    let mut bench = Bench::ready();
    bench.receive(b"l");
    for _ in 0..9 {
        bench.pass(s(30));
        assert!(closes(&bench.receive(b"")).is_empty(), "the link lives");
    }
    assert_eq!(closes(&bench.pass(s(30))), [CauseKind::SessionLost]);
    assert!(bench.health().retry_in_ms.is_some());
}

#[test]
fn the_venue_says_when_to_come_back_and_is_believed_with_jitter() {
    let mut bench = Bench::ready();
    bench.receive(b"m");
    let retry_in_ms = bench.health().retry_in_ms.unwrap();
    assert!((600_000..=660_000).contains(&retry_in_ms), "{retry_in_ms}");
    assert_eq!(bench.cause(), Some(CauseKind::Maintenance));
    assert!(bench.pass(s(660)).contains(&Action::Dial));
}

#[test]
fn what_is_kept_is_answered_to_the_session_that_asked_and_to_no_other() {
    let mut bench = Bench::ready();
    assert_eq!(bench.receive(b"k"), [Action::Keep(1, Secret::new("pair".into()))]);
    bench.supervisor.kept(bench.now(), 1, Ok(()));
    bench.supervisor.kept(bench.now(), 1, Ok(()));
    assert_eq!(bench.supervisor.session().unwrap().kept, [Ok(())]);
    bench.receive(b"ke");
    bench.pass(s(8));
    bench.supervisor.dialled(bench.now());
    bench.supervisor.kept(bench.now(), 2, Err("disk full".into()));
    assert!(bench.supervisor.session().unwrap().kept.is_empty());
}

#[test]
fn stale_data_is_told_and_asked_for_once_more_and_the_link_stays() {
    let mut bench = Bench::ready();
    assert_eq!(states(&bench.receive(b"t")), [SymbolState::Live]);
    let actions = bench.pass(s(30));
    assert_eq!((states(&actions), closes(&actions)), (vec![SymbolState::Stale], vec![]));
    assert_eq!((bench.axes().2, bench.cause()), (DataState::Stale, Some(CauseKind::Stale)));
    assert_eq!(bench.supervisor.session().unwrap().asked_again, 1);
    bench.receive(b"s");
    assert_eq!(bench.axes().2, DataState::Stale, "a snapshot is no new quote");
    bench.pass(s(29));
    assert_eq!(bench.supervisor.session().unwrap().asked_again, 1, "once a spell");
    bench.receive(b"t");
    assert_eq!((bench.axes(), bench.cause()), ((LinkState::Up, AuthState::Ok, DataState::Live), None));
    bench.pass(s(30));
    assert_eq!(bench.supervisor.session().unwrap().asked_again, 2, "a new spell");
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
fn after_a_pause_the_old_socket_is_closed_unread_and_the_next_dialled_at_once() {
    let mut bench = Bench::ready();
    bench.receive(b"t");
    bench.elapsed += s(60);
    let actions = bench.receive(b"tttt");
    assert_eq!(closes(&actions), [CauseKind::Suspended]);
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Event(event) if matches!(event.body, Body::Tick(_))))
    );
    let health = bench.health();
    assert_eq!((health.retry_in_ms, health.attempt), (Some(0), 0), "nothing failed");
    assert_eq!(bench.cause(), Some(CauseKind::Suspended));
    assert!(bench.pass(Duration::ZERO).contains(&Action::Dial));
    bench.supervisor.dialled(bench.now());
    bench.receive(b"o");
    assert_eq!(states(&bench.receive(b"t")), [SymbolState::Live], "and what was wanted still is");
}

#[test]
fn a_pause_is_seen_whatever_is_called_first_and_closes_only_what_there_is() {
    let close = [CauseKind::Suspended];
    type Call = fn(&mut Bench);
    let calls: [(Call, &[CauseKind]); 6] = [
        (|bench| bench.supervisor.timeout(bench.now()), &close),
        (|bench| bench.supervisor.bus(bench.now(), true), &close),
        (|bench| bench.supervisor.kept(bench.now(), 1, Ok(())), &close),
        (|bench| drop(bench.want(&["EURUSD"])), &close),
        (|bench| bench.supervisor.closed(bench.now(), Cause::new(CauseKind::Reset, "")), &[]),
        (|bench| bench.supervisor.dial_failed(bench.now(), Cause::new(CauseKind::Dns, "")), &[]),
    ];
    for (index, (call, closed)) in calls.into_iter().enumerate() {
        let mut bench = Bench::ready();
        if index == 5 {
            bench.receive(b"e");
            bench.pass(s(8));
        }
        bench.elapsed += s(7);
        call(&mut bench);
        assert_eq!(bench.cause(), Some(CauseKind::Suspended), "call {index}");
        let actions = bench.pass(Duration::ZERO);
        if index != 3 {
            assert_eq!(closes(&actions), closed, "call {index}");
        }
        assert!(actions.contains(&Action::Dial), "call {index}");
    }
}

#[test]
fn no_lease_ends_in_a_pause_for_nobody_could_be_heard() {
    let mut bench = Bench::ready();
    let lease = Lease {
        holder: "short".into(),
        generation: 1,
        ttl_ms: 15_000,
        symbols: vec![symbol("GBPUSD")],
        repeat_last: false,
    };
    bench.supervisor.lease(bench.now(), lease);
    bench.elapsed += s(60);
    bench.supervisor.timeout(bench.now());
    bench.supervisor.dialled(bench.now());
    // Longer than a symbol lingers whose lease has ended.
    bench.pass_with(s(10), s(1), b"");
    assert!(bench.supervisor.wanted().contains("GBPUSD"));
    bench.pass_with(s(11), s(1), b"");
    assert!(!bench.supervisor.wanted().contains("GBPUSD"), "it runs anew and ends");
}

#[test]
fn a_short_delay_is_no_pause_and_a_quiet_link_is_none_either() {
    let mut bench = Bench::ready();
    bench.elapsed += s(5);
    assert_eq!(closes(&bench.receive(b"t")), []);
    assert_eq!(closes(&bench.pass(s(59))), []);
}

#[test]
fn a_pause_while_dialling_closes_the_connection_that_came_of_it() {
    let mut bench = Bench::new();
    assert!(bench.pass(Duration::ZERO).contains(&Action::Dial));
    bench.elapsed += s(10);
    bench.supervisor.dialled(bench.now());
    let actions = bench.pass(Duration::ZERO);
    assert_eq!(closes(&actions), [CauseKind::Suspended]);
    assert!(actions.contains(&Action::Dial));
}

#[test]
fn a_venue_that_ends_each_login_soon_is_dialled_in_minutes_until_one_is_stable() {
    let mut bench = Bench::ready();
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.receive(b"e");
        waits.push(bench.health().retry_in_ms.unwrap());
        bench.pass(s(180));
        bench.supervisor.dialled(bench.now());
        bench.receive(b"o");
    }
    assert!(waits[..2].iter().all(|wait| *wait <= 8_000), "{waits:?}");
    assert!(waits[2..].iter().all(|wait| *wait >= 90_000), "{waits:?}");
    bench.pass(s(30));
    bench.receive(b"e");
    assert!(bench.health().retry_in_ms.unwrap() <= 1_000, "a stable session makes up for it");
}

#[test]
fn the_first_hop_that_is_not_right_says_why_a_symbol_is_quiet() {
    let first_wrong = |bench: &Bench| {
        let hops = bench.supervisor.explain(bench.now(), &symbol("EURUSD"));
        assert_eq!(hops.len(), 6);
        hops.into_iter().find(|hop| !hop.ok)
    };
    let mut bench = Bench::new();
    assert_eq!(first_wrong(&bench).unwrap().name, "link");
    bench.connect();
    assert_eq!(first_wrong(&bench).unwrap().name, "login");
    bench.receive(b"o");
    assert_eq!(first_wrong(&bench).unwrap().name, "demand");
    bench.want(&["EURUSD"]);
    assert_eq!(first_wrong(&bench).unwrap().name, "ticks");
    bench.receive(b"t");
    assert_eq!(first_wrong(&bench), None);
    bench.receive(b"m");
    let hop = first_wrong(&bench).unwrap();
    assert!(hop.detail.contains("until noon") && hop.next.contains("attempt 2 in"), "{hop:?}");
    assert_eq!(hop.since_ms, Some(bench.now().unix_ms()));
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
