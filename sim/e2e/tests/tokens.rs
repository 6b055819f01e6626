//! Tokens that are renewed: kept in a file, used after it, and found again by the next life.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sim_e2e::{Setup, Spine, eventually};

/// Row 15 of the venue's pitfalls, from the expiry to the life after the next.
#[tokio::test]
async fn an_expired_token_is_renewed_kept_and_found_again_after_a_kill() {
    let mut spine = Spine::start(Setup {
        ingest: &[
            ("CTRADER_REFRESH_TOKEN", "r3fresh-of-the-trader-5d10"),
            ("CTRADER_TOKEN_FILE", "tokens.json"),
        ],
        sim: &[("SIM_REFRESH_TOKEN", "r3fresh-of-the-trader-5d10")],
        ..Setup::default()
    })
    .await;
    let mut client = spine.client().await;
    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    let file = spine.path().join("tokens.json");
    assert!(!file.exists(), "nothing was renewed yet");

    spine.sim.fault("expire-token").await;
    let text = eventually("the new tokens to be kept", async || fs::read_to_string(&file)).await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let tokens: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (access, refresh) =
        (tokens["accessToken"].as_str().unwrap(), tokens["refreshToken"].as_str().unwrap());
    assert!(access.ends_with("-1") && refresh.ends_with("-1"), "the pair after the first one");
    client.status("connected").await;
    client.tick("EURUSD").await;
    spine.sim.holds(&["EURUSD"]).await;
    assert_eq!(spine.sim.opened().await, 1, "the connection outlived it");

    // The configured pair is dead: only the file can open the account.
    spine.ingest.process.kill_9();
    client.status("disconnected").await;
    spine.restart_ingest().await;
    client.status("connected").await;
    client.tick("EURUSD").await;
    spine.sim.holds(&["EURUSD"]).await;
    let log = spine.ingest.process.log_text();
    assert!(!log.contains("t0ken-of") && !log.contains("r3fresh-of"), "no token in a log");
}
