use std::fmt::Write as _;

use tickcast_model::{Symbol, VenueId};

/// The subject of one channel: `tick.<venue>.<symbol>`.
pub fn tick_subject(venue: &VenueId, symbol: &Symbol) -> String {
    format!("tick.{venue}.{}", encode_token(symbol.as_str()))
}

/// The subject of a venue's health: `health.<venue>`.
pub fn health_subject(venue: &VenueId) -> String {
    format!("health.{venue}")
}

/// The subject on which demand is said: `lease.<venue>`.
pub fn lease_subject(venue: &VenueId) -> String {
    format!("lease.{venue}")
}

/// The subject on which the catalogue is asked for: `ask.<venue>.catalogue`.
pub fn catalogue_subject(venue: &VenueId) -> String {
    format!("ask.{venue}.catalogue")
}

/// The subject on which a starting ingest asks every lease holder to renew at once: `ask.<venue>.demand`.
pub fn demand_subject(venue: &VenueId) -> String {
    format!("ask.{venue}.demand")
}

/// The subject on which a new connection to the venue is asked for: `ask.<venue>.reconnect`, answered when it is begun.
pub fn reconnect_subject(venue: &VenueId) -> String {
    format!("ask.{venue}.reconnect")
}

/// The subject on which is asked why a symbol ticks or does not: `ask.<venue>.why`.
pub fn why_subject(venue: &VenueId) -> String {
    format!("ask.{venue}.why")
}

/// The venue in the second token of a subject.
pub fn venue_of_subject(subject: &str) -> Option<VenueId> {
    subject.split('.').nth(1).and_then(VenueId::new)
}

/// Writes any text as one subject token: bytes outside `A-Z a-z 0-9 _ -` become `=` and two upper-case hex digits.
pub fn encode_token(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            token.push(char::from(byte));
        } else {
            let _ = write!(token, "={byte:02X}");
        }
    }
    token
}

/// Reads a token back; `None` where it was not written by [`encode_token`].
pub fn decode_token(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'=' {
            let (hex, after) = after.split_at_checked(2)?;
            if !hex.iter().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b)) {
                return None;
            }
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (encode_token(&text) == token).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_symbol_becomes_one_token() {
        let cases = [
            ("EURUSD", "EURUSD"),
            ("GER40.cash", "GER40=2Ecash"),
            ("EUR/USD", "EUR=2FUSD"),
            ("BITSTAMP:BTCUSD*1000", "BITSTAMP=3ABTCUSD=2A1000"),
            ("a=b", "a=3Db"),
            ("é >", "=C3=A9=20=3E"),
        ];
        for (text, token) in cases {
            assert_eq!(encode_token(text), token);
            assert_eq!(decode_token(token).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_token_nobody_wrote_is_not_read() {
        for bad in ["=", "=2", "=2f", "=zz", "a.b", "a b", "=41"] {
            assert_eq!(decode_token(bad), None, "{bad}");
        }
    }

    #[test]
    fn subjects_follow_the_contract() {
        let venue = VenueId::new("ctrader").unwrap();
        assert_eq!(tick_subject(&venue, &Symbol::new("GER40.cash").unwrap()), "tick.ctrader.GER40=2Ecash");
        assert_eq!(health_subject(&venue), "health.ctrader");
        assert_eq!(lease_subject(&venue), "lease.ctrader");
        assert_eq!(catalogue_subject(&venue), "ask.ctrader.catalogue");
        assert_eq!(why_subject(&venue), "ask.ctrader.why");
        assert_eq!(venue_of_subject("health.ctrader"), Some(venue));
    }

    proptest! {
        #[test]
        fn every_text_survives_the_token(text in "\\PC{0,40}") {
            let token = encode_token(&text);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-=".contains(&b)));
            prop_assert_eq!(decode_token(&token), Some(text));
        }
    }
}
