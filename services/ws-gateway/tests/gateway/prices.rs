//! From the bus to browsers: the snapshot barrier, sharing, gaps, resolving names.

use crate::support::{Browser, FakeIngest, Gateway, Nats, eventually, within};
use serde_json::{Value, json};
use tickcast_model::{Body, StateChange, SymbolState};
use tokio::net::TcpSocket;

async fn spine(symbols: &[&str], settings: &[(&str, &str)]) -> (Nats, FakeIngest, Gateway, Browser) {
    let nats = Nats::start().await;
    let ingest = FakeIngest::start(&nats, "ctrader", 7, symbols).await;
    let gateway = Gateway::start(&nats, settings).await;
    let mut browser = gateway.browser().await;
    browser.see_status("ctrader", "connected").await;
    (nats, ingest, gateway, browser)
}

#[tokio::test]
async fn a_browser_sees_the_last_known_tick_and_then_every_tick() {
    let (_nats, mut ingest, gateway, mut first) = spine(&["EURUSD"], &[]).await;
    let results = first.subscribe(&["eur/usd"]).await;
    let granted =
        json!({"symbol":"EURUSD","source":"ctrader","status":"subscribed","mode":"every","minIntervalMs":0});
    assert_eq!(results, [granted]);
    assert_eq!(first.hear_data().await["state"], "pending");

    let lease = ingest.wanted(&["EURUSD"]).await;
    assert_eq!(lease.holder, *gateway.context.instance);
    assert_eq!((lease.ttl_ms, lease.repeat_last), (3_000, true));
    ingest.snapshot("EURUSD", 7, 41).await;
    ingest.tick("EURUSD", 7, 42).await;
    ingest.state("EURUSD", 7, 42, SymbolState::Live).await;

    let snapshot = first.hear_data().await;
    assert_eq!(
        (&snapshot["type"], &snapshot["seq"], &snapshot["epoch"]),
        (&json!("tick"), &json!(41), &json!("7"))
    );
    assert_eq!(snapshot["snapshot"], true);
    assert_eq!(
        (&snapshot["timestamp"], &snapshot["receivedAt"]),
        (&json!(1_700_000_000_000i64), &json!(1_700_000_000_000i64))
    );
    // The tick and the state it implies may come in one burst, so in either order.
    let (a, b) = (first.hear_data().await, first.hear_data().await);
    let (state, tick) = if a["type"] == "symbolState" { (a, b) } else { (b, a) };
    assert_eq!((&state["state"], &tick["seq"]), (&json!("live"), &json!(42)));
    assert_eq!(tick["snapshot"], Value::Null);

    // The second browser shares the subscription, and starts with what is known.
    let mut second = gateway.browser().await;
    second.subscribe(&["EURUSD"]).await;
    let snapshot = second.hear_data().await;
    assert_eq!((&snapshot["seq"], &snapshot["snapshot"]), (&json!(42), &json!(true)));
    ingest.tick("EURUSD", 7, 43).await;
    for browser in [&mut first, &mut second] {
        assert_eq!(browser.hear_data().await["seq"], 43);
    }
    assert_eq!(gateway.metric("tickcast_channels"), 1.0);
    assert_eq!(gateway.metric("tickcast_subscriptions"), 2.0);
    assert_eq!(gateway.metric("tickcast_ticks_received_total{venue=\"ctrader\"}"), 3.0);
    assert_eq!(gateway.metric("tickcast_ticks_encoded_total"), 3.0);
    assert_eq!(ingest.leases().iter().filter(|lease| lease.generation == 2).count(), 0);
    drop((first, second));
    gateway.stop().await;
}

#[tokio::test]
async fn a_hole_in_the_numbers_is_announced_before_the_next_tick() {
    let (_nats, mut ingest, gateway, mut browser) = spine(&["EURUSD"], &[]).await;
    browser.subscribe(&["EURUSD"]).await;
    ingest.wanted(&["EURUSD"]).await;
    ingest.tick("EURUSD", 7, 1).await;
    browser.until(|m| m["seq"] == 1).await;
    ingest.tick("EURUSD", 7, 1).await;
    ingest.tick("EURUSD", 6, 9).await;
    ingest.tick("EURUSD", 7, 5).await;
    let gap = browser.until_type("gap").await;
    assert_eq!(
        gap,
        json!({"type":"gap","source":"ctrader","symbol":"EURUSD","epoch":"7","missed":3,"from":2,"to":4})
    );
    let tick = browser.hear_data().await;
    assert_eq!((&tick["seq"], &tick["snapshot"]), (&json!(5), &Value::Null));

    // A new incarnation of the ingest starts over.
    ingest.tick("EURUSD", 8, 1).await;
    let tick = browser.hear_data().await;
    assert_eq!((&tick["epoch"], &tick["seq"], &tick["snapshot"]), (&json!("8"), &json!(1), &json!(true)));
    let ignored = |reason| format!("tickcast_events_ignored_total{{venue=\"ctrader\",reason=\"{reason}\"}}");
    assert_eq!(gateway.metric(&ignored("repeated")), 1.0);
    assert_eq!(gateway.metric(&ignored("old_epoch")), 1.0);
    assert_eq!(gateway.metric("tickcast_ticks_missed_total"), 3.0);
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_replaced_leader_still_says_is_dropped_in_channels_that_know_no_other() {
    let (_nats, mut ingest, gateway, mut browser) = spine(&["EURUSD", "GBPUSD"], &[]).await;
    browser.subscribe(&["EURUSD", "GBPUSD"]).await;
    ingest.wanted(&["EURUSD", "GBPUSD"]).await;
    ingest.tick("GBPUSD", 7, 1).await;
    assert_eq!(browser.until_type("tick").await["epoch"], "7");
    // Another one leads; the old one's last words come late, on a channel the new one has not used yet.
    ingest.tick("EURUSD", 9, 1).await;
    assert_eq!(browser.until_type("tick").await["epoch"], "9");
    ingest.tick("GBPUSD", 7, 2).await;
    ingest.tick("EURUSD", 9, 2).await;
    let tick = browser.until_type("tick").await;
    assert_eq!((&tick["symbol"], &tick["seq"]), (&json!("EURUSD"), &json!(2)), "{tick}");
    ingest.say(|health| health.epoch = 11).await;
    eventually("the gateway to hear of the third", async || {
        ingest.tick("EURUSD", 9, 3).await;
        (gateway.metric("tickcast_events_ignored_total{venue=\"ctrader\",reason=\"old_epoch\"}") >= 2.0)
            .then_some(())
    })
    .await;
    ingest.tick("GBPUSD", 11, 1).await;
    let tick = browser.until(|m| m["symbol"] == "GBPUSD" && m["type"] == "tick").await;
    assert_eq!(tick["epoch"], "11", "{tick}");
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn a_browser_that_does_not_read_is_lapped_and_told_exactly_what_it_missed() {
    let (_nats, mut ingest, gateway, mut quick) = spine(&["EURUSD"], &[("RING_TICKS", "16")]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let socket = socket.connect(gateway.addr).await.unwrap();
    let mut slow = Browser::over(socket, gateway.addr, "/ws", &[]).await.unwrap();
    slow.subscribe(&["EURUSD"]).await;
    quick.subscribe(&["EURUSD"]).await;
    ingest.wanted(&["EURUSD"]).await;

    // More than all buffers on the way to the slow one hold. The quick one keeps pace, as the publisher waits for it.
    let last = 8_000;
    for seq in 1..=last {
        ingest.tick("EURUSD", 7, seq).await;
        if seq % 8 == 0 {
            quick.until(|m| m["seq"] == seq).await;
        }
    }
    let (mut seq, mut delivered, mut missed) = (0, 0, 0);
    while seq < last {
        let message = slow.hear_data().await;
        match message["type"].as_str().unwrap() {
            "tick" => {
                assert_eq!(message["seq"], seq + 1);
                (seq, delivered) = (seq + 1, delivered + 1);
            }
            "gap" => {
                assert_eq!(message["from"], seq + 1);
                seq = message["to"].as_u64().unwrap();
                missed += message["missed"].as_u64().unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(delivered + missed, last);
    assert!(missed > 0, "{delivered} delivered");
    drop((quick, slow));
    gateway.stop().await;
}

#[tokio::test]
async fn names_are_resolved_and_refused_by_a_known_catalogue() {
    let (_nats, mut ingest, gateway, mut browser) = spine(&["EURUSD", "GER40.cash"], &[]).await;
    let results = browser.subscribe(&["ger40.CASH", "NOPE", "Eur / Usd"]).await;
    assert_eq!(results[0]["symbol"], "GER40.cash");
    assert_eq!((&results[1]["status"], &results[1]["code"]), (&json!("error"), &json!("UNKNOWN_SYMBOL")));
    assert_eq!(results[2]["symbol"], "EURUSD");
    ingest.wanted(&["EURUSD", "GER40.cash"]).await;
    ingest.tick("GER40.cash", 7, 1).await;
    assert_eq!(browser.until_type("tick").await["symbol"], "GER40.cash");

    // What the venue refuses is passed on with its reason.
    let refused = StateChange {
        state: SymbolState::Refused,
        code: Some("SYMBOL_REFUSED".into()),
        message: Some("not for you".into()),
        until_ms: None,
    };
    ingest.publish("EURUSD", 7, 0, Body::State(refused)).await;
    let state = browser.until(|m| m["state"] == "refused").await;
    assert_eq!((&state["symbol"], &state["code"]), (&json!("EURUSD"), &json!("SYMBOL_REFUSED")));
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn a_channel_is_let_go_when_nobody_reads_it_for_a_while() {
    let (_nats, mut ingest, gateway, mut browser) = spine(&["EURUSD", "GBPUSD"], &[]).await;
    browser.subscribe(&["EURUSD", "GBPUSD"]).await;
    let lease = ingest.wanted(&["EURUSD", "GBPUSD"]).await;
    browser.say(json!({"type":"unsubscribe","symbols":["GBPUSD"],"id":1})).await;
    assert_eq!(browser.until_type("unsubscribeResponse").await["id"], 1);
    let next = ingest.wanted(&["EURUSD"]).await;
    assert!(next.generation > lease.generation);
    // Leaving is enough, however it happens.
    drop(browser);
    let end = ingest.lease("the end of the demand", 0, |lease| lease.ttl_ms == 0).await;
    assert!(end.symbols.is_empty() && end.generation > next.generation);
    eventually("no channel", async || (gateway.metric("tickcast_channels") == 0.0).then_some(())).await;
    gateway.stop().await;
}

#[tokio::test]
async fn many_subscribers_make_few_leases_and_renewals_keep_them() {
    let names: Vec<String> = (0..50).map(|n| format!("SYM{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_nats, mut ingest, gateway, browser) = spine(&names, &[]).await;
    let mut browsers = Vec::new();
    for name in &names {
        let mut browser = gateway.browser().await;
        browser.say(json!({"type":"subscribe","symbols":[name]})).await;
        browsers.push(browser);
    }
    let lease = ingest.wanted(&names).await;
    assert!(lease.generation < 50, "{} leases for {} subscribers", lease.generation, names.len());
    // Somebody asks: the answer is the same lease at once. And it is renewed without being asked.
    let before = ingest.leases().len();
    ingest.client.publish("ask.ctrader.demand", "".into()).await.unwrap();
    let again = ingest.lease("an answer", before, |_| true).await;
    assert_eq!((again.generation, &again.symbols), (lease.generation, &lease.symbols));
    let before = ingest.leases().len();
    let renewed = ingest.lease("a renewal", before, |_| true).await;
    assert_eq!(renewed.generation, lease.generation);
    assert!(!renewed.repeat_last);
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn the_pages_beside_the_socket() {
    let settings = [("ALLOWED_ORIGINS", "https://app.example"), ("ALLOW_ANONYMOUS_ADMIN", "true")];
    let (_nats, mut ingest, gateway, mut browser) = spine(&["EURUSD", "GBPUSD"], &settings).await;
    browser.subscribe(&["EURUSD"]).await;
    ingest.wanted(&["EURUSD"]).await;
    ingest.tick("EURUSD", 7, 3).await;
    browser.until_type("tick").await;

    let status = gateway.get("/api/v1/status").await;
    assert_eq!((&status["success"], &status["error"]), (&json!(true), &Value::Null));
    assert_eq!(status["data"]["venues"][0]["status"], "connected");
    assert_eq!(status["data"]["connections"], 1);
    let symbols = gateway.get("/api/v1/symbols?source=ctrader&q=eur").await;
    assert_eq!(symbols["data"]["total"], 1);
    assert_eq!(
        symbols["data"]["symbols"][0],
        json!({"symbol":"EURUSD","description":"about EURUSD","digits":5,"pipPosition":4})
    );
    let ticks = gateway.get("/api/v1/ticks?symbols=eur/usd,GBPUSD").await;
    assert_eq!(ticks["data"]["ticks"][0]["seq"], 3);
    assert_eq!(ticks["data"]["missing"], json!(["GBPUSD"]));
    assert_eq!(gateway.get("/api/v1/ticks").await["data"]["ticks"].as_array().unwrap().len(), 1);

    for path in ["/api/v1/nothing", "/api/v1", "/api/", "/api"] {
        let (code, _, body) = gateway.http("GET", path, &[]).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let said = (code, &body["success"], &body["error"]["code"]);
        assert_eq!(said, (404, &json!(false), &json!("NOT_FOUND")), "{path}");
    }
    let (code, _, body) = gateway.http("GET", "/api/v1/symbols?source=nyse", &[]).await;
    assert_eq!(code, 404);
    assert!(body.contains("UNKNOWN_SOURCE"), "{body}");
    let (code, _, body) = gateway.http("POST", "/api/v1/status", &[]).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["error"]["code"]), (405, &json!("METHOD_NOT_ALLOWED")));
    let (code, _, body) = gateway.http("GET", "/api/v1/ticks?source=ib&source=ctrader", &[]).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["error"]["code"]), (400, &json!("BAD_MESSAGE")));

    let (code, _, _) = gateway.http("POST", "/api/v1/reconnect?source=ctrader", &[]).await;
    assert_eq!((code, ingest.reconnects()), (200, 1));
    let (code, _, body) = gateway.http("POST", "/api/v1/reconnect?source=ib", &[]).await;
    assert!(code == 503 && body.contains("VENUE_DOWN"), "{code} {body}");

    let (_, head, _) = gateway.http("GET", "/api/v1/status", &[("Origin", "https://app.example")]).await;
    assert!(head.contains("access-control-allow-origin: https://app.example"), "{head}");
    let (_, head, _) = gateway.http("GET", "/api/v1/status", &[("Origin", "https://evil.example")]).await;
    assert!(!head.contains("access-control-allow-origin: https://evil"), "{head}");

    // The page, and whatever it and its parts name.
    let (code, head, page) = gateway.http("GET", "/", &[]).await;
    assert!(code == 200 && head.contains("text/html"), "{head}");
    assert!(page.contains("\"console/console.css\"") && page.contains("\"console/console.js\""), "{page}");
    let (code, head, _) = gateway.http("GET", "/console/console.css", &[]).await;
    assert!(code == 200 && head.contains("text/css"), "{head}");
    let mut paths = vec!["/console/console.js".to_owned()];
    let mut seen = 0;
    while let Some(path) = paths.get(seen).cloned() {
        seen += 1;
        let (code, head, script) = gateway.http("GET", &path, &[]).await;
        assert!(code == 200 && head.contains("text/javascript"), "{path} {head}");
        for line in script.lines().filter(|line| line.starts_with("import ")) {
            let named = line.split('\'').nth(1).unwrap();
            let named = named.strip_prefix("./").map_or_else(
                || named.strip_prefix("..").unwrap().to_owned(),
                |name| format!("/console/{name}"),
            );
            if !paths.contains(&named) {
                paths.push(named);
            }
        }
    }
    assert!(paths.len() > 2, "{paths:?}");
    assert_eq!(gateway.http("GET", "/console/other.js", &[]).await.0, 404);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(gateway.http("GET", path, &[]).await.0, 200, "{path}");
    }
    assert_eq!(gateway.http("GET", "/ws", &[]).await.0, 426);
    drop(browser);
    gateway.stop().await;
}

#[tokio::test]
async fn anonymous_administration_is_off_by_default() {
    let (_nats, ingest, gateway, _browser) = spine(&["EURUSD"], &[]).await;
    let (code, _, body) = gateway.http("POST", "/api/v1/reconnect?source=ctrader", &[]).await;
    assert!(code == 403 && body.contains("FORBIDDEN"), "{code} {body}");
    assert_eq!(ingest.reconnects(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn the_front_page_is_a_websocket_too_and_foreign_pages_are_sent_away() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats, &[("ALLOWED_ORIGINS", "https://*.example")]).await;
    let mut browser = Browser::open(gateway.addr, "/", &[("origin", "https://app.example")]).await.unwrap();
    browser.say(json!({"type":"ping","id":1})).await;
    assert_eq!(browser.until_type("pong").await["id"], 1);
    let own = format!("http://{}", gateway.addr);
    assert!(Browser::open(gateway.addr, "/ws", &[("origin", &own)]).await.is_ok());
    let refused = Browser::open(gateway.addr, "/ws", &[("origin", "https://evil.test")]).await.err().unwrap();
    assert!(refused.to_string().contains("403"), "{refused}");
    within("the end", gateway.stop()).await;
}
