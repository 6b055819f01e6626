//! The venue as it behaves when nothing is wrong (facts 3 and 7).

use crate::bench::{ACCOUNT, Bench, START_MS, account_auth, application_auth, framed, subscribe_spots};
use prost::Message as _;
use sim_ctrader::wire::{
    ProtoHeartbeatEvent, ProtoMessage, ProtoOaAccountAuthReq, ProtoOaAccountAuthRes,
    ProtoOaAccountDisconnectEvent, ProtoOaAccountLogoutReq, ProtoOaAccountLogoutRes,
    ProtoOaAccountsTokenInvalidatedEvent, ProtoOaApplicationAuthReq, ProtoOaApplicationAuthRes,
    ProtoOaAssetClassListReq, ProtoOaAssetClassListRes, ProtoOaAssetListReq, ProtoOaAssetListRes,
    ProtoOaErrorRes, ProtoOaGetAccountListByAccessTokenReq, ProtoOaGetAccountListByAccessTokenRes,
    ProtoOaGetTickDataReq, ProtoOaGetTickDataRes, ProtoOaGetTrendbarsReq, ProtoOaGetTrendbarsRes,
    ProtoOaQuoteType, ProtoOaRefreshTokenReq, ProtoOaRefreshTokenRes, ProtoOaSpotEvent,
    ProtoOaSubscribeLiveTrendbarReq, ProtoOaSubscribeLiveTrendbarRes, ProtoOaSubscribeSpotsRes,
    ProtoOaSymbolByIdReq, ProtoOaSymbolByIdRes, ProtoOaSymbolCategoryListReq, ProtoOaSymbolCategoryListRes,
    ProtoOaSymbolsListReq, ProtoOaSymbolsListRes, ProtoOaTraderReq, ProtoOaTraderRes, ProtoOaTrendbarPeriod,
    ProtoOaUnsubscribeLiveTrendbarReq, ProtoOaUnsubscribeLiveTrendbarRes, ProtoOaUnsubscribeSpotsReq,
    ProtoOaUnsubscribeSpotsRes, ProtoOaVersionReq, ProtoOaVersionRes,
};
use sim_ctrader::{
    ConnectionId, Ending, Payload as _, RateAnswer, Reason, SimulatedVenue as _, VenueSettings,
};

fn symbols_list() -> ProtoOaSymbolsListReq {
    ProtoOaSymbolsListReq { ctid_trader_account_id: ACCOUNT, ..ProtoOaSymbolsListReq::default() }
}

fn unsubscribe(symbols: &[i64]) -> ProtoOaUnsubscribeSpotsReq {
    ProtoOaUnsubscribeSpotsReq {
        payload_type: None,
        ctid_trader_account_id: ACCOUNT,
        symbol_id: symbols.to_vec(),
    }
}

fn live_bar(symbol_id: i64, period: ProtoOaTrendbarPeriod) -> ProtoOaSubscribeLiveTrendbarReq {
    ProtoOaSubscribeLiveTrendbarReq {
        payload_type: None,
        ctid_trader_account_id: ACCOUNT,
        period: period.into(),
        symbol_id,
    }
}

#[test]
fn both_gates_are_kept_and_named_as_the_real_venue_names_them() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.write(id, &[0, 0, 0, 2, 8, 0x33]);
    assert_eq!(bench.next(id), None, "a heartbeat is welcome at any time");
    bench.ask(id, &symbols_list());
    assert_eq!(bench.refusal(id).0, "CH_CLIENT_NOT_AUTHENTICATED");
    bench.ask(id, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(id);
    bench.ask(id, &application_auth());
    assert_eq!(bench.refusal(id).0, "CH_CLIENT_ALREADY_AUTHENTICATED");
    let unauthorized = ("INVALID_REQUEST".to_owned(), "Trading account is not authorized".to_owned());
    bench.ask(id, &symbols_list());
    assert_eq!(bench.refusal(id), unauthorized);
    bench.ask(id, &account_auth());
    assert_eq!(bench.answer::<ProtoOaAccountAuthRes>(id).ctid_trader_account_id, ACCOUNT);
    bench.ask(id, &account_auth());
    let already = "Trading account is already authorized in this channel".to_owned();
    assert_eq!(bench.refusal(id), ("ALREADY_LOGGED_IN".to_owned(), already));
    bench.ask(id, &ProtoOaSymbolsListReq { ctid_trader_account_id: 7, ..symbols_list() });
    assert_eq!(bench.refusal(id), unauthorized);
    bench.ask(id, &symbols_list());
    assert_eq!(bench.answer::<ProtoOaSymbolsListRes>(id).symbol.len(), 30);
}

#[test]
fn a_wrong_secret_is_refused_and_the_connection_closed() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.ask(id, &ProtoOaApplicationAuthReq { client_secret: "guess".into(), ..application_auth() });
    let text = "clientId or clientSecret is incorrect".to_owned();
    assert_eq!(bench.refusal(id), ("CH_CLIENT_AUTH_FAILURE".to_owned(), text));
    assert_eq!(bench.closed(id), Some((Ending::Orderly, Reason::Credentials)));
    assert_eq!(bench.venue.connections().count(), 0);
}

#[test]
fn a_wrong_token_or_account_is_refused_and_the_connection_stays() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.ask(id, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(id);
    bench.ask(id, &ProtoOaAccountAuthReq { access_token: "guess".into(), ..account_auth() });
    assert_eq!(bench.refusal(id).0, "CH_ACCESS_TOKEN_INVALID");
    bench.ask(id, &ProtoOaAccountAuthReq { ctid_trader_account_id: 7, ..account_auth() });
    assert_eq!(bench.refusal(id).0, "CH_CTID_TRADER_ACCOUNT_NOT_FOUND");
    assert!(!bench.venue.is_logged_in(id));
    bench.ask(id, &account_auth());
    bench.answer::<ProtoOaAccountAuthRes>(id);
    assert!(bench.venue.is_logged_in(id) && bench.closed(id).is_none());
}

#[test]
fn an_answer_carries_the_id_of_its_request_and_no_inner_payload_type() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    for text in [Some("65f0c1"), Some(""), Some("no such – id ✓"), None] {
        bench.ask_with_id(id, &ProtoOaVersionReq { payload_type: None }, text);
        let envelope = bench.next(id).unwrap();
        assert_eq!(envelope.client_msg_id.as_deref(), text);
        let version = ProtoOaVersionRes::decode(envelope.payload.unwrap()).unwrap();
        assert_eq!(version.payload_type, None);
        bench.ask_with_id(id, &subscribe_spots(&[2]), text);
        let envelope = bench.next(id).unwrap();
        assert_eq!((envelope.payload_type, envelope.client_msg_id.as_deref()), (2142, text));
    }
}

#[test]
fn reference_data_hangs_together() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.ask(id, &ProtoOaSymbolsListReq { include_archived_symbols: Some(true), ..symbols_list() });
    let list = bench.answer::<ProtoOaSymbolsListRes>(id);
    bench.ask(id, &ProtoOaAssetListReq { payload_type: None, ctid_trader_account_id: ACCOUNT });
    let assets = bench.answer::<ProtoOaAssetListRes>(id).asset;
    bench.ask(id, &ProtoOaAssetClassListReq { payload_type: None, ctid_trader_account_id: ACCOUNT });
    let classes = bench.answer::<ProtoOaAssetClassListRes>(id).asset_class;
    bench.ask(id, &ProtoOaSymbolCategoryListReq { payload_type: None, ctid_trader_account_id: ACCOUNT });
    let categories = bench.answer::<ProtoOaSymbolCategoryListRes>(id).symbol_category;
    bench.ask(id, &ProtoOaTraderReq { payload_type: None, ctid_trader_account_id: ACCOUNT });
    let trader = bench.answer::<ProtoOaTraderRes>(id).trader;

    let asset = |wanted: Option<i64>| assets.iter().find(|asset| Some(asset.asset_id) == wanted).unwrap();
    let euro = list.symbol.iter().find(|symbol| symbol.symbol_name() == "EURUSD").unwrap();
    assert_eq!(
        (asset(euro.base_asset_id).name.as_str(), asset(euro.quote_asset_id).name.as_str()),
        ("EUR", "USD")
    );
    assert_eq!(asset(Some(trader.deposit_asset_id)).name, "USD");
    for symbol in &list.symbol {
        let category = categories.iter().find(|one| Some(one.id) == symbol.symbol_category_id).unwrap();
        assert!(classes.iter().any(|class| class.id == Some(category.asset_class_id)));
    }

    let retired = list.archived_symbol[0].symbol_id;
    let ask = |symbol_id: Vec<i64>| ProtoOaSymbolByIdReq {
        payload_type: None,
        ctid_trader_account_id: ACCOUNT,
        symbol_id,
    };
    bench.ask(id, &ask(vec![41, 1, retired]));
    let details = bench.answer::<ProtoOaSymbolByIdRes>(id);
    let shapes: Vec<_> =
        details.symbol.iter().map(|one| (one.symbol_id, one.digits, one.pip_position)).collect();
    assert_eq!(shapes, [(1, 5, 4), (41, 2, 0)]);
    let week = &details.symbol[0].schedule[0];
    assert_eq!((week.start_second, week.end_second), (0, 604_800));
    assert_eq!(details.archived_symbol.len(), 1);
    bench.ask(id, &ask(vec![1, 2]));
    assert_eq!(bench.refusal(id).0, "SYMBOL_NOT_FOUND");
}

#[test]
fn the_token_says_which_accounts_it_opens() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.ask(id, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(id);
    let ask = |access_token: &str| ProtoOaGetAccountListByAccessTokenReq {
        payload_type: None,
        access_token: access_token.into(),
    };
    bench.ask(id, &ask("sim-token"));
    let list = bench.answer::<ProtoOaGetAccountListByAccessTokenRes>(id);
    assert_eq!(list.access_token, "sim-token");
    assert_eq!(list.ctid_trader_account[0].ctid_trader_account_id, ACCOUNT.unsigned_abs());
    assert_eq!(list.ctid_trader_account[0].is_live, Some(false));
    bench.ask(id, &ask("guess"));
    assert_eq!(bench.refusal(id).0, "CH_ACCESS_TOKEN_INVALID");
}

#[test]
fn a_subscription_is_answered_then_told_whole_then_streamed() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.ask(id, &subscribe_spots(&[41, 1]));
    let answer = bench.next(id).unwrap();
    assert_eq!(answer.payload_type, ProtoOaSubscribeSpotsRes::TYPE);
    let snapshots = bench.spots(id);
    assert_eq!(snapshots.iter().map(|event| event.symbol_id).collect::<Vec<_>>(), [1, 41]);
    for event in &snapshots {
        assert!(event.bid.is_some() && event.ask.is_some() && event.session_close.is_some());
        assert!((START_MS - 3_000..=START_MS).contains(&event.timestamp.unwrap()));
    }
    bench.advance(20_000);
    let events = bench.spots(id);
    assert!((600..1_000).contains(&events.len()), "{}", events.len());
    assert!(events.iter().all(|event| event.session_close.is_none() && event.trendbar.is_empty()));
    for kind in [(true, true), (true, false), (false, true)] {
        assert!(events.iter().any(|event| (event.bid.is_some(), event.ask.is_some()) == kind), "{kind:?}");
    }
    for symbol in [1, 41] {
        let times =
            || events.iter().filter(|event| event.symbol_id == symbol).map(|event| event.timestamp.unwrap());
        assert!(times().is_sorted());
        let last = |side: fn(&ProtoOaSpotEvent) -> Option<u64>| {
            events.iter().rev().filter(|event| event.symbol_id == symbol).find_map(side).unwrap()
        };
        let held = (last(|event| event.bid), last(|event| event.ask));
        let quote = bench.venue.quote(symbol).unwrap();
        let sent = bench.venue.sent(id, symbol).unwrap();
        assert_eq!(held, (quote.bid, quote.ask));
        assert_eq!(held, (sent.bid, sent.ask));
        assert_eq!((sent.snapshots, sent.events), (1, 1 + times().count() as u64));
        assert_eq!(quote.seq, times().count() as u64);
    }
}

#[test]
fn times_are_sent_only_where_asked_for() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    let mut request = subscribe_spots(&[1]);
    request.subscribe_to_spot_timestamp = None;
    bench.ask(id, &request);
    bench.answer::<ProtoOaSubscribeSpotsRes>(id);
    bench.advance(1_000);
    let events = bench.spots(id);
    assert!(events.len() > 5 && events.iter().all(|event| event.timestamp.is_none()));
}

#[test]
fn a_subscription_is_not_idempotent_and_takes_all_or_none() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    for (symbols, code) in [
        (vec![1], "ALREADY_SUBSCRIBED"),
        (vec![3, 1], "ALREADY_SUBSCRIBED"),
        (vec![5, 2], "SYMBOL_NOT_FOUND"),
    ] {
        bench.ask(id, &subscribe_spots(&symbols));
        assert_eq!(bench.refusal(id).0, code, "{symbols:?}");
    }
    assert_eq!(bench.venue.subscribed(id), [1]);
    bench.ask(id, &unsubscribe(&[1]));
    bench.answer::<ProtoOaUnsubscribeSpotsRes>(id);
    bench.advance(5_000);
    assert_eq!(bench.spots(id), []);
    bench.ask(id, &unsubscribe(&[1]));
    assert_eq!(bench.refusal(id).0, "NOT_SUBSCRIBED_TO_SPOTS");
    assert_eq!(bench.subscribe(id, &[3, 3, 1][1..]).len(), 2);
}

#[test]
fn sessions_and_subscriptions_belong_to_one_connection() {
    let mut bench = Bench::usual();
    let (one, two) = (bench.log_in(), bench.log_in());
    bench.subscribe(one, &[1, 3]);
    bench.subscribe(two, &[3]);
    bench.advance(3_000);
    let at_one: Vec<_> = bench.spots(one).into_iter().filter(|event| event.symbol_id == 3).collect();
    assert_eq!(at_one, bench.spots(two));
    bench.venue.closed(one, Reason::Peer);
    bench.advance(1_000);
    assert!(!bench.spots(two).is_empty());
    let three = bench.open();
    bench.ask(three, &subscribe_spots(&[1]));
    assert_eq!(bench.refusal(three).0, "CH_CLIENT_NOT_AUTHENTICATED");
    assert_eq!(bench.venue.counters().closed[&Reason::Peer], 1);
}

#[test]
fn live_bars_ride_on_events_with_a_bid() {
    let mut bench = Bench::patient();
    let id = bench.log_in();
    bench.ask(id, &live_bar(1, ProtoOaTrendbarPeriod::M1));
    let (code, text) = bench.refusal(id);
    assert_eq!(code, "INVALID_REQUEST");
    assert!(!text.contains("not authorized"));
    let first = bench.subscribe(id, &[1]).remove(0);
    for period in [ProtoOaTrendbarPeriod::M1, ProtoOaTrendbarPeriod::H1] {
        bench.ask(id, &live_bar(1, period));
        bench.answer::<ProtoOaSubscribeLiveTrendbarRes>(id);
        let again = bench.answer::<ProtoOaSpotEvent>(id);
        assert_eq!((again.bid, again.ask, again.timestamp), (first.bid, first.ask, first.timestamp));
        assert_eq!(
            (again.session_close, again.trendbar.last().unwrap().period()),
            (first.session_close, period)
        );
    }
    bench.ask(id, &live_bar(1, ProtoOaTrendbarPeriod::M1));
    assert_eq!(bench.refusal(id).0, "ALREADY_SUBSCRIBED");
    bench.advance(90_000);
    let events = bench.spots(id);
    let mut volume = 0;
    let mut opened = 0;
    for event in &events {
        assert_eq!(event.trendbar.len(), if event.bid.is_some() { 2 } else { 0 });
        volume += i64::from(event.bid.is_some()) + i64::from(event.ask.is_some());
        let Some(bar) = event.trendbar.first() else { continue };
        let close = i64::try_from(event.bid.unwrap()).unwrap();
        let high = bar.low() + i64::try_from(bar.delta_high()).unwrap();
        assert!((bar.low()..=high).contains(&close) && bar.delta_close.is_none());
        if bar.utc_timestamp_in_minutes() > opened {
            // The first update of a minute may have been an ask: then its bar was begun before this event.
            assert!(bar.volume <= 2 + 20, "a new minute starts a new bar");
            opened = bar.utc_timestamp_in_minutes();
        }
        assert_eq!(event.trendbar[1].volume, volume, "the hour counts every side");
    }
    let stop = ProtoOaUnsubscribeLiveTrendbarReq {
        payload_type: None,
        ctid_trader_account_id: ACCOUNT,
        period: ProtoOaTrendbarPeriod::M1.into(),
        symbol_id: 1,
    };
    bench.ask(id, &stop);
    bench.answer::<ProtoOaUnsubscribeLiveTrendbarRes>(id);
    bench.ask(id, &stop);
    assert_eq!(bench.refusal(id).0, "INVALID_REQUEST");
}

#[test]
fn history_repeats_what_was_told() {
    let mut bench = Bench::patient();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    bench.advance(10_000);
    let told: Vec<(i64, i64)> = bench
        .spots(id)
        .into_iter()
        .filter_map(|event| Some((event.timestamp.unwrap(), i64::try_from(event.bid?).unwrap())))
        .collect();
    let ticks = |to_timestamp: Option<i64>| ProtoOaGetTickDataReq {
        payload_type: None,
        ctid_trader_account_id: ACCOUNT,
        symbol_id: 1,
        r#type: ProtoOaQuoteType::Bid.into(),
        from_timestamp: None,
        to_timestamp,
    };
    bench.ask(id, &ticks(None));
    let page = bench.answer::<ProtoOaGetTickDataRes>(id);
    let mut entry = (0, 0);
    let mut read: Vec<(i64, i64)> = Vec::new();
    for tick in &page.tick_data {
        entry = (entry.0 + tick.timestamp, entry.1 + tick.tick);
        read.insert(0, entry);
    }
    assert!(!page.has_more);
    assert_eq!(read, told);
    bench.ask(id, &ticks(Some(-1)));
    assert_eq!(bench.refusal(id).0, "INCORRECT_BOUNDARIES");

    bench.advance(180_000);
    bench.spots(id);
    let bars = ProtoOaGetTrendbarsReq {
        ctid_trader_account_id: ACCOUNT,
        symbol_id: 1,
        period: ProtoOaTrendbarPeriod::M1.into(),
        count: Some(2),
        ..ProtoOaGetTrendbarsReq::default()
    };
    bench.ask(id, &bars);
    let page = bench.answer::<ProtoOaGetTrendbarsRes>(id);
    assert!(page.timestamp.is_some() && page.has_more());
    let opened: Vec<u32> = page.trendbar.iter().map(|bar| bar.utc_timestamp_in_minutes()).collect();
    let now_minute = u32::try_from(bench.now().unix_ms / 60_000).unwrap();
    assert_eq!(opened, [now_minute - 2, now_minute - 1], "closed bars, oldest first");
    assert!(page.trendbar.iter().all(|bar| bar.period.is_none() && bar.delta_close.is_some()));
}

#[test]
fn a_refresh_token_is_good_once_and_its_use_ends_the_session() {
    let mut bench = Bench::usual();
    let (id, other) = (bench.log_in(), bench.open());
    bench.subscribe(id, &[1]);
    bench.ask(other, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(other);
    let refresh = |token: &str| ProtoOaRefreshTokenReq { payload_type: None, refresh_token: token.into() };
    bench.ask(other, &refresh("sim-refresh"));
    let pair = bench.answer::<ProtoOaRefreshTokenRes>(other);
    assert_eq!((pair.token_type.as_str(), pair.expires_in), ("bearer", 2_628_000));
    assert_eq!(bench.answer::<ProtoOaAccountsTokenInvalidatedEvent>(id).ctid_trader_account_ids, [ACCOUNT]);
    assert_eq!(bench.answer::<ProtoOaAccountDisconnectEvent>(id).ctid_trader_account_id, ACCOUNT);
    bench.advance(2_000);
    assert_eq!(bench.spots(id), []);
    bench.ask(other, &refresh("sim-refresh"));
    assert_eq!(bench.refusal(other).0, "CH_ACCESS_TOKEN_INVALID");
    bench.ask(id, &account_auth());
    assert_eq!(bench.refusal(id).0, "CH_ACCESS_TOKEN_INVALID");
    bench.ask(id, &ProtoOaAccountAuthReq { access_token: pair.access_token, ..account_auth() });
    bench.answer::<ProtoOaAccountAuthRes>(id);
    bench.ask(other, &refresh(&pair.refresh_token));
    bench.answer::<ProtoOaRefreshTokenRes>(other);
}

#[test]
fn a_logout_ends_the_session_and_says_so() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    bench.ask(id, &ProtoOaAccountLogoutReq { payload_type: None, ctid_trader_account_id: ACCOUNT });
    bench.answer::<ProtoOaAccountLogoutRes>(id);
    bench.answer::<ProtoOaAccountDisconnectEvent>(id);
    bench.advance(2_000);
    assert_eq!(bench.spots(id), []);
    assert!(!bench.venue.is_logged_in(id) && bench.venue.subscribed(id).is_empty());
    bench.ask(id, &account_auth());
    bench.answer::<ProtoOaAccountAuthRes>(id);
}

#[test]
fn heartbeats_come_after_silence_and_are_never_echoed() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    let keep_alive = |bench: &mut Bench, id: ConnectionId| {
        bench.advance(5_000);
        bench.ask_with_id(id, &ProtoHeartbeatEvent { payload_type: None }, Some("hb"));
    };
    for _ in 0..4 {
        keep_alive(&mut bench, id);
        assert_eq!(bench.next(id), None);
    }
    for _ in 0..2 {
        keep_alive(&mut bench, id);
    }
    let envelope = bench.next(id).unwrap();
    assert_eq!((envelope.payload_type, envelope.client_msg_id), (51, None));
    assert_eq!(bench.next(id), None);
    bench.subscribe(id, &[1]);
    for _ in 0..12 {
        keep_alive(&mut bench, id);
        bench.spots(id);
    }
}

#[test]
fn a_silent_client_is_cut_off_even_while_quotes_flow_to_it() {
    let mut bench = Bench::usual();
    let (silent, alive) = (bench.log_in(), bench.log_in());
    bench.subscribe(silent, &[1]);
    bench.advance(29_000);
    bench.ask(alive, &ProtoHeartbeatEvent { payload_type: None });
    assert_eq!(bench.closed(silent), None);
    bench.advance(1_000);
    assert_eq!(bench.closed(silent), Some((Ending::Orderly, Reason::Inactivity)));
    assert_eq!(bench.closed(alive), None);
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    let version = ProtoOaVersionReq { payload_type: None };
    for _ in 0..48 {
        bench.ask(id, &version);
        bench.answer::<ProtoOaVersionRes>(id);
    }
    bench.ask(id, &version);
    let error = bench.answer::<ProtoOaErrorRes>(id);
    assert_eq!((error.error_code.as_str(), error.retry_after), ("BLOCKED_PAYLOAD_TYPE", Some(1)));
    let ticks = ProtoOaGetTickDataReq {
        ctid_trader_account_id: ACCOUNT,
        symbol_id: 1,
        r#type: ProtoOaQuoteType::Ask.into(),
        ..ProtoOaGetTickDataReq::default()
    };
    for _ in 0..5 {
        bench.ask(id, &ticks);
        bench.answer::<ProtoOaGetTickDataRes>(id);
    }
    bench.ask(id, &ticks);
    assert_eq!(bench.refusal(id).0, "BLOCKED_PAYLOAD_TYPE");
    bench.advance(1_000);
    bench.ask(id, &version);
    bench.answer::<ProtoOaVersionRes>(id);
}

#[test]
fn the_older_rate_answer_can_be_chosen() {
    let settings = VenueSettings {
        rate_answer: RateAnswer::FrequencyExceeded,
        requests_per_s: 2,
        ..VenueSettings::default()
    };
    let mut bench = Bench::new(settings);
    let id = bench.log_in();
    bench.ask(id, &symbols_list());
    let error = bench.answer::<ProtoOaErrorRes>(id);
    assert_eq!(error.error_code, "REQUEST_FREQUENCY_EXCEEDED");
    assert_eq!(error.description(), "You have reached the rate limit of requests");
    assert_eq!((error.ctid_trader_account_id, error.retry_after), (Some(0), None));
}

#[test]
fn what_is_not_offered_is_refused_and_the_connection_stays() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    for payload_type in [2106, 2118, 2156, 2200, 5, u32::MAX] {
        let envelope = ProtoMessage { payload_type, payload: None, client_msg_id: Some("x".into()) };
        let mut bytes = u32::try_from(envelope.encoded_len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(envelope.encode_to_vec());
        bench.write(id, &bytes);
        assert_eq!(bench.common_refusal(id), "UNSUPPORTED_MESSAGE", "{payload_type}");
    }
    let envelope = ProtoMessage { payload_type: 2127, payload: Some(vec![0xff].into()), client_msg_id: None };
    let mut bytes = u32::try_from(envelope.encoded_len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(envelope.encode_to_vec());
    bench.write(id, &bytes);
    assert_eq!(bench.refusal(id).0, "INVALID_REQUEST");
    assert_eq!(bench.closed(id), None);
}

#[test]
fn the_same_bytes_are_answered_the_same_however_they_are_cut() {
    let mut stream = framed(&ProtoHeartbeatEvent { payload_type: None }, None);
    stream.extend(framed(&application_auth(), Some("1")));
    stream.extend(framed(&account_auth(), Some("2")));
    stream.extend(framed(&symbols_list(), Some("3")));
    stream.extend(framed(&subscribe_spots(&[1, 3, 41]), Some("4")));
    let told = |parts: &[&[u8]]| {
        let mut bench = Bench::usual();
        let id = bench.open();
        for part in parts {
            bench.write(id, part);
        }
        bench.advance(2_000);
        bench.bytes(id).to_vec()
    };
    let whole = told(&[&stream]);
    assert!(whole.len() > 2_000);
    for cut in 0..=stream.len() {
        assert_eq!(told(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(told(&single), whole);
}
