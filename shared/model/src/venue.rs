use std::fmt;
use std::sync::Arc;

/// The short name of a venue: `ctrader`, `tradingview`, `ib`.
///
/// One to 32 bytes of `a-z 0-9 _ -`, beginning with a letter, so it is a valid subject token, metric label and
/// `source` as it stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VenueId(Arc<str>);

impl VenueId {
    /// Reads a venue name; `None` where it is not one.
    pub fn new(name: &str) -> Option<Self> {
        let letter_first = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let clean =
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        (letter_first && clean && name.len() <= 32).then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VenueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VenueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_venue_name_is_a_lower_case_token() {
        for good in ["ctrader", "ib", "tradingview", "x-1_b"] {
            assert_eq!(VenueId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "1x", "cTrader", "a.b", "a b", "é", &"a".repeat(33)] {
            assert!(VenueId::new(bad).is_none(), "{bad:?}");
        }
    }
}
