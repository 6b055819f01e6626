//! Each service asked to stop leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use sim_e2e::{Setup, Spine, eventually};

#[tokio::test]
async fn a_stopped_gateway_sends_its_clients_away_and_withdraws_its_demand() {
    let mut spine = Spine::start(Setup {
        gateways: 2,
        // Nothing that ends within the test ends by this.
        gateway: &[("LEASE_TTL_MS", "600000")],
        ..Setup::default()
    })
    .await;
    let mut leaving = spine.gateways[0].client().await;
    leaving.subscribe(&["USDJPY"]).await;
    leaving.tick("USDJPY").await;
    let mut staying = spine.gateways[1].client().await;
    staying.subscribe(&["EURUSD"]).await;
    staying.tick("EURUSD").await;
    spine.sim.holds(&["EURUSD", "USDJPY"]).await;

    let status = spine.gateways[0].process.terminate().await;
    assert_eq!(status.code(), Some(0));
    let goaway = leaving.expect("goaway", |message| message["type"] == "goaway").await;
    assert!(goaway["reconnectInMs"].as_u64().unwrap() <= 500, "{goaway}");
    assert_eq!(leaving.closed().await, 1001);
    spine.sim.holds(&["EURUSD"]).await;
    staying.tick("EURUSD").await;

    // The client comes back where it is served.
    let mut moved = spine.gateways[1].client().await;
    moved.subscribe(&["USDJPY"]).await;
    moved.tick("USDJPY").await;
}

#[tokio::test]
async fn a_stopped_ingest_closes_its_link_and_says_so() {
    let mut spine = Spine::start(Setup::default()).await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    let status = spine.ingest.process.terminate().await;
    assert_eq!(status.code(), Some(0));
    eventually("the venue to have no connection", async || match spine.sim.connections().await.len() {
        0 => Ok(()),
        open => Err(open),
    })
    .await;
    // Its own last words, not the gateway's guess from its silence.
    let status = client.status("disconnected").await;
    assert_eq!(status["health"]["causeCode"], "stopping", "{status}");

    spine.restart_ingest().await;
    client.status("connected").await;
    client.tick("EURUSD").await;
}

#[tokio::test]
async fn a_stopped_simulator_ends_with_0_and_comes_back_to_a_waiting_ingest() {
    let mut spine = Spine::start(Setup::default()).await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    let status = spine.sim.process.terminate().await;
    assert_eq!(status.code(), Some(0));
    client.status("reconnecting").await;
    assert!(client.is_open());
}

#[tokio::test]
async fn services_stop_in_time_while_the_bus_is_away() {
    let mut spine = Spine::start(Setup::default()).await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    spine.nats.kill_9();
    client
        .expect("the venue to be out of reach", |message| {
            message["type"] == "status" && message["status"] != "connected"
        })
        .await;
    assert_eq!(spine.gateways[0].process.terminate().await.code(), Some(0));
    assert_eq!(client.closed().await, 1001);
    assert_eq!(spine.ingest.process.terminate().await.code(), Some(0));
}
