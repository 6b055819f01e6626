use std::time::Duration;

use serde_json::{Value, json};
use tickcast_model::{AuthState, Decimal, Details, Phase, Price, Tick};
use tickcast_session::SessionOutput;

use super::{Peer, settings};

const KEY: &str = "OANDA:EURUSD";
const NONE: Vec<String> = Vec::new();

fn main_part() -> Value {
    json!({"volume": 81234, "update_mode": "streaming", "pricescale": 100_000, "minmov": 1, "lp_time": 1_767_225_599,
           "lp": 1.08421, "current_session": "market"})
}

fn ticks(peer: &mut Peer) -> Vec<String> {
    let shown = |tick: &Tick| {
        let price =
            |price: Option<Price>| price.map_or("-".to_owned(), |it| it.with_digits(tick.digits).to_string());
        let mark = if tick.snapshot { "first" } else { "then" };
        let (last, bid, ask) = (price(tick.last), price(tick.bid), price(tick.ask));
        format!("{mark} {last} {bid} {ask} {:?}", tick.venue_time_ms)
    };
    peer.ticks().iter().map(|(_, tick)| shown(tick)).collect()
}

#[test]
fn the_start_up_of_the_facts_goes_as_written_there_whatever_the_cuts() {
    for chunk in [usize::MAX, 1, 2, 7, 64] {
        let mut peer = Peer::upgraded(settings());
        peer.chunk = chunk;
        peer.want(&[KEY, "FX:EURUSD"]);
        assert_eq!(peer.commands(), Vec::<Value>::new(), "nothing before the greeting");
        let greeting = r#"{"session_id":"0.4321.987_sim1-charts-free-1-tvbs-aaaaa-1","timestamp":1767225600,"timestampMs":1767225600123,"release":"release_209-10","studies_metadata_hash":"0123456789abcdef0123456789abcdef01234567","auth_scheme_vsn":2,"protocol":"json","via":"203.0.113.7:443","javastudies":["3.66"]}"#;
        peer.try_text(&format!("~m~289~m~{greeting}")).unwrap();
        let commands = peer.commands();
        let names: Vec<&str> = commands.iter().map(|command| command["m"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            ["set_auth_token", "set_locale", "quote_create_session", "quote_set_fields", "quote_add_symbols"]
        );
        assert_eq!(commands[0]["p"], json!(["unauthorized_user_token"]));
        let id = peer.session_of(KEY);
        assert_eq!(commands[4]["p"], json!([id, "FX:EURUSD", KEY]));
        let told = peer.told();
        assert!(matches!(told[0], SessionOutput::Auth(AuthState::Pending, None)));
        assert!(told.iter().any(|it| matches!(it, SessionOutput::Auth(AuthState::Ok, None))));
        let is_open = |it: &SessionOutput| matches!(it, SessionOutput::Catalogue(list) if list.open && list.instruments.is_empty());
        assert!(told.iter().any(is_open));

        let frame = |json: String| format!("~m~{}~m~{json}", json.encode_utf16().count());
        let snapshot = json!({"m": "qsd", "p": [id, {"n": KEY, "s": "ok", "v": main_part()}]}).to_string();
        let completed = json!({"m": "quote_completed", "p": [id, KEY]}).to_string();
        peer.try_text(&(frame(snapshot) + &frame(completed) + "~m~4~m~~h~1")).unwrap();
        assert_eq!(peer.beats, ["~h~1"]);
        assert_eq!(ticks(&mut peer), NONE, "the book may still come");
        peer.qsd(KEY, &json!({"bid": 1.0842, "ask": 1.08434}));
        peer.qsd(KEY, &json!({"lp_time": 1_767_225_601, "lp": 1.08425, "ch": 0.00134}));
        assert_eq!(
            ticks(&mut peer),
            [
                "first 1.08421 1.08420 1.08434 Some(1767225599000)",
                "then 1.08425 1.08420 1.08434 Some(1767225601000)"
            ]
        );
    }
}

#[test]
fn a_book_that_comes_first_is_joined_as_well() {
    let mut peer = Peer::greeted(settings(), &[KEY]);
    peer.qsd(KEY, &json!({"bid": 1.0842, "ask": 1.08434, "trade_loaded": true}));
    assert_eq!(ticks(&mut peer), NONE);
    peer.qsd(KEY, &main_part());
    assert_eq!(ticks(&mut peer), ["first 1.08421 1.08420 1.08434 Some(1767225599000)"]);
}

#[test]
fn an_instrument_without_a_book_ticks_all_the_same_and_soon() {
    let mut peer = Peer::greeted(settings(), &["TVC:DXY", "TVC:VIX"]);
    peer.qsd("TVC:DXY", &main_part());
    peer.completed("TVC:DXY");
    // This one's completion never comes.
    peer.qsd("TVC:VIX", &main_part());
    peer.pass(Duration::from_millis(499));
    assert_eq!(ticks(&mut peer), NONE);
    peer.pass(Duration::from_millis(1));
    assert_eq!(ticks(&mut peer), ["first 1.08421 - - Some(1767225599000)"]);
    peer.pass(Duration::from_millis(500));
    assert_eq!(ticks(&mut peer), ["first 1.08421 - - Some(1767225599000)"]);
    peer.qsd("TVC:DXY", &json!({"volume": 81235}));
    assert_eq!(ticks(&mut peer), ["then 1.08421 - - None"]);
}

#[test]
fn nothing_known_at_first_is_no_tick_and_what_comes_later_is_no_snapshot() {
    let mut peer = Peer::greeted(settings(), &[KEY]);
    peer.qsd(KEY, &json!({"volume": 1e100, "lp": null}));
    peer.completed(KEY);
    peer.pass(Duration::from_secs(5));
    assert_eq!(ticks(&mut peer), NONE);
    peer.qsd(KEY, &json!({"bid": 1.5}));
    assert_eq!(ticks(&mut peer), NONE, "one side is no price");
    peer.qsd(KEY, &json!({"ask": 1.6}));
    assert_eq!(ticks(&mut peer), ["then - 1.5 1.6 None"]);
}

#[test]
fn the_venues_infinity_and_null_clear_and_never_show_as_prices() {
    let mut peer = Peer::greeted(settings(), &[KEY]);
    peer.qsd(KEY, &main_part());
    peer.qsd(KEY, &json!({"bid": 1.0842, "ask": 1.08434}));
    ticks(&mut peer);
    let id = peer.session_of(KEY);
    let raw =
        format!(r#"{{"m":"qsd","p":["{id}",{{"n":"{KEY}","s":"ok","v":{{"bid":1e+100,"ask":null}}}}]}}"#);
    peer.try_text(&format!("~m~{}~m~{raw}", raw.len())).unwrap();
    assert_eq!(ticks(&mut peer), ["then 1.08421 - - None"]);
}

#[test]
fn repeated_data_are_no_ticks() {
    let mut peer = Peer::greeted(settings(), &[KEY]);
    peer.qsd(KEY, &main_part());
    peer.qsd(KEY, &json!({"bid": 1.0842, "ask": 1.08434}));
    assert_eq!(ticks(&mut peer).len(), 1);
    peer.qsd(KEY, &main_part());
    peer.qsd(KEY, &json!({"bid": 1.0842, "ask": 1.08434}));
    peer.qsd(KEY, &json!({"ch": 0.1}));
    assert_eq!(ticks(&mut peer), NONE);
}

#[test]
fn text_beyond_ascii_counts_in_utf16_and_names_come_back_as_they_were() {
    for name in
        ["KRX:삼성전자", "X:🎯A", "BITSTAMP:BTCUSD*1000", "1/XAUUSD", "={\"symbol\":\"OANDA:EURUSD\"}"]
    {
        for chunk in [usize::MAX, 1] {
            let mut peer = Peer::greeted(settings(), &[name]);
            peer.chunk = chunk;
            let description = "삼성전자 🎯 ~m~12~m~ ~h~1";
            peer.qsd(
                name,
                &json!({"local_description": description, "lp": 71500, "bid": 71400, "ask": 71600, "update_mode": "streaming"}),
            );
            let ticks = peer.ticks();
            assert_eq!((ticks.len(), ticks[0].0.as_str()), (1, name));
            assert_eq!(peer.beats, NONE);
        }
    }
}

#[test]
fn delayed_data_say_so_and_a_change_of_mode_counts_from_then_on() {
    let mut peer = Peer::greeted(settings(), &[KEY]);
    peer.qsd(KEY, &json!({"lp": 1.5, "bid": 1, "ask": 2, "update_mode": "delayed_streaming_900"}));
    peer.qsd(KEY, &json!({"lp": 1.6, "update_mode": "streaming"}));
    peer.qsd(KEY, &json!({"lp": 1.7}));
    let delays: Vec<Option<u32>> = peer.ticks().iter().map(|(_, tick)| tick.delayed_s).collect();
    assert_eq!(delays, [Some(900), None, None]);
}

#[test]
fn prices_whose_mode_nobody_said_wait_for_it_and_are_never_called_live() {
    let mut peer = Peer::greeted(settings(), &[KEY, "TVC:DXY"]);
    for key in [KEY, "TVC:DXY"] {
        peer.qsd(key, &json!({"lp": 1.5, "bid": 1, "ask": 2}));
        peer.completed(key);
    }
    peer.pass(Duration::from_millis(499));
    assert_eq!(ticks(&mut peer), NONE);
    peer.qsd(KEY, &json!({"update_mode": "delayed_streaming_900"}));
    let late = |peer: &mut Peer| {
        let told = peer.ticks();
        told.iter().map(|(name, tick)| (name.clone(), tick.delayed_s)).collect::<Vec<_>>()
    };
    assert_eq!(late(&mut peer), [(KEY.to_owned(), Some(900))]);
    // The other's does not come in time, and later it does.
    peer.pass(Duration::from_millis(1));
    assert_eq!(late(&mut peer), [("TVC:DXY".to_owned(), Some(0))]);
    peer.qsd("TVC:DXY", &json!({"lp": 1.6}));
    peer.qsd("TVC:DXY", &json!({"lp": 1.7, "update_mode": "streaming"}));
    assert_eq!(late(&mut peer), [("TVC:DXY".to_owned(), Some(0)), ("TVC:DXY".to_owned(), None)]);
}

#[test]
fn a_change_of_the_day_alone_is_no_tick_and_goes_with_the_next() {
    let mut peer = Peer::greeted(settings(), &[KEY]);
    peer.qsd(
        KEY,
        &json!({"lp": 1.5, "bid": 1, "ask": 2, "volume": 7, "ch": 0.1, "current_session": "market", "update_mode": "streaming"}),
    );
    peer.qsd(KEY, &json!({"ch": 0.2, "chp": 3.5, "current_session": "post_market"}));
    peer.qsd(KEY, &json!({"volume": 8.5}));
    let told = peer.ticks();
    let told: Vec<_> = told.iter().map(|(_, tick)| tick.details.as_deref().unwrap()).collect();
    let number = |units, scale| Decimal::new(units, scale);
    let first = Details {
        volume: number(7, 0),
        change: number(1, 1),
        session: Phase::new("market"),
        ..Details::default()
    };
    let second = Details {
        volume: number(85, 1),
        change: number(2, 1),
        change_percent: number(35, 1),
        session: Phase::new("post_market"),
        ..Details::default()
    };
    assert_eq!(told, [&first, &second]);
}

#[test]
fn a_session_that_ends_is_a_closed_market() {
    let mut peer = Peer::greeted(settings(), &[KEY]);
    let mut hours = |values: Value| {
        peer.qsd(KEY, &values);
        let told = peer.told().into_iter().filter_map(|output| match output {
            SessionOutput::Hours(_, hours) => Some(hours.state(1_767_225_600_000)),
            _ => None,
        });
        told.map(|state| format!("{state:?}")).collect::<Vec<_>>()
    };
    assert_eq!(hours(json!({"lp": 1})), NONE);
    assert_eq!(hours(json!({"current_session": "out_of_session"})), ["Closed { until_ms: None }"]);
    assert_eq!(hours(json!({"current_session": "out_of_session", "lp": 2})), NONE);
    assert_eq!(hours(json!({"current_session": "pre_market"})), NONE, "one phase without it as another");
    assert_eq!(hours(json!({"current_session": "market"})), ["Open { until_ms: None }"]);
    assert_eq!(hours(json!({"current_session": "post_market"})), ["Closed { until_ms: None }"]);
}

#[test]
fn heartbeats_are_answered_whatever_shares_their_message() {
    let mut peer = Peer::greeted(settings(), &[KEY]);
    peer.try_text("~m~4~m~~h~7~m~2~m~{}~m~4~m~~h~8~m~99~m~{}").unwrap();
    peer.try_text("~m~0~m~~m~5~m~~h~157").unwrap_or_default();
    assert_eq!(peer.beats[..2], ["~h~7", "~h~8"]);
    peer.try_text("~m~6~m~~h~157").unwrap();
    assert_eq!(peer.beats.last().map(String::as_str), Some("~h~157"));
}
