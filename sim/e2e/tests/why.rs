//! Why a symbol is quiet: each part of the way broken in turn, and the gateway asked over HTTP; the same for each venue.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use serde_json::Value;
use sim_e2e::{Client, SECRETS, Setup, Signal, Spine, Venue, eventually, fetch_json, for_each_venue};

for_each_venue! {
    a_ticking_symbol_is_right_from_the_client_to_the_last_tick_and_on_the_gateway_of_its_client,
    a_venue_that_is_cut_off_is_named_as_the_link_with_the_next_attempt,
    a_venue_that_stands_still_is_named_by_its_silence,
    a_mute_venue_is_named_by_its_ticks,
    refused_credentials_are_named_as_the_login,
    a_killed_ingest_is_named_as_the_leader_with_its_last_word,
    a_paused_ingest_is_named_as_the_leader,
}

async fn ticking(setup: Setup) -> (Spine, Client) {
    let (spine, client, _) = Spine::ticking(setup).await;
    (spine, client)
}

/// The symbol that is asked about.
fn asked(spine: &Spine) -> &'static str {
    spine.venue().symbols()[0]
}

/// The answer of a gateway; whatever it says, it holds no secret.
async fn why(spine: &Spine, gateway: usize, symbol: &str) -> Result<Value, String> {
    let path = format!("/api/v1/why?source={}&symbol={symbol}", spine.venue().name());
    let mut answer = fetch_json(spine.gateways[gateway].addr, &path).await?;
    let text = answer.to_string();
    for (name, secret) in SECRETS {
        assert!(!text.contains(secret), "{name} in {text}");
    }
    if answer["success"] != true {
        return Err(text);
    }
    Ok(answer["data"].take())
}

/// Asks until this hop is the first that is not right and its words hold these.
async fn named(spine: &Spine, hop: &str, words: &str) -> Value {
    eventually(&format!("{hop} to be named with \"{words}\""), async || {
        let answer = why(spine, 0, asked(spine)).await?;
        let wrong = &answer["wrong"];
        let fits = wrong["name"] == hop && wrong["detail"].as_str().is_some_and(|d| d.contains(words));
        if fits { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await
}

/// Asks until it is named that the symbol has no prices: the ticks, or once they were asked for again, the subscription.
async fn without_prices(spine: &Spine) -> Value {
    eventually("the missing prices to be named", async || {
        let answer = why(spine, 0, asked(spine)).await?;
        let hops = answer["hops"].as_array().unwrap();
        let stale = hops.iter().any(|hop| {
            hop["name"] == "ticks" && hop["detail"].as_str().unwrap().contains("stale") && hop["ok"] == false
        });
        let named = ["subscription", "ticks"].iter().any(|name| answer["wrong"]["name"] == *name);
        if named && stale { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await
}

/// Asks until every hop is right.
async fn all_right(spine: &Spine) -> Value {
    eventually("every hop to be right", async || {
        let answer = why(spine, 0, asked(spine)).await?;
        if answer["ok"] == true { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await
}

/// The wrong hop says since when and what happens next.
fn is_complete(answer: &Value) {
    let wrong = &answer["wrong"];
    let (since, now) = (wrong["since"].as_i64(), answer["timestamp"].as_i64().unwrap());
    assert!(since.is_some_and(|since| since <= now && since > now - 120_000), "{answer}");
    assert!(!wrong["next"].as_str().unwrap().is_empty(), "{answer}");
    assert!(answer["summary"].as_str().unwrap().contains(wrong["detail"].as_str().unwrap()), "{answer}");
}

async fn a_ticking_symbol_is_right_from_the_client_to_the_last_tick_and_on_the_gateway_of_its_client(
    venue: Venue,
) {
    let (spine, _client) = ticking(Setup { gateways: 2, ..Setup::of(venue) }).await;
    let answer = all_right(&spine).await;
    let names: Vec<_> = answer["hops"].as_array().unwrap().iter().map(|hop| &hop["name"]).collect();
    assert_eq!(names[..4], ["client", "gateway", "bus", "leader"]);
    for name in ["link", "login", "subscription", "schedule", "ticks"] {
        assert!(names.iter().any(|known| *known == name), "{name} in {answer}");
    }
    // The other gateway has no client for it, and knows the rest of the way as well.
    let answer = why(&spine, 1, asked(&spine)).await.unwrap();
    assert_eq!(answer["wrong"]["name"], "client", "{answer}");
    assert!(answer["hops"].as_array().unwrap()[1..].iter().all(|hop| hop["ok"] == true), "{answer}");
    // Nobody wants this one anywhere.
    let unwanted = match venue {
        Venue::CTrader => "USDJPY",
        Venue::TradingView => "OANDA:USDJPY",
    };
    let answer = why(&spine, 0, unwanted).await.unwrap();
    assert_eq!(answer["wrong"]["name"], "client", "{answer}");
    if venue == Venue::CTrader {
        let answer = why(&spine, 0, "NOPE").await.unwrap();
        assert!(answer["wrong"]["detail"].as_str().unwrap().contains("offers no NOPE"), "{answer}");
    }
}

async fn a_venue_that_is_cut_off_is_named_as_the_link_with_the_next_attempt(venue: Venue) {
    let (spine, mut client) = ticking(Setup {
        ingest: &[("BACKOFF_MIN_MS", "2000"), ("BACKOFF_MAX_MS", "3000")],
        ..Setup::of(venue)
    })
    .await;
    spine.sim.fault("refuse").await;
    spine.sim.fault("cut").await;
    let answer = named(&spine, "link", "connection refused").await;
    is_complete(&answer);
    spine.sim.heal("refuse").await;
    client.tick(asked(&spine)).await;
    all_right(&spine).await;
}

async fn a_venue_that_stands_still_is_named_by_its_silence(venue: Venue) {
    let (spine, _client) = ticking(Setup {
        ingest: &[("STALE_AFTER_MS", "1000"), ("SILENCE_TIMEOUT_MS", "3000"), ("CONNECT_TIMEOUT_MS", "1000")],
        ..Setup::of(venue)
    })
    .await;
    spine.sim.fault("stall").await;
    // The prices stop first; only then is the link found dead.
    is_complete(&without_prices(&spine).await);
    is_complete(&named(&spine, "link", "").await);
    spine.sim.heal("stall").await;
    all_right(&spine).await;
}

async fn a_mute_venue_is_named_by_its_ticks(venue: Venue) {
    let (spine, _client) = ticking(Setup { ingest: &[("STALE_AFTER_MS", "1000")], ..Setup::of(venue) }).await;
    spine.sim.fault("mute").await;
    is_complete(&without_prices(&spine).await);
    spine.sim.heal("mute").await;
    all_right(&spine).await;
}

async fn refused_credentials_are_named_as_the_login(venue: Venue) {
    let (mut spine, _client) =
        ticking(Setup { ingest: &[("AUTH_RETRY_MS", "2000")], ..Setup::of(venue) }).await;
    spine.ingest.process.allow_error("venue refused the credentials");
    spine.sim.fault("reject-credentials").await;
    spine.sim.fault("cut").await;
    let words = match venue {
        Venue::CTrader => "CH_CLIENT_AUTH_FAILURE",
        Venue::TradingView => "bad auth token",
    };
    let answer = named(&spine, "login", words).await;
    is_complete(&answer);
    spine.sim.heal("reject-credentials").await;
    all_right(&spine).await;
}

async fn a_killed_ingest_is_named_as_the_leader_with_its_last_word(venue: Venue) {
    let (mut spine, _client) = ticking(Setup::of(venue)).await;
    spine.ingest.process.kill_9();
    let answer = named(&spine, "leader", "no beat for").await;
    is_complete(&answer);
    let detail = answer["wrong"]["detail"].as_str().unwrap();
    assert!(detail.contains("link up, login ok, data live"), "{answer}");
    spine.restart_ingest().await;
    all_right(&spine).await;
}

async fn a_paused_ingest_is_named_as_the_leader(venue: Venue) {
    let (mut spine, _client) = ticking(Setup::of(venue)).await;
    spine.ingest.process.signal(Signal::STOP);
    is_complete(&named(&spine, "leader", "").await);
    is_complete(&named(&spine, "leader", "no beat for").await);
    spine.ingest.process.signal(Signal::CONT);
    all_right(&spine).await;
}

#[tokio::test]
async fn a_bus_that_is_away_is_named_before_everything_behind_it() {
    let (mut spine, _client) = ticking(Setup::default()).await;
    spine.nats.kill_9();
    let answer = named(&spine, "bus", "not connected").await;
    is_complete(&answer);
    let hops = answer["hops"].as_array().unwrap();
    assert_eq!(
        hops.iter().filter(|hop| hop["ok"] == true).count(),
        2,
        "client and gateway are right: {answer}"
    );
    spine.nats.start_again();
    all_right(&spine).await;
}

#[tokio::test]
async fn a_name_the_venue_does_not_know_is_named_as_its_refusal() {
    let (spine, mut client) = ticking(Setup::of(Venue::TradingView)).await;
    client.subscribe(&["OANDA:NOSUCH"]).await;
    client.symbol_state("OANDA:NOSUCH", "refused").await;
    let answer = why(&spine, 0, "OANDA:NOSUCH").await.unwrap();
    assert_eq!(answer["wrong"]["name"], "subscription", "{answer}");
    assert!(answer["wrong"]["detail"].as_str().unwrap().contains("invalid symbol"), "{answer}");
    is_complete(&answer);
}
