//! Processes that end without a chance to tidy up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::time::Duration;

use serde_json::Value;
use sim_e2e::{Setup, Spine, Venue, eventually, for_each_venue, tick_numbers};
use tokio::time::Instant;

for_each_venue! {
    a_killed_ingest_is_noticed_and_a_new_one_knows_all_demand,
    an_ingest_paused_past_its_term_is_gone_and_comes_back_with_a_new_one,
}

async fn a_killed_ingest_is_noticed_and_a_new_one_knows_all_demand(venue: Venue) {
    let [first, second] = venue.symbols();
    let mut spine = Spine::start(Setup {
        // A renewal is far away, so demand that is known soon was asked for.
        gateway: &[("LEASE_TTL_MS", "60000")],
        ..Setup::of(venue)
    })
    .await;
    let mut client = spine.client().await;
    client.subscribe(&[first, second]).await;
    client.tick(second).await;
    let before = client.tick(first).await;

    spine.ingest.process.kill_9();
    let status = client.status("disconnected").await;
    assert_eq!(status["health"]["causeCode"], "ingest_gone", "{status}");
    assert!(!status["health"]["cause"].as_str().unwrap().is_empty());

    spine.restart_ingest().await;
    client.status("connected").await;
    spine.sim.holds(&[first, second]).await;
    let tick = client
        .expect("a tick of the new ingest", |message| {
            message["type"] == "tick"
                && message["symbol"] == first
                && tick_numbers(message).0 > tick_numbers(&before).0
        })
        .await;
    let (epoch, seq) = tick_numbers(&tick);
    for next in seq + 1..seq + 10 {
        assert_eq!(tick_numbers(&client.tick(first).await), (epoch, next));
    }
    client.tick(second).await;
    assert_eq!(client.findings().epoch_changes, 2, "one for each symbol: {}", client.transcript());
}

async fn an_ingest_paused_past_its_term_is_gone_and_comes_back_with_a_new_one(venue: Venue) {
    let [first, _] = venue.symbols();
    let mut spine = Spine::start(Setup::of(venue)).await;
    let mut client = spine.client().await;
    client.subscribe(&[first]).await;
    let before = client.tick(first).await;
    spine.ingest.process.signal(sim_e2e::Signal::STOP);
    client.status("disconnected").await;
    spine.ingest.process.signal(sim_e2e::Signal::CONT);
    client.status("connected").await;
    let epoch = spine.ingest.leads().await;
    assert!(epoch > tick_numbers(&before).0);
    client
        .expect("a tick of the new term", |message| {
            message["type"] == "tick" && tick_numbers(message).0 == epoch
        })
        .await;
    spine.sim.holds(&[first]).await;
    assert_eq!(spine.sim.opened().await, 2, "the socket of the old term was used again");
}

#[tokio::test]
async fn a_killed_gateways_demand_ends_with_its_lease_and_nobody_else_notices() {
    let mut spine = Spine::start(Setup { gateways: 2, ..Setup::default() }).await;
    let mut dying = spine.gateways[0].client().await;
    dying.subscribe(&["USDJPY", "EURUSD"]).await;
    dying.tick("USDJPY").await;
    let mut other = spine.gateways[1].client().await;
    other.subscribe(&["EURUSD"]).await;
    other.tick("EURUSD").await;
    spine.sim.holds(&["EURUSD", "USDJPY"]).await;

    let mark = other.mark();
    let killed = Instant::now();
    spine.gateways[0].process.kill_9();
    assert_eq!(dying.closed().await, 1006);
    // The lease (3 s) may be almost new or almost at its end when its holder dies, renewed at a third of it.
    eventually("the venue to keep only what is still wanted", async || {
        let held = spine.sim.connections().await;
        if held.len() == 1 && held[0].len() == 1 { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
    assert!(killed.elapsed() > Duration::from_secs(1), "the lease ended before its time");
    spine.sim.holds(&["EURUSD"]).await;

    for _ in 0..5 {
        other.tick("EURUSD").await;
    }
    // The symbol's state may be told late: what it became when the other client came.
    let expected = |message: &Value| message["type"] == "tick" || message["state"] == "live";
    let noticed: Vec<_> = other.seen_since(mark).into_iter().filter(|message| !expected(message)).collect();
    assert!(noticed.is_empty(), "{noticed:?}");
    assert_eq!(spine.sim.opened().await, 1);
}
