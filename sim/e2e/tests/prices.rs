//! Prices on their way from the venue to browsers while nothing is wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sim_e2e::{Setup, Spine, tick_numbers};

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn is_tick(message: &Value, symbol: &str) -> bool {
    message["type"] == "tick" && message["symbol"] == symbol
}

#[tokio::test]
async fn a_client_gets_a_snapshot_and_then_every_tick_of_what_it_asked_for() {
    let spine = Spine::start(Setup::default()).await;
    let mut first = spine.client().await;
    let answer = first.subscribe(&["eur/usd", "GBPUSD", "ger40.CASH", "NOSUCH"]).await;
    let results: Vec<_> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["symbol"].as_str().unwrap(), result["status"].as_str().unwrap()))
        .collect();
    let expected = [
        ("EURUSD", "subscribed"),
        ("GBPUSD", "subscribed"),
        ("GER40.cash", "subscribed"),
        ("NOSUCH", "error"),
    ];
    assert_eq!(results, expected, "{answer}");
    assert_eq!(answer["results"][3]["code"], "UNKNOWN_SYMBOL");
    assert_eq!(answer["results"][0]["source"], "ctrader");

    for symbol in ["EURUSD", "GBPUSD", "GER40.cash"] {
        let mark = first.mark();
        for _ in 0..10 {
            let tick = first.tick(symbol).await;
            let [bid, ask, price] = ["bid", "ask", "price"].map(|name| tick[name].as_f64().unwrap());
            assert!(bid > 0.0 && bid <= ask, "{tick}");
            assert!((price - f64::midpoint(bid, ask)).abs() < 1e-9, "{tick}");
            let [venue_ms, received_ms] =
                ["timestamp", "receivedAt"].map(|name| tick[name].as_i64().unwrap());
            assert!((now_ms() - venue_ms).abs() < 60_000 && venue_ms <= received_ms + 1000, "{tick}");
        }
        first.back_to(mark);
    }

    // A second client comes to a channel that is known: the barrier holds to the tick.
    let mut second = spine.client().await;
    second.subscribe(&["EURUSD"]).await;
    let snapshot = second.tick("EURUSD").await;
    assert_eq!(snapshot["snapshot"], true);
    let (epoch, mut seq) = tick_numbers(&snapshot);
    for _ in 0..20 {
        let tick = second.tick("EURUSD").await;
        seq += 1;
        assert_eq!((tick_numbers(&tick), tick.get("snapshot")), ((epoch, seq), None));
    }

    // Both saw the same numbers with the same prices.
    let own =
        second.seen_since(0).into_iter().find(|message| is_tick(message, "EURUSD") && message["seq"] == seq);
    first.back_to(0);
    let same =
        first.expect("the same tick", |message| is_tick(message, "EURUSD") && message["seq"] == seq).await;
    assert_eq!(Some(same), own);

    let seen = first.seen_since(0);
    let answered = seen.iter().position(|message| message["type"] == "subscribeResponse").unwrap();
    let ticked = seen.iter().position(|message| message["type"] == "tick").unwrap();
    assert!(answered < ticked, "a tick came before its answer: {}", first.transcript());
}

#[tokio::test]
async fn the_venue_is_connected_and_its_three_axes_say_so() {
    let spine = Spine::start(Setup::default()).await;
    let mut client = spine.client().await;
    client.send(json!({"type": "connect"})).await;
    let status = client
        .expect("status connected with symbols", |message| {
            message["type"] == "status" && message["availableSymbols"].is_array()
        })
        .await;
    assert_eq!((&status["source"], &status["status"]), (&json!("ctrader"), &json!("connected")));
    let symbols = status["availableSymbols"].as_array().unwrap();
    assert_eq!(symbols.len(), 50);
    assert!(symbols.contains(&json!("EURUSD")) && symbols.contains(&json!("GER40.cash")));
    let health = &status["health"];
    assert_eq!(
        [&health["link"], &health["auth"], &health["data"]],
        [&json!("up"), &json!("ok"), &json!("idle")]
    );
    assert!(health["since"].as_i64().unwrap() <= now_ms());

    client.subscribe(&["EURUSD"]).await;
    client.tick("EURUSD").await;
    client.back_to(0);
    let live = client
        .expect("health to say that data is live", |message| {
            message["type"] == "status" && message["health"]["data"] == "live"
        })
        .await;
    assert_eq!(live["status"], "connected");
    client.back_to(0);
    let state = client
        .expect("the symbol to be live", |message| {
            message["type"] == "symbolState" && message["symbol"] == "EURUSD" && message["state"] == "live"
        })
        .await;
    assert_eq!(state["source"], "ctrader");

    client.send(json!({"type": "unsubscribe", "symbols": ["eurusd"], "id": "u"})).await;
    let answer = client.expect("the answer", |message| message["type"] == "unsubscribeResponse").await;
    assert_eq!((&answer["id"], &answer["results"][0]["status"]), (&json!("u"), &json!("unsubscribed")));
    spine.sim.holds(&[]).await;
    client
        .expect("health to say that nothing is wanted", |message| {
            message["type"] == "status" && message["health"]["data"] == "idle"
        })
        .await;
}

#[tokio::test]
async fn clients_of_two_gateways_share_one_subscription_at_the_venue() {
    let spine = Spine::start(Setup { gateways: 2, ..Setup::default() }).await;
    let mut clients = Vec::new();
    for gateway in &spine.gateways {
        let mut client = gateway.client().await;
        client.subscribe(&["EURUSD", "USDJPY"]).await;
        clients.push(client);
    }
    let mut alone = spine.gateways[1].client().await;
    alone.subscribe(&["XAUUSD"]).await;
    spine.sim.holds(&["EURUSD", "USDJPY", "XAUUSD"]).await;

    for client in &mut clients {
        for symbol in ["EURUSD", "USDJPY", "EURUSD"] {
            client.tick(symbol).await;
        }
    }
    alone.tick("XAUUSD").await;
    assert!(alone.seen_since(0).iter().all(|message| !is_tick(message, "EURUSD")));

    // The same tick has the same number behind both gateways: whoever has had an earlier one gets this one too.
    let earlier = tick_numbers(&clients[0].tick("USDJPY").await);
    let later = clients[1].expect("a later tick behind the other gateway", |message| {
        is_tick(message, "USDJPY") && tick_numbers(message) > earlier
    });
    let later = later.await;
    let same = clients[0].expect("the same tick", |message| {
        is_tick(message, "USDJPY") && tick_numbers(message) == tick_numbers(&later)
    });
    let prices = |tick: &Value| (tick["bid"].clone(), tick["ask"].clone(), tick["timestamp"].clone());
    assert_eq!(prices(&same.await), prices(&later));

    // One of two leaves: the symbol is still wanted. Both left: it is not.
    clients.remove(0);
    clients[0].tick("EURUSD").await;
    drop(clients);
    spine.sim.holds(&["XAUUSD"]).await;
    assert_eq!(spine.sim.opened().await, 1);
}
