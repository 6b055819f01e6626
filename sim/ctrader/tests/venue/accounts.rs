//! Several accounts, several grants, tokens that expire (facts 3.1, 3.2).

use std::time::Duration;

use crate::bench::{ACCOUNT, Bench, account_auth, application_auth, subscribe_spots};
use sim_ctrader::wire::{
    ProtoOaAccountAuthReq, ProtoOaAccountAuthRes, ProtoOaAccountDisconnectEvent, ProtoOaAccountLogoutReq,
    ProtoOaAccountLogoutRes, ProtoOaAccountsTokenInvalidatedEvent, ProtoOaApplicationAuthRes,
    ProtoOaGetAccountListByAccessTokenReq, ProtoOaGetAccountListByAccessTokenRes, ProtoOaRefreshTokenReq,
    ProtoOaRefreshTokenRes, ProtoOaSubscribeSpotsReq, ProtoOaSubscribeSpotsRes,
};
use sim_ctrader::{Account, ConnectionId, ExpiredAnswer, Grant, VenueSettings};

const SECOND: i64 = 1_000_002;
const LIVE: i64 = 1_000_003;

fn settings() -> VenueSettings {
    VenueSettings {
        symbols: 30,
        more_accounts: vec![Account { id: SECOND, is_live: false }, Account { id: LIVE, is_live: true }],
        more_grants: vec![Grant {
            access_token: "second-token".into(),
            refresh_token: "second-refresh".into(),
            accounts: vec![SECOND],
        }],
        inactivity_cutoff: Duration::from_secs(86_400),
        ..VenueSettings::default()
    }
}

fn auth(account: i64, token: &str) -> ProtoOaAccountAuthReq {
    ProtoOaAccountAuthReq { payload_type: None, ctid_trader_account_id: account, access_token: token.into() }
}

fn refresh(token: &str) -> ProtoOaRefreshTokenReq {
    ProtoOaRefreshTokenReq { payload_type: None, refresh_token: token.into() }
}

fn spots(account: i64, symbol: i64) -> ProtoOaSubscribeSpotsReq {
    ProtoOaSubscribeSpotsReq { ctid_trader_account_id: account, ..subscribe_spots(&[symbol]) }
}

/// Both accounts logged in on one connection, each with its own grant, both watching the same symbol.
fn two_accounts(bench: &mut Bench) -> ConnectionId {
    let id = bench.log_in();
    bench.ask(id, &auth(SECOND, "second-token"));
    bench.answer::<ProtoOaAccountAuthRes>(id);
    for account in [ACCOUNT, SECOND] {
        bench.ask(id, &spots(account, 1));
        bench.answer::<ProtoOaSubscribeSpotsRes>(id);
        let snapshot = bench.answer::<sim_ctrader::wire::ProtoOaSpotEvent>(id);
        assert_eq!(snapshot.ctid_trader_account_id, account);
    }
    id
}

#[test]
fn a_token_opens_its_accounts_and_no_other_and_says_where_they_live() {
    let mut bench = Bench::new(settings());
    let id = bench.open();
    bench.ask(id, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(id);
    let list = |bench: &mut Bench, token: &str| -> Vec<(u64, bool)> {
        let request =
            ProtoOaGetAccountListByAccessTokenReq { payload_type: None, access_token: token.into() };
        bench.ask(id, &request);
        let answer = bench.answer::<ProtoOaGetAccountListByAccessTokenRes>(id);
        let shown = answer.ctid_trader_account.iter();
        shown.map(|account| (account.ctid_trader_account_id, account.is_live())).collect()
    };
    assert_eq!(list(&mut bench, "sim-token"), [(1_000_001, false), (1_000_002, false), (1_000_003, true)]);
    assert_eq!(list(&mut bench, "second-token"), [(1_000_002, false)]);
    bench.ask(id, &auth(ACCOUNT, "second-token"));
    assert_eq!(bench.refusal(id).0, "CH_CTID_TRADER_ACCOUNT_NOT_FOUND");
    bench.ask(id, &auth(LIVE, "sim-token"));
    assert_eq!(bench.refusal(id).0, "CANT_ROUTE_REQUEST", "it lives on the other host");
    let mut bench = Bench::new(VenueSettings { is_live: true, ..settings() });
    let id = bench.log_in();
    bench.ask(id, &auth(LIVE, "sim-token"));
    bench.answer::<ProtoOaAccountAuthRes>(id);
}

#[test]
fn accounts_on_one_connection_have_their_own_subscriptions() {
    let mut bench = Bench::new(settings());
    let id = two_accounts(&mut bench);
    assert_eq!(bench.venue.logged_in(id).collect::<Vec<_>>(), [ACCOUNT, SECOND]);
    bench.advance(1_000);
    let events = bench.spots(id);
    let count = |account| events.iter().filter(|event| event.ctid_trader_account_id == account).count();
    assert!(count(ACCOUNT) > 5 && count(ACCOUNT) == count(SECOND));
    bench.ask(id, &spots(SECOND, 1));
    assert_eq!(bench.refusal(id).0, "ALREADY_SUBSCRIBED");
    bench.ask(id, &ProtoOaAccountLogoutReq { payload_type: None, ctid_trader_account_id: ACCOUNT });
    bench.answer::<ProtoOaAccountLogoutRes>(id);
    assert_eq!(bench.answer::<ProtoOaAccountDisconnectEvent>(id).ctid_trader_account_id, ACCOUNT);
    bench.advance(1_000);
    let events = bench.spots(id);
    assert!(!events.is_empty() && events.iter().all(|event| event.ctid_trader_account_id == SECOND));
    assert_eq!(bench.venue.subscribed(id), [1]);
}

#[test]
fn a_refresh_concerns_the_sessions_of_its_own_grant() {
    let mut bench = Bench::new(settings());
    let id = two_accounts(&mut bench);
    bench.ask(id, &refresh("second-refresh"));
    bench.answer::<ProtoOaRefreshTokenRes>(id);
    assert_eq!(bench.answer::<ProtoOaAccountsTokenInvalidatedEvent>(id).ctid_trader_account_ids, [SECOND]);
    assert_eq!(bench.answer::<ProtoOaAccountDisconnectEvent>(id).ctid_trader_account_id, SECOND);
    bench.advance(1_000);
    assert!(bench.spots(id).iter().all(|event| event.ctid_trader_account_id == ACCOUNT));
    bench.ask(id, &refresh("second-refresh"));
    assert_eq!(bench.refusal(id).0, "CH_ACCESS_TOKEN_INVALID", "single use");
    bench.ask(id, &refresh("second-refresh-1"));
    assert_eq!(bench.answer::<ProtoOaRefreshTokenRes>(id).refresh_token, "second-refresh-2");
    assert_eq!(bench.venue.logged_in(id).collect::<Vec<_>>(), [ACCOUNT]);
}

#[test]
fn a_token_expires_in_its_time_and_a_refresh_before_that_is_in_time() {
    for (answer, code) in [
        (ExpiredAnswer::Expired, "OA_AUTH_TOKEN_EXPIRED"),
        (ExpiredAnswer::Invalid, "CH_ACCESS_TOKEN_INVALID"),
    ] {
        let token_lifetime = Duration::from_secs(60);
        let mut bench = Bench::new(VenueSettings { token_lifetime, expired_answer: answer, ..settings() });
        let id = bench.log_in();
        bench.advance(40_000);
        while bench.next(id).is_some() {}
        bench.ask(id, &refresh("second-refresh"));
        assert_eq!(bench.answer::<ProtoOaRefreshTokenRes>(id).expires_in, 60);
        bench.advance(19_999);
        bench.assert_silent(id);
        bench.advance(1);
        bench.answer::<ProtoOaAccountsTokenInvalidatedEvent>(id);
        bench.ask(id, &account_auth());
        assert_eq!(bench.refusal(id).0, code);
        bench.ask(id, &auth(SECOND, "second-token-1"));
        bench.answer::<ProtoOaAccountAuthRes>(id);
        bench.ask(id, &refresh("sim-refresh"));
        let fresh = bench.answer::<ProtoOaRefreshTokenRes>(id).access_token;
        bench.ask(id, &auth(ACCOUNT, &fresh));
        bench.answer::<ProtoOaAccountAuthRes>(id);
    }
}
