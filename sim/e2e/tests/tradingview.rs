//! A venue without a list of its symbols: any name may be asked for, exactly as it is written there, and the venue says which
//! it does not know, and which come late.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]
#![allow(
    clippy::print_stderr,
    reason = "how soon a refusal comes is worth seeing where tests are run by hand"
)]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use sim_e2e::{
    DEADLINE, Ingest, SECRETS, Setup, Spine, Venue, axes, cause_code, eventually, fetch_json, tick_numbers,
};
use tickcast_bus::{decode_channel_event, tick_subject};
use tickcast_model::{Body, Symbol, VenueId};
use tokio::time::{Instant, timeout};

/// Quotes in real time, prices computed by the venue, a name beyond ASCII, and a key with a session of its own.
const NAMES: [&str; 5] = [
    "OANDA:EURUSD",
    "BITSTAMP:BTCUSD*1000",
    "1/XAUUSD",
    "BIST:ŞİŞE",
    r#"={"session":"extended","symbol":"NASDAQ:AAPL"}"#,
];

fn setup() -> Setup {
    Setup::of(Venue::TradingView)
}

fn is_tick(message: &Value, symbol: &str) -> bool {
    message["type"] == "tick" && message["symbol"] == symbol
}

#[tokio::test]
async fn the_venue_is_connected_and_says_that_it_has_no_list() {
    let spine = Spine::start(setup()).await;
    let mut client = spine.client().await;
    client.send(json!({"type": "connect"})).await;
    let status = client
        .expect("the venue connected, with what it offers", |message| {
            message["type"] == "status" && message["availableSymbols"].is_array()
        })
        .await;
    assert_eq!((&status["source"], &status["status"]), (&json!("tradingview"), &json!("connected")));
    assert_eq!((&status["availableSymbols"], &status["open"]), (&json!([]), &json!(true)));
    assert_eq!(axes(&status), ["up", "ok", "idle"]);
    let told = fetch_json(spine.gateways[0].addr, "/api/v1/symbols?source=tradingview").await.unwrap();
    assert_eq!(told["data"]["open"], true, "{told}");
}

#[tokio::test]
async fn each_name_comes_as_it_was_asked_for_with_a_snapshot_and_then_every_tick() {
    let spine = Spine::start(setup()).await;
    let mut client = spine.client().await;
    let answer = client.subscribe(&NAMES).await;
    for (result, name) in answer["results"].as_array().unwrap().iter().zip(NAMES) {
        assert_eq!((&result["symbol"], &result["status"]), (&json!(name), &json!("subscribed")), "{answer}");
    }
    spine.sim.holds(&NAMES).await;
    for name in NAMES {
        client.back_to(0);
        let mut last = tick_numbers(&client.tick(name).await);
        for _ in 0..5 {
            let tick = client.tick(name).await;
            assert_eq!(tick_numbers(&tick), (last.0, last.1 + 1), "{tick}");
            assert!(tick["price"].as_f64().unwrap() > 0.0, "{tick}");
            last = tick_numbers(&tick);
        }
    }
    client.back_to(0);
    let tick =
        client.expect("a quote", |message| is_tick(message, NAMES[0]) && message["bid"].is_number()).await;
    assert!(tick["bid"].as_f64() <= tick["ask"].as_f64(), "{tick}");

    // A client that comes later begins with what is known, and another spelling is another symbol.
    let mut later = spine.client().await;
    later.subscribe(&NAMES).await;
    for name in NAMES {
        later.back_to(0);
        assert_eq!(later.tick(name).await["snapshot"], true);
    }
    later.subscribe(&["1XAUUSD"]).await;
    later.symbol_state("1XAUUSD", "refused").await;
    later.send(json!({"type": "getSubscriptions"})).await;
    let held = later.expect("its subscriptions", |message| message["type"] == "subscriptions").await;
    let mut symbols: Vec<_> =
        held["symbols"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    symbols.retain(|name| *name != "1XAUUSD");
    symbols.sort_unstable();
    let mut expected = NAMES;
    expected.sort_unstable();
    assert_eq!(symbols, expected);
}

#[tokio::test]
async fn on_the_bus_each_name_has_a_subject_of_its_own_and_is_written_out_inside() {
    let spine = Spine::start(setup()).await;
    let bus = async_nats::connect(spine.nats.url()).await.unwrap();
    let venue = VenueId::new("tradingview").unwrap();
    let mut client = spine.client().await;
    for name in NAMES {
        let symbol = Symbol::new(name).unwrap();
        let mut channel = bus.subscribe(tick_subject(&venue, &symbol)).await.unwrap();
        client.subscribe(&[name]).await;
        loop {
            let message = timeout(DEADLINE, channel.next()).await.expect("a tick in time").unwrap();
            let event = decode_channel_event(&message.payload).unwrap();
            assert_eq!(event.symbol.as_str(), name);
            if matches!(event.body, Body::Tick(_)) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn trades_sizes_volume_change_and_session_reach_clients_and_the_bus_alike() {
    let spine = Spine::start(setup()).await;
    let bus = async_nats::connect(spine.nats.url()).await.unwrap();
    let name = NAMES[0];
    let subject = tick_subject(&VenueId::new("tradingview").unwrap(), &Symbol::new(name).unwrap());
    let mut channel = bus.subscribe(subject).await.unwrap();
    let mut client = spine.client().await;
    client.subscribe(&[name]).await;
    let mut told = HashMap::new();
    for _ in 0..10 {
        let message = timeout(DEADLINE, channel.next()).await.expect("a tick in time").unwrap();
        let event = decode_channel_event(&message.payload).unwrap();
        let Body::Tick(tick) = event.body else { continue };
        let details = tick.details.expect("the venue tells more than prices");
        told.insert(event.position.seq, (details, tick.last.expect("it was traded")));
    }
    let mut volumes = HashSet::new();
    let common = *told.keys().max().unwrap();
    client.back_to(0);
    loop {
        let tick = client.tick(name).await;
        let seq = tick["seq"].as_u64().unwrap();
        let Some((details, last)) = told.get(&seq) else { continue };
        assert_eq!(tick["last"].as_f64(), last.with_digits(0).to_string().parse().ok(), "{tick}");
        let members = ["bidSize", "askSize", "volume", "change", "changePercent"];
        for (member, number) in members.into_iter().zip(details.numbers()) {
            let text = number.expect("all of them").with_digits(0).to_string();
            assert_eq!(tick[member].as_f64(), text.parse().ok(), "{member} of {tick}");
        }
        assert_eq!(
            (&tick["session"], details.session.as_ref().unwrap().as_str()),
            (&json!("market"), "market")
        );
        volumes.insert(tick["volume"].to_string());
        if seq == common {
            break;
        }
    }
    assert!(volumes.len() > 1, "it grows: {volumes:?}");
}

#[tokio::test]
async fn a_name_nobody_knows_is_refused_with_the_venues_reason_and_not_by_a_timeout() {
    let (spine, mut client, before) = Spine::ticking(setup()).await;
    let asked = Instant::now();
    let answer = client.subscribe(&["OANDA:NOSUCH", "OANDA:USDJPY"]).await;
    // Nobody but the venue knows that there is no such name.
    assert_eq!(answer["results"][0]["status"], "subscribed", "{answer}");
    let mark = client.mark();
    let refused = client
        .expect_within(Duration::from_secs(5), "the refusal", |message| {
            message["type"] == "symbolState" && message["state"] == "refused"
        })
        .await;
    eprintln!("refused {} ms after it was asked for", asked.elapsed().as_millis());
    assert_eq!(refused["symbol"], "OANDA:NOSUCH", "{refused}");
    assert_eq!(refused["code"], "SYMBOL_REFUSED", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("invalid symbol"), "{refused}");
    client.back_to(mark);
    client.tick("OANDA:USDJPY").await;
    for symbol in Venue::TradingView.symbols() {
        client.tick(symbol).await;
    }
    let tick = client.tick("OANDA:EURUSD").await;
    assert_eq!(tick_numbers(&tick).0, tick_numbers(&before).0);
    assert_eq!(spine.sim.opened().await, 1, "one bad name costs no connection");
    // Who asks for it later is told the same.
    let mut later = spine.client().await;
    later.subscribe(&["OANDA:NOSUCH"]).await;
    let told = later.symbol_state("OANDA:NOSUCH", "refused").await;
    assert_eq!(told["message"], refused["message"]);
}

#[tokio::test]
async fn late_prices_say_by_how_much_for_as_long_as_they_are_late() {
    let (spine, mut client, _) = Spine::ticking(setup()).await;
    client.subscribe(&["NYSE:IBM"]).await;
    for _ in 0..3 {
        let tick = client.tick("NYSE:IBM").await;
        assert_eq!(tick["delayedS"], 900, "{tick}");
    }
    assert!(client.tick("OANDA:EURUSD").await.get("delayedS").is_none());
    spine.sim.fault_with("delayed", &json!({ "symbols": ["OANDA:EURUSD"], "delay_s": 600 })).await;
    let late = |message: &Value| is_tick(message, "OANDA:EURUSD") && message["delayedS"] == 600;
    client.expect("it to come late", late).await;
    assert!(client.tick("OANDA:GBPUSD").await.get("delayedS").is_none());
    spine.sim.heal("delayed").await;
    client
        .expect("it to be in time again", |message| {
            is_tick(message, "OANDA:EURUSD") && message.get("delayedS").is_none()
        })
        .await;
    // Of which nobody says how late they are, nobody says that they are live.
    spine.sim.fault("no-mode").await;
    client.subscribe(&["OANDA:USDJPY"]).await;
    for _ in 0..3 {
        let tick = client.tick("OANDA:USDJPY").await;
        assert_eq!(tick["delayedS"], 0, "{tick}");
    }
    spine.sim.heal("no-mode").await;
    client
        .expect("it to be said in time", |message| {
            is_tick(message, "OANDA:USDJPY") && message.get("delayedS").is_none()
        })
        .await;
}

#[tokio::test]
async fn outside_its_market_hours_a_quiet_symbol_is_closed_and_neither_stale_nor_asked_for_again() {
    // Symbols are closed after 5 s without a tick at the latest, before all of the venue could be called stale.
    let quick = &[("STALE_AFTER_MS", "10000")];
    let beats = &[("SIM_HEARTBEAT_MS", "500")];
    let (spine, mut client, before) = Spine::ticking(Setup { ingest: quick, sim: beats, ..setup() }).await;
    let asked = spine.sim.requests("quote_add_symbols").await;
    for phase in ["pre_market", "holiday"] {
        let mark = client.mark();
        spine.sim.fault_with("weekend", &json!({ "which": phase })).await;
        for symbol in Venue::TradingView.symbols() {
            client.back_to(mark);
            let closed = client.symbol_state(symbol, "closed").await;
            assert_eq!(closed["code"], "MARKET_CLOSED", "{closed}");
        }
        client.back_to(mark);
        client.expect("the venue to be idle", |message| axes(message) == ["up", "ok", "idle"]).await;
        // Longer than anything could be silent that should tick.
        let beats = spine.sim.requests("heartbeat").await;
        eventually("some heartbeats", async || {
            let heard = spine.sim.requests("heartbeat").await - beats;
            if heard >= 6 { Ok(()) } else { Err(heard) }
        })
        .await;
        assert!(client.seen_since(mark).iter().all(|message| message["state"] != "stale"), "{phase}");
        assert_eq!(spine.sim.requests("quote_add_symbols").await, asked, "{phase}");
        spine.sim.heal("weekend").await;
        client.well().await;
    }
    spine.goes_on(&mut client, &before).await;
}

#[tokio::test]
async fn with_a_token_prices_are_in_time_and_a_bad_one_is_shown_once_until_there_is_another() {
    const TOKEN: &[(&str, &str)] = &[("TRADINGVIEW_AUTH_TOKEN_FILE", "token"), ("AUTH_RETRY_MS", "500")];
    let mut spine = Spine::start(setup()).await;
    let file = spine.path().join("token");
    fs::write(&file, format!("{}\n", SECRETS[2].1)).unwrap();
    let mut client = spine.client().await;
    client.subscribe(&["NYSE:IBM"]).await;
    spine.ingest.process.terminate().await;
    spine.restart_ingest_with(TOKEN).await;
    client
        .expect("it to be in time", |message| {
            is_tick(message, "NYSE:IBM") && message["snapshot"] != true && message.get("delayedS").is_none()
        })
        .await;

    spine.ingest.process.terminate().await;
    client.status("disconnected").await;
    fs::write(&file, "n0t-the-token-88d1").unwrap();
    let (opened, shown) = (spine.sim.opened().await, spine.sim.requests("set_auth_token").await);
    spine.restart_ingest().await;
    spine.ingest.process.allow_error("venue refused the credentials");
    let status = client.status("error").await;
    assert_eq!((&status["health"]["link"], &status["health"]["auth"]), (&json!("down"), &json!("refused")));
    assert_eq!(cause_code(&status), "auth_refused");
    let told = client
        .expect("what a person must do", |message| {
            let cause = message["health"]["cause"].as_str().unwrap_or_default();
            message["type"] == "status" && cause.contains("not shown again")
        })
        .await;
    let cause = told["health"]["cause"].as_str().unwrap();
    assert!(cause.contains("TRADINGVIEW_AUTH_TOKEN_FILE"), "{cause}");
    eventually("more tries", async || {
        let tries = status_of(&spine.ingest).await?["attempt"].as_u64().unwrap_or_default();
        if tries >= 4 { Ok(()) } else { Err(tries.to_string()) }
    })
    .await;
    // Not even a handshake is begun with it.
    assert_eq!(spine.sim.opened().await, opened + 1);
    assert_eq!(spine.sim.requests("set_auth_token").await, shown + 1);

    fs::write(&file, format!("{}.2", SECRETS[2].1)).unwrap();
    client.status("connected").await;
    client.tick("NYSE:IBM").await;
    let told = client.transcript() + &spine.ingest.process.log_text();
    assert!(!told.contains("n0t-the-token") && !told.contains(SECRETS[2].1), "a token is shown");
}

/// What an ingest says of its venue.
async fn status_of(ingest: &Ingest) -> Result<Value, String> {
    Ok(fetch_json(ingest.admin, "/status").await?["venue"].take())
}
