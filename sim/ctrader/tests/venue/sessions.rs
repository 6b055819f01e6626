//! Sessions, tokens and logins that go wrong (facts 3.2, 3.11 to 3.13).

use crate::bench::{ACCOUNT, Bench, START_MS, account_auth, application_auth};
use serde_json::json;
use sim_ctrader::wire::{
    ProtoErrorRes, ProtoOaAccountAuthReq, ProtoOaAccountAuthRes, ProtoOaAccountDisconnectEvent,
    ProtoOaAccountsTokenInvalidatedEvent, ProtoOaApplicationAuthRes, ProtoOaClientDisconnectEvent,
    ProtoOaErrorRes, ProtoOaRefreshTokenReq, ProtoOaRefreshTokenRes, ProtoOaTraderReq, ProtoOaTraderRes,
};
use sim_ctrader::{ConnectionId, Ending, Fault, Reason, SimulatedVenue as _};

fn trader() -> ProtoOaTraderReq {
    ProtoOaTraderReq { payload_type: None, ctid_trader_account_id: ACCOUNT }
}

fn refresh() -> ProtoOaRefreshTokenReq {
    ProtoOaRefreshTokenReq { payload_type: None, refresh_token: "sim-refresh".into() }
}

fn with_application(bench: &mut Bench) -> ConnectionId {
    let id = bench.open();
    bench.ask(id, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(id);
    id
}

fn with_quotes(bench: &mut Bench) -> ConnectionId {
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    id
}

/// The session is gone: no quotes, requests refused, and a new login works on the same socket.
fn assert_logged_out(bench: &mut Bench, id: ConnectionId) {
    bench.advance(3_000);
    bench.assert_silent(id);
    assert!(!bench.venue.is_logged_in(id) && bench.closed(id).is_none());
    bench.ask(id, &trader());
    assert_eq!(bench.refusal(id).0, "INVALID_REQUEST");
    bench.ask(id, &account_auth());
    bench.answer::<ProtoOaAccountAuthRes>(id);
    assert_eq!(bench.subscribe(id, &[1]).len(), 1);
}

#[test]
fn a_client_disconnect_names_its_reason_and_leaves_a_socket_without_application() {
    let mut bench = Bench::usual();
    let id = with_quotes(&mut bench);
    let fresh = bench.open();
    bench.fault("client-disconnect", &json!({ "reason": "blocked by an administrator" }));
    let event = bench.answer::<ProtoOaClientDisconnectEvent>(id);
    assert_eq!(event.reason.as_deref(), Some("blocked by an administrator"));
    bench.assert_silent(fresh);
    bench.advance(3_000);
    bench.assert_silent(id);
    bench.ask(id, &trader());
    assert_eq!(bench.refusal(id).0, "CH_CLIENT_NOT_AUTHENTICATED");
    bench.ask(id, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(id);
    bench.fault("client-disconnect", &json!({ "closes": true }));
    assert_eq!(bench.answer::<ProtoOaClientDisconnectEvent>(id).reason, None);
    assert_eq!(bench.closed(id), Some((Ending::Orderly, Reason::Fault)));
}

#[test]
fn an_account_disconnect_ends_the_session_and_not_the_socket() {
    let mut bench = Bench::usual();
    let id = with_quotes(&mut bench);
    bench.fault("account-disconnect", &json!({}));
    assert_eq!(bench.answer::<ProtoOaAccountDisconnectEvent>(id).ctid_trader_account_id, ACCOUNT);
    assert_logged_out(&mut bench, id);
}

#[test]
fn an_invalidated_token_is_said_with_or_without_accounts_and_stays_good() {
    for (empty_list, named) in [(false, vec![ACCOUNT]), (true, vec![])] {
        let mut bench = Bench::usual();
        let id = with_quotes(&mut bench);
        bench.fault("token-invalidated", &json!({ "empty_list": empty_list, "reason": "revoked" }));
        let event = bench.answer::<ProtoOaAccountsTokenInvalidatedEvent>(id);
        assert_eq!((event.ctid_trader_account_ids, event.reason.as_deref()), (named, Some("revoked")));
        assert_logged_out(&mut bench, id);
    }
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("token-invalidated", &json!({ "ends_session": false }));
    bench.answer::<ProtoOaAccountsTokenInvalidatedEvent>(id);
    bench.ask(id, &trader());
    bench.answer::<ProtoOaTraderRes>(id);
}

#[test]
fn both_events_come_together_without_a_refresh_too() {
    let mut bench = Bench::usual();
    let id = with_quotes(&mut bench);
    bench.fault("session-lost", &json!({}));
    bench.answer::<ProtoOaAccountsTokenInvalidatedEvent>(id);
    bench.answer::<ProtoOaAccountDisconnectEvent>(id);
    assert_logged_out(&mut bench, id);
}

#[test]
fn a_session_lost_in_silence_is_found_out_by_the_next_request_only() {
    for code in ["INVALID_REQUEST", "ACCOUNT_NOT_AUTHORIZED"] {
        let mut bench = Bench::usual();
        let id = with_quotes(&mut bench);
        bench.fault("not-authorized", &json!({ "code": code }));
        bench.advance(5_000);
        bench.assert_silent(id);
        bench.ask(id, &trader());
        let said = bench.refusal(id);
        assert_eq!(said, (code.to_owned(), "Trading account is not authorized".to_owned()));
        bench.ask(id, &account_auth());
        bench.answer::<ProtoOaAccountAuthRes>(id);
        bench.ask(id, &trader());
        bench.answer::<ProtoOaTraderRes>(id);
    }
}

#[test]
fn a_forgotten_application_is_not_authenticated() {
    let mut bench = Bench::usual();
    let id = with_quotes(&mut bench);
    bench.fault("forget-application", &json!({}));
    bench.advance(5_000);
    bench.assert_silent(id);
    bench.ask(id, &trader());
    assert_eq!(bench.refusal(id).0, "CH_CLIENT_NOT_AUTHENTICATED");
    bench.ask(id, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(id);
}

#[test]
fn an_expired_token_is_refused_with_the_code_of_choice_until_it_is_refreshed() {
    for code in ["OA_AUTH_TOKEN_EXPIRED", "CH_ACCESS_TOKEN_INVALID"] {
        let mut bench = Bench::usual();
        let id = with_quotes(&mut bench);
        bench.fault("expire-token", &json!({ "code": code }));
        bench.answer::<ProtoOaAccountsTokenInvalidatedEvent>(id);
        bench.ask(id, &account_auth());
        assert_eq!(bench.refusal(id).0, code);
        bench.ask(id, &refresh());
        let access_token = bench.answer::<ProtoOaRefreshTokenRes>(id).access_token;
        bench.ask(id, &ProtoOaAccountAuthReq { access_token, ..account_auth() });
        bench.answer::<ProtoOaAccountAuthRes>(id);
    }
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("expire-token", &json!({ "ends_session": false }));
    bench.ask(id, &trader());
    bench.answer::<ProtoOaTraderRes>(id);
}

#[test]
fn a_refresh_token_taken_for_a_used_one_is_refused_and_not_used_up() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("replayed-refresh-token", &json!({}));
    bench.ask(id, &refresh());
    assert_eq!(bench.refusal(id).0, "CH_ACCESS_TOKEN_INVALID");
    assert!(bench.venue.is_logged_in(id));
    bench.heal(Fault::ReplayedRefreshToken);
    bench.ask(id, &refresh());
    bench.answer::<ProtoOaRefreshTokenRes>(id);
}

#[test]
fn a_refresh_ends_the_session_unless_a_fault_spares_it() {
    let mut bench = Bench::usual();
    let id = with_quotes(&mut bench);
    bench.fault("refresh-spares-session", &json!({}));
    bench.ask(id, &refresh());
    bench.answer::<ProtoOaRefreshTokenRes>(id);
    bench.answer::<ProtoOaAccountsTokenInvalidatedEvent>(id);
    bench.answer::<ProtoOaAccountDisconnectEvent>(id);
    bench.ask(id, &trader());
    bench.answer::<ProtoOaTraderRes>(id);
    bench.advance(1_000);
    assert!(!bench.spots(id).is_empty());
}

#[test]
fn maintenance_says_its_end_in_the_unit_of_its_layer() {
    let end_ms = START_MS + 90_500;
    let mut bench = Bench::usual();
    let id = with_quotes(&mut bench);
    bench.fault("maintenance", &json!({ "for_ms": 90_500 }));
    bench.answer::<ProtoOaAccountDisconnectEvent>(id);
    bench.ask(id, &account_auth());
    let error = bench.answer::<ProtoOaErrorRes>(id);
    assert_eq!(error.error_code, "SERVER_IS_UNDER_MAINTENANCE");
    assert_eq!(error.maintenance_end_timestamp, Some((end_ms + 999) / 1_000), "seconds, rounded up");
    bench.fault("maintenance", &json!({ "for_ms": 90_500, "layer": "common" }));
    bench.ask(id, &account_auth());
    let error = bench.answer::<ProtoErrorRes>(id);
    assert_eq!(error.error_code, "SERVER_IS_UNDER_MAINTENANCE");
    assert_eq!(error.maintenance_end_timestamp, Some(end_ms.unsigned_abs()), "milliseconds");
    bench.ask(id, &trader());
    assert_eq!(bench.common_refusal(id), "SERVER_IS_UNDER_MAINTENANCE");
    with_application(&mut bench);
    bench.advance(90_499);
    assert!(bench.venue.faults().has(Fault::Maintenance));
    bench.advance(1);
    assert!(!bench.venue.faults().has(Fault::Maintenance));
    bench.log_in();
}

#[test]
fn no_route_is_for_the_account_login_or_for_what_is_asked() {
    let mut bench = Bench::usual();
    let inside = bench.log_in();
    bench.fault("cant-route", &json!({}));
    let id = with_application(&mut bench);
    bench.ask(id, &account_auth());
    assert_eq!(bench.refusal(id).0, "CANT_ROUTE_REQUEST");
    bench.ask(inside, &trader());
    bench.answer::<ProtoOaTraderRes>(inside);
    bench.fault("cant-route", &json!({ "request": "ProtoOATraderReq", "layer": "common" }));
    bench.ask(id, &account_auth());
    bench.answer::<ProtoOaAccountAuthRes>(id);
    bench.ask(inside, &trader());
    assert_eq!(bench.common_refusal(inside), "CANT_ROUTE_REQUEST");
    bench.fault("cant-route", &json!({ "disconnects": true }));
    bench.answer::<ProtoOaAccountDisconnectEvent>(inside);
}

#[test]
fn credentials_are_refused_with_either_code() {
    let mut bench = Bench::usual();
    bench.fault("reject-credentials", &json!({ "code": "CH_OA_CLIENT_NOT_FOUND" }));
    let id = bench.open();
    bench.ask(id, &application_auth());
    assert_eq!(bench.refusal(id).0, "CH_OA_CLIENT_NOT_FOUND");
    assert_eq!(bench.closed(id), Some((Ending::Orderly, Reason::Credentials)));
}

#[test]
fn connections_of_one_application_are_limited_always_and_more_so_on_demand() {
    let mut bench = Bench::usual();
    for _ in 0..25 {
        with_application(&mut bench);
    }
    let id = bench.open();
    bench.ask(id, &application_auth());
    assert_eq!(bench.refusal(id).0, "CONNECTIONS_LIMIT_EXCEEDED");
    assert_eq!(bench.closed(id), None);
    let mut bench = Bench::usual();
    with_application(&mut bench);
    bench.fault("connections-limit", &json!({ "count": 1 }));
    let id = bench.open();
    bench.ask(id, &application_auth());
    assert_eq!(bench.refusal(id).0, "CONNECTIONS_LIMIT_EXCEEDED");
    bench.heal(Fault::ConnectionsLimit);
    bench.ask(id, &application_auth());
    bench.answer::<ProtoOaApplicationAuthRes>(id);
}
