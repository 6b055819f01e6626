//! The compact binary form: this reader, written from `docs/binary.md`, against the published vectors, against what the
//! gateway writes, and against bytes of nobody.

#![allow(clippy::unwrap_used, reason = "a test; the lint knows only functions marked as one")]

mod support;

use loadgen::CompactReader;
use proptest::prelude::*;
use serde_json::{Value, json};
use tickcast_model::{Position, Price, Symbol, Tick, VenueId};
use ws_gateway::binary::{Full, Merged, Names, Step};
use ws_gateway::protocol::ChannelWriter;

use support::any_details;

fn vectors() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/binary-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Decimals without places come out of JSON as whole numbers.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, value)| b.get(name).is_some_and(|b| same(value, b)))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

#[test]
fn the_published_connections_mean_what_they_say() {
    for connection in vectors()["connections"].as_array().unwrap() {
        let mut reader = CompactReader::default();
        let mut messages = Vec::new();
        for frame in connection["frames"].as_array().unwrap() {
            match frame["binary"].as_str() {
                Some(hex) => reader.read(&bytes(hex), |tick| messages.push(tick.message())).unwrap(),
                None => messages.push(frame["text"].clone()),
            }
        }
        let wanted = connection["messages"].as_array().unwrap();
        assert_eq!(messages.len(), wanted.len(), "{}", connection["name"]);
        for (made, wanted) in messages.iter().zip(wanted) {
            assert!(same(made, wanted), "{}: {made} is not {wanted}", connection["name"]);
        }
    }
}

#[test]
fn what_is_not_the_form_is_refused() {
    for bad in vectors()["bad"].as_array().unwrap() {
        let mut reader = CompactReader::default();
        let frames = bad["frames"].as_array().unwrap();
        let (last, before) = frames.split_last().unwrap();
        for frame in before {
            reader.read(&bytes(frame["binary"].as_str().unwrap()), |_| {}).unwrap();
        }
        let result = reader.read(&bytes(last["binary"].as_str().unwrap()), |_| {});
        assert!(result.is_err(), "{}", bad["name"]);
    }
}

#[test]
fn a_frame_cut_anywhere_is_refused_or_ends_between_two_records() {
    for connection in vectors()["connections"].as_array().unwrap() {
        let mut reader = CompactReader::default();
        let hex = connection["frames"][0]["binary"].as_str().unwrap();
        let (whole, mut ticks) = (bytes(hex), 0);
        reader.read(&whole, |_| ticks += 1).unwrap();
        let mut good = 0;
        for end in 0..whole.len() {
            good += u32::from(CompactReader::default().read(&whole[..end], |_| {}).is_ok());
        }
        assert_eq!(good, ticks - 1, "{}", connection["name"]);
    }
}

fn any_price(scale: u8) -> impl Strategy<Value = Option<Price>> {
    let units = prop_oneof![
        6 => 100_000i64..100_100,
        2 => -5i64..5,
        1 => any::<i64>(),
    ];
    prop::option::weighted(0.9, units).prop_map(move |units| Price::new(units?, scale))
}

fn any_tick() -> impl Strategy<Value = Tick> {
    let sides = prop_oneof![8 => Just(5u8), 1 => 0u8..=18].prop_flat_map(|scale| {
        let last = prop_oneof![3 => Just(None), 1 => any_price(scale)];
        (any_price(scale), any_price(scale), last)
    });
    let time = prop_oneof![9 => 0i64..100_000_000, 1 => any::<i64>()];
    let delayed = prop_oneof![9 => Just(None), 1 => any::<Option<u32>>()];
    let digits = prop_oneof![9 => Just(5u8), 1 => any::<u8>()];
    (sides, time.clone(), prop::option::of(time), any::<bool>(), delayed, digits, any_details()).prop_map(
        |((bid, ask, last), received_us, venue_time_ms, snapshot, delayed_s, digits, details)| Tick {
            bid,
            ask,
            last,
            digits,
            venue_time_ms,
            received_us,
            snapshot: snapshot && received_us % 16 == 0,
            delayed_s,
            details,
        },
    )
}

#[derive(Clone, Debug)]
struct Said {
    channel: usize,
    tick: Tick,
    /// Ticks passed over before it, and whether a new incarnation begins.
    skipped: u64,
    is_new_epoch: bool,
    merged: Option<u64>,
}

fn any_said() -> impl Strategy<Value = Said> {
    let skipped = prop_oneof![4 => Just(0u64), 1 => 1u64..1_000];
    (0usize..3, any_tick(), skipped, prop::bool::weighted(0.1), prop::option::weighted(0.2, 1u64..1_000_000))
        .prop_map(|(channel, tick, skipped, is_new_epoch, merged)| Said {
            channel,
            tick,
            skipped,
            is_new_epoch,
            merged,
        })
}

/// One channel as whoever writes to one connection knows it.
struct Channel {
    number: u32,
    symbol: &'static str,
    position: Position,
    before: Option<Tick>,
    is_known: bool,
}

fn with_merged(mut json: Value, merged: Option<&Merged>) -> Value {
    let Some(merged) = merged else { return json };
    json["merged"] = json!(merged.count);
    if let Some((high, low)) = merged.range {
        for (name, price) in [("high", high), ("low", low)] {
            json[name] = serde_json::from_str(&price.with_digits(0).to_string()).unwrap();
        }
    }
    json
}

proptest! {
    #[test]
    fn whatever_the_gateway_writes_is_read_as_the_message_it_means(
        said in proptest::collection::vec(any_said(), 1..60),
        records_a_frame in 1usize..5,
    ) {
        let venue = VenueId::new("ctrader").unwrap();
        let channel = |number, symbol| Channel {
            number, symbol, position: Position { epoch: 1, seq: 0 }, before: None, is_known: false,
        };
        let mut channels = [channel(0, "EURUSD"), channel(300, "GER40.cash"), channel(u32::MAX, "Ä")];
        let mut reader = CompactReader::default();
        let (mut frame, mut wanted, mut read, mut records) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for Said { channel, tick, skipped, is_new_epoch, merged } in said {
            let channel = &mut channels[channel];
            channel.position.seq += 1 + skipped;
            if is_new_epoch {
                channel.position = Position { epoch: channel.position.epoch + 1, seq: 1 };
                channel.is_known = false;
            }
            let range = tick.price().map(|price| (price, price));
            let merged = merged.map(|count| Merged { count, range });
            let is_alone = merged.is_none_or(|merged| merged.count == 1);
            let step = channel.before.as_ref().and_then(|before| Step::between(before, &tick));
            let writer = ChannelWriter::new(&venue, &Symbol::new(channel.symbol).unwrap());
            let mut json: Value = serde_json::from_slice(&writer.tick(&tick, channel.position)).unwrap();
            let is_written = match step.filter(|_| channel.is_known && skipped == 0 && is_alone) {
                Some(step) => {
                    step.write(channel.number, merged.is_some(), &mut frame);
                    true
                }
                None => {
                    let names = Names { source: "ctrader", symbol: channel.symbol };
                    if !channel.is_known {
                        json["snapshot"] = json!(true);
                    }
                    Full {
                        channel: channel.number,
                        names: (!channel.is_known).then_some(names),
                        position: channel.position,
                        tick: &tick,
                        is_snapshot: !channel.is_known,
                        merged,
                    }
                    .write(&mut frame)
                }
            };
            channel.before = is_written.then_some(tick);
            channel.is_known |= is_written;
            if is_written {
                wanted.push(with_merged(json, merged.as_ref()));
                records += 1;
            }
            if records == records_a_frame {
                reader.read(&std::mem::take(&mut frame), |tick| read.push(tick.message())).unwrap();
                records = 0;
            }
        }
        if !frame.is_empty() {
            reader.read(&frame, |tick| read.push(tick.message())).unwrap();
        }
        prop_assert_eq!(read.len(), wanted.len());
        for (read, wanted) in read.iter().zip(&wanted) {
            prop_assert!(same(read, wanted), "{} is not {}", read, wanted);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        heads in proptest::collection::vec(prop_oneof![Just(0x8Bu8), Just(0xABu8), any::<u8>()], 1..4),
        rest in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 4),
    ) {
        let mut reader = CompactReader::default();
        for (head, rest) in heads.iter().zip(rest) {
            let mut frame = vec![*head, 1, 1, b'v', 1, b's'];
            frame.extend(rest);
            let _ = reader.read(&frame, |_| {});
        }
    }
}
