use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tickcast_model::{Catalogue, Instrument, Symbol};
use tickcast_session::{Holiday, MarketHours};

use crate::messages::wire;

/// Instruments kept at most; a broker lists thousands.
const INSTRUMENTS_MAX: usize = 100_000;

/// Decimals a price at a scale of 1/100000 can carry (facts 3.6).
const DIGITS_MAX: i32 = 5;

/// What the account's broker offers: names, the ids behind them, and details of those somebody wanted.
///
/// Ids belong to one server environment, so all of it is read anew on each connection (facts 3.10).
#[derive(Default)]
pub(crate) struct Instruments {
    ids: BTreeMap<Symbol, i64>,
    listed: HashMap<i64, Listed>,
}

struct Listed {
    symbol: Symbol,
    description: String,
    details: Option<Details>,
}

/// What has to be known of an instrument before its quotes can be published.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Details {
    pub(crate) digits: u8,
    pub(crate) pip_position: i8,
    /// When it trades, where the venue says so in a way that can be used.
    pub(crate) hours: Option<Arc<MarketHours>>,
}

impl Instruments {
    /// Takes the venue's list; hidden and nameless entries are left out.
    pub(crate) fn read(list: wire::ProtoOaSymbolsListRes) -> Self {
        let mut instruments = Self::default();
        for entry in list.symbol.into_iter().take(INSTRUMENTS_MAX) {
            let name = entry.symbol_name.as_deref().and_then(Symbol::new);
            let Some(symbol) = name.filter(|_| entry.enabled != Some(false)) else { continue };
            let description = entry.description.unwrap_or_default();
            instruments.ids.insert(symbol.clone(), entry.symbol_id);
            instruments.listed.insert(entry.symbol_id, Listed { symbol, description, details: None });
        }
        instruments
    }

    /// Takes over the details an older list had of what is still the same instrument.
    pub(crate) fn inherit(&mut self, older: Self) {
        for (id, old) in older.listed {
            if let Some(listed) = self.listed.get_mut(&id).filter(|listed| listed.symbol == old.symbol) {
                listed.details = old.details;
            }
        }
    }

    /// The id behind a name in the venue's own spelling.
    pub(crate) fn id(&self, symbol: &Symbol) -> Option<i64> {
        self.ids.get(symbol).copied()
    }

    /// The details of an instrument, where they were asked for.
    pub(crate) fn details(&self, id: i64) -> Option<&Details> {
        self.listed.get(&id)?.details.as_ref()
    }

    /// Notes an instrument's details. The flag says that it has trading hours which cannot be used.
    ///
    /// # Errors
    /// Says why an instrument cannot be served: its prices do not fit the wire's scale.
    pub(crate) fn describe(&mut self, symbol: &wire::ProtoOaSymbol) -> Result<bool, String> {
        let Some(digits) = u8::try_from(symbol.digits).ok().filter(|_| symbol.digits <= DIGITS_MAX) else {
            return Err(format!("{} digits do not fit the venue's scale of 1/100000", symbol.digits));
        };
        let pip_position =
            i8::try_from(symbol.pip_position).map_err(|_| "impossible pip position".to_owned())?;
        let hours = hours(symbol);
        let unusable = hours.is_none() && !symbol.schedule.is_empty();
        if let Some(listed) = self.listed.get_mut(&symbol.symbol_id) {
            listed.details = Some(Details { digits, pip_position, hours });
        }
        Ok(unusable)
    }

    /// Forgets details that changed, so that they are asked for again.
    pub(crate) fn forget_details(&mut self, id: i64) {
        if let Some(listed) = self.listed.get_mut(&id) {
            listed.details = None;
        }
    }

    /// The list as others see it. The supervisor gives it its version.
    pub(crate) fn catalogue(&self) -> Catalogue {
        let instrument = |id: &i64| {
            self.listed.get(id).map(|listed| Instrument {
                symbol: listed.symbol.clone(),
                description: listed.description.clone(),
                digits: listed.details.as_ref().map(|details| details.digits),
                pip_position: listed.details.as_ref().map(|details| details.pip_position),
            })
        };
        Catalogue { version: 0, open: false, instruments: self.ids.values().filter_map(instrument).collect() }
    }
}

/// The venue's weekly schedule: seconds since Sunday 00:00 in an IANA zone, less holidays (facts 3.10).
fn hours(symbol: &wire::ProtoOaSymbol) -> Option<Arc<MarketHours>> {
    let zone = symbol.schedule_time_zone.as_deref()?;
    let sessions: Vec<(u32, u32)> =
        symbol.schedule.iter().map(|session| (session.start_second, session.end_second)).collect();
    let second = |second: Option<i32>| second.and_then(|second| u32::try_from(second).ok());
    let holiday = |holiday: &wire::ProtoOaHoliday| Holiday {
        zone: holiday.schedule_time_zone.clone(),
        day: holiday.holiday_date,
        yearly: holiday.is_recurring,
        seconds: second(holiday.start_second).zip(second(holiday.end_second)),
    };
    let holidays: Vec<Holiday> = symbol.holiday.iter().map(holiday).collect();
    MarketHours::new(zone, &sessions, &holidays).ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use tickcast_session::HoursState;

    use super::*;

    fn listing(entries: &[(i64, &str)]) -> wire::ProtoOaSymbolsListRes {
        let symbol = |(id, name): &(i64, &str)| wire::ProtoOaLightSymbol {
            symbol_id: *id,
            symbol_name: Some((*name).to_owned()),
            ..Default::default()
        };
        wire::ProtoOaSymbolsListRes { symbol: entries.iter().map(symbol).collect(), ..Default::default() }
    }

    fn described(id: i64) -> wire::ProtoOaSymbol {
        wire::ProtoOaSymbol { symbol_id: id, digits: 5, pip_position: 4, ..Default::default() }
    }

    /// Row 10: an id means nothing but what the present list says of it.
    #[test]
    fn details_survive_a_new_list_only_where_id_and_name_are_the_same() {
        let mut old = Instruments::read(listing(&[(1, "EURUSD"), (2, "GBPUSD")]));
        old.describe(&described(1)).unwrap();
        old.describe(&described(2)).unwrap();
        let mut new = Instruments::read(listing(&[(1, "EURUSD"), (2, "XAUUSD"), (3, "GBPUSD")]));
        new.inherit(old);
        assert!(new.details(1).is_some());
        assert!(new.details(2).is_none() && new.details(3).is_none());
        assert_eq!(new.id(&Symbol::new("GBPUSD").unwrap()), Some(3));
    }

    /// Row 30, facts 3.10.
    #[test]
    fn trading_hours_are_read_from_the_schedule() {
        let mut instruments = Instruments::read(listing(&[(1, "EURUSD")]));
        let hour = 3_600;
        // Monday 00:00 to Friday 23:55 in Moscow, and the first of January off.
        let symbol = wire::ProtoOaSymbol {
            schedule: vec![wire::ProtoOaInterval {
                start_second: 24 * hour,
                end_second: 6 * 24 * hour - 300,
            }],
            schedule_time_zone: Some("Europe/Moscow".into()),
            holiday: vec![wire::ProtoOaHoliday {
                holiday_id: 1,
                name: "New Year".into(),
                schedule_time_zone: "Europe/Moscow".into(),
                holiday_date: 20_454,
                is_recurring: true,
                ..Default::default()
            }],
            ..described(1)
        };
        assert_eq!(instruments.describe(&symbol), Ok(false));
        let hours = instruments.details(1).unwrap().hours.clone().expect("hours");
        // Friday 2026-11-20 00:00 UTC; it closes at 20:55 UTC and opens on Sunday at 21:00 UTC.
        let friday_ms = 1_795_132_800_000;
        let closing_ms = friday_ms + (20 * 60 + 55) * 60_000;
        assert_eq!(hours.state(friday_ms), HoursState::Open { until_ms: Some(closing_ms) });
        let opening_ms = friday_ms + (2 * 24 + 21) * 3_600_000;
        assert_eq!(hours.state(closing_ms), HoursState::Closed { until_ms: Some(opening_ms) });
    }

    #[test]
    fn a_schedule_that_cannot_be_used_is_noticed_and_the_symbol_served() {
        let mut instruments = Instruments::read(listing(&[(1, "EURUSD")]));
        let session = wire::ProtoOaInterval { start_second: 0, end_second: 10 };
        let symbol = wire::ProtoOaSymbol {
            schedule: vec![session],
            schedule_time_zone: Some("Mars/Base".into()),
            ..described(1)
        };
        assert_eq!(instruments.describe(&symbol), Ok(true));
        assert_eq!(instruments.details(1).unwrap().hours, None);
    }
}
