//! Faults of the connection: its end, its silence, its frames and its heartbeats.

use serde_json::json;
use sim_tradingview::{Ending, Fault, Message, Reason, SimulatedVenue as _, payloads};

use crate::bench::{Bench, CS, EUR};

#[test]
fn the_ends_of_a_connection_are_as_chosen() {
    for (fault, params, ending) in [
        ("cut", json!(null), Ending::Reset),
        ("cut-inside-frame", json!(null), Ending::SendThenReset),
        ("close", json!(null), Ending::Close(Some(1001))),
        ("close", json!({ "code": "1000" }), Ending::Close(Some(1000))),
        ("close", json!({ "code": "1005" }), Ending::Close(None)),
        ("close", json!({ "code": "1006" }), Ending::Abrupt),
    ] {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.messages(id);
        bench.on(fault, params);
        assert_eq!(bench.ended[&id], (ending, Reason::Fault), "{fault}");
        assert_eq!(bench.venue.connections().count(), 0);
        let last = bench.told.remove(&id).unwrap_or_default();
        assert_eq!(last.iter().any(|one| matches!(one, Message::Half(_))), fault == "cut-inside-frame");
    }
}

#[test]
fn a_stalled_venue_says_and_hears_nothing_and_catches_up() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR]);
    bench.messages(id);
    bench.on("stall", json!({ "for_ms": 60_000 }));
    bench.add(id, &["FX:EURUSD"]);
    bench.run(59_999);
    assert!(bench.messages(id).is_empty() && bench.ended.is_empty());
    bench.run(2);
    assert!(bench.quotes(id, "FX:EURUSD").len() >= 2, "what came meanwhile is answered");
}

#[test]
fn a_client_that_sends_more_than_is_kept_is_cut_off() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR]);
    bench.on("stall", json!(null));
    for _ in 0..4_096 {
        bench.venue.receive(id, bench.now, "~m~4~m~~h~1");
    }
    bench.drain();
    assert!(bench.ended.is_empty());
    bench.venue.receive(id, bench.now, "~m~4~m~~h~1");
    bench.drain();
    assert_eq!(bench.ended[&id], (Ending::Reset, Reason::Flood));
    bench.off(Fault::Stall);
    bench.on("delayed-answer", json!({ "delay_ms": 600_000 }));
    let id = bench.watching(&[EUR]);
    for _ in 0..30_000 {
        bench.send(id, "chart_create_session", json!([CS, ""]));
    }
    assert_eq!(bench.ended[&id], (Ending::Reset, Reason::Flood));
}

#[test]
fn a_mute_venue_still_beats_and_answers() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR, "FX:EURUSD"]);
    bench.messages(id);
    bench.on("mute", json!({ "symbols": [EUR] }));
    bench.run(30_000);
    let payloads = bench.payloads(id);
    assert!(payloads.iter().all(|payload| !payload.contains(EUR)));
    assert!(payloads.iter().filter(|payload| payload.contains("FX:EURUSD")).count() > 50);
    assert_eq!(payloads.iter().filter(|payload| payload.starts_with("~h~")).count(), 3);
    assert!(bench.venue.counters().withheld > 50);
}

#[test]
fn heartbeats_can_stop_come_often_twice_or_with_data() {
    let beats = |bench: &mut Bench, id| {
        bench.payloads(id).into_iter().filter(|payload| payload.starts_with("~h~")).collect::<Vec<_>>()
    };
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR]);
    bench.on("no-heartbeats", json!(null));
    bench.run(100_000);
    assert!(beats(&mut bench, id).is_empty() && bench.ended.is_empty());
    bench.off(Fault::NoHeartbeats);
    bench.on("heartbeat-interval", json!({ "every_ms": 1_000 }));
    bench.run(5_500);
    assert_eq!(beats(&mut bench, id).len(), 6);
    bench.off(Fault::HeartbeatInterval);
    bench.on("repeat-heartbeat", json!(null));
    bench.run(10_000);
    assert_eq!(beats(&mut bench, id), ["~h~7", "~h~7"]);
    bench.off(Fault::RepeatHeartbeat);
    for which in ["before", "after"] {
        bench.on("coalesce-heartbeats", json!({ "which": which }));
        bench.messages(id);
        bench.run(15_000);
        let messages = bench.messages(id);
        let shared: Vec<Vec<&str>> = messages
            .iter()
            .map(|message| payloads(message).map(Result::unwrap).collect())
            .filter(|parts: &Vec<&str>| parts.iter().any(|part| part.starts_with("~h~")))
            .collect();
        assert!(!shared.is_empty());
        for parts in shared {
            let at = if which == "before" { 0 } else { 1 };
            assert!(parts.len() == 2 && parts[at].starts_with("~h~"), "{parts:?}");
        }
    }
    assert!(bench.ended.is_empty());
}

#[test]
fn frames_can_be_gathered_long_wrong_empty_and_among_garbage() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR, "FX:EURUSD"]);
    bench.messages(id);
    bench.on("many-frames-per-message", json!({ "delay_ms": 2_000 }));
    bench.run(20_000);
    let messages = bench.messages(id);
    assert!(messages.len() <= 11 && messages.iter().any(|message| payloads(message).count() > 5));
    bench.off(Fault::ManyFramesPerMessage);
    bench.messages(id);
    bench.on("oversized-message", json!(null));
    assert!(bench.payloads(id)[0].len() > 2_000_000);
    bench.on("empty-payload", json!(null));
    assert_eq!(bench.messages(id), ["~m~0~m~"]);
    bench.on("raw", json!({ "payload": "~j~{\"m\":\"ö\"}" }));
    assert_eq!(bench.messages(id), ["~m~12~m~~j~{\"m\":\"ö\"}"]);
    for which in ["too-long", "too-short"] {
        bench.on("wrong-length", json!({ "which": which }));
        let message = bench.messages(id).remove(0);
        assert!(payloads(&message).any(|part| part.is_err()), "{message}");
    }
    bench.on("garbage-between-frames", json!(null));
    bench.add(id, &["OANDA:GBPUSD"]);
    let message = bench.messages(id).remove(0);
    let parts: Vec<_> = payloads(&message).collect();
    assert!(parts[0].is_ok() && parts[1].is_err(), "{message}");
    assert!(message.contains("quote_completed"));
}

#[test]
fn unknown_and_foreign_things_are_whole_messages() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR]);
    bench.messages(id);
    bench.on("unknown-message", json!({ "count": 3 }));
    assert_eq!(bench.said(id).len(), 3);
    bench.on("foreign-session", json!(null));
    assert_eq!(bench.said(id)[0].1[0], "qs_of_nobody");
    bench.on("unknown-members", json!(null));
    bench.run(2_000);
    let payloads = bench.payloads(id);
    assert!(!payloads.is_empty() && payloads.iter().all(|payload| payload.contains("\"x_new\"")));
    bench.on("no-greeting", json!(null));
    let quiet = bench.open();
    assert!(bench.messages(quiet).is_empty());
}
