//! Answers that are missing, late, wrong or too many, and the limits on requests (facts 3.4, 3.12).

use crate::bench::{ACCOUNT, Bench, account_auth, application_auth, subscribe_spots};
use serde_json::json;
use sim_ctrader::wire::{
    ProtoErrorRes, ProtoOaAccountAuthRes, ProtoOaErrorRes, ProtoOaSpotEvent, ProtoOaSubscribeSpotsRes,
    ProtoOaTraderReq, ProtoOaVersionReq, ProtoOaVersionRes,
};
use sim_ctrader::{Ending, Fault, Payload as _, Reason, SimulatedVenue as _};

const VERSION: ProtoOaVersionReq = ProtoOaVersionReq { payload_type: None };

#[test]
fn a_lost_request_is_not_carried_out_and_a_lost_answer_is_that_of_one_that_was() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("no-answer", &json!({ "request": "ProtoOASubscribeSpotsReq", "count": 1 }));
    bench.ask(id, &subscribe_spots(&[1]));
    bench.assert_silent(id);
    assert!(bench.venue.subscribed(id).is_empty() && !bench.venue.faults().has(Fault::NoAnswer));
    bench.fault("no-answer", &json!({ "carried_out": true }));
    bench.ask(id, &subscribe_spots(&[1]));
    assert_eq!(bench.answer::<ProtoOaSpotEvent>(id).symbol_id, 1);
    bench.assert_silent(id);
    bench.heal(Fault::NoAnswer);
    bench.ask(id, &subscribe_spots(&[1]));
    assert_eq!(bench.refusal(id).0, "ALREADY_SUBSCRIBED");
}

#[test]
fn only_the_requests_named_are_disturbed() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("no-answer", &json!({ "request": "ProtoOATraderReq" }));
    bench.ask(id, &VERSION);
    bench.answer::<ProtoOaVersionRes>(id);
    bench.ask(id, &ProtoOaTraderReq { payload_type: None, ctid_trader_account_id: ACCOUNT });
    bench.assert_silent(id);
}

#[test]
fn a_delayed_answer_comes_when_it_is_due_and_events_do_not_wait_for_it() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("delayed-answer", &json!({ "delay_ms": 700 }));
    bench.ask(id, &subscribe_spots(&[1]));
    assert_eq!(bench.answer::<ProtoOaSpotEvent>(id).symbol_id, 1);
    bench.fault("mute", &json!({}));
    bench.advance(699);
    bench.assert_silent(id);
    bench.advance(1);
    bench.answer::<ProtoOaSubscribeSpotsRes>(id);
    bench.fault("delayed-answer", &json!({ "delay_ms": 500 }));
    bench.ask_with_id(id, &VERSION, Some("first"));
    bench.advance(100);
    bench.fault("delayed-answer", &json!({ "delay_ms": 50 }));
    bench.ask_with_id(id, &VERSION, Some("second"));
    bench.advance(1_000);
    let order: Vec<_> =
        [bench.next(id), bench.next(id)].map(|said| said.unwrap().client_msg_id.unwrap()).into();
    assert_eq!(order, ["second", "first"]);
}

#[test]
fn answers_held_back_are_bounded_and_a_client_that_asks_on_is_given_up() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("delayed-answer", &json!({ "delay_ms": 600_000 }));
    for _ in 0..4_096 {
        bench.ask(id, &VERSION);
    }
    assert_eq!(bench.closed(id), None);
    bench.ask(id, &VERSION);
    assert_eq!(bench.closed(id), Some((Ending::Reset, Reason::SlowReader)));
}

#[test]
fn an_answer_comes_twice_or_with_an_id_nobody_knows() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault("answer-twice", &json!({ "count": 1 }));
    bench.ask_with_id(id, &VERSION, Some("a"));
    bench.ask_with_id(id, &VERSION, Some("b"));
    let ids = |bench: &mut Bench| -> Vec<String> {
        std::iter::from_fn(|| bench.next(id)).map(|said| said.client_msg_id.unwrap()).collect()
    };
    assert_eq!(ids(&mut bench), ["a", "a", "b"]);
    bench.fault("foreign-id", &json!({ "request": "ProtoOAVersionReq" }));
    bench.ask_with_id(id, &VERSION, Some("c"));
    bench.heal(Fault::ForeignId);
    bench.ask_with_id(id, &VERSION, Some("d"));
    assert_eq!(ids(&mut bench), ["nobody-asked-1", "d"]);
}

#[test]
fn an_error_of_choice_has_its_code_text_layer_and_wait() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.fault(
        "error",
        &json!({ "code": "SOMETHING_NEW", "reason": "who knows", "retry_after_s": 7, "count": 1 }),
    );
    bench.ask(id, &VERSION);
    let error = bench.answer::<ProtoOaErrorRes>(id);
    assert_eq!(
        (error.error_code.as_str(), error.description.as_deref()),
        ("SOMETHING_NEW", Some("who knows"))
    );
    assert_eq!(error.retry_after, Some(7));
    assert_eq!(bench.venue.counters().errors["other"], 1);
    bench.fault("error", &json!({ "layer": "common", "request": "ProtoOAVersionReq" }));
    bench.ask(id, &VERSION);
    let error = bench.answer::<ProtoErrorRes>(id);
    assert_eq!((error.error_code.as_str(), error.description), ("TIMEOUT_ERROR", None));
    bench.heal(Fault::Error);
    bench.ask(id, &VERSION);
    bench.answer::<ProtoOaVersionRes>(id);
}

#[test]
fn a_fault_chooses_another_limit_and_the_other_answer_to_a_breach() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    bench.advance(1_000);
    bench.fault("rate-limit", &json!({ "per_s": 2 }));
    for _ in 0..3 {
        bench.ask(id, &VERSION);
    }
    bench.answer::<ProtoOaVersionRes>(id);
    bench.answer::<ProtoOaVersionRes>(id);
    let error = bench.answer::<ProtoOaErrorRes>(id);
    assert_eq!(error.error_code, "REQUEST_FREQUENCY_EXCEEDED");
    assert_eq!(error.description.as_deref(), Some("You have reached the rate limit of requests"));
    assert_eq!((error.ctid_trader_account_id, error.retry_after), (Some(0), None));
    bench.advance(1_000);
    bench.fault("rate-limit", &json!({ "per_s": 1, "code": "BLOCKED_PAYLOAD_TYPE", "retry_after_s": 9 }));
    bench.ask(id, &VERSION);
    bench.ask(id, &VERSION);
    bench.answer::<ProtoOaVersionRes>(id);
    let error = bench.answer::<ProtoOaErrorRes>(id);
    assert_eq!((error.error_code.as_str(), error.retry_after), ("BLOCKED_PAYLOAD_TYPE", Some(9)));
    assert_eq!(bench.venue.counters().breaches, 0, "the venue's own limit was kept");
}

#[test]
fn a_breach_of_the_venues_own_limit_is_counted() {
    let mut bench = Bench::usual();
    let id = bench.log_in();
    for _ in 0..60 {
        bench.ask(id, &VERSION);
    }
    assert_eq!(bench.venue.counters().breaches, 12, "two of fifty went into the login");
}

#[test]
fn a_refused_batch_has_no_effect_or_the_part_a_fault_chooses() {
    for (effect, held) in [(None, vec![3]), (Some("before"), vec![1, 3]), (Some("others"), vec![1, 3, 5])] {
        let mut bench = Bench::usual();
        let id = bench.log_in();
        bench.subscribe(id, &[3]);
        if let Some(effect) = effect {
            bench.fault("partial-batch", &json!({ "effect": effect }));
        }
        bench.ask(id, &subscribe_spots(&[1, 3, 4, 5]));
        assert_eq!(bench.refusal(id).0, "ALREADY_SUBSCRIBED", "the first reason counts");
        assert_eq!(bench.venue.subscribed(id), held);
        let snapshots: Vec<i64> = bench.spots(id).iter().map(|event| event.symbol_id).collect();
        assert_eq!(snapshots.len(), held.len() - 1);
        assert!(snapshots.iter().all(|id| held.contains(id)));
    }
}

#[test]
fn events_may_carry_the_id_of_another_client_and_answers_do_not() {
    let mut bench = Bench::usual();
    let id = bench.open();
    bench.fault("foreign-event-id", &json!({}));
    bench.ask_with_id(id, &application_auth(), Some("x"));
    assert_eq!(bench.next(id).unwrap().client_msg_id.as_deref(), Some("x"));
    bench.ask(id, &account_auth());
    bench.answer::<ProtoOaAccountAuthRes>(id);
    bench.ask_with_id(id, &subscribe_spots(&[1]), None);
    assert_eq!(bench.next(id).unwrap().client_msg_id, None);
    let snapshot = bench.next(id).unwrap();
    assert_eq!(snapshot.payload_type, ProtoOaSpotEvent::TYPE);
    assert_eq!(snapshot.client_msg_id.as_deref(), Some("other-client-1"));
}
