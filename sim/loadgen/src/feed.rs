//! Plays an ingest on the bus: health beats, a catalogue, and ticks at any rate, so that a gateway can be loaded beyond
//! what a venue gives.
//!
//! Each tick is stamped with the time at which it was *due*: `venue_time_ms` holds the milliseconds and the last three
//! decimals of `bid` the microseconds, so latency can be told to the microsecond from the JSON a browser gets, and a feed
//! that is late shows as latency instead of hiding it. `received_us` is the time at which it was really published.

use std::fmt::Write as _;

use tickcast_model::{
    AuthState, Body, Catalogue, ChannelEvent, DataState, Instrument, LinkState, Position, Price, Symbol,
    Tick, VenueHealth, VenueId,
};

/// What a feed publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedPlan {
    /// The venue it plays.
    pub venue: VenueId,
    /// Its incarnation.
    pub epoch: u64,
    /// How many symbols.
    pub symbols: u32,
    /// Ticks of each symbol in a second; 0 = only the first one of each.
    pub ticks_per_s: u32,
    /// Everything takes so many times as long, for less than a tick a second; at least 1.
    pub slowdown: u32,
}

impl FeedPlan {
    /// The name of a symbol: `S00` to `S99`, then `S100` and so on.
    pub fn name(number: u32) -> String {
        format!("S{number:02}")
    }

    /// Ticks of all symbols in a second, without the slowdown.
    pub fn all_per_s(&self) -> u64 {
        u64::from(self.symbols) * u64::from(self.ticks_per_s)
    }

    /// When tick number `index` of all is due, microseconds from the start. The symbols take turns, evenly spread.
    pub fn due_us(&self, index: u64) -> u64 {
        let per_s = u128::from(self.all_per_s().max(1));
        u64::try_from(u128::from(index) * 1_000_000 * u128::from(self.slowdown) / per_s).unwrap_or(u64::MAX)
    }

    /// Which symbol tick number `index` of all is of, and its number there.
    pub fn turn(&self, index: u64) -> (u32, u64) {
        let symbols = u64::from(self.symbols.max(1));
        (u32::try_from(index % symbols).unwrap_or(0), index / symbols + 1)
    }

    /// A tick with both its stamps, Unix microseconds.
    pub fn event(
        &self,
        symbol: &Symbol,
        seq: u64,
        due_us: i64,
        sent_us: i64,
        snapshot: bool,
    ) -> ChannelEvent {
        ChannelEvent {
            symbol: symbol.clone(),
            position: Position { epoch: self.epoch, seq },
            body: Body::Tick(Tick {
                bid: Price::new(stamped_units(due_us), 5),
                ask: None,
                last: None,
                digits: 5,
                venue_time_ms: Some(due_us.div_euclid(1000)),
                received_us: sent_us,
                snapshot,
                delayed_s: None,
                details: None,
            }),
        }
    }

    /// The instruments.
    pub fn catalogue(&self) -> Catalogue {
        let instrument = |number| {
            Some(Instrument {
                symbol: Symbol::new(&Self::name(number))?,
                description: String::new(),
                digits: Some(5),
                pip_position: Some(4),
            })
        };
        Catalogue { version: 1, open: false, instruments: (0..self.symbols).filter_map(instrument).collect() }
    }

    /// All well.
    pub fn health(&self, now_ms: i64) -> VenueHealth {
        VenueHealth {
            venue: self.venue.clone(),
            epoch: self.epoch,
            link: LinkState::Up,
            auth: AuthState::Ok,
            data: DataState::Live,
            link_since_ms: now_ms,
            auth_since_ms: now_ms,
            data_since_ms: now_ms,
            cause: None,
            attempt: 0,
            retry_in_ms: None,
            last_tick_age_ms: Some(0),
            catalogue_version: 1,
            at_ms: now_ms,
        }
    }
}

/// A price around 1.08 whose last three decimals are the microseconds of the time.
fn stamped_units(due_us: i64) -> i64 {
    108_000 + due_us.rem_euclid(1000)
}

/// A tick as a gateway writes it for a browser, about 150 bytes, for servers that only pass bytes on.
pub fn tick_json(venue: &VenueId, event: &ChannelEvent) -> String {
    let mut json = String::with_capacity(192);
    let Body::Tick(tick) = &event.body else { return json };
    let _ = write!(json, "{{\"type\":\"tick\",\"source\":\"{venue}\",\"symbol\":\"{}\"", event.symbol);
    for (name, price) in [("bid", tick.bid), ("ask", tick.ask), ("price", tick.price())] {
        if let Some(price) = price {
            let _ = write!(json, ",\"{name}\":{}", price.with_digits(tick.digits));
        }
    }
    let received_ms = tick.received_us.div_euclid(1000);
    let _ = write!(
        json,
        ",\"timestamp\":{},\"receivedAt\":{received_ms},\"epoch\":\"{}\",\"seq\":{}",
        tick.venue_time_ms.unwrap_or(received_ms),
        event.position.epoch,
        event.position.seq
    );
    json.push_str(if tick.snapshot { ",\"snapshot\":true}" } else { "}" });
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scanned, scan};

    fn plan(symbols: u32, ticks_per_s: u32) -> FeedPlan {
        FeedPlan { venue: VenueId::new("bench").unwrap(), epoch: 1, symbols, ticks_per_s, slowdown: 1 }
    }

    #[test]
    fn symbols_take_turns_evenly_and_number_their_ticks() {
        let plan = plan(20, 50);
        assert_eq!((plan.due_us(0), plan.due_us(1), plan.due_us(1000)), (0, 1000, 1_000_000));
        let slow = FeedPlan { slowdown: 5, ..plan.clone() };
        assert_eq!(slow.due_us(1), 5_000);
        assert_eq!((plan.turn(0), plan.turn(19), plan.turn(20)), ((0, 1), (19, 1), (0, 2)));
        assert_eq!(plan.due_us(1_000_000_000_000), 1_000_000_000_000_000, "no drift in a long run");
    }

    #[test]
    fn a_browser_can_tell_the_time_a_tick_was_due_to_the_microsecond() {
        let plan = plan(1, 1);
        let symbol = Symbol::new(&FeedPlan::name(0)).unwrap();
        for due_us in [1_700_000_000_123_456, 1_700_000_000_123_000, 1_700_000_000_123_999] {
            let json = tick_json(&plan.venue, &plan.event(&symbol, 42, due_us, due_us + 2_000, false));
            let Some(Scanned::Tick(tick)) = scan(json.as_bytes()) else { panic!("{json}") };
            let fraction = i64::from(tick.bid_thousandths.unwrap());
            assert_eq!(tick.timestamp_ms * 1000 + fraction, due_us, "{json}");
            assert_eq!((tick.seq, tick.received_at_ms), (42, Some(1_700_000_000_125)));
            assert!((140..160).contains(&json.len()), "{} bytes: {json}", json.len());
        }
    }

    #[test]
    fn the_catalogue_names_what_ticks() {
        let names: Vec<String> =
            plan(101, 1).catalogue().instruments.iter().map(|one| one.symbol.to_string()).collect();
        assert_eq!((names.len(), &*names[7], &*names[100]), (101, "S07", "S100"));
    }
}
