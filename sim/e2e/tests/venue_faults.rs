//! What clients see and what happens at the venue when the venue misbehaves; the same for each venue.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::json;
use sim_e2e::{Setup, Spine, Variables, Venue, axes, cause_code, eventually, for_each_venue};

for_each_venue! {
    a_cut_link_is_made_again_with_everything_wanted_and_no_hole_unannounced,
    a_cut_inside_a_frame_heals_like_any_other,
    a_half_open_link_is_found_by_its_silence_and_made_again,
    a_mute_venue_is_stale_and_resumes_on_the_same_connection,
    one_symbol_that_falls_silent_is_stale_while_the_other_ticks_on,
    a_handshake_that_hangs_is_given_up_and_tried_again,
    a_handshake_that_is_reset_is_tried_again,
    a_venue_that_refuses_connections_is_tried_again,
    refused_credentials_are_an_error_that_heals_by_itself,
    a_venue_that_writes_byte_by_byte_or_thousands_at_once_loses_no_connection,
}

async fn heals_after_a_cut(venue: Venue, fault: &str, causes: &[&str]) {
    let (spine, mut client, before) = Spine::ticking(Setup {
        // Long enough for the wait to be seen.
        ingest: &[("BACKOFF_MIN_MS", "1000"), ("BACKOFF_MAX_MS", "1500")],
        ..Setup::of(venue)
    })
    .await;
    spine.sim.fault(fault).await;

    let status = client.status("reconnecting").await;
    assert!(status["attempt"].as_u64().unwrap() >= 1, "{status}");
    assert!(status["delay"].as_u64().unwrap() <= 1500, "{status}");
    assert!(causes.contains(&cause_code(&status)), "{status}");
    assert!(!status["health"]["cause"].as_str().unwrap().is_empty());
    assert_ne!(status["health"]["link"], "up");
    client.status("connected").await;

    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 2);
}

async fn a_cut_link_is_made_again_with_everything_wanted_and_no_hole_unannounced(venue: Venue) {
    heals_after_a_cut(venue, "cut", &["reset", "peer_closed"]).await;
}

async fn a_cut_inside_a_frame_heals_like_any_other(venue: Venue) {
    heals_after_a_cut(venue, "cut-inside-frame", &["reset", "peer_closed", "protocol"]).await;
}

async fn a_half_open_link_is_found_by_its_silence_and_made_again(venue: Venue) {
    let (spine, mut client, before) = Spine::ticking(Setup {
        ingest: &[("STALE_AFTER_MS", "1000"), ("SILENCE_TIMEOUT_MS", "2000"), ("CONNECT_TIMEOUT_MS", "1000")],
        ..Setup::of(venue)
    })
    .await;
    spine.sim.fault("stall").await;

    let status = client.cause("silence").await;
    assert_eq!(status["health"]["data"], "stale", "{status}");
    // New connections stay silent too.
    client.cause("connect_timeout").await;
    spine.sim.heal("stall").await;
    client.well().await;
    spine.goes_on(&mut client, &before).await;
}

async fn a_mute_venue_is_stale_and_resumes_on_the_same_connection(venue: Venue) {
    let (spine, mut client, before) =
        Spine::ticking(Setup { ingest: &[("STALE_AFTER_MS", "1000")], ..Setup::of(venue) }).await;
    spine.sim.fault("mute").await;

    let status = client.status("stale").await;
    assert_eq!(axes(&status), ["up", "ok", "stale"]);
    assert_eq!(cause_code(&status), "stale");
    assert!(status["health"]["lastTickAgeMs"].as_u64().unwrap() >= 900, "{status}");

    spine.sim.heal("mute").await;
    let status = client.status("tick_resumed").await;
    assert_eq!(status["health"]["data"], "live", "{status}");
    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 1, "data that stops is no reason to drop a link that is alive");
}

async fn one_symbol_that_falls_silent_is_stale_while_the_other_ticks_on(venue: Venue) {
    let [silent, other] = venue.symbols();
    let setup = Setup {
        ingest: &[
            ("STALE_AFTER_MS", "1500"),
            ("SYMBOL_STALE_MIN_MS", "1000"),
            ("SYMBOL_STALE_MAX_MS", "1500"),
        ],
        ..Setup::of(venue)
    };
    let (spine, mut client, before) = Spine::ticking(setup).await;
    spine.sim.fault_with("mute", &json!({ "symbols": [silent] })).await;
    let state = client.symbol_state(silent, "stale").await;
    assert_eq!(state["code"], "STALE", "{state}");
    client.tick(other).await;
    spine.sim.heal("mute").await;
    client.symbol_state(silent, "live").await;
    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 1, "one silent symbol is no reason to drop a link");
}

/// A level fault on the way to a session: attempts fail with one of these causes until it is switched off.
async fn connecting_fails(venue: Venue, fault: &str, causes: &[&str], ingest: Variables) {
    let (spine, mut client, before) = Spine::ticking(Setup { ingest, ..Setup::of(venue) }).await;
    spine.sim.fault(fault).await;
    spine.sim.fault("cut").await;

    let status = client
        .expect(&format!("two attempts to fail with {causes:?}"), |message| {
            message["type"] == "status"
                && causes.contains(&cause_code(message))
                && message["health"]["attempt"].as_u64() >= Some(2)
        })
        .await;
    assert_ne!(status["health"]["link"], "up", "{status}");
    spine.sim.heal(fault).await;
    client.status("connected").await;
    spine.goes_on(&mut client, &before).await;
}

/// Row 17 of cTrader's pitfalls.
async fn a_handshake_that_hangs_is_given_up_and_tried_again(venue: Venue) {
    connecting_fails(venue, "hang-tls", &["connect_timeout"], &[("CONNECT_TIMEOUT_MS", "500")]).await;
}

async fn a_handshake_that_is_reset_is_tried_again(venue: Venue) {
    connecting_fails(venue, "reset-handshake", &["tls", "reset", "peer_closed"], &[]).await;
}

async fn a_venue_that_refuses_connections_is_tried_again(venue: Venue) {
    connecting_fails(venue, "refuse", &["refused"], &[]).await;
}

async fn refused_credentials_are_an_error_that_heals_by_itself(venue: Venue) {
    let (mut spine, mut client, before) =
        Spine::ticking(Setup { ingest: &[("AUTH_RETRY_MS", "1000")], ..Setup::of(venue) }).await;
    // A person must act, so this is one.
    spine.ingest.process.allow_error("venue refused the credentials");
    spine.sim.fault("reject-credentials").await;
    spine.sim.fault("cut").await;

    let status = client.status("error").await;
    assert_eq!(status["health"]["auth"], "refused", "{status}");
    assert_eq!(cause_code(&status), "auth_refused");
    let opened = spine.sim.opened().await;
    eventually("another try in its time", async || {
        let now = spine.sim.opened().await;
        if now > opened { Ok(()) } else { Err(now) }
    })
    .await;
    spine.sim.heal("reject-credentials").await;
    let status = client.status("connected").await;
    assert_eq!(status["health"]["auth"], "ok");
    spine.goes_on(&mut client, &before).await;
}

async fn a_venue_that_writes_byte_by_byte_or_thousands_at_once_loses_no_connection(venue: Venue) {
    let (spine, mut client, before) = Spine::ticking(Setup::of(venue)).await;
    spine.sim.fault("one-byte-writes").await;
    for _ in 0..10 {
        client.tick(venue.symbols()[0]).await;
    }
    spine.sim.heal("one-byte-writes").await;
    for _ in 0..3 {
        spine.sim.fault_with("burst", &json!({ "count": 3_000 })).await;
        client.tick(venue.symbols()[1]).await;
    }
    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 1);
    assert!(client.seen_since(0).iter().all(|message| message["status"] != "reconnecting"));
}
