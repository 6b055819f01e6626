use std::time::Duration;

use serde_json::{Value, json};

use super::{Peer, settings};
use crate::{Limits, SessionSettings};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("X:S{number:04}")).collect()
}

fn count(commands: &[Value], name: &str) -> usize {
    commands.iter().filter(|command| command["m"] == name).count()
}

#[test]
fn symbols_come_and_go_as_demand_does() {
    let mut peer = Peer::greeted(settings(), &["A:A", "A:B"]);
    peer.commands();
    peer.want(&["A:B", "A:C"]);
    assert_eq!(
        peer.commands(),
        Vec::<Value>::new(),
        "not before what was added is answered, or has had its time"
    );
    peer.pass(Duration::from_secs(1));
    let id = peer.session_of("A:C");
    assert_eq!(
        peer.commands(),
        [
            json!({"m": "quote_remove_symbols", "p": [id, "A:A"]}),
            json!({"m": "quote_add_symbols", "p": [id, "A:C"]})
        ]
    );
    peer.want(&["A:A", "A:B", "A:C"]);
    peer.pass(Duration::from_secs(1));
    assert_eq!(peer.commands(), [json!({"m": "quote_add_symbols", "p": [id, "A:A"]})]);
    peer.want(&["A:A", "A:B", "A:C"]);
    assert_eq!(peer.commands(), Vec::<Value>::new());
}

#[test]
fn a_symbol_that_comes_back_in_the_same_moment_is_let_go_before_it_is_added() {
    let limits = Limits { messages_per_s: 5, ..settings().limits };
    let mut peer = Peer::greeted(SessionSettings { limits, ..settings() }, &["A:A"]);
    // The start took all leave of this second; the model refuses a key that is added twice.
    peer.want::<&str>(&[]);
    peer.want(&["A:A"]);
    assert_eq!(peer.sent.len(), 5);
    peer.pass(Duration::from_secs(2));
    assert_eq!(count(&peer.commands(), "quote_remove_symbols"), 1);
    assert_eq!(peer.held().len(), 1);
}

#[test]
fn no_second_holds_more_messages_than_allowed_and_none_is_idle() {
    let mut peer = Peer::upgraded(settings());
    peer.is_mute = false;
    peer.want(&names(1_000));
    peer.greet();
    peer.pass(Duration::from_secs(10));
    assert_eq!(peer.held().len(), 1_000);
    assert_eq!(peer.sessions.len(), 10);
    assert!(peer.sessions.values().all(|keys| keys.len() == 100));
    // Two to begin with, ten sessions of two, twenty batches: forty-two in five seconds.
    let times: Vec<Duration> = peer.sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 42);
    for start in &times {
        let within = times.iter().filter(|at| *at >= start && **at < *start + Duration::from_secs(1)).count();
        assert!(within <= 10, "{within} in a second");
    }
    assert!(times[41] - times[0] <= Duration::from_secs(5));
    peer.want::<&str>(&[]);
    peer.pass(Duration::from_secs(10));
    assert_eq!(peer.held().len(), 0);
    assert_eq!(peer.sessions.len(), 1, "one is kept for what comes next");
}

#[test]
fn what_is_beyond_the_limit_is_refused_and_comes_in_when_there_is_room() {
    let limits = Limits { symbols_max: 2, ..settings().limits };
    let mut peer = Peer::greeted(SessionSettings { limits, ..settings() }, &["A:A", "A:B", "A:C"]);
    let states = peer.states();
    assert_eq!(states.len(), 1);
    assert_eq!((states[0].0.as_str(), states[0].1.code.as_deref()), ("A:C", Some("SYMBOL_REFUSED")));
    assert!(states[0].1.message.as_deref().unwrap().contains("TRADINGVIEW_SYMBOLS_MAX"));
    peer.want(&["A:B", "A:C"]);
    peer.pass(Duration::from_secs(1));
    assert_eq!(peer.held().into_iter().collect::<Vec<_>>(), ["A:B", "A:C"]);
}

#[test]
fn nothing_that_slows_a_session_down_is_ever_sent() {
    let mut peer = Peer::greeted(settings(), &names(60));
    peer.ask_again(&names(60));
    peer.pass(Duration::from_secs(60));
    let commands = peer.commands();
    assert_eq!(count(&commands, "quote_hibernate_all"), 0);
    assert!(commands.iter().all(|command| command["p"].as_array().unwrap().iter().all(Value::is_string)));
}
