//! What clients see and what happens at the venue when the venue misbehaves.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::{Value, json};
use sim_e2e::{Client, Setup, Spine, eventually, tick_numbers};

/// A system with a client that gets ticks of two symbols.
async fn ticking(setup: Setup) -> (Spine, Client) {
    let spine = Spine::start(setup).await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD", "GBPUSD"]).await;
    client.tick("EURUSD").await;
    client.tick("GBPUSD").await;
    (spine, client)
}

/// Waits for ticks of both symbols with numbers above those before, in the same epoch.
async fn goes_on(client: &mut Client, before: &Value) {
    client.tick("GBPUSD").await;
    let tick = client.tick("EURUSD").await;
    assert_eq!(tick_numbers(&tick).0, tick_numbers(before).0, "the ingest is the same");
    assert!(tick_numbers(&tick).1 > tick_numbers(before).1, "{tick} after {before}");
    client.assert_unbroken();
}

fn code_of(status: &Value) -> &str {
    status["health"]["causeCode"].as_str().unwrap_or_default()
}

async fn heals_after_a_cut(fault: &str, causes: &[&str]) {
    let (spine, mut client) = ticking(Setup {
        // Long enough for the wait to be seen.
        ingest: &[("BACKOFF_MIN_MS", "1000"), ("BACKOFF_MAX_MS", "1500")],
        ..Setup::default()
    })
    .await;
    let before = client.tick("EURUSD").await;
    spine.sim.fault(fault).await;

    let status = client.status("reconnecting").await;
    assert!(status["attempt"].as_u64().unwrap() >= 1, "{status}");
    assert!(status["delay"].as_u64().unwrap() <= 1500, "{status}");
    assert!(causes.contains(&code_of(&status)), "{status}");
    assert!(!status["health"]["cause"].as_str().unwrap().is_empty());
    assert_ne!(status["health"]["link"], "up");
    client.status("connected").await;

    spine.sim.holds(&["EURUSD", "GBPUSD"]).await;
    assert_eq!(spine.sim.opened().await, 2);
    goes_on(&mut client, &before).await;
}

#[tokio::test]
async fn a_cut_link_is_made_again_with_everything_wanted_and_no_hole_unannounced() {
    heals_after_a_cut("cut", &["reset", "peer_closed"]).await;
}

#[tokio::test]
async fn a_cut_inside_a_frame_heals_like_any_other() {
    heals_after_a_cut("cut-inside-frame", &["reset", "peer_closed", "protocol"]).await;
}

#[tokio::test]
async fn a_half_open_link_is_found_by_its_silence_and_made_again() {
    let (spine, mut client) = ticking(Setup {
        ingest: &[("STALE_AFTER_MS", "1000"), ("SILENCE_TIMEOUT_MS", "2000"), ("CONNECT_TIMEOUT_MS", "1000")],
        ..Setup::default()
    })
    .await;
    let before = client.tick("EURUSD").await;
    spine.sim.fault("stall").await;

    let status = client
        .expect("the silence to be named", |message| {
            message["type"] == "status" && code_of(message) == "silence"
        })
        .await;
    assert_eq!(status["health"]["data"], "stale", "{status}");
    // New connections stay silent too.
    client
        .expect("an attempt to connect to take too long", |message| {
            message["type"] == "status" && code_of(message) == "connect_timeout"
        })
        .await;
    spine.sim.heal("stall").await;
    client
        .expect("the venue to be well on all axes", |message| {
            let health = &message["health"];
            [&health["link"], &health["auth"], &health["data"]] == ["up", "ok", "live"]
        })
        .await;
    spine.sim.holds(&["EURUSD", "GBPUSD"]).await;
    goes_on(&mut client, &before).await;
}

#[tokio::test]
async fn a_mute_venue_is_stale_and_resumes_on_the_same_connection() {
    let (spine, mut client) =
        ticking(Setup { ingest: &[("STALE_AFTER_MS", "1000")], ..Setup::default() }).await;
    let before = client.tick("EURUSD").await;
    spine.sim.fault("mute").await;

    let status = client.status("stale").await;
    let health = &status["health"];
    assert_eq!(
        [&health["link"], &health["auth"], &health["data"]],
        [&json!("up"), &json!("ok"), &json!("stale")]
    );
    assert_eq!(code_of(&status), "stale");
    assert!(health["lastTickAgeMs"].as_u64().unwrap() >= 900, "{status}");

    spine.sim.heal("mute").await;
    let status = client.status("tick_resumed").await;
    assert_eq!(status["health"]["data"], "live", "{status}");
    goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 1, "data that stops is no reason to drop a link that is alive");
    spine.sim.holds(&["EURUSD", "GBPUSD"]).await;
}

/// A level fault on the way to a session: attempts fail with this cause until it is switched off.
async fn connecting_fails(fault: &str, cause: &str, ingest: &'static [(&str, &str)]) {
    let (spine, mut client) = ticking(Setup { ingest, ..Setup::default() }).await;
    let before = client.tick("EURUSD").await;
    spine.sim.fault(fault).await;
    spine.sim.fault("cut").await;

    let status = client
        .expect(&format!("two attempts to fail with {cause}"), |message| {
            message["type"] == "status"
                && code_of(message) == cause
                && message["health"]["attempt"].as_u64() >= Some(2)
        })
        .await;
    assert_ne!(status["health"]["link"], "up", "{status}");
    spine.sim.heal(fault).await;
    client.status("connected").await;
    spine.sim.holds(&["EURUSD", "GBPUSD"]).await;
    goes_on(&mut client, &before).await;
}

/// Row 17 of the venue's pitfalls.
#[tokio::test]
async fn a_handshake_that_hangs_is_given_up_and_tried_again() {
    connecting_fails("hang-tls", "connect_timeout", &[("CONNECT_TIMEOUT_MS", "500")]).await;
}

#[tokio::test]
async fn a_venue_that_refuses_connections_is_tried_again() {
    connecting_fails("refuse", "refused", &[]).await;
}

#[tokio::test]
async fn refused_credentials_are_an_error_that_heals_by_itself() {
    let (mut spine, mut client) =
        ticking(Setup { ingest: &[("AUTH_RETRY_MS", "1000")], ..Setup::default() }).await;
    // A person must act, so this is one.
    spine.ingest.process.allow_error("venue refused the credentials");
    let before = client.tick("EURUSD").await;
    spine.sim.fault("reject-credentials").await;
    spine.sim.fault("cut").await;

    let status = client.status("error").await;
    assert_eq!(status["health"]["auth"], "refused", "{status}");
    assert_eq!(code_of(&status), "auth_refused");
    let opened = spine.sim.opened().await;
    eventually("another try in its time", async || {
        let now = spine.sim.opened().await;
        if now > opened { Ok(()) } else { Err(now) }
    })
    .await;
    spine.sim.heal("reject-credentials").await;
    let status = client.status("connected").await;
    assert_eq!(status["health"]["auth"], "ok");
    spine.sim.holds(&["EURUSD", "GBPUSD"]).await;
    goes_on(&mut client, &before).await;
}
