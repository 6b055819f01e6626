//! What the simulated broker offers: a fixed list of well-known instruments, continued with made-up shares.

use std::collections::{BTreeMap, BTreeSet};

use sim_kit::fault::SymbolNames;

use crate::PRICE_UNITS;
use crate::class::Class;
use crate::hours::Hours;
use crate::wire::{
    ProtoOaArchivedSymbol, ProtoOaAsset, ProtoOaAssetClass, ProtoOaLightSymbol, ProtoOaSymbol,
    ProtoOaSymbolCategory,
};

/// Most instruments there can be; keeps the symbol list well under 1 MiB, the cap of one client (facts 5.1).
pub const SYMBOLS_MAX: usize = 5_000;

/// In the order of [`Class`].
const CLASSES: [&str; 6] = ["Forex", "Metals", "Indices", "Energies", "Crypto", "Shares"];

/// The retired symbol, there to be asked for.
const ARCHIVED: (i64, &str, &str) = (9_000_001, "EURDEM", "Euro vs German Mark");

/// One row of the list: name, base, quote, class, digits, pip position, first price x 100000, usual spread in ticks.
type Row = (&'static str, &'static str, &'static str, Class, u8, u8, u64, u64);

const ROWS: &[Row] = &[
    ("EURUSD", "EUR", "USD", Class::Forex, 5, 4, 114_811, 2),
    ("GBPUSD", "GBP", "USD", Class::Forex, 5, 4, 133_120, 6),
    ("USDJPY", "USD", "JPY", Class::Forex, 3, 2, 15_123_400, 6),
    ("USDCHF", "USD", "CHF", Class::Forex, 5, 4, 80_231, 8),
    ("USDCAD", "USD", "CAD", Class::Forex, 5, 4, 137_402, 9),
    ("AUDUSD", "AUD", "USD", Class::Forex, 5, 4, 65_218, 5),
    ("NZDUSD", "NZD", "USD", Class::Forex, 5, 4, 57_903, 9),
    ("EURGBP", "EUR", "GBP", Class::Forex, 5, 4, 86_247, 7),
    ("EURJPY", "EUR", "JPY", Class::Forex, 3, 2, 17_365_200, 9),
    ("GBPJPY", "GBP", "JPY", Class::Forex, 3, 2, 20_131_600, 15),
    ("EURCHF", "EUR", "CHF", Class::Forex, 5, 4, 92_114, 11),
    ("EURAUD", "EUR", "AUD", Class::Forex, 5, 4, 176_043, 16),
    ("AUDJPY", "AUD", "JPY", Class::Forex, 3, 2, 9_863_500, 10),
    ("CADJPY", "CAD", "JPY", Class::Forex, 3, 2, 11_006_800, 14),
    ("CHFJPY", "CHF", "JPY", Class::Forex, 3, 2, 18_849_300, 17),
    ("GBPAUD", "GBP", "AUD", Class::Forex, 5, 4, 204_115, 22),
    ("GBPCAD", "GBP", "CAD", Class::Forex, 5, 4, 182_909, 24),
    ("GBPCHF", "GBP", "CHF", Class::Forex, 5, 4, 106_804, 20),
    ("EURNZD", "EUR", "NZD", Class::Forex, 5, 4, 198_281, 30),
    ("AUDCAD", "AUD", "CAD", Class::Forex, 5, 4, 89_612, 13),
    ("XAUUSD", "XAU", "USD", Class::Metals, 2, 0, 402_417_000, 19),
    ("XAGUSD", "XAG", "USD", Class::Metals, 3, 2, 4_981_200, 22),
    ("XPTUSD", "XPT", "USD", Class::Metals, 2, 0, 158_230_000, 260),
    ("XPDUSD", "XPD", "USD", Class::Metals, 2, 0, 146_115_000, 320),
    ("US100.cash", "US100", "USD", Class::Indices, 2, 0, 2_529_084_000, 110),
    ("US500.cash", "US500", "USD", Class::Indices, 2, 0, 684_312_000, 45),
    ("US30.cash", "US30", "USD", Class::Indices, 2, 0, 4_732_155_000, 190),
    ("GER40.cash", "GER40", "EUR", Class::Indices, 1, 0, 2_396_870_000, 11),
    ("UK100.cash", "UK100", "GBP", Class::Indices, 1, 0, 969_140_000, 12),
    ("FRA40.cash", "FRA40", "EUR", Class::Indices, 1, 0, 812_260_000, 11),
    ("EU50.cash", "EU50", "EUR", Class::Indices, 1, 0, 566_390_000, 14),
    ("JP225.cash", "JP225", "JPY", Class::Indices, 0, 0, 5_021_400_000, 8),
    ("HK50.cash", "HK50", "HKD", Class::Indices, 1, 0, 2_648_550_000, 80),
    ("AUS200.cash", "AUS200", "AUD", Class::Indices, 1, 0, 884_410_000, 15),
    ("US2000.cash", "US2000", "USD", Class::Indices, 2, 0, 245_518_000, 40),
    ("USOIL.cash", "USOIL", "USD", Class::Energies, 2, 1, 6_092_000, 4),
    ("UKOIL.cash", "UKOIL", "USD", Class::Energies, 2, 1, 6_471_000, 4),
    ("NATGAS.cash", "NATGAS", "USD", Class::Energies, 3, 2, 431_500, 6),
    ("BTCUSD", "BTC", "USD", Class::Crypto, 2, 0, 9_184_312_000, 1_500),
    ("ETHUSD", "ETH", "USD", Class::Crypto, 2, 0, 302_155_000, 140),
    ("LTCUSD", "LTC", "USD", Class::Crypto, 2, 1, 8_412_000, 20),
    ("XRPUSD", "XRP", "USD", Class::Crypto, 5, 4, 218_430, 180),
    ("DOGEUSD", "DOGE", "USD", Class::Crypto, 5, 4, 14_905, 24),
    ("SOLUSD", "SOL", "USD", Class::Crypto, 3, 1, 13_641_200, 60),
    ("AUDCHF", "AUD", "CHF", Class::Forex, 5, 4, 52_330, 11),
    ("AUDNZD", "AUD", "NZD", Class::Forex, 5, 4, 112_630, 17),
    ("CADCHF", "CAD", "CHF", Class::Forex, 5, 4, 58_394, 13),
    ("NZDJPY", "NZD", "JPY", Class::Forex, 3, 2, 8_757_100, 13),
    ("NZDCAD", "NZD", "CAD", Class::Forex, 5, 4, 79_561, 17),
    ("EURCAD", "EUR", "CAD", Class::Forex, 5, 4, 157_743, 18),
    ("USDSEK", "USD", "SEK", Class::Forex, 5, 4, 942_118, 210),
    ("USDNOK", "USD", "NOK", Class::Forex, 5, 4, 1_012_604, 230),
    ("USDMXN", "USD", "MXN", Class::Forex, 5, 4, 1_834_320, 260),
    ("USDZAR", "USD", "ZAR", Class::Forex, 5, 4, 1_721_415, 480),
    ("USDTRY", "USD", "TRY", Class::Forex, 5, 4, 4_231_070, 900),
    ("USDPLN", "USD", "PLN", Class::Forex, 5, 4, 364_811, 190),
    ("EURSEK", "EUR", "SEK", Class::Forex, 5, 4, 1_081_655, 260),
    ("USDSGD", "USD", "SGD", Class::Forex, 5, 4, 130_112, 14),
    ("USDCNH", "USD", "CNH", Class::Forex, 5, 4, 710_938, 35),
    ("USDHKD", "USD", "HKD", Class::Forex, 5, 4, 777_612, 20),
];

/// One instrument and what its walk needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// The key on the wire. Not the position in the list: a client that mixes them up is found out.
    pub id: i64,
    /// The broker's spelling.
    pub name: String,
    /// The name in words.
    pub description: String,
    /// Decimals worth showing.
    pub digits: u8,
    /// Decimal place of one pip.
    pub pip_position: u8,
    /// Where the walk starts, and the close of the last session: price x 100000.
    pub start: u64,
    /// Usual spread, in ticks.
    pub spread_ticks: u64,
    base: String,
    quote: &'static str,
    class: Class,
}

impl Listing {
    /// The class it belongs to.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The smallest price step: 10^-digits, x 100000.
    pub fn tick(&self) -> u64 {
        PRICE_UNITS / 10u64.pow(u32::from(self.digits))
    }
}

/// Everything the broker offers, in the order of its list.
#[derive(Debug)]
pub struct Catalogue {
    listings: Vec<Listing>,
    assets: Vec<String>,
    /// Positions of instruments that are gone for now.
    removed: BTreeSet<usize>,
    /// The names renamed instruments had at the start.
    renamed: BTreeMap<String, usize>,
    /// Whether markets open and close; else they never close.
    calendar: bool,
}

/// What can happen to an instrument while somebody watches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// It is gone.
    Removed,
    /// It is called something else.
    Renamed(String),
    /// It is told with a digit less.
    Details,
    /// It is again as it was at the start.
    Restored,
}

impl Catalogue {
    /// The first `symbols` instruments, at least one and at most [`SYMBOLS_MAX`]. The same number gives the same list.
    pub fn new(symbols: usize) -> Self {
        let listings: Vec<Listing> = (0..symbols.clamp(1, SYMBOLS_MAX)).map(listing).collect();
        let mut assets: Vec<String> = Vec::new();
        for name in listings.iter().flat_map(|listing| [listing.base.as_str(), listing.quote]) {
            if !assets.iter().any(|known| known == name) {
                assets.push(name.to_owned());
            }
        }
        Self { listings, assets, removed: BTreeSet::new(), renamed: BTreeMap::new(), calendar: false }
    }

    /// The same with markets that open and close, or that never do.
    #[must_use]
    pub fn with_calendar(self, calendar: bool) -> Self {
        Self { calendar, ..self }
    }

    pub(crate) fn set_session_close(&mut self, position: usize, price: u64) {
        if let Some(listing) = self.listings.get_mut(position) {
            listing.start = price;
        }
    }

    pub(crate) fn has_calendar(&self) -> bool {
        self.calendar
    }

    /// The instruments; a position in this slice is what the simulator itself calls a symbol by.
    pub fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// The position of the instrument with this key; none while it is removed.
    pub fn position(&self, symbol_id: i64) -> Option<usize> {
        let position = usize::try_from(symbol_id.checked_sub(1)?).ok()? / 2;
        let there = self.listings.get(position).is_some_and(|listing| listing.id == symbol_id);
        (there && !self.removed.contains(&position)).then_some(position)
    }

    /// The position of the instrument of this name, now or at the start, removed or not.
    pub fn named(&self, name: &str) -> Option<usize> {
        let now = self.listings.iter().position(|listing| listing.name == name);
        now.or_else(|| self.renamed.get(name).copied())
    }

    /// True while the instrument at this position is removed.
    pub fn is_removed(&self, position: usize) -> bool {
        self.removed.contains(&position)
    }

    pub(crate) fn change(&mut self, position: usize, change: Change) {
        let Some(held) = self.listings.get_mut(position) else { return };
        match change {
            Change::Removed => {
                self.removed.insert(position);
            }
            Change::Renamed(name) => {
                self.renamed.insert(std::mem::replace(&mut held.name, name), position);
            }
            Change::Details => {
                held.digits = held.digits.saturating_sub(1);
                held.pip_position = held.pip_position.min(held.digits);
            }
            Change::Restored => {
                *held = listing(position);
                self.removed.remove(&position);
                self.renamed.remove(&held.name);
            }
        }
    }

    /// True for the key of a retired instrument.
    pub fn is_archived(&self, symbol_id: i64) -> bool {
        symbol_id == ARCHIVED.0
    }

    pub(crate) fn light_symbols(&self) -> Vec<ProtoOaLightSymbol> {
        let light = |(position, listing): (usize, &Listing)| ProtoOaLightSymbol {
            symbol_id: listing.id,
            symbol_name: Some(listing.name.clone()),
            enabled: Some(true),
            base_asset_id: self.asset_id(&listing.base),
            quote_asset_id: self.asset_id(listing.quote),
            symbol_category_id: Some(key(listing.class as usize)),
            description: Some(listing.description.clone()),
            sorting_number: u32::try_from(position + 1).ok().map(f64::from),
        };
        let there = |(position, _): &(usize, &Listing)| !self.removed.contains(position);
        self.listings.iter().enumerate().filter(there).map(light).collect()
    }

    pub(crate) fn archived_symbol(&self) -> ProtoOaArchivedSymbol {
        let (symbol_id, name, description) = ARCHIVED;
        ProtoOaArchivedSymbol {
            symbol_id,
            name: name.to_owned(),
            utc_last_update_timestamp: 1_009_843_200_000,
            description: Some(description.to_owned()),
        }
    }

    pub(crate) fn symbol(&self, position: usize) -> Option<ProtoOaSymbol> {
        let listing = self.listings.get(position)?;
        let hours = Hours::of(listing.class, self.calendar);
        Some(ProtoOaSymbol {
            symbol_id: listing.id,
            digits: listing.digits.into(),
            pip_position: listing.pip_position.into(),
            enable_short_selling: Some(true),
            min_volume: Some(100_000),
            max_volume: Some(1_000_000_000),
            step_volume: Some(100_000),
            lot_size: Some(10_000_000),
            schedule: hours.schedule(),
            schedule_time_zone: Some(hours.zone()),
            holiday: hours.holidays(),
            ..ProtoOaSymbol::default()
        })
    }

    pub(crate) fn assets(&self) -> Vec<ProtoOaAsset> {
        let asset = |(at, name): (usize, &String)| ProtoOaAsset {
            asset_id: key(at),
            name: name.clone(),
            display_name: Some(name.clone()),
            digits: Some(2),
        };
        self.assets.iter().enumerate().map(asset).collect()
    }

    pub(crate) fn asset_classes(&self) -> Vec<ProtoOaAssetClass> {
        let class = |(at, name): (usize, &&str)| ProtoOaAssetClass {
            id: Some(key(at)),
            name: Some((*name).to_owned()),
            sorting_number: u32::try_from(at + 1).ok().map(f64::from),
        };
        CLASSES.iter().enumerate().map(class).collect()
    }

    pub(crate) fn categories(&self) -> Vec<ProtoOaSymbolCategory> {
        let category = |(at, name): (usize, &&str)| ProtoOaSymbolCategory {
            id: key(at),
            asset_class_id: key(at),
            name: (*name).to_owned(),
            sorting_number: u32::try_from(at + 1).ok().map(f64::from),
        };
        CLASSES.iter().enumerate().map(category).collect()
    }

    /// The key of the currency accounts are held in.
    pub(crate) fn deposit_asset_id(&self) -> i64 {
        self.asset_id("USD").unwrap_or(1)
    }

    fn asset_id(&self, name: &str) -> Option<i64> {
        self.assets.iter().position(|asset| asset == name).map(key)
    }
}

/// A key of the wire for a position in one of our lists: from 1 on.
fn key(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX - 1) + 1
}

fn listing(position: usize) -> Listing {
    let id = key(position) * 2 - 1;
    let Some(&(name, base, quote, class, digits, pip_position, start, spread_ticks)) = ROWS.get(position)
    else {
        return share(id, position - ROWS.len());
    };
    let description = match class {
        Class::Forex | Class::Metals | Class::Crypto => format!("{base} vs {quote}"),
        _ => format!("{base} cash in {quote}"),
    };
    Listing {
        id,
        name: name.to_owned(),
        description,
        digits,
        pip_position,
        start,
        spread_ticks,
        base: base.to_owned(),
        quote,
        class,
    }
}

/// The made-up share number `number`: AAA.US, AAB.US, ...
fn share(id: i64, number: usize) -> Listing {
    let letter = |place: usize| {
        let at = number / 26usize.pow(place.try_into().unwrap_or(0)) % 26;
        char::from(b'A' + u8::try_from(at).unwrap_or(0))
    };
    let base: String = [2, 1, 0].map(letter).iter().collect();
    let start = (1_000 + (number as u64).wrapping_mul(7_919) % 49_000) * (PRICE_UNITS / 100);
    Listing {
        id,
        name: format!("{base}.US"),
        description: format!("{base} Inc."),
        digits: 2,
        pip_position: 2,
        start,
        spread_ticks: 1 + start / 20_000_000,
        base,
        quote: "USD",
        class: Class::Shares,
    }
}

impl SymbolNames for Catalogue {
    fn count(&self) -> usize {
        self.listings().len()
    }

    fn name_at(&self, position: usize) -> &str {
        &self.listings()[position].name
    }

    fn position_of(&self, name: &str) -> Option<usize> {
        self.named(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_same_each_time_and_names_are_unique() {
        let (one, two) = (Catalogue::new(SYMBOLS_MAX), Catalogue::new(SYMBOLS_MAX));
        assert_eq!(one.listings(), two.listings());
        let names: BTreeSet<&str> = one.listings().iter().map(|listing| listing.name.as_str()).collect();
        assert_eq!(names.len(), SYMBOLS_MAX);
        assert_eq!(one.listings()[0].name, "EURUSD");
        assert_eq!(one.listings()[ROWS.len()].name, "AAA.US");
    }

    #[test]
    fn a_key_leads_back_to_its_instrument_and_no_other_does() {
        let catalogue = Catalogue::new(70);
        for (position, listing) in catalogue.listings().iter().enumerate() {
            assert_eq!(catalogue.position(listing.id), Some(position));
        }
        for unknown in [i64::MIN, -1, 0, 2, 141, 9_000_001, i64::MAX] {
            assert_eq!(catalogue.position(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn prices_begin_on_a_whole_tick_and_gold_is_as_recorded() {
        let catalogue = Catalogue::new(SYMBOLS_MAX);
        for listing in catalogue.listings() {
            assert!(listing.digits <= 5);
            assert!(listing.start.is_multiple_of(listing.tick()), "{}", listing.name);
            assert!(listing.start > 100 * listing.tick(), "{}", listing.name);
        }
        let gold = &catalogue.listings()[20];
        assert_eq!((gold.name.as_str(), gold.id, gold.digits, gold.pip_position), ("XAUUSD", 41, 2, 0));
    }
}
