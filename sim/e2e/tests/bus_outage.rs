//! The bus goes away and comes back; the venue's link has nothing to do with it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::Value;
use sim_e2e::{Setup, Signal, Spine, Venue, eventually, fetch, for_each_venue, tick_numbers};

for_each_venue! {
    the_venue_link_outlives_a_bus_that_is_back_within_the_term_and_clients_hear_what_they_missed,
    a_bus_that_stays_away_ends_the_term_and_its_return_begins_another,
    everything_comes_up_when_the_bus_comes_last,
    a_bus_that_hangs_is_noticed_and_what_it_held_back_does_no_harm,
}

/// A term that no outage of these tests outlasts.
const LONG_TERM: &[(&str, &str)] = &[("LEADER_TTL_MS", "60000")];

async fn not_ready_because_of_the_bus(name: &str, admin: std::net::SocketAddr) {
    eventually(&format!("{name} to say that the bus is away"), async || {
        match fetch(admin, "GET", "/readyz").await? {
            (503, body) if body.contains("bus") => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        }
    })
    .await;
}

async fn the_venue_link_outlives_a_bus_that_is_back_within_the_term_and_clients_hear_what_they_missed(
    venue: Venue,
) {
    let [first, second] = venue.symbols();
    let mut spine = Spine::start(Setup { gateways: 2, ingest: LONG_TERM, ..Setup::of(venue) }).await;
    let mut clients = Vec::new();
    for gateway in &spine.gateways {
        let mut client = gateway.client().await;
        client.subscribe(&[first, second]).await;
        client.tick(second).await;
        clients.push(client);
    }
    spine.nats.kill_9();

    for gateway in &spine.gateways {
        not_ready_because_of_the_bus("the gateway", gateway.admin).await;
    }
    not_ready_because_of_the_bus("the ingest", spine.ingest.admin).await;
    let mut before = Vec::new();
    for client in &mut clients {
        let status = client
            .expect("the venue to be out of reach", |message| {
                message["type"] == "status" && message["status"] != "connected"
            })
            .await;
        assert!(!status["health"]["cause"].as_str().unwrap_or_default().is_empty(), "no cause in {status}");
        let ticks = client.seen_since(0);
        let tick = ticks.iter().rfind(|message| message["type"] == "tick" && message["symbol"] == first);
        before.push(tick.cloned().unwrap());
    }
    // The venue goes on ticking to the ingest meanwhile, or there would be nothing to miss.
    spine.sim.holds(&[first, second]).await;

    spine.nats.start_again();
    for (client, before) in clients.iter_mut().zip(&before) {
        client.status("connected").await;
        let tick = client.tick(first).await;
        assert_eq!(tick_numbers(&tick).0, tick_numbers(before).0);
        assert!(tick_numbers(&tick).1 > tick_numbers(before).1);
        for _ in 0..10 {
            client.tick(second).await;
            client.tick(first).await;
        }
        let findings = client.findings();
        assert!(findings.gaps >= 1 && findings.missed >= 1, "{findings:?}\n{}", client.transcript());
        client.assert_unbroken();
        let gap = client.seen_since(0).into_iter().find(|message| message["type"] == "gap").unwrap();
        let number = |name: &str| gap.get(name).and_then(Value::as_u64).unwrap();
        assert_eq!(number("missed"), number("to") - number("from") + 1, "{gap}");
    }
    for gateway in &spine.gateways {
        gateway.ready().await;
    }
    spine.ingest.ready().await;
    assert_eq!(spine.sim.opened().await, 1, "the venue's link was dropped");
    spine.sim.holds(&[first, second]).await;
}

/// While the bus is away the leader lease cannot be renewed: nobody can know any more that they are the only one, so the
/// one connection is closed before another process could believe the same.
async fn a_bus_that_stays_away_ends_the_term_and_its_return_begins_another(venue: Venue) {
    let [first, _] = venue.symbols();
    let mut spine = Spine::start(Setup::of(venue)).await;
    let mut client = spine.client().await;
    client.subscribe(&[first]).await;
    let before = tick_numbers(&client.tick(first).await);
    assert_eq!(before.0, spine.ingest.leads().await);

    spine.nats.kill_9();
    eventually("the venue to have no connection", async || match spine.sim.connections().await.len() {
        0 => Ok(()),
        open => Err(open),
    })
    .await;
    assert_eq!(spine.ingest.role().await.unwrap()["role"], "standby");
    spine.nats.start_again();
    let epoch = spine.ingest.leads().await;
    assert!(epoch > before.0);
    let tick = client
        .expect("a tick of the new term", |message| {
            message["type"] == "tick" && tick_numbers(message).0 == epoch
        })
        .await;
    assert_eq!(tick["snapshot"], true, "{tick}");
    for _ in 0..5 {
        client.tick(first).await;
    }
    spine.sim.holds(&[first]).await;
    assert_eq!(spine.sim.opened().await, 2);
}

async fn everything_comes_up_when_the_bus_comes_last(venue: Venue) {
    let [first, _] = venue.symbols();
    let mut spine = Spine::start(Setup::of(venue)).await;
    spine.nats.kill_9();
    spine.ingest.process.kill_9();
    spine.restart_ingest().await;
    not_ready_because_of_the_bus("the ingest", spine.ingest.admin).await;
    let mut client = spine.client().await;
    // Wanted while nothing can be known: accepted, and served as soon as it can be.
    client.subscribe(&[first]).await;
    spine.nats.start_again();
    client.tick(first).await;
    spine.ingest.ready().await;
    spine.sim.holds(&[first]).await;
}

async fn a_bus_that_hangs_is_noticed_and_what_it_held_back_does_no_harm(venue: Venue) {
    let [first, second] = venue.symbols();
    let mut spine = Spine::start(Setup { ingest: LONG_TERM, ..Setup::of(venue) }).await;
    let mut client = spine.client().await;
    client.subscribe(&[first, second]).await;
    client.tick(first).await;
    spine.nats.signal(Signal::STOP);
    client
        .expect("the venue to be out of reach", |message| {
            message["type"] == "status" && message["status"] == "disconnected"
        })
        .await;
    // Its sockets take bytes meanwhile; only an unanswered ping tells that nobody reads them.
    not_ready_because_of_the_bus("the ingest", spine.ingest.admin).await;
    not_ready_because_of_the_bus("the gateway", spine.gateways[0].admin).await;
    let before = client.seen_since(0).into_iter().rfind(|message| message["type"] == "tick");
    let before = before.unwrap();

    spine.nats.signal(Signal::CONT);
    client.status("connected").await;
    for _ in 0..20 {
        let tick = client.tick(first).await;
        assert_eq!(tick_numbers(&tick).0, tick_numbers(&before).0);
        client.tick(second).await;
    }
    client.assert_unbroken();
    spine.sim.holds(&[first, second]).await;
    assert_eq!(spine.sim.opened().await, 1, "the venue's link was dropped");
}
