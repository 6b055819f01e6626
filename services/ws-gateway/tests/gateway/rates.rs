//! Ticks merged, for who wants that and for who is slow, on real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test; the lint knows only functions marked as one")]

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::{Browser, FakeIngest, Gateway, Nats, eventually, tick, within};

#[tokio::test]
async fn the_latest_price_comes_at_its_rate_and_all_others_are_counted_in_it() {
    let nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 7, &["EURUSD"]).await;
    // All of them fit, however long the writer sleeps on a busy machine: nothing is lapped.
    let gateway = Gateway::start(&nats, &[("RING_TICKS", "512")]).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "connected").await;
    browser
        .say(json!({"type": "subscribe", "symbols": "EURUSD", "mode": "latest", "minIntervalMs": 200, "id": 1}))
        .await;
    let answer = browser.until_type("subscribeResponse").await;
    assert_eq!(
        answer["results"],
        json!([{"symbol":"EURUSD","source":"ctrader","status":"subscribed","mode":"latest","minIntervalMs":200}])
    );
    ingest.wanted(&["EURUSD"]).await;
    for seq in 1..=500 {
        ingest.tick("EURUSD", 7, seq).await;
    }
    let (mut counted, mut messages) = (0, 0);
    while counted < 500 {
        let tick = browser.until_type("tick").await;
        counted += tick["merged"].as_u64().unwrap();
        messages += 1;
        assert_eq!(tick["seq"], counted, "{tick}");
        assert!(
            tick["high"].as_f64() >= tick["price"].as_f64() && tick["low"].as_f64() <= tick["price"].as_f64()
        );
    }
    assert!(messages < 500, "{messages}");
    eventually("the merged ticks to be counted", async || {
        let (merged, delivered) =
            (gateway.metric("tickcast_ticks_merged_total"), gateway.metric("tickcast_ticks_delivered_total"));
        (merged + delivered == 500.0).then_some(())
    })
    .await;

    // Live to every tick.
    browser.say(json!({"type": "subscribe", "symbols": "EURUSD"})).await;
    browser.until_type("subscribeResponse").await;
    for seq in 501..=503 {
        ingest.tick("EURUSD", 7, seq).await;
        let tick = browser.until_type("tick").await;
        assert_eq!((&tick["seq"], &tick["merged"]), (&json!(seq), &Value::Null));
    }
    drop(browser);
    gateway.stop().await;
}

/// A client that reads slower than ticks come, and what became of all of them.
struct Slow {
    browser: Browser,
    seq: u64,
    was_slow: bool,
}

impl Slow {
    async fn open(gateway: &Gateway, on_slow: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let socket = socket.connect(gateway.addr).await.unwrap();
        let mut browser = Browser::over(socket, gateway.addr, "/ws", &[]).await.unwrap();
        browser.say(json!({"type": "subscribe", "symbols": "EURUSD", "onSlow": on_slow})).await;
        browser.until_type("subscribeResponse").await;
        Self { browser, seq: 0, was_slow: false }
    }

    /// Reads one message and takes it into account.
    async fn read(&mut self) {
        let message = self.browser.hear_data().await;
        match message["type"].as_str().unwrap() {
            "tick" => {
                let merged = message["merged"].as_u64().unwrap_or(1);
                let seq = message["seq"].as_u64().unwrap();
                assert_eq!(seq - merged, self.seq, "{message}");
                if merged > 1 {
                    self.was_slow = true;
                    let prices = (self.seq + 1..=seq).map(|seq| {
                        let price = tick(seq, false).price().unwrap();
                        price.with_digits(5).to_string().parse::<f64>().unwrap()
                    });
                    let (low, high) = prices
                        .fold((f64::MAX, f64::MIN), |(low, high), price| (low.min(price), high.max(price)));
                    let told = (message["low"].as_f64(), message["high"].as_f64());
                    assert_eq!(told, (Some(low), Some(high)), "{message}");
                }
                self.seq = seq;
            }
            "gap" => {
                self.was_slow = true;
                assert_eq!(message["from"], self.seq + 1, "{message}");
                self.seq = message["to"].as_u64().unwrap();
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn who_is_too_slow_goes_on_with_the_newest_and_what_it_misses_is_a_gap_or_merged_as_it_chose() {
    let nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 7, &["EURUSD"]).await;
    // The ring has them all, so nobody is lapped.
    let settings = [("RING_TICKS", "8192"), ("SLOW_AFTER_MS", "100")];
    let gateway = Gateway::start(&nats, &settings).await;
    let mut quick = gateway.browser().await;
    quick.see_status("ctrader", "connected").await;
    quick.subscribe(&["EURUSD"]).await;
    let (mut gap, mut merge) = (Slow::open(&gateway, "gap").await, Slow::open(&gateway, "merge").await);
    ingest.wanted(&["EURUSD"]).await;
    // More than all buffers on the way hold.
    let mut seq = 0;
    while seq < 3_000 {
        seq += 1;
        ingest.tick("EURUSD", 7, seq).await;
    }
    quick.until(|message| message["seq"] == seq).await;
    // Each reads one message a tick, which is too few until it has been taken to the newest one.
    within("both to be found slow", async {
        while !(gap.was_slow && merge.was_slow) {
            seq += 1;
            ingest.tick("EURUSD", 7, seq).await;
            quick.until(|message| message["seq"] == seq).await;
            gap.read().await;
            merge.read().await;
        }
    })
    .await;
    for slow in [&mut gap, &mut merge] {
        within("the newest tick", async {
            while slow.seq < seq {
                slow.read().await;
            }
        })
        .await;
    }
    // The one by a gap, the other by a merged tick, and nobody was lapped.
    let missed = gateway.metric("tickcast_ticks_missed_total");
    let merged = gateway.metric("tickcast_ticks_merged_total");
    assert!(missed > 0.0 && merged > 0.0, "{missed} missed, {merged} merged");
    assert!(gateway.metric("tickcast_clients_passed_over_total") >= 2.0);
    drop((quick, gap, merge));
    gateway.stop().await;
}
