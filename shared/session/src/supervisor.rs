mod explain;
mod health;
mod symbols;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tickcast_model::{
    AuthState, Catalogue, Cause, CauseKind, ChannelEvent, Lease, LinkState, Symbol, VenueHealth, VenueId,
};

use crate::agenda::Agenda;
use crate::pulse::PulseBounds;
use crate::{
    Backoff, DemandLimits, DemandNote, DemandTable, DialPace, Ending, Freshness, Ledger, Note, Now, Retry,
    Secret, Session, SessionOutput,
};
use health::{Axes, Told};
use symbols::{Expected, WallClock};

/// How a venue is supervised. All times are as in the settings of the contract, section 1.
#[derive(Clone, Debug)]
pub struct SupervisorSettings {
    /// Whose connection this is.
    pub venue: VenueId,
    /// Incarnation of this ingest; a later one is greater.
    pub epoch: u64,
    /// Dial, TLS and login together.
    pub connect_timeout: Duration,
    /// Nothing at all from the venue for so long: the link is dead.
    pub silence_timeout: Duration,
    /// Data counts as stale after so long without any; also a symbol's threshold until its rhythm is known.
    pub stale_after: Duration,
    /// The quickest symbol's silence is an alarm after so long; `stale_after` where that is shorter.
    pub symbol_stale_min: Duration,
    /// The slowest symbol's silence is an alarm after so long; `stale_after` where that is longer.
    pub symbol_stale_max: Duration,
    /// First ceiling of the backoff.
    pub backoff_min: Duration,
    /// Last ceiling of the backoff.
    pub backoff_max: Duration,
    /// Wait after refused credentials: a person is likely needed, and the venue must not be pestered.
    pub auth_retry: Duration,
    /// How often the venue may be dialled; the backoff alone may be quicker.
    pub dials: DialPace,
    /// A session ready for so long is stable: earlier failures are forgotten.
    pub stable_after: Duration,
    /// A symbol nobody wants any more is kept so long.
    pub linger: Duration,
    /// How much demand is accepted.
    pub demand: DemandLimits,
    /// Channels numbered at most.
    pub channels_max: usize,
    /// Seed of the jitter.
    pub seed: u64,
}

/// What the shell has to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Open a connection; there is none now. Answer with [`Supervisor::dialled`] or [`Supervisor::dial_failed`].
    Dial,
    /// Write these bytes to the connection.
    Send(Bytes),
    /// End the connection, or the dialling of one. It is not reported back.
    Close(Cause),
    /// Publish this event of a channel.
    Event(ChannelEvent),
    /// The venue's health changed: publish it.
    Health(VenueHealth),
    /// The catalogue changed.
    Catalogue(Arc<Catalogue>),
    /// Something to count.
    Note(Note),
    /// A limit of the demand that a person should hear of.
    Demand(DemandNote),
    /// Store this durably and answer with [`Supervisor::kept`] and this number. A later one overtakes those not yet begun.
    Keep(u64, Secret),
    /// A connection was ready so long after the last one was lost, or after the start.
    Recovered(Duration),
}

/// Keeps one connection to one venue alive, for ever, and says how it is on three axes.
///
/// It never has two connections, always knows when it wants to be called next, and no end of a connection is without
/// a [`Cause`].
pub struct Supervisor<S> {
    settings: SupervisorSettings,
    new_session: Box<dyn FnMut() -> S + Send>,
    phase: Phase<S>,
    backoff: Backoff,
    rng: fastrand::Rng,
    demand: DemandTable,
    /// The wanted set everything below was last told of.
    applied: Arc<BTreeSet<Symbol>>,
    freshness: Freshness,
    ledger: Ledger,
    /// When which symbol's silence and schedule are looked at.
    agenda: Agenda,
    bounds: PulseBounds,
    /// Number of the present spell of undisturbed data; gaps over its ends say nothing of a symbol's rhythm.
    spell: u32,
    /// Symbols to ask the venue for once more.
    silent: BTreeSet<Symbol>,
    expected: Expected,
    /// True where what is expected has to be counted anew.
    recount: bool,
    wall_clock: WallClock,
    axes: Axes,
    /// Why the link is not ready, or last was not.
    link_cause: Option<Cause>,
    catalogue: Option<Arc<Catalogue>>,
    /// Since when the venue was not ready.
    unready_since: Duration,
    /// When it was last called, to see that it stood still.
    called_at: Duration,
    /// Sessions in a row that the venue ended before they were stable.
    dropped: u32,
    /// Number of the last thing given to the shell to keep.
    kept: u64,
    told: Option<Told>,
    actions: VecDeque<Action>,
}

enum Phase<S> {
    Waiting { until: Duration },
    Dialling { give_up_at: Duration },
    Up(Up<S>),
    Stopped,
}

struct Up<S> {
    session: S,
    last_heard: Duration,
    progress: Progress,
    /// True until data went stale since the login: whatever stale spell there is began before it.
    proving: bool,
    /// What this session waits to have stored.
    keeping: Option<u64>,
}

#[derive(Clone, Copy)]
enum Progress {
    LoggingIn {
        until: Duration,
    },
    /// Was ready, and the venue took the login away on a living link; the session logs in again at its own pace.
    LoggedOut {
        until: Duration,
    },
    Ready {
        since: Duration,
        stable: bool,
    },
}

/// A login taken away on a living link that does not come back within this is looked for on a new connection.
const RELOGIN_WITHIN: Duration = Duration::from_secs(300);
/// It wants to be called at least this often, so that it can see that it was not.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Called so much later than it wanted, the process or the machine stood still.
const PAUSED_AFTER: Duration = Duration::from_secs(4);
/// Symbols of one lease of which it is said that there is no room for them: a lease of everything must not crowd out the ticks.
const REFUSALS_TOLD_MAX: usize = 1_000;
/// So many sessions in a row ended by the venue before they were stable slow the dialling down to minutes.
const DROPPED_MAX: u32 = 3;

impl<S: Session> Supervisor<S> {
    /// A supervisor that dials at its first [`Supervisor::timeout`], with a new session for each connection.
    pub fn new(
        settings: SupervisorSettings,
        now: Now,
        new_session: impl FnMut() -> S + Send + 'static,
    ) -> Self {
        Self {
            new_session: Box::new(new_session),
            phase: Phase::Waiting { until: now.elapsed },
            backoff: Backoff::new(settings.backoff_min, settings.backoff_max),
            rng: fastrand::Rng::with_seed(settings.seed),
            demand: DemandTable::new(settings.demand, settings.linger),
            applied: Arc::default(),
            freshness: Freshness::new(settings.stale_after),
            ledger: Ledger::new(settings.epoch, settings.channels_max),
            agenda: Agenda::default(),
            bounds: PulseBounds {
                min: settings.symbol_stale_min.min(settings.stale_after),
                start: settings.stale_after,
                max: settings.symbol_stale_max.max(settings.stale_after),
            },
            spell: 1,
            silent: BTreeSet::new(),
            expected: Expected::default(),
            recount: true,
            wall_clock: WallClock::new(now),
            axes: Axes::new(now),
            link_cause: None,
            catalogue: None,
            unready_since: now.elapsed,
            called_at: now.elapsed,
            dropped: 0,
            kept: 0,
            told: None,
            actions: VecDeque::new(),
            settings,
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Supervisor::timeout`] wants to be called, as [`Now::elapsed`]; none only after [`Supervisor::stop`].
    pub fn deadline(&self) -> Option<Duration> {
        let phase = match &self.phase {
            Phase::Stopped => return None,
            Phase::Waiting { until } => *until,
            Phase::Dialling { give_up_at } => *give_up_at,
            Phase::Up(up) => {
                let silence = up.last_heard + self.settings.silence_timeout;
                let progress = match up.progress {
                    Progress::LoggingIn { until } | Progress::LoggedOut { until } => Some(until),
                    Progress::Ready { since, stable: false } => Some(since + self.settings.stable_after),
                    Progress::Ready { stable: true, .. } => None,
                };
                [progress, up.session.deadline()].into_iter().flatten().fold(silence, Duration::min)
            }
        };
        [self.demand.deadline(), self.freshness.deadline(), self.agenda.deadline()]
            .into_iter()
            .flatten()
            .fold(phase.min(self.wall_clock.recheck_at).min(self.called_at + LOOK_EVERY), Duration::min)
            .into()
    }

    /// The time of [`Supervisor::deadline`] has come (calling earlier does no harm).
    pub fn timeout(&mut self, now: Now) {
        let at = now.elapsed;
        self.wake(now, true);
        self.demand.timeout(at);
        self.apply_demand(now);
        match &mut self.phase {
            Phase::Stopped => {}
            Phase::Waiting { until } if *until <= at => match self.settings.dials.take(at) {
                Ok(()) => {
                    self.phase = Phase::Dialling { give_up_at: at + self.settings.connect_timeout };
                    self.set_link(now, LinkState::Connecting);
                    self.actions.push_back(Action::Dial);
                }
                Err(later) => *until = later,
            },
            Phase::Dialling { give_up_at } if *give_up_at <= at => {
                self.give_up_connecting(now, "no connection");
            }
            Phase::Up(up) if up.last_heard + self.settings.silence_timeout <= at => {
                let silence = self.settings.silence_timeout.as_millis();
                self.close(now, Cause::new(CauseKind::Silence, format!("for {silence} ms")).into());
            }
            Phase::Up(up) => match up.progress {
                Progress::LoggingIn { until } if until <= at => self.give_up_connecting(now, "no login"),
                Progress::LoggedOut { until } if until <= at => {
                    let within = RELOGIN_WITHIN.as_secs();
                    let cause =
                        Cause::new(CauseKind::SessionLost, format!("and not given back within {within} s"));
                    self.close(now, cause.into());
                }
                progress => {
                    if let Progress::Ready { since, stable: false } = progress
                        && since + self.settings.stable_after <= at
                    {
                        up.progress = Progress::Ready { since, stable: true };
                        self.backoff.forget();
                        self.dropped = 0;
                    }
                    if up.session.deadline().is_some_and(|deadline| deadline <= at) {
                        let result = up.session.timeout(now);
                        self.after_session(now, result);
                    }
                }
            },
            Phase::Waiting { .. } | Phase::Dialling { .. } => {}
        }
        self.look(now);
        self.count_expected(now);
        self.freshness.timeout(at);
        self.settle(now);
    }

    /// The connection asked for is open.
    pub fn dialled(&mut self, now: Now) {
        if self.wake(now, true) {
            return self.settle(now);
        }
        let Phase::Dialling { give_up_at } = self.phase else { return };
        let mut session = (self.new_session)();
        session.want(now, self.demand.wanted());
        session.start(now);
        self.phase = Phase::Up(Up {
            session,
            last_heard: now.elapsed,
            progress: Progress::LoggingIn { until: give_up_at },
            proving: true,
            keeping: None,
        });
        self.set_link(now, LinkState::Up);
        self.after_session(now, Ok(()));
        self.settle(now);
    }

    /// The connection asked for could not be opened.
    pub fn dial_failed(&mut self, now: Now, cause: Cause) {
        if self.wake(now, false) {
            self.settle(now);
        } else if matches!(self.phase, Phase::Dialling { .. }) {
            self.lost(now, cause.into());
            self.settle(now);
        }
    }

    /// Bytes arrived on the connection. After a pause they are dropped: nobody knows how old they are.
    pub fn received(&mut self, now: Now, bytes: &[u8]) {
        if self.wake(now, true) {
            return self.settle(now);
        }
        let Phase::Up(up) = &mut self.phase else { return };
        up.last_heard = now.elapsed;
        let result = up.session.receive(now, bytes);
        self.after_session(now, result);
        self.settle(now);
    }

    /// The connection ended without our doing.
    pub fn closed(&mut self, now: Now, cause: Cause) {
        if self.wake(now, false) {
            self.settle(now);
        } else if matches!(self.phase, Phase::Up(_)) {
            self.lost(now, cause.into());
            self.settle(now);
        }
    }

    /// What [`Action::Keep`] of this number asked for is stored durably, or could not be.
    pub fn kept(&mut self, now: Now, number: u64, result: Result<(), String>) {
        self.wake(now, true);
        if let Phase::Up(up) = &mut self.phase
            && up.keeping == Some(number)
        {
            up.keeping = None;
            up.session.kept(now, result);
            self.after_session(now, Ok(()));
            self.settle(now);
        }
    }

    /// Somebody said what they want.
    pub fn lease(&mut self, now: Now, lease: Lease) {
        self.wake(now, true);
        let before = Arc::clone(self.demand.wanted());
        let repeat = self.demand.lease(now.elapsed, lease);
        self.apply_demand(now);
        let wanted = Arc::clone(self.demand.wanted());
        let (served, left_out): (Vec<_>, Vec<_>) = repeat.iter().partition(|symbol| wanted.contains(*symbol));
        for symbol in served.into_iter().filter(|symbol| before.contains(*symbol)) {
            self.actions.extend(self.ledger.repeat(symbol).map(Action::Event));
        }
        for symbol in left_out.into_iter().take(REFUSALS_TOLD_MAX) {
            let refused = self.ledger.unnumbered(symbol, self.no_room());
            self.actions.push_back(Action::Event(refused));
        }
        self.settle(now);
    }

    /// The bus went away or came back; while it is away nobody can renew a lease.
    pub fn bus(&mut self, now: Now, up: bool) {
        self.wake(now, true);
        self.demand.freeze(now.elapsed, !up);
        self.settle(now);
    }

    /// Somebody asked for a new connection: the present one is dropped and the next dialled at once.
    pub fn reconnect(&mut self, now: Now) {
        let cause = Cause::new(CauseKind::Requested, "");
        match self.phase {
            Phase::Stopped => return,
            Phase::Waiting { .. } => {}
            Phase::Dialling { .. } | Phase::Up(_) => self.close(now, cause.into()),
        }
        self.phase = Phase::Waiting { until: now.elapsed };
        self.settle(now);
    }

    /// Ends the connection for good.
    pub fn stop(&mut self, now: Now) {
        let cause = Cause::new(CauseKind::Stopping, "");
        if matches!(self.phase, Phase::Dialling { .. } | Phase::Up(_)) {
            self.actions.push_back(Action::Close(cause.clone()));
        }
        self.phase = Phase::Stopped;
        self.go_down(now, cause, AuthState::None);
        self.settle(now);
    }

    /// Everything wanted now, lingering symbols included.
    pub fn wanted(&self) -> &Arc<BTreeSet<Symbol>> {
        self.demand.wanted()
    }

    /// Leases running now.
    pub fn leases(&self) -> usize {
        self.demand.holders()
    }

    /// How often a limit refused demand since the last call.
    pub fn take_refused(&mut self) -> u64 {
        self.demand.take_refused()
    }

    /// The session, while there is a link.
    pub fn session(&self) -> Option<&S> {
        match &self.phase {
            Phase::Up(up) => Some(&up.session),
            _ => None,
        }
    }

    /// Sees whether this process or machine stood still since the last call. Then no old socket is trusted and none of its
    /// bytes read: it is closed where there still `is_linked`, and the next is dialled at once.
    fn wake(&mut self, now: Now, is_linked: bool) -> bool {
        let late = now.elapsed.saturating_sub(self.called_at + LOOK_EVERY);
        self.called_at = now.elapsed;
        if late < PAUSED_AFTER || matches!(self.phase, Phase::Stopped) {
            return false;
        }
        // While we stood still nobody could renew a lease.
        self.demand.renew(now.elapsed);
        let cause = Cause::new(CauseKind::Suspended, format!("for {} s", late.as_secs()));
        if matches!(self.phase, Phase::Dialling { .. } | Phase::Up(_)) {
            if is_linked {
                self.actions.push_back(Action::Close(cause.clone()));
            }
            self.note_unready(now);
            self.go_down(now, cause, AuthState::None);
        }
        self.phase = Phase::Waiting { until: now.elapsed };
        true
    }

    fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Up(Up { progress: Progress::Ready { .. }, .. }))
    }

    /// Hands the session's outputs on and ends it where it said so.
    fn after_session(&mut self, now: Now, result: Result<(), Ending>) {
        while let Phase::Up(up) = &mut self.phase
            && let Some(output) = up.session.poll()
        {
            match output {
                SessionOutput::Send(bytes) => self.actions.push_back(Action::Send(bytes)),
                SessionOutput::Auth(auth, cause) => self.login(now, auth, cause),
                SessionOutput::Catalogue(catalogue) => self.catalogue(catalogue),
                SessionOutput::Tick(symbol, tick) => self.tick(now, &symbol, tick),
                SessionOutput::State(symbol, state) => self.venue_state(now, &symbol, state),
                SessionOutput::Hours(symbol, hours) => self.hours(now, &symbol, hours),
                SessionOutput::Keep(secret) => {
                    self.kept += 1;
                    up.keeping = Some(self.kept);
                    self.actions.push_back(Action::Keep(self.kept, secret));
                }
                SessionOutput::Note(note) => self.actions.push_back(Action::Note(note)),
            }
        }
        if let Err(ending) = result {
            self.close(now, ending);
        }
    }

    /// Gives a catalogue that differs from the last one its version; a reconnect that finds the same list changes nothing.
    fn catalogue(&mut self, catalogue: Catalogue) {
        let known = self.catalogue.as_ref();
        let same = known
            .is_some_and(|known| known.open == catalogue.open && known.instruments == catalogue.instruments);
        if !same {
            let version = known.map_or(1, |known| known.version + 1);
            let catalogue = Arc::new(Catalogue { version, ..catalogue });
            self.catalogue = Some(Arc::clone(&catalogue));
            self.actions.push_back(Action::Catalogue(catalogue));
        }
    }

    fn catalogue_version(&self) -> u64 {
        self.catalogue.as_ref().map_or(0, |catalogue| catalogue.version)
    }

    fn login(&mut self, now: Now, auth: AuthState, cause: Option<Cause>) {
        // Refused stays said until a login really worked: a retry under way is no good news yet.
        if auth != AuthState::Pending || self.axes.auth != AuthState::Refused {
            self.set_auth(now, auth);
        }
        let Phase::Up(up) = &mut self.phase else { return };
        let ready = matches!(up.progress, Progress::Ready { .. });
        let accepted = matches!(auth, AuthState::Ok | AuthState::None);
        if !accepted {
            self.link_cause = cause.or_else(|| self.link_cause.take());
            if auth == AuthState::Refused {
                self.link_cause.get_or_insert_with(|| Cause::new(CauseKind::AuthRefused, ""));
            }
        }
        if ready && !accepted {
            up.progress = Progress::LoggedOut { until: now.elapsed + RELOGIN_WITHIN };
            self.unready_since = now.elapsed;
            self.link_cause.get_or_insert_with(|| Cause::new(CauseKind::SessionLost, ""));
            self.symbols_wait();
        } else if !ready && accepted {
            up.progress = Progress::Ready { since: now.elapsed, stable: false };
            up.proving = true;
            self.link_cause = None;
            let away = now.elapsed.saturating_sub(self.unready_since);
            self.actions.push_back(Action::Recovered(away));
            self.expect_all(now);
            // The first prices may come with the proof of the login, and nobody hears prices of a venue that is not ready.
            self.tell(now);
        }
    }

    fn give_up_connecting(&mut self, now: Now, missing: &str) {
        let allowed = self.settings.connect_timeout.as_millis();
        self.close(
            now,
            Cause::new(CauseKind::ConnectTimeout, format!("{missing} within {allowed} ms")).into(),
        );
    }

    /// Ends the connection from our side.
    fn close(&mut self, now: Now, ending: Ending) {
        self.actions.push_back(Action::Close(ending.cause.clone()));
        self.lost(now, ending);
    }

    /// The connection is gone, whoever ended it: say why and plan the next.
    fn lost(&mut self, now: Now, ending: Ending) {
        self.note_unready(now);
        self.dropped += u32::from(ending.cause.kind == CauseKind::SessionLost);
        let wait = match ending.retry {
            // Facts 3.11: an administrator may have blocked us, which no soon retry mends.
            Retry::Backoff if self.dropped >= DROPPED_MAX && ending.cause.kind == CauseKind::SessionLost => {
                self.backoff.fail_slowly(self.settings.auth_retry, &mut self.rng)
            }
            Retry::Backoff => self.backoff.fail(&mut self.rng),
            Retry::Slowly => self.backoff.fail_slowly(self.settings.auth_retry, &mut self.rng),
            Retry::After(wait) => self.backoff.fail_until(wait, &mut self.rng),
        };
        self.phase = Phase::Waiting { until: (now.elapsed + wait).max(self.settings.dials.next_at()) };
        let refused = matches!(
            ending.cause.kind,
            CauseKind::AuthRefused | CauseKind::TokenExpired | CauseKind::WrongHost
        );
        self.go_down(now, ending.cause, if refused { AuthState::Refused } else { AuthState::None });
    }

    /// A session that was ready is not any more.
    fn note_unready(&mut self, now: Now) {
        if self.is_ready() {
            self.unready_since = now.elapsed;
        }
    }

    /// Says that there is no connection: on the axes, and for each symbol that could tick.
    fn go_down(&mut self, now: Now, cause: Cause, auth: AuthState) {
        self.link_cause = Some(cause);
        self.set_link(now, LinkState::Down);
        self.set_auth(now, auth);
        self.symbols_wait();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
