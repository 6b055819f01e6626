//! Quote sessions: snapshots, deltas, keys (facts 3.3, 4.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use sim_kit::Now;
use sim_kit::fault::Param;

use crate::connection::{Connection, QuoteSession, Subscription};
use crate::desk::Desk;
use crate::fault::{Fault, Faults};
use crate::fields::{BOOK, Fields, fields, style};
use crate::market::{Market, Moved, Watcher};
use crate::outcome::Counters;
use crate::say;
use crate::settings::VenueSettings;

/// Which fields a message may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Main,
    Book,
}

impl Desk<'_> {
    pub(crate) fn quote_set_fields(&mut self, session: &Arc<str>, names: &[Value]) {
        let Some(names) = texts(names) else { return self.invalid(session, "quote_set_fields") };
        if let Some(quotes) = self.connection.quotes.get_mut(session) {
            quotes.fields = Some(names.into_iter().collect());
        }
        self.refresh();
    }

    /// Strings only, and each key once: anything else costs the session (facts 0.13, 0.14).
    pub(crate) fn quote_add_symbols(&mut self, session: &Arc<str>, keys: &[Value]) {
        let Some(keys) = texts(keys) else { return self.invalid(session, "quote_add_symbols") };
        let Some(quotes) = self.connection.quotes.get(session) else { return };
        let mut seen: BTreeSet<&str> = quotes.keys.keys().map(AsRef::as_ref).collect();
        if !keys.iter().all(|key| seen.insert(key)) || seen.len() > self.settings.session_symbols_max {
            return self.invalid(session, "quote_add_symbols");
        }
        for key in keys {
            self.add(session, &key.into());
        }
    }

    fn add(&mut self, session: &Arc<str>, key: &Arc<str>) {
        let Some(named) = self.market.catalogue().resolve(key) else {
            let settings = self.settings;
            return self.refuse_symbol(session, key, &settings.unknown_symbol);
        };
        if self.faults.concerns(Fault::BadSymbol, named.at) {
            let active = self.faults.get(Fault::BadSymbol);
            let reason = active.map(|active| active.spec.text(Param::Reason).to_owned()).unwrap_or_default();
            return self.refuse_symbol(session, key, &reason);
        }
        let subscription = Subscription { named, sent: Fields::new(), last: self.now.elapsed, held: None };
        let lost = self.faults.concerns(Fault::NoSnapshot, named.at);
        let held = self.faults.get(Fault::NoSnapshot).is_some_and(|active| active.spec.flag(Param::Held));
        if lost && !held {
            return;
        }
        let Some(quotes) = self.connection.quotes.get_mut(session) else { return };
        let returns = quotes.leaving.remove(key).is_some();
        quotes.keys.insert(key.clone(), subscription);
        if lost || self.settings.script.is_some() {
            return;
        }
        if !returns {
            let watcher = self.watcher(session, key);
            self.market.watch(named.at, watcher, self.now);
        }
        self.snapshot(session, key);
    }

    /// The snapshot comes in two: everything and `quote_completed`, and the book by itself (facts 0.9).
    fn snapshot(&mut self, session: &Arc<str>, key: &Arc<str>) {
        let entitled = self.connection.entitled;
        let Some(quotes) = self.connection.quotes.get_mut(session) else { return };
        let Some(subscription) = quotes.keys.get_mut(key) else { return };
        let at = subscription.named.at;
        let now = fields(self.market, self.faults, entitled, subscription.named);
        let part = |part, subscription: &mut Subscription| {
            let changed = changed(subscription, quotes.fields.as_ref(), &now, part);
            note(subscription, self.faults, &changed);
            qsd(session, key, &changed, self.faults, at)
        };
        let mut main = vec![part(Part::Main, subscription)];
        let book = changed(subscription, quotes.fields.as_ref(), &now, Part::Book);
        note(subscription, self.faults, &book);
        let book = (!book.is_empty()).then(|| qsd(session, key, &book, self.faults, at));
        if !self.faults.concerns(Fault::NoCompleted, at) {
            main.push(say::quote_completed(session, key));
        }
        self.counters.quotes += 1 + u64::from(book.is_some());
        let (first, second) = if self.settings.book_first {
            (book.map(|book| vec![book]), Some(main))
        } else {
            (Some(main), book.map(|book| vec![book]))
        };
        for message in [first, second].into_iter().flatten() {
            self.answer(message);
        }
    }

    fn refuse_symbol(&mut self, session: &Arc<str>, key: &Arc<str>, reason: &str) {
        *self.counters.errors.entry("qsd").or_default() += 1;
        let errmsg = (!self.faults.has(Fault::MissingErrmsg)).then_some(reason);
        let mut message = vec![say::qsd_error(session, key, errmsg)];
        if self.settings.completes_errors {
            message.push(say::quote_completed(session, key));
        }
        self.answer(message);
    }

    pub(crate) fn quote_remove_symbols(&mut self, session: &Arc<str>, keys: &[Value]) {
        let Some(keys) = texts(keys) else { return self.invalid(session, "quote_remove_symbols") };
        let late = self.faults.get(Fault::LateEvents).map(|active| active.spec.number(Param::Count));
        for key in keys {
            let Some(quotes) = self.connection.quotes.get_mut(session) else { return };
            quotes.fast.remove(&key);
            let Some((key, subscription)) = quotes.keys.remove_entry(key.as_str()) else { continue };
            match late {
                Some(left) => {
                    quotes.leaving.insert(key, (subscription, left));
                }
                None => {
                    let watcher = self.watcher(session, &key);
                    self.market.unwatch(subscription.named.at, &watcher);
                }
            }
        }
    }

    /// Each call states the whole fast set (facts 3.3).
    pub(crate) fn quote_fast_symbols(&mut self, session: &Arc<str>, keys: &[Value]) {
        let Some(keys) = texts(keys) else { return self.invalid(session, "quote_fast_symbols") };
        if let Some(quotes) = self.connection.quotes.get_mut(session) {
            quotes.fast = keys.into_iter().collect();
        }
    }

    pub(crate) fn quote_hibernate_all(&mut self, session: &Arc<str>) {
        self.counters.breaches += 1;
        if let Some(quotes) = self.connection.quotes.get_mut(session) {
            quotes.hibernates = true;
            quotes.fast.clear();
        }
    }

    /// Tells this connection whatever has changed without a step of the market.
    pub(crate) fn refresh(&mut self) {
        let (settings, counters) = (self.settings, &mut *self.counters);
        refresh(self.connection, self.now, self.market, self.faults, settings, counters);
    }

    fn invalid(&mut self, session: &str, method: &str) {
        self.counters.breaches += 1;
        self.critical(session, "invalid_parameters", method);
    }
}

/// Tells a connection whatever has changed of its keys, such as another `update_mode`.
pub(crate) fn refresh(
    connection: &mut Connection,
    now: Now,
    market: &Market,
    faults: &Faults,
    settings: &VenueSettings,
    counters: &mut Counters,
) {
    let keys: Vec<(Arc<str>, Arc<str>)> = connection
        .quotes
        .iter()
        .flat_map(|(session, quotes)| quotes.keys.keys().map(|key| (session.clone(), key.clone())))
        .collect();
    for (session, key) in keys {
        for moved in [Moved::Trade, Moved::Book] {
            let Some(subscription) = connection.quotes.get(&session).and_then(|quotes| quotes.keys.get(&key))
            else {
                continue;
            };
            // A key that was never answered is still not.
            if subscription.sent.is_empty() || faults.concerns(Fault::Mute, subscription.named.at) {
                continue;
            }
            counters.quotes += update(connection, now, market, faults, settings, (&session, &key), moved);
        }
    }
}

/// Tells a connection what a step has changed of one of its keys; how many messages that made.
pub(crate) fn update(
    connection: &mut Connection,
    now: Now,
    market: &Market,
    faults: &Faults,
    settings: &VenueSettings,
    (session, key): (&Arc<str>, &Arc<str>),
    moved: Moved,
) -> u64 {
    let entitled = connection.entitled;
    let Some(quotes) = connection.quotes.get_mut(session) else { return 0 };
    let QuoteSession { fields: wanted, keys, leaving, hibernates, fast } = quotes;
    let hibernates = *hibernates && !fast.contains(key.as_ref());
    let (subscription, left) = match (keys.get_mut(key), leaving.get_mut(key)) {
        (Some(subscription), _) => (subscription, None),
        (None, Some((subscription, left))) => (subscription, Some(left)),
        (None, None) => return 0,
    };
    if hibernates && now.elapsed < subscription.last + settings.hibernate_every {
        return 0;
    }
    let at = subscription.named.at;
    let current = fields(market, faults, entitled, subscription.named);
    let part = if moved == Moved::Book { Part::Book } else { Part::Main };
    let changed = changed(subscription, wanted.as_ref(), &current, part);
    if changed.is_empty() {
        return 0;
    }
    note(subscription, faults, &changed);
    subscription.last = now.elapsed;
    if let Some(left) = left {
        *left = left.saturating_sub(1);
    }
    let payload = qsd(session, key, &changed, faults, at);
    let mut messages = vec![payload];
    if faults.has(Fault::OutOfOrder) {
        match subscription.held.take() {
            Some(held) => messages.push(held),
            None => {
                subscription.held = messages.pop();
                return 0;
            }
        }
    } else if let Some(held) = subscription.held.take() {
        messages.insert(0, held);
    }
    if faults.has(Fault::RepeatedTicks) {
        messages = messages.into_iter().flat_map(|message| [message.clone(), message]).collect();
    }
    for message in &messages {
        connection.put(now, faults, std::slice::from_ref(message));
    }
    messages.len() as u64
}

/// A removed key that has had its last late update; the venue no longer watches for it.
pub(crate) fn gone(connection: &mut Connection, watcher: &Watcher, market: &mut Market) {
    let Some(quotes) = connection.quotes.get_mut(&watcher.session) else { return };
    if quotes.leaving.get(&watcher.what).is_some_and(|(_, left)| *left == 0)
        && let Some((subscription, _)) = quotes.leaving.remove(&watcher.what)
    {
        market.unwatch(subscription.named.at, watcher);
    }
}

/// The fields of this part that are wanted and not as they were told last.
fn changed(
    subscription: &Subscription,
    wanted: Option<&BTreeSet<String>>,
    current: &Fields,
    part: Part,
) -> Fields {
    current
        .iter()
        .filter(|(name, _)| BOOK.contains(name) == (part == Part::Book))
        .filter(|(name, _)| wanted.is_none_or(|wanted| wanted.contains(**name)))
        .filter(|(name, value)| subscription.sent.get(**name) != Some(*value))
        .map(|(name, value)| (*name, value.clone()))
        .collect()
}

/// Remembers what was told; nothing was where a fault leaves the values out.
fn note(subscription: &mut Subscription, faults: &Faults, changed: &Fields) {
    if !faults.concerns(Fault::MissingV, subscription.named.at) {
        subscription.sent.extend(changed.iter().map(|(name, value)| (*name, value.clone())));
    }
}

fn qsd(session: &str, key: &str, values: &Fields, faults: &Faults, at: usize) -> String {
    let values = (!faults.concerns(Fault::MissingV, at)).then_some(values);
    say::qsd(session, key, values, style(faults))
}

/// The texts of a flat list; `None` where anything else stands in it.
fn texts(values: &[Value]) -> Option<Vec<String>> {
    values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}
