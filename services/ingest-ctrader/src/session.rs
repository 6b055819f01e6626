use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use secrecy::{ExposeSecret, SecretString};
use tickcast_model::{AuthState, Cause, CauseKind, Price, StateChange, Symbol, SymbolState, Tick};
use tickcast_session::{Ending, Note, Now, Session, SessionOutput, Standing};

use crate::frame::FrameReader;
use crate::instruments::Instruments;
use crate::messages::{self, Incoming, Refusal, wire};
use crate::refusal::Meaning;
use crate::requests::{About, Requests};

/// Prices travel as integers of 1/100000 (facts 3.6).
const PRICE_SCALE: u8 = 5;
/// Ids in one request at most: as many as were seen to be answered in full (facts 3.4).
const IDS_PER_REQUEST: usize = 100;

/// Who we are to the venue, and how often we say that we live.
#[derive(Clone)]
pub struct SessionSettings {
    /// Application id.
    pub client_id: String,
    /// Application secret.
    pub client_secret: SecretString,
    /// OAuth access token of the account.
    pub access_token: SecretString,
    /// The account (`ctidTraderAccountId`, not the login number).
    pub account_id: i64,
    /// A heartbeat is sent after so long without sending anything (facts 3.3: 10 s or less).
    pub heartbeat: Duration,
}

/// One connection to the cTrader Open API: login, symbol list, and spot quotes of exactly the wanted symbols.
///
/// It compares what is wanted with what it holds after each change and asks for the difference, at the venue's pace;
/// a lost answer or a refused batch is repeated by the next comparison.
pub struct CtraderSession {
    settings: SessionSettings,
    reader: FrameReader,
    stage: Stage,
    requests: Requests,
    instruments: Instruments,
    wanted: Arc<BTreeSet<Symbol>>,
    /// Every symbol we want, hold, or are letting go, by the venue's id.
    entries: BTreeMap<i64, Entry>,
    last_sent: Duration,
    /// When paced work can go on.
    work_at: Option<Duration>,
    outputs: VecDeque<SessionOutput>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    ApplicationAuth,
    AccountAuth,
    SymbolsList,
    Ready,
}

struct Entry {
    symbol: Symbol,
    wanted: bool,
    step: Step,
    /// Asked for alone since a batch with it was refused.
    alone: bool,
    quote: Quote,
}

/// How far a symbol is on its way to being held, or let go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    NeedsDetails,
    AskedDetails,
    NeedsSubscription,
    AskedSubscription,
    Held,
    NeedsRelease,
    AskedRelease,
    Refused,
}

/// Both sides of a symbol, put together from one-sided events (facts 3.6).
#[derive(Default)]
struct Quote {
    bid: Option<Price>,
    ask: Option<Price>,
    /// True once the first event after the subscription came: that one is a snapshot.
    begun: bool,
}

impl CtraderSession {
    /// A session for a connection that is about to be opened.
    pub fn new(settings: SessionSettings) -> Self {
        Self {
            settings,
            reader: FrameReader::default(),
            stage: Stage::ApplicationAuth,
            requests: Requests::new(),
            instruments: Instruments::default(),
            wanted: Arc::default(),
            entries: BTreeMap::new(),
            last_sent: Duration::ZERO,
            work_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// The symbols subscribed at the venue as far as it confirmed it.
    pub fn held(&self) -> BTreeSet<Symbol> {
        self.entries
            .values()
            .filter(|entry| entry.step == Step::Held)
            .map(|entry| entry.symbol.clone())
            .collect()
    }

    fn send(&mut self, now: Now, bytes: bytes::Bytes) {
        self.last_sent = now.elapsed;
        self.outputs.push_back(SessionOutput::Send(bytes));
    }

    /// Sends a request if it may go now; else notes when it may.
    fn ask(&mut self, now: Now, about: &About, message: &impl Message) -> bool {
        match self.requests.admit(now.elapsed, about) {
            Ok(id) => {
                self.outputs.push_back(SessionOutput::Note(Note::Request(about.name())));
                self.send(now, messages::encode(about.kind() as u32, message, Some(id)));
                true
            }
            Err(at) => {
                self.outputs.push_back(SessionOutput::Note(Note::Paced(about.name())));
                self.work_at = Some(self.work_at.map_or(at, |work| work.min(at)));
                false
            }
        }
    }

    fn odd(&mut self, what: &'static str) {
        self.outputs.push_back(SessionOutput::Note(Note::Odd(what)));
    }

    /// The next request of the login, once the one before is answered (facts 3.1).
    fn log_in(&mut self, now: Now, stage: Stage) {
        self.stage = stage;
        let account_id = self.settings.account_id;
        // A connection begins with a full bucket and nothing paused, so these three always go.
        match stage {
            Stage::ApplicationAuth => {
                let request = wire::ProtoOaApplicationAuthReq {
                    client_id: self.settings.client_id.clone(),
                    client_secret: self.settings.client_secret.expose_secret().to_owned(),
                    ..Default::default()
                };
                self.outputs.push_back(SessionOutput::Auth(AuthState::Pending, None));
                self.ask(now, &About::ApplicationAuth, &request);
            }
            Stage::AccountAuth => {
                let request = wire::ProtoOaAccountAuthReq {
                    ctid_trader_account_id: account_id,
                    access_token: self.settings.access_token.expose_secret().to_owned(),
                    ..Default::default()
                };
                self.ask(now, &About::AccountAuth, &request);
            }
            Stage::SymbolsList => {
                self.outputs.push_back(SessionOutput::Auth(AuthState::Ok, None));
                let request =
                    wire::ProtoOaSymbolsListReq { ctid_trader_account_id: account_id, ..Default::default() };
                self.ask(now, &About::Symbols, &request);
            }
            Stage::Ready => {
                self.tell_catalogue();
                self.match_wanted();
                self.reconcile(now);
            }
        }
    }

    fn tell_catalogue(&mut self) {
        self.outputs.push_back(SessionOutput::Catalogue(self.instruments.catalogue()));
    }

    fn message(&mut self, now: Now, answers: Option<&str>, message: Incoming) -> Result<(), Ending> {
        match message {
            Incoming::Spot(event) => self.spot(now, &event),
            Incoming::Heartbeat => {}
            Incoming::Unknown => self.odd("unknown_payload_type"),
            Incoming::SymbolChanged(event) => {
                for id in event.symbol_id {
                    self.instruments.forget_details(id);
                    if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.step == Step::Refused)
                    {
                        entry.step = Step::NeedsDetails;
                    }
                }
                self.reconcile(now);
            }
            Incoming::ClientDisconnect(reason) => {
                let reason: String = reason.chars().filter(|c| !c.is_control()).take(300).collect();
                return Err(Cause::new(CauseKind::SessionLost, reason).into());
            }
            Incoming::AccountsGone(accounts, what) => {
                if accounts.is_empty() || accounts.contains(&self.settings.account_id) {
                    return Err(Cause::new(CauseKind::SessionLost, what).into());
                }
            }
            Incoming::Error(refusal) => return self.refused(now, answers, &refusal),
            answer => match self.requests.answered(answers) {
                Some(about) => {
                    self.requests.accepted(&about);
                    self.answer(now, about, answer);
                }
                None => self.odd("answer_to_nothing"),
            },
        }
        Ok(())
    }

    fn answer(&mut self, now: Now, about: About, answer: Incoming) {
        match (about, answer) {
            (About::ApplicationAuth, Incoming::ApplicationAuth) => self.log_in(now, Stage::AccountAuth),
            (About::AccountAuth, Incoming::AccountAuth) => self.log_in(now, Stage::SymbolsList),
            (About::Symbols, Incoming::Symbols(list)) => {
                self.instruments = Instruments::read(list);
                self.log_in(now, Stage::Ready);
            }
            (About::Details(ids), Incoming::Details(details)) => {
                for symbol in &details.symbol {
                    if let Err(reason) = self.instruments.describe(symbol) {
                        self.refuse(symbol.symbol_id, &reason);
                    }
                }
                for id in ids {
                    if self.instruments.details(id).is_some() {
                        self.step(id, Step::AskedDetails, Step::NeedsSubscription);
                    } else if self.entries.get(&id).is_some_and(|entry| entry.step == Step::AskedDetails) {
                        self.refuse(id, "the venue has no details of it");
                    }
                }
                self.tell_catalogue();
                self.reconcile(now);
            }
            (About::Subscribe(ids), Incoming::Subscribed) => {
                for id in ids {
                    self.step(id, Step::AskedSubscription, Step::Held);
                }
                self.reconcile(now);
            }
            (About::Unsubscribe(ids), Incoming::Unsubscribed) => self.released(now, &ids),
            (about, _) => {
                self.odd("answer_of_another_type");
                self.repeat(now, about, false);
            }
        }
    }

    fn refused(&mut self, now: Now, answers: Option<&str>, refusal: &Refusal) -> Result<(), Ending> {
        let meaning = refusal.meaning();
        let Some(about) = self.requests.answered(answers) else {
            self.odd("error_to_nothing");
            // Said to nobody in particular, a lost or refused login is still true of this connection.
            return match meaning {
                Meaning::LoggedOut | Meaning::Refused => Err(refusal.cause().into()),
                _ => Ok(()),
            };
        };
        match (about, meaning) {
            (About::ApplicationAuth, Meaning::Already) => self.log_in(now, Stage::AccountAuth),
            (About::AccountAuth, Meaning::Already) => self.log_in(now, Stage::SymbolsList),
            (About::ApplicationAuth | About::AccountAuth | About::Symbols, _)
            | (_, Meaning::LoggedOut | Meaning::VenueAway) => return Err(refusal.cause().into()),
            (about, Meaning::SlowDown) => {
                self.requests.pause(now.elapsed, &about, refusal.retry_after_s);
                self.repeat(now, about, false);
            }
            (About::Unsubscribe(ids), _) => self.released(now, &ids),
            (About::Subscribe(ids), Meaning::Already) if ids.len() == 1 => {
                self.step(ids[0], Step::AskedSubscription, Step::Held);
                self.reconcile(now);
            }
            (About::Subscribe(ids) | About::Details(ids), _) if ids.len() == 1 => {
                self.refuse(ids[0], &refusal.words());
                self.reconcile(now);
            }
            // Whether the others of a refused batch took effect is not known (facts 3.5): ask one by one.
            (about, _) => self.repeat(now, about, true),
        }
        Ok(())
    }

    /// Puts what a request was about back to where it can be asked for again.
    fn repeat(&mut self, now: Now, about: About, alone: bool) {
        let (ids, asked, needed) = match about {
            About::Details(ids) => (ids, Step::AskedDetails, Step::NeedsDetails),
            About::Subscribe(ids) => (ids, Step::AskedSubscription, Step::NeedsSubscription),
            About::Unsubscribe(ids) => (ids, Step::AskedRelease, Step::NeedsRelease),
            About::ApplicationAuth | About::AccountAuth | About::Symbols => return,
        };
        for id in ids {
            self.step(id, asked, needed);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.alone |= alone;
            }
        }
        self.reconcile(now);
    }

    /// The venue let these symbols go, or never had them, which is the same.
    fn released(&mut self, now: Now, ids: &[i64]) {
        for id in ids {
            let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.step == Step::AskedRelease)
            else {
                continue;
            };
            if entry.wanted {
                entry.step = Step::NeedsSubscription;
                entry.quote = Quote::default();
            } else {
                self.entries.remove(id);
            }
        }
        self.reconcile(now);
    }

    fn step(&mut self, id: i64, from: Step, to: Step) {
        if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.step == from) {
            entry.step = to;
        }
    }

    fn refuse(&mut self, id: i64, reason: &str) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.step = Step::Refused;
        let symbol = entry.symbol.clone();
        self.outputs.push_back(SessionOutput::State(symbol, refused_state("SYMBOL_REFUSED", reason)));
    }

    /// Brings the entries in line with the wanted names, once the venue's list is known.
    fn match_wanted(&mut self) {
        if self.stage != Stage::Ready {
            return;
        }
        let mut unknown = Vec::new();
        let mut wanted_ids = BTreeSet::new();
        for symbol in self.wanted.iter() {
            match self.instruments.id(symbol) {
                Some(id) => {
                    wanted_ids.insert(id);
                    self.entries.entry(id).or_insert_with(|| Entry {
                        symbol: symbol.clone(),
                        wanted: true,
                        step: Step::NeedsDetails,
                        alone: false,
                        quote: Quote::default(),
                    });
                }
                None => unknown.push(symbol.clone()),
            }
        }
        for (id, entry) in &mut self.entries {
            entry.wanted = wanted_ids.contains(id);
            entry.step = match entry.step {
                Step::Held if !entry.wanted => Step::NeedsRelease,
                step => step,
            };
        }
        self.entries.retain(|_, entry| {
            entry.wanted
                || !matches!(entry.step, Step::NeedsDetails | Step::NeedsSubscription | Step::Refused)
        });
        for symbol in unknown {
            let state = refused_state("UNKNOWN_SYMBOL", "the venue's list does not hold it");
            self.outputs.push_back(SessionOutput::State(symbol, state));
        }
    }

    /// Asks for the difference between what is wanted and what is held, as fast as the venue allows.
    fn reconcile(&mut self, now: Now) {
        self.work_at = None;
        if self.stage != Stage::Ready {
            return;
        }
        for (id, entry) in &mut self.entries {
            if entry.step == Step::NeedsDetails && self.instruments.details(*id).is_some() {
                entry.step = Step::NeedsSubscription;
            }
            // Answers that came after the wish had changed.
            if !entry.wanted && entry.step == Step::Held {
                entry.step = Step::NeedsRelease;
            }
        }
        self.entries.retain(|_, entry| {
            entry.wanted
                || !matches!(entry.step, Step::NeedsDetails | Step::NeedsSubscription | Step::Refused)
        });
        let account = self.settings.account_id;
        while let Some(ids) = self.batch(Step::NeedsRelease) {
            let request = wire::ProtoOaUnsubscribeSpotsReq {
                ctid_trader_account_id: account,
                symbol_id: ids.clone(),
                ..Default::default()
            };
            if !self.ask_for(now, About::Unsubscribe(ids), &request, Step::AskedRelease) {
                break;
            }
        }
        while let Some(ids) = self.batch(Step::NeedsDetails) {
            let request = wire::ProtoOaSymbolByIdReq {
                ctid_trader_account_id: account,
                symbol_id: ids.clone(),
                ..Default::default()
            };
            if !self.ask_for(now, About::Details(ids), &request, Step::AskedDetails) {
                break;
            }
        }
        while let Some(ids) = self.batch(Step::NeedsSubscription) {
            let request = wire::ProtoOaSubscribeSpotsReq {
                ctid_trader_account_id: account,
                symbol_id: ids.clone(),
                subscribe_to_spot_timestamp: Some(true),
                ..Default::default()
            };
            if !self.ask_for(now, About::Subscribe(ids), &request, Step::AskedSubscription) {
                break;
            }
        }
    }

    /// The next ids that can share a request.
    fn batch(&self, step: Step) -> Option<Vec<i64>> {
        let mut ready = self.entries.iter().filter(|(_, entry)| entry.step == step);
        let (first, entry) = ready.next()?;
        let mut ids = vec![*first];
        if !entry.alone {
            let others = ready.filter(|(_, entry)| !entry.alone).map(|(id, _)| *id);
            ids.extend(others.take(IDS_PER_REQUEST - 1));
        }
        Some(ids)
    }

    fn ask_for(&mut self, now: Now, about: About, message: &impl Message, asked: Step) -> bool {
        let sent = self.ask(now, &about, message);
        if let About::Details(ids) | About::Subscribe(ids) | About::Unsubscribe(ids) = about
            && sent
        {
            for id in ids {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.step = asked;
                }
            }
        }
        sent
    }

    /// Merges an event into the symbol's quote and publishes it once both sides are known (facts 3.6).
    fn spot(&mut self, now: Now, event: &wire::ProtoOaSpotEvent) {
        if event.ctid_trader_account_id != self.settings.account_id {
            return self.odd("spot_of_another_account");
        }
        let entry = self.entries.get_mut(&event.symbol_id);
        let streaming = |entry: &&mut Entry| matches!(entry.step, Step::AskedSubscription | Step::Held);
        let Some(entry) = entry.filter(streaming) else { return self.odd("late_spot") };
        let Some(details) = self.instruments.details(event.symbol_id) else { return self.odd("late_spot") };
        let price = |units: u64| i64::try_from(units).ok().and_then(|units| Price::new(units, PRICE_SCALE));
        let (bid, ask) = (event.bid.map(price), event.ask.map(price));
        if bid == Some(None) || ask == Some(None) {
            return self.odd("impossible_price");
        }
        let quote = &mut entry.quote;
        quote.bid = bid.flatten().or(quote.bid);
        quote.ask = ask.flatten().or(quote.ask);
        if quote.bid.is_none() || quote.ask.is_none() {
            return;
        }
        let snapshot = !quote.begun || event.session_close.is_some();
        quote.begun = true;
        let tick = Tick {
            bid: quote.bid,
            ask: quote.ask,
            last: None,
            digits: details.digits,
            venue_time_ms: event.timestamp,
            received_us: now.unix_us,
            snapshot,
        };
        self.outputs.push_back(SessionOutput::Tick(entry.symbol.clone(), tick));
    }
}

impl Session for CtraderSession {
    fn start(&mut self, now: Now) {
        self.last_sent = now.elapsed;
        self.log_in(now, Stage::ApplicationAuth);
    }

    fn receive(&mut self, now: Now, bytes: &[u8]) -> Result<(), Ending> {
        // Frames are read from where they lie, beside the rest of the session.
        let mut reader = std::mem::take(&mut self.reader);
        reader.push(bytes);
        while let Some(body) = reader.next_frame()? {
            let envelope = messages::decode(body)?;
            self.message(now, envelope.answers.as_deref(), envelope.message)?;
        }
        self.reader = reader;
        Ok(())
    }

    fn want(&mut self, now: Now, wanted: &Arc<BTreeSet<Symbol>>) {
        self.wanted = Arc::clone(wanted);
        self.match_wanted();
        self.reconcile(now);
    }

    fn ask_again(&mut self, now: Now, silent: &BTreeSet<Symbol>) {
        // Subscribing twice is refused (facts 3.5), so what is held is let go first.
        for entry in self.entries.values_mut() {
            if entry.step == Step::Held && silent.contains(&entry.symbol) {
                entry.step = Step::NeedsRelease;
            }
        }
        self.reconcile(now);
    }

    fn kept(&mut self, _: Now, _: Result<(), String>) {
        // Nothing of this session is stored, so nothing waits for it.
    }

    fn standing(&self, _: Now, symbol: &Symbol) -> Standing {
        let entry = self.entries.values().find(|entry| entry.symbol == *symbol);
        let (detail, next) = match (self.stage, entry.map(|entry| (entry.step, entry.quote.begun))) {
            (Stage::ApplicationAuth | Stage::AccountAuth, _) => ("not logged in yet", "the login's answer"),
            (Stage::SymbolsList, _) => ("the symbol list is asked for", "its answer"),
            (Stage::Ready, None) => ("not wanted, or not in the venue's list", ""),
            (Stage::Ready, Some((step, begun))) => match step {
                Step::NeedsDetails => ("its details are to be asked for", "a free request slot"),
                Step::AskedDetails => ("its details are asked for", "their answer"),
                Step::NeedsSubscription => ("to be subscribed", "a free request slot"),
                Step::AskedSubscription => ("its subscription is asked for", "the answer"),
                Step::Held if begun => ("subscribed, and prices came", ""),
                Step::Held => ("subscribed, and no price came yet", "the first price"),
                Step::NeedsRelease => ("to be let go", "a free request slot"),
                Step::AskedRelease => ("being let go", "the answer"),
                Step::Refused => ("refused by the venue", ""),
            },
        };
        let ok = entry.is_some_and(|entry| entry.step == Step::Held && entry.quote.begun);
        Standing { ok, since: None, detail: detail.to_owned(), next: next.to_owned() }
    }

    fn timeout(&mut self, now: Now) -> Result<(), Ending> {
        while let Some(about) = self.requests.expired(now.elapsed) {
            match about {
                About::ApplicationAuth | About::AccountAuth | About::Symbols => {
                    return Err(Cause::new(CauseKind::RequestTimeout, about.name()).into());
                }
                about => {
                    self.odd("request_timeout");
                    self.repeat(now, about, true);
                }
            }
        }
        if self.work_at.is_some_and(|at| at <= now.elapsed) {
            self.reconcile(now);
        }
        if self.last_sent + self.settings.heartbeat <= now.elapsed {
            self.send(now, messages::heartbeat());
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Duration> {
        let heartbeat = self.last_sent + self.settings.heartbeat;
        let others = [self.requests.deadline(), self.work_at];
        Some(others.into_iter().flatten().fold(heartbeat, Duration::min))
    }

    fn poll(&mut self) -> Option<SessionOutput> {
        self.outputs.pop_front()
    }
}

fn refused_state(code: &str, reason: &str) -> StateChange {
    StateChange {
        state: SymbolState::Refused,
        code: Some(code.to_owned()),
        message: Some(reason.to_owned()),
        until_ms: None,
    }
}

#[cfg(test)]
mod tests;
