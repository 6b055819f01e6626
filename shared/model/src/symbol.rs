use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// An instrument's name in the venue's own spelling: `EURUSD`, `GER40.cash`, `BITSTAMP:BTCUSD*1000`.
///
/// One to 128 bytes of UTF-8 without control characters. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The longest name accepted, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Takes a name as it stands; `None` where it is empty, too long or holds control characters.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= Self::BYTES_MAX;
        (fits && !name.chars().any(char::is_control)).then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which people's spellings of one instrument meet: upper case, without `/` and blanks.
    pub fn lookup_key(name: &str) -> String {
        name.chars().filter(|c| *c != '/' && !c.is_whitespace()).flat_map(char::to_uppercase).collect()
    }
}

impl Borrow<str> for Symbol {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_instrument_share_a_lookup_key() {
        for spelling in ["EURUSD", "eurusd", "EUR/USD", "eur/usd", " Eur / Usd "] {
            assert_eq!(Symbol::lookup_key(spelling), "EURUSD");
        }
    }

    #[test]
    fn a_symbol_is_short_clean_text() {
        assert!(Symbol::new("BITSTAMP:BTCUSD*1000").is_some());
        assert!(Symbol::new("日経225").is_some());
        assert!(Symbol::new("").is_none());
        assert!(Symbol::new("A\nB").is_none());
        assert!(Symbol::new(&"A".repeat(129)).is_none());
    }
}
