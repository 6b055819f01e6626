//! What clients see when cTrader ends a login, speaks nonsense, or is away by its own word; on real sockets.
//!
//! With `venue_faults.rs` and `tokens.rs` these are the twelve faults that matter most: each ended feeds for hours in the
//! reports (facts, section 4), and each is told apart from the others by another part of the system.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::json;
use sim_e2e::{Setup, Spine};

/// The login ends on a socket that stays: it is named, each symbol says that it waits, and the login comes back on the
/// same connection (facts 3.11).
async fn the_login_comes_back(fault: &str) {
    let (spine, mut client, before) = Spine::ticking(Setup::default()).await;
    spine.sim.fault(fault).await;
    let waits = client
        .expect("a symbol that waits", |message| {
            message["type"] == "symbolState" && message["state"] == "pending"
        })
        .await;
    assert_eq!(waits["code"], "VENUE_DOWN", "{waits}");
    client.well().await;
    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 1, "the socket was good");
}

#[tokio::test]
async fn an_account_that_is_disconnected_logs_in_again_on_the_same_socket() {
    the_login_comes_back("account-disconnect").await;
}

#[tokio::test]
async fn tokens_that_are_said_to_be_void_end_in_a_login_and_not_in_a_refresh() {
    the_login_comes_back("token-invalidated").await;
}

/// The connection has to end; the next one works.
async fn the_next_connection_works(fault: &str, code: &str) {
    let (spine, mut client, before) = Spine::ticking(Setup::default()).await;
    spine.sim.fault(fault).await;
    let status = client.cause(code).await;
    assert!(!status["health"]["cause"].as_str().unwrap_or_default().is_empty(), "{status}");
    client.well().await;
    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 2);
}

#[tokio::test]
async fn an_application_that_is_disconnected_connects_anew() {
    the_next_connection_works("client-disconnect", "session_lost").await;
}

#[tokio::test]
async fn an_envelope_that_is_none_ends_the_connection_and_nothing_else() {
    the_next_connection_works("garbage-envelope", "protocol").await;
}

#[tokio::test]
async fn maintenance_is_named_with_its_end_and_waited_for() {
    let (spine, mut client, before) = Spine::ticking(Setup::default()).await;
    spine.sim.fault_with("maintenance", &json!({ "for_ms": 2_000 })).await;
    let status = client.cause("maintenance").await;
    assert!(status["health"]["cause"].as_str().unwrap_or_default().contains("until"), "{status}");
    client.well().await;
    spine.goes_on(&mut client, &before).await;
}

#[tokio::test]
async fn a_rate_limit_far_below_the_usual_slows_a_restore_down_and_does_not_break_it() {
    let (spine, mut client, before) = Spine::ticking(Setup::default()).await;
    spine.sim.fault_with("rate-limit", &json!({ "per_s": 2, "code": "BLOCKED_PAYLOAD_TYPE" })).await;
    spine.sim.fault("cut").await;
    client.status("reconnecting").await;
    client.well().await;
    spine.goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 2, "asking too often ends no connection");
}
