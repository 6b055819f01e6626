//! What faults do to the venue as a whole: when they happen, when they begin, when they end.

use sim_kit::fault::{FaultEffects, Param, SymbolNames, Which};
use sim_kit::{ConnectionId, Now};

use crate::catalogue::Change;
use crate::connection::{Connection, Quirks, StrangerCode};
use crate::fault::{Fault, FaultRow, FaultSpec, Faults};
use crate::loss::Loss;
use crate::outcome::{Ending, Reason};
use crate::outgoing::Pace;
use crate::venue::Venue;
use crate::wire::{
    ProtoOaAccountDisconnectEvent, ProtoOaAccountsTokenInvalidatedEvent, ProtoOaClientDisconnectEvent,
    ProtoOaErrorCode, ProtoOaSymbolChangedEvent,
};

/// A payload type no schema has.
const UNKNOWN_PAYLOAD_TYPE: u32 = 2_999;

impl FaultEffects for Venue {
    type Fault = Fault;

    fn switched(&self) -> &Faults {
        &self.faults
    }

    fn switched_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    fn symbols(&self) -> &dyn SymbolNames {
        self.market.catalogue()
    }

    fn noted(&mut self, row: &'static FaultRow) {
        *self.counters.faults.entry(row.name).or_default() += 1;
    }

    fn happen(&mut self, now: Now, spec: &FaultSpec) {
        let reason = spec.text(Param::Reason);
        match spec.fault() {
            Fault::Cut => self.end_all(Ending::Reset),
            Fault::CutInsideFrame => self.cut_inside_frame(now),
            Fault::Close => self.end_all(Ending::Orderly),
            Fault::CloseWithoutNotify => self.end_all(Ending::Abrupt),
            Fault::ClientDisconnect => self.disconnect_clients(now, reason, spec.flag(Param::Closes)),
            Fault::AccountDisconnect => {
                self.lose_sessions(now, &Loss { gone: true, ends: true, ..Loss::default() });
            }
            Fault::TokenInvalidated => {
                let empty_list = spec.flag(Param::EmptyList);
                let ends = spec.flag(Param::EndsSession);
                let loss = Loss { invalidated: Some(reason), empty_list, ends, ..Loss::default() };
                self.lose_sessions(now, &loss);
            }
            Fault::SessionLost => {
                let loss = Loss { invalidated: Some(reason), gone: true, ends: true, ..Loss::default() };
                self.lose_sessions(now, &loss);
            }
            Fault::NotAuthorized => {
                let code = match spec.text(Param::Code) {
                    "ACCOUNT_NOT_AUTHORIZED" => StrangerCode::AccountNotAuthorized,
                    _ => StrangerCode::InvalidRequest,
                };
                self.lose_sessions(now, &Loss { ends: true, ..Loss::default() });
                self.each(|connection| connection.stranger_code = code);
            }
            Fault::ForgetApplication => {
                self.lose_sessions(now, &Loss { ends: true, ..Loss::default() });
                self.each(|connection| connection.application = false);
            }
            Fault::ExpireToken => {
                self.grants.expire_all(match spec.text(Param::Code) {
                    "CH_ACCESS_TOKEN_INVALID" => ProtoOaErrorCode::ChAccessTokenInvalid,
                    _ => ProtoOaErrorCode::OaAuthTokenExpired,
                });
                if spec.flag(Param::EndsSession) {
                    self.lose_sessions(now, &Loss::expired());
                }
            }
            Fault::OversizedLength => {
                let length = u32::try_from(spec.number(Param::Bytes)).unwrap_or(u32::MAX);
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.extend_from_slice(b"\x08\xd3\x10\x12");
                self.send_all(now, &bytes);
            }
            Fault::ZeroLength => self.send_all(now, &[0; 4]),
            Fault::GarbageEnvelope => self.send_all(now, &[0, 0, 0, 3, 0xff, 0xff, 0xff]),
            Fault::UnknownPayloadType => {
                for _ in 0..spec.count() {
                    let send = |connection: &mut Connection| {
                        connection.send_unknown(now, UNKNOWN_PAYLOAD_TYPE, b"\x10\x07");
                    };
                    self.each(send);
                }
            }
            Fault::Burst => self.burst(now, spec),
            // The others last.
            _ => {}
        }
    }

    fn begin_fault(&mut self, now: Now, fault: Fault) {
        let Some(active) = self.faults.get(fault) else { return };
        let disconnects = active.spec.flag(Param::Disconnects);
        match fault {
            Fault::Weekend => {
                let which = active.which.clone();
                self.market.halt(now, Some(which));
            }
            Fault::SymbolChanged => {
                let (spec, which) = (active.spec.clone(), active.which.clone());
                self.change_symbols(now, &spec, &which);
            }
            Fault::Maintenance | Fault::CantRoute if disconnects => {
                self.lose_sessions(now, &Loss { gone: true, ends: true, ..Loss::default() });
            }
            // What is sent from now on is muted where it should be, and owed where it no longer should.
            Fault::Mute => self.each_id(|venue, id| venue.send_owed_snapshots(id, now)),
            _ => {}
        }
        self.tune_all(now);
    }

    fn end_fault(&mut self, now: Now, fault: Fault) {
        let Some(ended) = self.faults.stop(fault) else { return };
        match fault {
            Fault::Stall => self.each_id(|venue, id| {
                if let Some(connection) = venue.connections.get_mut(&id) {
                    connection.last_in = now.elapsed;
                    connection.last_out = now.elapsed;
                }
                venue.work(id, now);
                venue.send_owed_snapshots(id, now);
            }),
            Fault::Mute => self.each_id(|venue, id| venue.send_owed_snapshots(id, now)),
            Fault::Weekend => self.market.halt(now, None),
            Fault::SymbolChanged => self.restore_symbols(now, &ended.which),
            _ => {}
        }
        self.tune_all(now);
    }
}

impl Venue {
    /// Ends accounts' sessions on every connection, in the manner asked for (facts 3.2, 3.11).
    pub(crate) fn lose_sessions(&mut self, now: Now, loss: &Loss<'_>) {
        self.each_id(|venue, id| {
            let Some(connection) = venue.connections.get_mut(&id) else { return };
            let of_grant = |grant: usize| loss.grant.is_none_or(|wanted| wanted == grant);
            let sessions = connection.sessions.iter().filter(|(_, grant)| of_grant(**grant));
            let accounts: Vec<i64> = sessions.map(|(account, _)| *account).collect();
            if accounts.is_empty() {
                return;
            }
            if loss.ends {
                for account in &accounts {
                    connection.end_session(id, *account, &mut venue.market);
                }
            }
            if let Some(reason) = loss.invalidated {
                let invalidated = ProtoOaAccountsTokenInvalidatedEvent {
                    payload_type: None,
                    ctid_trader_account_ids: if loss.empty_list { Vec::new() } else { accounts.clone() },
                    reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
                };
                connection.push(now, &invalidated);
            }
            for account in accounts.into_iter().filter(|_| loss.gone) {
                let gone =
                    ProtoOaAccountDisconnectEvent { payload_type: None, ctid_trader_account_id: account };
                connection.push(now, &gone);
            }
            venue.queue(id);
        });
    }

    /// Sets a connection to what the faults that are on want of it.
    pub(crate) fn tune(&self, connection: &mut Connection, now: Now) {
        let (settings, faults) = (&self.settings, &self.faults);
        connection.quirks = Quirks {
            unknown_fields: faults.has(Fault::UnknownField),
            foreign_event_ids: faults.has(Fault::ForeignEventId),
            clock_back_ms: faults
                .get(Fault::ClockBackwards)
                .map_or(0, |active| i64::try_from(active.spec.number(Param::ByMs)).unwrap_or(0)),
        };
        connection.pace(now, self.pace());
        let (requests, historical) = (settings.requests_per_s, settings.historical_per_s);
        match faults.get(Fault::RateLimit) {
            Some(active) => {
                let per_s = usize::try_from(active.spec.number(Param::PerS)).unwrap_or(requests);
                let block_s = active.spec.number(Param::RetryAfterS);
                connection.limits.choose(per_s, historical.min(per_s), Some(block_s));
            }
            None => connection.limits.choose(requests, historical, None),
        }
    }

    fn tune_all(&mut self, now: Now) {
        let mut connections = std::mem::take(&mut self.connections);
        for connection in connections.values_mut() {
            self.tune(connection, now);
        }
        self.connections = connections;
        self.each_id(Self::queue);
    }

    fn pace(&self) -> Pace {
        if self.faults.has(Fault::OneByteWrites) {
            return Pace::OneByte;
        }
        if let Some(active) = self.faults.get(Fault::Trickle) {
            return Pace::Trickle(active.spec.number(Param::BytesPerS));
        }
        let gathered = self.faults.get(Fault::ManyFramesPerWrite);
        gathered.map_or(Pace::Free, |active| Pace::Gathered(active.spec.millis(Param::DelayMs)))
    }

    fn disconnect_clients(&mut self, now: Now, reason: &str, closes: bool) {
        self.lose_sessions(now, &Loss { ends: true, ..Loss::default() });
        let event = ProtoOaClientDisconnectEvent {
            payload_type: None,
            reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        };
        self.each(|connection| {
            if connection.application {
                connection.application = false;
                connection.push(now, &event);
                if closes {
                    connection.end(Ending::Orderly, Reason::Fault);
                }
            }
        });
    }

    fn burst(&mut self, now: Now, spec: &FaultSpec) {
        let which = Which::read(spec, self.market.catalogue());
        let watched = self.connections.values().flat_map(|connection| connection.subscriptions.keys());
        let mut symbols: Vec<usize> =
            watched.map(|(_, symbol)| *symbol).filter(|symbol| which.has(*symbol)).collect();
        symbols.sort_unstable();
        symbols.dedup();
        for symbol in symbols.iter().cycle().take(spec.count()) {
            let event = self.market.jolt(*symbol, now);
            self.deliver(now, event);
        }
    }

    fn change_symbols(&mut self, now: Now, spec: &FaultSpec, which: &Which) {
        let mut changed = Vec::new();
        for symbol in 0..self.market.catalogue().listings().len() {
            if !which.has(symbol) {
                continue;
            }
            let listing = &self.market.catalogue().listings()[symbol];
            changed.push(listing.id);
            let change = match (spec.text(Param::Change), spec.text(Param::Name)) {
                ("removed", _) => Change::Removed,
                // One name is for one symbol.
                ("renamed", name) if !name.is_empty() && spec.texts(Param::Symbols).len() == 1 => {
                    Change::Renamed(name.to_owned())
                }
                ("renamed", _) => Change::Renamed(format!("{}.new", listing.name)),
                _ => Change::Details,
            };
            if change == Change::Removed {
                let market = &mut self.market;
                for (id, connection) in &mut self.connections {
                    let accounts: Vec<i64> = connection.sessions.keys().copied().collect();
                    for account in accounts {
                        connection.late.remove(&(account, symbol));
                        connection.subscriptions.remove(&(account, symbol));
                        market.unwatch(symbol, (*id, account));
                    }
                }
            }
            self.market.change(symbol, change);
        }
        self.tell_changed(now, &changed);
    }

    fn restore_symbols(&mut self, now: Now, which: &Which) {
        let count = self.market.catalogue().listings().len();
        let symbols: Vec<usize> = (0..count).filter(|symbol| which.has(*symbol)).collect();
        let changed: Vec<i64> =
            symbols.iter().map(|symbol| self.market.catalogue().listings()[*symbol].id).collect();
        for symbol in symbols {
            self.market.change(symbol, Change::Restored);
        }
        self.tell_changed(now, &changed);
    }

    fn tell_changed(&mut self, now: Now, symbol_id: &[i64]) {
        self.each(|connection| {
            let accounts: Vec<i64> = connection.sessions.keys().copied().collect();
            for ctid_trader_account_id in accounts {
                let symbol_id = symbol_id.to_vec();
                let event =
                    ProtoOaSymbolChangedEvent { payload_type: None, ctid_trader_account_id, symbol_id };
                connection.push(now, &event);
            }
        });
    }

    fn cut_inside_frame(&mut self, now: Now) {
        let account = self.settings.account_id;
        // Any frame will do; one long enough that half of it is more than the length.
        let half = ProtoOaAccountDisconnectEvent { payload_type: None, ctid_trader_account_id: account };
        self.each(|connection| connection.send_half(now, &half));
        self.end_all(Ending::Abrupt);
    }

    fn end_all(&mut self, ending: Ending) {
        self.each(|connection| connection.end(ending, Reason::Fault));
    }

    fn send_all(&mut self, now: Now, bytes: &[u8]) {
        self.each(|connection| connection.send_raw(now, bytes));
    }

    /// Does something to every connection that is not about to end.
    fn each(&mut self, mut act: impl FnMut(&mut Connection)) {
        self.each_id(|venue, id| {
            if let Some(connection) = venue.connections.get_mut(&id).filter(|held| held.ending.is_none()) {
                act(connection);
            }
            venue.queue(id);
        });
    }

    fn each_id(&mut self, mut act: impl FnMut(&mut Self, ConnectionId)) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            act(self, id);
        }
    }
}
