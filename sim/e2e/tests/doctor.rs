//! What `--doctor` of an ingest says about a venue that is well and about each way in which it is not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::json;
use sim_e2e::{
    Place, Process, SECRETS, Setup, Sim, Spine, Variables, Venue, binary, eventually, for_each_venue,
};

for_each_venue! {
    a_venue_that_is_well_passes_every_step_on_one_short_connection,
    a_host_without_an_address_is_told,
    a_port_nobody_listens_on_is_told,
    a_handshake_that_hangs_and_a_certificate_nobody_trusts_are_told_apart,
    wrong_credentials_are_told_and_no_secret_with_them,
    a_venue_that_answers_nothing_or_sends_no_prices_is_told,
    a_running_ingest_keeps_the_only_connection_unless_the_person_insists,
}

/// Nothing listens there.
const NO_BUS: &str = "nats://127.0.0.1:1";

type Change<'a> = &'a [(&'a str, &'a str)];

/// Runs the doctor to its end: exit code and lines.
async fn examine(sim: &Sim, bus: &str, arguments: &[&str], change: Change<'_>) -> (Option<i32>, Vec<String>) {
    let mut environment = sim.ingest_environment(bus);
    for (name, value) in change {
        environment.retain(|(known, _)| known != name);
        environment.push(((*name).to_owned(), (*value).to_owned()));
    }
    let place = Place::new();
    let program = binary(&sim.venue.ingest());
    let mut doctor = Process::start(place.path(), "doctor", &program, arguments, &environment);
    let status = doctor.ended().await;
    let text = doctor.log_text();
    for (name, secret) in SECRETS {
        assert!(!text.contains(secret), "{name} is shown:\n{text}");
    }
    (status.code(), text.lines().map(ToOwned::to_owned).collect())
}

/// The verdict of each step, in order.
fn verdicts(lines: &[String]) -> Vec<(&str, &str)> {
    lines
        .iter()
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect()
}

fn line<'a>(lines: &'a [String], step: &str) -> &'a str {
    let is_of = |line: &&String| line.split_whitespace().nth(1) == Some(step);
    lines.iter().find(is_of).unwrap_or_else(|| panic!("no line of {step} in {lines:#?}"))
}

async fn sim(venue: Venue) -> (Place, Sim) {
    sim_with(venue, &[]).await
}

async fn sim_with(venue: Venue, sim: Variables) -> (Place, Sim) {
    let place = Place::new();
    let sim = Sim::start(&place, &Setup { sim, ..Setup::of(venue) }).await;
    (place, sim)
}

/// The settings a venue's doctor names: where it is, its trust anchor, its credentials.
fn names(venue: Venue) -> [&'static str; 3] {
    match venue {
        Venue::CTrader => ["CTRADER_HOST", "CTRADER_CA_FILE", "CTRADER_CLIENT_ID"],
        Venue::TradingView => ["TRADINGVIEW_URL", "TRADINGVIEW_CA_FILE", "TRADINGVIEW_AUTH_TOKEN"],
    }
}

/// The doctor ends with 1, this step is wrong with these words, those before are right and those after not looked at.
async fn finds(sim: &Sim, change: Change<'_>, step: &str, words: &[&str]) -> Vec<String> {
    let (code, lines) = examine(sim, NO_BUS, &["--doctor"], change).await;
    assert_eq!(code, Some(1), "{lines:#?}");
    let verdicts = verdicts(&lines);
    let steps: Vec<_> = verdicts.iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, ["settings", "running", "dns", "tcp", "tls", "login", "symbols", "tick"], "{lines:#?}");
    let at = steps.iter().position(|known| *known == step).unwrap();
    for (index, (verdict, _)) in verdicts.iter().enumerate() {
        let expected = match index {
            1 => "note",
            _ if index < at => "ok",
            _ if index == at => "WRONG",
            _ => "skipped",
        };
        assert_eq!(*verdict, expected, "{lines:#?}");
    }
    let line = line(&lines, step);
    for words in words {
        assert!(line.contains(words), "{words} in {line}");
    }
    lines
}

async fn a_venue_that_is_well_passes_every_step_on_one_short_connection(venue: Venue) {
    let (_place, sim) = sim(venue).await;
    let (code, lines) = examine(&sim, NO_BUS, &["--doctor"], &[]).await;
    assert_eq!(code, Some(0), "{lines:#?}");
    let right = ["settings", "dns", "tcp", "tls", "login", "symbols", "tick"];
    for step in right {
        assert!(line(&lines, step).starts_with("ok "), "{lines:#?}");
    }
    assert!(line(&lines, "running").starts_with("note "), "{lines:#?}");
    assert!(line(&lines, "dns").contains("127.0.0.1"), "{lines:#?}");
    let (symbols, tick) = match venue {
        Venue::CTrader => ("50 symbols", "EURUSD 1."),
        Venue::TradingView => ("any name", "BITSTAMP:BTCUSD 6"),
    };
    assert!(line(&lines, "symbols").contains(symbols), "{lines:#?}");
    assert!(line(&lines, "tick").contains(tick), "{lines:#?}");
    assert_eq!(sim.opened().await, 1);
    eventually("the connection to be gone", async || match sim.connections().await.len() {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_all_told_and_nothing_is_dialled() {
    let (_place, sim) = sim(Venue::CTrader).await;
    let change = [("CTRADER_CLIENT_SECRET", ""), ("CTRADER_ACCOUNT_ID", "mine")];
    let (code, lines) = examine(&sim, NO_BUS, &["--doctor"], &change).await;
    assert_eq!(code, Some(1), "{lines:#?}");
    for (line, name) in lines.iter().zip(["CTRADER_CLIENT_SECRET", "CTRADER_ACCOUNT_ID"]) {
        assert!(line.starts_with("WRONG   settings  ") && line.contains(name), "{lines:#?}");
    }
    let change = [("CTRADER_CA_FILE", "/nonexistent/anchor.pem")];
    let (code, lines) = examine(&sim, NO_BUS, &["--doctor"], &change).await;
    assert_eq!(code, Some(1), "{lines:#?}");
    assert!(line(&lines, "settings").contains("/nonexistent/anchor.pem"), "{lines:#?}");
    assert_eq!(sim.opened().await, 0);
}

async fn a_host_without_an_address_is_told(venue: Venue) {
    let (_place, sim) = sim(venue).await;
    let [host, ..] = names(venue);
    let elsewhere = match venue {
        Venue::CTrader => "no-such-host.invalid",
        Venue::TradingView => "wss://no-such-host.invalid/x",
    };
    finds(&sim, &[(host, elsewhere)], "dns", &["no-such-host.invalid", "check", host]).await;
}

async fn a_port_nobody_listens_on_is_told(venue: Venue) {
    let (_place, sim) = sim(venue).await;
    sim.fault("refuse").await;
    finds(&sim, &[], "tcp", &["connection refused", "check", names(venue)[0]]).await;
}

async fn a_handshake_that_hangs_and_a_certificate_nobody_trusts_are_told_apart(venue: Venue) {
    let (_place, sim) = sim(venue).await;
    let [_, ca_file, _] = names(venue);
    finds(&sim, &[(ca_file, "")], "tls", &["TLS failed", ca_file]).await;
    sim.fault("hang-tls").await;
    let change = [("CONNECT_TIMEOUT_MS", "500")];
    finds(&sim, &change, "tls", &["the TLS handshake is not finished within 500 ms"]).await;
}

async fn wrong_credentials_are_told_and_no_secret_with_them(venue: Venue) {
    const WRONG: &str = "not-the-secret-88d1";
    let (_place, sim) = sim(venue).await;
    let (secret, words) = match venue {
        Venue::CTrader => ("CTRADER_CLIENT_SECRET", "CH_CLIENT_AUTH_FAILURE"),
        Venue::TradingView => ("TRADINGVIEW_AUTH_TOKEN", "bad auth token"),
    };
    let lines = finds(&sim, &[(secret, WRONG)], "login", &[words, "check", names(venue)[2]]).await;
    assert!(!lines.concat().contains(WRONG), "{lines:#?}");
    assert_eq!(sim.opened().await, 1, "nothing is tried twice");
}

#[tokio::test]
async fn a_wrong_account_is_told() {
    let (_place, sim) = sim(Venue::CTrader).await;
    let change = [("CTRADER_ACCOUNT_ID", "999")];
    finds(&sim, &change, "login", &["CH_CTID_TRADER_ACCOUNT_NOT_FOUND"]).await;
    assert_eq!(sim.opened().await, 1, "nothing is tried twice");
}

#[tokio::test]
async fn a_venue_whose_terms_were_not_accepted_is_not_dialled() {
    let (_place, sim) = sim(Venue::TradingView).await;
    let change = [("TRADINGVIEW_URL", "wss://data.tradingview.com/socket.io/websocket")];
    let (code, lines) = examine(&sim, NO_BUS, &["--doctor"], &change).await;
    assert_eq!((code, lines.len()), (Some(1), 1), "{lines:#?}");
    assert!(lines[0].starts_with("WRONG   settings  TRADINGVIEW_LIVE: must be accept-terms"), "{lines:#?}");
}

#[tokio::test]
async fn an_upgrade_that_is_refused_and_a_name_that_is_refused_are_told() {
    let (_place, sim) = sim(Venue::TradingView).await;
    sim.fault_with("handshake-status", &json!({ "code": "403" })).await;
    finds(&sim, &[], "login", &["403 Forbidden", "TRADINGVIEW_ORIGIN"]).await;
    sim.heal_all().await;
    sim.fault("bad-symbol").await;
    finds(&sim, &[], "tick", &["BITSTAMP:BTCUSD is refused: invalid symbol"]).await;
}

#[tokio::test]
async fn an_account_of_the_other_environment_is_told_to_look_at_the_host() {
    let (_place, sim) = sim_with(Venue::CTrader, &[("SIM_ACCOUNTS", "1000003:live")]).await;
    let change = [("CTRADER_ACCOUNT_ID", "1000003")];
    finds(&sim, &change, "login", &["CANT_ROUTE_REQUEST", "is a live account", "check CTRADER_HOST"]).await;
}

#[tokio::test]
async fn a_token_that_has_run_out_is_told_and_not_renewed() {
    let (place, sim) = sim(Venue::CTrader).await;
    sim.fault("expire-token").await;
    let file = place.path().join("tokens.json");
    let change = [("CTRADER_REFRESH_TOKEN", "sim-refresh"), ("CTRADER_TOKEN_FILE", file.to_str().unwrap())];
    finds(&sim, &change, "login", &["OA_AUTH_TOKEN_EXPIRED", "get a new token"]).await;
    assert!(!file.exists(), "nothing was traded for, so there is nothing to keep");
    let status = sim.status().await;
    assert!(!status.to_string().contains("ProtoOARefreshTokenReq"), "{status}");
}

async fn a_venue_that_answers_nothing_or_sends_no_prices_is_told(venue: Venue) {
    let (_place, sim) = sim(venue).await;
    sim.fault("mute").await;
    let change = [("STALE_AFTER_MS", "1000")];
    // One venue shows its last price all the same, the other none.
    finds(&sim, &change, "tick", &[" within 100"]).await;
    sim.heal("mute").await;
    sim.fault(match venue {
        Venue::CTrader => "no-answer",
        Venue::TradingView => "no-greeting",
    })
    .await;
    finds(&sim, &[("CONNECT_TIMEOUT_MS", "1000")], "login", &["does not answer the login within"]).await;
}

async fn a_running_ingest_keeps_the_only_connection_unless_the_person_insists(venue: Venue) {
    let spine = Spine::start(Setup::of(venue)).await;
    let bus = spine.nats.url();
    assert_eq!(spine.sim.opened().await, 1);
    let (code, lines) = examine(&spine.sim, &bus, &["--doctor"], &[]).await;
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(line(&lines, "running").contains("link up, login ok"), "{lines:#?}");
    for step in ["dns", "tcp", "tls", "login", "symbols", "tick"] {
        assert!(line(&lines, step).starts_with("skipped"), "{lines:#?}");
    }
    assert_eq!(spine.sim.opened().await, 1);

    let (code, lines) = examine(&spine.sim, &bus, &["--doctor", "--force"], &[]).await;
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(line(&lines, "running").starts_with("note "), "{lines:#?}");
    assert!(line(&lines, "tick").starts_with("ok "), "{lines:#?}");
    assert_eq!(spine.sim.opened().await, 2, "the running one was not disturbed");
    let mut client = spine.client().await;
    let [symbol, _] = venue.symbols();
    client.subscribe(&[symbol]).await;
    client.tick(symbol).await;
    assert_eq!(spine.sim.opened().await, 2);
}
