//! What clients see when a TradingView data socket ends a session, a connection or a handshake in its own ways.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::{Value, json};
use sim_e2e::{Client, Setup, Spine, Variables, Venue};

fn setup() -> Setup {
    Setup::of(Venue::TradingView)
}

/// Two ticks of each symbol.
async fn both_tick(client: &mut Client) {
    for _ in 0..2 {
        for symbol in Venue::TradingView.symbols() {
            client.tick(symbol).await;
        }
    }
}

/// The fault is passed over: the connection stays, nothing is told of the venue, and prices go on.
async fn is_passed_over(fault: &str, params: &Value) {
    let (spine, mut client, before) = Spine::ticking(setup()).await;
    client.back_to(0);
    client.well().await;
    let mark = client.mark();
    spine.sim.fault_with(fault, params).await;
    both_tick(&mut client).await;
    spine.sim.heal_all().await;
    both_tick(&mut client).await;
    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 1);
    assert!(client.seen_since(mark).iter().all(|message| message["type"] != "status"));
}

#[tokio::test]
async fn a_session_that_breaks_is_replaced_on_the_same_connection() {
    is_passed_over("critical-error", &json!({})).await;
}

#[tokio::test]
async fn nonsense_between_frames_and_messages_nobody_knows_are_passed_over() {
    is_passed_over("garbage-between-frames", &json!({})).await;
    is_passed_over("unknown-message", &json!({ "count": 100 })).await;
    is_passed_over("foreign-session", &json!({})).await;
}

#[tokio::test]
async fn heartbeats_are_answered_in_whatever_company_they_come() {
    is_passed_over("coalesce-heartbeats", &json!({ "which": "before" })).await;
    is_passed_over("heartbeat-interval", &json!({ "every_ms": 50 })).await;
}

/// The connection ends with this cause; the next one works.
async fn the_next_connection_works(fault: &str, params: &Value, code: &str) {
    let (spine, mut client, before) = Spine::ticking(setup()).await;
    spine.sim.fault_with(fault, params).await;
    let status = client.cause(code).await;
    assert!(!status["health"]["cause"].as_str().unwrap_or_default().is_empty(), "{status}");
    client.well().await;
    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 2);
}

#[tokio::test]
async fn an_error_of_the_protocol_costs_the_connection_and_its_words_are_told() {
    the_next_connection_works("protocol-error", &json!({ "reason": "wrong data" }), "venue_error").await;
}

#[tokio::test]
async fn a_connection_that_is_closed_is_made_again() {
    the_next_connection_works("close", &json!({ "code": "1001" }), "peer_closed").await;
}

/// The way to a session fails with this cause until the fault is over.
async fn connecting_fails(fault: &str, params: Value, ingest: Variables, code: &str) {
    let (spine, mut client, before) = Spine::ticking(Setup { ingest, ..setup() }).await;
    spine.sim.fault_with(fault, &params).await;
    spine.sim.fault("cut").await;
    client.cause(code).await;
    spine.sim.heal(fault).await;
    client.well().await;
    spine.goes_on(&mut client, &before).await;
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_told_apart_by_what_it_says() {
    const SOON: Variables = &[("AUTH_RETRY_MS", "1000")];
    connecting_fails("handshake-status", json!({ "code": "403" }), SOON, "venue_error").await;
    connecting_fails("handshake-status", json!({ "code": "429", "retry_after_s": 1 }), SOON, "rate_limited")
        .await;
    connecting_fails("handshake-status", json!({ "code": "503" }), SOON, "venue_away").await;
}

#[tokio::test]
async fn an_upgrade_that_hangs_is_given_up() {
    connecting_fails("hang-handshake", json!({}), &[("CONNECT_TIMEOUT_MS", "500")], "connect_timeout").await;
}
