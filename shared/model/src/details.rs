use std::fmt;

use crate::Decimal;

/// What some venues tell of the market beside prices and times, as they last said it. Each number has decimals of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Details {
    /// How much is wanted at the bid, in the venue's units.
    pub bid_size: Option<Decimal>,
    /// How much is offered at the ask, in the venue's units.
    pub ask_size: Option<Decimal>,
    /// How much was traded since the trading day began, in the venue's units.
    pub volume: Option<Decimal>,
    /// How far the price is from the last close, in quote currency.
    pub change: Option<Decimal>,
    /// The same in percent of that close.
    pub change_percent: Option<Decimal>,
    /// The phase of trading.
    pub session: Option<Phase>,
}

impl Details {
    /// The numbers, in the order in which they are written everywhere.
    pub fn numbers(&self) -> [Option<Decimal>; 5] {
        [self.bid_size, self.ask_size, self.volume, self.change, self.change_percent]
    }
}

/// A phase of trading in the venue's word: `market`, `pre_market`, `out_of_session`.
///
/// One to 32 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Phase(Box<str>);

impl Phase {
    /// The longest word accepted, in bytes.
    pub const BYTES_MAX: usize = 32;

    /// Takes a word as it stands; `None` where it is empty, too long or holds control characters.
    pub fn new(word: &str) -> Option<Self> {
        let fits = !word.is_empty() && word.len() <= Self::BYTES_MAX;
        (fits && !word.chars().any(char::is_control)).then(|| Self(word.into()))
    }

    /// The word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_a_short_word() {
        assert_eq!(Phase::new("pre_market").unwrap().as_str(), "pre_market");
        assert!(Phase::new(&"é".repeat(16)).is_some());
        for word in ["", "a\nb", "\u{7f}", &"é".repeat(17)] {
            assert!(Phase::new(word).is_none(), "{word:?}");
        }
    }
}
