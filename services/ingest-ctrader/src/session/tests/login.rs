//! Logging in, losing the account's session on a living socket, and ends that are the venue's (facts 3.1, 3.11-3.13).

use super::*;

/// Row 6: nothing of the account's is asked before its login was answered.
#[test]
fn each_request_of_the_login_waits_for_the_answer_before_it() {
    let mut played = Played::start();
    played.want(&["EURUSD"]);
    played.application();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    let login = wire::ProtoOaAccountAuthReq::decode(request.payload.clone()).unwrap();
    assert_eq!((login.ctid_trader_account_id, login.access_token.as_str()), (ACCOUNT, "tok"));
    assert!(played.is_quiet());
    played.account_answer(&request);
    played.request(Kind::ProtoOaSymbolsListReq);
}

/// Row 4.
#[test]
fn a_login_that_is_already_there_goes_on() {
    let mut played = Played::start();
    let request = played.request(Kind::ProtoOaApplicationAuthReq);
    played.refuse(&request, "CH_CLIENT_ALREADY_AUTHENTICATED", "").unwrap();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    played
        .refuse(&request, "ALREADY_LOGGED_IN", "Trading account is already authorized in this channel")
        .unwrap();
    played.request(Kind::ProtoOaSymbolsListReq);
}

#[test]
fn refused_credentials_end_the_session_with_their_cause_and_without_the_secret() {
    for code in
        ["CH_CLIENT_AUTH_FAILURE", "CH_OA_CLIENT_NOT_FOUND", "CHANNEL_IS_BLOCKED", "CH_ACCESS_TOKEN_INVALID"]
    {
        let mut played = Played::start();
        let request = played.request(Kind::ProtoOaApplicationAuthReq);
        let ending = played.refuse(&request, code, "clientId or clientSecret is incorrect").unwrap_err();
        assert_eq!(ending.retry, Retry::Slowly, "{code}");
        assert!(!ending.cause.to_string().contains("sec)"), "{ending:?}");
    }
    for code in ["CH_CTID_TRADER_ACCOUNT_NOT_FOUND", "RET_NO_SUCH_LOGIN", "RET_ACCOUNT_DISABLED"] {
        let mut played = Played::start();
        played.application();
        let request = played.request(Kind::ProtoOaAccountAuthReq);
        let ending = played.refuse(&request, code, "").unwrap_err();
        assert_eq!((ending.cause.kind, ending.retry), (CauseKind::AuthRefused, Retry::Slowly), "{code}");
    }
}

/// Rows 2 and 3: the account is gone and the socket lives; it is logged in again and everything is asked for anew.
#[test]
fn a_lost_account_is_logged_in_again_and_what_was_held_is_replayed() {
    for what in 0..4 {
        let mut played = Played::holding(&["EURUSD", "US100.cash"]);
        match what {
            0 => played.account_disconnect().unwrap(),
            1 => played.token_invalidated(&[ACCOUNT]).unwrap(),
            2 => played.token_invalidated(&[]).unwrap(),
            _ => {
                played.want(&["EURUSD"]);
                let request = played.request(Kind::ProtoOaUnsubscribeSpotsReq);
                let words = "Trading account is not authorized";
                played.refuse(&request, "INVALID_REQUEST", words).unwrap();
            }
        }
        assert_eq!(played.logins(), [(AuthState::Pending, Some(CauseKind::SessionLost))], "{what}");
        assert!(played.held().is_empty());
        assert!(played.spot(1, Some(5), Some(6)).is_empty(), "nothing is held");
        assert!(!played.standing("EURUSD").ok);
        assert!(played.is_quiet(), "not at once");
        played.pass(1).unwrap();
        played.account();
        assert_eq!(played.logins(), [(AuthState::Ok, None)]);
        let ids = played.subscribed();
        assert_eq!(ids, if what == 3 { vec![1] } else { vec![1, 2] });
        assert!(played.spot(1, Some(5), None).is_empty(), "sides from before are forgotten");
        assert_eq!(played.spot(1, None, Some(6)).len(), 1);
        assert!(played.standing("EURUSD").ok);
    }
}

#[test]
fn another_accounts_loss_is_none_of_ours() {
    let mut played = Played::holding(&["EURUSD"]);
    played.token_invalidated(&[8]).unwrap();
    let other = wire::ProtoOaAccountDisconnectEvent { ctid_trader_account_id: 8, ..Default::default() };
    played.push(Kind::ProtoOaAccountDisconnectEvent, &other).unwrap();
    assert_eq!(played.held(), ["EURUSD"]);
    played.pass(60).unwrap();
    assert!(played.is_quiet());
}

/// Row 19: no count of attempts ends it.
#[test]
fn the_account_is_logged_in_again_without_end_and_ever_more_slowly() {
    let mut played = Played::holding(&["EURUSD"]);
    played.account_disconnect().unwrap();
    let mut waits = Vec::new();
    for _ in 0..40 {
        let before = played.now.elapsed;
        let request = loop {
            played.pass_ms(500).unwrap();
            if let Some(request) = played.next_request() {
                break request;
            }
        };
        assert_eq!(request.kind, Kind::ProtoOaAccountAuthReq);
        waits.push((played.now.elapsed - before).as_secs());
        played.refuse(&request, "CANT_ROUTE_REQUEST", "no route").unwrap();
        assert_eq!(played.standing("EURUSD").next.split(' ').next(), Some("logged"));
    }
    assert_eq!(waits[..6], [1, 2, 4, 8, 16, 20]);
    assert_eq!(waits.last(), Some(&20));
    played.pass(20).unwrap();
    played.account();
    assert_eq!(played.subscribed(), [1]);
}

/// Facts 3.12: the application's login is gone, so the whole connection is.
#[test]
fn a_lost_application_ends_the_connection() {
    let mut played = Played::ready();
    played.want(&["EURUSD"]);
    let request = played.request(Kind::ProtoOaSymbolByIdReq);
    let ending = played.refuse(&request, "CH_CLIENT_NOT_AUTHENTICATED", "").unwrap_err();
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::SessionLost, Retry::Backoff));
}

/// Facts 3.11: 2148 ends with its reason, and slowly where it repeats itself at once.
#[test]
fn a_disconnect_that_repeats_itself_is_followed_slowly() {
    let memory = memory(None);
    let disconnect = wire::ProtoOaClientDisconnectEvent {
        reason: Some("blocked\n by admin".into()),
        ..Default::default()
    };
    let mut endings = Vec::new();
    for lived in [600, 2, 2, 600] {
        let mut played = Played::start_with(&memory).log_in();
        played.pass(lived).unwrap();
        endings.push(played.push(Kind::ProtoOaClientDisconnectEvent, &disconnect).unwrap_err());
    }
    assert_eq!(endings[0].cause.kind, CauseKind::SessionLost);
    assert_eq!(endings[0].cause.detail, "blocked by admin");
    let retries: Vec<Retry> = endings.iter().map(|ending| ending.retry).collect();
    assert_eq!(retries, [Retry::Backoff, Retry::Backoff, Retry::Slowly, Retry::Backoff]);
}

/// Row 7, and row 10: the account's own flag says which host serves it.
#[test]
fn an_account_of_the_other_host_is_told_from_a_venue_that_is_away() {
    for (live, kind, retry, words) in [
        (Some(true), CauseKind::WrongHost, Retry::Slowly, "set CTRADER_HOST to live.ctraderapi.com"),
        (Some(false), CauseKind::VenueAway, Retry::Backoff, "CANT_ROUTE_REQUEST"),
        (None, CauseKind::VenueAway, Retry::Backoff, "CANT_ROUTE_REQUEST"),
    ] {
        for (code, text) in [("CANT_ROUTE_REQUEST", ""), ("INVALID_REQUEST", "account is not authorized")] {
            if live != Some(true) && code == "INVALID_REQUEST" {
                continue;
            }
            let mut played = Played::start();
            played.application();
            let request = played.request(Kind::ProtoOaAccountAuthReq);
            played.refuse(&request, code, text).unwrap();
            let request = played.request(Kind::ProtoOaGetAccountsByAccessTokenReq);
            let ending = accounts(&mut played, &request, &[(ACCOUNT as u64, live)]);
            assert_eq!((ending.cause.kind, ending.retry), (kind, retry));
            assert!(ending.cause.detail.contains(words), "{ending:?}");
        }
    }
    let mut played = Played::start();
    played.application();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    played.refuse(&request, "CANT_ROUTE_REQUEST", "").unwrap();
    let request = played.request(Kind::ProtoOaGetAccountsByAccessTokenReq);
    let ending = accounts(&mut played, &request, &[(8, Some(false))]);
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::AuthRefused, Retry::Slowly));
    assert!(ending.cause.detail.contains("CTRADER_ACCOUNT_ID"), "{ending:?}");
    assert!(!format!("{ending:?}").contains("echoed"), "the token that comes back is seen by nobody");
}

fn accounts(played: &mut Played, request: &Request, accounts: &[(u64, Option<bool>)]) -> Ending {
    let account = |(id, live): &(u64, Option<bool>)| wire::ProtoOaCtidTraderAccount {
        ctid_trader_account_id: *id,
        is_live: *live,
        ..Default::default()
    };
    let list = wire::ProtoOaGetAccountListByAccessTokenRes {
        access_token: "echoed".into(),
        ctid_trader_account: accounts.iter().map(account).collect(),
        ..Default::default()
    };
    let bytes = encode(Kind::ProtoOaGetAccountsByAccessTokenRes as u32, &list, Some(request.id));
    played.receive(&bytes).unwrap_err()
}

/// Once it worked, a host that cannot route the account is away: no host is asked about.
#[test]
fn a_host_that_worked_before_is_away_and_not_wrong() {
    let memory = memory(None);
    Played::start_with(&memory).log_in();
    let mut played = Played::start_with(&memory);
    played.application();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    let ending = played.refuse(&request, "CANT_ROUTE_REQUEST", "").unwrap_err();
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::VenueAway, Retry::Backoff));
}

/// Facts 3.13, row 27: in both messages, whatever it answers.
#[test]
fn maintenance_ends_the_connection_until_the_time_the_venue_named() {
    let common = wire::ProtoErrorRes {
        error_code: "SERVER_IS_UNDER_MAINTENANCE".into(),
        maintenance_end_timestamp: Some(1_795_132_800_000 + 900_000),
        ..Default::default()
    };
    let own = wire::ProtoOaErrorRes {
        error_code: "SERVER_IS_UNDER_MAINTENANCE".into(),
        maintenance_end_timestamp: Some(1_795_132_800 + 900),
        ..Default::default()
    };
    let mut played = Played::start();
    let request = played.request(Kind::ProtoOaApplicationAuthReq);
    let first = played.receive(&encode(50, &common, Some(request.id))).unwrap_err();
    let mut played = Played::start();
    played.application();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    let second = played.receive(&encode(Kind::ProtoOaErrorRes as u32, &own, Some(request.id))).unwrap_err();
    let third = Played::start().push(Kind::ProtoOaErrorRes, &own).unwrap_err();
    for ending in [first, second, third] {
        assert_eq!(ending.cause.kind, CauseKind::Maintenance);
        assert_eq!(ending.retry, Retry::After(Duration::from_secs(900)));
        assert!(ending.cause.detail.ends_with("until 2026-11-20 00:15 UTC"), "{ending:?}");
    }
}

/// Row 29: an unanswered request is repeated a few times, then it has a name.
#[test]
fn an_unanswered_login_is_repeated_and_then_ends_the_session() {
    let mut played = Played::start();
    for _ in 0..3 {
        played.request(Kind::ProtoOaApplicationAuthReq);
        assert!(played.is_quiet());
        if let Err(ending) = played.pass(4) {
            assert_eq!(ending.cause.kind, CauseKind::RequestTimeout);
            assert_eq!(ending.cause.detail, "application_auth");
            return;
        }
    }
    panic!("it ends");
}

#[test]
fn an_unanswered_list_is_repeated_and_then_ends_the_session() {
    let mut played = Played::start();
    played.application();
    played.account();
    played.request(Kind::ProtoOaSymbolsListReq);
    played.pass(4).unwrap();
    played.request(Kind::ProtoOaSymbolsListReq);
    played.pass(4).unwrap();
    assert_eq!(played.pass(4).unwrap_err().cause.detail, "symbols_list");
}

/// Row 14: too fast at the login too.
#[test]
fn a_login_that_is_too_fast_is_repeated_after_the_time_the_venue_named() {
    let mut played = Played::start();
    played.application();
    let request = played.request(Kind::ProtoOaAccountAuthReq);
    let blocked = wire::ProtoOaErrorRes {
        error_code: "BLOCKED_PAYLOAD_TYPE".into(),
        retry_after: Some(3),
        ..Default::default()
    };
    played.answer(Kind::ProtoOaErrorRes, &blocked, request.id);
    played.pass_ms(2_900).unwrap();
    assert!(played.is_quiet());
    played.pass_ms(100).unwrap();
    played.account();
    assert!(played.logins().contains(&(AuthState::Ok, None)));
}

#[test]
fn how_a_login_stands_is_said_in_words() {
    let mut played = Played::start();
    played.want(&["EURUSD"]);
    assert_eq!(played.standing("EURUSD").detail, "the application is being logged in");
    played.application();
    assert_eq!(played.standing("EURUSD").detail, "the account is being logged in");
    played.account();
    assert!(played.standing("EURUSD").detail.contains("list of symbols"));
}
