//! cTrader in the world.

mod cases;
mod meter;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use ingest_ctrader::{CtraderSession, Memory, SessionSettings, TokenPair};
use sim_ctrader::{ConnectionId, Fault, Reason, ReasonKind as _, SimulatedVenue as _, VenueSettings};
use tickcast_model::{Symbol, Tick};
use tickcast_session::{DialPace, Now};

use crate::trouble::Case;
use crate::tuning::Tuning;
use crate::venue::{Disk, Door, Output, Venue, chosen, named, venue_now};
use meter::RequestMeter;

/// The one account.
const ACCOUNT: i64 = 1_000_001;

/// A cTrader server in a box and sessions of the Open API.
pub struct Ctrader(sim_ctrader::Venue);

impl Ctrader {
    fn id(&self, symbol: &Symbol) -> Option<i64> {
        let mut listings = self.0.catalogue().listings().iter();
        listings.find(|listing| listing.name == symbol.as_str()).map(|listing| listing.id)
    }
}

impl Venue for Ctrader {
    const NAME: &'static str = "ctrader";
    const TITLE: &'static str = "cTrader";
    const REMARK: &'static str = "\
Longer than 30 s take here besides: an end of maintenance that the venue said itself, and a refresh token that was called
used.";

    const DIALS_WITHIN: Duration = Duration::ZERO;

    type Session = CtraderSession;
    type Memory = Memory;
    type Meter = RequestMeter;
    type Line = ConnectionId;

    fn new(seed: u64, tuning: &Tuning) -> Self {
        Self(sim_ctrader::Venue::new(VenueSettings {
            seed,
            symbols: tuning.symbols,
            ticks_per_s: 1,
            slower: tuning.slower,
            calendar: tuning.calendar,
            ..VenueSettings::default()
        }))
    }

    fn cases() -> &'static [Case] {
        &cases::CASES
    }

    fn symbols(&self) -> Vec<Symbol> {
        self.0.catalogue().listings().iter().map(|listing| Symbol::new(&listing.name).unwrap()).collect()
    }

    /// The configured tokens, as a process has them when it starts.
    fn memory(&self) -> Memory {
        let pair = TokenPair::new("sim-token".to_owned().into(), Some("sim-refresh".to_owned().into()));
        Memory::new(pair, "sim-app", ACCOUNT)
    }

    fn sessions(
        &self,
        memory: &Memory,
        disk: &Disk,
        _: u64,
    ) -> impl FnMut() -> CtraderSession + Send + 'static {
        let (memory, disk) = (memory.clone(), Arc::clone(disk));
        let settings = SessionSettings {
            client_id: "sim-app".into(),
            client_secret: "sim-secret".to_owned().into(),
            account_id: ACCOUNT,
            host: "demo.ctraderapi.com".into(),
            memory: memory.clone(),
            heartbeat: Duration::from_secs(10),
        };
        move || {
            if let Some(text) = disk.lock().unwrap().as_deref() {
                memory.load(text).expect("what was kept can be read");
            }
            CtraderSession::new(settings.clone())
        }
    }

    fn dials() -> DialPace {
        DialPace::unlimited()
    }

    fn held(session: &CtraderSession) -> BTreeSet<Symbol> {
        session.held()
    }

    fn door(&self) -> Door {
        let faults = self.0.faults();
        if faults.has(Fault::Refuse) || faults.has(Fault::ResetHandshake) {
            Door::Refused
        } else if faults.has(Fault::HangTls) {
            Door::Silent
        } else {
            Door::Open
        }
    }

    fn open(&mut self, now: Now) -> ConnectionId {
        self.0.open(venue_now(now))
    }

    fn receive(&mut self, line: ConnectionId, now: Now, bytes: &[u8]) {
        self.0.receive(line, venue_now(now), bytes);
    }

    fn closed(&mut self, line: ConnectionId) {
        self.0.closed(line, Reason::Peer);
    }

    fn deadline(&self) -> Option<Duration> {
        self.0.deadline()
    }

    fn timeout(&mut self, now: Now) {
        self.0.timeout(venue_now(now));
    }

    fn poll(&mut self) -> Option<Output<ConnectionId>> {
        Some(match self.0.poll()? {
            sim_ctrader::Output::Send { id, message } => Output::Send(id, message),
            sim_ctrader::Output::Close { id, reason, .. } => Output::End(id, reason.as_str()),
        })
    }

    fn begin(&mut self, now: Now, fault: &'static str, chance: Option<&mut Rng>) -> String {
        let spec = chosen(fault, chance, self.0.catalogue());
        let words = spec.params().to_string();
        self.0.fault(venue_now(now), spec, true);
        words
    }

    fn end(&mut self, now: Now, fault: &'static str) {
        self.0.fault(venue_now(now), named::<Fault>(fault), false);
    }

    fn heal(&mut self, now: Now) {
        self.0.heal(venue_now(now));
    }

    fn connections(&self) -> usize {
        self.0.connections().count()
    }

    fn streams(&self, line: ConnectionId) -> BTreeSet<Symbol> {
        let listings = self.0.catalogue().listings();
        let name = |id: &i64| listings.iter().find(|listing| listing.id == *id).map(|listing| &listing.name);
        self.0.subscribed(line).iter().filter_map(name).map(|name| Symbol::new(name).unwrap()).collect()
    }

    fn is_open(&mut self, now: Now, symbol: &Symbol) -> bool {
        self.id(symbol).is_some_and(|id| self.0.is_open(venue_now(now), id))
    }

    fn assert_sound(tick: &Tick) {
        let (Some(bid), Some(ask)) = (tick.bid, tick.ask) else { panic!("a tick with one side: {tick:?}") };
        assert!(bid.units() > 0 && ask.units() > 0, "a price of nothing: {tick:?}");
    }

    fn assert_true(&self, line: ConnectionId, symbol: &Symbol, tick: &Tick) {
        let told = self.0.sent(line, self.id(symbol).unwrap()).unwrap();
        let shown = (tick.bid.unwrap().units(), tick.ask.unwrap().units());
        let venue = (i64::try_from(told.bid).unwrap(), i64::try_from(told.ask).unwrap());
        assert_eq!(shown, venue, "{symbol} is not as the venue says");
    }
}
