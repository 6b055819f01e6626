//! Mode `latest` on real sockets.

use crate::support::{FakeIngest, Gateway, Nats, eventually};
use serde_json::{Value, json};

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
