//! Why a symbol is quiet, as HTTP clients are told.

use serde_json::{Value, json};
use tickcast_model::{Body, DataState, StateChange, SymbolState};

use crate::support::{Browser, FakeIngest, Gateway, Nats, eventually, hop};

/// Everything up, and a browser that gets ticks of EURUSD.
async fn ticking() -> (Nats, FakeIngest, Gateway, Browser) {
    let nats = Nats::start().await;
    let mut ingest = FakeIngest::start(&nats, "ctrader", 1, &["EURUSD", "GBPUSD"]).await;
    let gateway = Gateway::start(&nats, &[]).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "connected").await;
    browser.subscribe(&["EURUSD"]).await;
    ingest.wanted(&["EURUSD"]).await;
    ingest.tick("EURUSD", 1, 1).await;
    browser.until_type("tick").await;
    (nats, ingest, gateway, browser)
}

/// The answer's data.
async fn why(gateway: &Gateway, query: &str) -> Value {
    let answer = gateway.get(&format!("/api/v1/why?{query}")).await;
    assert_eq!((&answer["success"], &answer["error"]), (&json!(true), &Value::Null), "{answer}");
    answer["data"].clone()
}

/// Asks until this hop is the first wrong one.
async fn names(gateway: &Gateway, query: &str, hop: &str) -> Value {
    eventually(&format!("{hop} to be named"), async || {
        let answer = why(gateway, query).await;
        (answer["wrong"]["name"] == hop).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn a_ticking_symbol_has_every_hop_right_in_any_spelling() {
    let (_nats, ingest, gateway, _browser) = ticking().await;
    for query in ["source=ctrader&symbol=EURUSD", "symbol=eur/usd"] {
        let answer = why(&gateway, query).await;
        assert_eq!((&answer["source"], &answer["symbol"]), (&json!("ctrader"), &json!("EURUSD")));
        assert_eq!((&answer["ok"], &answer["wrong"]), (&json!(true), &Value::Null), "{answer}");
        let hops = answer["hops"].as_array().unwrap();
        let way: Vec<_> = hops.iter().map(|hop| hop["name"].as_str().unwrap()).collect();
        assert_eq!(way, ["client", "gateway", "bus", "leader", "login", "ticks"]);
        assert_eq!(
            hops[4],
            json!({"name":"login","ok":true,"since":4,"detail":"how the login is","next":""})
        );
        assert!(hops[1]["detail"].as_str().unwrap().contains("(number 1)"), "{answer}");
        assert!(answer["timestamp"].as_i64().unwrap() > 1_700_000_000_000);
    }
    assert!(gateway.metric("tickcast_why_answers_total{venue=\"ctrader\",hop=\"none\"}") >= 2.0);
    drop(ingest);
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_ingest_finds_wrong_is_named_and_the_first_of_it() {
    let (_nats, ingest, gateway, _browser) = ticking().await;
    ingest.why().hops =
        Some(vec![hop("link", true), hop("login", false), hop("subscription", false), hop("secret/1", true)]);
    let answer = why(&gateway, "symbol=EURUSD").await;
    assert_eq!(answer["wrong"], answer["hops"][5]);
    assert_eq!(answer["wrong"]["name"], "login");
    assert_eq!(answer["summary"], "Login: how the login is. It is tried again.");
    // What an ingest calls its hops makes no labels.
    ingest.why().hops = Some(vec![hop("made up", false)]);
    names(&gateway, "symbol=EURUSD", "made up").await;
    assert!(gateway.metric("tickcast_why_answers_total{venue=\"ctrader\",hop=\"other\"}") >= 1.0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_symbol_nobody_reads_and_one_the_venue_has_not_are_told_apart() {
    let (_nats, ingest, gateway, _browser) = ticking().await;
    let answer = why(&gateway, "symbol=GBPUSD").await;
    assert_eq!(answer["wrong"]["name"], "client");
    assert!(answer["wrong"]["detail"].as_str().unwrap().contains("subscribed to GBPUSD"), "{answer}");
    assert_eq!(answer["hops"].as_array().unwrap().len(), 6, "the rest of the way is told too: {answer}");

    let answer = why(&gateway, "symbol=NOPE").await;
    assert_eq!(answer["wrong"]["name"], "client");
    assert!(answer["wrong"]["detail"].as_str().unwrap().contains("offers no NOPE"), "{answer}");
    assert!(ingest.why().asked.iter().all(|symbol| symbol.as_str() != "NOPE"), "nobody is asked about it");
    gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_in_the_usual_form() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats, &[]).await;
    for (query, status, code) in [
        ("source=nowhere&symbol=EURUSD", 404, "UNKNOWN_SOURCE"),
        ("source=ctrader", 400, "BAD_MESSAGE"),
        ("source=ctrader&symbol=", 400, "BAD_MESSAGE"),
        ("source=ctrader&symbol=a%0Ab", 400, "BAD_MESSAGE"),
    ] {
        let (found, _, body) = gateway.http("GET", &format!("/api/v1/why?{query}"), &[]).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((found, &body["error"]["code"]), (status, &json!(code)), "{body}");
    }
    let (status, _, _) = gateway.http("POST", "/api/v1/why?symbol=EURUSD", &[]).await;
    assert_eq!(status, 405);
    gateway.stop().await;
}

#[tokio::test]
async fn a_silent_ingest_is_named_with_its_last_word_and_heals() {
    let (nats, mut ingest, gateway, _browser) = ticking().await;
    ingest.say(|health| health.data = DataState::Stale).await;
    // It beats and does not answer.
    ingest.why().hops = None;
    let answer = names(&gateway, "symbol=EURUSD", "leader").await;
    assert!(answer["wrong"]["detail"].as_str().unwrap().contains("did not answer within"), "{answer}");

    ingest.kill();
    let answer = eventually("the missing beats to be named", async || {
        let answer = why(&gateway, "symbol=EURUSD").await;
        answer["wrong"]["detail"].as_str()?.contains("no beat for").then_some(answer)
    })
    .await;
    let detail = answer["wrong"]["detail"].as_str().unwrap();
    assert!(detail.contains("link up, login ok, data stale"), "{answer}");
    assert!(answer["wrong"]["since"].as_i64().unwrap() < answer["timestamp"].as_i64().unwrap());

    let _again = FakeIngest::start(&nats, "ctrader", 2, &["EURUSD"]).await;
    eventually("every hop to be right again", async || {
        (why(&gateway, "symbol=EURUSD").await["ok"] == true).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_bus_that_is_away_is_named_before_the_ingest_that_cannot_be_heard() {
    let (mut nats, _ingest, gateway, _browser) = ticking().await;
    nats.kill();
    let answer = names(&gateway, "symbol=EURUSD", "bus").await;
    let hops = answer["hops"].as_array().unwrap();
    assert_eq!(hops.len(), 4, "{answer}");
    assert_eq!((&hops[3]["name"], &hops[3]["ok"]), (&json!("leader"), &json!(false)));
    nats.begin().await;
    eventually("every hop to be right again", async || {
        (why(&gateway, "symbol=EURUSD").await["ok"] == true).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_question_and_too_many_symbols_are_refused() {
    let names: Vec<String> = (0..80).map(|number| format!("S{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let nats = Nats::start().await;
    let ingest = FakeIngest::start(&nats, "ctrader", 1, &names).await;
    let gateway = Gateway::start(&nats, &[]).await;
    gateway.browser().await.see_status("ctrader", "connected").await;

    let gate = ingest.why().gate.clone();
    let shut = gate.lock().await;
    let crowd = (0..20).map(|_| why(&gateway, "symbol=S000"));
    let crowd = futures_util::future::join_all(crowd);
    let open = async {
        eventually("twenty to share one question", async || {
            (gateway.metric("tickcast_why_questions_shared_total") >= 19.0).then_some(())
        })
        .await;
        drop(shut);
    };
    let (answers, ()) = tokio::join!(crowd, open);
    assert!(answers.iter().all(|answer| answer["hops"].as_array().unwrap().len() == 6));
    assert_eq!(ingest.why().asked.len(), 1);

    let shut = gate.lock().await;
    let ask = async |name: &&str| gateway.http("GET", &format!("/api/v1/why?symbol={name}"), &[]).await.0;
    let crowd = futures_util::future::join_all(names.iter().map(ask));
    let open = async {
        eventually("too many to be refused", async || {
            (gateway.metric("tickcast_why_questions_refused_total") >= 1.0).then_some(())
        })
        .await;
        drop(shut);
    };
    let (statuses, ()) = tokio::join!(crowd, open);
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 60, "{statuses:?}");
    eventually("room again", async || (ask(&"S001").await == 200).then_some(())).await;
    gateway.stop().await;
}

#[tokio::test]
async fn closed_and_stale_reach_who_is_there_and_who_joins_later_with_their_reasons() {
    let (_nats, mut ingest, gateway, mut browser) = ticking().await;
    let opens_ms = 1_795_384_800_000;
    let said = |state, code: &str, until_ms| StateChange {
        state,
        code: Some(code.to_owned()),
        message: Some(format!("about {code}")),
        until_ms,
    };
    let stale = said(SymbolState::Stale, "STALE", None);
    ingest.publish("EURUSD", 1, 1, Body::State(stale)).await;
    let told = browser.until(|m| m["type"] == "symbolState" && m["state"] == "stale").await;
    assert_eq!(
        told,
        json!({"type":"symbolState","source":"ctrader","symbol":"EURUSD","state":"stale","code":"STALE",
               "message":"about STALE"})
    );
    let closed = said(SymbolState::Closed, "MARKET_CLOSED", Some(opens_ms));
    ingest.publish("EURUSD", 1, 1, Body::State(closed)).await;
    let told = browser.until(|m| m["type"] == "symbolState" && m["state"] == "closed").await;
    assert_eq!(
        (&told["code"], &told["message"], &told["until"]),
        (&json!("MARKET_CLOSED"), &json!("about MARKET_CLOSED"), &json!(opens_ms))
    );
    // What the venue shows of a closed market opens none.
    ingest.snapshot("EURUSD", 1, 2).await;
    assert_eq!(browser.until_type("tick").await["seq"], 2);

    let mut later = gateway.browser().await;
    later.subscribe(&["EURUSD"]).await;
    let (first, second) = (later.hear_data().await, later.hear_data().await);
    let snapshot = [&first, &second].into_iter().find(|m| m["type"] == "tick").unwrap();
    assert_eq!((&snapshot["snapshot"], &snapshot["seq"]), (&json!(true), &json!(2)));
    let state = [&first, &second].into_iter().find(|m| m["type"] == "symbolState").unwrap();
    assert_eq!(*state, told);

    // The market opens.
    ingest.tick("EURUSD", 1, 3).await;
    for browser in [&mut browser, &mut later] {
        browser.until(|m| m["type"] == "symbolState" && m["state"] == "live").await;
    }
    ingest.wanted(&["EURUSD"]).await;
    gateway.stop().await;
}
