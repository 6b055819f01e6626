//! The pure venue in virtual time: what a client is told when all is well, and under each fault.

#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sim_tradingview::{
    ANONYMOUS_TOKEN, ConnectionId, Ending, FAULTS, Fault, FaultSpec, Lasting, Message, Now, Output, Reason,
    Refusal, Script, SimulatedVenue as _, Venue, VenueSettings, payloads, put_frame,
};

const QS: &str = "qs_A1b2C3d4E5f6";
const CS: &str = "cs_A1b2C3d4E5f6";
const UNIX_MS: i64 = 1_767_225_600_123;

struct Bench {
    venue: Venue,
    now: Now,
    /// What each connection was told, message by message.
    told: BTreeMap<ConnectionId, Vec<Message>>,
    ended: BTreeMap<ConnectionId, (Ending, Reason)>,
    /// Answers heartbeats, as every client has to.
    echoes: bool,
}

impl Bench {
    fn new(settings: VenueSettings) -> Self {
        Self {
            venue: Venue::new(settings),
            now: Now { elapsed: Duration::ZERO, unix_ms: UNIX_MS },
            told: BTreeMap::new(),
            ended: BTreeMap::new(),
            echoes: true,
        }
    }

    fn usual() -> Self {
        Self::new(VenueSettings { symbols: 30, ..VenueSettings::default() })
    }

    fn open(&mut self) -> ConnectionId {
        let id = self.venue.open(self.now);
        self.drain();
        id
    }

    #[allow(clippy::needless_pass_by_value, reason = "literals read best by value")]
    fn send(&mut self, id: ConnectionId, method: &str, params: Value) {
        self.send_payload(id, &json!({ "m": method, "p": params }).to_string());
    }

    fn send_payload(&mut self, id: ConnectionId, payload: &str) {
        let mut message = String::new();
        put_frame(&mut message, payload);
        self.venue.receive(id, self.now, &message);
        self.drain();
    }

    /// A connection that watches some keys.
    fn watching(&mut self, keys: &[&str]) -> ConnectionId {
        let id = self.open();
        self.send(id, "set_auth_token", json!([ANONYMOUS_TOKEN]));
        self.send(id, "quote_create_session", json!([QS]));
        self.add(id, keys);
        id
    }

    fn add(&mut self, id: ConnectionId, keys: &[&str]) {
        let params: Vec<&str> = [QS].into_iter().chain(keys.iter().copied()).collect();
        self.send(id, "quote_add_symbols", json!(params));
    }

    fn drain(&mut self) {
        while let Some(output) = self.venue.poll() {
            match output {
                Output::Send { id, message } => {
                    let echoes: Vec<String> = payloads(message.text())
                        .flatten()
                        .filter(|payload| payload.starts_with("~h~") && self.echoes)
                        .map(str::to_owned)
                        .collect();
                    self.told.entry(id).or_default().push(message);
                    for payload in echoes {
                        let mut message = String::new();
                        put_frame(&mut message, &payload);
                        self.venue.receive(id, self.now, &message);
                    }
                }
                Output::Close { id, ending, reason } => {
                    self.ended.insert(id, (ending, reason));
                }
            }
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.now.elapsed + Duration::from_millis(ms);
        loop {
            let due = self.venue.deadline().filter(|due| *due <= end).unwrap_or(end).max(self.now.elapsed);
            let passed = due - self.now.elapsed;
            self.now.elapsed = due;
            self.now.unix_ms += i64::try_from(passed.as_millis()).unwrap();
            self.venue.timeout(self.now);
            self.drain();
            if due == end {
                return;
            }
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "literals read best by value")]
    fn on(&mut self, fault: &str, params: Value) {
        let spec = FaultSpec::named(fault, &params).unwrap();
        self.venue.check(&spec).unwrap();
        self.venue.fault(self.now, spec, true);
        self.drain();
    }

    fn off(&mut self, fault: Fault) {
        self.venue.fault(self.now, fault, false);
        self.drain();
    }

    /// Takes what a connection was told since the last time, message by message.
    fn messages(&mut self, id: ConnectionId) -> Vec<String> {
        self.told
            .remove(&id)
            .unwrap_or_default()
            .into_iter()
            .map(|message| message.text().to_owned())
            .collect()
    }

    /// The payloads of it; every message has to be made of whole frames.
    fn payloads(&mut self, id: ConnectionId) -> Vec<String> {
        let messages = self.messages(id);
        messages
            .iter()
            .flat_map(|message| payloads(message))
            .map(|payload| payload.unwrap().to_owned())
            .collect()
    }

    /// What is JSON of it, without the greeting.
    fn said(&mut self, id: ConnectionId) -> Vec<(String, Value)> {
        self.payloads(id)
            .iter()
            .filter_map(|payload| serde_json::from_str::<Value>(payload).ok())
            .filter_map(|json| Some((json["m"].as_str()?.to_owned(), json["p"].clone())))
            .collect()
    }

    /// The values of the `qsd` messages about a key.
    fn quotes(&mut self, id: ConnectionId, key: &str) -> Vec<Value> {
        self.said(id)
            .into_iter()
            .filter(|(name, p)| name == "qsd" && p[0] == QS && p[1]["n"] == key)
            .map(|(_, p)| p[1]["v"].clone())
            .collect()
    }
}

fn names(said: &[(String, Value)]) -> Vec<&str> {
    said.iter().map(|(name, _)| name.as_str()).collect()
}

fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some()
}

#[test]
fn a_client_is_greeted_and_subscribes_as_in_the_facts() {
    let mut bench = Bench::usual();
    let id = bench.open();
    let greeting = bench.messages(id);
    assert_eq!(
        greeting,
        [
            r#"~m~289~m~{"session_id":"0.4321.987_sim1-charts-free-1-tvbs-aaaaa-1","timestamp":1767225600,"timestampMs":1767225600123,"release":"release_209-10","studies_metadata_hash":"0123456789abcdef0123456789abcdef01234567","auth_scheme_vsn":2,"protocol":"json","via":"203.0.113.7:443","javastudies":["3.66"]}"#
        ]
    );
    bench.send(id, "set_auth_token", json!([ANONYMOUS_TOKEN]));
    bench.send(id, "set_locale", json!(["en", "US"]));
    bench.send(id, "quote_create_session", json!([QS]));
    bench.send(
        id,
        "quote_set_fields",
        json!([
            QS,
            "lp",
            "lp_time",
            "bid",
            "ask",
            "ch",
            "chp",
            "volume",
            "current_session",
            "update_mode",
            "pricescale",
            "minmov"
        ]),
    );
    assert!(bench.messages(id).is_empty(), "a good start is not answered");
    bench.add(id, &["OANDA:EURUSD", "FX:EURUSD"]);
    let messages = bench.messages(id);
    assert_eq!(messages.len(), 4);
    let first: Vec<&str> = payloads(&messages[0]).map(Result::unwrap).collect();
    assert!(first[0].starts_with(r#"{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"OANDA:EURUSD","s":"ok","v":{"volume":81234,"update_mode":"streaming","pricescale":100000,"minmov":1,"lp_time":17672255"#), "{}", first[0]);
    assert!(
        first[0].contains(r#","lp":1.08421,"current_session":"market","chp":0.13,"ch":0.00136}}]}"#),
        "{}",
        first[0]
    );
    assert_eq!(first[1], r#"{"m":"quote_completed","p":["qs_A1b2C3d4E5f6","OANDA:EURUSD"]}"#);
    assert_eq!(
        messages[1],
        r#"~m~98~m~{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"OANDA:EURUSD","s":"ok","v":{"bid":1.08414,"ask":1.08428}}]}"#
            .replace("~m~98~m~", "~m~99~m~")
    );
}

#[test]
fn updates_hold_only_what_has_changed_and_add_up_to_what_is() {
    let mut bench = Bench::usual();
    let id = bench.watching(&["OANDA:EURUSD", "TVC:DXY"]);
    bench.run(60_000);
    let said = bench.said(id);
    for (key, name) in [("OANDA:EURUSD", "OANDA:EURUSD"), ("TVC:DXY", "TVC:DXY")] {
        let quotes = said.iter().filter(|(m, p)| m == "qsd" && p[1]["n"] == key).map(|(_, p)| &p[1]["v"]);
        let (mut merged, mut count) = (serde_json::Map::new(), 0);
        for quote in quotes {
            for (field, value) in quote.as_object().unwrap() {
                assert_ne!(merged.get(field), Some(value), "{field} was told again");
                merged.insert(field.clone(), value.clone());
            }
            assert!(!(has(quote, "bid") && has(quote, "lp")), "the book comes by itself");
            count += 1;
        }
        assert!(count > 100, "{count}");
        let quote = bench.venue.quote(name).unwrap();
        let instrument = bench.venue.catalogue().instruments().iter().find(|one| one.name == name).unwrap();
        let price = |ticks: i64| ticks as f64 / f64::from(instrument.pricescale);
        assert_eq!(merged["lp"], price(quote.last));
        assert_eq!(merged["lp_time"], quote.at_ms / 1_000);
        assert_eq!(merged["high_price"], price(quote.high));
        if name == "TVC:DXY" {
            assert_eq!(merged["volume"], 1e100);
            assert!(merged.get("bid").is_none());
        } else {
            assert_eq!(
                (&merged["bid"], &merged["ask"]),
                (&json!(price(quote.bid)), &json!(price(quote.ask)))
            );
        }
    }
}

#[test]
fn keys_come_back_letter_by_letter_in_every_form() {
    let mut bench = Bench::usual();
    let extended = r#"={"session":"regular","symbol":"OANDA:EURUSD"}"#;
    let keys = [extended, "OANDA:EURUSD", "BIST:ŞİŞE", "BITSTAMP:BTCUSD*1000", "1/XAUUSD", "KRX:005930"];
    let id = bench.watching(&keys);
    let said = bench.said(id);
    let completed: Vec<&str> = said
        .iter()
        .filter(|(name, _)| name == "quote_completed")
        .map(|(_, p)| p[1].as_str().unwrap())
        .collect();
    assert_eq!(completed, keys);
    let of = |key: &str| said.iter().find(|(m, p)| m == "qsd" && p[1]["n"] == key).unwrap().1[1]["v"].clone();
    assert_eq!(of("BITSTAMP:BTCUSD*1000")["lp"], 61_000_000.0);
    assert_eq!(of("1/XAUUSD")["lp"], 0.00043);
    assert_eq!(of("KRX:005930")["local_description"], "삼성전자");
    assert_eq!(of("BIST:ŞİŞE")["description"], "Türkiye Şişe ve Cam Fabrikaları 🍾");
    assert_eq!(of("KRX:005930")["lp"], 72_000.0);
}

#[test]
fn delayed_instruments_say_so_until_a_good_token_comes() {
    let mut bench = Bench::usual();
    let id = bench.watching(&["NYSE:IBM"]);
    let first = &bench.quotes(id, "NYSE:IBM")[0];
    assert_eq!(first["update_mode"], "delayed_streaming_900");
    assert_eq!(first["original_name"], "NYSE_DLY:IBM");
    assert!(first["lp_time"].as_i64().unwrap() <= UNIX_MS / 1_000 - 900);
    bench.send(id, "set_auth_token", json!(["sim-token"]));
    let next = bench.quotes(id, "NYSE:IBM");
    assert_eq!(next[0]["update_mode"], "streaming");
    assert!(next[0]["lp_time"].as_i64().unwrap() > UNIX_MS / 1_000 - 10);
    assert!(bench.ended.is_empty());
}

#[test]
fn a_bad_token_ends_the_connection_with_its_reason() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.messages(id);
    bench.send(id, "set_auth_token", json!(["not-this-one"]));
    assert_eq!(bench.messages(id), [r#"~m~45~m~{"m":"protocol_error","p":["bad auth token"]}"#]);
    assert_eq!(bench.ended[&id], (Ending::Close(None), Reason::Protocol));
    bench.on("reject-credentials", json!(null));
    let other = bench.open();
    bench.send(other, "set_auth_token", json!(["sim-token"]));
    assert_eq!(bench.ended[&other].1, Reason::Protocol);
}

#[test]
fn what_the_venue_does_not_allow_costs_the_session_and_only_that() {
    for params in [
        json!([QS, "OANDA:EURUSD", { "flags": ["force_permission"] }]),
        json!([QS, "OANDA:GBPUSD", "OANDA:GBPUSD"]),
        json!([QS, "OANDA:EURUSD"]),
        json!([QS, 7]),
    ] {
        let mut bench = Bench::usual();
        let id = bench.watching(&["OANDA:EURUSD"]);
        bench.send(id, "quote_create_session", json!(["qs_other"]));
        bench.messages(id);
        bench.send(id, "quote_add_symbols", params.clone());
        assert_eq!(
            bench.said(id),
            [("critical_error".to_owned(), json!([QS, "invalid_parameters", "quote_add_symbols"]))],
            "{params}"
        );
        bench.run(20_000);
        assert!(bench.quotes(id, "OANDA:EURUSD").is_empty(), "the session is gone");
        bench.send(id, "quote_add_symbols", json!(["qs_other", "OANDA:EURUSD"]));
        assert!(names(&bench.said(id)).contains(&"quote_completed"), "the other session lives");
        // A dead session costs the connection.
        bench.add(id, &["OANDA:GBPUSD"]);
        let said = bench.said(id);
        assert_eq!(said[0].0, "protocol_error");
        let text = said[0].1[0].as_str().unwrap();
        assert!(
            text.starts_with("{unknown_session_id,<<\"quote_add_symbols\">>,<<\"qs_A1b2C3d4E5f6\">>,["),
            "{text}"
        );
        assert_eq!(bench.ended[&id], (Ending::Close(None), Reason::Protocol));
    }
}

#[test]
fn one_bad_symbol_leaves_the_others_alone() {
    let mut bench = Bench::usual();
    let id = bench.watching(&["OANDA:EURUSD", "OANDA:NOSUCH", "FX:EURUSD"]);
    let said = bench.said(id);
    let wrong: Vec<&Value> = said.iter().filter(|(_, p)| p[1]["s"] == "error").map(|(_, p)| p).collect();
    assert_eq!(
        wrong,
        [&json!([QS, { "n": "OANDA:NOSUCH", "s": "error", "errmsg": "invalid symbol", "v": {} }])]
    );
    assert_eq!(names(&said).iter().filter(|name| **name == "quote_completed").count(), 2);
    bench.on("bad-symbol", json!({ "symbols": ["OANDA:GBPUSD"], "reason": "permission denied" }));
    bench.on("missing-errmsg", json!(null));
    bench.add(id, &["OANDA:GBPUSD", "OANDA:USDJPY"]);
    let said = bench.said(id);
    assert_eq!(said[0].1, json!([QS, { "n": "OANDA:GBPUSD", "s": "error" }]));
    assert_eq!(said[1].1[1]["n"], "OANDA:USDJPY");
}

#[test]
fn a_removed_key_is_silent_and_can_be_added_again() {
    let mut bench = Bench::usual();
    let id = bench.watching(&["OANDA:EURUSD", "FX:EURUSD"]);
    bench.send(id, "quote_remove_symbols", json!([QS, "OANDA:EURUSD", "NEVER:ADDED"]));
    bench.messages(id);
    bench.run(10_000);
    let said = bench.said(id);
    assert!(said.iter().all(|(_, p)| p[1]["n"] != "OANDA:EURUSD") && said.len() > 20);
    bench.add(id, &["OANDA:EURUSD"]);
    assert!(has(&bench.quotes(id, "OANDA:EURUSD")[0], "description"), "the whole snapshot again");
    bench.send(id, "quote_delete_session", json!([QS]));
    bench.messages(id);
    bench.run(9_000);
    assert!(bench.said(id).is_empty());
    assert!(bench.venue.keys(id).is_empty());
}

#[test]
fn heartbeats_count_up_and_whoever_does_not_echo_is_cut_off() {
    let mut bench = Bench::usual();
    let good = bench.open();
    bench.run(35_000);
    let beats: Vec<String> = bench.payloads(good).split_off(1);
    assert_eq!(beats, ["~h~1", "~h~2", "~h~3"]);
    bench.echoes = false;
    let mute = bench.open();
    bench.run(10_000);
    assert_eq!(bench.messages(mute)[1], "~m~4~m~~h~1");
    bench.run(29_999);
    assert!(!bench.ended.contains_key(&mute));
    bench.run(2);
    assert_eq!(bench.ended[&mute], (Ending::Close(None), Reason::NoEcho));
}

#[test]
fn a_hibernating_session_is_slow_until_its_keys_are_wanted_fast() {
    let mut bench = Bench::usual();
    let id = bench.watching(&["OANDA:EURUSD", "FX:EURUSD"]);
    bench.send(id, "quote_hibernate_all", json!([QS]));
    bench.messages(id);
    bench.run(20_000);
    let count = bench.quotes(id, "OANDA:EURUSD").len();
    assert!((2..=4).contains(&count), "{count}");
    bench.send(id, "quote_fast_symbols", json!([QS, "OANDA:EURUSD"]));
    bench.run(20_000);
    let said = bench.said(id);
    let of = |key: &str| said.iter().filter(|(m, p)| m == "qsd" && p[1]["n"] == key).count();
    assert!(of("OANDA:EURUSD") > 40 && of("FX:EURUSD") <= 4, "{} {}", of("OANDA:EURUSD"), of("FX:EURUSD"));
}

#[test]
fn a_handshake_is_judged_by_origin_number_and_fault() {
    let origin = "https://www.tradingview.com";
    let settings =
        VenueSettings { origin: Some(origin.into()), connections_max: 1, ..VenueSettings::default() };
    let mut bench = Bench::new(settings);
    let refusal = |status, retry_after_s| Err(Refusal { status, retry_after_s });
    assert_eq!(bench.venue.admit([]), refusal(403, None));
    assert_eq!(bench.venue.admit(["https://elsewhere.test"]), refusal(403, None));
    assert_eq!(bench.venue.admit(["http://127.0.0.1:5036", "https://www.tradingview.com/"]), Ok(()));
    bench.open();
    assert_eq!(bench.venue.admit([origin]), refusal(429, None));
    bench.on("connections-limit", json!({ "count": 1, "retry_after_s": 7 }));
    assert_eq!(bench.venue.admit([origin]), refusal(429, Some(7)));
    bench.on("handshake-status", json!({ "code": "503", "for_ms": 100 }));
    assert_eq!(bench.venue.admit([origin]), refusal(503, None));
    bench.run(101);
    assert_eq!(bench.venue.admit([origin]), refusal(429, Some(7)));
    assert_eq!(bench.venue.counters().refused, BTreeMap::from([(403, 2), (429, 3), (503, 1)]));
}

#[test]
fn a_chart_has_history_then_a_live_bar_and_a_new_one_each_minute() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.send(id, "chart_create_session", json!([CS, ""]));
    bench.send(id, "switch_timezone", json!([CS, "Etc/UTC"]));
    let spec = r#"={"symbol":"OANDA:EURUSD","adjustment":"splits"}"#;
    bench.send(id, "resolve_symbol", json!([CS, "sds_sym_1", spec]));
    bench.messages(id);
    bench.send(id, "create_series", json!([CS, "sds_1", "s1", "sds_sym_1", "1", 30, ""]));
    let said = bench.said(id);
    assert_eq!(names(&said), ["series_loading", "timescale_update", "series_completed"]);
    assert_eq!(said[2].1, json!([CS, "sds_1", "streaming", "s1", { "rt_update_period": 5 }]));
    let bars = said[1].1[1]["sds_1"]["s"].as_array().unwrap();
    assert_eq!((bars.len(), &bars[29]["v"][0]), (30, &json!(1_767_225_600.0)));
    bench.run(130_000);
    let said = bench.said(id);
    assert!(names(&said).iter().filter(|name| **name == "du").count() > 100);
    assert_eq!(names(&said).iter().filter(|name| **name == "timescale_update").count(), 2);
    bench.send(id, "request_more_data", json!([CS, "sds_1", 10]));
    let said = bench.said(id);
    assert_eq!(said[0].1[1]["sds_1"]["s"].as_array().unwrap().len(), 10);
    bench.send(id, "resolve_symbol", json!([CS, "sds_sym_2", "OANDA:NOSUCH"]));
    bench.send(id, "modify_series", json!([CS, "sds_1", "s2", "sds_sym_2", "5", ""]));
    let said = bench.said(id);
    assert_eq!(said[0], ("symbol_error".to_owned(), json!([CS, "sds_sym_2", "invalid symbol"])));
    assert_eq!(said[2], ("series_error".to_owned(), json!([CS, "sds_1", "s2", "resolve error", "sim-1"])));
    bench.send(id, "create_series", json!([CS, "$prices", "s1", "ser_1", "XX", 100]));
    let info = r#"method: create_series. args: "[$prices, s1, ser_1, XX, 100]""#;
    assert_eq!(bench.said(id), [("critical_error".to_owned(), json!([CS, "invalid parameters", info]))]);
    bench.run(9_000);
    assert!(bench.said(id).is_empty());
}

#[test]
fn the_zone_of_a_chart_has_to_exist() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.send(id, "chart_create_session", json!([CS, ""]));
    bench.messages(id);
    bench.send(id, "switch_timezone", json!([CS, "Nowhere/Nowhere"]));
    let info = r#"method: switch_timezone. args: "[Nowhere/Nowhere]""#;
    assert_eq!(bench.said(id), [("critical_error".to_owned(), json!([CS, "invalid timezone", info]))]);
}

#[test]
fn what_is_no_frame_or_no_request_ends_the_connection_and_what_is_unknown_does_not() {
    for (message, ends) in [
        ("hello", true),
        ("~m~9~m~{}", true),
        ("~m~2~m~{}", true),
        ("~m~0~m~", false),
        ("~m~20~m~{\"m\":\"dance\",\"p\":[]}", false),
        ("~m~5~m~~h~77", false),
    ] {
        let mut bench = Bench::usual();
        let id = bench.open();
        bench.venue.receive(id, bench.now, message);
        bench.drain();
        assert_eq!(bench.ended.contains_key(&id), ends, "{message}");
    }
    let mut bench = Bench::new(VenueSettings { strict: true, ..VenueSettings::default() });
    let id = bench.open();
    bench.messages(id);
    bench.send(id, "dance", json!([]));
    assert_eq!(
        bench.said(id),
        [("critical_error".to_owned(), json!(["", "unsupported method", "method: dance"]))]
    );
}

#[test]
fn many_requests_may_share_a_message() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.messages(id);
    let mut message = String::new();
    for (method, params) in
        [("quote_create_session", json!([QS])), ("quote_add_symbols", json!([QS, "XAUUSD"]))]
    {
        put_frame(&mut message, &json!({ "m": method, "p": params }).to_string());
    }
    bench.venue.receive(id, bench.now, &message);
    bench.drain();
    assert_eq!(bench.venue.keys(id), ["XAUUSD"]);
    assert!(names(&bench.said(id)).contains(&"quote_completed"));
}

#[test]
fn the_same_seed_tells_the_same() {
    let tell = |seed| {
        let mut bench = Bench::new(VenueSettings { seed, symbols: 30, ..VenueSettings::default() });
        let id = bench.watching(&["OANDA:EURUSD", "NYSE:IBM", "1/XAUUSD"]);
        bench.run(30_000);
        bench.messages(id)
    };
    assert_eq!(tell(3), tell(3));
    assert_ne!(tell(3), tell(4));
}

#[test]
fn a_script_is_played_letter_by_letter_in_place_of_the_market() {
    let text = concat!(
        "0 {\"m\":\"qsd\",\"p\":[\"$QS\",{\"n\":\"OANDA:EURUSD\",\"s\":\"ok\",\"v\":{\"lp\":1e+100}}]}\n",
        "+ {\"m\":\"quote_completed\",\"p\":[\"$QS\",\"OANDA:EURUSD\"]}\n",
        "1500 ~h~9\n",
    );
    let script = Script::read(text).unwrap();
    let mut bench = Bench::new(VenueSettings { script: Some(script), ..VenueSettings::default() });
    let id = bench.watching(&["OANDA:EURUSD"]);
    let messages = bench.messages(id);
    assert_eq!(messages.len(), 2, "the greeting, and both lines in one message");
    assert!(
        messages[1].contains("\"lp\":1e+100")
            && messages[1].ends_with("[\"qs_A1b2C3d4E5f6\",\"OANDA:EURUSD\"]}")
    );
    bench.run(1_499);
    assert!(bench.messages(id).is_empty());
    bench.run(1);
    assert_eq!(bench.messages(id), ["~m~4~m~~h~9"]);
    bench.run(8_000);
    assert!(bench.messages(id).is_empty());
    bench.add(id, &["OANDA:NOSUCH"]);
    assert_eq!(bench.said(id)[0].1[1]["s"], "error");
}

mod faults {
    use super::*;

    const EUR: &str = "OANDA:EURUSD";

    #[test]
    fn the_ends_of_a_connection_are_as_chosen() {
        for (fault, params, ending) in [
            ("cut", json!(null), Ending::Reset),
            ("cut-inside-frame", json!(null), Ending::SendThenReset),
            ("close", json!(null), Ending::Close(Some(1001))),
            ("close", json!({ "code": "1000" }), Ending::Close(Some(1000))),
            ("close", json!({ "code": "1005" }), Ending::Close(None)),
            ("close", json!({ "code": "1006" }), Ending::Abrupt),
        ] {
            let mut bench = Bench::usual();
            let id = bench.watching(&[EUR]);
            bench.messages(id);
            bench.on(fault, params);
            assert_eq!(bench.ended[&id], (ending, Reason::Fault), "{fault}");
            assert_eq!(bench.venue.connections().count(), 0);
            let last = bench.told.remove(&id).unwrap_or_default();
            assert_eq!(last.iter().any(|one| matches!(one, Message::Half(_))), fault == "cut-inside-frame");
        }
    }

    #[test]
    fn errors_on_demand_cost_what_they_say() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.messages(id);
        bench.on("critical-error", json!({ "reason": "permission_denied", "info": "x" }));
        assert_eq!(bench.said(id), [("critical_error".to_owned(), json!([QS, "permission_denied", "x"]))]);
        assert_eq!((bench.venue.sessions(id), bench.ended.len()), (0, 0));
        bench.on("protocol-error", json!({ "reason": "you are banned" }));
        assert_eq!(bench.said(id), [("protocol_error".to_owned(), json!(["you are banned"]))]);
        assert!(bench.ended.contains_key(&id));
        bench.on("sessions-limit", json!({ "count": 1 }));
        let id = bench.watching(&[EUR]);
        bench.messages(id);
        bench.send(id, "quote_create_session", json!(["qs_2"]));
        let limit = json!(["qs_2", "max sessions rate reached", "quote_create_session"]);
        assert_eq!(bench.said(id), [("critical_error".to_owned(), limit)]);
    }

    #[test]
    fn a_stalled_venue_says_and_hears_nothing_and_catches_up() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.messages(id);
        bench.on("stall", json!({ "for_ms": 60_000 }));
        bench.add(id, &["FX:EURUSD"]);
        bench.run(59_999);
        assert!(bench.messages(id).is_empty() && bench.ended.is_empty());
        bench.run(2);
        assert!(bench.quotes(id, "FX:EURUSD").len() >= 2, "what came meanwhile is answered");
    }

    #[test]
    fn a_client_that_sends_more_than_is_kept_is_cut_off() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.on("stall", json!(null));
        for _ in 0..4_096 {
            bench.venue.receive(id, bench.now, "~m~4~m~~h~1");
        }
        bench.drain();
        assert!(bench.ended.is_empty());
        bench.venue.receive(id, bench.now, "~m~4~m~~h~1");
        bench.drain();
        assert_eq!(bench.ended[&id], (Ending::Reset, Reason::Flood));
        bench.off(Fault::Stall);
        bench.on("delayed-answer", json!({ "delay_ms": 600_000 }));
        let id = bench.watching(&[EUR]);
        for _ in 0..30_000 {
            bench.send(id, "chart_create_session", json!([CS, ""]));
        }
        assert_eq!(bench.ended[&id], (Ending::Reset, Reason::Flood));
    }

    #[test]
    fn a_mute_venue_still_beats_and_answers() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR, "FX:EURUSD"]);
        bench.messages(id);
        bench.on("mute", json!({ "symbols": [EUR] }));
        bench.run(30_000);
        let payloads = bench.payloads(id);
        assert!(payloads.iter().all(|payload| !payload.contains(EUR)));
        assert!(payloads.iter().filter(|payload| payload.contains("FX:EURUSD")).count() > 50);
        assert_eq!(payloads.iter().filter(|payload| payload.starts_with("~h~")).count(), 3);
        assert!(bench.venue.counters().withheld > 50);
    }

    #[test]
    fn heartbeats_can_stop_come_often_twice_or_with_data() {
        let beats = |bench: &mut Bench, id| {
            bench.payloads(id).into_iter().filter(|payload| payload.starts_with("~h~")).collect::<Vec<_>>()
        };
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.on("no-heartbeats", json!(null));
        bench.run(100_000);
        assert!(beats(&mut bench, id).is_empty() && bench.ended.is_empty());
        bench.off(Fault::NoHeartbeats);
        bench.on("heartbeat-interval", json!({ "every_ms": 1_000 }));
        bench.run(5_500);
        assert_eq!(beats(&mut bench, id).len(), 6);
        bench.off(Fault::HeartbeatInterval);
        bench.on("repeat-heartbeat", json!(null));
        bench.run(10_000);
        assert_eq!(beats(&mut bench, id), ["~h~7", "~h~7"]);
        bench.off(Fault::RepeatHeartbeat);
        for which in ["before", "after"] {
            bench.on("coalesce-heartbeats", json!({ "which": which }));
            bench.messages(id);
            bench.run(15_000);
            let messages = bench.messages(id);
            let shared: Vec<Vec<&str>> = messages
                .iter()
                .map(|message| payloads(message).map(Result::unwrap).collect())
                .filter(|parts: &Vec<&str>| parts.iter().any(|part| part.starts_with("~h~")))
                .collect();
            assert!(!shared.is_empty());
            for parts in shared {
                let at = if which == "before" { 0 } else { 1 };
                assert!(parts.len() == 2 && parts[at].starts_with("~h~"), "{parts:?}");
            }
        }
        assert!(bench.ended.is_empty());
    }

    #[test]
    fn frames_can_be_gathered_long_wrong_empty_and_among_garbage() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR, "FX:EURUSD"]);
        bench.messages(id);
        bench.on("many-frames-per-message", json!({ "delay_ms": 2_000 }));
        bench.run(20_000);
        let messages = bench.messages(id);
        assert!(messages.len() <= 11 && messages.iter().any(|message| payloads(message).count() > 5));
        bench.off(Fault::ManyFramesPerMessage);
        bench.messages(id);
        bench.on("oversized-message", json!(null));
        assert!(bench.payloads(id)[0].len() > 2_000_000);
        bench.on("empty-payload", json!(null));
        assert_eq!(bench.messages(id), ["~m~0~m~"]);
        bench.on("raw", json!({ "payload": "~j~{\"m\":\"ö\"}" }));
        assert_eq!(bench.messages(id), ["~m~12~m~~j~{\"m\":\"ö\"}"]);
        for which in ["too-long", "too-short"] {
            bench.on("wrong-length", json!({ "which": which }));
            let message = bench.messages(id).remove(0);
            assert!(payloads(&message).any(|part| part.is_err()), "{message}");
        }
        bench.on("garbage-between-frames", json!(null));
        bench.add(id, &["OANDA:GBPUSD"]);
        let message = bench.messages(id).remove(0);
        let parts: Vec<_> = payloads(&message).collect();
        assert!(parts[0].is_ok() && parts[1].is_err(), "{message}");
        assert!(message.contains("quote_completed"));
    }

    #[test]
    fn values_can_be_absent_cleared_noisy_strange_or_missing() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.messages(id);
        bench.on("no-value", json!({ "which": "lp" }));
        assert!(bench.messages(id)[0].contains("\"lp\":1e+100"));
        bench.off(Fault::NoValue);
        assert!(bench.quotes(id, EUR)[0]["lp"].as_f64().unwrap() < 2.0);
        bench.on("null-value", json!({ "which": "bid", "symbols": [EUR] }));
        assert_eq!(bench.quotes(id, EUR)[0]["bid"], Value::Null);
        bench.off(Fault::NullValue);
        bench.messages(id);
        for (which, sign) in [("noisy", "000000"), ("exponent", "e+0")] {
            bench.on("noisy-numbers", json!({ "which": which }));
            bench.run(5_000);
            let messages = bench.messages(id);
            assert!(messages.iter().any(|message| message.contains(sign)), "{which}: {messages:?}");
        }
        bench.off(Fault::NoisyNumbers);
        bench.on("strange-text", json!({ "for_ms": 1_000 }));
        let text = bench.quotes(id, EUR)[0]["description"].as_str().unwrap().to_owned();
        assert!(text.contains("~m~12~m~") && text.contains('𝒳') && text.contains("~h~1"));
        bench.run(1_001);
        assert_eq!(bench.quotes(id, EUR).last().unwrap().get("language"), None);
        bench.on("missing-v", json!(null));
        bench.run(3_000);
        let said = bench.said(id);
        assert!(
            said.iter().filter(|(name, _)| name == "qsd").all(|(_, p)| p[1].get("v").is_none())
                && said.len() > 3
        );
    }

    #[test]
    fn the_market_can_be_delayed_shut_thin_or_wild() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.messages(id);
        bench.on("delayed", json!({ "delay_s": 600, "for_ms": 2_000 }));
        assert_eq!(bench.quotes(id, EUR)[0]["update_mode"], "delayed_streaming_600");
        bench.run(2_001);
        assert!(bench.quotes(id, EUR).iter().any(|quote| quote["update_mode"] == "streaming"));
        bench.on("weekend", json!({ "for_ms": 60_000 }));
        assert_eq!(bench.quotes(id, EUR)[0]["current_session"], "out_of_session");
        bench.run(59_000);
        assert!(bench.quotes(id, EUR).is_empty());
        bench.run(9_000);
        assert_eq!(bench.quotes(id, EUR)[0]["current_session"], "market");
        for (which, fields) in [("book", ["bid", "ask"]), ("volume", ["volume"; 2]), ("time", ["lp_time"; 2])]
        {
            bench.on("only-fields", json!({ "which": which }));
            bench.messages(id);
            bench.run(10_000);
            let quotes = bench.quotes(id, EUR);
            assert!(
                quotes.len() > 3 && quotes.iter().any(|quote| fields.iter().any(|field| has(quote, field)))
            );
            assert!(quotes.iter().all(|quote| !has(quote, "lp")), "{which}");
        }
        bench.off(Fault::OnlyFields);
        bench.messages(id);
        let before = bench.venue.quote(EUR).unwrap().last;
        bench.on("price-jump", json!({ "percent": 50, "down": true }));
        assert_eq!(bench.venue.quote(EUR).unwrap().last, before - before / 2);
        assert!(bench.quotes(id, EUR)[0]["lp"].as_f64().unwrap() < 0.6);
        bench.on("burst", json!({ "count": 3_000 }));
        assert!(bench.quotes(id, EUR).len() > 2_000);
    }

    #[test]
    fn updates_can_come_twice_late_out_of_order_or_from_the_past() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.messages(id);
        bench.on("repeated-ticks", json!({ "for_ms": 10_000 }));
        bench.run(9_000);
        let messages = bench.messages(id);
        assert!(messages.chunks(2).all(|pair| pair[0] == pair[1]) && messages.len() > 10);
        bench.run(1_001);
        bench.messages(id);
        bench.on("out-of-order", json!({ "for_ms": 30_000 }));
        bench.run(29_000);
        let volumes: Vec<i64> =
            bench.quotes(id, EUR).iter().filter_map(|quote| quote["volume"].as_i64()).collect();
        assert!(volumes.windows(2).any(|pair| pair[0] > pair[1]));
        bench.run(2_000);
        bench.messages(id);
        let time = |bench: &mut Bench| {
            bench.run(5_000);
            bench.quotes(id, EUR).iter().filter_map(|quote| quote["lp_time"].as_i64()).next_back().unwrap()
        };
        let before = time(&mut bench);
        bench.on("clock-backwards", json!({ "by_ms": 60_000 }));
        assert!(time(&mut bench) < before);
        bench.off(Fault::ClockBackwards);
        bench.on("late-events", json!({ "count": 3 }));
        bench.send(id, "quote_remove_symbols", json!([QS, EUR]));
        bench.messages(id);
        bench.run(20_000);
        assert_eq!(bench.quotes(id, EUR).len(), 3);
        bench.add(id, &[EUR]);
        assert!(!bench.quotes(id, EUR).is_empty());
    }

    #[test]
    fn subscriptions_can_be_lost_unanswered_or_half_answered() {
        for held in [false, true] {
            let mut bench = Bench::usual();
            let id = bench.watching(&[EUR]);
            bench.on("subscription-lost", json!({ "held": held }));
            bench.messages(id);
            bench.run(30_000);
            assert_eq!(bench.payloads(id), ["~h~1", "~h~2", "~h~3"]);
            bench.add(id, &[EUR]);
            assert_eq!(names(&bench.said(id))[0], if held { "critical_error" } else { "qsd" });
        }
        let mut bench = Bench::usual();
        bench.on("no-snapshot", json!({ "symbols": [EUR], "held": false }));
        bench.on("no-completed", json!(null));
        bench.on("no-book", json!(null));
        let id = bench.watching(&[EUR, "FX:EURUSD"]);
        bench.run(9_000);
        let said = bench.said(id);
        assert!(
            said.iter().all(|(name, p)| name == "qsd" && p[1]["n"] == "FX:EURUSD" && !has(&p[1]["v"], "bid"))
        );
        bench.venue.heal(bench.now);
        bench.add(id, &[EUR]);
        assert!(names(&bench.said(id)).contains(&"quote_completed"));
    }

    #[test]
    fn answers_can_be_lost_or_late() {
        let mut bench = Bench::usual();
        let id = bench.open();
        bench.send(id, "quote_create_session", json!([QS]));
        bench.messages(id);
        bench.on("no-answer", json!({ "request": "quote_add_symbols", "count": 1 }));
        bench.add(id, &[EUR]);
        assert!(bench.messages(id).is_empty() && bench.venue.keys(id).is_empty());
        bench.on("delayed-answer", json!({ "delay_ms": 4_000, "count": 1 }));
        bench.add(id, &[EUR]);
        bench.run(3_900);
        assert!(!names(&bench.said(id)).contains(&"quote_completed"));
        bench.run(200);
        assert!(names(&bench.said(id)).contains(&"quote_completed"));
    }

    #[test]
    fn unknown_and_foreign_things_are_whole_messages() {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR]);
        bench.messages(id);
        bench.on("unknown-message", json!({ "count": 3 }));
        assert_eq!(bench.said(id).len(), 3);
        bench.on("foreign-session", json!(null));
        assert_eq!(bench.said(id)[0].1[0], "qs_of_nobody");
        bench.on("unknown-members", json!(null));
        bench.run(2_000);
        let payloads = bench.payloads(id);
        assert!(!payloads.is_empty() && payloads.iter().all(|payload| payload.contains("\"x_new\"")));
        bench.on("no-greeting", json!(null));
        let quiet = bench.open();
        assert!(bench.messages(quiet).is_empty());
    }

    /// Whatever is on, nothing panics, nothing loops, and a client that starts anew afterwards is served.
    #[test]
    fn every_fault_ends_and_leaves_a_venue_that_works() {
        for row in FAULTS {
            let mut bench = Bench::usual();
            let id = bench.watching(&[EUR, "NYSE:IBM"]);
            bench.on(row.name, Value::Null);
            bench.run(3_000);
            bench.add(id, &["OANDA:GBPUSD"]);
            bench.run(3_000);
            if row.lasting == Lasting::UntilSwitchedOff {
                assert!(bench.venue.faults().has(row.fault), "{}", row.name);
            }
            bench.venue.heal(bench.now);
            assert_eq!(bench.venue.active_faults().count(), 0);
            assert_eq!(bench.venue.admit([]), Ok(()), "{}", row.name);
            let fresh = bench.watching(&[EUR, "NYSE:IBM"]);
            bench.run(20_000);
            let said = bench.said(fresh);
            assert!(
                names(&said).iter().filter(|name| **name == "quote_completed").count() == 2,
                "{}",
                row.name
            );
            assert!(said.len() > 20, "{}: {}", row.name, said.len());
        }
    }

    #[test]
    fn no_world_of_faults_makes_it_panic_or_speak_in_broken_frames_forever() {
        for seed in 0..40 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bench = Bench::usual();
            for _ in 0..15 {
                let spec = FaultSpec::draw(&mut rng, bench.venue.catalogue())
                    .lasting(Duration::from_secs(rng.u64(1..20)));
                let big = matches!(spec.fault(), Fault::OversizedMessage | Fault::Burst);
                if !big {
                    bench.venue.fault(bench.now, spec, true);
                }
                let id = bench.watching(&[EUR, "1/XAUUSD", "KRX:005930"]);
                bench.send(id, "quote_remove_symbols", json!([QS, EUR]));
                bench.run(rng.u64(100..4_000));
                bench.told.clear();
            }
            bench.venue.heal(bench.now);
            bench.venue.fault(bench.now, Fault::Cut, true);
            bench.drain();
            let id = bench.watching(&[EUR]);
            bench.run(9_000);
            assert!(bench.quotes(id, EUR).len() > 10, "seed {seed}");
        }
    }
}
