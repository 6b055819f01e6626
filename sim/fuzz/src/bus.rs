use std::sync::Arc;

use tickcast_bus::{
    decode_catalogue, decode_channel_event, decode_channel_event_of, decode_health, decode_lease,
    decode_token, encode_catalogue, encode_channel_event, encode_health, encode_lease, encode_token,
    put_channel_event, venue_of_subject,
};
use tickcast_model::{Body, ChannelEvent, Decimal, Details, Phase, Position, Price, Symbol, Tick, VenueId};

use crate::input::Input;

/// Anything on the bus: what can be read says the same after being written and read again, and the two ways to write
/// and to read a channel event agree.
pub(crate) fn messages(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.below(5) {
        0 => event(input.rest()),
        1 => {
            if let Ok(health) = decode_health(input.rest()) {
                assert_eq!(decode_health(&encode_health(&health)).unwrap(), health);
            }
        }
        2 => {
            if let Ok(lease) = decode_lease(input.rest()) {
                assert_eq!(decode_lease(&encode_lease(&lease)).unwrap(), lease);
            }
        }
        3 => {
            if let Ok((epoch, catalogue)) = decode_catalogue(input.rest()) {
                let venue = VenueId::new("ctrader").unwrap();
                let again = decode_catalogue(&encode_catalogue(&venue, epoch, &catalogue)).unwrap();
                assert_eq!(again, (epoch, catalogue));
            }
        }
        _ => {
            let text = String::from_utf8_lossy(input.rest());
            let _ = venue_of_subject(&text);
            assert_eq!(decode_token(&encode_token(&text)).as_deref(), Some(&*text));
            if let Some(decoded) = decode_token(&text) {
                assert_eq!(decode_token(&encode_token(&decoded)), Some(decoded));
            }
        }
    }
}

fn event(bytes: &[u8]) {
    let general = decode_channel_event(bytes);
    let symbol =
        general.as_ref().map_or_else(|_| Symbol::new("EURUSD").unwrap(), |event| event.symbol.clone());
    let fast = decode_channel_event_of(&symbol, bytes);
    match (&general, &fast) {
        (Ok(general), Ok(fast)) => assert_eq!(general, fast),
        (Err(_), Err(_)) => return,
        (general, fast) => panic!("{general:?} and {fast:?}"),
    }
    let event = general.unwrap();
    let written = encode_channel_event(&event);
    assert_eq!(decode_channel_event(&written).unwrap(), event);
    let mut put = Vec::new();
    put_channel_event(&mut put, &event);
    assert_eq!(put, written, "both ways to write");
    assert_eq!(decode_channel_event_of(&event.symbol, &put).unwrap(), event);
}

fn details(input: &mut Input<'_>) -> Details {
    let mut number = || {
        let scale = u8::try_from(input.below(usize::from(Decimal::SCALE_MAX) + 1)).unwrap();
        let units = input.number().cast_signed();
        input.bit().then(|| Decimal::new(units, scale)).flatten()
    };
    Details {
        bid_size: number(),
        ask_size: number(),
        volume: number(),
        change: number(),
        change_percent: number(),
        session: input.bit().then(|| Phase::new("pré_market")).flatten(),
    }
}

/// A tick as we write it with some of its bytes changed: both ways to read agree on what it says, or that it says nothing.
pub(crate) fn ticks(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let scale = u8::try_from(input.below(usize::from(Price::SCALE_MAX) + 1)).unwrap();
    let price = |input: &mut Input<'_>| {
        let units = input.number().cast_signed();
        input.bit().then(|| Price::new(units, scale)).flatten()
    };
    let (bid, ask, last) = (price(&mut input), price(&mut input), price(&mut input));
    let tick = Tick {
        bid,
        ask,
        last,
        digits: input.byte(),
        venue_time_ms: input.bit().then(|| input.number().cast_signed()),
        received_us: input.number().cast_signed(),
        snapshot: input.bit(),
        delayed_s: input.bit().then(|| u32::try_from(input.number() >> 32).unwrap()),
        details: input.bit().then(|| Arc::new(details(&mut input))),
    };
    let position = Position { epoch: input.number(), seq: input.number().max(1) };
    let symbol = Symbol::new("EUR/USD").unwrap();
    let written = ChannelEvent { symbol, position, body: Body::Tick(tick) };
    let mut bytes = Vec::new();
    put_channel_event(&mut bytes, &written);
    assert_eq!(bytes, encode_channel_event(&written));
    event(&bytes);
    while !input.is_empty() {
        let at = input.below(bytes.len());
        match input.below(3) {
            0 => bytes[at] = input.byte(),
            1 => bytes.insert(at, input.byte()),
            _ => _ = bytes.remove(at),
        }
        event(&bytes);
        if bytes.is_empty() {
            return;
        }
    }
}
