use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tickcast_model::{Body, Catalogue, ChannelEvent, Instrument, Position, Price, Symbol, Tick, VenueId};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::bulletin::Bulletin;
use crate::catalogue::Book;
use crate::hub::{ChannelKey, Hub};
use crate::limits::{ClientLimits, Doors};
use crate::metrics::GatewayMetrics;
use crate::origins::Origins;
use crate::venues::Venues;

const RING: usize = 8;

fn gateway() -> Arc<Gateway> {
    counted_gateway().0
}

fn counted_gateway() -> (Arc<Gateway>, Registry) {
    let mut registry = Registry::default();
    let hub = Arc::new(Hub::new(RING, 100, || {}));
    let venues = Arc::new(Venues::new(vec![VenueId::new("ctrader").unwrap()], hub.clone()));
    let instruments = ["EURUSD", "GBPUSD"].map(|name| Instrument {
        symbol: Symbol::new(name).unwrap(),
        description: String::new(),
        digits: None,
        pip_position: None,
    });
    venues.set_book(0, Book::new(1, Catalogue { version: 1, open: false, instruments: instruments.into() }));
    let gateway = Gateway {
        venues,
        hub,
        bulletin: Arc::default(),
        metrics: Arc::new(GatewayMetrics::register(&mut registry)),
        doors: Arc::new(Doors::new(10, 0)),
        limits: Arc::new(ClientLimits {
            subscriptions_max: 10,
            message_bytes_max: 300,
            messages_per_s: 1_000_000,
        }),
        origins: Origins::read("*").unwrap(),
        ping: Duration::from_secs(25),
        drain: Duration::from_secs(10),
        stop: CancellationToken::new(),
        clients: TaskTracker::new(),
    };
    (Arc::new(gateway), registry)
}

/// A browser over a pipe that holds `pipe` bytes in each direction.
struct Browser {
    socket: WebSocketStream<DuplexStream>,
    server: JoinHandle<()>,
}

impl Browser {
    async fn open(gateway: &Arc<Gateway>, pipe: usize) -> Self {
        let (ours, theirs) = tokio::io::duplex(pipe);
        let server = tokio::spawn(serve(theirs, Vec::new(), gateway.clone()));
        let socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        Self { socket, server }
    }

    async fn say(&mut self, message: Value) {
        self.socket.send(Message::Text(message.to_string().into())).await.unwrap();
    }

    /// The next message that is not a ping.
    async fn next(&mut self) -> Message {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    async fn hear(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn closed_with(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.unwrap().code.into();
            }
        }
    }
}

fn key(symbol: &str) -> ChannelKey {
    ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new(symbol).unwrap() }
}

fn publish(gateway: &Gateway, symbol: &str, seq: u64) {
    let body = Body::Tick(Tick {
        bid: Price::new(110_000, 5),
        ask: Price::new(110_010, 5),
        last: None,
        digits: 5,
        venue_time_ms: None,
        received_us: unix_us(),
        snapshot: false,
    });
    let event =
        ChannelEvent { symbol: Symbol::new(symbol).unwrap(), position: Position { epoch: 1, seq }, body };
    gateway.hub.channel(&key(symbol)).unwrap().publish(&event, unix_us());
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_delivered_whole_and_counted() {
    let gateway = gateway();
    let mut browser = Browser::open(&gateway, 64 * 1024).await;
    browser.say(json!({"type":"subscribe","symbols":["eur/usd"]})).await;
    assert_eq!(browser.hear().await["results"][0]["symbol"], "EURUSD");
    assert_eq!(browser.hear().await["state"], "pending");
    for seq in 1..=5 {
        publish(&gateway, "EURUSD", seq);
    }
    let first = browser.hear().await;
    assert_eq!((&first["seq"], &first["snapshot"]), (&json!(1), &json!(true)));
    assert_eq!(browser.hear().await["state"], "live");
    for seq in 2..=5 {
        let tick = browser.hear().await;
        assert_eq!((&tick["seq"], &tick["snapshot"]), (&json!(seq), &Value::Null));
    }
    assert_eq!(gateway.metrics.delivered.get(), 5);
    assert_eq!(gateway.metrics.subscriptions.get(), 1);
    drop(browser.socket);
    browser.server.await.unwrap();
    assert_eq!(gateway.metrics.subscriptions.get(), 0);
    assert_eq!(gateway.metrics.connections.get(), 0);
    assert_eq!(gateway.hub.channel(&key("EURUSD")).unwrap().reader_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn however_the_bytes_are_cut_the_messages_are_the_same() {
    for pipe in [1, 2, 7, 1_000, 64 * 1024] {
        let gateway = gateway();
        let mut browser = Browser::open(&gateway, pipe).await;
        browser.say(json!({"type":"subscribe","symbols":["EURUSD","NOPE"],"id":"é"})).await;
        let response = browser.hear().await;
        assert_eq!(response["id"], "é", "{pipe}");
        assert_eq!(response["results"][1]["code"], "UNKNOWN_SYMBOL");
        assert_eq!(browser.hear().await["state"], "pending");
        publish(&gateway, "EURUSD", 1);
        assert_eq!(browser.hear().await["snapshot"], true);
        browser.say(json!({"type":"unsubscribe","symbols":"EURUSD"})).await;
        let response = browser.hear().await;
        let response = if response["type"] == "symbolState" { browser.hear().await } else { response };
        assert_eq!(response["results"][0]["status"], "unsubscribed");
        browser.socket.close(None).await.unwrap();
        assert!(matches!(browser.next().await, Message::Close(_)));
        browser.server.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_client_gets_a_heartbeat_and_pings() {
    let gateway = gateway();
    let began = Instant::now();
    let mut browser = Browser::open(&gateway, 1024).await;
    assert_eq!(browser.hear().await["type"], "heartbeat");
    assert_eq!(began.elapsed().as_secs(), 15);
    assert_eq!(browser.hear().await["type"], "heartbeat");
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_nothing_is_let_go() {
    let gateway = gateway();
    // Nothing reads the other end, so no ping is answered; the pipe takes all there is to say.
    let (_ours, theirs) = tokio::io::duplex(64 * 1024);
    let began = Instant::now();
    serve(theirs, Vec::new(), gateway.clone()).await;
    let lived = began.elapsed().as_secs();
    assert!((50..=80).contains(&lived), "{lived}");
    assert_eq!(gateway.metrics.connections.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_dropped_and_others_do_not_notice() {
    let gateway = gateway();
    let mut stuck = Browser::open(&gateway, 700).await;
    let mut other = Browser::open(&gateway, 64 * 1024).await;
    stuck.say(json!({"type":"subscribe","symbols":["EURUSD"]})).await;
    assert_eq!(stuck.hear().await["type"], "subscribeResponse");
    other.say(json!({"type":"subscribe","symbols":["EURUSD"]})).await;
    other.hear().await;
    other.hear().await;
    let began = Instant::now();
    for seq in 1..=200 {
        publish(&gateway, "EURUSD", seq);
        assert_eq!(other.hear().await["seq"], seq);
        if seq == 1 {
            assert_eq!(other.hear().await["state"], "live");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    (&mut stuck.server).await.unwrap();
    let lived = began.elapsed().as_secs();
    assert!((30..=46).contains(&lived), "{lived}");
}

#[tokio::test(start_paused = true)]
async fn a_lapped_client_gets_the_newest_and_the_exact_gap() {
    let gateway = gateway();
    let mut browser = Browser::open(&gateway, 1_000).await;
    browser.say(json!({"type":"subscribe","symbols":["EURUSD"]})).await;
    assert_eq!(browser.hear().await["type"], "subscribeResponse");
    const LAST: u64 = 1_000;
    for seq in 1..=LAST {
        publish(&gateway, "EURUSD", seq);
        tokio::task::yield_now().await;
    }
    let (mut delivered, mut missed, mut seq) = (0, 0, 0);
    while seq < LAST {
        let message = browser.hear().await;
        match message["type"].as_str().unwrap() {
            "tick" => {
                assert_eq!(message["seq"], seq + 1);
                seq += 1;
                delivered += 1;
            }
            "gap" => {
                assert_eq!(message["from"], seq + 1);
                seq = message["to"].as_u64().unwrap();
                missed += message["missed"].as_u64().unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(delivered + missed, LAST);
    assert!(missed > 0 && delivered >= RING as u64, "{missed} missed");
    assert_eq!(gateway.metrics.missed.get(), missed);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_and_does_not_read_is_closed() {
    let (gateway, registry) = counted_gateway();
    let browser = Browser::open(&gateway, 4_096).await;
    let (mut sink, _stream) = browser.socket.split();
    while sink.send(Message::Text("{\"type\":\"ping\"}".into())).await.is_ok() {}
    browser.server.await.unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("connections_closed_total{code=\"4002\"} 1"), "{text}");
    assert!(text.contains("queue_drops_total{queue=\"client_replies\"} 1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_message_too_big_is_answered_with_1009() {
    let gateway = gateway();
    for size in [301, 10_000] {
        let mut browser = Browser::open(&gateway, 64 * 1024).await;
        browser.socket.send(Message::Text("x".repeat(size).into())).await.unwrap();
        assert_eq!(browser.closed_with().await, 1009, "{size}");
        browser.server.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopping_gateway_sends_its_clients_elsewhere_within_the_time() {
    let gateway = gateway();
    let mut browsers = Vec::new();
    for _ in 0..20 {
        browsers.push(Browser::open(&gateway, 4_096).await);
    }
    let began = Instant::now();
    gateway.stop.cancel();
    gateway.bulletin.nudge();
    let mut moves = Vec::new();
    for browser in &mut browsers {
        let goaway = browser.hear().await;
        assert_eq!(goaway["type"], "goaway");
        moves.push(goaway["reconnectInMs"].as_u64().unwrap());
    }
    assert!(moves.iter().all(|ms| *ms <= 7_500) && moves.iter().any(|ms| *ms != moves[0]), "{moves:?}");
    let closing = browsers.iter_mut().zip(moves).map(|(browser, ms)| async move {
        assert_eq!(browser.closed_with().await, 1001);
        assert!(began.elapsed() >= Duration::from_millis(ms));
    });
    futures_util::future::join_all(closing).await;
    assert!(began.elapsed() <= gateway.drain + Duration::from_millis(50), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_clients_close_is_answered_in_kind() {
    let gateway = gateway();
    let mut browser = Browser::open(&gateway, 1_024).await;
    let frame = CloseFrame { code: CloseCode::Away, reason: "".into() };
    browser.socket.send(Message::Close(Some(frame))).await.unwrap();
    assert_eq!(browser.closed_with().await, 1001);
    browser.server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn statuses_reach_everybody_and_who_missed_some_gets_the_present_one() {
    let gateway = gateway();
    let bulletin: &Arc<Bulletin> = &gateway.bulletin;
    let mut browser = Browser::open(&gateway, 1_024).await;
    browser.say(json!({"type":"ping"})).await;
    assert_eq!(browser.hear().await["type"], "pong");
    bulletin.post(Bytes::from_static(b"{\"type\":\"status\",\"n\":1}"));
    assert_eq!(browser.hear().await["n"], 1);
    for _ in 0..200 {
        bulletin.post(Bytes::from_static(b"{\"type\":\"status\",\"n\":2}"));
    }
    assert_eq!(browser.hear().await["source"], "ctrader");
}
