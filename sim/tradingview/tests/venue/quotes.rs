//! What a quote session is told when all is well.

use serde_json::{Value, json};
use sim_tradingview::{ANONYMOUS_TOKEN, Script, VenueSettings, payloads};

use crate::bench::{Bench, QS, UNIX_MS, has, names};

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

#[test]
fn what_is_not_known_of_the_real_one_is_a_setting() {
    let settings = VenueSettings {
        symbols: 30,
        unknown_symbol: "no_such_symbol".into(),
        session_symbols_max: 3,
        ..VenueSettings::default()
    };
    let mut bench = Bench::new(settings);
    let id = bench.watching(&["OANDA:EURUSD", "OANDA:NOSUCH"]);
    let error = json!([QS, { "n": "OANDA:NOSUCH", "s": "error", "errmsg": "no_such_symbol", "v": {} }]);
    assert!(bench.said(id).contains(&("qsd".to_owned(), error)));
    // An unknown one is not held.
    bench.add(id, &["FX:EURUSD", "OANDA:GBPUSD"]);
    assert!(!names(&bench.said(id)).contains(&"critical_error"));
    bench.add(id, &["OANDA:USDJPY"]);
    let error = json!([QS, "invalid_parameters", "quote_add_symbols"]);
    assert_eq!(bench.said(id), [("critical_error".to_owned(), error)]);
    assert_eq!(bench.venue.sessions(id), 0);
}

#[test]
fn with_a_calendar_shares_have_their_hours_and_trade_in_none_but_one() {
    let shares = "NASDAQ:AAPL";
    let settings = VenueSettings { symbols: 30, ticks_per_s: 1, calendar: true, ..VenueSettings::default() };
    let mut bench = Bench::new(settings);
    // It is midnight.
    let id = bench.watching(&[shares]);
    for (hours, phase, trades) in [
        (0, "out_of_session", false),
        (10, "pre_market", false),
        (5, "market", true),
        (6, "post_market", true),
    ] {
        bench.run(hours * 3_600_000);
        let quotes = bench.quotes(id, shares);
        let phases: Vec<&str> = quotes.iter().filter_map(|quote| quote["current_session"].as_str()).collect();
        assert_eq!(phases, [phase]);
        assert_eq!(quotes.len() > 100, trades, "{phase}");
        assert_eq!(bench.venue.is_open(shares), phase == "market");
    }
    bench.run(3_600_000);
    assert!(bench.quotes(id, shares).is_empty(), "after hours nothing trades");
}
