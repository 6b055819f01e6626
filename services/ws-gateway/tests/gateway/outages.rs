//! Venue, ingest, bus and gateway away and back.

use std::time::{Duration, Instant};

use crate::support::{FakeIngest, Gateway, Nats, eventually};
use serde_json::json;
use tickcast_model::{AuthState, Cause, CauseKind, DataState, LinkState};

#[tokio::test]
async fn what_is_subscribed_while_the_venue_is_unknown_becomes_live_or_refused_by_itself() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats, &[]).await;
    let mut browser = gateway.browser().await;
    browser.say(json!({"type":"connect"})).await;
    let (ctrader, ib) = (browser.hear().await, browser.hear().await);
    assert_eq!((&ctrader["source"], &ib["source"]), (&json!("ctrader"), &json!("ib")));
    assert_eq!(ctrader["availableSymbols"], json!([]));

    let results = browser.subscribe(&["eur/usd", "NOPE"]).await;
    for result in &results {
        assert_eq!((&result["status"], &result["code"]), (&json!("subscribed"), &json!("VENUE_DOWN")));
    }
    for name in ["eur/usd", "NOPE"] {
        let state = browser.until_type("symbolState").await;
        assert_eq!((&state["symbol"], &state["state"]), (&json!(name), &json!("pending")));
    }

    let mut ingest = FakeIngest::start(&nats, "ctrader", 3, &["EURUSD"]).await;
    let refused = browser.until(|m| m["state"] == "refused").await;
    assert_eq!((&refused["symbol"], &refused["code"]), (&json!("NOPE"), &json!("UNKNOWN_SYMBOL")));
    ingest.wanted(&["EURUSD"]).await;
    ingest.tick("EURUSD", 3, 1).await;
    assert_eq!(browser.until_type("tick").await["snapshot"], true);
    assert_eq!(browser.until(|m| m["type"] == "symbolState").await["state"], "live");
    let connected = browser.see_status("ctrader", "connected").await;
    assert_eq!(connected["availableSymbols"], json!(["EURUSD"]));
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn a_venues_troubles_are_told_and_hide_no_other_venue() {
    let nats = Nats::start().await;
    let ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    let _other = FakeIngest::start(&nats, "ib", 1, &["AAPL"]).await;
    let gateway = Gateway::start(&nats, &[]).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ib", "connected").await;
    let connected = browser.see_status("ctrader", "connected").await;
    assert_eq!(connected["health"]["link"], "up");
    assert_eq!(connected["health"]["linkSince"], 1);

    ingest
        .say(|health| {
            (health.link, health.auth, health.attempt) = (LinkState::Down, AuthState::None, 2);
            health.retry_in_ms = Some(60_000);
            health.cause = Some(Cause::new(CauseKind::PeerClosed, ""));
        })
        .await;
    let status = browser.until_status("ctrader", "reconnecting").await;
    assert_eq!(status["attempt"], 2);
    let delay = status["delay"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&delay), "{delay}");
    assert_eq!(status["health"]["causeCode"], "peer_closed");
    let results = browser.subscribe(&["EURUSD"]).await;
    assert_eq!(results[0]["code"], "VENUE_DOWN");
    assert_eq!(browser.hear_data().await["code"], "VENUE_DOWN");
    assert_eq!(browser.see_status("ib", "connected").await["availableSymbols"], json!(["AAPL"]));

    ingest.say(|h| (h.link, h.auth, h.data) = (LinkState::Up, AuthState::Ok, DataState::Live)).await;
    browser.until_status("ctrader", "connected").await;
    ingest.say(|h| h.data = DataState::Stale).await;
    browser.until_status("ctrader", "stale").await;
    ingest.say(|h| h.data = DataState::Live).await;
    browser.until_status("ctrader", "tick_resumed").await;
    browser.see_status("ctrader", "connected").await;
    ingest.say(|h| (h.link, h.auth) = (LinkState::Down, AuthState::Refused)).await;
    browser.until_status("ctrader", "error").await;
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn a_dead_ingest_is_noticed_and_its_successor_is_told_what_is_wanted() {
    let nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    let gateway = Gateway::start(&nats, &[]).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "connected").await;
    browser.subscribe(&["EURUSD"]).await;
    ingest.wanted(&["EURUSD"]).await;
    ingest.tick("EURUSD", 1, 1).await;
    browser.until_type("tick").await;

    let killed = Instant::now();
    ingest.kill();
    let gone = browser.until_status("ctrader", "disconnected").await;
    assert_eq!(gone["health"]["causeCode"], "ingest_gone");
    assert!(killed.elapsed() > Duration::from_secs(2));
    let mut successor = FakeIngest::start(&nats, "ctrader", 2, &["EURUSD"]).await;
    successor.wanted(&["EURUSD"]).await;
    successor.tick("EURUSD", 2, 1).await;
    let tick = browser.until_type("tick").await;
    assert_eq!((&tick["epoch"], &tick["snapshot"]), (&json!("2"), &json!(true)));
    browser.see_status("ctrader", "connected").await;
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn the_bus_goes_and_comes_back_and_so_do_the_prices() {
    let mut nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    let gateway = Gateway::start(&nats, &[]).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "connected").await;
    browser.subscribe(&["EURUSD"]).await;
    ingest.wanted(&["EURUSD"]).await;
    ingest.tick("EURUSD", 1, 1).await;
    browser.until_type("tick").await;
    let leases = ingest.leases().len();

    nats.kill();
    let gone = browser.until_status("ctrader", "disconnected").await;
    assert_eq!(gone["health"]["causeCode"], "bus_down");
    assert_eq!(gateway.http("GET", "/readyz", &[]).await.0, 503);
    assert_eq!(gateway.http("GET", "/healthz", &[]).await.0, 200);
    // New wishes are taken meanwhile.
    let results = browser.subscribe(&["EURUSD"]).await;
    assert_eq!(results[0]["code"], "VENUE_DOWN");

    nats.begin().await;
    browser.until_status("ctrader", "connected").await;
    let lease = ingest.lease("a lease that asks for the last ticks", leases, |lease| lease.repeat_last).await;
    assert_eq!(lease.symbols, [crate::support::symbol("EURUSD")]);
    // What came while nobody could hear it is a gap.
    ingest.tick("EURUSD", 1, 5).await;
    assert_eq!(browser.until_type("gap").await["missed"], 3);
    assert_eq!(browser.until_type("tick").await["seq"], 5);
    eventually("readiness", async || (gateway.http("GET", "/readyz", &[]).await.0 == 200).then_some(()))
        .await;
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_starts_without_the_bus_and_finds_it_later() {
    let mut nats = Nats::start().await;
    nats.kill();
    let gateway = Gateway::begin(&nats, &[]).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "ws-open").await;
    let gone = browser.until_status("ctrader", "disconnected").await;
    assert_eq!(gone["health"]["causeCode"], "bus_down");
    nats.begin().await;
    let _ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    browser.until_status("ctrader", "connected").await;
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stopping_gateway_moves_its_clients_and_withdraws_its_leases() {
    let nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD"]).await;
    let gateway = Gateway::start(&nats, &[("DRAIN_MS", "1000")]).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "connected").await;
    browser.subscribe(&["EURUSD"]).await;
    let lease = ingest.wanted(&["EURUSD"]).await;

    gateway.context.stop.cancel();
    let goaway = browser.until_type("goaway").await;
    assert!(goaway["reconnectInMs"].as_u64().unwrap() <= 1_000);
    // Ticks flow until the client has moved.
    ingest.tick("EURUSD", 1, 1).await;
    browser.until_type("tick").await;
    assert_eq!(browser.closed_with().await, 1001);
    let (addr, holder) = (gateway.addr, lease.holder.clone());
    gateway.stop().await;
    let last = ingest.lease("the withdrawal", 0, |lease| lease.ttl_ms == 0).await;
    assert!(last.holder == holder && last.symbols.is_empty() && last.generation > lease.generation);
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_gateway_without_clients_stops_at_once() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats, &[("DRAIN_MS", "600000")]).await;
    gateway.stop().await;
}
