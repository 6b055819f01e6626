use std::collections::HashMap;

use serde_json::value::RawValue;
use tickcast_model::{Catalogue, Instrument, Symbol};

/// A venue's catalogue, ready for look-ups.
#[derive(Debug)]
pub struct Book {
    epoch: u64,
    catalogue: Catalogue,
    exact: HashMap<Symbol, usize>,
    by_key: HashMap<String, usize>,
    /// The names as a JSON list, written once for everybody.
    names: Box<RawValue>,
}

impl Book {
    /// The book of a catalogue given by the ingest of incarnation `epoch`.
    pub fn new(epoch: u64, catalogue: Catalogue) -> Self {
        let mut exact = HashMap::with_capacity(catalogue.instruments.len());
        let mut by_key = HashMap::with_capacity(catalogue.instruments.len());
        for (index, instrument) in catalogue.instruments.iter().enumerate() {
            exact.entry(instrument.symbol.clone()).or_insert(index);
            by_key.entry(Symbol::lookup_key(instrument.symbol.as_str())).or_insert(index);
        }
        let names: Vec<&str> = catalogue.instruments.iter().map(|i| i.symbol.as_str()).collect();
        let names = serde_json::value::to_raw_value(&names).unwrap_or_default();
        Self { epoch, catalogue, exact, by_key, names }
    }

    /// Which catalogue this is: incarnation and version.
    pub fn edition(&self) -> (u64, u64) {
        (self.epoch, self.catalogue.version)
    }

    /// True where any name may be asked for.
    pub fn is_open(&self) -> bool {
        self.catalogue.open
    }

    /// The names as a JSON list.
    pub fn names(&self) -> &RawValue {
        &self.names
    }

    /// How many instruments there are.
    pub fn len(&self) -> usize {
        self.catalogue.instruments.len()
    }

    /// True where the list has nothing in it.
    pub fn is_empty(&self) -> bool {
        self.catalogue.instruments.is_empty()
    }

    /// True where both offer the same names.
    pub fn offers_the_same(&self, other: &Self) -> bool {
        self.is_open() == other.is_open() && self.names.get() == other.names.get()
    }

    /// The symbol a person means: spelled exactly, else in any case and with or without `/`.
    pub fn look_up(&self, name: &str) -> Option<Symbol> {
        let listed = self.exact.get(name).or_else(|| self.by_key.get(&Symbol::lookup_key(name)));
        match listed.and_then(|index| self.catalogue.instruments.get(*index)) {
            Some(instrument) => Some(instrument.symbol.clone()),
            None if self.is_open() => Symbol::new(name),
            None => None,
        }
    }

    /// Instruments whose name or description contains `query` (all for an empty one): those whose name begins with it
    /// first. At most `limit`, and how many there are in all.
    pub fn search(&self, query: &str, limit: usize) -> (Vec<&Instrument>, usize) {
        let key = Symbol::lookup_key(query);
        let words = query.trim().to_lowercase();
        let rank = |instrument: &Instrument| {
            let name = Symbol::lookup_key(instrument.symbol.as_str());
            if name.starts_with(&key) {
                Some(0)
            } else if name.contains(&key) {
                Some(1)
            } else {
                instrument.description.to_lowercase().contains(&words).then_some(2)
            }
        };
        let mut found: Vec<_> =
            self.catalogue.instruments.iter().filter_map(|i| rank(i).map(|rank| (rank, i))).collect();
        found.sort_by_key(|(rank, _)| *rank);
        let total = found.len();
        (found.into_iter().take(limit).map(|(_, instrument)| instrument).collect(), total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(open: bool, names: &[(&str, &str)]) -> Book {
        let instruments = names.iter().map(|(name, description)| Instrument {
            symbol: Symbol::new(name).unwrap(),
            description: (*description).to_owned(),
            digits: None,
            pip_position: None,
        });
        Book::new(1, Catalogue { version: 1, open, instruments: instruments.collect() })
    }

    #[test]
    fn a_symbol_is_found_in_any_spelling() {
        let book = book(false, &[("EURUSD", ""), ("GER40.cash", ""), ("XAU/USD", "")]);
        for (asked, found) in
            [("EURUSD", "EURUSD"), ("eur/usd", "EURUSD"), ("ger40.CASH", "GER40.cash"), ("xauusd", "XAU/USD")]
        {
            assert_eq!(book.look_up(asked).unwrap().as_str(), found);
        }
        assert!(book.look_up("NOPE").is_none());
        assert!(book.look_up("").is_none());
    }

    #[test]
    fn the_exact_spelling_wins_over_a_similar_one() {
        let book = book(false, &[("BTCUSD", ""), ("BTC/USD", ""), ("btcusd", "")]);
        for name in ["BTCUSD", "BTC/USD", "btcusd"] {
            assert_eq!(book.look_up(name).unwrap().as_str(), name);
        }
        assert_eq!(book.look_up("BtcUsd").unwrap().as_str(), "BTCUSD");
    }

    #[test]
    fn an_open_catalogue_takes_any_name_that_can_be_one() {
        let book = book(true, &[]);
        assert_eq!(book.look_up("BITSTAMP:BTCUSD").unwrap().as_str(), "BITSTAMP:BTCUSD");
        assert!(book.look_up("a\nb").is_none());
        assert_eq!(book.names().get(), "[]");
    }

    #[test]
    fn a_search_shows_what_begins_with_it_first_and_is_bounded() {
        let book = book(false, &[("AUDUSD", ""), ("EURUSD", "Euro"), ("USDJPY", ""), ("GER40", "usd free")]);
        let names = |query, limit| {
            let (found, total) = book.search(query, limit);
            (found.iter().map(|i| i.symbol.as_str().to_owned()).collect::<Vec<_>>().join(" "), total)
        };
        assert_eq!(names("usd", 9), ("USDJPY AUDUSD EURUSD GER40".into(), 4));
        assert_eq!(names("eur/", 9), ("EURUSD".into(), 1));
        assert_eq!(names("", 2), ("AUDUSD EURUSD".into(), 4));
    }
}
