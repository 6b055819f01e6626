use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tickcast_model::{Cause, CauseKind, StateChange, Symbol, SymbolState};
use tickcast_session::{Ending, MarketHours, Note, Now, SessionOutput, Standing};

use crate::entry::{Entry, First, Refusal, Refusals, Room, Step};
use crate::message::{FIELDS, Fields, encode};
use crate::pace::Pace;

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
    refusals: Refusals,
    healing: Healing,
    /// When which entry is looked at; one that has moved on since is left alone.
    agenda: BTreeSet<(Duration, Symbol)>,
    /// When paced work can go on.
    work_at: Option<Duration>,
    commands: VecDeque<String>,
    outputs: VecDeque<SessionOutput>,
}

/// How soon a broken quote session is replaced: at once, and later each time it happens again soon.
#[derive(Default)]
struct Healing {
    in_a_row: u32,
    last: Option<Duration>,
    not_before: Duration,
}

/// Keys in one message (facts 5.4).
const KEYS_PER_MESSAGE: usize = 50;
/// A key of which nothing is heard for so long is left to the watch over its silence (facts 4.1).
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A session that broke says so within this.
const REST: Duration = Duration::from_secs(1);
/// Parts of the first data come within this after the first of them.
const WHOLE_WITHIN: Duration = Duration::from_secs(1);
/// And within this after the venue says that it has sent the first data, which does not promise a book (facts 4.1).
const BOOK_WITHIN: Duration = Duration::from_millis(500);
/// A refused symbol is asked for again so rarely (facts 5.6).
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// A connection has about 200 sessions in it (facts 5.4); before that a new one is opened.
const SESSIONS_PER_CONNECTION: u64 = 180;
/// Sessions beside those the symbols need: for keys on trial and for symbols that an older session lost.
const SPARE_SESSIONS: usize = 8;
/// The longest wait before a broken session is replaced, and the time after which it was the first one again.
const HEAL_AFTER_MAX: Duration = Duration::from_secs(30);
const HEALED_AFTER: Duration = Duration::from_secs(60);

impl Board {
    pub(crate) fn new(limits: Limits, rng: fastrand::Rng) -> Self {
        Self {
            limits,
            pace: Pace::new(limits.messages_per_s),
            rng,
            is_open: false,
            wanted: Arc::default(),
            entries: BTreeMap::new(),
            rooms: BTreeMap::new(),
            opened: 0,
            refusals: Refusals::default(),
            healing: Healing::default(),
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
            if let Some(refusal) = self.refusals.of(now.elapsed, symbol) {
                self.outputs.push_back(refused(symbol, refusal.reason.clone()));
                self.agenda.insert((refusal.retry_at, symbol.clone()));
                entry.lot = if refusal.breaks { 1 } else { usize::MAX };
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
        self.heard_of(now, number, key);
        self.whole_by(now.elapsed + BOOK_WITHIN, key);
    }

    /// A quote session is unusable: what was in it goes into another, and what may be why is asked for apart, in ever
    /// smaller batches until it is known (facts 5.6).
    pub(crate) fn broken(&mut self, now: Now, session: &str, words: &str) {
        let number = self.rooms.iter().find(|(_, room)| room.id == session).map(|(number, _)| *number);
        let Some(room) = number.and_then(|number| self.rooms.remove(&number)) else {
            return self.odd("error_of_another_session");
        };
        self.odd("session_broken");
        // Too many sessions are nobody's key's fault.
        let is_limit = words.contains("max ") && words.contains("session");
        let suspects = if is_limit { BTreeSet::new() } else { room.asked };
        let lot = suspects.len().div_ceil(2);
        for symbol in &room.keys {
            let Some(entry) = self.entries.get_mut(symbol).filter(|entry| entry.room == number) else {
                continue;
            };
            entry.start_over(now.elapsed);
            if suspects.contains(symbol) {
                entry.lot = lot;
            }
        }
        if suspects.is_empty() {
            self.healing.broke(now.elapsed);
        } else if suspects.len() == 1 {
            for symbol in &suspects {
                self.refuse(now, symbol.as_str(), words.to_owned(), true);
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
        Ok(())
    }

    /// When [`Board::timeout`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.opened >= SESSIONS_PER_CONNECTION {
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
        self.refusals.note(&symbol, refusal.clone());
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

    /// Asks for the difference between what is wanted and what is held, as fast as allowed.
    fn reconcile(&mut self, now: Now) {
        self.work_at = None;
        if self.is_open {
            // The first thing that may not go yet ends the round, so that a key is never added where it was not let go.
            let _ =
                self.let_go(now).and_then(|()| self.try_suspects(now)).and_then(|()| self.add_needed(now));
        }
    }

    fn let_go(&mut self, now: Now) -> Result<(), Blocked> {
        let numbers: Vec<u64> = self.rooms.keys().copied().collect();
        for number in numbers {
            let is_resting = self.rooms.get(&number).is_some_and(|room| room.rests_until > now.elapsed);
            if is_resting {
                self.wait_for(number);
                continue;
            }
            // What was asked for in it may have been let go since.
            self.rooms.get_mut(&number).map(Room::answered);
            while let Some(room) = self.rooms.get(&number).filter(|room| !room.leaving.is_empty()) {
                let batch: Vec<Symbol> = room.leaving.iter().take(KEYS_PER_MESSAGE).cloned().collect();
                let message = encode("quote_remove_symbols", with_id(&room.id, &batch));
                self.send(now, "remove_symbols", [message])?;
                if let Some(room) = self.rooms.get_mut(&number) {
                    for symbol in &batch {
                        room.leaving.remove(symbol);
                        room.keys.remove(symbol);
                    }
                }
            }
            // One is kept for what comes next.
            if let Some(room) = self.rooms.get(&number).filter(|room| room.is_used && room.keys.is_empty())
                && self.rooms.len() > 1
                && !room.on_trial
            {
                let message = encode("quote_delete_session", [room.id.as_str()]);
                self.send(now, "delete_session", [message])?;
                self.rooms.remove(&number);
            }
        }
        Ok(())
    }

    /// Asks for keys that may have broken a session: one batch at a time, in a session of its own.
    fn try_suspects(&mut self, now: Now) -> Result<(), Blocked> {
        let needed =
            || self.entries.iter().filter(|(_, entry)| entry.step == Step::Needed && entry.is_suspect());
        let Some(lot) = needed().map(|(_, entry)| entry.lot).next() else { return Ok(()) };
        let alike = needed().filter(|(_, entry)| entry.lot == lot).take(lot.min(KEYS_PER_MESSAGE));
        let batch: Vec<Symbol> = alike.map(|(symbol, _)| symbol.clone()).collect();
        let on_trial = self.rooms.iter().find(|(_, room)| room.on_trial);
        let number = match on_trial {
            Some((_, room)) if !room.keys.is_empty() => return Ok(()),
            Some((number, _)) => *number,
            None => self.open_session(now, true)?,
        };
        self.add(now, number, batch)
    }

    fn add_needed(&mut self, now: Now) -> Result<(), Blocked> {
        let is_needed = |entry: &Entry| entry.step == Step::Needed && !entry.is_suspect();
        while let Some(after) = self.entries.values().find(|entry| is_needed(entry)).map(|entry| entry.after)
        {
            let most = self.limits.symbols_per_session;
            let needed_sessions = self.limits.symbols_max.div_ceil(most);
            let is_full = self.rooms.len() >= needed_sessions + SPARE_SESSIONS;
            let after = if is_full { 0 } else { after };
            let with_space = || {
                let rooms = self.rooms.iter().filter(|(_, room)| !room.on_trial && room.keys.len() < most);
                rooms.filter(move |(number, _)| **number > after)
            };
            let is_awake = |room: &Room| room.rests_until <= now.elapsed;
            let number = match with_space().find(|(_, room)| is_awake(room)).map(|(number, _)| *number) {
                Some(number) => number,
                None => {
                    // What will fit where keys are being answered waits for that.
                    let space: usize = with_space().map(|(_, room)| most - room.keys.len()).sum();
                    let soonest =
                        with_space().min_by_key(|(_, room)| room.rests_until).map(|(number, _)| *number);
                    if let Some(number) = soonest
                        && (is_full
                            || self.entries.values().filter(|entry| is_needed(entry)).count() <= space)
                    {
                        self.wait_for(number);
                        return Err(Blocked);
                    }
                    self.open_session(now, false)?
                }
            };
            let held = self.rooms.get(&number).map_or(0, |room| room.keys.len());
            let space = most.saturating_sub(held).clamp(1, KEYS_PER_MESSAGE);
            let fits = |entry: &Entry| is_needed(entry) && (entry.after < number || is_full);
            let fitting = self.entries.iter().filter(|(_, entry)| fits(entry)).take(space);
            let batch = fitting.map(|(symbol, _)| symbol.clone()).collect();
            self.add(now, number, batch)?;
        }
        Ok(())
    }

    fn open_session(&mut self, now: Now, on_trial: bool) -> Result<u64, Blocked> {
        if self.opened >= SESSIONS_PER_CONNECTION {
            return Err(Blocked);
        }
        if !on_trial && self.healing.not_before > now.elapsed {
            return Err(self.wait_until(self.healing.not_before));
        }
        let id: String = std::iter::repeat_with(|| self.rng.alphanumeric()).take(12).collect();
        let id = format!("qs_{id}");
        let create = encode("quote_create_session", [id.as_str()]);
        let fields = encode("quote_set_fields", std::iter::once(id.as_str()).chain(FIELDS));
        self.send(now, "create_session", [create, fields])?;
        self.opened += 1;
        self.rooms.insert(self.opened, Room::new(id, on_trial));
        Ok(self.opened)
    }

    fn add(&mut self, now: Now, number: u64, batch: Vec<Symbol>) -> Result<(), Blocked> {
        let Some(id) = self.rooms.get(&number).map(|room| &room.id) else { return Err(Blocked) };
        let message = encode("quote_add_symbols", with_id(id, &batch));
        self.send(now, "add_symbols", [message])?;
        if let Some(room) = self.rooms.get_mut(&number) {
            room.rests_until = now.elapsed + REST;
            room.is_used = true;
        }
        for symbol in batch {
            if let (Some(entry), Some(room)) = (self.entries.get_mut(&symbol), self.rooms.get_mut(&number)) {
                entry.go(now.elapsed, Step::Asked);
                entry.room = Some(number);
                room.keys.insert(symbol.clone());
                room.asked.insert(symbol.clone());
                self.agenda.insert((now.elapsed + ANSWER_WITHIN, symbol));
            }
        }
        Ok(())
    }

    /// Sends messages that belong together, if they may go now.
    fn send<const N: usize>(
        &mut self,
        now: Now,
        request: &'static str,
        messages: [String; N],
    ) -> Result<(), Blocked> {
        match self.pace.take(now.elapsed, N) {
            Ok(()) => {
                self.outputs.push_back(SessionOutput::Note(Note::Request(request)));
                self.commands.extend(messages);
                Ok(())
            }
            Err(at) => {
                self.outputs
                    .push_back(SessionOutput::Note(Note::Paced(request, at.saturating_sub(now.elapsed))));
                Err(self.wait_until(at))
            }
        }
    }

    /// This session will take more once it is answered, which is noticed, or once it has rested.
    fn wait_for(&mut self, number: u64) {
        if let Some(at) = self.rooms.get(&number).map(|room| room.rests_until) {
            let Blocked = self.wait_until(at);
        }
    }

    fn wait_until(&mut self, at: Duration) -> Blocked {
        self.work_at = Some(self.work_at.map_or(at, |before| before.min(at)));
        Blocked
    }
}

/// The next message may not go yet.
struct Blocked;

impl Healing {
    fn broke(&mut self, now: Duration) {
        if self.last.is_none_or(|last| last + HEALED_AFTER <= now) {
            self.in_a_row = 0;
        }
        let wait = match self.in_a_row {
            0 => Duration::ZERO,
            before => Duration::from_secs(1 << (before - 1).min(5)).min(HEAL_AFTER_MAX),
        };
        self.in_a_row += 1;
        self.last = Some(now);
        self.not_before = now + wait;
    }
}

fn get<'a>(entries: &'a mut BTreeMap<Symbol, Entry>, key: &str) -> Option<(Symbol, &'a mut Entry)> {
    let symbol = entries.get_key_value(key)?.0.clone();
    entries.get_mut(key).map(|entry| (symbol, entry))
}

fn with_id<'a>(id: &'a str, batch: &'a [Symbol]) -> impl Iterator<Item = &'a str> {
    std::iter::once(id).chain(batch.iter().map(Symbol::as_str))
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
