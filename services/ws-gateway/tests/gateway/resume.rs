//! A browser that goes on where it stopped, on any gateway.

use crate::support::{Browser, FakeIngest, Gateway, Nats, eventually};
use serde_json::{Value, json};

async fn resume(browser: &mut Browser, epoch: &str, seq: u64) -> Value {
    let position = json!({"EURUSD": {"epoch": epoch, "seq": seq}});
    browser.say(json!({"type": "subscribe", "symbols": ["EURUSD"], "resume": position})).await;
    browser.until_type("subscribeResponse").await
}

async fn next_tick(browser: &mut Browser) -> Value {
    browser.until_type("tick").await
}

#[tokio::test]
async fn a_browser_goes_on_at_another_gateway_where_it_stopped() {
    let nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 7, &["EURUSD"]).await;
    let (one, other) = (Gateway::start(&nats, &[]).await, Gateway::start(&nats, &[]).await);
    let mut browsers = Vec::new();
    for gateway in [&one, &other] {
        let mut browser = gateway.browser().await;
        browser.see_status("ctrader", "connected").await;
        browser.subscribe(&["EURUSD"]).await;
        ingest.wanted(&["EURUSD"]).await;
        eventually("the gateway to read the channel", async || {
            (gateway.metric("tickcast_channels") >= 1.0).then_some(())
        })
        .await;
        browsers.push(browser);
    }
    for seq in 1..=3 {
        ingest.tick("EURUSD", 7, seq).await;
    }
    for browser in &mut browsers {
        browser.until(|message| message["seq"] == 3).await;
    }
    // It loses the first gateway, and something happens before it finds the second.
    drop(browsers.remove(0));
    one.stop().await;
    ingest.tick("EURUSD", 7, 4).await;
    ingest.tick("EURUSD", 7, 5).await;
    browsers[0].until(|message| message["seq"] == 5).await;

    let mut browser = other.browser().await;
    let answer = resume(&mut browser, "7", 3).await;
    assert_eq!(answer["results"][0]["recovered"], true, "{answer}");
    for seq in 4..=5 {
        let tick = next_tick(&mut browser).await;
        assert_eq!((&tick["seq"], &tick["snapshot"]), (&json!(seq), &Value::Null));
    }
    ingest.tick("EURUSD", 7, 6).await;
    assert_eq!(next_tick(&mut browser).await["seq"], 6);

    // Positions nobody can go on from: too old an incarnation, the future.
    for (epoch, seq) in [("6", 3), ("7", 600)] {
        let mut browser = other.browser().await;
        let answer = resume(&mut browser, epoch, seq).await;
        assert_eq!(answer["results"][0]["recovered"], false, "{answer}");
        let tick = next_tick(&mut browser).await;
        assert_eq!((&tick["seq"], &tick["snapshot"]), (&json!(6), &json!(true)));
    }
    drop((browser, browsers));
    other.stop().await;
}
