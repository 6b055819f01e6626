use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tickcast_model::{
    AuthState, Body, Catalogue, Cause, CauseKind, ChannelEvent, DataState, Lease, LinkState, Price,
    StateChange, Symbol, SymbolState, Tick, VenueId,
};
use tickcast_session::{
    Action, DemandLimits, DialPace, Ending, Note, Now, Retry, Session, SessionOutput, Standing, Supervisor,
    SupervisorSettings,
};

use crate::input::Input;

const SYMBOLS: [&str; 5] = ["EURUSD", "GBPUSD", "XAUUSD", "A/B", "US30.cash"];
const KINDS: [CauseKind; 6] = [
    CauseKind::Reset,
    CauseKind::Refused,
    CauseKind::AuthRefused,
    CauseKind::Protocol,
    CauseKind::SessionLost,
    CauseKind::RequestTimeout,
];

/// A session that does what the bytes say.
struct Scripted {
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    outputs: VecDeque<SessionOutput>,
    ending: Option<Ending>,
    deadline: Option<Duration>,
}

impl Session for Scripted {
    fn start(&mut self, _: Now) {}

    fn receive(&mut self, _: Now, _: &[u8]) -> Result<(), Ending> {
        self.script.lock().unwrap().ending.take().map_or(Ok(()), Err)
    }

    fn want(&mut self, _: Now, _: &Arc<BTreeSet<Symbol>>) {}

    fn ask_again(&mut self, _: Now, _: &BTreeSet<Symbol>) {}

    fn kept(&mut self, _: Now, _: Result<(), String>) {}

    fn timeout(&mut self, now: Now) -> Result<(), Ending> {
        let mut script = self.script.lock().unwrap();
        // A session whose deadline stays in the past would be a broken session.
        script.deadline = script.deadline.filter(|at| *at > now.elapsed);
        script.ending.take().map_or(Ok(()), Err)
    }

    fn deadline(&self) -> Option<Duration> {
        self.script.lock().unwrap().deadline
    }

    fn poll(&mut self) -> Option<SessionOutput> {
        self.script.lock().unwrap().outputs.pop_front()
    }

    fn standing(&self, _: Now, _: &Symbol) -> Standing {
        Standing { ok: true, since: None, detail: String::new(), next: String::new() }
    }
}

/// A supervisor over any session, called in any order, early, late, and for what did not happen: one socket at a time,
/// a next deadline while alive, nothing unwell without a cause, numbers without a hole, and an end when it is stopped.
pub(crate) fn supervisor(bytes: &[u8]) {
    let mut rig = Rig::new();
    let mut input = Input::new(bytes);
    rig.settle();
    while !input.is_empty() {
        rig.operate(&mut input);
        rig.settle();
        rig.assert_sound();
    }
    let now = rig.now();
    rig.supervisor.stop(now);
    rig.settle();
    assert_eq!(rig.socket, Socket::None, "stopped with a socket");
    assert!(rig.supervisor.deadline().is_none(), "stopped with a deadline");
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Socket {
    None,
    Dialling,
    Up,
}

struct Rig {
    now_ms: u64,
    clock_off_ms: i64,
    script: Arc<Mutex<Script>>,
    supervisor: Supervisor<Scripted>,
    socket: Socket,
    kept: Option<u64>,
    seqs: BTreeMap<Symbol, u64>,
    generation: u64,
}

impl Rig {
    fn new() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        let settings = SupervisorSettings {
            venue: VenueId::new("ctrader").unwrap(),
            epoch: 7,
            connect_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(60),
            stale_after: Duration::from_secs(30),
            symbol_stale_min: Duration::from_secs(5),
            symbol_stale_max: Duration::from_secs(300),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            auth_retry: Duration::from_secs(120),
            dials: DialPace::unlimited(),
            stable_after: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            demand: DemandLimits { holders_max: 3, symbols_max: 4, ..DemandLimits::default() },
            channels_max: 4,
            seed: 1,
        };
        let start = Now { elapsed: Duration::from_secs(1), unix_us: 1_795_132_800_000_000 };
        let new_session = move || Scripted { script: Arc::clone(&shared) };
        Self {
            now_ms: 1_000,
            clock_off_ms: 0,
            script,
            supervisor: Supervisor::new(settings, start, new_session),
            socket: Socket::None,
            kept: None,
            seqs: BTreeMap::new(),
            generation: 0,
        }
    }

    fn now(&self) -> Now {
        let unix_ms = 1_795_132_799_000 + i64::try_from(self.now_ms).unwrap() + self.clock_off_ms;
        Now { elapsed: Duration::from_millis(self.now_ms), unix_us: unix_ms * 1_000 }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let now = self.now();
        match input.below(17) {
            // On time: from deadline to deadline.
            0 | 1 => {
                let until = Duration::from_millis(self.now_ms) + input.spell();
                self.pass(until);
            }
            // Late: nobody called for a while.
            2 => {
                self.now_ms += u64::try_from(input.spell().as_millis()).unwrap();
                self.supervisor.timeout(self.now());
            }
            3 => self.clock_off_ms = i64::from(input.byte().cast_signed()) * 60_000,
            4 => {
                if self.socket == Socket::Dialling || input.below(4) == 0 {
                    self.socket = if self.socket == Socket::Dialling { Socket::Up } else { self.socket };
                    self.supervisor.dialled(now);
                }
            }
            5 => {
                if self.socket == Socket::Dialling {
                    self.socket = Socket::None;
                }
                if self.socket == Socket::None {
                    self.supervisor.dial_failed(now, Cause::new(CauseKind::Refused, ""));
                }
            }
            6 => {
                if self.socket == Socket::Up {
                    self.socket = Socket::None;
                    self.supervisor.closed(now, Cause::new(CauseKind::Reset, ""));
                }
            }
            7 => self.supervisor.received(now, &[1]),
            8 => {
                let retry = match input.below(3) {
                    0 => Retry::Backoff,
                    1 => Retry::Slowly,
                    _ => Retry::After(Duration::from_millis(input.number() & 0xffff_ffff_ffff)),
                };
                let cause = Cause::new(KINDS[input.below(KINDS.len())], "");
                self.script.lock().unwrap().ending = Some(Ending { cause, retry });
                self.supervisor.received(now, &[1]);
            }
            9 => {
                let output = self.output(input);
                self.script.lock().unwrap().outputs.push_back(output);
                if input.bit() {
                    self.supervisor.received(now, &[1]);
                }
            }
            10 => {
                let at = now.elapsed + input.spell();
                self.script.lock().unwrap().deadline = Some(at);
            }
            11 | 12 => {
                let mask = input.byte();
                let symbols = (0..SYMBOLS.len()).filter(|bit| mask >> bit & 1 == 1);
                self.generation += u64::from(input.bit());
                let lease = Lease {
                    holder: format!("holder-{}", input.below(5)),
                    generation: self.generation,
                    ttl_ms: input.number() & 0xffff,
                    symbols: symbols.filter_map(|index| Symbol::new(SYMBOLS[index])).collect(),
                    repeat_last: input.bit(),
                };
                self.supervisor.lease(now, lease);
            }
            13 => self.supervisor.bus(now, input.bit()),
            14 => self.supervisor.reconnect(now),
            15 => {
                let number = self.kept.take().unwrap_or_else(|| input.number());
                let result = if input.bit() { Ok(()) } else { Err("the disk is full".to_owned()) };
                self.supervisor.kept(now, number, result);
            }
            _ => {
                for name in SYMBOLS {
                    for hop in self.supervisor.explain(now, &Symbol::new(name).unwrap()) {
                        assert!(!hop.name.is_empty());
                    }
                }
            }
        }
    }

    fn output(&self, input: &mut Input<'_>) -> SessionOutput {
        let symbol = Symbol::new(SYMBOLS[input.below(SYMBOLS.len())]).unwrap();
        match input.below(9) {
            0 => SessionOutput::Send(Bytes::from_static(b"x")),
            1 | 2 => SessionOutput::Auth(AuthState::Ok, None),
            3 => {
                let state = [AuthState::Pending, AuthState::Refused, AuthState::None][input.below(3)];
                let cause = input.bit().then(|| Cause::new(KINDS[input.below(KINDS.len())], ""));
                SessionOutput::Auth(state, cause)
            }
            4 => SessionOutput::Catalogue(Catalogue { open: input.bit(), ..Catalogue::default() }),
            5 => {
                let states =
                    [SymbolState::Pending, SymbolState::Refused, SymbolState::Live, SymbolState::Stale];
                SessionOutput::State(symbol, StateChange::plain(states[input.below(states.len())]))
            }
            6 => SessionOutput::Note(Note::Odd("odd")),
            _ => {
                let price = Price::new(i64::from(input.byte()) + 1, 5);
                let tick = Tick {
                    bid: price,
                    ask: price,
                    last: None,
                    digits: 5,
                    venue_time_ms: None,
                    received_us: self.now().unix_us,
                    snapshot: input.bit(),
                    delayed_s: None,
                    details: None,
                };
                SessionOutput::Tick(symbol, tick)
            }
        }
    }

    fn pass(&mut self, until: Duration) {
        let mut calls = 0;
        while let Some(next) = self.supervisor.deadline().filter(|next| *next <= until) {
            let next_ms = u64::try_from(next.as_nanos().div_ceil(1_000_000)).unwrap();
            if next_ms > self.now_ms {
                self.now_ms = next_ms;
                calls = 0;
            }
            calls += 1;
            assert!(calls < 1_000, "time stands still at {next:?}");
            self.supervisor.timeout(self.now());
            self.settle();
        }
        self.now_ms = self.now_ms.max(u64::try_from(until.as_millis()).unwrap());
    }

    fn settle(&mut self) {
        while let Some(action) = self.supervisor.poll() {
            match action {
                Action::Dial => {
                    assert_eq!(self.socket, Socket::None, "dials with a socket");
                    self.socket = Socket::Dialling;
                }
                Action::Send(_) => assert_eq!(self.socket, Socket::Up, "sends without a connection"),
                Action::Close(_) => {
                    assert_ne!(self.socket, Socket::None, "closes without a connection");
                    self.socket = Socket::None;
                }
                // Said of a symbol there is no room for, which has no channel.
                Action::Event(ChannelEvent { symbol, position, body: Body::State(state) })
                    if state.code.as_deref() == Some("TOO_MANY_SYMBOLS") =>
                {
                    let seq = self.seqs.get(&symbol).copied().unwrap_or(0);
                    assert_eq!((position.epoch, position.seq), (7, seq), "a state makes no hole");
                }
                Action::Event(event) => {
                    let seq = self.seqs.entry(event.symbol.clone()).or_default();
                    match event.body {
                        Body::Tick(tick) if tick.snapshot && event.position.seq == *seq && *seq > 0 => {}
                        Body::Tick(_) => {
                            assert_eq!(event.position.seq, *seq + 1, "{} counts by one", event.symbol);
                            *seq += 1;
                        }
                        Body::State(_) => assert_eq!(event.position.seq, *seq, "a state makes no hole"),
                    }
                    assert_eq!(event.position.epoch, 7);
                }
                Action::Health(health) => {
                    let unwell = health.attempt > 0 && health.link != LinkState::Up
                        || health.data == DataState::Stale
                        || health.auth == AuthState::Refused;
                    assert!(!unwell || health.cause.is_some(), "unwell without a cause: {health:?}");
                }
                Action::Keep(number, _) => self.kept = Some(number),
                Action::Catalogue(_) | Action::Note(_) | Action::Demand(_) | Action::Recovered(_) => {}
            }
        }
    }

    fn assert_sound(&self) {
        assert!(self.supervisor.deadline().is_some(), "alive and without a deadline");
        let health = self.supervisor.health(self.now());
        assert_eq!(
            health.link == LinkState::Up,
            self.socket == Socket::Up,
            "{health:?} with {:?}",
            self.socket
        );
        assert!(self.supervisor.wanted().len() <= 4, "more is wanted than may be");
        assert!(self.seqs.len() <= 4, "more channels than may be");
    }
}
