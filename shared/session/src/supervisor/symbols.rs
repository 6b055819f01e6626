use std::sync::Arc;
use std::time::Duration;

use tickcast_model::{Cause, CauseKind, DataState, StateChange, Symbol, SymbolState, Tick};

use super::{Action, Phase, Progress, Supervisor, Up};
use crate::pulse::NEVER;
use crate::{MarketHours, Note, Now, Session};

/// The longest time between two requests for the same silent symbol; each wait is twice the one before.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(600);
/// How often the schedules are compared with the wall clock, which may have been set.
const RECHECK_EVERY: Duration = Duration::from_secs(60);
/// A wall clock that moved so much against the monotonic one was set.
const CLOCK_STEP_US: i64 = 1_000_000;

/// What of the wanted symbols could tick now.
#[derive(Default)]
pub(super) struct Expected {
    /// Wanted symbols that are neither closed nor refused.
    pub(super) open: usize,
    /// True where at least one wanted symbol is closed.
    pub(super) closed: bool,
    /// The first opening of a closed one, Unix milliseconds, where it is known.
    pub(super) opens_ms: Option<i64>,
}

/// When the schedules are read against the wall clock.
pub(super) struct WallClock {
    /// Wall clock less monotonic clock at the last look, microseconds.
    offset_us: i64,
    pub(super) recheck_at: Duration,
}

impl WallClock {
    pub(super) fn new(now: Now) -> Self {
        Self { offset_us: offset_us(now), recheck_at: now.elapsed + RECHECK_EVERY }
    }

    /// True where it was set since the last look.
    fn stepped(&mut self, now: Now) -> bool {
        let before = std::mem::replace(&mut self.offset_us, offset_us(now));
        before.abs_diff(self.offset_us) > CLOCK_STEP_US.unsigned_abs()
    }
}

impl<S: Session> Supervisor<S> {
    pub(super) fn tick(&mut self, now: Now, symbol: &Symbol, tick: Tick) {
        let Phase::Up(Up { progress: Progress::Ready { .. }, proving, .. }) = self.phase else {
            self.actions.push_back(Action::Note(Note::Odd("tick_before_ready")));
            return;
        };
        // Only ticks of wanted symbols make one live, and one that is not wanted any more is forgotten.
        let wanted = self.demand.wanted();
        let channel = self.ledger.get_mut(symbol);
        let Some(channel) = channel.filter(|it| it.is_live() || wanted.contains(symbol)) else {
            let odd = if wanted.contains(symbol) { "channels_full" } else { "tick_unwanted" };
            self.actions.push_back(Action::Note(Note::Odd(odd)));
            return;
        };
        let before = channel.state();
        let is_live = before == Some(SymbolState::Live);
        // A snapshot is a state, not a new quote: it shows that a new subscription works. It ends no stale spell of a symbol, none
        // of the venue that began while we were logged in, and opens no market.
        let quote = !tick.snapshot;
        let flows = proving || self.freshness.state() != DataState::Stale;
        let shows = quote || flows && (is_live || before == Some(SymbolState::Pending));
        self.actions.push_back(Action::Event(channel.tick(symbol, tick)));
        if quote {
            channel.pulse.beat(now.elapsed, self.spell, &self.bounds);
        } else if shows && !is_live {
            channel.pulse.since = now.elapsed;
        }
        if shows {
            let due = channel.pulse.since + channel.pulse.threshold(&self.bounds);
            self.agenda.hurry(symbol, &mut channel.pulse, due);
        }
        if shows && !is_live {
            self.state(symbol, StateChange::plain(SymbolState::Live));
            self.count_expected(now);
        }
        if shows {
            self.freshness.tick(now.elapsed);
        }
    }

    /// Says a symbol's state where it changed.
    pub(super) fn state(&mut self, symbol: &Symbol, state: StateChange) {
        let Some(channel) = self.ledger.open(symbol) else { return };
        let cannot_tick = |state| matches!(state, Some(SymbolState::Closed | SymbolState::Refused) | None);
        let before = channel.state();
        if let Some(event) = channel.say(symbol, state) {
            self.recount |= cannot_tick(before) || cannot_tick(channel.state());
            self.actions.push_back(Action::Event(event));
        }
    }

    /// The venue's word on a symbol, which the schedule and its silence may add to.
    pub(super) fn venue_state(&mut self, now: Now, symbol: &Symbol, state: StateChange) {
        self.state(symbol, state);
        if self.demand.wanted().contains(symbol) {
            self.judge(now, symbol);
        }
    }

    /// The venue's schedule of a symbol.
    pub(super) fn hours(&mut self, now: Now, symbol: &Symbol, hours: Arc<MarketHours>) {
        let wanted = self.demand.wanted().contains(symbol);
        let channel = if wanted { self.ledger.open(symbol) } else { self.ledger.get_mut(symbol) };
        if channel.is_some_and(|channel| channel.pulse.hours(now.elapsed, hours)) {
            self.judge(now, symbol);
        }
    }

    /// Passes a changed wanted set on.
    pub(super) fn apply_demand(&mut self, now: Now) {
        while let Some(note) = self.demand.note() {
            self.actions.push_back(Action::Demand(note));
        }
        let wanted = Arc::clone(self.demand.wanted());
        if Arc::ptr_eq(&wanted, &self.applied) {
            return;
        }
        self.applied = Arc::clone(&wanted);
        if let Phase::Up(up) = &mut self.phase {
            up.session.want(now, &wanted);
            self.after_session(now, Ok(()));
        }
        for symbol in self.ledger.unwanted(&wanted) {
            self.ledger.forget(&symbol);
        }
        self.recount = true;
        let pending = self.pending();
        for symbol in wanted.iter() {
            if self.ledger.state_of(symbol).is_none() {
                self.state(symbol, pending.clone());
                self.expect(now, symbol);
            }
        }
    }

    /// The venue is ready: from now on whatever is wanted should tick.
    pub(super) fn expect_all(&mut self, now: Now) {
        for symbol in Arc::clone(self.demand.wanted()).iter() {
            if self.ledger.state_of(symbol) == Some(SymbolState::Pending) {
                self.state(symbol, StateChange::plain(SymbolState::Pending));
            }
            self.expect(now, symbol);
        }
    }

    fn expect(&mut self, now: Now, symbol: &Symbol) {
        if let Some(channel) = self.ledger.get_mut(symbol) {
            channel.pulse.expect(now.elapsed);
        }
        self.judge(now, symbol);
    }

    /// What a wanted symbol without prices is waiting for.
    pub(super) fn pending(&self) -> StateChange {
        let mut pending = StateChange::plain(SymbolState::Pending);
        if !self.is_ready() {
            pending.code = Some("VENUE_DOWN".to_owned());
            pending.message = self.link_cause.as_ref().map(ToString::to_string);
        }
        pending
    }

    /// What is said of a symbol that is leased and left out.
    pub(super) fn no_room(&self) -> StateChange {
        StateChange {
            state: SymbolState::Refused,
            code: Some("TOO_MANY_SYMBOLS".to_owned()),
            message: Some(format!(
                "{} symbols are wanted already, as many as may be",
                self.demand.symbols_max()
            )),
            until_ms: None,
        }
    }

    /// Says of each symbol that could tick that it waits, and for what; a closed market is closed with or without us.
    pub(super) fn symbols_wait(&mut self) {
        self.spell = self.spell.wrapping_add(1).max(1);
        let pending = self.pending();
        for symbol in Arc::clone(self.demand.wanted()).iter() {
            let state = self.ledger.state_of(symbol);
            if !matches!(state, Some(SymbolState::Refused | SymbolState::Closed)) {
                self.state(symbol, pending.clone());
            }
        }
    }

    /// Looks at every symbol whose time has come, and at all schedules where the wall clock was set.
    pub(super) fn look(&mut self, now: Now) {
        let stepped = self.wall_clock.stepped(now);
        let due = self.wall_clock.recheck_at <= now.elapsed;
        if due {
            self.wall_clock.recheck_at = now.elapsed + RECHECK_EVERY;
        }
        if stepped || due {
            for symbol in Arc::clone(self.demand.wanted()).iter() {
                let span = self.ledger.get(symbol).and_then(|channel| channel.pulse.seen_span());
                if span.is_some_and(|span| stepped || !span.contains(now.unix_ms())) {
                    self.judge(now, symbol);
                }
            }
        }
        while let Some((due, symbol)) = self.agenda.next(now.elapsed) {
            if let Some(channel) = self.ledger.get_mut(&symbol).filter(|channel| channel.pulse.due == due) {
                channel.pulse.due = NEVER;
                self.judge(now, &symbol);
            }
        }
        let ledger = &self.ledger;
        let counts = |symbol: &Symbol, due| ledger.get(symbol).is_some_and(|it| it.pulse.due == due);
        self.agenda.tidy(ledger.len(), counts);
    }

    /// Compares a symbol's state with its schedule and its silence, says what changed, and notes when to look again.
    fn judge(&mut self, now: Now, symbol: &Symbol) {
        let (ready, bounds) = (self.is_ready(), self.bounds);
        let Some(channel) = self.ledger.get_mut(symbol) else { return };
        let Some(state) = channel.state().filter(|state| *state != SymbolState::Refused) else { return };
        let pulse = &mut channel.pulse;
        let span = pulse.span(now.unix_ms());
        let threshold = pulse.threshold(&bounds);
        let limit = match state {
            // After a subscription the first price may take as long as the venue needs for all of them.
            SymbolState::Pending => threshold.max(bounds.start),
            _ => threshold,
        };
        let silent_at = pulse.since + limit;
        let (said, due) = match state {
            SymbolState::Live if !span.open => {
                let quiet_at = pulse.since + pulse.closing_grace(now, &bounds);
                if now.elapsed < quiet_at { (None, quiet_at) } else { (Some(closed(span.until())), NEVER) }
            }
            _ if !span.open => (Some(closed(span.until())), NEVER),
            SymbolState::Closed => {
                pulse.expect(now.elapsed);
                (Some(self.pending()), now.elapsed + threshold.max(bounds.start))
            }
            // While the venue is away its own health says so.
            _ if !ready => (None, NEVER),
            SymbolState::Stale if pulse.asked == 0 || pulse.ask_at <= now.elapsed => {
                (None, self.ask(now, symbol))
            }
            SymbolState::Stale => (None, pulse.ask_at),
            _ if now.elapsed < silent_at => (None, silent_at),
            _ => (Some(silent(limit)), self.ask(now, symbol)),
        };
        // A venue that does not know its opening has to say it, and may have lost that we want to hear it.
        let is_open_ended = !span.open && span.until().is_none() && due == NEVER;
        let due = if is_open_ended { self.ask_while_closed(now, symbol, state) } else { due };
        if let Some(said) = said {
            self.state(symbol, said);
        }
        // The schedule is in wall-clock time; where that clock is set, the look at it moves this with it.
        let boundary = span.until().map_or(NEVER, |until_ms| {
            let left = u64::try_from(until_ms.saturating_sub(now.unix_ms())).unwrap_or(0);
            now.elapsed.saturating_add(Duration::from_millis(left))
        });
        let due = due.min(boundary).max(now.elapsed + Duration::from_millis(1));
        if let Some(channel) = self.ledger.get_mut(symbol).filter(|_| due != NEVER) {
            self.agenda.enter(symbol, &mut channel.pulse, due);
        }
    }

    /// Puts a silent symbol among those the venue is asked for once more; returns when that is repeated.
    fn ask(&mut self, now: Now, symbol: &Symbol) -> Duration {
        let first = self.bounds.start;
        let Some(channel) = self.ledger.get_mut(symbol) else { return NEVER };
        let pulse = &mut channel.pulse;
        let wait = first.saturating_mul(1 << pulse.asked.min(10)).min(ASK_AGAIN_MAX.max(first));
        pulse.asked = pulse.asked.saturating_add(1);
        pulse.ask_at = now.elapsed + wait;
        self.silent.insert(symbol.clone());
        now.elapsed + wait
    }

    /// Asks the venue rarely for a symbol that is closed for a time nobody knows; returns when that is repeated.
    fn ask_while_closed(&mut self, now: Now, symbol: &Symbol, state: SymbolState) -> Duration {
        let Some(channel) = self.ledger.get_mut(symbol) else { return NEVER };
        let pulse = &mut channel.pulse;
        if state != SymbolState::Closed {
            pulse.ask_at = now.elapsed + ASK_AGAIN_MAX;
        } else if pulse.ask_at <= now.elapsed {
            pulse.ask_at = now.elapsed + ASK_AGAIN_MAX;
            self.silent.insert(symbol.clone());
        }
        pulse.ask_at
    }

    /// Closes what still counted as live because it ticked after its market's closing; that it stopped is no alarm.
    pub(super) fn close_quiet(&mut self, now: Now) {
        for symbol in Arc::clone(self.demand.wanted()).iter() {
            let channel = self.ledger.get_mut(symbol).filter(|channel| channel.is_live());
            let span = channel.map(|channel| channel.pulse.span(now.unix_ms()));
            if let Some(span) = span.filter(|span| !span.open) {
                self.state(symbol, closed(span.until()));
                self.judge(now, symbol);
            }
        }
    }

    /// Nothing that could tick does: says so for every symbol that was live, and asks for all that are silent.
    pub(super) fn went_stale(&mut self, now: Now) {
        self.spell = self.spell.wrapping_add(1).max(1);
        if let Phase::Up(up) = &mut self.phase {
            up.proving = false;
        }
        for symbol in Arc::clone(self.demand.wanted()).iter() {
            if self.ledger.state_of(symbol) == Some(SymbolState::Live) {
                self.state(symbol, silent(self.settings.stale_after));
                self.judge(now, symbol);
            }
        }
    }

    /// Asks the venue once more for every symbol found silent.
    pub(super) fn ask_for_silent(&mut self, now: Now) {
        let silent = std::mem::take(&mut self.silent);
        if silent.is_empty() || !self.is_ready() {
            return;
        }
        if let Phase::Up(up) = &mut self.phase {
            up.session.ask_again(now, &silent);
            self.after_session(now, Ok(()));
        }
    }

    /// Counts anew what could tick, where that may have changed.
    pub(super) fn count_expected(&mut self, now: Now) {
        if !std::mem::take(&mut self.recount) {
            return;
        }
        let mut expected = Expected::default();
        for symbol in self.demand.wanted().iter() {
            match self.ledger.get(symbol).and_then(|channel| channel.said()) {
                Some(said) if said.state == SymbolState::Closed => {
                    expected.closed = true;
                    expected.opens_ms = [expected.opens_ms, said.until_ms].into_iter().flatten().min();
                }
                Some(said) if said.state == SymbolState::Refused => {}
                // One the full ledger has no room for is expected too: it is wanted, and nobody sees it.
                _ => expected.open += 1,
            }
        }
        self.freshness.want(now.elapsed, expected.open > 0);
        self.expected = expected;
    }
}

fn closed(opens_ms: Option<i64>) -> StateChange {
    StateChange {
        state: SymbolState::Closed,
        code: Some("MARKET_CLOSED".to_owned()),
        message: Some(closed_cause(opens_ms).to_string()),
        until_ms: opens_ms,
    }
}

fn silent(limit: Duration) -> StateChange {
    let cause = Cause::new(CauseKind::Stale, format!("none for more than {} ms", limit.as_millis()));
    StateChange {
        state: SymbolState::Stale,
        code: Some("STALE".to_owned()),
        message: Some(cause.to_string()),
        until_ms: None,
    }
}

/// Why nothing ticks while the market is closed.
pub(super) fn closed_cause(opens_ms: Option<i64>) -> Cause {
    let until = |ms| format!("until {}", utc(ms));
    Cause::new(CauseKind::MarketClosed, opens_ms.map_or("next opening not known".to_owned(), until))
}

/// A time in Unix milliseconds as people write it, to the second.
pub(super) fn utc(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms);
    time.map_or_else(|_| format!("{unix_ms} ms"), |time| format!("{time:.0}"))
}

fn offset_us(now: Now) -> i64 {
    now.unix_us.saturating_sub(i64::try_from(now.elapsed.as_micros()).unwrap_or(i64::MAX))
}
