//! Bytes and quotes that go wrong: frames, writes, clocks, symbols (facts 1, 3.5, 3.6).

use crate::bench::{ACCOUNT, Bench, subscribe_spots};
use prost::Message as _;
use serde_json::json;
use sim_ctrader::wire::{
    ProtoOaErrorRes, ProtoOaSpotEvent, ProtoOaSubscribeSpotsRes, ProtoOaSymbolByIdReq, ProtoOaSymbolByIdRes,
    ProtoOaSymbolChangedEvent, ProtoOaSymbolsListReq, ProtoOaSymbolsListRes, ProtoOaUnsubscribeSpotsReq,
    ProtoOaUnsubscribeSpotsRes, ProtoOaVersionReq, ProtoOaVersionRes,
};
use sim_ctrader::{ConnectionId, Ending, Fault, FrameError, Payload as _, Reason};

const VERSION: ProtoOaVersionReq = ProtoOaVersionReq { payload_type: None };

fn names(bench: &mut Bench, id: ConnectionId) -> Vec<String> {
    bench.ask(
        id,
        &ProtoOaSymbolsListReq { ctid_trader_account_id: ACCOUNT, ..ProtoOaSymbolsListReq::default() },
    );
    let list = bench.answer::<ProtoOaSymbolsListRes>(id);
    list.symbol.into_iter().map(|symbol| symbol.symbol_name.unwrap()).collect()
}

fn details(bench: &mut Bench, id: ConnectionId, symbol: i64) -> ProtoOaSymbolByIdRes {
    bench.ask(
        id,
        &ProtoOaSymbolByIdReq {
            payload_type: None,
            ctid_trader_account_id: ACCOUNT,
            symbol_id: vec![symbol],
        },
    );
    bench.answer(id)
}

#[test]
fn a_close_is_orderly_and_one_without_notify_is_not() {
    for (name, ending) in [("close", Ending::Orderly), ("close-without-notify", Ending::Abrupt)] {
        let mut bench = Bench::usual();
        let id = bench.log_in();
        bench.fault(name, &json!({}));
        assert_eq!(bench.closed(id), Some((ending, Reason::Fault)));
        assert_eq!(bench.broken(id), None);
    }
}

#[test]
fn bad_frames_are_as_bad_as_they_say() {
    for (name, params, error) in [
        ("oversized-length", json!({}), FrameError::TooLong(u32::MAX)),
        ("oversized-length", json!({ "bytes": 15_000_001 }), FrameError::TooLong(15_000_001)),
        ("zero-length", json!({}), FrameError::Empty),
        ("garbage-envelope", json!({}), FrameError::Garbage),
    ] {
        let mut bench = Bench::usual();
        let id = bench.log_in();
        bench.fault(name, &params);
        assert_eq!(bench.broken(id), Some(error));
        assert_eq!(bench.closed(id), None, "ending it is for the client");
    }
}

#[test]
fn unknown_payload_types_and_fields_leave_the_rest_readable() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("unknown-payload-type", &json!({ "count": 3 }));
    for _ in 0..3 {
        assert_eq!(bench.next(id).unwrap().payload_type, 2_999);
    }
    let plain = bench.bytes(id).len();
    bench.ask(id, &VERSION);
    bench.answer::<ProtoOaVersionRes>(id);
    let length = bench.bytes(id).len() - plain;
    bench.fault("unknown-field", &json!({}));
    bench.ask(id, &VERSION);
    let envelope = bench.next(id).unwrap();
    assert_eq!(ProtoOaVersionRes::decode(envelope.payload.unwrap()).unwrap().version, "91");
    assert_eq!(bench.bytes(id).len() - plain, 2 * length + 9 + 6, "fields are there");
    assert_eq!(bench.subscribe(id, &[1]).len(), 1);
}

#[test]
fn each_byte_may_be_written_by_itself_and_many_frames_at_once() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    let before = bench.writes(id).len();
    bench.fault("one-byte-writes", &json!({}));
    bench.subscribe(id, &[1, 3]);
    assert!(bench.writes(id).len() > before + 60);
    assert!(bench.writes(id)[before..].iter().all(|len| *len == 1));
    bench.heal(Fault::OneByteWrites);
    bench.fault("many-frames-per-write", &json!({ "delay_ms": 1_000 }));
    let before = bench.writes(id).len();
    bench.advance(5_000);
    let writes = &bench.writes(id)[before..];
    assert!((4..=5).contains(&writes.len()), "{writes:?}");
    assert!(bench.spots(id).len() > 100);
}

#[test]
fn a_trickle_is_slow_and_complete() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("trickle", &json!({ "bytes_per_s": 40 }));
    bench.ask(id, &VERSION);
    bench.advance(50);
    bench.assert_silent(id);
    bench.advance(1_000);
    bench.answer::<ProtoOaVersionRes>(id);
    let before = bench.bytes(id).len();
    bench.ask(id, &subscribe_spots(&[1, 3, 5]));
    bench.advance(2_000);
    assert!(bench.bytes(id).len() - before <= 80);
    bench.heal(Fault::Trickle);
    bench.answer::<ProtoOaSubscribeSpotsRes>(id);
    assert!(bench.spots(id).len() > 50, "nothing is lost");
}

#[test]
fn a_client_that_is_trickled_to_is_given_up_when_too_much_waits() {
    let mut bench = Bench::patient();
    let id = bench.log_in();
    bench.subscribe(id, &[1, 3, 5, 7, 9]);
    bench.fault("trickle", &json!({ "bytes_per_s": 1 }));
    for _ in 0..4 {
        bench.fault("burst", &json!({ "count": 100_000 }));
    }
    assert_eq!(bench.closed(id), Some((Ending::Reset, Reason::SlowReader)));
}

#[test]
fn a_burst_is_thousands_of_events_of_what_is_watched() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1, 3]);
    bench.fault("burst", &json!({ "count": 4_000, "symbols": ["GBPUSD", "XAUUSD"] }));
    let events = bench.spots(id);
    assert_eq!(events.len(), 4_000);
    assert!(events.iter().all(|event| event.symbol_id == 3));
}

#[test]
fn mute_is_for_the_symbols_named() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1, 3]);
    bench.fault("mute", &json!({ "symbols": ["EURUSD"], "for_ms": 2_000 }));
    bench.advance(1_900);
    let events = bench.spots(id);
    assert!(events.len() > 10 && events.iter().all(|event| event.symbol_id == 3));
    bench.advance(1_000);
    assert!(bench.spots(id).iter().any(|event| event.symbol_id == 1), "over by itself");
}

#[test]
fn late_events_follow_an_unsubscribe_and_end() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1, 3]);
    bench.fault("late-events", &json!({ "count": 4 }));
    let request = ProtoOaUnsubscribeSpotsReq {
        payload_type: None,
        ctid_trader_account_id: ACCOUNT,
        symbol_id: vec![1, 3],
    };
    bench.ask(id, &request);
    bench.answer::<ProtoOaUnsubscribeSpotsRes>(id);
    assert!(bench.venue.subscribed(id).is_empty());
    bench.subscribe(id, &[3]);
    bench.advance(5_000);
    let events = bench.spots(id);
    assert_eq!(events.iter().filter(|event| event.symbol_id == 1).count(), 4);
    assert!(events.iter().filter(|event| event.symbol_id == 3).count() > 20, "subscribed again meanwhile");
    bench.ask(id, &request);
    assert_eq!(bench.refusal(id).0, "NOT_SUBSCRIBED_TO_SPOTS");
}

#[test]
fn a_weekend_is_snapshots_and_then_silence() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    bench.advance(2_000);
    bench.fault("weekend", &json!({}));
    bench.spots(id);
    let closed_ms = bench.now().unix_ms;
    bench.advance(20_000);
    bench.assert_silent(id);
    let snapshot = bench.subscribe(id, &[5]).remove(0);
    assert!(snapshot.bid.is_some() && snapshot.ask.is_some() && snapshot.session_close.is_some());
    assert!(snapshot.timestamp.unwrap() <= closed_ms, "the last quote is from before it");
    bench.heal(Fault::Weekend);
    bench.advance(3_000);
    let events = bench.spots(id);
    assert!([1, 5].iter().all(|id| events.iter().any(|event| event.symbol_id == *id)));
}

#[test]
fn a_subscribe_without_effect_is_answered_and_may_be_repeated_unless_it_counts() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("no-snapshot", &json!({ "symbols": ["EURUSD"] }));
    bench.ask(id, &subscribe_spots(&[1, 3]));
    bench.answer::<ProtoOaSubscribeSpotsRes>(id);
    bench.advance(2_000);
    assert!(bench.spots(id).iter().all(|event| event.symbol_id == 3));
    assert_eq!(bench.venue.subscribed(id), [3]);
    bench.heal(Fault::NoSnapshot);
    assert_eq!(bench.venue.subscribed(id), [3]);
    bench.ask(id, &subscribe_spots(&[1]));
    bench.answer::<ProtoOaSubscribeSpotsRes>(id);

    bench.fault("no-snapshot", &json!({ "held": true }));
    bench.advance(100);
    bench.ask(id, &subscribe_spots(&[5]));
    bench.heal(Fault::NoSnapshot);
    bench.advance(2_000);
    while let Some(envelope) = bench.next(id) {
        let spot = envelope.payload_type == ProtoOaSpotEvent::TYPE;
        assert!(!spot || ProtoOaSpotEvent::decode(envelope.payload.unwrap()).unwrap().symbol_id != 5);
    }
    bench.fault("mute", &json!({}));
    bench.ask(id, &subscribe_spots(&[5]));
    assert_eq!(bench.refusal(id).0, "ALREADY_SUBSCRIBED");
}

#[test]
fn a_removed_symbol_is_gone_everywhere_and_comes_back() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1, 3]);
    bench.fault(
        "symbol-changed",
        &json!({ "symbols": ["EURUSD"], "change": "removed", "code": "UNKNOWN_SYMBOL" }),
    );
    assert_eq!(bench.answer::<ProtoOaSymbolChangedEvent>(id).symbol_id, [1]);
    assert_eq!(bench.venue.subscribed(id), [3]);
    assert!(!names(&mut bench, id).contains(&"EURUSD".to_owned()));
    bench.ask(id, &subscribe_spots(&[1]));
    assert_eq!(bench.answer::<ProtoOaErrorRes>(id).error_code, "UNKNOWN_SYMBOL");
    bench.advance(1_000);
    assert!(bench.spots(id).iter().all(|event| event.symbol_id == 3));
    bench.heal(Fault::SymbolChanged);
    assert_eq!(bench.answer::<ProtoOaSymbolChangedEvent>(id).symbol_id, [1]);
    assert!(names(&mut bench, id).contains(&"EURUSD".to_owned()));
    bench.subscribe(id, &[1]);
}

#[test]
fn a_renamed_symbol_keeps_its_key_and_its_quotes() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    bench.fault("symbol-changed", &json!({ "symbols": ["EURUSD"], "change": "renamed", "name": "EUR/USD" }));
    assert_eq!(bench.answer::<ProtoOaSymbolChangedEvent>(id).symbol_id, [1]);
    let now = names(&mut bench, id);
    assert!(now.contains(&"EUR/USD".to_owned()) && !now.contains(&"EURUSD".to_owned()));
    bench.advance(1_000);
    assert!(!bench.spots(id).is_empty());
    bench.fault("symbol-changed", &json!({ "symbols": ["EURUSD", "GBPUSD"], "change": "renamed" }));
    assert_eq!(bench.answer::<ProtoOaSymbolChangedEvent>(id).symbol_id, [1], "the first change ends");
    assert_eq!(bench.answer::<ProtoOaSymbolChangedEvent>(id).symbol_id, [1, 3]);
    assert_eq!(names(&mut bench, id)[..2], ["EURUSD.new", "GBPUSD.new"]);
}

#[test]
fn changed_details_are_read_anew_and_restored() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    let digits = |bench: &mut Bench| details(bench, id, 1).symbol[0].digits;
    assert_eq!(digits(&mut bench), 5);
    bench.fault("symbol-changed", &json!({ "symbols": ["EURUSD"] }));
    bench.answer::<ProtoOaSymbolChangedEvent>(id);
    assert_eq!(digits(&mut bench), 4);
    bench.heal(Fault::SymbolChanged);
    bench.answer::<ProtoOaSymbolChangedEvent>(id);
    assert_eq!(digits(&mut bench), 5);
}

#[test]
fn the_clock_of_quotes_may_run_backwards() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    bench.advance(1_000);
    let before = bench.spots(id).last().unwrap().timestamp.unwrap();
    bench.fault("clock-backwards", &json!({ "by_ms": 30_000 }));
    bench.advance(1_000);
    assert!(bench.spots(id).iter().all(|event| event.timestamp.unwrap() < before - 28_000));
    bench.heal(Fault::ClockBackwards);
    bench.advance(1_000);
    assert!(bench.spots(id).iter().all(|event| event.timestamp.unwrap() > before));
}
