//! Too many quote sessions (facts 5.4), which no key is to blame for.

use std::time::Duration;

use serde_json::json;
use tickcast_model::CauseKind;
use tickcast_session::Retry;

use super::{Peer, settings};
use crate::{Limits, SessionSettings};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_connection_that_is_given_no_sessions_ends_soon_and_the_next_one_waits() {
    for words in ["max sessions rate reached", "Max state sessions reached"] {
        let mut peer = Peer::greeted(settings(), &["A:A"]);
        let ending = loop {
            if let Some(id) = peer.sessions.keys().next().cloned() {
                peer.break_session(&id, words, "quote_create_session");
            }
            match peer.try_pass(Duration::from_millis(100)) {
                Ok(()) => assert!(peer.now.elapsed < 110 * SECOND, "it goes on and on"),
                Err(ending) => break ending,
            }
        };
        assert_eq!(count(&peer, "quote_create_session"), 3, "{words}");
        assert_eq!(peer.states(), [], "nobody's key is to blame");
        assert_eq!((ending.cause.kind, ending.retry), (CauseKind::RateLimited, Retry::Slowly));
        assert!(ending.cause.detail.contains(words), "{}", ending.cause);
    }
}

#[test]
fn a_connection_that_had_its_share_of_sessions_is_replaced_as_any_other() {
    let limits = Limits { symbols_per_session: 1, ..settings().limits };
    let mut peer = Peer::greeted(SessionSettings { limits, ..settings() }, &["A:A"]);
    peer.completed("A:A");
    peer.want(&["A:A", "A:B"]);
    for turn in 1..=3 {
        peer.pass(4 * SECOND);
        let id = peer.session_of("A:B");
        peer.break_session(&id, "Max state sessions reached", "");
        // The older session streams on, which says nothing of new ones.
        peer.qsd("A:A", &json!({"lp": turn}));
    }
    let ending = peer.try_pass(Duration::ZERO).unwrap_err();
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::RateLimited, Retry::Backoff));
}

#[test]
fn one_session_that_was_too_many_is_forgotten_when_the_next_is_answered() {
    let mut peer = Peer::greeted(settings(), &["A:A"]);
    for _ in 0..6 {
        let id = peer.session_of("A:A");
        peer.break_session(&id, "max sessions rate reached", "");
        peer.pass(61 * SECOND);
        peer.completed("A:A");
    }
    peer.pass(61 * SECOND);
    assert_eq!(peer.held().len(), 1);
}

#[test]
fn a_word_in_a_session_that_was_too_many_ends_the_connection_for_that_reason() {
    let mut peer = Peer::greeted(settings(), &["A:A"]);
    let id = peer.session_of("A:A");
    peer.break_session(&id, "max sessions rate reached", "quote_create_session");
    let ending = peer
        .try_say(&json!({"m": "protocol_error", "p": ["{unknown_session_id,<<\"quote_set_fields\">>,<<\"qs\">>}"]}))
        .unwrap_err();
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::RateLimited, Retry::Slowly));
}

#[test]
fn a_connection_is_replaced_before_its_sessions_are_used_up() {
    let mut peer = Peer::greeted(settings(), &["A:A"]);
    let ending = loop {
        peer.completed("A:A");
        let id = peer.session_of("A:A");
        peer.break_session(&id, "unsupported method", "quote_set_fields");
        if let Err(ending) = peer.try_pass(61 * SECOND) {
            break ending;
        }
        assert!(count(&peer, "quote_create_session") < 200, "the venue counts, too");
    };
    assert_eq!(count(&peer, "quote_create_session"), 180);
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::SessionLost, Retry::Backoff));
}

#[test]
fn keys_on_trial_wait_for_a_limit_as_all_others_do() {
    let mut peer = Peer::greeted(settings(), &["A:A", "A:B"]);
    let id = peer.session_of("A:A");
    peer.break_session(&id, "invalid_parameters", "quote_add_symbols");
    // Each goes on trial alone, and there are too many sessions now.
    for _ in 0..2 {
        let id = peer.sessions.keys().next().cloned().unwrap();
        peer.break_session(&id, "Max state sessions reached", "");
    }
    let opened = count(&peer, "quote_create_session");
    peer.pass(Duration::from_millis(900));
    assert_eq!(count(&peer, "quote_create_session"), opened, "not at once");
    peer.pass(Duration::from_millis(200));
    assert_eq!(count(&peer, "quote_create_session"), opened + 1);
}

fn count(peer: &Peer, method: &str) -> usize {
    peer.sent.iter().filter(|(_, message)| message["m"] == method).count()
}
