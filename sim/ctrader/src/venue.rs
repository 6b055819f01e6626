//! The venue: connections and the market between them, without a socket or a clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use sim_kit::{ConnectionId, Now, SimulatedVenue};

use crate::catalogue::Catalogue;
use crate::connection::{Connection, Manner, Sent};
use crate::desk::{Aftermath, Desk};
use crate::fault::{Fault, FaultSpec, Faults};
use crate::frame::FrameError;
use crate::grants::Grants;
use crate::loss::Loss;
use crate::market::{Market, Quote, QuoteEvent};
use crate::outcome::{Counters, Ending, Output, Reason};
use crate::player::Player;
use crate::scenario::Scenario;
use crate::settings::VenueSettings;
use crate::wire::{ProtoErrorCode, ProtoErrorRes, ProtoHeartbeatEvent};

/// Faults of a scenario kept for telling people.
const PLAYED_MAX: usize = 64;

/// The venue in a box.
///
/// Driven as every [`SimulatedVenue`] is: give it bytes and time, take what comes out.
pub struct Venue {
    pub(crate) settings: VenueSettings,
    pub(crate) market: Market,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    /// Connections with something to send or about to end, each once.
    ready: VecDeque<ConnectionId>,
    pub(crate) grants: Grants,
    pub(crate) faults: Faults,
    player: Option<Player>,
    /// Faults the scenario switched on that nobody asked about yet.
    played: VecDeque<FaultSpec>,
    pub(crate) counters: Counters,
    rng: Rng,
}

impl Venue {
    /// A venue nobody is connected to.
    pub fn new(settings: VenueSettings) -> Self {
        let catalogue = Catalogue::new(settings.symbols).with_calendar(settings.calendar);
        let mut market = Market::new(catalogue, settings.ticks_per_s, settings.seed).slower(settings.slower);
        if let Some(recording) = &settings.recording {
            market.play(recording);
        }
        let grants = Grants::new(&settings);
        let rng = Rng::with_seed(settings.seed);
        Self {
            settings,
            market,
            connections: BTreeMap::new(),
            ready: VecDeque::new(),
            grants,
            faults: Faults::default(),
            player: None,
            played: VecDeque::new(),
            counters: Counters::default(),
            rng,
        }
    }
}

impl SimulatedVenue for Venue {
    type Input = [u8];
    type Message = Bytes;
    type Ending = Ending;
    type Reason = Reason;

    fn open(&mut self, now: Now) -> ConnectionId {
        self.counters.opened += 1;
        let id = ConnectionId::from_number(self.counters.opened);
        let silence = self.next_silence();
        let mut connection = Connection::new(&self.settings, now, silence);
        self.tune(&mut connection, now);
        self.connections.insert(id, connection);
        id
    }

    fn closed(&mut self, id: ConnectionId, reason: Reason) {
        if let Some(mut connection) = self.connections.remove(&id) {
            connection.end_sessions(id, &mut self.market);
            *self.counters.closed.entry(reason).or_default() += 1;
        }
    }

    fn receive(&mut self, id: ConnectionId, now: Now, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.received_bytes += bytes.len() as u64;
        self.counters.received_bytes += bytes.len() as u64;
        if connection.ending.is_some() {
            return;
        }
        connection.decoder.push(bytes);
        if !self.is_stalled() {
            self.work(id, now);
        }
    }

    fn timeout(&mut self, now: Now) {
        while let Some(fault) = self.faults.over(now) {
            self.fault(now, fault, false);
        }
        while let Some(spec) =
            self.player.as_mut().and_then(|player| player.next(now, self.market.catalogue()))
        {
            if self.played.len() == PLAYED_MAX {
                self.played.pop_front();
            }
            self.played.push_back(spec.clone());
            self.fault(now, spec, true);
        }
        while let Some(grant) = self.grants.expire(now) {
            self.lose_sessions(now, &Loss { grant: Some(grant), ..Loss::expired() });
        }
        while let Some(event) = self.market.step(now) {
            self.deliver(now, event);
        }
        if self.is_stalled() {
            return;
        }
        let cutoff = self.settings.inactivity_cutoff;
        let due = |connection: &Connection| {
            connection.ending.is_none() && connection.deadline(cutoff) <= now.elapsed
        };
        let ids: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, connection)| due(connection)).map(|(id, _)| *id).collect();
        for id in ids {
            let silence = self.next_silence();
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.release(now);
            if connection.last_in + cutoff <= now.elapsed {
                connection.end(Ending::Orderly, Reason::Inactivity);
            } else if connection.last_out + connection.silence <= now.elapsed {
                connection.send(now, &ProtoHeartbeatEvent { payload_type: None }, None);
                connection.silence = silence;
                self.counters.heartbeats += 1;
            }
            self.queue(id);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let cutoff = self.settings.inactivity_cutoff;
        let waiting = |connection: &&Connection| connection.ending.is_none() && !self.is_stalled();
        let timers = self.connections.values().filter(waiting).map(|connection| connection.deadline(cutoff));
        let own = [
            self.market.deadline(),
            self.faults.deadline(),
            self.grants.deadline(),
            self.scenario_deadline(),
        ];
        timers.chain(own.into_iter().flatten()).min()
    }

    fn poll(&mut self) -> Option<Output> {
        while let Some(id) = self.ready.pop_front() {
            let stalled = self.is_stalled();
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.queued = false;
            if stalled && connection.ending.is_none() {
                continue;
            }
            if connection.has_output() {
                let message = connection.take_output();
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

    fn played(&mut self) -> Option<FaultSpec> {
        self.played.pop_front()
    }
}

impl Venue {
    /// Begins a scenario now, in place of the one under way. Faults that are on stay on.
    pub fn play(&mut self, now: Now, scenario: Scenario) {
        self.player = Some(Player::new(scenario, self.settings.seed, now));
    }

    /// Ends the scenario under way. Faults that are on stay on until their time is over.
    pub fn stop_playing(&mut self) {
        self.player = None;
    }

    /// The scenario under way, how many faults it has switched on so far, and when it goes on (time elapsed).
    pub fn scenario(&self) -> Option<(&Scenario, u64, Option<Duration>)> {
        self.player.as_ref().map(|player| (player.scenario(), player.played, player.deadline()))
    }

    fn scenario_deadline(&self) -> Option<Duration> {
        self.player.as_ref().and_then(Player::deadline)
    }

    /// The refresh token of the first grant that is good now.
    pub fn refresh_token(&self) -> &str {
        self.grants.refresh_token()
    }

    /// Every connection there is.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    /// Bytes a connection has sent, for looking at from outside.
    pub fn received_bytes(&self, id: ConnectionId) -> u64 {
        self.connections.get(&id).map_or(0, |connection| connection.received_bytes)
    }

    /// True where an account has a session on this connection.
    pub fn is_logged_in(&self, id: ConnectionId) -> bool {
        self.logged_in(id).next().is_some()
    }

    /// The accounts that have a session on this connection, ascending.
    pub fn logged_in(&self, id: ConnectionId) -> impl Iterator<Item = i64> {
        self.connections.get(&id).into_iter().flat_map(|connection| connection.sessions.keys().copied())
    }

    /// The keys of the symbols a connection is subscribed to, by any of its accounts, ascending.
    pub fn subscribed(&self, id: ConnectionId) -> Vec<i64> {
        let Some(connection) = self.connections.get(&id) else { return Vec::new() };
        let listings = self.market.catalogue().listings();
        let mut ids: Vec<i64> =
            connection.subscriptions.keys().map(|(_, symbol)| listings[*symbol].id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What a connection was told about a symbol; `None` where it is not subscribed.
    pub fn sent(&self, id: ConnectionId, symbol_id: i64) -> Option<Sent> {
        let symbol = self.market.catalogue().position(symbol_id)?;
        self.connections.get(&id)?.sent(symbol)
    }

    /// The last state of a symbol, whoever watched.
    pub fn quote(&self, symbol_id: i64) -> Option<Quote> {
        Some(self.market.quote(self.market.catalogue().position(symbol_id)?))
    }

    /// True while a symbol trades: it exists, its market is open, and no fault halts it.
    pub fn is_open(&mut self, now: Now, symbol_id: i64) -> bool {
        self.market.catalogue().position(symbol_id).is_some_and(|symbol| self.market.is_open(symbol, now))
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

    pub(crate) fn is_stalled(&self) -> bool {
        self.faults.has(Fault::Stall)
    }

    /// Takes the whole frames a connection has sent and acts on them.
    pub(crate) fn work(&mut self, id: ConnectionId, now: Now) {
        let mut replaced = None;
        let applications = self.connections.values().filter(|connection| connection.application).count();
        while let Some(connection) = self.connections.get_mut(&id).filter(|held| held.ending.is_none()) {
            match connection.decoder.next_envelope() {
                Ok(Some(envelope)) => {
                    connection.last_in = now.elapsed;
                    let mut desk = Desk {
                        id,
                        now,
                        connection,
                        market: &mut self.market,
                        grants: &mut self.grants,
                        settings: &self.settings,
                        faults: &mut self.faults,
                        counters: &mut self.counters,
                        applications,
                        manner: Manner::default(),
                    };
                    if let Aftermath::TokensReplaced(grant) = desk.handle(&envelope) {
                        replaced = Some(grant);
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    if let FrameError::TooLong(_) = error {
                        let refusal = ProtoErrorRes {
                            error_code: ProtoErrorCode::FrameTooLong.as_str_name().to_owned(),
                            ..ProtoErrorRes::default()
                        };
                        connection.send(now, &refusal, None);
                    }
                    connection.end(Ending::Orderly, Reason::BadFrame);
                }
            }
        }
        self.queue(id);
        if let Some(grant) = replaced {
            // Both events follow a refresh (facts 3.2); whether the session goes on is known of neither.
            let loss = Loss {
                grant: Some(grant),
                invalidated: Some("access token was replaced"),
                gone: true,
                ends: !self.faults.has(Fault::RefreshSparesSession),
                ..Loss::default()
            };
            self.lose_sessions(now, &loss);
            self.work(id, now);
        }
    }

    /// Tells one step of the market to everybody who watches.
    pub(crate) fn deliver(&mut self, now: Now, event: QuoteEvent) {
        let withheld = self.is_stalled() || self.faults.concerns(Fault::Mute, event.symbol);
        let mut done = Vec::new();
        for at in 0..self.market.watchers(event.symbol).len() {
            let (id, account) = self.market.watchers(event.symbol)[at];
            let key = (account, event.symbol);
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if connection.ending.is_some() {
                continue;
            }
            if withheld {
                connection.withhold(account, event.symbol);
                self.counters.withheld += 1;
                continue;
            }
            if connection.send_event(now, account, &self.market, event) {
                self.counters.spot_events += 1;
            } else {
                self.counters.withheld += 1;
            }
            if connection.late.get(&key).is_some_and(|(_, left)| *left == 0) {
                connection.late.remove(&key);
                done.push((id, account));
            }
            self.queue(id);
        }
        for watcher in done {
            self.market.unwatch(event.symbol, watcher);
        }
    }

    pub(crate) fn send_owed_snapshots(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let muted = |symbol: usize| self.faults.concerns(Fault::Mute, symbol);
        let mut owed: Vec<(i64, usize)> = connection
            .subscriptions
            .iter()
            .filter(|((_, symbol), held)| held.snapshot_due && !muted(*symbol))
            .map(|(key, _)| *key)
            .collect();
        owed.sort_unstable();
        for (account, symbol) in owed {
            connection.send_snapshot(now, account, &self.market, symbol);
            self.counters.spot_events += 1;
        }
        self.queue(id);
    }

    /// Puts a connection in the list of those [`SimulatedVenue::poll`] looks at, where it belongs there.
    pub(crate) fn queue(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.queued && (connection.has_output() || connection.ending.is_some()) {
            connection.queued = true;
            self.ready.push_back(id);
        }
    }

    fn next_silence(&mut self) -> Duration {
        self.settings.heartbeat_after.mul_f64(1.0 + 0.2 * self.rng.f64())
    }
}
