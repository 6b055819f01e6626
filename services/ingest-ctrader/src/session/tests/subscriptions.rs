//! What is asked of the venue about symbols, and what is believed of its answers (facts 3.4-3.6, 3.10).

use super::*;

/// Row 26: the first quote is a state, not a new tick; row 8: an absent side is not a price of 0.
#[test]
fn the_first_quote_is_a_snapshot_and_one_sided_quotes_keep_the_other_side() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    played.describe();
    played.subscribed();
    let ticks = played.spot(1, Some(114_811), Some(114_813));
    assert_eq!((ticks.len(), ticks[0].snapshot, sides(&ticks[0])), (1, true, (114_811, 114_813)));
    assert_eq!((ticks[0].venue_time_ms, ticks[0].digits), (Some(1_789_757_084_253), 5));
    let ticks = played.spot(1, None, Some(114_814));
    assert_eq!((ticks.len(), ticks[0].snapshot, sides(&ticks[0])), (1, false, (114_811, 114_814)));
    let ticks = played.spot(1, Some(114_814), None);
    assert_eq!(sides(&ticks[0]), (114_814, 114_814), "zero spread");
}

/// Row 9: an index with two digits travels at the same scale of 1/100000.
#[test]
fn prices_are_scaled_by_100000_whatever_the_digits() {
    let mut played = Played::ready();
    played.want(&["US100.cash"]);
    let request = played.request(Kind::ProtoOaSymbolByIdReq);
    let symbol = wire::ProtoOaSymbol { symbol_id: 2, digits: 2, pip_position: 0, ..Default::default() };
    played.describe_as(&request, vec![symbol]);
    played.subscribed();
    let tick = played.spot(2, Some(2_529_084_000), Some(2_529_100_000)).remove(0);
    assert_eq!((tick.bid.unwrap().units(), tick.bid.unwrap().scale(), tick.digits), (2_529_084_000, 5, 2));
}

/// Row 12: a live bar that rides on an event is not read, so its absent close is no price.
#[test]
fn a_live_bar_inside_an_event_is_no_price() {
    let mut played = Played::holding(&["EURUSD"]);
    let bar = wire::ProtoOaTrendbar { volume: 58, low: Some(114_809), ..Default::default() };
    let event = wire::ProtoOaSpotEvent {
        ctid_trader_account_id: ACCOUNT,
        symbol_id: 1,
        bid: Some(114_811),
        ask: Some(114_813),
        trendbar: vec![bar],
        ..Default::default()
    };
    assert_eq!(sides(&played.event(&event)[0]), (114_811, 114_813));
}

#[test]
fn nothing_is_published_before_both_sides_are_known() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    played.describe();
    played.subscribed();
    assert!(played.spot(1, Some(114_811), None).is_empty());
    assert!(played.spot(1, Some(114_812), None).is_empty());
    assert_eq!(played.spot(1, None, Some(114_813)).len(), 1);
}

#[test]
fn late_foreign_and_impossible_quotes_are_passed_over() {
    let mut played = Played::holding(&["EURUSD"]);
    assert!(played.spot(2, Some(1), Some(2)).is_empty(), "not subscribed");
    assert!(played.spot(99, Some(1), Some(2)).is_empty(), "not known");
    assert!(played.spot(1, Some(u64::MAX), Some(2)).is_empty(), "not a price");
    assert_eq!(played.spot(1, Some(1), Some(2)).len(), 1);
}

/// Row 25 and facts section 7: the venue's time may be absent or go backwards; it is passed on and decides nothing.
#[test]
fn the_venues_time_is_passed_on_as_it_is_and_moves_no_clock_of_ours() {
    let mut played = Played::holding(&["EURUSD"]);
    let deadline = played.session.deadline();
    for timestamp in [Some(1_789_757_084_253), Some(5), None, Some(i64::MAX), Some(-1)] {
        let event = wire::ProtoOaSpotEvent {
            ctid_trader_account_id: ACCOUNT,
            symbol_id: 1,
            bid: Some(1),
            timestamp,
            ..Default::default()
        };
        let tick = played.event(&event).remove(0);
        assert_eq!((tick.venue_time_ms, tick.received_us), (timestamp, played.now.unix_us));
        assert_eq!(played.session.deadline(), deadline);
    }
}

/// Row 26: a snapshot sent once more is a state again.
#[test]
fn an_event_with_the_sessions_close_is_a_snapshot() {
    let mut played = Played::holding(&["EURUSD"]);
    let event = wire::ProtoOaSpotEvent {
        ctid_trader_account_id: ACCOUNT,
        symbol_id: 1,
        bid: Some(1),
        ask: Some(2),
        session_close: Some(1),
        ..Default::default()
    };
    assert!(played.event(&event)[0].snapshot);
    assert!(!played.spot(1, Some(1), Some(2))[0].snapshot);
}

/// Held means proved: the venue's answer alone shows nothing (facts 3.5).
#[test]
fn a_subscription_is_held_once_a_price_shows_it() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    played.describe();
    played.subscribed();
    assert!(played.held().is_empty());
    assert!(!played.standing("EURUSD").ok);
    played.spot(1, Some(1), None);
    assert_eq!(played.held(), ["EURUSD"]);
    assert!(played.standing("EURUSD").ok);
}

#[test]
fn a_price_can_be_read_before_the_answer() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    played.describe();
    let request = played.request(Kind::ProtoOaSubscribeSpotsReq);
    assert_eq!(played.spot(1, Some(1), Some(2)).len(), 1);
    played.answer(Kind::ProtoOaSubscribeSpotsRes, &wire::ProtoOaSubscribeSpotsRes::default(), request.id);
    assert_eq!(played.held(), ["EURUSD"]);
    played.pass(30).unwrap();
    assert!(played.is_quiet(), "nothing is left to ask for");
}

/// Rows 3 and 5: a symbol that stays silent after the answer is asked for again, one by one, and then it is said.
#[test]
fn a_symbol_that_stays_silent_is_asked_for_again_alone_and_then_reported() {
    let mut played = Played::ready();
    played.want(&["EURUSD", "US100.cash"]);
    played.describe();
    assert_eq!(played.subscribed(), [1, 2]);
    assert!(played.states().is_empty());
    played.pass(5).unwrap();
    assert_eq!(played.unsubscribed(), [1]);
    assert_eq!(played.unsubscribed(), [2]);
    assert_eq!(played.subscribed(), [1]);
    assert_eq!(played.subscribed(), [2]);
    assert_eq!(played.spot(2, Some(1), Some(2)).len(), 1);
    played.outputs();
    played.pass(5).unwrap();
    let states = played.states();
    assert_eq!(states.len(), 1);
    let (symbol, state) = &states[0];
    assert_eq!((symbol.as_str(), state.state), ("EURUSD", SymbolState::Pending));
    assert_eq!(state.code.as_deref(), Some("SILENT"));
    assert!(state.message.as_ref().unwrap().contains("2 times"), "{state:?}");
    assert!(played.standing("EURUSD").detail.contains("no price came"));
    // It goes on, ever more slowly, and a price ends it.
    let mut asked = 0;
    for _ in 0..600 {
        played.pass(1).unwrap();
        while let Some(request) = played.next_request() {
            match request.kind {
                Kind::ProtoOaUnsubscribeSpotsReq => {
                    let answer = wire::ProtoOaUnsubscribeSpotsRes::default();
                    played.answer(Kind::ProtoOaUnsubscribeSpotsRes, &answer, request.id);
                }
                kind => {
                    assert_eq!(kind, Kind::ProtoOaSubscribeSpotsReq);
                    let answer = wire::ProtoOaSubscribeSpotsRes::default();
                    played.answer(Kind::ProtoOaSubscribeSpotsRes, &answer, request.id);
                    asked += 1;
                }
            }
        }
    }
    assert!((5..15).contains(&asked), "{asked} times in ten minutes");
    assert_eq!(played.spot(1, Some(1), Some(2)).len(), 1);
    assert_eq!(played.held(), ["EURUSD", "US100.cash"]);
}

#[test]
fn what_is_not_wanted_any_more_is_released_and_late_events_are_not_published() {
    let mut played = Played::holding(&["EURUSD", "US100.cash"]);
    played.want(&["EURUSD"]);
    let request = played.request(Kind::ProtoOaUnsubscribeSpotsReq);
    let ids = wire::ProtoOaUnsubscribeSpotsReq::decode(request.payload.clone()).unwrap().symbol_id;
    assert_eq!(ids, [2]);
    assert!(played.spot(2, Some(1), Some(2)).is_empty(), "late quotes are passed over");
    played.refuse(&request, "NOT_SUBSCRIBED_TO_SPOTS", "").unwrap();
    assert_eq!(played.standing("US100.cash").detail, "not wanted", "a refusal to release is a release");
    assert!(played.spot(2, Some(1), Some(2)).is_empty());
    played.pass(60).unwrap();
    assert!(played.is_quiet());
}

/// Row 5: what is subscribed already is a success that a price has to show.
#[test]
fn a_refused_batch_is_asked_one_by_one_and_only_the_bad_symbol_is_refused() {
    let mut played = Played::ready();
    played.want(&["EURUSD", "US100.cash"]);
    played.describe();
    let batch = played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.refuse(&batch, "ALREADY_SUBSCRIBED", "").unwrap();
    let first = played.request(Kind::ProtoOaSubscribeSpotsReq);
    let second = played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.refuse(&first, "ALREADY_SUBSCRIBED", "").unwrap();
    played.refuse(&second, "SYMBOL_NOT_FOUND", "gone").unwrap();
    played.spot(1, Some(1), Some(2));
    assert_eq!(played.held(), ["EURUSD"]);
    let (symbol, state) = played.states().remove(0);
    assert_eq!((symbol.as_str(), state.state), ("US100.cash", SymbolState::Refused));
    assert_eq!(state.message.as_deref(), Some("SYMBOL_NOT_FOUND (gone)"));
    assert!(played.standing("US100.cash").detail.contains("SYMBOL_NOT_FOUND"));
}

/// A refusal is not for ever: the venue does not always say when it would answer otherwise.
#[test]
fn a_refused_symbol_is_looked_at_again_much_later() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    played.describe();
    let request = played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.refuse(&request, "UNKNOWN_SYMBOL", "").unwrap();
    played.pass(299).unwrap();
    assert!(played.is_quiet());
    played.pass(1).unwrap();
    played.describe();
    played.subscribed();
    assert_eq!(played.spot(1, Some(1), Some(2)).len(), 1);
}

#[test]
fn a_name_the_venue_does_not_have_and_prices_that_do_not_fit_are_refused_aloud() {
    let mut played = Played::ready();
    played.want(&["NOSUCH", "DEEP"]);
    played.describe();
    let refused: Vec<(String, Option<String>)> =
        played.states().into_iter().map(|(symbol, state)| (symbol, state.code)).collect();
    assert_eq!(
        refused,
        [("NOSUCH".into(), Some("UNKNOWN_SYMBOL".into())), ("DEEP".into(), Some("SYMBOL_REFUSED".into()))]
    );
    assert!(played.standing("DEEP").detail.contains("6 digits"));
    assert!(played.held().is_empty());
    played.want(&["NOSUCH", "DEEP", "EURUSD"]);
    assert!(played.states().is_empty(), "told once");
}

/// Row 14.
#[test]
fn the_venues_request_to_slow_down_is_heeded_and_the_request_repeated() {
    for (code, retry_after) in [("BLOCKED_PAYLOAD_TYPE", Some(3)), ("REQUEST_FREQUENCY_EXCEEDED", None)] {
        let mut played = Played::ready();
        played.want(&["EURUSD"]);
        let request = played.request(Kind::ProtoOaSymbolByIdReq);
        let blocked = wire::ProtoOaErrorRes {
            error_code: code.into(),
            retry_after,
            ctid_trader_account_id: Some(0),
            ..Default::default()
        };
        played.answer(Kind::ProtoOaErrorRes, &blocked, request.id);
        let wait = retry_after.unwrap_or(1) * 1000;
        played.pass_ms(wait - 1).unwrap();
        assert!(played.is_quiet(), "the time is not over");
        played.pass_ms(1).unwrap();
        played.request(Kind::ProtoOaSymbolByIdReq);
    }
}

/// Row 14: where slowing down does not help, each symbol says so.
#[test]
fn a_request_that_stays_blocked_is_reported() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    for wait in [1, 2, 4] {
        assert!(played.states().is_empty());
        let request = played.request(Kind::ProtoOaSymbolByIdReq);
        played.refuse(&request, "REQUEST_FREQUENCY_EXCEEDED", "too many").unwrap();
        played.pass(wait).unwrap();
    }
    let (symbol, state) = played.states().remove(0);
    assert_eq!((symbol.as_str(), state.code.as_deref()), ("EURUSD", Some("RATE_LIMITED")));
    assert_eq!(state.state, SymbolState::Pending);
}

/// Row 14: a restart with a thousand symbols keeps the venue's limit, to the last request.
#[test]
fn a_replay_of_many_symbols_is_paced() {
    let mut played = Played::start();
    played.application();
    played.account();
    let names: Vec<String> = (1..=1_000).map(|id| format!("S{id}")).collect();
    let symbols: Vec<(i64, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
    played.list(&symbols);
    played.want(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut sent = Vec::new();
    let mut alone = 0;
    for _ in 0..6_000 {
        played.pass_ms(10).unwrap();
        while let Some(request) = played.next_request() {
            sent.push(played.now.elapsed);
            match request.kind {
                Kind::ProtoOaSymbolByIdReq => {
                    let ids = wire::ProtoOaSymbolByIdReq::decode(request.payload.clone()).unwrap().symbol_id;
                    assert!(ids.len() <= 100);
                    let describe = |id| wire::ProtoOaSymbol {
                        symbol_id: id,
                        digits: 5,
                        pip_position: 4,
                        ..Default::default()
                    };
                    played.describe_as(&request, ids.into_iter().map(describe).collect());
                }
                _ => {
                    let asked = wire::ProtoOaSubscribeSpotsReq::decode(request.payload.clone()).unwrap();
                    if asked.symbol_id.len() > 1 {
                        // The worst case: a thousand single requests follow.
                        played.refuse(&request, "ALREADY_SUBSCRIBED", "").unwrap();
                    } else {
                        played.refuse(&request, "ALREADY_SUBSCRIBED", "").unwrap();
                        played.spot(asked.symbol_id[0], Some(1), Some(2));
                        alone += 1;
                    }
                }
            }
        }
    }
    assert_eq!((alone, played.held().len()), (1_000, 1_000));
    let second = Duration::from_secs(1);
    for start in &sent {
        let in_second = sent.iter().filter(|at| **at >= *start && **at < *start + second).count();
        assert!(in_second <= 50, "{in_second}");
    }
}

/// Row 29: a subscription without an answer is repeated, alone, and said; the link is none the worse for it.
#[test]
fn an_unanswered_subscription_is_repeated_and_then_reported() {
    let mut played = Played::ready();
    played.want(&["EURUSD", "US100.cash"]);
    played.describe();
    let batch = played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.pass(4).unwrap();
    assert!(played.states().is_empty());
    played.pass(1).unwrap();
    played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.request(Kind::ProtoOaSubscribeSpotsReq);
    played.pass(4).unwrap();
    let states = played.states();
    assert_eq!(states.len(), 2);
    assert_eq!(states[0].1.code.as_deref(), Some("NO_ANSWER"));
    // An answer this late is counted, and nothing else: what it stands for is shown by a price only.
    played.answer(Kind::ProtoOaSubscribeSpotsRes, &wire::ProtoOaSubscribeSpotsRes::default(), batch.id);
    assert!(played.held().is_empty());
    played.pass(2).unwrap();
    assert_eq!(played.subscribed(), [1]);
    assert_eq!(played.spot(1, Some(1), Some(2)).len(), 1);
    assert_eq!(played.held(), ["EURUSD"]);
}

/// Facts 3.12: a backend that is away, and text we do not know, fail the request and nothing else.
#[test]
fn a_request_that_fails_for_other_reasons_is_repeated_and_then_reported() {
    for code in [
        "TIMEOUT_ERROR",
        "CH_SERVER_NOT_REACHABLE",
        "CANT_ROUTE_REQUEST",
        "SOMETHING_NEW",
        "UNSUPPORTED_MESSAGE",
    ] {
        let mut played = Played::ready();
        played.want(&["EURUSD"]);
        played.describe();
        let request = played.request(Kind::ProtoOaSubscribeSpotsReq);
        played.refuse(&request, code, "").unwrap();
        assert!(played.is_quiet());
        played.pass(1).unwrap();
        let request = played.request(Kind::ProtoOaSubscribeSpotsReq);
        played.refuse(&request, code, "").unwrap();
        let (_, state) = played.states().remove(0);
        assert_eq!((state.code.as_deref(), state.message.as_deref()), (Some("VENUE_ERROR"), Some(code)));
        played.pass(2).unwrap();
        played.subscribed();
        assert_eq!(played.spot(1, Some(1), Some(2)).len(), 1);
    }
}

/// Facts 3.10: names are resolved anew, details are read again, and a symbol that is gone is refused.
#[test]
fn changed_symbols_are_read_again_while_they_stream() {
    let mut played = Played::holding(&["EURUSD", "US100.cash"]);
    let changed = wire::ProtoOaSymbolChangedEvent {
        ctid_trader_account_id: ACCOUNT,
        symbol_id: vec![1],
        ..Default::default()
    };
    played.pass(11).unwrap();
    played.push(Kind::ProtoOaSymbolChangedEvent, &changed).unwrap();
    played.push(Kind::ProtoOaSymbolChangedEvent, &changed).unwrap();
    played.list(&[(1, "EURUSD"), (3, "DEEP")]);
    let details = played.request(Kind::ProtoOaSymbolByIdReq);
    assert_eq!(played.spot(1, Some(7), Some(8)).len(), 1, "it goes on");
    let symbol = wire::ProtoOaSymbol { symbol_id: 1, digits: 3, pip_position: 4, ..Default::default() };
    played.describe_as(&details, vec![symbol]);
    assert_eq!(played.spot(1, Some(7), Some(8))[0].digits, 3);
    assert_eq!(played.unsubscribed(), [2]);
    let (symbol, state) = played.states().remove(0);
    assert_eq!((symbol.as_str(), state.state), ("US100.cash", SymbolState::Refused));
    assert!(played.standing("US100.cash").next.contains("symbols changed"));
    assert!(played.is_quiet(), "many changes are one reading");

    // It comes back under another id: row 10.
    played.push(Kind::ProtoOaSymbolChangedEvent, &changed).unwrap();
    played.pass(5).unwrap();
    let mut kinds = Vec::new();
    while let Some(request) = played.next_request() {
        kinds.push(request.kind);
        match request.kind {
            Kind::ProtoOaSymbolsListReq => {
                let light = |(id, name): (i64, &str)| wire::ProtoOaLightSymbol {
                    symbol_id: id,
                    symbol_name: Some(name.into()),
                    ..Default::default()
                };
                let list = wire::ProtoOaSymbolsListRes {
                    symbol: [(1, "EURUSD"), (9, "US100.cash")].map(light).to_vec(),
                    ..Default::default()
                };
                played.answer(Kind::ProtoOaSymbolsListRes, &list, request.id);
            }
            Kind::ProtoOaSymbolByIdReq => {
                let ids = wire::ProtoOaSymbolByIdReq::decode(request.payload.clone()).unwrap().symbol_id;
                let describe = |id| wire::ProtoOaSymbol {
                    symbol_id: id,
                    digits: 2,
                    pip_position: 0,
                    ..Default::default()
                };
                played.describe_as(&request, ids.into_iter().map(describe).collect());
            }
            _ => {
                let asked = wire::ProtoOaSubscribeSpotsReq::decode(request.payload).unwrap();
                assert_eq!(asked.symbol_id, [9]);
                played.answer(
                    Kind::ProtoOaSubscribeSpotsRes,
                    &wire::ProtoOaSubscribeSpotsRes::default(),
                    request.id,
                );
            }
        }
        played.pass_ms(100).unwrap();
    }
    assert!(kinds.contains(&Kind::ProtoOaSymbolsListReq), "{kinds:?}");
    assert_eq!(played.spot(9, Some(1), Some(2)).len(), 1);
}

/// Facts 3.10: an instrument whose details are said to be retired is refused.
#[test]
fn a_retired_symbol_is_refused() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    let request = played.request(Kind::ProtoOaSymbolByIdReq);
    let archived = wire::ProtoOaArchivedSymbol { symbol_id: 1, name: "EURUSD".into(), ..Default::default() };
    let details = wire::ProtoOaSymbolByIdRes {
        ctid_trader_account_id: ACCOUNT,
        archived_symbol: vec![archived],
        ..Default::default()
    };
    played.answer(Kind::ProtoOaSymbolByIdRes, &details, request.id);
    let (_, state) = played.states().remove(0);
    assert_eq!(state.message.as_deref(), Some("the venue has retired it"));
}

/// Row 30: the venue's own schedule is told, and told again where it changed.
#[test]
fn trading_hours_are_told() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    let request = played.request(Kind::ProtoOaSymbolByIdReq);
    let symbol = wire::ProtoOaSymbol {
        symbol_id: 1,
        digits: 5,
        pip_position: 4,
        schedule: vec![wire::ProtoOaInterval { start_second: 86_400, end_second: 500_000 }],
        schedule_time_zone: Some("Europe/Moscow".into()),
        ..Default::default()
    };
    played.describe_as(&request, vec![symbol]);
    let hours = played.outputs().into_iter().filter(|output| matches!(output, SessionOutput::Hours(..)));
    assert_eq!(hours.count(), 1);
}

/// Row 2: what ticks no more is let go and asked for again, on its own.
#[test]
fn a_stale_symbol_is_let_go_and_asked_for_again() {
    let mut played = Played::holding(&["EURUSD", "US100.cash"]);
    played.session.ask_again(played.now, &[Symbol::new("EURUSD").unwrap()].into());
    assert_eq!(played.unsubscribed(), [1]);
    assert_eq!(played.subscribed(), [1]);
    assert!(played.spot(1, Some(1), None).is_empty(), "sides from before are forgotten");
    assert_eq!(played.spot(2, Some(1), None).len(), 1, "the other one streams on");
}
