//! Each service asked to stop leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use sim_e2e::{Setup, Spine, Venue, eventually, for_each_venue};

for_each_venue! {
    a_stopped_gateway_sends_its_clients_away_and_withdraws_its_demand,
    a_stopped_ingest_closes_its_link_and_says_so,
    a_stopped_simulator_ends_with_0_and_comes_back_to_a_waiting_ingest,
    services_stop_in_time_while_the_bus_is_away,
}

async fn a_stopped_gateway_sends_its_clients_away_and_withdraws_its_demand(venue: Venue) {
    let mut spine = Spine::start(Setup {
        gateways: 2,
        // Nothing that ends within the test ends by this.
        gateway: &[("LEASE_TTL_MS", "600000")],
        ..Setup::of(venue)
    })
    .await;
    let [first, second] = venue.symbols();
    let mut leaving = spine.gateways[0].client().await;
    leaving.subscribe(&[second]).await;
    leaving.tick(second).await;
    let mut staying = spine.gateways[1].client().await;
    staying.subscribe(&[first]).await;
    staying.tick(first).await;
    spine.sim.holds(&[first, second]).await;

    let status = spine.gateways[0].process.terminate().await;
    assert_eq!(status.code(), Some(0));
    let goaway = leaving.expect("goaway", |message| message["type"] == "goaway").await;
    assert!(goaway["reconnectInMs"].as_u64().unwrap() <= 500, "{goaway}");
    assert_eq!(leaving.closed().await, 1001);
    spine.sim.holds(&[first]).await;
    staying.tick(first).await;

    // The client comes back where it is served.
    let mut moved = spine.gateways[1].client().await;
    moved.subscribe(&[second]).await;
    moved.tick(second).await;
}

async fn a_stopped_ingest_closes_its_link_and_says_so(venue: Venue) {
    let mut spine = Spine::start(Setup::of(venue)).await;
    let [first, _] = venue.symbols();
    let mut client = spine.client().await;
    client.subscribe(&[first]).await;
    client.tick(first).await;
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
    client.tick(first).await;
}

async fn a_stopped_simulator_ends_with_0_and_comes_back_to_a_waiting_ingest(venue: Venue) {
    let mut spine = Spine::start(Setup::of(venue)).await;
    let [first, _] = venue.symbols();
    let mut client = spine.client().await;
    client.subscribe(&[first]).await;
    client.tick(first).await;
    let status = spine.sim.process.terminate().await;
    assert_eq!(status.code(), Some(0));
    client.status("reconnecting").await;

    spine.restart_sim().await;
    client.status("connected").await;
    client.tick(first).await;
    spine.sim.holds(&[first]).await;
    assert!(client.is_open());
}

async fn services_stop_in_time_while_the_bus_is_away(venue: Venue) {
    let mut spine = Spine::start(Setup::of(venue)).await;
    let [first, _] = venue.symbols();
    let mut client = spine.client().await;
    client.subscribe(&[first]).await;
    client.tick(first).await;
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
