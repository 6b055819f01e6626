//! Channel events without an allocation each: the way of every tick, written out by hand.
//!
//! The generated code says what is right; what is here does the same for the shape nearly all messages have, and hands
//! everything else over to it.

use std::sync::Arc;

use bytes::BufMut;
use tickcast_model::{Body, ChannelEvent, Decimal, Details, Phase, Position, Price, Symbol, Tick};

use crate::{BusError, decode_channel_event, encode_channel_event};

/// The longest number with decimals of its own: up to ten bytes, up to one, and their keys.
const DECIMAL_BYTES_MAX: usize = 13;
/// The longest details: five such numbers, a phase, and keys and lengths.
const DETAILS_BYTES_MAX: usize = 5 * (2 + DECIMAL_BYTES_MAX) + 2 + Phase::BYTES_MAX;
/// The longest body of a tick: five numbers of up to ten bytes, one of up to five, two of up to three, a flag, details, and
/// their keys.
const TICK_BYTES_MAX: usize = 80 + 2 + DETAILS_BYTES_MAX;
/// The longest message: a body, a symbol, two numbers of up to ten bytes, and keys and lengths.
const EVENT_BYTES_MAX: usize = TICK_BYTES_MAX + Symbol::BYTES_MAX + 32;
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// Appends a channel event for `tick.<venue>.<symbol>`: the bytes of [`encode_channel_event`], without an allocation
/// for a tick.
pub fn put_channel_event(out: &mut impl BufMut, event: &ChannelEvent) {
    let Body::Tick(tick) = &event.body else { return out.put_slice(&encode_channel_event(event)) };
    // Put together on the stack: a growing buffer would be asked for room byte by byte.
    let mut message = [0; EVENT_BYTES_MAX];
    let mut left = &mut message[..];
    put_bytes(&mut left, 1, event.symbol.as_str().as_bytes());
    put_unless_zero(&mut left, 2, event.position.epoch);
    put_unless_zero(&mut left, 3, event.position.seq);
    put_message::<TICK_BYTES_MAX>(&mut left, 4, |body| put_tick(body, tick));
    let message_len = EVENT_BYTES_MAX - left.len();
    out.put_slice(&message[..message_len]);
}

fn put_tick(out: &mut &mut [u8], tick: &Tick) {
    for (number, price) in [(1, tick.bid), (2, tick.ask), (3, tick.last)] {
        if let Some(price) = price {
            put_key(out, number, VARINT);
            put_varint(out, zigzag(price.units()));
        }
    }
    let scale = [tick.bid, tick.ask, tick.last].into_iter().flatten().map(Price::scale).next();
    put_unless_zero(out, 4, scale.unwrap_or(0).into());
    put_unless_zero(out, 5, tick.digits.into());
    if let Some(venue_time_ms) = tick.venue_time_ms {
        put_key(out, 6, VARINT);
        put_varint(out, venue_time_ms.cast_unsigned());
    }
    put_unless_zero(out, 7, tick.received_us.cast_unsigned());
    put_unless_zero(out, 8, tick.snapshot.into());
    if let Some(delayed_s) = tick.delayed_s {
        put_key(out, 9, VARINT);
        put_varint(out, delayed_s.into());
    }
    if let Some(details) = &tick.details {
        put_message::<DETAILS_BYTES_MAX>(out, 10, |out| put_details(out, details));
    }
}

fn put_details(out: &mut &mut [u8], details: &Details) {
    for (key, number) in (1..).zip(details.numbers()) {
        if let Some(number) = number {
            put_message::<DECIMAL_BYTES_MAX>(out, key, |out| {
                put_unless_zero(out, 1, zigzag(number.units()));
                put_unless_zero(out, 2, number.scale().into());
            });
        }
    }
    if let Some(session) = &details.session {
        put_bytes(out, 6, session.as_str().as_bytes());
    }
}

/// A message in the message, of at most so many bytes: its length goes before it.
fn put_message<const BYTES_MAX: usize>(out: &mut &mut [u8], number: u64, put: impl Fn(&mut &mut [u8])) {
    let mut body = [0; BYTES_MAX];
    let mut left = &mut body[..];
    put(&mut left);
    let length = BYTES_MAX - left.len();
    put_bytes(out, number, &body[..length]);
}

fn put_bytes(out: &mut &mut [u8], number: u64, bytes: &[u8]) {
    put_key(out, number, BYTES);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// What stands for itself where it is absent is not written (proto3).
fn put_unless_zero(out: &mut &mut [u8], number: u64, value: u64) {
    if value != 0 {
        put_key(out, number, VARINT);
        put_varint(out, value);
    }
}

fn put_key(out: &mut &mut [u8], number: u64, kind: u64) {
    put_varint(out, number << 3 | kind);
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits")]
fn put_varint(out: &mut &mut [u8], mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads a channel event from a subject that carries `symbol` only: what [`decode_channel_event`] reads, with this very
/// symbol in it and without an allocation for a tick.
///
/// # Errors
/// Those of [`decode_channel_event`], and [`BusError::Meaning`] where it is the event of another symbol.
pub fn decode_channel_event_of(symbol: &Symbol, bytes: &[u8]) -> Result<ChannelEvent, BusError> {
    if let Some((position, tick)) = read_event(symbol, bytes) {
        return Ok(ChannelEvent { symbol: symbol.clone(), position, body: Body::Tick(tick) });
    }
    let event = decode_channel_event(bytes)?;
    if event.symbol == *symbol { Ok(event) } else { Err(BusError::Meaning("event of another symbol")) }
}

/// A plain tick of this symbol; `None` for everything that is anything else.
fn read_event(symbol: &Symbol, mut bytes: &[u8]) -> Option<(Position, Tick)> {
    let (mut named, mut position, mut tick) = (false, Position::default(), None);
    while !bytes.is_empty() {
        match varint(&mut bytes)? {
            0x0a if !named => {
                named = slice(&mut bytes)? == symbol.as_str().as_bytes();
                named.then_some(())?;
            }
            0x10 => position.epoch = varint(&mut bytes)?,
            0x18 => position.seq = varint(&mut bytes)?,
            // A second body would have to be merged with the first, and of a second symbol the last one counts.
            0x22 if tick.is_none() => tick = Some(read_tick(slice(&mut bytes)?)?),
            _ => return None,
        }
    }
    (named && position.seq != 0).then_some(())?;
    Some((position, tick?))
}

fn read_tick(mut bytes: &[u8]) -> Option<Tick> {
    let (mut bid, mut ask, mut last, mut scale, mut digits) = (None, None, None, 0, 0);
    let (mut venue_time_ms, mut received_us, mut snapshot, mut delayed_s) = (None, 0, false, None);
    let mut details = None;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        if key == 0x52 && details.is_none() {
            details = Some(Arc::new(read_details(slice(&mut bytes)?)?));
            continue;
        }
        let value = varint(&mut bytes)?;
        match key {
            0x08 => bid = Some(unzigzag(value)),
            0x10 => ask = Some(unzigzag(value)),
            0x18 => last = Some(unzigzag(value)),
            0x20 => scale = value,
            0x28 => digits = value,
            0x30 => venue_time_ms = Some(value.cast_signed()),
            0x38 => received_us = value.cast_signed(),
            0x40 => snapshot = value != 0,
            // Cut to its width as the generated code does.
            0x48 => delayed_s = u32::try_from(value & u64::from(u32::MAX)).ok(),
            _ => return None,
        }
    }
    let scale = u8::try_from(scale).ok().filter(|scale| *scale <= Price::SCALE_MAX)?;
    let price = |units: Option<i64>| units.and_then(|units| Price::new(units, scale));
    Some(Tick {
        bid: price(bid),
        ask: price(ask),
        last: price(last),
        digits: u8::try_from(digits).ok()?,
        venue_time_ms,
        received_us,
        snapshot,
        delayed_s,
        details,
    })
}

fn read_details(mut bytes: &[u8]) -> Option<Details> {
    let mut details = Details::default();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = slice(&mut bytes)?;
        let number = match key {
            0x0a => &mut details.bid_size,
            0x12 => &mut details.ask_size,
            0x1a => &mut details.volume,
            0x22 => &mut details.change,
            0x2a => &mut details.change_percent,
            0x32 => {
                details.session = Some(Phase::new(std::str::from_utf8(value).ok()?)?);
                continue;
            }
            _ => return None,
        };
        // A second one would have to be merged with the first.
        number.is_none().then_some(())?;
        *number = Some(read_decimal(value)?);
    }
    Some(details)
}

fn read_decimal(mut bytes: &[u8]) -> Option<Decimal> {
    let (mut units, mut scale) = (0, 0);
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = varint(&mut bytes)?;
        match key {
            0x08 => units = unzigzag(value),
            0x10 => scale = value,
            _ => return None,
        }
    }
    Decimal::new(units, u8::try_from(scale).ok()?)
}

/// A number of one to ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        // The tenth byte has room for one bit.
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

fn slice<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (slice, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(slice)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tickcast_model::{StateChange, SymbolState};

    use super::*;

    fn symbol() -> Symbol {
        Symbol::new("GER40.cash").unwrap()
    }

    fn details() -> impl Strategy<Value = Details> {
        let number = (any::<i64>(), 0u8..=18).prop_map(|(units, scale)| Decimal::new(units, scale).unwrap());
        let numbers = proptest::array::uniform5(proptest::option::of(number));
        (numbers, proptest::option::of("[a-z_é]{1,16}")).prop_map(|(numbers, session)| {
            let [bid_size, ask_size, volume, change, change_percent] = numbers;
            let session = session.map(|word| Phase::new(&word).unwrap());
            Details { bid_size, ask_size, volume, change, change_percent, session }
        })
    }

    fn events() -> impl Strategy<Value = ChannelEvent> {
        let prices = proptest::array::uniform3(proptest::option::of(any::<i64>()));
        let times = (proptest::option::of(any::<i64>()), any::<i64>(), proptest::option::of(any::<u32>()));
        let rest = (times, any::<bool>(), proptest::option::of(details()));
        (prices, 0u8..=18, any::<u8>(), rest, any::<u64>(), 1u64..).prop_map(
            |(prices, scale, digits, (times, snapshot, details), epoch, seq)| {
                let (venue_time_ms, received_us, delayed_s) = times;
                let [bid, ask, last] =
                    prices.map(|units| units.map(|units| Price::new(units, scale).unwrap()));
                ChannelEvent {
                    symbol: symbol(),
                    position: Position { epoch, seq },
                    body: Body::Tick(Tick {
                        bid,
                        ask,
                        last,
                        digits,
                        venue_time_ms,
                        received_us,
                        snapshot,
                        delayed_s,
                        details: details.map(Arc::new),
                    }),
                }
            },
        )
    }

    fn put(event: &ChannelEvent) -> Vec<u8> {
        let mut out = Vec::new();
        put_channel_event(&mut out, event);
        out
    }

    /// Both readers agree, whatever the bytes: on the event, or on there being none.
    fn assert_same(bytes: &[u8]) {
        let general = decode_channel_event(bytes).ok().filter(|event| event.symbol == symbol());
        assert_eq!(decode_channel_event_of(&symbol(), bytes).ok(), general, "{bytes:?}");
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_generated_code(event in events()) {
            prop_assert_eq!(put(&event), encode_channel_event(&event));
        }

        #[test]
        fn both_readers_read_the_same(event in events()) {
            let bytes = put(&event);
            prop_assert_eq!(decode_channel_event_of(&symbol(), &bytes).unwrap(), event);
            assert_same(&bytes);
        }

        #[test]
        fn both_readers_read_the_same_where_bytes_were_changed(
            event in events(),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = put(&event);
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            assert_same(&bytes);
            assert_same(&bytes[..cut.index(bytes.len())]);
        }

        #[test]
        fn both_readers_read_the_same_in_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            assert_same(&bytes);
        }

        #[test]
        fn a_message_in_two_parts_is_merged_as_protobuf_says(one in events(), two in events()) {
            assert_same(&[put(&one), put(&two)].concat());
        }
    }

    #[test]
    fn the_longest_message_fits() {
        let least = Price::new(i64::MIN, 18);
        let details = Details {
            bid_size: least,
            ask_size: least,
            volume: least,
            change: least,
            change_percent: least,
            session: Phase::new(&"S".repeat(Phase::BYTES_MAX)),
        };
        let tick = Tick {
            bid: least,
            ask: least,
            last: least,
            digits: u8::MAX,
            venue_time_ms: Some(-1),
            received_us: -1,
            snapshot: true,
            delayed_s: Some(u32::MAX),
            details: Some(Arc::new(details)),
        };
        let position = Position { epoch: u64::MAX, seq: u64::MAX };
        let symbol = Symbol::new(&"S".repeat(Symbol::BYTES_MAX)).unwrap();
        let event = ChannelEvent { symbol: symbol.clone(), position, body: Body::Tick(tick) };
        assert_eq!(put(&event), encode_channel_event(&event));
        assert_eq!(decode_channel_event_of(&symbol, &put(&event)).unwrap(), event);
    }

    #[test]
    fn states_and_events_of_other_symbols_are_left_to_the_generated_code() {
        let state = ChannelEvent {
            symbol: symbol(),
            position: Position { epoch: 1, seq: 0 },
            body: Body::State(StateChange::plain(SymbolState::Closed)),
        };
        assert_eq!(decode_channel_event_of(&symbol(), &put(&state)).unwrap(), state);
        let other = Symbol::new("EURUSD").unwrap();
        assert!(matches!(decode_channel_event_of(&other, &put(&state)), Err(BusError::Meaning(_))));
    }
}
