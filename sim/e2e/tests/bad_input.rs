//! A client that sends nonsense, while another one watches prices.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::{Value, json};
use sim_e2e::{Client, Setup, Spine};
use tokio_tungstenite::tungstenite::Message;

async fn answer_of(client: &mut Client, bad: &str) -> Value {
    client.send_raw(Message::text(bad)).await;
    client.expect(&format!("the error for {bad:.80}"), |message| message["type"] == "error").await
}

#[tokio::test]
async fn each_bad_message_gets_one_clear_error_and_nobody_else_notices() {
    let spine = Spine::start(Setup::default()).await;
    let mut watcher = spine.client().await;
    watcher.subscribe(&["EURUSD"]).await;
    watcher.tick("EURUSD").await;
    let mark = watcher.mark();

    let mut bad = spine.client().await;
    let deep = "[".repeat(20_000);
    let cases = [
        ("not json", "BAD_JSON"),
        ("", "BAD_JSON"),
        ("{\"type\":\"ping\"", "BAD_JSON"),
        (&deep, "BAD_JSON"),
        ("null", "BAD_MESSAGE"),
        ("[1,2]", "BAD_MESSAGE"),
        ("{}", "BAD_MESSAGE"),
        ("{\"type\":7}", "BAD_MESSAGE"),
        ("{\"type\":\"subscribe\"}", "BAD_MESSAGE"),
        ("{\"type\":\"subscribe\",\"symbols\":{}}", "BAD_MESSAGE"),
        ("{\"type\":\"subscribe\",\"symbols\":[1,null]}", "BAD_MESSAGE"),
        ("{\"type\":\"no-such-thing\"}", "UNKNOWN_TYPE"),
        ("{\"type\":\"subscribe\",\"symbols\":\"EURUSD\",\"source\":\"nowhere\"}", "UNKNOWN_SOURCE"),
    ];
    for (text, code) in cases {
        let error = answer_of(&mut bad, text).await;
        assert_eq!(error["code"], code, "{text:.80}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
    }
    bad.send(json!({"type": "no-such-thing", "id": {"mine": 1}})).await;
    let error = bad.expect("the error with its id", |message| message["id"] == json!({"mine": 1})).await;
    assert_eq!(error["code"], "UNKNOWN_TYPE");

    let answer = bad.subscribe(&["NOSUCH", "eur/usd", ""]).await;
    let outcome =
        |index: usize| (answer["results"][index]["status"].clone(), answer["results"][index]["code"].clone());
    assert_eq!(outcome(0), (json!("error"), json!("UNKNOWN_SYMBOL")), "{answer}");
    assert_eq!(outcome(1).0, "subscribed");
    assert_eq!(outcome(2).0, "error");
    bad.send(json!({"type": "unsubscribe", "symbols": ["GBPUSD"]})).await;
    let answer = bad.expect("the answer", |message| message["type"] == "unsubscribeResponse").await;
    assert_eq!(answer["results"][0]["code"], "NOT_SUBSCRIBED", "{answer}");

    bad.send(json!({"type": "ping", "id": "last"})).await;
    bad.expect("a pong after all that", |message| message["type"] == "pong" && message["id"] == "last").await;
    let errors = bad.seen_since(0).iter().filter(|message| message["type"] == "error").count();
    assert_eq!(errors, cases.len() + 1, "one for each: {}", bad.transcript());

    for _ in 0..5 {
        watcher.tick("EURUSD").await;
    }
    assert!(watcher.seen_since(mark).iter().all(|message| message["type"] != "error"));
}

#[tokio::test]
async fn an_oversize_or_binary_message_ends_or_fails_only_its_sender() {
    let spine = Spine::start(Setup::default()).await;
    let mut watcher = spine.client().await;
    watcher.subscribe(&["EURUSD"]).await;

    let mut big = spine.client().await;
    big.send_raw(Message::text("x".repeat(65_537))).await;
    assert_eq!(big.closed().await, 1009);

    let mut binary = spine.client().await;
    binary.send_raw(Message::binary(vec![0, 255, 1, 2, 3])).await;
    let error = binary.expect("the error for bytes", |message| message["type"] == "error").await;
    assert_eq!(error["code"], "BAD_MESSAGE", "{error}");
    binary.send(json!({"type": "ping"})).await;
    binary.expect("a pong", |message| message["type"] == "pong").await;

    for _ in 0..5 {
        watcher.tick("EURUSD").await;
    }
}

#[tokio::test]
async fn a_flood_is_held_back_and_others_get_every_tick_meanwhile() {
    let spine = Spine::start(Setup::default()).await;
    let mut watcher = spine.client().await;
    watcher.subscribe(&["EURUSD", "GBPUSD"]).await;
    watcher.tick("EURUSD").await;

    let mut flood = spine.client().await;
    for number in 0..500 {
        flood.send(json!({"type": "ping", "id": number})).await;
    }
    flood
        .expect("the flood to be named", |message| {
            message["type"] == "error" && message["code"] == "RATE_LIMITED"
        })
        .await;
    for _ in 0..20 {
        watcher.tick("EURUSD").await;
    }
    watcher.assert_unbroken();
    assert!(watcher.is_open());

    // Each message has its own answer, be it the refusal.
    let mut answered = 0;
    let is_answer = |message: &Value| message["type"] == "pong" || message["code"] == "RATE_LIMITED";
    flood.back_to(0);
    while answered < 500 {
        flood.expect("an answer to each message", is_answer).await;
        answered += 1;
    }
    let answers = flood.seen_since(0).into_iter().filter(is_answer).count();
    assert_eq!(answers, 500, "{}", flood.transcript());
}

#[tokio::test]
async fn more_subscriptions_than_allowed_are_refused_one_by_one() {
    let spine = Spine::start(Setup { gateway: &[("MAX_SUBSCRIPTIONS", "2")], ..Setup::default() }).await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    let answer = client.subscribe(&["EURUSD", "GBPUSD"]).await;
    assert!(
        answer["results"].as_array().unwrap().iter().all(|result| result["status"] == "subscribed"),
        "{answer}"
    );
    let answer = client.subscribe(&["USDJPY"]).await;
    assert_eq!(answer["results"][0]["code"], "TOO_MANY_SUBSCRIPTIONS", "{answer}");
    client.tick("GBPUSD").await;
    client.send(json!({"type": "getSubscriptions", "id": 1})).await;
    let held = client.expect("what is held", |message| message["type"] == "subscriptions").await;
    let mut symbols: Vec<_> =
        held["symbols"].as_array().unwrap().iter().map(|symbol| symbol.as_str().unwrap()).collect();
    symbols.sort_unstable();
    assert_eq!(symbols, ["EURUSD", "GBPUSD"]);
}
