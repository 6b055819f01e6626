//! The venue: connections and the market between them, without a socket or a clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sim_kit::fault::Param;
use sim_kit::{ConnectionId, Now, SimulatedVenue};

use crate::catalogue::Catalogue;
use crate::connection::Connection;
use crate::desk::Desk;
use crate::fault::{Fault, FaultSpec, Faults};
use crate::frame::payloads;
use crate::market::{Market, Quote, Step, Watcher};
use crate::outcome::{Counters, Ending, Message, Output, Reason, Refusal};
use crate::request::Request;
use crate::settings::VenueSettings;
use crate::{charts, quotes, say};

/// The venue in a box.
///
/// Driven as every [`SimulatedVenue`] is: give it WebSocket messages and time, take what comes out.
pub struct Venue {
    pub(crate) settings: VenueSettings,
    pub(crate) market: Market,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    /// Connections with something to send or about to end, each once.
    ready: VecDeque<ConnectionId>,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
}

impl Venue {
    /// A venue nobody is connected to.
    pub fn new(settings: VenueSettings) -> Self {
        let market = Market::new(
            Catalogue::new(settings.symbols),
            (settings.ticks_per_s, settings.slower),
            settings.seed,
        )
        .with_calendar(settings.calendar);
        Self {
            settings,
            market,
            connections: BTreeMap::new(),
            ready: VecDeque::new(),
            faults: Faults::default(),
            counters: Counters::default(),
        }
    }
}

impl SimulatedVenue for Venue {
    type Input = str;
    type Message = Message;
    type Ending = Ending;
    type Reason = Reason;

    fn open(&mut self, now: Now) -> ConnectionId {
        self.turn(now);
        self.counters.opened += 1;
        let id = ConnectionId::from_number(self.counters.opened);
        let mut connection = Connection::new(now);
        if !self.faults.has(Fault::NoGreeting) {
            let greeting = say::greeting((4_321, 986 + id.number()), now);
            connection.put(now, &self.faults, &[greeting]);
        }
        self.connections.insert(id, connection);
        self.queue(id);
        id
    }

    fn closed(&mut self, id: ConnectionId, reason: Reason) {
        if let Some(mut connection) = self.connections.remove(&id) {
            connection.forget_all(id, &mut self.market);
            *self.counters.closed.entry(reason).or_default() += 1;
        }
    }

    fn receive(&mut self, id: ConnectionId, now: Now, message: &str) {
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.ending.is_none())
        else {
            return;
        };
        connection.heard(message);
        if self.is_stalled() {
            self.queue(id);
        } else {
            self.work(id, now);
        }
    }

    fn timeout(&mut self, now: Now) {
        while let Some(fault) = self.faults.over(now) {
            self.fault(now, fault, false);
        }
        self.turn(now);
        while let Some(step) = self.market.step(now) {
            self.deliver(now, step);
        }
        if self.is_stalled() {
            return;
        }
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        let (interval, echo_within) = (self.heartbeat_every(), self.settings.echo_within);
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id).filter(|one| one.ending.is_none()) else {
                continue;
            };
            connection.release(now, &self.faults);
            if connection.waits_since().is_some_and(|since| since + echo_within <= now.elapsed) {
                connection.end(Ending::Close(None), Reason::NoEcho);
            } else if interval.is_some_and(|interval| connection.last_beat + interval <= now.elapsed) {
                connection.beat(now, &self.faults);
                self.counters.heartbeats += 1;
            }
            self.queue(id);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let interval = self.heartbeat_every();
        let of = |connection: &Connection| {
            let beat = interval.map(|interval| connection.last_beat + interval);
            let echo = connection.waits_since().map(|since| since + self.settings.echo_within);
            [beat, echo, connection.deadline()].into_iter().flatten().min()
        };
        let living = self.connections.values().filter(|one| one.ending.is_none() && !self.is_stalled());
        living.filter_map(of).chain(self.market.deadline()).chain(self.faults.deadline()).min()
    }

    fn poll(&mut self) -> Option<Output> {
        while let Some(id) = self.ready.pop_front() {
            let stalled = self.is_stalled();
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.queued = false;
            if stalled && connection.ending.is_none() {
                continue;
            }
            if let Some(message) = connection.take_output() {
                if connection.ending.is_some() || connection.has_output() {
                    connection.queued = true;
                    self.ready.push_front(id);
                }
                return Some(Output::Send { id, message });
            }
            if let Some((ending, reason)) = connection.ending {
                self.closed(id, reason);
                return Some(Output::Close { id, ending, reason });
            }
        }
        None
    }
}

impl Venue {
    /// Judges a handshake by its Origins, of which a client may send none or several.
    ///
    /// # Errors
    /// [`Refusal`]: the status the handshake is answered with.
    pub fn admit<'a>(&mut self, origins: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
        let judged = self.judge(origins);
        if let Err(refusal) = judged {
            *self.counters.refused.entry(refusal.status).or_default() += 1;
        }
        judged
    }

    fn judge<'a>(&self, origins: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
        let retry_after = |spec: &FaultSpec| Some(spec.number(Param::RetryAfterS)).filter(|wait| *wait > 0);
        if let Some(active) = self.faults.get(Fault::HandshakeStatus) {
            let status = active.spec.text(Param::Code).parse().unwrap_or(503);
            return Err(Refusal { status, retry_after_s: retry_after(&active.spec) });
        }
        if let Some(origin) = &self.settings.origin
            && !origins.into_iter().any(|one| one.trim_end_matches('/') == origin.trim_end_matches('/'))
        {
            return Err(Refusal { status: 403, retry_after_s: None });
        }
        let (limit, retry_after_s) = match self.faults.get(Fault::ConnectionsLimit) {
            Some(active) => (active.spec.count(), retry_after(&active.spec)),
            None => (self.settings.connections_max, None),
        };
        if self.connections.len() >= limit {
            return Err(Refusal { status: 429, retry_after_s });
        }
        Ok(())
    }

    /// Every connection there is.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    /// True where a connection has sent the good token.
    pub fn is_entitled(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.entitled)
    }

    /// Every key a connection has added, in all its quote sessions, ascending.
    pub fn keys(&self, id: ConnectionId) -> Vec<String> {
        let Some(connection) = self.connections.get(&id) else { return Vec::new() };
        let mut keys: Vec<String> = connection
            .quotes
            .values()
            .flat_map(|quotes| quotes.keys.keys().map(|key| key.to_string()))
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Every key of which a connection is told what changes, ascending: those it has added, without those a fault lost.
    pub fn streams(&self, id: ConnectionId) -> Vec<String> {
        let Some(connection) = self.connections.get(&id) else { return Vec::new() };
        let mut streams = Vec::new();
        for (session, quotes) in &connection.quotes {
            for (key, subscription) in &quotes.keys {
                let watches = |watcher: &Watcher| {
                    watcher.id == id && watcher.session == *session && watcher.what == *key
                };
                if self.market.watchers(subscription.named.at).iter().any(watches) {
                    streams.push(key.to_string());
                }
            }
        }
        streams.sort_unstable();
        streams
    }

    /// The number a connection was last told as this field of a key; `None` where it was told none, or that there is none.
    pub fn told(&self, id: ConnectionId, key: &str, field: &str) -> Option<f64> {
        let mut sessions = self.connections.get(&id)?.quotes.values();
        sessions.find_map(|quotes| quotes.keys.get(key))?.sent.get(field)?.number()
    }

    /// True while the instrument of this name trades.
    pub fn is_open(&self, name: &str) -> bool {
        self.market.catalogue().named(name).is_some_and(|at| !self.market.is_closed(at))
    }

    /// How many sessions of either kind a connection has.
    pub fn sessions(&self, id: ConnectionId) -> usize {
        self.connections.get(&id).map_or(0, |connection| connection.quotes.len() + connection.charts.len())
    }

    /// The last state of the instrument of this name, whoever watched.
    pub fn quote(&self, name: &str) -> Option<Quote> {
        Some(self.market.quote(self.market.catalogue().named(name)?))
    }

    /// What the venue offers.
    pub fn catalogue(&self) -> &Catalogue {
        self.market.catalogue()
    }

    /// How the venue was set up.
    pub fn settings(&self) -> &VenueSettings {
        &self.settings
    }

    /// Totals since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tells everybody where markets have opened or closed.
    fn turn(&mut self, now: Now) {
        if self.market.turn(now) {
            self.refresh(now);
        }
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.faults.has(Fault::Stall)
    }

    /// Acts on the messages a connection has sent.
    pub(crate) fn work(&mut self, id: ConnectionId, now: Now) {
        while let Some(connection) = self.connections.get_mut(&id)
            && let Some(message) = connection.inbox.pop_front()
        {
            for payload in payloads(&message) {
                let Some(connection) = self.connections.get_mut(&id).filter(|one| one.ending.is_none())
                else {
                    break;
                };
                let mut desk = Desk {
                    id,
                    now,
                    connection,
                    market: &mut self.market,
                    settings: &self.settings,
                    faults: &mut self.faults,
                    counters: &mut self.counters,
                    late: None,
                };
                match payload {
                    Ok(payload) => desk.handle(Request::read(payload)),
                    Err(_) => {
                        desk.counters.breaches += 1;
                        desk.protocol("wrong data");
                    }
                }
            }
        }
        self.queue(id);
    }

    /// Tells one step of the market to everybody who watches.
    pub(crate) fn deliver(&mut self, now: Now, step: Step) {
        let withheld = self.is_stalled() || self.faults.concerns(Fault::Mute, step.at);
        if withheld {
            self.counters.withheld += self.market.watchers(step.at).len() as u64;
            return;
        }
        for watcher in self.market.watchers(step.at).to_vec() {
            let Some(connection) = self.connections.get_mut(&watcher.id).filter(|one| one.ending.is_none())
            else {
                continue;
            };
            if connection.charts.contains_key(&watcher.session) {
                self.counters.bars +=
                    charts::update(connection, now, &self.market, &self.faults, &watcher, step.moved);
            } else {
                let key = (&watcher.session, &watcher.what);
                self.counters.quotes += quotes::update(
                    connection,
                    now,
                    &self.market,
                    &self.faults,
                    &self.settings,
                    key,
                    step.moved,
                );
                quotes::gone(connection, &watcher, &mut self.market);
            }
            self.queue(watcher.id);
        }
    }

    /// Tells everybody what has changed without a step of the market.
    pub(crate) fn refresh(&mut self, now: Now) {
        if self.is_stalled() {
            return;
        }
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            if let Some(connection) = self.connections.get_mut(&id) {
                quotes::refresh(
                    connection,
                    now,
                    &self.market,
                    &self.faults,
                    &self.settings,
                    &mut self.counters,
                );
            }
            self.queue(id);
        }
    }

    /// A message for every connection, as it is.
    pub(crate) fn tell_all(&mut self, message: &Message, ending: Option<Ending>) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.put_raw(message.clone());
                if let Some(ending) = ending {
                    connection.end(ending, Reason::Fault);
                }
            }
            self.queue(id);
        }
    }

    /// Puts a connection in the list of those [`SimulatedVenue::poll`] looks at, where it belongs there.
    pub(crate) fn queue(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.queued && (connection.has_output() || connection.ending.is_some()) {
            connection.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Time between heartbeats; `None` while there are none.
    fn heartbeat_every(&self) -> Option<Duration> {
        if self.faults.has(Fault::NoHeartbeats) {
            return None;
        }
        let other =
            self.faults.get(Fault::HeartbeatInterval).map(|active| active.spec.millis(Param::EveryMs));
        Some(other.unwrap_or(self.settings.heartbeat_every))
    }
}
