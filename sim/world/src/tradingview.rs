//! The TradingView data socket in the world.

mod cases;
mod meter;

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use ingest_tradingview::{Limits, Memory, SessionSettings, TradingViewSession};
use sim_tradingview::{Fault, LineId, VenueSettings, Wired, WiredOutput};
use tickcast_model::{Details, Price, Symbol, Tick};
use tickcast_session::{DialPace, Now};

use crate::trouble::Case;
use crate::tuning::Tuning;
use crate::venue::{Disk, Door, Output, Venue, chosen, named, venue_now};
use meter::MessageMeter;

/// Messages to the venue in a second (the default of `TRADINGVIEW_MESSAGES_PER_S`).
const MESSAGES_PER_S: usize = 10;
/// Dials in a minute (the default of `TRADINGVIEW_DIALS_PER_MINUTE`).
const DIALS_PER_MINUTE: usize = 5;

/// The data socket in a box, WebSocket included, and sessions of it.
pub struct TradingView {
    wired: Wired,
    /// The token all sessions of this life have.
    token: Option<String>,
}

impl Venue for TradingView {
    const NAME: &'static str = "tradingview";
    const TITLE: &'static str = "TradingView";
    const REMARK: &'static str = "\
Longer than 30 s take here besides: an outage with many attempts (no more than five connections are opened in a minute), a
handshake that is refused (waited for as long as the venue says, and slowly where waiting will hardly mend it), keys that
are refused (asked for again after ten minutes), quote sessions that break one after the other (replaced ever more slowly),
and a venue that gives no sessions at all (dialled again slowly).";

    const DIALS_WITHIN: Duration = Duration::from_secs(60);

    type Session = TradingViewSession;
    type Memory = Memory;
    type Meter = MessageMeter;
    type Line = LineId;

    fn new(seed: u64, tuning: &Tuning) -> Self {
        let settings = VenueSettings {
            seed,
            symbols: tuning.symbols,
            ticks_per_s: 1,
            slower: tuning.slower,
            calendar: tuning.calendar,
            // Both orders of a snapshot are seen in the wild (facts 0.9).
            book_first: seed & 2 == 0,
            completes_errors: seed & 4 == 0,
            ..VenueSettings::default()
        };
        let token = (seed & 1 == 0).then(|| settings.auth_token.clone());
        Self { wired: Wired::new(settings), token }
    }

    fn cases() -> &'static [Case] {
        &cases::CASES
    }

    fn symbols(&self) -> Vec<Symbol> {
        let instruments = self.wired.venue().catalogue().instruments();
        instruments.iter().map(|instrument| Symbol::new(&instrument.name).unwrap()).collect()
    }

    fn memory(&self) -> Memory {
        Memory::default()
    }

    fn sessions(
        &self,
        memory: &Memory,
        _: &Disk,
        seed: u64,
    ) -> impl FnMut() -> TradingViewSession + Send + 'static {
        let limits = Limits { messages_per_s: MESSAGES_PER_S, symbols_per_session: 4, symbols_max: 1_000 };
        let url = "wss://data.example.com/socket.io/websocket?type=chart";
        let settings = SessionSettings::new(url, "https://www.example.com", None, limits).unwrap();
        let settings = settings.with_memory(memory.clone());
        let (token, mut rng) = (self.token.clone(), Rng::with_seed(seed));
        move || {
            let mut settings = settings.clone();
            if let Some(token) = &token {
                // Refused, it is of no use any more: somebody always puts another one there.
                settings = settings.with_token(format!("{token}.{}", rng.u32(..)).into());
            }
            TradingViewSession::with_seed(settings, rng.u64(..))
        }
    }

    fn dials() -> DialPace {
        DialPace::per_minute(DIALS_PER_MINUTE)
    }

    fn held(session: &TradingViewSession) -> BTreeSet<Symbol> {
        session.held()
    }

    fn door(&self) -> Door {
        let faults = self.wired.faults();
        if faults.has(Fault::Refuse) {
            Door::Refused
        } else if faults.has(Fault::HangTls) {
            Door::Silent
        } else {
            Door::Open
        }
    }

    fn open(&mut self, _: Now) -> LineId {
        self.wired.open()
    }

    fn receive(&mut self, line: LineId, now: Now, bytes: &[u8]) {
        self.wired.receive(line, venue_now(now), bytes);
    }

    fn closed(&mut self, line: LineId) {
        self.wired.closed(line);
    }

    fn deadline(&self) -> Option<Duration> {
        self.wired.deadline()
    }

    fn timeout(&mut self, now: Now) {
        self.wired.timeout(venue_now(now));
    }

    fn poll(&mut self) -> Option<Output<LineId>> {
        Some(match self.wired.poll()? {
            WiredOutput::Send { line, bytes } => Output::Send(line, bytes),
            WiredOutput::End { line, reason, .. } => Output::End(line, reason),
        })
    }

    fn begin(&mut self, now: Now, fault: &'static str, chance: Option<&mut Rng>) -> String {
        let spec = chosen(fault, chance, self.wired.venue().catalogue());
        let words = spec.params().to_string();
        self.wired.fault(venue_now(now), spec, true);
        words
    }

    fn end(&mut self, now: Now, fault: &'static str) {
        self.wired.fault(venue_now(now), named::<Fault>(fault), false);
    }

    fn heal(&mut self, now: Now) {
        self.wired.heal(venue_now(now));
    }

    fn connections(&self) -> usize {
        self.wired.connections()
    }

    fn streams(&self, line: LineId) -> BTreeSet<Symbol> {
        let Some(id) = self.wired.connection(line) else { return BTreeSet::new() };
        self.wired.venue().streams(id).iter().map(|key| Symbol::new(key).unwrap()).collect()
    }

    fn is_open(&mut self, _: Now, symbol: &Symbol) -> bool {
        self.wired.venue().is_open(symbol.as_str())
    }

    fn assert_sound(tick: &Tick) {
        assert!(
            tick.last.is_some() || tick.bid.is_some() && tick.ask.is_some(),
            "a tick with neither a trade nor a book: {tick:?}"
        );
        for price in [tick.last, tick.bid, tick.ask].into_iter().flatten() {
            assert!(price.units() > 0, "a price of nothing: {tick:?}");
        }
    }

    fn assert_true(&self, line: LineId, symbol: &Symbol, tick: &Tick) {
        let id = self.wired.connection(line).expect("a WebSocket");
        let prices = [("lp", tick.last), ("bid", tick.bid), ("ask", tick.ask)];
        let others = ["bid_size", "ask_size", "volume", "ch", "chp"];
        let details =
            others.into_iter().zip(tick.details.as_deref().map(Details::numbers).unwrap_or_default());
        for (field, shown) in prices.into_iter().chain(details) {
            let told = self.wired.venue().told(id, symbol.as_str(), field);
            let is_same = match (shown, told) {
                (Some(shown), Some(told)) => (value(shown) - told).abs() <= told.abs() * 1e-9,
                (None, None) => true,
                _ => false,
            };
            assert!(is_same, "{field} of {symbol} is {shown:?} and was told as {told:?}");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "compared to nine places")]
fn value(price: Price) -> f64 {
    price.units() as f64 / 10f64.powi(price.scale().into())
}
