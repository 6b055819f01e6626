use prost::Message as _;
use tickcast_model::{Hop, Symbol, VenueId};

use crate::{BusError, wire};

/// Hops of one answer at most; a way is shorter, so more are not read.
const HOPS_MAX: usize = 32;

/// What an ingest says of one symbol's way, in answer to a question on `ask.<venue>.why`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// Whose answer this is.
    pub venue: VenueId,
    /// The incarnation of the ingest that answers.
    pub epoch: u64,
    /// The symbol asked about.
    pub symbol: Symbol,
    /// The steps in their order.
    pub hops: Vec<Hop>,
    /// When this was said, Unix milliseconds.
    pub at_ms: i64,
}

/// Writes a question for `ask.<venue>.why`.
pub fn encode_why(symbol: &Symbol) -> Vec<u8> {
    wire::Why { symbol: symbol.as_str().to_owned() }.encode_to_vec()
}

/// Reads a question: the symbol asked about.
///
/// # Errors
/// [`BusError::Decode`] where the bytes are not protobuf, [`BusError::Meaning`] where the name cannot be a symbol.
pub fn decode_why(bytes: &[u8]) -> Result<Symbol, BusError> {
    Symbol::new(&wire::Why::decode(bytes)?.symbol).ok_or(BusError::Meaning("symbol"))
}

/// Writes the answer to a question.
pub fn encode_explanation(explanation: &Explanation) -> Vec<u8> {
    let hops = explanation.hops.iter().map(|hop| wire::Hop {
        name: hop.name.clone(),
        ok: hop.ok,
        since_ms: hop.since_ms,
        detail: hop.detail.clone(),
        next: hop.next.clone(),
    });
    wire::Explanation {
        venue: explanation.venue.as_str().to_owned(),
        epoch: explanation.epoch,
        symbol: explanation.symbol.as_str().to_owned(),
        hops: hops.collect(),
        at_ms: explanation.at_ms,
    }
    .encode_to_vec()
}

/// Reads an answer. Hops after the 32nd are left out.
///
/// # Errors
/// [`BusError::Decode`] where the bytes are not protobuf, [`BusError::Meaning`] where a value is impossible.
pub fn decode_explanation(bytes: &[u8]) -> Result<Explanation, BusError> {
    let explanation = wire::Explanation::decode(bytes)?;
    let hops = explanation.hops.into_iter().take(HOPS_MAX).map(|hop| Hop {
        name: hop.name,
        ok: hop.ok,
        since_ms: hop.since_ms,
        detail: hop.detail,
        next: hop.next,
    });
    Ok(Explanation {
        venue: VenueId::new(&explanation.venue).ok_or(BusError::Meaning("venue"))?,
        epoch: explanation.epoch,
        symbol: Symbol::new(&explanation.symbol).ok_or(BusError::Meaning("symbol"))?,
        hops: hops.collect(),
        at_ms: explanation.at_ms,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hop(name: &str) -> Hop {
        Hop {
            name: name.into(),
            ok: false,
            since_ms: Some(-5),
            detail: "is away".into(),
            next: "is tried again".into(),
        }
    }

    fn explanation(hops: Vec<Hop>) -> Explanation {
        let (venue, symbol) = (VenueId::new("ctrader").unwrap(), Symbol::new("GER40.cash").unwrap());
        Explanation { venue, epoch: u64::MAX, symbol, hops, at_ms: 1_700_000_000_000 }
    }

    #[test]
    fn questions_and_answers_survive_the_bus() {
        let symbol = Symbol::new("GER40.cash").unwrap();
        assert_eq!(decode_why(&encode_why(&symbol)).unwrap(), symbol);
        let said = explanation(vec![hop("link"), Hop { ok: true, since_ms: None, ..hop("login") }]);
        assert_eq!(decode_explanation(&encode_explanation(&said)).unwrap(), said);
    }

    #[test]
    fn an_endless_way_is_cut() {
        let said = explanation(vec![hop("link"); HOPS_MAX + 1]);
        assert_eq!(decode_explanation(&encode_explanation(&said)).unwrap().hops.len(), HOPS_MAX);
    }

    #[test]
    fn a_question_about_nothing_has_no_meaning() {
        assert!(matches!(decode_why(&[]), Err(BusError::Meaning("symbol"))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_why(&bytes);
            let _ = decode_explanation(&bytes);
        }
    }
}
