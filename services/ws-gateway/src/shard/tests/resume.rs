use serde_json::{Value, json};

use super::super::*;
use super::bench::*;

fn resumed(bench: &mut Bench, browser: &Browser, epoch: &str, seq: u64) -> Vec<Value> {
    let position = json!({"EURUSD": {"epoch": epoch, "seq": seq}});
    bench.say(browser, &json!({"type": "subscribe", "symbols": ["eurusd"], "resume": position, "id": 1}));
    browser.hear()
}

/// What was said but for states: the venue is not ready here, so each symbol is pending until it ticks.
fn said(messages: &[Value]) -> Vec<String> {
    told(messages).into_iter().filter(|line| line != "symbolState").collect()
}

/// A gateway that has heard of more than its rings hold.
fn busy() -> Bench {
    let mut bench = Bench::new(0);
    let keeper = bench.open();
    bench.subscribe(&keeper, &["EURUSD"]);
    for _ in 0..20 {
        bench.tick("EURUSD");
    }
    bench
}

#[test]
fn who_stopped_within_the_ring_gets_what_it_missed_instead_of_the_snapshot() {
    for seq in [12, 17, 20] {
        let mut bench = busy();
        let browser = bench.open();
        let heard = resumed(&mut bench, &browser, "1", seq);
        assert_eq!((&heard[0]["type"], &heard[0]["id"]), (&json!("subscribeResponse"), &json!(1)));
        assert_eq!(heard[0]["results"][0]["recovered"], true);
        let expected: Vec<String> = (seq + 1..=20).map(|seq| format!("tick {seq}")).collect();
        assert_eq!(said(&heard[1..]), expected, "after {seq}");
        assert!(heard.iter().all(|message| message["snapshot"] == Value::Null));
        bench.tick("EURUSD");
        assert_eq!(said(&browser.hear()), ["tick 21"]);
    }
}

#[test]
fn a_position_nobody_can_go_on_from_is_answered_with_the_snapshot() {
    for (epoch, seq) in [("1", 11), ("1", 0), ("0", 20), ("x", 20), ("", 1)] {
        let mut bench = busy();
        let browser = bench.open();
        let heard = resumed(&mut bench, &browser, epoch, seq);
        assert_eq!(heard[0]["results"][0]["recovered"], false, "{epoch} {seq}");
        assert_eq!(said(&heard[1..]), ["tick 20"]);
        assert!(heard.iter().any(|message| message["snapshot"] == true));
    }
}

#[test]
fn a_position_ahead_of_this_gateway_is_waited_for_shortly() {
    let mut bench = busy();
    let (comes, never) = (bench.open(), bench.open());
    assert_eq!(resumed(&mut bench, &comes, "1", 22), [] as [Value; 0]);
    assert_eq!(resumed(&mut bench, &never, "7", 1), [] as [Value; 0]);
    bench.say(&comes, &json!({"type": "ping"}));
    assert_eq!(comes.hear()[0]["type"], "pong", "nothing else waits");
    for _ in 0..3 {
        bench.tick("EURUSD");
    }
    bench.pass_time(Duration::from_millis(10));
    let heard = comes.hear();
    assert_eq!(heard[0]["results"][0]["recovered"], true);
    assert_eq!(said(&heard[1..]), ["tick 23"]);
    bench.pass_time(Duration::from_millis(250));
    let heard = never.hear();
    assert_eq!(heard[0]["results"][0]["recovered"], false);
    assert_eq!(said(&heard[1..]), ["tick 23"], "and the snapshot is what is known now");
}

#[test]
fn while_a_channels_history_is_on_its_way_the_answer_waits_and_so_do_its_live_ticks() {
    let mut bench = Bench::new(0);
    bench.has_history = true;
    let (recovers, plain, too_old) = (bench.open(), bench.open(), bench.open());
    assert_eq!(resumed(&mut bench, &recovers, "1", 17), [] as [Value; 0]);
    bench.subscribe(&plain, &["EURUSD"]);
    bench.seqs.insert("EURUSD".into(), 20);
    bench.tick("EURUSD");
    assert_eq!(resumed(&mut bench, &too_old, "1", 3), [] as [Value; 0]);
    assert_eq!(said(&plain.hear()), ["tick 21"], "who did not ask for the past need not wait");
    assert_eq!(recovers.hear(), [] as [Value; 0]);
    bench.fill("EURUSD", 15..=20);
    bench.pass_time(Duration::from_millis(10));
    let heard = recovers.hear();
    assert_eq!(heard[0]["results"][0]["recovered"], true);
    assert_eq!(said(&heard[1..]), ["tick 18", "tick 19", "tick 20", "tick 21"]);
    let heard = too_old.hear();
    assert_eq!(heard[0]["results"][0]["recovered"], false);
    assert_eq!(said(&heard[1..]), ["tick 21"]);
    bench.tick("EURUSD");
    for browser in [&recovers, &plain, &too_old] {
        assert_eq!(said(&browser.hear()), ["tick 22"]);
    }
}

#[test]
fn a_history_that_never_comes_keeps_an_answer_waiting_two_seconds() {
    let mut bench = Bench::new(0);
    bench.has_history = true;
    let browser = bench.open();
    assert_eq!(resumed(&mut bench, &browser, "1", 17), [] as [Value; 0]);
    bench.pass_time(Duration::from_millis(1_999));
    assert_eq!(browser.hear(), [] as [Value; 0]);
    bench.pass_time(Duration::from_millis(1));
    assert_eq!(browser.hear()[0]["results"][0]["recovered"], false);
}

#[test]
fn what_is_joined_beside_something_that_waits_is_told_after_the_answer_too() {
    let mut bench = busy();
    let browser = bench.open();
    let position = json!({"EURUSD": {"epoch": "1", "seq": 21}});
    bench.say(&browser, &json!({"type": "subscribe", "symbols": ["EURUSD", "GBPUSD"], "resume": position}));
    bench.tick("GBPUSD");
    assert_eq!(browser.hear(), [] as [Value; 0]);
    bench.tick("EURUSD");
    bench.pass_time(Duration::from_millis(10));
    assert_eq!(said(&browser.hear()), ["subscribeResponse", "tick 1"]);
}

#[test]
fn what_was_left_while_its_answer_waited_stays_left() {
    let mut bench = busy();
    let browser = bench.open();
    resumed(&mut bench, &browser, "1", 25);
    bench.say(&browser, &json!({"type": "unsubscribe", "symbols": "EURUSD"}));
    bench.say(&browser, &json!({"type": "subscribe", "symbols": "EURUSD"}));
    assert_eq!(said(&browser.hear()), ["unsubscribeResponse", "subscribeResponse", "tick 20"]);
    bench.pass_time(Duration::from_secs(3));
    let heard = browser.hear();
    assert_eq!(heard[0]["results"][0]["recovered"], false);
    assert_eq!(said(&heard).len(), 1, "no second snapshot");
}

#[test]
fn resuming_what_is_held_changes_nothing_and_is_answered_truthfully() {
    let mut bench = busy();
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    for (seq, recovered) in [(20, true), (19, false)] {
        let heard = resumed(&mut bench, &browser, "1", seq);
        assert_eq!(heard[0]["results"][0]["recovered"], recovered);
        assert_eq!(said(&heard).len(), 1);
    }
    bench.tick("EURUSD");
    assert_eq!(said(&browser.hear()), ["tick 21"]);
}

#[test]
fn a_client_that_goes_while_it_waits_leaves_nothing() {
    let mut bench = busy();
    for _ in 0..3 {
        let browser = bench.open();
        resumed(&mut bench, &browser, "1", 25);
        browser.cut();
        bench.shard.readable(browser.number, bench.now);
    }
    bench.pass_time(Duration::from_secs(3));
    assert_eq!(bench.shard.len(), 1);
    assert!(bench.shard.waiting.until.is_none());
}

#[test]
fn a_resume_before_the_venues_names_are_known_waits_for_them() {
    let mut bench = Bench::with(0, Duration::from_secs(25), 10, false);
    let early = bench.open();
    assert_eq!(resumed(&mut bench, &early, "1", 3), [] as [Value; 0]);
    bench.learn_names();
    bench.settle();
    bench.pass_time(Duration::from_millis(20));
    // Nothing of the channel is known, so there is nothing to go on from.
    assert_eq!(early.hear()[0]["results"][0]["recovered"], false);

    let mut bench = Bench::with(0, Duration::from_secs(25), 10, false);
    let impatient = bench.open();
    assert_eq!(resumed(&mut bench, &impatient, "1", 3), [] as [Value; 0]);
    bench.pass_time(Duration::from_secs(2));
    let heard = impatient.hear();
    assert_eq!(heard[0]["results"][0]["code"], "VENUE_DOWN");
    assert_eq!((&heard[1]["type"], heard.len()), (&json!("symbolState"), 2));
}
