//! Polling: each answer goes on where the one before ended, on any gateway, and says so where it does not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test; the lint knows only functions marked as one")]

use std::net::SocketAddr;

use serde_json::{Value, json};
use tickcast_model::SymbolState;

use crate::support::{FakeIngest, Gateway, Nats, eventually};

async fn spine(symbols: &[&str], settings: &[(&str, &str)]) -> (Nats, FakeIngest, Gateway) {
    let nats = Nats::start().await;
    let ingest = FakeIngest::start(&nats, "ctrader", 7, symbols).await;
    let gateway = Gateway::start(&nats, settings).await;
    gateway.browser().await.see_status("ctrader", "connected").await;
    (nats, ingest, gateway)
}

/// One poll, after a position.
async fn poll(gateway: &Gateway, query: &str, after: &str) -> Value {
    let answer = gateway.get(&format!("/api/v1/ticks?{query}&after={after}")).await;
    assert_eq!(answer["success"], true, "{answer}");
    answer["data"].clone()
}

/// What it brought, in short: states are left out.
fn brought(answer: &Value) -> Vec<String> {
    let messages =
        answer["messages"].as_array().unwrap().iter().filter(|message| message["type"] != "symbolState");
    messages
        .map(|message| match message["type"].as_str().unwrap() {
            "subscribeResponse" => {
                let results = message["results"].as_array().unwrap().iter();
                results.map(|result| result["recovered"].to_string()).collect::<Vec<_>>().join(" ")
            }
            "gap" => format!("gap {}-{}", message["from"], message["to"]),
            "tick" if message["snapshot"] == true => format!("snapshot {}", message["seq"]),
            "tick" if message["merged"].is_u64() => format!("{} of {}", message["seq"], message["merged"]),
            "tick" => message["seq"].to_string(),
            other => other.to_owned(),
        })
        .collect()
}

fn position(answer: &Value) -> &str {
    answer["position"].as_str().unwrap()
}

#[tokio::test]
async fn polls_get_every_tick_once_and_keep_the_channel_between_them() {
    let (nats, mut ingest, gateway) = spine(&["A", "B"], &[]).await;
    let first = poll(&gateway, "symbols=a,NOPE", "").await;
    assert_eq!((&first["missing"], position(&first)), (&json!(["a", "NOPE"]), ""));
    let results = &first["messages"][0]["results"];
    assert_eq!((&results[0]["symbol"], &results[1]["code"]), (&json!("A"), &json!("UNKNOWN_SYMBOL")));
    ingest.wanted(&["A"]).await;
    ingest.tick("A", 7, 1).await;
    ingest.tick("A", 7, 2).await;
    let got = eventually("the ticks", async || {
        let answer = poll(&gateway, "symbols=A", "").await;
        (brought(&answer) == ["null", "snapshot 2"]).then_some(answer)
    })
    .await;
    ingest.tick("A", 7, 3).await;
    ingest.tick("A", 7, 6).await;
    let next = eventually("more ticks", async || {
        let answer = poll(&gateway, "symbols=A", position(&got)).await;
        (brought(&answer) == ["true", "3", "gap 4-5", "6"]).then_some(answer)
    })
    .await;
    assert_eq!(brought(&poll(&gateway, "symbols=A", position(&next)).await), ["true"]);
    assert_eq!(
        ingest.leases().iter().filter(|lease| lease.symbols.is_empty()).count(),
        0,
        "it stayed wanted"
    );

    // The plain form: the last known ticks, and where to go on.
    let plain = gateway.get("/api/v1/ticks?symbols=A,B").await["data"].clone();
    assert_eq!((&plain["ticks"][0]["seq"], &plain["missing"]), (&json!(6), &json!(["B"])));
    assert_eq!(plain["messages"], Value::Null);

    // On another gateway, which only now opens the channel and has no history, it is told that it cannot go on.
    let two = Gateway::start(&nats, &[]).await;
    two.browser().await.see_status("ctrader", "connected").await;
    let elsewhere = poll(&two, "symbols=A", position(&got)).await;
    assert_eq!(brought(&elsewhere)[0], "false");
    two.stop().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_poll_waits_for_the_next_tick_and_merges_where_it_is_asked_to() {
    let (_nats, mut ingest, gateway) = spine(&["A"], &[]).await;
    let asked = poll(&gateway, "symbols=A&waitMs=20000", "");
    let (first, ()) = tokio::join!(asked, async {
        ingest.wanted(&["A"]).await;
        ingest.tick("A", 7, 1).await;
    });
    assert_eq!(brought(&first), ["null", "snapshot 1"]);
    let asked = poll(&gateway, "symbols=A&waitMs=20000", position(&first));
    let (second, ()) = tokio::join!(asked, ingest.tick("A", 7, 2));
    assert_eq!(brought(&second), ["true", "2"]);
    for seq in 3..=9 {
        ingest.tick("A", 7, seq).await;
    }
    let merged = eventually("all of them as one", async || {
        let answer = poll(&gateway, "symbols=A&mode=latest", position(&second)).await;
        (brought(&answer) == ["true", "9 of 7"]).then_some(answer)
    })
    .await;
    let tick = merged["messages"].as_array().unwrap().last().unwrap();
    assert!(tick["high"].as_f64() > tick["low"].as_f64(), "{tick}");
    assert_eq!(brought(&poll(&gateway, "symbols=A&mode=latest", position(&merged)).await), ["true"]);
    // A state is said to whoever asks, and is nothing to wait for.
    ingest.state("A", 7, 9, SymbolState::Stale).await;
    eventually("the state", async || {
        let answer = poll(&gateway, "symbols=A", position(&merged)).await;
        let last = answer["messages"].as_array().unwrap().last().unwrap().clone();
        (last["state"] == "stale").then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_new_epoch_and_positions_of_nobody_begin_anew() {
    let (_nats, mut ingest, gateway) = spine(&["A", "B"], &[]).await;
    poll(&gateway, "symbols=A,B", "").await;
    ingest.wanted(&["A", "B"]).await;
    ingest.tick("A", 7, 5).await;
    ingest.tick("B", 7, 5).await;
    let old = eventually("both", async || {
        let answer = poll(&gateway, "symbols=A,B", "").await;
        (brought(&answer) == ["null null", "snapshot 5", "snapshot 5"]).then_some(answer)
    })
    .await;
    ingest.tick("A", 8, 1).await;
    let new = eventually("the new epoch", async || {
        let answer = poll(&gateway, "symbols=A,B", position(&old)).await;
        (brought(&answer) == ["false true", "snapshot 1"]).then_some(answer)
    })
    .await;
    assert!(position(&new).starts_with("8-1~7-5_"), "{new}");
    ingest.tick("B", 7, 6).await;
    ingest.tick("A", 8, 2).await;
    eventually("the next", async || {
        let answer = poll(&gateway, "symbols=A,B", position(&new)).await;
        (brought(&answer) == ["true true", "2"]).then_some(())
    })
    .await;
    for wrong in ["nonsense", "8-1", "9-1.1", "8-1.1.1", "%00", &"9".repeat(3_000)] {
        let answer = poll(&gateway, "symbols=A,B", wrong).await;
        assert_eq!(brought(&answer)[0], "false false", "{wrong}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn polls_have_the_limits_of_websockets() {
    let settings =
        [("MAX_CONNECTIONS", "2"), ("MAX_SUBSCRIPTIONS", "2"), ("ALLOWED_ORIGINS", "https://app.example")];
    let (_nats, mut ingest, gateway) = spine(&["A", "B", "C"], &settings).await;
    for (origin, expected) in [("https://evil.example", 403), ("https://app.example", 200)] {
        let (status, _, body) = gateway.http("GET", "/api/v1/ticks?symbols=C", &[("Origin", origin)]).await;
        assert_eq!(status, expected, "{body}");
    }
    for (query, code) in [
        ("symbols=A,B,C", (400, "TOO_MANY_SUBSCRIPTIONS")),
        ("symbols=", (400, "BAD_MESSAGE")),
        ("symbols=A&source=nyse", (404, "UNKNOWN_SOURCE")),
        ("symbols=A&mode=some", (400, "BAD_MESSAGE")),
        ("symbols=A&waitMs=soon", (400, "BAD_MESSAGE")),
    ] {
        let (status, _, body) = gateway.http("GET", &format!("/api/v1/ticks?{query}"), &[]).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body["error"]["code"].as_str().unwrap()), code, "{query}");
    }
    let places = async |wanted: f64| {
        eventually("so many clients", async || {
            let status = gateway.get("/api/v1/status").await;
            (status["data"]["connections"].as_f64() == Some(wanted)).then_some(())
        })
        .await;
    };
    places(0.0).await;
    let waiting = poll(&gateway, "symbols=A&waitMs=20000", "");
    let beside = async {
        places(1.0).await;
        let _browser = gateway.browser().await;
        places(2.0).await;
        let (status, head, _) = gateway.http("GET", "/api/v1/ticks?symbols=A", &[]).await;
        assert_eq!((status, head.contains("retry-after")), (503, true));
        ingest.wanted(&["A", "C"]).await;
        ingest.tick("A", 7, 1).await;
    };
    let (answer, ()) = tokio::join!(waiting, beside);
    assert_eq!(brought(&answer), ["null", "snapshot 1"]);
    places(0.0).await;

    // One that hangs up while it waits leaves nothing behind, and a stopping gateway answers at once.
    hang_up(gateway.addr, "/api/v1/ticks?symbols=B&waitMs=30000", async || places(1.0).await).await;
    places(0.0).await;
    let stopping = async {
        places(1.0).await;
        gateway.context.stop.cancel();
    };
    let (answer, ()) = tokio::join!(poll(&gateway, "symbols=B&waitMs=30000", ""), stopping);
    assert_eq!(answer["missing"], json!(["B"]));
    gateway.stop().await;
}

/// Asks, and leaves once `then` is done.
async fn hang_up(addr: SocketAddr, path: &str, then: impl AsyncFnOnce()) {
    use tokio::io::AsyncWriteExt as _;
    let mut socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n").as_bytes()).await.unwrap();
    then().await;
}
