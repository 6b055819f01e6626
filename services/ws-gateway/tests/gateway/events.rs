//! Server-sent events: the same as over a WebSocket, on the same terms, and exactly on from the last event that came whole.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test; the lint knows only functions marked as one")]

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tickcast_model::SymbolState;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{FakeIngest, Gateway, Nats, Pipe, eventually, within};
use crate::tls::certificate;

/// A stream as a browser reads it.
struct Events {
    socket: Box<dyn Pipe>,
    head: String,
    unread: String,
    /// What a browser would say when it comes back.
    last_id: String,
    retry_ms: Option<u64>,
    comments: Vec<String>,
}

impl Events {
    async fn open(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Self {
        let socket = TcpStream::connect(gateway.addr).await.unwrap();
        Self::over(socket, path, headers).await
    }

    async fn over(socket: impl Pipe + 'static, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket: Box<dyn Pipe> = Box::new(socket);
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: gw\r\nAccept: text/event-stream\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        socket.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        let mut unread = String::new();
        while !unread.contains("\r\n\r\n") {
            assert!(read_more(&mut socket, &mut unread).await, "the head: {unread}");
        }
        let (head, rest) = unread.split_once("\r\n\r\n").unwrap();
        let (head, unread) = (head.to_lowercase(), rest.to_owned());
        assert!(head.starts_with("http/1.1 200"), "{head} {unread}");
        Self { socket, head, unread, last_id: String::new(), retry_ms: None, comments: Vec::new() }
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.unread.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.unread = rest;
                let mut data = None;
                for line in event.lines() {
                    match line.split_once(": ").unwrap() {
                        ("id", id) => id.clone_into(&mut self.last_id),
                        ("data", json) => data = Some(serde_json::from_str(json).unwrap()),
                        ("retry", ms) => self.retry_ms = Some(ms.parse().unwrap()),
                        ("", comment) => self.comments.push(comment.to_owned()),
                        other => panic!("{other:?}"),
                    }
                }
                if data.is_some() {
                    return data;
                }
            }
            if !within("an event", read_more(&mut self.socket, &mut self.unread)).await {
                return None;
            }
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await.expect("the stream goes on");
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The next tick or gap, in short.
    async fn price(&mut self) -> String {
        let message = self.until(|message| message["type"] == "tick" || message["type"] == "gap").await;
        short(&message)
    }
}

fn short(message: &Value) -> String {
    match (message["type"].as_str(), message["snapshot"].as_bool()) {
        (Some("gap"), _) => {
            format!("{} gap {}-{}", message["symbol"].as_str().unwrap(), message["from"], message["to"])
        }
        (_, Some(true)) => format!("{} snapshot {}", message["symbol"].as_str().unwrap(), message["seq"]),
        _ => format!("{} {}", message["symbol"].as_str().unwrap(), message["seq"]),
    }
}

async fn read_more(socket: &mut (impl AsyncRead + Unpin), into: &mut String) -> bool {
    let mut buffer = vec![0; 4096];
    let count = socket.read(&mut buffer).await.unwrap_or(0);
    into.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    count > 0
}

/// Whether a symbol was recovered, by the answer.
fn recovered(answer: &Value) -> Vec<Value> {
    answer["results"].as_array().unwrap().iter().map(|result| result["recovered"].clone()).collect()
}

async fn answer(events: &mut Events) -> Value {
    events.until(|message| message["type"] == "subscribeResponse").await
}

async fn spine_with(symbols: &[&str], settings: &[(&str, &str)]) -> (Nats, FakeIngest, Gateway) {
    let nats = Nats::start().await;
    let ingest = FakeIngest::start(&nats, "ctrader", 7, symbols).await;
    let gateway = Gateway::start(&nats, settings).await;
    (nats, ingest, gateway)
}

/// The same with a gateway that knows the venue.
async fn spine(symbols: &[&str], settings: &[(&str, &str)]) -> (Nats, FakeIngest, Gateway) {
    let (nats, ingest, gateway) = spine_with(symbols, settings).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "connected").await;
    (nats, ingest, gateway)
}

#[tokio::test]
async fn a_stream_says_what_a_websocket_says() {
    let (_nats, mut ingest, gateway) = spine(&["EURUSD", "GBPUSD"], &[]).await;
    let mut events = Events::open(&gateway, "/api/v1/stream?symbols=eur/usd,GBPUSD,NOPE", &[]).await;
    for field in [
        "content-type: text/event-stream",
        "cache-control: no-cache",
        "x-accel-buffering: no",
        "connection: close",
    ] {
        assert!(events.head.contains(field), "{field}: {}", events.head);
    }
    let status = events.next().await.unwrap();
    assert_eq!((&status["type"], &status["source"]), (&json!("status"), &json!("ctrader")));
    assert_eq!(status["availableSymbols"], Value::Null, "a stream is no place for thousands of names");
    assert!((1_000..3_000).contains(&events.retry_ms.unwrap()));
    let answer = answer(&mut events).await;
    let results: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| (&r["symbol"], &r["status"])).collect();
    let said = |symbol, status| (json!(symbol), json!(status));
    let wanted = [said("EURUSD", "subscribed"), said("GBPUSD", "subscribed"), said("NOPE", "error")];
    assert_eq!(results, wanted.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert_eq!(events.last_id, "", "nothing came yet");
    ingest.wanted(&["EURUSD", "GBPUSD"]).await;

    let mut browser = gateway.browser().await;
    browser.subscribe(&["EURUSD"]).await;
    ingest.tick("EURUSD", 7, 1).await;
    ingest.tick("EURUSD", 7, 2).await;
    ingest.tick("EURUSD", 7, 5).await;
    let of_interest =
        |m: &Value| m["symbol"] == "EURUSD" && (m["type"] != "symbolState" || m["state"] == "closed");
    for _ in 0..4 {
        let (a, b) = (events.until(of_interest).await, browser.until(of_interest).await);
        assert_eq!(a, b);
    }
    // A state is told before ticks that still wait, so it comes once neither client waits for any.
    ingest.state("EURUSD", 7, 5, SymbolState::Closed).await;
    let (a, b) = (events.until(of_interest).await, browser.until(of_interest).await);
    assert_eq!((&a, &a["state"]), (&b, &json!("closed")));
    assert!(events.last_id.starts_with("7-5.._"), "{}", events.last_id);
    ingest.say(|health| health.data = tickcast_model::DataState::Idle).await;
    events.until(|message| message["type"] == "status" && message["health"]["data"] == "idle").await;
    drop((events, browser));
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_lost_its_stream_goes_on_after_the_last_whole_event_on_any_gateway() {
    let (nats, mut ingest, one) = spine(&["A", "B"], &[]).await;
    let two = Gateway::start(&nats, &[]).await;
    two.browser().await.see_status("ctrader", "connected").await;
    let path = "/api/v1/stream?symbols=A,B";
    let mut elsewhere = Events::open(&two, path, &[]).await;
    let mut events = Events::open(&one, path, &[]).await;
    answer(&mut events).await;
    answer(&mut elsewhere).await;
    ingest
        .lease("both gateways", 0, |lease| lease.symbols.len() == 2 && lease.holder == *two.context.instance)
        .await;
    ingest
        .lease("both gateways", 0, |lease| lease.symbols.len() == 2 && lease.holder == *one.context.instance)
        .await;
    for seq in 1..=3 {
        ingest.tick("A", 7, seq).await;
    }
    ingest.tick("B", 7, 10).await;
    for wanted in ["A snapshot 1", "A 2", "A 3"] {
        assert_eq!(events.price().await, wanted);
    }
    assert_eq!(events.price().await, "B snapshot 10");
    let mut ends = Vec::new();
    for seq in 4..=9 {
        ingest.tick("A", 7, seq).await;
        assert_eq!(events.price().await, format!("A {seq}"));
        ends.push(events.last_id.clone());
    }
    ingest.tick("B", 7, 11).await;
    elsewhere.until(|message| message["seq"] == 11).await;
    // Wherever the stream is cut, what comes then is what would have come.
    for (got, end) in (4..=9).zip(&ends) {
        for (name, value) in [("Last-Event-ID", end.as_str()), ("X", "")] {
            let path = if name == "X" { format!("{path}&lastEventId={end}") } else { path.to_owned() };
            let mut events = Events::open(&two, &path, &[(name, value)]).await;
            assert_eq!(recovered(&answer(&mut events).await), [true, true]);
            let mut rest = Vec::new();
            for _ in got..=9 {
                rest.push(events.price().await);
            }
            rest.sort();
            let missed: Vec<_> =
                (got + 1..=9).map(|seq| format!("A {seq}")).chain(["B 11".to_owned()]).collect();
            assert_eq!(rest, missed);
            assert_eq!(events.last_id.split('_').next(), Some("7-9.b"));
        }
    }
    drop((events, elsewhere));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn wrong_ids_begin_anew_and_say_so() {
    let (_nats, mut ingest, gateway) = spine(&["A", "B"], &[]).await;
    let mut first = Events::open(&gateway, "/api/v1/stream?symbols=A", &[]).await;
    answer(&mut first).await;
    ingest.wanted(&["A"]).await;
    ingest.tick("A", 7, 5).await;
    assert_eq!(first.price().await, "A snapshot 5");
    let long = "z".repeat(5_000);
    let of_b = {
        let mut b = Events::open(&gateway, "/api/v1/stream?symbols=B", &[]).await;
        answer(&mut b).await;
        ingest.wanted(&["A", "B"]).await;
        ingest.tick("B", 7, 5).await;
        b.price().await;
        b.last_id
    };
    for id in ["nonsense", "7-", "6-5", "8-5", "7-1", "7-zz", "7-5.5", &long, &of_b] {
        let mut events = Events::open(&gateway, "/api/v1/stream?symbols=A", &[("Last-Event-ID", id)]).await;
        assert_eq!(recovered(&answer(&mut events).await), [false], "{id}");
        assert_eq!(events.price().await, "A snapshot 5", "{id}");
    }
    // An event that was cut in the middle never was: the id before it counts.
    let mut events = Events::open(&gateway, "/api/v1/stream?symbols=A", &[("Last-Event-ID", "7-5")]).await;
    assert_eq!(recovered(&answer(&mut events).await), [true]);
    ingest.tick("A", 7, 6).await;
    assert_eq!(events.price().await, "A 6");
    drop((first, events));
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_reader_of_events_is_told_what_it_missed() {
    let (_nats, mut ingest, gateway) = spine(&["A"], &[("RING_TICKS", "16")]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let socket = socket.connect(gateway.addr).await.unwrap();
    let mut slow = Events::over(socket, "/api/v1/stream?symbols=A", &[]).await;
    ingest.wanted(&["A"]).await;
    let mut watcher = gateway.browser().await;
    watcher.subscribe(&["A"]).await;
    let last = 3_000;
    for seq in 1..=last {
        ingest.tick("A", 7, seq).await;
        if seq % 10 == 0 {
            watcher.until(|message| message["seq"] == seq).await;
        }
    }
    let (mut expected, mut missed) = (1, 0);
    while expected <= last {
        let message = slow.until(|message| message["type"] == "tick" || message["type"] == "gap").await;
        if message["type"] == "gap" {
            assert_eq!(message["from"], expected);
            missed += message["missed"].as_u64().unwrap();
            expected = message["to"].as_u64().unwrap() + 1;
        } else {
            assert_eq!(message["seq"], expected);
            expected += 1;
        }
    }
    assert!(missed > 0, "it was slow");
    drop((slow, watcher));
    gateway.stop().await;
}

#[tokio::test]
async fn streams_have_the_limits_of_websockets() {
    let settings = [
        ("MAX_CONNECTIONS", "2"),
        ("MAX_SUBSCRIPTIONS", "2"),
        ("ALLOWED_ORIGINS", "https://app.example"),
        ("PING_MS", "100"),
    ];
    let nats = Nats::start().await;
    let _ingest = FakeIngest::start(&nats, "ctrader", 7, &["A", "B", "C"]).await;
    let gateway = Gateway::start(&nats, &settings).await;
    let path = "/api/v1/stream?symbols=A,B,C";
    {
        gateway.browser().await.see_status("ctrader", "connected").await;
    }
    eventually("no client", async || (gateway.metric("tickcast_connections") == 0.0).then_some(())).await;
    let mut events = Events::open(&gateway, path, &[("Origin", "https://app.example")]).await;
    assert!(events.head.contains("access-control-allow-origin: https://app.example"), "{}", events.head);
    let answer = answer(&mut events).await;
    let codes: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["code"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["", "", "TOO_MANY_SUBSCRIPTIONS"]);
    let browser = gateway.browser().await;
    eventually("two clients", async || (gateway.metric("tickcast_connections") == 2.0).then_some(())).await;
    let (status, head, body) = gateway.http("GET", path, &[]).await;
    assert_eq!((status, head.contains("retry-after")), (503, true), "{body}");
    assert_eq!(gateway.browser().await.closed_with().await, 4003, "a stream takes the place of a WebSocket");
    drop(browser);

    let names = (0..101).map(|n| format!("A{n}")).collect::<Vec<_>>().join(",");
    for (path, origin, code) in [
        (path, "https://other.example", (403, "FORBIDDEN")),
        ("/api/v1/stream", "https://app.example", (400, "BAD_MESSAGE")),
        ("/api/v1/stream?symbols=,", "https://app.example", (400, "BAD_MESSAGE")),
        ("/api/v1/stream?symbols=A&source=nyse", "https://app.example", (404, "UNKNOWN_SOURCE")),
        ("/api/v1/stream?symbols=A&mode=fast", "https://app.example", (400, "BAD_MESSAGE")),
        ("/api/v1/stream?symbols=A&minIntervalMs=-1", "https://app.example", (400, "BAD_MESSAGE")),
        (&format!("/api/v1/stream?symbols={names}"), "https://app.example", (400, "TOO_MANY_SUBSCRIPTIONS")),
    ] {
        let (status, _, body) = gateway.http("GET", path, &[("Origin", origin)]).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body["error"]["code"].as_str().unwrap()), code, "{path}");
    }
    eventually("one client", async || (gateway.metric("tickcast_connections") == 1.0).then_some(())).await;
    let (status, head, body) = gateway.http("HEAD", path, &[]).await;
    assert_eq!((status, body.as_str()), (200, ""), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert_eq!(gateway.http("POST", path, &[]).await.0, 405);

    // It never speaks, and stays, while a WebSocket that answers no ping is dropped.
    let _silent = gateway.browser().await;
    eventually("the end of the silent one", async || {
        (gateway.metric("tickcast_connections_closed_total{code=\"4408\"}") == 1.0).then_some(())
    })
    .await;
    assert_eq!(gateway.metric("tickcast_connections"), 1.0);
    drop(events);
    eventually("no client", async || (gateway.metric("tickcast_connections") == 0.0).then_some(())).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_stopping_gateway_sends_its_streams_elsewhere() {
    let (_nats, mut ingest, gateway) = spine(&["A"], &[]).await;
    let mut events = Events::open(&gateway, "/api/v1/stream?symbols=A", &[]).await;
    answer(&mut events).await;
    ingest.wanted(&["A"]).await;
    gateway.context.stop.cancel();
    let goaway = events.until(|message| message["type"] == "goaway").await;
    assert!(goaway["reconnectInMs"].as_u64().unwrap() <= 200);
    // Ticks flow until the end.
    ingest.tick("A", 7, 1).await;
    assert_eq!(events.price().await, "A snapshot 1");
    while events.next().await.is_some() {}
    assert_eq!(events.comments, ["1001 the gateway is stopping"]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_comes_over_tls_too() {
    let (certificate, key, connector) = certificate();
    let files = [certificate.to_str().unwrap(), key.to_str().unwrap()];
    let (_nats, mut ingest, gateway) =
        spine_with(&["A"], &[("TLS_CERT_FILE", files[0]), ("TLS_KEY_FILE", files[1])]).await;
    let socket = TcpStream::connect(gateway.addr).await.unwrap();
    let socket = connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
    let mut events = Events::over(socket, "/api/v1/stream?symbols=A", &[]).await;
    answer(&mut events).await;
    ingest.wanted(&["A"]).await;
    ingest.tick("A", 7, 1).await;
    assert_eq!(events.price().await, "A snapshot 1");
    drop(events);
    gateway.stop().await;
    for file in files {
        std::fs::remove_file(file).unwrap();
    }
}
