//! Faults of what is told: values, the market, subscriptions and answers.

use serde_json::{Value, json};
use sim_tradingview::{Fault, SimulatedVenue as _};

use crate::bench::{Bench, EUR, QS, has, names};

#[test]
fn errors_on_demand_cost_what_they_say() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR]);
    bench.messages(id);
    bench.on("critical-error", json!({ "reason": "permission_denied", "info": "x" }));
    assert_eq!(bench.said(id), [("critical_error".to_owned(), json!([QS, "permission_denied", "x"]))]);
    assert_eq!((bench.venue.sessions(id), bench.ended.len()), (0, 0));
    bench.on("protocol-error", json!({ "reason": "you are banned" }));
    assert_eq!(bench.said(id), [("protocol_error".to_owned(), json!(["you are banned"]))]);
    assert!(bench.ended.contains_key(&id));
    bench.on("sessions-limit", json!({ "count": 1 }));
    let id = bench.watching(&[EUR]);
    bench.messages(id);
    bench.send(id, "quote_create_session", json!(["qs_2"]));
    let limit = json!(["qs_2", "max sessions rate reached", "quote_create_session"]);
    assert_eq!(bench.said(id), [("critical_error".to_owned(), limit)]);
    bench.on("sessions-limit", json!({ "count": 1, "reason": "Max state sessions reached" }));
    bench.send(id, "quote_create_session", json!(["qs_3"]));
    let limit = json!(["qs_3", "Max state sessions reached", "quote_create_session"]);
    assert_eq!(bench.said(id), [("critical_error".to_owned(), limit)]);
}

#[test]
fn values_can_be_absent_cleared_noisy_strange_or_missing() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR]);
    bench.messages(id);
    bench.on("no-value", json!({ "which": "lp" }));
    assert!(bench.messages(id)[0].contains("\"lp\":1e+100"));
    bench.off(Fault::NoValue);
    assert!(bench.quotes(id, EUR)[0]["lp"].as_f64().unwrap() < 2.0);
    bench.on("null-value", json!({ "which": "bid", "symbols": [EUR] }));
    assert_eq!(bench.quotes(id, EUR)[0]["bid"], Value::Null);
    bench.off(Fault::NullValue);
    bench.messages(id);
    for (which, sign) in [("noisy", "000000"), ("exponent", "e+0")] {
        bench.on("noisy-numbers", json!({ "which": which }));
        bench.run(5_000);
        let messages = bench.messages(id);
        assert!(messages.iter().any(|message| message.contains(sign)), "{which}: {messages:?}");
    }
    bench.off(Fault::NoisyNumbers);
    bench.on("strange-text", json!({ "for_ms": 1_000 }));
    let text = bench.quotes(id, EUR)[0]["description"].as_str().unwrap().to_owned();
    assert!(text.contains("~m~12~m~") && text.contains('𝒳') && text.contains("~h~1"));
    bench.run(1_001);
    assert_eq!(bench.quotes(id, EUR).last().unwrap().get("language"), None);
    bench.on("missing-v", json!(null));
    bench.run(3_000);
    let said = bench.said(id);
    assert!(
        said.iter().filter(|(name, _)| name == "qsd").all(|(_, p)| p[1].get("v").is_none()) && said.len() > 3
    );
}

#[test]
fn the_market_can_be_delayed_shut_thin_or_wild() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR]);
    bench.messages(id);
    bench.on("delayed", json!({ "delay_s": 600, "for_ms": 2_000 }));
    assert_eq!(bench.quotes(id, EUR)[0]["update_mode"], "delayed_streaming_600");
    bench.run(2_001);
    assert!(bench.quotes(id, EUR).iter().any(|quote| quote["update_mode"] == "streaming"));
    let other = "OANDA:GBPUSD";
    bench.on("no-mode", json!({ "symbols": [other], "for_ms": 1_000 }));
    bench.add(id, &[other]);
    assert!(!bench.quotes(id, other).iter().any(|quote| has(quote, "update_mode")));
    bench.run(1_001);
    assert!(bench.quotes(id, other).iter().any(|quote| quote["update_mode"] == "streaming"));
    bench.send(id, "quote_remove_symbols", json!([QS, other]));
    bench.on("weekend", json!({ "for_ms": 60_000 }));
    assert_eq!(bench.quotes(id, EUR)[0]["current_session"], "out_of_session");
    bench.run(59_000);
    assert!(bench.quotes(id, EUR).is_empty());
    bench.run(9_000);
    assert_eq!(bench.quotes(id, EUR)[0]["current_session"], "market");
    for which in ["pre_market", "post_market", "holiday"] {
        bench.on("weekend", json!({ "which": which }));
        assert_eq!(bench.quotes(id, EUR).last().unwrap()["current_session"], which);
    }
    bench.off(Fault::Weekend);
    for (which, fields) in [("book", ["bid", "ask"]), ("volume", ["volume"; 2]), ("time", ["lp_time"; 2])] {
        bench.on("only-fields", json!({ "which": which }));
        bench.messages(id);
        bench.run(10_000);
        let quotes = bench.quotes(id, EUR);
        assert!(quotes.len() > 3 && quotes.iter().any(|quote| fields.iter().any(|field| has(quote, field))));
        assert!(quotes.iter().all(|quote| !has(quote, "lp")), "{which}");
    }
    bench.off(Fault::OnlyFields);
    bench.messages(id);
    let before = bench.venue.quote(EUR).unwrap().last;
    bench.on("price-jump", json!({ "percent": 50, "down": true }));
    assert_eq!(bench.venue.quote(EUR).unwrap().last, before - before / 2);
    assert!(bench.quotes(id, EUR)[0]["lp"].as_f64().unwrap() < 0.6);
    bench.on("burst", json!({ "count": 3_000 }));
    assert!(bench.quotes(id, EUR).len() > 2_000);
}

#[test]
fn updates_can_come_twice_late_out_of_order_or_from_the_past() {
    let mut bench = Bench::usual();
    let id = bench.watching(&[EUR]);
    bench.messages(id);
    bench.on("repeated-ticks", json!({ "for_ms": 10_000 }));
    bench.run(9_000);
    let messages = bench.messages(id);
    assert!(messages.chunks(2).all(|pair| pair[0] == pair[1]) && messages.len() > 10);
    bench.run(1_001);
    bench.messages(id);
    bench.on("out-of-order", json!({ "for_ms": 30_000 }));
    bench.run(29_000);
    let volumes: Vec<i64> =
        bench.quotes(id, EUR).iter().filter_map(|quote| quote["volume"].as_i64()).collect();
    assert!(volumes.windows(2).any(|pair| pair[0] > pair[1]));
    bench.run(2_000);
    bench.messages(id);
    let time = |bench: &mut Bench| {
        bench.run(5_000);
        bench.quotes(id, EUR).iter().filter_map(|quote| quote["lp_time"].as_i64()).next_back().unwrap()
    };
    let before = time(&mut bench);
    bench.on("clock-backwards", json!({ "by_ms": 60_000 }));
    assert!(time(&mut bench) < before);
    bench.off(Fault::ClockBackwards);
    bench.on("late-events", json!({ "count": 3 }));
    bench.send(id, "quote_remove_symbols", json!([QS, EUR]));
    bench.messages(id);
    bench.run(20_000);
    assert_eq!(bench.quotes(id, EUR).len(), 3);
    bench.add(id, &[EUR]);
    assert!(!bench.quotes(id, EUR).is_empty());
}

#[test]
fn subscriptions_can_be_lost_unanswered_or_half_answered() {
    for held in [false, true] {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.on("subscription-lost", json!({ "held": held }));
        bench.messages(id);
        bench.run(30_000);
        assert_eq!(bench.payloads(id), ["~h~1", "~h~2", "~h~3"]);
        bench.add(id, &[EUR]);
        assert_eq!(names(&bench.said(id))[0], if held { "critical_error" } else { "qsd" });
    }
    let mut bench = Bench::usual();
    bench.on("no-snapshot", json!({ "symbols": [EUR], "held": false }));
    bench.on("no-completed", json!(null));
    bench.on("no-book", json!(null));
    let id = bench.watching(&[EUR, "FX:EURUSD"]);
    bench.run(9_000);
    let said = bench.said(id);
    assert!(
        said.iter().all(|(name, p)| name == "qsd" && p[1]["n"] == "FX:EURUSD" && !has(&p[1]["v"], "bid"))
    );
    bench.venue.heal(bench.now);
    bench.add(id, &[EUR]);
    assert!(names(&bench.said(id)).contains(&"quote_completed"));
}

#[test]
fn answers_can_be_lost_or_late() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.send(id, "quote_create_session", json!([QS]));
    bench.messages(id);
    bench.on("no-answer", json!({ "request": "quote_add_symbols", "count": 1 }));
    bench.add(id, &[EUR]);
    assert!(bench.messages(id).is_empty() && bench.venue.keys(id).is_empty());
    bench.on("delayed-answer", json!({ "delay_ms": 4_000, "count": 1 }));
    bench.add(id, &[EUR]);
    bench.run(3_900);
    assert!(!names(&bench.said(id)).contains(&"quote_completed"));
    bench.run(200);
    assert!(names(&bench.said(id)).contains(&"quote_completed"));
}
