//! What clients see when the venue ends a login, speaks nonsense, or is away by its own word; on real sockets.
//!
//! With `venue_faults.rs` and `tokens.rs` these are the twelve faults that matter most: each ended feeds for hours in the
//! reports (facts, section 4), and each is told apart from the others by another part of the system.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::{Value, json};
use sim_e2e::{Client, DEADLINE, Setup, Spine, tick_numbers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const BOTH: [&str; 2] = ["EURUSD", "GBPUSD"];

async fn ticking(setup: Setup) -> (Spine, Client, Value) {
    let spine = Spine::start(setup).await;
    let mut client = spine.client().await;
    client.subscribe(&BOTH).await;
    client.tick("GBPUSD").await;
    let before = client.tick("EURUSD").await;
    (spine, client, before)
}

/// Switches a fault on with parameters, which stand in the body of the request.
async fn fault_with(spine: &Spine, name: &str, params: &Value) {
    let body = params.to_string();
    let request = format!(
        "POST /faults/{name} HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let asking = async {
        let mut stream = TcpStream::connect(spine.sim.admin).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(DEADLINE, asking).await.expect("an answer of the simulator");
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
}

fn code_of(status: &Value) -> &str {
    status["health"]["causeCode"].as_str().unwrap_or_default()
}

/// Waits for a status that gives this cause.
async fn named(client: &mut Client, code: &str) -> Value {
    client
        .expect(&format!("a status with the cause {code}"), |message| {
            message["type"] == "status" && code_of(message) == code
        })
        .await
}

/// Waits until all three axes are well.
async fn well(client: &mut Client) {
    client
        .expect("the venue to be well on all axes", |message| {
            let health = &message["health"];
            [&health["link"], &health["auth"], &health["data"]] == ["up", "ok", "live"]
        })
        .await;
}

/// Waits for ticks of both symbols with numbers above those before, in the same epoch, and nothing missing unannounced.
async fn goes_on(client: &mut Client, before: &Value) {
    client.tick("GBPUSD").await;
    let tick = client.tick("EURUSD").await;
    assert_eq!(tick_numbers(&tick).0, tick_numbers(before).0, "the ingest is the same");
    assert!(tick_numbers(&tick).1 > tick_numbers(before).1, "{tick} after {before}");
    client.assert_unbroken();
}

/// The login ends on a socket that stays: it is named, each symbol says that it waits, and the login comes back on the
/// same connection (facts 3.11).
async fn the_login_comes_back(fault: &str) {
    let (spine, mut client, before) = ticking(Setup::default()).await;
    spine.sim.fault(fault).await;
    let waits = client
        .expect("a symbol that waits", |message| {
            message["type"] == "symbolState" && message["state"] == "pending"
        })
        .await;
    assert_eq!(waits["code"], "VENUE_DOWN", "{waits}");
    well(&mut client).await;
    goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 1, "the socket was good");
    spine.sim.holds(&BOTH).await;
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
    let (spine, mut client, before) = ticking(Setup::default()).await;
    spine.sim.fault(fault).await;
    let status = named(&mut client, code).await;
    assert!(!status["health"]["cause"].as_str().unwrap_or_default().is_empty(), "{status}");
    well(&mut client).await;
    goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 2);
    spine.sim.holds(&BOTH).await;
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
    let (spine, mut client, before) = ticking(Setup::default()).await;
    fault_with(&spine, "maintenance", &json!({ "for_ms": 2_000 })).await;
    let status = named(&mut client, "maintenance").await;
    assert!(status["health"]["cause"].as_str().unwrap_or_default().contains("until"), "{status}");
    well(&mut client).await;
    goes_on(&mut client, &before).await;
    spine.sim.holds(&BOTH).await;
}

#[tokio::test]
async fn one_symbol_that_falls_silent_is_stale_while_the_other_ticks_on() {
    let setup = Setup {
        ingest: &[
            ("STALE_AFTER_MS", "1500"),
            ("SYMBOL_STALE_MIN_MS", "1000"),
            ("SYMBOL_STALE_MAX_MS", "1500"),
        ],
        ..Setup::default()
    };
    let (spine, mut client, before) = ticking(setup).await;
    fault_with(&spine, "mute", &json!({ "symbols": ["EURUSD"] })).await;
    let state = client
        .expect("the silent symbol to be called stale", |message| {
            message["type"] == "symbolState" && message["symbol"] == "EURUSD" && message["state"] == "stale"
        })
        .await;
    assert_eq!(state["code"], "STALE", "{state}");
    client.tick("GBPUSD").await;
    spine.sim.heal("mute").await;
    client
        .expect("the symbol to be live again", |message| {
            message["type"] == "symbolState" && message["symbol"] == "EURUSD" && message["state"] == "live"
        })
        .await;
    goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 1, "one silent symbol is no reason to drop a link");
}

#[tokio::test]
async fn a_rate_limit_far_below_the_usual_slows_a_restore_down_and_does_not_break_it() {
    let (spine, mut client, before) = ticking(Setup::default()).await;
    fault_with(&spine, "rate-limit", &json!({ "per_s": 2, "code": "BLOCKED_PAYLOAD_TYPE" })).await;
    spine.sim.fault("cut").await;
    client.status("reconnecting").await;
    well(&mut client).await;
    goes_on(&mut client, &before).await;
    assert_eq!(spine.sim.opened().await, 2, "asking too often ends no connection");
    spine.sim.holds(&BOTH).await;
}
