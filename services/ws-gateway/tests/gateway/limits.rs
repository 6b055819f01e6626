//! Bad input and limits: one clear answer each, and nobody else notices.

use crate::support::{FakeIngest, Gateway, Nats, eventually};
use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn each_bad_message_gets_one_clear_error_and_nobody_else_notices() {
    let nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    let gateway = Gateway::start(&nats, &[("MAX_MESSAGES_PER_S", "1000")]).await;
    let (mut bad, mut other) = (gateway.browser().await, gateway.browser().await);
    for browser in [&mut bad, &mut other] {
        browser.see_status("ctrader", "connected").await;
    }
    other.subscribe(&["EURUSD"]).await;
    ingest.wanted(&["EURUSD"]).await;

    let deep = format!("{{\"type\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    let cases: Vec<(&str, &str, Value)> = vec![
        ("nonsense", "BAD_JSON", Value::Null),
        ("", "BAD_JSON", Value::Null),
        (&deep, "BAD_JSON", Value::Null),
        ("[1,2]", "BAD_MESSAGE", Value::Null),
        (r#"{"type":5,"id":1}"#, "BAD_MESSAGE", json!(1)),
        (r#"{"type":"subscribe","symbols":[1],"id":"a"}"#, "BAD_MESSAGE", json!("a")),
        (r#"{"type":"buy","id":[2]}"#, "UNKNOWN_TYPE", json!([2])),
        (r#"{"type":"subscribe","symbols":["A"],"source":"nyse","id":3}"#, "UNKNOWN_SOURCE", json!(3)),
    ];
    let mut seq = 0;
    for (text, code, id) in &cases {
        bad.say_text(text).await;
        let heard = bad.settle().await;
        let errors: Vec<_> = heard.iter().filter(|m| m["type"] == "error").collect();
        assert_eq!(errors.len(), 1, "{text}: {heard:?}");
        assert_eq!((&errors[0]["code"], &errors[0]["id"]), (&json!(code), id), "{text}");
        assert!(errors[0]["message"].as_str().is_some_and(|words| words.len() > 5));

        seq += 1;
        ingest.tick("EURUSD", 1, seq).await;
        let tick = other.until_type("tick").await;
        assert_eq!(tick["seq"], seq);
    }
    bad.socket.send(Message::binary(vec![0, 159, 146, 150])).await.unwrap();
    let heard = bad.settle().await;
    assert_eq!(heard.iter().filter(|m| m["code"] == "BAD_MESSAGE").count(), 1, "{heard:?}");
    assert_eq!(gateway.metric("tickcast_errors_total{code=\"BAD_JSON\"}"), 3.0);

    let results = bad.subscribe(&["NOPE"]).await;
    assert_eq!(results[0]["code"], "UNKNOWN_SYMBOL");
    assert_eq!(gateway.metric("tickcast_connections"), 2.0);
    drop((bad, other));
    gateway.stop().await;
}

#[tokio::test]
async fn a_message_too_big_closes_the_connection_with_its_code() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats, &[("MAX_MESSAGE_BYTES", "1000")]).await;
    for size in [1_001, 5_000, 3_000_000] {
        let mut browser = gateway.browser().await;
        // The gateway may hang up before all of it is sent.
        let _ = browser.socket.send(Message::text("x".repeat(size))).await;
        assert_eq!(browser.closed_with().await, 1009, "{size}");
    }
    let mut fragments = gateway.browser().await;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    for n in 0..30 {
        let kind = if n == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(vec![b'x'; 100], OpCode::Data(kind), false);
        if fragments.socket.send(Message::Frame(frame)).await.is_err() {
            break;
        }
    }
    assert_eq!(fragments.closed_with().await, 1009);
    eventually("no connection", async || (gateway.metric("tickcast_connections") == 0.0).then_some(())).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_flood_is_answered_message_by_message_and_the_connection_stays() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats, &[("MAX_MESSAGES_PER_S", "5")]).await;
    let mut browser = gateway.browser().await;
    for id in 0..60 {
        browser.say(json!({"type":"ping","id":id})).await;
    }
    let (mut pongs, mut limited) = (0, 0);
    while pongs + limited < 60 {
        let message = browser.hear_data().await;
        match message["type"].as_str().unwrap() {
            "pong" => pongs += 1,
            "error" if message["code"] == "RATE_LIMITED" => limited += 1,
            other => panic!("{other}: {message}"),
        }
    }
    assert!(pongs >= 5 && limited >= 40, "{pongs} {limited}");
    // After a moment it may speak again.
    eventually("a pong", async || {
        browser.say(json!({"type":"ping"})).await;
        (browser.hear_data().await["type"] == "pong").then_some(())
    })
    .await;
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn subscriptions_and_connections_are_limited() {
    let nats = Nats::start().await;
    let _ingest = FakeIngest::start(&nats, "ctrader", 1, &["A", "B", "C"]).await;
    let settings = [("MAX_SUBSCRIPTIONS", "2"), ("MAX_CONNECTIONS", "2"), ("MAX_CONNECTIONS_PER_IP", "2")];
    let gateway = Gateway::start(&nats, &settings).await;
    let (mut first, second) = (gateway.browser().await, gateway.browser().await);
    first.see_status("ctrader", "connected").await;
    let results = first.subscribe(&["A", "B", "C"]).await;
    let codes: Vec<_> = results.iter().map(|result| result["code"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["", "", "TOO_MANY_SUBSCRIPTIONS"]);

    eventually("two clients", async || (gateway.metric("tickcast_connections") == 2.0).then_some(())).await;
    assert_eq!(gateway.browser().await.closed_with().await, 4003);
    drop(second);
    eventually("a place", async || {
        let mut browser = gateway.browser().await;
        browser.say(json!({"type":"ping"})).await;
        matches!(browser.frame().await, Message::Text(_)).then_some(())
    })
    .await;
    drop(first);
    gateway.stop().await;
}

#[tokio::test]
async fn everybody_comes_in_although_all_knock_at_once() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats, &[("ACCEPTS_PER_S", "50")]).await;
    let browsers = futures_util::future::join_all((0..40).map(|_| gateway.browser())).await;
    for mut browser in browsers {
        browser.say(json!({"type": "ping", "id": 1})).await;
        assert_eq!(browser.until_type("pong").await["id"], 1);
    }
    gateway.stop().await;
}
