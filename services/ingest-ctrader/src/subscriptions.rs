use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tickcast_model::{StateChange, Symbol, SymbolState};
use tickcast_session::{Now, SessionOutput, Standing};

use crate::entry::{Describing, Entry, Step};
use crate::instruments::Instruments;
use crate::listing::Listing;
use crate::messages::{Refusal, wire};
use crate::outgoing::Outgoing;
use crate::refusal::{Meaning, clean};
use crate::requests::About;

/// Ids in one request at most: as many as were seen to be answered in full (facts 3.4).
const IDS_PER_REQUEST: usize = 100;
/// A symbol the venue refused is looked at again after this, for it does not always say when that changes.
const REFUSED_AGAIN: Duration = Duration::from_secs(5 * 60);

/// What is subscribed on one connection, and what should be.
///
/// It compares the two after each change and asks for the difference, at the venue's pace. A lost answer, a refused batch or
/// a symbol that stays silent is repeated by a later comparison, and what does not come right is told of that symbol.
pub(crate) struct Subscriptions {
    account_id: i64,
    wanted: Arc<BTreeSet<Symbol>>,
    /// Every symbol we want, hold, or are letting go, by the venue's id.
    entries: BTreeMap<i64, Entry>,
    /// Wanted names the venue's list does not hold, since when; told once.
    unknown: BTreeMap<Symbol, Duration>,
    /// True while the account is logged in: nothing is asked before.
    open: bool,
    /// When an entry wants to be looked at.
    due: Option<Duration>,
}

impl Subscriptions {
    pub(crate) fn new(account_id: i64) -> Self {
        Self {
            account_id,
            wanted: Arc::default(),
            entries: BTreeMap::new(),
            unknown: BTreeMap::new(),
            open: false,
            due: None,
        }
    }

    /// This is the whole wanted set from now on.
    pub(crate) fn want(&mut self, wanted: &Arc<BTreeSet<Symbol>>) {
        self.wanted = Arc::clone(wanted);
    }

    /// The account is logged in, or is not any more; what was subscribed in an earlier session is gone.
    pub(crate) fn login(&mut self, now: Now, open: bool) {
        self.open = open;
        for entry in self.entries.values_mut() {
            entry.logged_out(now.elapsed);
        }
    }

    /// The symbols the venue is known to stream: a price came after each subscription.
    pub(crate) fn held(&self) -> BTreeSet<Symbol> {
        let held = self.entries.values().filter(|entry| matches!(entry.step, Step::Held | Step::Asked(true)));
        held.map(|entry| entry.symbol.clone()).collect()
    }

    /// When [`Subscriptions::reconcile`] has something to do without anything else happening.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// Brings the entries in line with the wanted names, as the venue's list knows them now.
    pub(crate) fn match_wanted(&mut self, now: Now, out: &mut Outgoing, instruments: &Instruments) {
        let mut wanted_ids = BTreeSet::new();
        let wanted = Arc::clone(&self.wanted);
        self.unknown.retain(|symbol, _| wanted.contains(symbol) && instruments.id(symbol).is_none());
        for symbol in wanted.iter() {
            let Some(id) = instruments.id(symbol) else {
                if !self.unknown.contains_key(symbol) {
                    self.unknown.insert(symbol.clone(), now.elapsed);
                    let reason = "the venue's list does not hold it";
                    tell(out, symbol, SymbolState::Refused, "UNKNOWN_SYMBOL", reason);
                }
                continue;
            };
            wanted_ids.insert(id);
            let entry = self.entries.entry(id).or_insert_with(|| Entry::new(now.elapsed, symbol.clone()));
            if entry.symbol != *symbol {
                // The id means another instrument now: nothing of the old one is true of it.
                let step = entry.step;
                *entry = Entry::new(now.elapsed, symbol.clone());
                entry.step = if step == Step::Out { Step::Out } else { Step::NeedsRelease };
            }
            if entry.details.is_none()
                && let Some(details) = instruments.details(id)
            {
                entry.details = Some(details.clone());
                entry.describing = Describing::Known;
                tell_hours(out, entry);
            }
        }
        for (id, entry) in &mut self.entries {
            entry.wanted = wanted_ids.contains(id);
        }
    }

    /// Asks for the difference between what is wanted and what is held, as fast as the venue allows.
    pub(crate) fn reconcile(&mut self, now: Now, out: &mut Outgoing) {
        self.due = None;
        self.entries.retain(|_, entry| entry.wanted || entry.step != Step::Out);
        if !self.open {
            return;
        }
        for entry in self.entries.values_mut() {
            look_at(now.elapsed, out, entry);
        }
        while let Some(ids) = self.batch(|entry| entry.step == Step::NeedsRelease) {
            let request = wire::ProtoOaUnsubscribeSpotsReq {
                ctid_trader_account_id: self.account_id,
                symbol_id: ids.clone(),
                ..Default::default()
            };
            if !out.ask(now, &About::Unsubscribe(ids.clone()), &request) {
                break;
            }
            self.each(&ids, |entry| entry.go(now.elapsed, Step::AskedRelease));
        }
        let rested = |entry: &Entry| !entry.is_resting(now.elapsed);
        while let Some(ids) =
            self.batch(|entry| entry.describing == Describing::Needed && entry.wanted && rested(entry))
        {
            let request = wire::ProtoOaSymbolByIdReq {
                ctid_trader_account_id: self.account_id,
                symbol_id: ids.clone(),
                ..Default::default()
            };
            if !out.ask(now, &About::Details(ids.clone()), &request) {
                break;
            }
            self.each(&ids, |entry| {
                entry.describing = Describing::Asked;
                if entry.step == Step::Out {
                    entry.since = now.elapsed;
                }
            });
        }
        while let Some(ids) = self.batch(|entry| {
            entry.step == Step::Out && entry.is_desired() && entry.details.is_some() && rested(entry)
        }) {
            let request = wire::ProtoOaSubscribeSpotsReq {
                ctid_trader_account_id: self.account_id,
                symbol_id: ids.clone(),
                subscribe_to_spot_timestamp: Some(true),
                ..Default::default()
            };
            if !out.ask(now, &About::Subscribe(ids.clone()), &request) {
                break;
            }
            self.each(&ids, |entry| entry.go(now.elapsed, Step::Asked(false)));
        }
        self.due = self.entries.values().filter_map(|entry| next_look(now.elapsed, entry)).min();
    }

    /// The next ids that can share a request.
    fn batch(&self, fits: impl Fn(&Entry) -> bool) -> Option<Vec<i64>> {
        let mut ready = self.entries.iter().filter(|(_, entry)| fits(entry));
        let (first, entry) = ready.next()?;
        let mut ids = vec![*first];
        if !entry.alone {
            let others = ready.filter(|(_, entry)| !entry.alone).map(|(id, _)| *id);
            ids.extend(others.take(IDS_PER_REQUEST - 1));
        }
        Some(ids)
    }

    fn each(&mut self, ids: &[i64], mut change: impl FnMut(&mut Entry)) {
        for id in ids {
            if let Some(entry) = self.entries.get_mut(id) {
                change(entry);
            }
        }
    }

    /// The venue took a subscription.
    pub(crate) fn subscribed(&mut self, now: Now, ids: &[i64]) {
        self.each(ids, |entry| entry.accepted(now.elapsed));
    }

    /// The venue let these symbols go, or never had them, which is the same.
    pub(crate) fn released(&mut self, now: Now, ids: &[i64]) {
        self.each(ids, |entry| {
            if entry.step == Step::AskedRelease {
                entry.go(now.elapsed, Step::Out);
            }
        });
    }

    /// The venue described symbols that were asked for.
    pub(crate) fn described(
        &mut self,
        now: Now,
        out: &mut Outgoing,
        listing: &mut Listing,
        ids: &[i64],
        details: &wire::ProtoOaSymbolByIdRes,
    ) {
        let instruments = &mut listing.instruments;
        let mut reasons = BTreeMap::new();
        for symbol in &details.symbol {
            match instruments.describe(symbol) {
                Ok(false) => {}
                Ok(true) => out.odd("unusable_schedule"),
                Err(reason) => _ = reasons.insert(symbol.symbol_id, reason),
            }
        }
        for symbol in &details.archived_symbol {
            reasons.insert(symbol.symbol_id, "the venue has retired it".to_owned());
        }
        let named: BTreeSet<i64> = details.symbol.iter().map(|symbol| symbol.symbol_id).collect();
        for id in ids {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            entry.describing = Describing::Known;
            if let Some(reason) = reasons.get(id) {
                refuse(now, out, entry, reason);
            } else if !named.contains(id) {
                refuse(now, out, entry, "the venue has no details of it");
            } else {
                let before = entry.details.take().and_then(|details| details.hours);
                entry.details = instruments.details(*id).cloned();
                entry.failures = 0;
                if before != entry.details.as_ref().and_then(|details| details.hours.clone()) {
                    tell_hours(out, entry);
                }
            }
        }
        listing.tell(out);
    }

    /// The venue says that these symbols changed: their details are read again while they go on streaming.
    pub(crate) fn changed(&mut self, ids: &[i64], instruments: &mut Instruments) {
        for id in ids {
            instruments.forget_details(*id);
            if let Some(entry) = self.entries.get_mut(id) {
                entry.describing = Describing::Needed;
                entry.refused = None;
                entry.rest_until = Duration::ZERO;
            }
        }
    }

    /// These symbols should tick and do not. Subscribing twice is refused (facts 3.5), so they are let go first.
    pub(crate) fn ask_again(&mut self, now: Now, silent: &BTreeSet<Symbol>) {
        for entry in self.entries.values_mut() {
            if entry.step == Step::Held && silent.contains(&entry.symbol) {
                entry.go(now.elapsed, Step::NeedsRelease);
            }
        }
    }

    /// What an error answer to a request about symbols means, while the account's session lives on.
    pub(crate) fn refused(
        &mut self,
        now: Now,
        out: &mut Outgoing,
        about: &About,
        refusal: &Refusal,
        in_a_row: u32,
    ) {
        let meaning = refusal.meaning();
        match (about, meaning) {
            (_, Meaning::SlowDown) => {
                // The pace holds the next one back; where that does not help it is told.
                self.back(now, about);
                if in_a_row >= 3 {
                    self.report(out, about, "RATE_LIMITED", &refusal.words());
                }
            }
            // Whatever the reason not to let something go: it is not ours any more.
            (About::Unsubscribe(ids), _) => self.released(now, ids),
            (About::Subscribe(ids), Meaning::Already) if ids.len() == 1 => self.subscribed(now, ids),
            (About::Subscribe(ids) | About::Details(ids), Meaning::Symbol) if ids.len() == 1 => {
                self.back(now, about);
                self.each(ids, |entry| refuse(now, out, entry, &refusal.words()));
            }
            // Whether the others of a refused batch took effect is not known (facts 3.5): ask one by one.
            (
                About::Subscribe(ids) | About::Details(ids),
                Meaning::Already | Meaning::Symbol | Meaning::Bug,
            ) if ids.len() > 1 => {
                self.back(now, about);
                self.each(ids, |entry| entry.alone = true);
            }
            _ => {
                out.odd("request_refused");
                self.failed(now, out, about, "VENUE_ERROR", &refusal.words());
            }
        }
    }

    /// A request about symbols was not answered in time: it is repeated, and told where it stays so (facts 4, row 29).
    pub(crate) fn unanswered(&mut self, now: Now, out: &mut Outgoing, about: &About) {
        if let About::Subscribe(ids) = about {
            // Prices are a better answer than the one that is missing.
            self.each(ids, |entry| {
                if entry.step == Step::Asked(true) {
                    entry.accepted(now.elapsed);
                }
            });
        }
        self.failed(now, out, about, "NO_ANSWER", &format!("the venue did not answer {}", about.name()));
    }

    fn failed(&mut self, now: Now, out: &mut Outgoing, about: &About, code: &str, words: &str) {
        for id in self.back(now, about) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.failed(now.elapsed) && entry.is_desired() && entry.step == Step::Out {
                tell_waiting(out, entry, code, words);
            } else if entry.step == Step::NeedsRelease {
                // A venue that says nothing to it is taken to have let go: whatever still comes is passed over.
                if entry.failures >= 3 {
                    entry.go(now.elapsed, Step::Out);
                }
            }
        }
    }

    fn report(&mut self, out: &mut Outgoing, about: &About, code: &str, words: &str) {
        let ids = ids_of(about).to_vec();
        self.each(&ids, |entry| {
            if entry.is_desired() && entry.step == Step::Out {
                tell_waiting(out, entry, code, words);
            }
        });
    }

    /// Puts what a request was about back to where it can be asked for again; says what that concerned.
    fn back(&mut self, now: Now, about: &About) -> Vec<i64> {
        let mut concerned = Vec::new();
        for id in ids_of(about) {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            match (about, entry.step, entry.describing) {
                (About::Details(_), _, Describing::Asked) => entry.describing = Describing::Needed,
                (About::Subscribe(_), Step::Asked(_), _) => entry.go(now.elapsed, Step::Out),
                (About::Unsubscribe(_), Step::AskedRelease, _) => entry.go(now.elapsed, Step::NeedsRelease),
                _ => continue,
            }
            concerned.push(*id);
        }
        concerned
    }

    /// Takes a price: it proves the subscription, and is told once both sides are known (facts 3.6).
    pub(crate) fn spot(&mut self, now: Now, out: &mut Outgoing, event: &wire::ProtoOaSpotEvent) {
        if event.ctid_trader_account_id != self.account_id {
            return out.odd("spot_of_another_account");
        }
        let Some(entry) = self.entries.get_mut(&event.symbol_id) else { return out.odd("late_spot") };
        match entry.spot(now, event) {
            Ok(Some(tick)) => out.tell(SessionOutput::Tick(entry.symbol.clone(), tick)),
            Ok(None) => {}
            Err(what) => out.odd(what),
        }
    }

    /// How a wanted symbol stands once the account is logged in and the list is known.
    pub(crate) fn standing(&self, now: Now, symbol: &Symbol, instruments: &Instruments) -> Standing {
        let entry = instruments.id(symbol).and_then(|id| self.entries.get(&id));
        match entry.filter(|entry| entry.wanted && entry.symbol == *symbol) {
            Some(entry) => entry.standing(now.elapsed),
            None => {
                let since = self.unknown.get(symbol).copied();
                let (detail, next) = if since.is_some() {
                    (
                        "the venue's list does not hold it",
                        "looked up again when the venue says that symbols changed",
                    )
                } else {
                    ("not wanted", "")
                };
                Standing { ok: false, since, detail: detail.to_owned(), next: next.to_owned() }
            }
        }
    }
}

/// Moves one entry on as time and wishes have it.
fn look_at(now: Duration, out: &mut Outgoing, entry: &mut Entry) {
    match entry.step {
        Step::Unproved(_) | Step::Held if !entry.is_desired() => entry.go(now, Step::NeedsRelease),
        Step::Unproved(until) if until <= now => {
            out.odd("silent_subscription");
            if let Some(words) = entry.stayed_silent(now) {
                tell_waiting(out, entry, "SILENT", &words);
            }
        }
        _ => {}
    }
    if entry.refused.is_some() && !entry.is_resting(now) {
        entry.refused = None;
        entry.describing = Describing::Needed;
    }
}

/// When an entry has to be looked at again.
fn next_look(now: Duration, entry: &Entry) -> Option<Duration> {
    let rest = entry.is_resting(now).then_some(entry.rest_until);
    let silence = match entry.step {
        Step::Unproved(until) => Some(until),
        _ => None,
    };
    [rest, silence].into_iter().flatten().min()
}

/// The venue's symbol cannot be served: let go of, told, and looked at again much later.
fn refuse(now: Now, out: &mut Outgoing, entry: &mut Entry, reason: &str) {
    let reason = clean(reason);
    if entry.told.as_deref() != Some(reason.as_str()) {
        tell(out, &entry.symbol, SymbolState::Refused, "SYMBOL_REFUSED", &reason);
    }
    entry.told = Some(reason.clone());
    entry.refused = Some(reason);
    entry.rest_until = now.elapsed + REFUSED_AGAIN;
}

/// Says of a wanted symbol that it waits, and for what; the same words once.
fn tell_waiting(out: &mut Outgoing, entry: &mut Entry, code: &str, words: &str) {
    if entry.told.as_deref() != Some(words) {
        entry.told = Some(words.to_owned());
        tell(out, &entry.symbol, SymbolState::Pending, code, words);
    }
}

fn tell(out: &mut Outgoing, symbol: &Symbol, state: SymbolState, code: &str, message: &str) {
    let change =
        StateChange { state, code: Some(code.to_owned()), message: Some(message.to_owned()), until_ms: None };
    out.tell(SessionOutput::State(symbol.clone(), change));
}

fn tell_hours(out: &mut Outgoing, entry: &Entry) {
    if let Some(hours) = entry.details.as_ref().and_then(|details| details.hours.clone()) {
        out.tell(SessionOutput::Hours(entry.symbol.clone(), hours));
    }
}

fn ids_of(about: &About) -> &[i64] {
    match about {
        About::Details(ids) | About::Subscribe(ids) | About::Unsubscribe(ids) => ids,
        _ => &[],
    }
}
