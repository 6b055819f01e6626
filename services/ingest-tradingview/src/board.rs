mod asking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tickcast_model::{Cause, CauseKind, StateChange, Symbol, SymbolState};
use tickcast_session::{Ending, MarketHours, Note, Now, Pace, SessionOutput, Standing};

use crate::blame::Blame;
use crate::entry::{Entry, First, Refusal, Room, Step};
use crate::healing::Healing;
use crate::limit::Limit;
use crate::memory::Memory;
use crate::message::Fields;

/// How much is asked of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages of ours in any second; the answers to heartbeats come on top.
    pub messages_per_s: usize,
    /// Symbols in one quote session.
    pub symbols_per_session: usize,
    /// Symbols on the connection.
    pub symbols_max: usize,
}

/// Every wanted symbol and the quote sessions that hold them: it compares the two after each change and asks for the
/// difference, at a pace the venue does not mind.
pub(crate) struct Board {
    limits: Limits,
    pace: Pace,
    rng: fastrand::Rng,
    /// True once the venue may be asked.
    is_open: bool,
    wanted: Arc<BTreeSet<Symbol>>,
    entries: BTreeMap<Symbol, Entry>,
    rooms: BTreeMap<u64, Room>,
    /// Quote sessions opened on this connection, which number them.
    opened: u64,
    memory: Memory,
    healing: Healing,
    limit: Limit,
    /// When which entry is looked at; one that has moved on since is left alone.
    agenda: BTreeSet<(Duration, Symbol)>,
    /// When paced work can go on.
    work_at: Option<Duration>,
    commands: VecDeque<String>,
    outputs: VecDeque<SessionOutput>,
}

/// A key of which nothing is heard for so long is left to the watch over its silence (facts 4.1).
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Parts of the first data come within this after the first of them.
const WHOLE_WITHIN: Duration = Duration::from_secs(1);
/// And within this after the venue says that it has sent the first data, which does not promise a book (facts 4.1).
const BOOK_WITHIN: Duration = Duration::from_millis(500);
/// A refused symbol is asked for again so rarely (facts 5.6).
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// A connection has about 200 sessions in it (facts 5.4); before that a new one is opened.
const SESSIONS_PER_CONNECTION: u64 = 180;

impl Board {
    pub(crate) fn new(limits: Limits, memory: Memory, rng: fastrand::Rng) -> Self {
        Self {
            limits,
            pace: Pace::new(limits.messages_per_s, Duration::from_secs(1)),
            rng,
            is_open: false,
            wanted: Arc::default(),
            entries: BTreeMap::new(),
            rooms: BTreeMap::new(),
            opened: 0,
            memory,
            healing: Healing::default(),
            limit: Limit::default(),
            agenda: BTreeSet::new(),
            work_at: None,
            commands: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The venue may be asked from now on; these messages go first.
    pub(crate) fn open(&mut self, now: Now, first: impl IntoIterator<Item = String>) {
        self.is_open = true;
        for message in first {
            // A connection begins with leave for all of them.
            let _ = self.pace.take(now.elapsed, 1);
            self.commands.push_back(message);
        }
        self.reconcile(now);
    }

    /// What the venue has taken.
    pub(crate) fn held(&self) -> BTreeSet<Symbol> {
        let held = self.entries.iter().filter(|(_, entry)| entry.step == Step::Held);
        held.map(|(symbol, _)| symbol.clone()).collect()
    }

    /// The next message to send.
    pub(crate) fn command(&mut self) -> Option<String> {
        self.commands.pop_front()
    }

    /// The next thing to tell.
    pub(crate) fn output(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }

    /// This is all that is wanted.
    pub(crate) fn want(&mut self, now: Now, wanted: &Arc<BTreeSet<Symbol>>) {
        self.wanted = Arc::clone(wanted);
        let gone: Vec<Symbol> =
            self.entries.keys().filter(|symbol| !wanted.contains(*symbol)).cloned().collect();
        for symbol in gone {
            self.leave(&symbol);
            self.entries.remove(&symbol);
        }
        for symbol in wanted.iter() {
            if self.entries.contains_key(symbol) {
                continue;
            }
            if self.entries.len() >= self.limits.symbols_max {
                let most = self.limits.symbols_max;
                let words =
                    format!("this connection takes no more than {most} symbols (TRADINGVIEW_SYMBOLS_MAX)");
                self.outputs.push_back(refused(symbol, words));
                continue;
            }
            let mut entry = Entry::new(now.elapsed);
            if let Some(refusal) = self.memory.lock().of(now.elapsed, symbol) {
                self.outputs.push_back(refused(symbol, refusal.reason.clone()));
                self.agenda.insert((refusal.retry_at, symbol.clone()));
                entry.lot = if refusal.breaks { 1 } else { usize::MAX };
                entry.blamed = refusal.breaks;
                entry.step = Step::Refused(refusal);
            }
            self.entries.insert(symbol.clone(), entry);
        }
        self.reconcile(now);
    }

    /// These are silent and should not be: first asked for again where they are, then in a session that is newer than the
    /// one they are silent in (facts 2.3).
    pub(crate) fn ask_again(&mut self, now: Now, silent: &BTreeSet<Symbol>) {
        for symbol in silent {
            if self.entries.get(symbol).is_none_or(|entry| entry.step != Step::Held) {
                continue;
            }
            let room = self.leave(symbol);
            if let Some(entry) = self.entries.get_mut(symbol) {
                // One that said that it is closed is where it should be.
                entry.missed += u32::from(entry.quote.is_open() != Some(false));
                entry.start_over(now.elapsed);
                if entry.missed > 1 {
                    entry.after = room.unwrap_or(entry.after);
                }
            }
        }
        self.reconcile(now);
    }

    /// What changed of a symbol, or why the venue does not stream it.
    pub(crate) fn quote(&mut self, now: Now, session: &str, key: &str, outcome: Result<&Fields<'_>, String>) {
        let Some(number) = self.find(session, key) else { return self.odd("late_quote") };
        self.limit.answered(number);
        let fields = match outcome {
            Ok(fields) => fields,
            Err(reason) => return self.refuse(now, key, reason, false),
        };
        self.heard_of(now, number, key);
        let Some((symbol, entry)) = get(&mut self.entries, key) else { return };
        let was_open = entry.quote.is_open();
        let merged = entry.quote.merge(now, fields);
        if let Some(odd) = merged.odd {
            self.outputs.push_back(SessionOutput::Note(Note::Odd(odd)));
        }
        if let Some(is_open) = entry.quote.is_open().filter(|is_open| Some(*is_open) != was_open) {
            self.outputs.push_back(SessionOutput::Hours(symbol.clone(), hours(is_open)));
        }
        match entry.first {
            First::Told if merged.moved => {
                entry.missed = 0;
                if let Some(tick) = entry.quote.tick(now, merged.venue_time_ms, false) {
                    entry.told = Some(entry.quote.market());
                    self.outputs.push_back(SessionOutput::Tick(symbol.clone(), tick));
                }
            }
            First::Told => {}
            First::Waiting | First::By(_) if entry.quote.is_whole() => self.tell_first(now, key),
            First::Waiting => self.whole_by(now.elapsed + WHOLE_WITHIN, key),
            First::By(_) => {}
        }
    }

    /// The venue has sent the first data of a symbol, but perhaps not its book.
    pub(crate) fn completed(&mut self, now: Now, session: &str, key: &str) {
        let Some(number) = self.find(session, key) else { return self.odd("late_quote") };
        self.limit.answered(number);
        self.heard_of(now, number, key);
        self.whole_by(now.elapsed + BOOK_WITHIN, key);
    }

    /// A quote session is unusable: what was in it goes into another, and what may be why is asked for apart, in ever
    /// smaller batches until it is known (facts 5.6).
    pub(crate) fn broken(&mut self, now: Now, session: &str, reason: &str, info: &str) {
        let number = self.rooms.iter().find(|(_, room)| room.id == session).map(|(number, _)| *number);
        let Some((number, room)) = number.and_then(|number| Some((number, self.rooms.remove(&number)?)))
        else {
            return self.odd("error_of_another_session");
        };
        self.odd("session_broken");
        let words = if info.is_empty() { reason.to_owned() } else { format!("{reason}: {info}") };
        let blame = Blame::of(reason, info);
        if blame == Blame::Limit {
            self.limit.reached(number, &words);
        }
        let suspects = if blame == Blame::Keys { room.asked } else { BTreeSet::new() };
        let lot = suspects.len().div_ceil(2);
        for symbol in &room.keys {
            let Some(entry) = self.entries.get_mut(symbol).filter(|entry| entry.room == Some(number)) else {
                continue;
            };
            entry.start_over(now.elapsed);
            if suspects.contains(symbol) {
                entry.lot = lot;
            }
        }
        if suspects.is_empty() {
            self.healing.broke(now.elapsed, blame == Blame::Limit);
        } else if suspects.len() == 1 {
            for symbol in &suspects {
                // Once may be by accident, and a refusal lasts.
                let is_blamed =
                    self.entries.get_mut(symbol).is_some_and(|it| std::mem::replace(&mut it.blamed, true));
                if is_blamed {
                    self.refuse(now, symbol.as_str(), words.clone(), true);
                }
            }
        }
        self.reconcile(now);
    }

    /// The time of [`Board::deadline`] has come.
    ///
    /// # Errors
    /// Where this connection has no more sessions in it.
    pub(crate) fn timeout(&mut self, now: Now) -> Result<(), Ending> {
        while let Some((at, symbol)) = self.agenda.first().filter(|(at, _)| *at <= now.elapsed).cloned() {
            self.agenda.remove(&(at, symbol.clone()));
            self.look(now, &symbol);
        }
        if self.work_at.is_some_and(|at| at <= now.elapsed) {
            self.reconcile(now);
        }
        if self.opened >= SESSIONS_PER_CONNECTION {
            let words = format!("{} quote sessions were opened on this connection", self.opened);
            return Err(Cause::new(CauseKind::SessionLost, words).into());
        }
        self.limit.check()
    }

    /// How a connection ends on which the last thing that was said of sessions is that there are too many.
    pub(crate) fn limited(&self) -> Option<Ending> {
        self.limit.ending()
    }

    /// When [`Board::timeout`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.opened >= SESSIONS_PER_CONNECTION || self.limit.check().is_err() {
            return Some(Duration::ZERO);
        }
        let look = self.agenda.first().map(|(at, _)| *at);
        [look, self.work_at].into_iter().flatten().min()
    }

    /// How far this symbol is, in words.
    pub(crate) fn standing(&self, now: Now, symbol: &Symbol) -> Standing {
        let Some(entry) = self.entries.get(symbol) else {
            let detail = "not wanted, or beyond the limit of symbols".to_owned();
            return Standing { ok: false, since: None, detail, next: String::new() };
        };
        let session =
            entry.room.and_then(|number| self.rooms.get(&number)).map_or("", |room| room.id.as_str());
        let (detail, next) = match &entry.step {
            Step::Needed if entry.is_suspect() => (
                format!("a batch with it broke a quote session; asked for apart, {} at a time", entry.lot),
                "its turn".to_owned(),
            ),
            Step::Needed => ("to be asked for".to_owned(), "leave to send the next message".to_owned()),
            Step::Asked => (format!("asked for in {session}"), "the venue's answer".to_owned()),
            Step::Held if entry.told.is_some() => {
                (format!("held in {session}, and prices came"), String::new())
            }
            Step::Held => (format!("held in {session}, and no price came yet"), "the first price".to_owned()),
            Step::Refused(Refusal { retry_at, reason, .. }) => {
                let left = retry_at.saturating_sub(now.elapsed).as_secs();
                (format!("refused by the venue: {reason}"), format!("asked for again in {left} s"))
            }
        };
        let ok = entry.step == Step::Held && entry.told.is_some();
        Standing { ok, since: Some(entry.since), detail, next }
    }

    /// The quote session that holds this key for us.
    fn find(&self, session: &str, key: &str) -> Option<u64> {
        let number = self.entries.get(key)?.room?;
        (self.rooms.get(&number)?.id == session).then_some(number)
    }

    fn odd(&mut self, what: &'static str) {
        self.outputs.push_back(SessionOutput::Note(Note::Odd(what)));
    }

    /// Notes that a symbol's key is to be let go where it is; returns where that was.
    fn leave(&mut self, symbol: &Symbol) -> Option<u64> {
        let number = self.entries.get(symbol)?.room?;
        if let Some(room) = self.rooms.get_mut(&number) {
            room.leaving.insert(symbol.clone());
            room.asked.remove(symbol);
        }
        Some(number)
    }

    /// The venue said something of a key: it took it.
    fn heard_of(&mut self, now: Now, number: u64, key: &str) {
        let Some((_, entry)) = get(&mut self.entries, key) else { return };
        if entry.step != Step::Asked {
            return;
        }
        entry.go(now.elapsed, Step::Held);
        entry.lot = usize::MAX;
        entry.blamed = false;
        if let Some(room) = self.rooms.get_mut(&number) {
            room.asked.remove(key);
            if room.answered() {
                self.reconcile(now);
            }
        }
    }

    /// The venue will not stream this one: said, remembered, and let go so that asking again is no duplicate.
    fn refuse(&mut self, now: Now, key: &str, reason: String, breaks: bool) {
        let Some((symbol, _)) = get(&mut self.entries, key) else { return };
        let number = self.leave(&symbol);
        let retry_at = now.elapsed + REFUSED_FOR;
        let refusal = Refusal { retry_at, reason, breaks };
        self.memory.lock().note(&symbol, refusal.clone());
        self.agenda.insert((retry_at, symbol.clone()));
        self.outputs.push_back(refused(&symbol, refusal.reason.clone()));
        if let Some(entry) = self.entries.get_mut(&symbol) {
            entry.start_over(now.elapsed);
            entry.lot = if breaks { 1 } else { usize::MAX };
            entry.step = Step::Refused(refusal);
        }
        if let Some(room) = number.and_then(|number| self.rooms.get_mut(&number)) {
            room.answered();
        }
        self.reconcile(now);
    }

    /// All of the first data will be there by this time.
    fn whole_by(&mut self, at: Duration, key: &str) {
        let Some((symbol, entry)) = get(&mut self.entries, key) else { return };
        let at = match entry.first {
            First::Waiting => at,
            First::By(before) => at.min(before),
            First::Told => return,
        };
        entry.first = First::By(at);
        self.agenda.insert((at, symbol));
    }

    /// Tells the first data as they are, unless they are what was told last.
    fn tell_first(&mut self, now: Now, key: &str) {
        let Some((symbol, entry)) = get(&mut self.entries, key) else { return };
        entry.first = First::Told;
        let market = entry.quote.market();
        if entry.told == Some(market) {
            return;
        }
        if let Some(tick) = entry.quote.tick(now, entry.quote.traded_ms(), true) {
            entry.told = Some(market);
            self.outputs.push_back(SessionOutput::Tick(symbol, tick));
        }
    }

    /// Does what is due for one entry.
    fn look(&mut self, now: Now, symbol: &Symbol) {
        let Some(entry) = self.entries.get_mut(symbol) else { return };
        match entry.step {
            Step::Asked if entry.since + ANSWER_WITHIN <= now.elapsed => {
                let room = entry.room;
                self.odd("no_answer");
                if let Some(number) = room {
                    self.heard_of(now, number, symbol.as_str());
                }
                let words = format!("the venue said nothing within {} s", ANSWER_WITHIN.as_secs());
                self.outputs.push_back(waiting(symbol, Some(("NO_ANSWER", words))));
            }
            Step::Refused(Refusal { retry_at, .. }) if retry_at <= now.elapsed => {
                entry.start_over(now.elapsed);
                self.outputs.push_back(waiting(symbol, None));
                self.reconcile(now);
            }
            _ => {
                if let First::By(at) = entry.first
                    && at <= now.elapsed
                {
                    self.tell_first(now, symbol.as_str());
                }
            }
        }
    }
}

fn get<'a>(entries: &'a mut BTreeMap<Symbol, Entry>, key: &str) -> Option<(Symbol, &'a mut Entry)> {
    let symbol = entries.get_key_value(key)?.0.clone();
    entries.get_mut(key).map(|entry| (symbol, entry))
}

fn refused(symbol: &Symbol, reason: String) -> SessionOutput {
    let change = StateChange {
        state: SymbolState::Refused,
        code: Some("SYMBOL_REFUSED".to_owned()),
        message: Some(reason),
        until_ms: None,
    };
    SessionOutput::State(symbol.clone(), change)
}

fn waiting(symbol: &Symbol, why: Option<(&str, String)>) -> SessionOutput {
    let (code, message) = why.map(|(code, words)| (code.to_owned(), words)).unzip();
    let change = StateChange { state: SymbolState::Pending, code, message, until_ms: None };
    SessionOutput::State(symbol.clone(), change)
}

/// The venue says only whether a market trades now, not when that changes.
fn hours(is_open: bool) -> Arc<MarketHours> {
    static OPEN: OnceLock<Arc<MarketHours>> = OnceLock::new();
    static CLOSED: OnceLock<Arc<MarketHours>> = OnceLock::new();
    let hours = if is_open { &OPEN } else { &CLOSED };
    Arc::clone(hours.get_or_init(|| Arc::new(MarketHours::until_told(is_open))))
}
