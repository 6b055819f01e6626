//! Two ingests for one account: one leads, the other stands by, whatever happens to either; the same for each venue.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]
#![allow(
    clippy::print_stderr,
    reason = "the times of takeovers are worth seeing where tests are run by hand"
)]

use std::time::Duration;

use serde_json::Value;
use sim_e2e::{Client, Ingest, Setup, Signal, Spine, Venue, eventually, fetch, for_each_venue, tick_numbers};
use tokio::time::Instant;

for_each_venue! {
    a_standby_connects_to_nothing_and_says_who_leads,
    a_killed_leader_is_replaced_within_five_seconds,
    a_leader_that_stops_hands_over_at_once,
    a_paused_standby_wakes_up_as_a_standby,
}

/// The promise: live again so soon after a `kill -9`.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// A system with a leader that serves a client, a standby, and the epoch of the leader.
async fn with_standby(setup: Setup) -> (Spine, Ingest, Client, u64) {
    let (spine, client, last) = Spine::ticking(setup).await;
    let standby = spine.standby().await;
    let (epoch, _) = tick_numbers(&last);
    assert_eq!(epoch, spine.ingest.leads().await);
    (spine, standby, client, epoch)
}

/// The first tick of the venue's first symbol that is not a snapshot, in an epoch after this one.
async fn live_after(spine: &Spine, client: &mut Client, epoch: u64) -> u64 {
    let [symbol, _] = spine.venue().symbols();
    let tick = client
        .expect("a live tick of a new epoch", |message| {
            message["type"] == "tick"
                && message["symbol"] == symbol
                && message.get("snapshot").is_none()
                && tick_numbers(message).0 > epoch
        })
        .await;
    tick_numbers(&tick).0
}

/// # Panics
/// Where, in any channel, a tick of one epoch came after one of a greater.
fn assert_epochs_only_grow(client: &Client) {
    let mut last: std::collections::HashMap<String, u64> = std::collections::HashMap::new();
    for message in client.seen_since(0).iter().filter(|message| message["type"] == "tick") {
        let (epoch, _) = tick_numbers(message);
        let before = last.insert(message["symbol"].as_str().unwrap().to_owned(), epoch).unwrap_or(0);
        assert!(before <= epoch, "{message} after epoch {before}");
    }
    client.assert_unbroken();
}

/// The venue's connections: id, and bytes it was sent on it.
async fn connections(spine: &Spine) -> Vec<(u64, u64)> {
    let status = spine.sim.status().await;
    let number = |connection: &Value, name: &str| connection[name].as_u64().unwrap();
    let connections = status["venue"]["connections"].as_array().unwrap();
    connections.iter().map(|one| (number(one, "id"), number(one, "received_bytes"))).collect()
}

/// How many operations on the lease an ingest has ended.
async fn looks(ingest: &Ingest) -> Result<u64, String> {
    let (_, metrics) = fetch(ingest.admin, "GET", "/metrics").await?;
    let count =
        metrics.lines().find_map(|line| line.strip_prefix("tickcast_leader_operation_seconds_count{"));
    count
        .and_then(|count| count.split_once("} ")?.1.parse().ok())
        .ok_or_else(|| format!("no count in {metrics}"))
}

async fn a_standby_connects_to_nothing_and_says_who_leads(venue: Venue) {
    let (spine, standby, _client, epoch) = with_standby(Setup::of(venue)).await;
    let role = standby.role().await.unwrap();
    assert_eq!(role["epoch"], epoch.to_string(), "{role}");
    assert!(role["leader"].as_str().unwrap().starts_with(&format!("{}-", venue.ingest())), "{role}");
    let (code, ready) = fetch(standby.admin, "GET", "/readyz").await.unwrap();
    assert_eq!(code, 200, "{ready}");
    assert!(ready.contains("standby") && ready.contains(&epoch.to_string()), "{ready}");
    let leader = format!("tickcast_leader{{venue=\"{}\"}}", venue.name());
    let (_, metrics) = fetch(standby.admin, "GET", "/metrics").await.unwrap();
    assert!(metrics.contains(&format!("{leader} 0")), "{metrics}");
    let (_, metrics) = fetch(spine.ingest.admin, "GET", "/metrics").await.unwrap();
    assert!(metrics.contains(&format!("{leader} 1")), "{metrics}");
    spine.sim.holds(&venue.symbols()).await;
    assert_eq!(spine.sim.opened().await, 1, "the standby has dialled");
}

async fn a_killed_leader_is_replaced_within_five_seconds(venue: Venue) {
    let (mut spine, standby, mut client, epoch) = with_standby(Setup::of(venue)).await;
    let killed = Instant::now();
    spine.ingest.process.kill_9();
    let next = live_after(&spine, &mut client, epoch).await;
    let took = killed.elapsed();
    eprintln!("live again {} ms after kill -9", took.as_millis());
    assert!(took < TAKEN_WITHIN, "live again after {took:?}");
    assert_eq!(next, standby.leads().await);
    spine.sim.holds(&venue.symbols()).await;
    assert_epochs_only_grow(&client);
}

async fn a_leader_that_stops_hands_over_at_once(venue: Venue) {
    // A TTL that would be noticed.
    let ingest = &[("LEADER_TTL_MS", "60000")];
    let (mut spine, standby, mut client, epoch) = with_standby(Setup { ingest, ..Setup::of(venue) }).await;
    let stopped = Instant::now();
    assert_eq!(spine.ingest.process.terminate().await.code(), Some(0));
    let next = live_after(&spine, &mut client, epoch).await;
    eprintln!("live again {} ms after SIGTERM", stopped.elapsed().as_millis());
    assert_eq!(next, standby.leads().await);
    // The first connection was closed before the second was opened: the venue never saw two.
    spine.sim.holds(&venue.symbols()).await;
    assert_eq!(spine.sim.opened().await, 2);
    assert_epochs_only_grow(&client);
}

#[tokio::test]
async fn a_leader_paused_past_its_term_wakes_up_silent() {
    let (mut spine, standby, mut client, epoch) = with_standby(Setup::default()).await;
    let [(old, _)] = connections(&spine).await[..] else { panic!("not one connection") };
    spine.ingest.process.signal(Signal::STOP);
    let paused = Instant::now();
    let next = live_after(&spine, &mut client, epoch).await;
    eprintln!("live again {} ms after SIGSTOP", paused.elapsed().as_millis());
    // The stopped process has a living socket at the venue, on which it says nothing.
    let before = connections(&spine).await;
    let sent_before = before.iter().find(|(id, _)| *id == old).expect("the old connection is there").1;

    spine.ingest.process.signal(Signal::CONT);
    eventually("the woken process to drop its socket", async || {
        let now = connections(&spine).await;
        let sent = now.iter().find(|(id, _)| *id == old).map(|(_, bytes)| *bytes);
        assert!(sent.is_none_or(|bytes| bytes == sent_before), "it has sent {sent:?}, before {sent_before}");
        if sent.is_none() { Ok(()) } else { Err("it is still there") }
    })
    .await;
    // What the venue has received in all is what those that are gone had sent before, and what the new one sends.
    let status = spine.sim.status().await;
    let total = status["venue"]["received_bytes"].as_u64().unwrap();
    let new = status["venue"]["connections"][0]["received_bytes"].as_u64().unwrap();
    assert_eq!(total - new, sent_before, "bytes left a process whose term was over");

    let expected = next.to_string();
    eventually("the woken process to stand by", async || {
        let role = spine.ingest.role().await?;
        let follows = role["role"] == "standby" && role["epoch"].as_str() == Some(expected.as_str());
        if follows { Ok(()) } else { Err(role.to_string()) }
    })
    .await;
    for _ in 0..20 {
        let tick = client.tick("EURUSD").await;
        assert_eq!(tick_numbers(&tick).0, next);
    }
    assert_epochs_only_grow(&client);
    assert_eq!(standby.leads().await, next);
    spine.sim.holds(&["EURUSD", "GBPUSD"]).await;
    assert_eq!(spine.sim.opened().await, 2);
}

async fn a_paused_standby_wakes_up_as_a_standby(venue: Venue) {
    let (spine, mut standby, mut client, epoch) = with_standby(Setup::of(venue)).await;
    standby.process.signal(Signal::STOP);
    // Far past the TTL of 3 s, counted by what the client sees.
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_secs(5) {
        client.tick(venue.symbols()[0]).await;
    }
    standby.process.signal(Signal::CONT);
    let woken = looks(&standby).await.unwrap();
    // The lease stood still for it alone: it tries to take over, is told that the lease has moved, and looks again.
    eventually("the standby to look again", async || {
        let count = looks(&standby).await?;
        if count >= woken + 3 { Ok(()) } else { Err(format!("{count} operations, {woken} when it woke")) }
    })
    .await;
    let role = standby.role().await.unwrap();
    assert_eq!((&role["role"], &role["epoch"]), (&"standby".into(), &epoch.to_string().into()));
    for _ in 0..20 {
        assert_eq!(tick_numbers(&client.tick(venue.symbols()[0]).await).0, epoch);
    }
    assert_eq!(spine.ingest.leads().await, epoch);
    assert_eq!(spine.sim.opened().await, 1);
}

#[tokio::test]
async fn without_jetstream_an_ingest_refuses_to_start_and_says_why() {
    let (code, log) = Spine::ingest_without_jetstream().await;
    assert_eq!(code, Some(1), "{log}");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("\"ERROR\"")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("no JetStream"), "{log}");
}

#[tokio::test]
async fn a_bus_that_lost_its_bucket_is_led_again_with_a_greater_epoch() {
    let (mut spine, standby, mut client, epoch) = with_standby(Setup::default()).await;
    spine.nats.kill_9();
    spine.nats.wipe();
    spine.nats.start_again();
    let next = live_after(&spine, &mut client, epoch).await;
    assert!(next > epoch);
    let roles = [spine.ingest.role().await.unwrap(), standby.role().await.unwrap()];
    assert_eq!(roles.iter().filter(|role| role["role"] == "leading").count(), 1, "{roles:?}");
    spine.sim.holds(&["EURUSD", "GBPUSD"]).await;
    assert_epochs_only_grow(&client);
}
