//! Clients that are told otherwise than by WebSocket text.

use serde_json::{Value, json};

use tickcast_model::Price;

use super::super::*;
use super::bench::*;

/// What came but states: of a binary frame the first byte and its length, of a text its `type`.
fn told(browser: &Browser) -> Vec<String> {
    browser
        .frames()
        .into_iter()
        .map(|(opcode, payload)| match opcode {
            1 => serde_json::from_slice::<Value>(&payload).unwrap()["type"].as_str().unwrap().to_owned(),
            2 => format!("{:02x} of {}", payload[0], payload.len()),
            other => format!("opcode {other}"),
        })
        .filter(|told| told != "symbolState")
        .collect()
}

#[test]
fn a_binary_client_gets_steps_where_it_has_the_tick_before_and_else_the_tick_in_full() {
    let mut bench = Bench::new(0);
    bench.price = |_| Price::new(110_000, 5);
    let first = bench.open();
    bench.subscribe(&first, &["EURUSD"]);
    bench.tick("EURUSD");
    let browser = bench.open_as(Form::Binary(Box::default()), None);
    bench.say(&browser, &json!({"type": "subscribe", "symbols": ["EURUSD"]}));
    // Full with names, a snapshot; what it is made of is tested with the form.
    assert_eq!(told(&browser), ["subscribeResponse", "a9 of 25"]);
    bench.tick("EURUSD");
    bench.tick("EURUSD");
    assert_eq!(told(&browser), ["00 of 3", "00 of 3"]);
    // All that is there goes into one frame.
    bench.publish("EURUSD", 0);
    bench.publish("EURUSD", 0);
    bench.settle();
    assert_eq!(told(&browser), ["00 of 6"]);
    bench.publish("EURUSD", 2);
    bench.publish("EURUSD", 0);
    bench.settle();
    assert_eq!(told(&browser), ["gap", "89 of 28"], "in full with names, and a step");
    // Whoever comes back does not have the tick before any more.
    bench.say(&browser, &json!({"type": "unsubscribe", "symbols": ["EURUSD"]}));
    bench.tick("EURUSD");
    bench.say(&browser, &json!({"type": "subscribe", "symbols": ["EURUSD"]}));
    assert_eq!(told(&browser), ["unsubscribeResponse", "subscribeResponse", "a9 of 25"]);
    assert_eq!(first.hear().iter().filter(|message| message["type"] == "tick").count(), 8);
}

#[test]
fn a_binary_client_that_goes_on_elsewhere_gets_the_first_tick_in_full() {
    let mut bench = Bench::new(0);
    bench.price = |_| Price::new(110_000, 5);
    let keeper = bench.open();
    bench.subscribe(&keeper, &["EURUSD"]);
    for _ in 0..5 {
        bench.tick("EURUSD");
    }
    let browser = bench.open_as(Form::Binary(Box::default()), None);
    let resume = json!({"EURUSD": {"epoch": "1", "seq": 2}});
    bench.say(&browser, &json!({"type": "subscribe", "symbols": ["EURUSD"], "resume": resume}));
    // The third in full, with names and without being a snapshot, then two steps.
    assert_eq!(told(&browser), ["subscribeResponse", "89 of 31"]);
    bench.tick("EURUSD");
    assert_eq!(told(&browser), ["00 of 3"]);
}

#[test]
fn merged_ticks_are_told_in_binary_as_a_step_where_there_is_only_one() {
    let mut bench = Bench::new(0);
    let browser = bench.open_as(Form::Binary(Box::default()), None);
    let request = json!({"type": "subscribe", "symbols": ["EURUSD"], "mode": "latest", "minIntervalMs": 100});
    bench.say(&browser, &request);
    let mut heads = Vec::new();
    for ticks in [1, 1, 3, 1] {
        for _ in 0..ticks {
            bench.tick("EURUSD");
        }
        bench.pass_time(Duration::from_millis(100));
        let heard = told(&browser).into_iter().filter(|line| line.contains(" of "));
        heads.extend(heard.map(|line| line[..2].to_owned()));
    }
    // A snapshot with names; steps marked as merged; the two that waited in full, without names; a step from them.
    assert_eq!(heads, ["e9", "42", "42", "c1", "42"]);
}
