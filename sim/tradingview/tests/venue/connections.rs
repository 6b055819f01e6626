//! How connections begin, go on and end when all is well.

use std::collections::BTreeMap;

use serde_json::json;
use sim_tradingview::{Ending, Reason, Refusal, SimulatedVenue as _, VenueSettings, put_frame};

use crate::bench::{Bench, QS, names};

#[test]
fn a_handshake_is_judged_by_origin_number_and_fault() {
    let origin = "https://www.tradingview.com";
    let settings =
        VenueSettings { origin: Some(origin.into()), connections_max: 1, ..VenueSettings::default() };
    let mut bench = Bench::new(settings);
    let refusal = |status, retry_after_s| Err(Refusal { status, retry_after_s });
    assert_eq!(bench.venue.admit([]), refusal(403, None));
    assert_eq!(bench.venue.admit(["https://elsewhere.test"]), refusal(403, None));
    assert_eq!(bench.venue.admit(["http://127.0.0.1:5036", "https://www.tradingview.com/"]), Ok(()));
    bench.open();
    assert_eq!(bench.venue.admit([origin]), refusal(429, None));
    bench.on("connections-limit", json!({ "count": 1, "retry_after_s": 7 }));
    assert_eq!(bench.venue.admit([origin]), refusal(429, Some(7)));
    bench.on("handshake-status", json!({ "code": "503", "for_ms": 100 }));
    assert_eq!(bench.venue.admit([origin]), refusal(503, None));
    bench.run(101);
    assert_eq!(bench.venue.admit([origin]), refusal(429, Some(7)));
    assert_eq!(bench.venue.counters().refused, BTreeMap::from([(403, 2), (429, 3), (503, 1)]));
}

#[test]
fn a_bad_token_ends_the_connection_with_its_reason() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.messages(id);
    bench.send(id, "set_auth_token", json!(["not-this-one"]));
    assert_eq!(bench.messages(id), [r#"~m~45~m~{"m":"protocol_error","p":["bad auth token"]}"#]);
    assert_eq!(bench.ended[&id], (Ending::Close(None), Reason::Protocol));
    bench.on("reject-credentials", json!(null));
    let other = bench.open();
    bench.send(other, "set_auth_token", json!(["sim-token"]));
    assert_eq!(bench.ended[&other].1, Reason::Protocol);
}

#[test]
fn what_the_venue_does_not_allow_costs_the_session_and_only_that() {
    for params in [
        json!([QS, "OANDA:EURUSD", { "flags": ["force_permission"] }]),
        json!([QS, "OANDA:GBPUSD", "OANDA:GBPUSD"]),
        json!([QS, "OANDA:EURUSD"]),
        json!([QS, 7]),
    ] {
        let mut bench = Bench::usual();
        let id = bench.watching(&["OANDA:EURUSD"]);
        bench.send(id, "quote_create_session", json!(["qs_other"]));
        bench.messages(id);
        bench.send(id, "quote_add_symbols", params.clone());
        assert_eq!(
            bench.said(id),
            [("critical_error".to_owned(), json!([QS, "invalid_parameters", "quote_add_symbols"]))],
            "{params}"
        );
        bench.run(20_000);
        assert!(bench.quotes(id, "OANDA:EURUSD").is_empty(), "the session is gone");
        bench.send(id, "quote_add_symbols", json!(["qs_other", "OANDA:EURUSD"]));
        assert!(names(&bench.said(id)).contains(&"quote_completed"), "the other session lives");
        // A dead session costs the connection.
        bench.add(id, &["OANDA:GBPUSD"]);
        let said = bench.said(id);
        assert_eq!(said[0].0, "protocol_error");
        let text = said[0].1[0].as_str().unwrap();
        assert!(
            text.starts_with("{unknown_session_id,<<\"quote_add_symbols\">>,<<\"qs_A1b2C3d4E5f6\">>,["),
            "{text}"
        );
        assert_eq!(bench.ended[&id], (Ending::Close(None), Reason::Protocol));
    }
}

#[test]
fn heartbeats_count_up_and_whoever_does_not_echo_is_cut_off() {
    let mut bench = Bench::usual();
    let good = bench.open();
    bench.run(35_000);
    let beats: Vec<String> = bench.payloads(good).split_off(1);
    assert_eq!(beats, ["~h~1", "~h~2", "~h~3"]);
    bench.echoes = false;
    let mute = bench.open();
    bench.run(10_000);
    assert_eq!(bench.messages(mute)[1], "~m~4~m~~h~1");
    bench.run(29_999);
    assert!(!bench.ended.contains_key(&mute));
    bench.run(2);
    assert_eq!(bench.ended[&mute], (Ending::Close(None), Reason::NoEcho));
}

#[test]
fn what_is_no_frame_or_no_request_ends_the_connection_and_what_is_unknown_does_not() {
    for (message, ends) in [
        ("hello", true),
        ("~m~9~m~{}", true),
        ("~m~2~m~{}", true),
        ("~m~0~m~", false),
        ("~m~20~m~{\"m\":\"dance\",\"p\":[]}", false),
        ("~m~5~m~~h~77", false),
    ] {
        let mut bench = Bench::usual();
        let id = bench.open();
        bench.venue.receive(id, bench.now, message);
        bench.drain();
        assert_eq!(bench.ended.contains_key(&id), ends, "{message}");
    }
    let mut bench = Bench::new(VenueSettings { strict: true, ..VenueSettings::default() });
    let id = bench.open();
    bench.messages(id);
    bench.send(id, "dance", json!([]));
    assert_eq!(
        bench.said(id),
        [("critical_error".to_owned(), json!(["", "unsupported method", "method: dance"]))]
    );
}

#[test]
fn many_requests_may_share_a_message() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.messages(id);
    let mut message = String::new();
    for (method, params) in
        [("quote_create_session", json!([QS])), ("quote_add_symbols", json!([QS, "XAUUSD"]))]
    {
        put_frame(&mut message, &json!({ "m": method, "p": params }).to_string());
    }
    bench.venue.receive(id, bench.now, &message);
    bench.drain();
    assert_eq!(bench.venue.keys(id), ["XAUUSD"]);
    assert!(names(&bench.said(id)).contains(&"quote_completed"));
}
