//! What a gateway knows that was not there when it was said: history from the stream.

use std::collections::HashMap;

use serde_json::{Value, json};
use tickcast_bus::History;
use tickcast_model::SymbolState;

use crate::support::{Browser, Cable, FakeIngest, Gateway, Nats, eventually, symbol};

/// Waits until the stream holds as many events of the channel.
async fn stored(history: &History, ingest: &FakeIngest, name: &str, count: usize) {
    eventually("the stream to have it", async || {
        let read = history.last_events(&ingest.venue, &symbol(name), usize::MAX).await.ok()?;
        (read.events.len() == count).then_some(())
    })
    .await;
}

/// Waits until so many reads of the history came to this result.
async fn reads(gateway: &Gateway, result: &str, count: f64) {
    let name = format!("tickcast_history_reads_total{{result=\"{result}\"}}");
    eventually("reads of the history", async || (gateway.metric(&name) == count).then_some(())).await;
}

async fn ready_browser(gateway: &Gateway) -> Browser {
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "connected").await;
    browser
}

/// The first tick a new browser gets.
async fn first_tick(gateway: &Gateway, name: &str) -> (Browser, Value) {
    let mut browser = ready_browser(gateway).await;
    assert_eq!(browser.subscribe(&[name]).await[0]["status"], "subscribed");
    let tick = browser.until_type("tick").await;
    (browser, tick)
}

async fn resume(browser: &mut Browser, name: &str, epoch: &str, seq: u64) -> Value {
    let position = json!({name: {"epoch": epoch, "seq": seq}});
    browser.say(json!({"type": "subscribe", "symbols": [name], "resume": position})).await;
    browser.until_type("subscribeResponse").await["results"][0]["recovered"].clone()
}

fn numbers(tick: &Value) -> (&Value, &Value, &Value) {
    (&tick["epoch"], &tick["seq"], &tick["snapshot"])
}

#[tokio::test]
async fn gateways_that_were_not_there_know_the_last_tick_while_the_venue_is_quiet() {
    let nats = Nats::start_with_jetstream().await;
    let history = nats.record().await;
    // The name is encoded in the subject.
    let ingest = FakeIngest::start(&nats, "ctrader", 1, &["GER40.cash"]).await;
    for seq in 1..=300 {
        ingest.tick("GER40.cash", 1, seq).await;
    }
    stored(&history, &ingest, "GER40.cash", 256).await;
    for newest in [300, 301] {
        let gateway = Gateway::start(&nats, &[]).await;
        let (mut browser, tick) = first_tick(&gateway, "GER40.cash").await;
        assert_eq!(numbers(&tick), (&json!("1"), &json!(newest), &json!(true)));
        reads(&gateway, "read", 1.0).await;
        assert_eq!(gateway.metric("tickcast_history_ticks_filled_total"), 256.0);
        // What comes live goes on from there.
        ingest.tick("GER40.cash", 1, newest + 1).await;
        let tick = browser.until_type("tick").await;
        assert_eq!(numbers(&tick), (&json!("1"), &json!(newest + 1), &Value::Null));
        drop(browser);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_browser_goes_on_at_a_gateway_that_has_just_started() {
    let nats = Nats::start_with_jetstream().await;
    let history = nats.record().await;
    let ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    for seq in 1..=20 {
        ingest.tick("EURUSD", 1, seq).await;
        // Repeats for others who join are not ticks.
        ingest.snapshot("EURUSD", 1, seq).await;
    }
    ingest.state("EURUSD", 1, 20, SymbolState::Live).await;
    stored(&history, &ingest, "EURUSD", 41).await;
    let gateway = Gateway::start(&nats, &[]).await;
    let mut browser = ready_browser(&gateway).await;
    assert_eq!(resume(&mut browser, "EURUSD", "1", 15).await, true);
    for seq in 16..=20 {
        let tick = browser.until_type("tick").await;
        assert_eq!(numbers(&tick), (&json!("1"), &json!(seq), &Value::Null));
    }
    ingest.tick("EURUSD", 1, 21).await;
    assert_eq!(browser.until_type("tick").await["seq"], 21);
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn an_incarnation_that_was_replaced_is_not_sold_as_new() {
    let nats = Nats::start_with_jetstream().await;
    let history = nats.record().await;
    let mut old = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    for seq in 1..=5 {
        old.tick("EURUSD", 1, seq).await;
    }
    stored(&history, &old, "EURUSD", 5).await;
    old.kill();
    let ingest = FakeIngest::start(&nats, "ctrader", 2, &["EURUSD"]).await;
    let gateway = Gateway::start(&nats, &[]).await;
    let mut browser = ready_browser(&gateway).await;
    assert_eq!(resume(&mut browser, "EURUSD", "1", 3).await, false);
    reads(&gateway, "read", 1.0).await;
    assert_eq!(gateway.metric("tickcast_history_ticks_filled_total"), 0.0);
    assert!(browser.settle().await.iter().all(|message| message["type"] != "tick"));
    ingest.tick("EURUSD", 2, 1).await;
    let tick = browser.until_type("tick").await;
    assert_eq!(numbers(&tick), (&json!("2"), &json!(1), &json!(true)));
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_gateway_missed_while_it_was_cut_off_comes_from_history() {
    let nats = Nats::start_with_jetstream().await;
    let history = nats.record().await;
    let ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    let cable = Cable::lay(&nats).await;
    let gateway = Gateway::start_at(cable.url(), &[]).await;
    let mut browser = ready_browser(&gateway).await;
    browser.subscribe(&["EURUSD"]).await;
    reads(&gateway, "read", 1.0).await;
    ingest.tick("EURUSD", 1, 1).await;
    assert_eq!(browser.until_type("tick").await["seq"], 1);

    cable.cut();
    eventually("the gateway to notice", async || (gateway.metric("tickcast_bus_up") == 0.0).then_some(()))
        .await;
    for seq in 2..=4 {
        ingest.tick("EURUSD", 1, seq).await;
    }
    stored(&history, &ingest, "EURUSD", 4).await;
    cable.mend();
    for seq in 2..=4 {
        let tick = browser.until(|message| message["type"] == "tick" || message["type"] == "gap").await;
        assert_eq!(numbers(&tick), (&json!("1"), &json!(seq), &Value::Null));
    }
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_stream_had_not_yet_is_read_once_more_when_a_live_tick_shows_the_hole() {
    let nats = Nats::start_with_jetstream().await;
    let history = nats.record().await;
    let ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    ingest.tick("EURUSD", 1, 1).await;
    ingest.tick("EURUSD", 1, 2).await;
    stored(&history, &ingest, "EURUSD", 2).await;
    let gateway = Gateway::start(&nats, &[]).await;
    let (mut first, tick) = first_tick(&gateway, "EURUSD").await;
    assert_eq!(tick["seq"], 2);
    reads(&gateway, "read", 1.0).await;
    // To a channel that has 5 the two before are out of date; the stream has them all the same.
    for seq in [5, 3, 4] {
        ingest.tick("EURUSD", 1, seq).await;
    }
    first.until(|message| message["type"] == "tick" && message["seq"] == 5).await;
    reads(&gateway, "read", 2.0).await;
    let mut second = ready_browser(&gateway).await;
    assert_eq!(resume(&mut second, "EURUSD", "1", 2).await, true);
    for seq in 3..=5 {
        let message = second.until(|message| message["type"] == "tick" || message["type"] == "gap").await;
        assert_eq!(numbers(&message), (&json!("1"), &json!(seq), &Value::Null));
    }
    // It is done once: holes of later are gaps.
    ingest.tick("EURUSD", 1, 9).await;
    assert_eq!(second.until_type("gap").await["missed"], 3);
    drop((first, second));
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_history_channels_begin_with_what_comes_live() {
    for jetstream in [false, true] {
        let nats = if jetstream { Nats::start_with_jetstream().await } else { Nats::start().await };
        let ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
        let gateway = Gateway::start(&nats, &[]).await;
        let mut browser = ready_browser(&gateway).await;
        // The answer does not wait for a history there is none of.
        assert_eq!(resume(&mut browser, "EURUSD", "1", 3).await, false);
        reads(&gateway, "absent", 1.0).await;
        ingest.tick("EURUSD", 1, 4).await;
        assert_eq!(browser.until_type("tick").await["seq"], 4);
        drop(browser);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn many_channels_that_are_opened_at_once_are_read_together() {
    let nats = Nats::start_with_jetstream().await;
    let history = nats.record().await;
    let names: Vec<String> = (0..150).map(|number| format!("S{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ingest = FakeIngest::start(&nats, "ctrader", 1, &names).await;
    for seq in 1..=3 {
        for name in &names {
            ingest.tick(name, 1, seq).await;
        }
    }
    stored(&history, &ingest, names[149], 3).await;
    let gateway = Gateway::start(&nats, &[]).await;
    let mut browser = ready_browser(&gateway).await;
    let positions: Value = names.iter().map(|name| (*name, json!({"epoch": "1", "seq": 1}))).collect();
    browser.say(json!({"type": "subscribe", "symbols": names, "resume": positions})).await;
    let answer = browser.until_type("subscribeResponse").await;
    assert!(
        answer["results"].as_array().unwrap().iter().all(|result| result["recovered"] == true),
        "{answer}"
    );
    for _ in 0..2 * names.len() {
        assert_eq!(browser.until_type("tick").await["snapshot"], Value::Null);
    }
    reads(&gateway, "read", 150.0).await;
    assert_eq!(gateway.metric("tickcast_history_ticks_filled_total"), 450.0);
    assert!(gateway.metric("tickcast_history_reads_together_total") >= 1.0);
    drop(browser);
    gateway.stop().await;
}

/// Hundreds of browsers that come to a gateway that has just started.
const CROWD: usize = 300;

#[tokio::test]
async fn a_crowd_that_comes_back_at_once_goes_on_with_one_read_for_each_channel() {
    let nats = Nats::start_with_jetstream().await;
    let history = nats.record().await;
    let names = ["EURUSD", "GBPUSD", "USDJPY", "XAUUSD"];
    let ingest = FakeIngest::start(&nats, "ctrader", 1, &names).await;
    for seq in 1..=100 {
        for name in names {
            ingest.tick(name, 1, seq).await;
        }
    }
    for name in names {
        stored(&history, &ingest, name, 100).await;
    }
    let gateway = Gateway::start(&nats, &[]).await;
    ready_browser(&gateway).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(gateway.browser().await);
    }
    let positions: Value = names.iter().map(|name| (*name, json!({"epoch": "1", "seq": 97}))).collect();
    for browser in &mut crowd {
        browser.say(json!({"type": "subscribe", "symbols": names, "resume": positions})).await;
    }
    // Live ticks come meanwhile.
    for name in names {
        ingest.tick(name, 1, 101).await;
    }
    for browser in &mut crowd {
        let answer = browser.until_type("subscribeResponse").await;
        let results = answer["results"].as_array().unwrap();
        assert!(results.len() == 4 && results.iter().all(|result| result["recovered"] == true), "{answer}");
        let mut next: HashMap<String, u64> = names.map(|name| (name.to_owned(), 98)).into();
        while next.values().any(|next| *next < 102) {
            let tick = browser.until(|message| message["type"] == "tick" || message["type"] == "gap").await;
            let next = next.get_mut(tick["symbol"].as_str().unwrap()).unwrap();
            assert_eq!(numbers(&tick), (&json!("1"), &json!(*next), &Value::Null));
            *next += 1;
        }
    }
    assert_eq!(gateway.metric("tickcast_history_reads_total{result=\"read\"}"), 4.0);
    drop(crowd);
    gateway.stop().await;
}
