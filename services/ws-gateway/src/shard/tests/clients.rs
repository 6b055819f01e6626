use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::super::*;
use super::bench::*;

#[test]
fn a_quiet_client_gets_a_heartbeat_and_pings() {
    let mut bench = Bench::new(5);
    let browser = bench.open();
    bench.pass_time(Duration::from_secs(26));
    let frames = browser.frames();
    assert!(frames.iter().any(|(opcode, _)| *opcode == 9), "a ping");
    assert_eq!(frames.iter().filter(|(opcode, _)| *opcode == 1).count(), 1, "a heartbeat");
}

#[test]
fn a_client_that_answers_nothing_is_let_go() {
    let mut bench = Bench::new(5);
    let browser = bench.open();
    bench.pass_time(Duration::from_secs(80));
    assert_eq!(browser.closed_with(), Some(4408));
    assert!(bench.shard.is_empty());
}

#[test]
fn a_client_that_takes_nothing_is_dropped_and_others_do_not_notice() {
    let mut bench = Bench::new(0);
    let (stuck, good) = (bench.open(), bench.open());
    bench.subscribe(&stuck, &["EURUSD"]);
    bench.subscribe(&good, &["EURUSD"]);
    stuck.room(100);
    for _ in 0..40 {
        bench.pass_time(Duration::from_secs(1));
        bench.tick("EURUSD");
        bench.say(&good, &json!({"type": "ping"}));
        assert!(told(&good.hear()).iter().any(|line| line.starts_with("tick")));
    }
    assert_eq!(bench.shard.len(), 1, "stuck for half a minute");
    assert!((bench.metric("connections") - 1.0).abs() < 0.1);
}

#[test]
fn a_lapped_client_gets_the_newest_and_the_exact_gap() {
    let mut bench = Bench::new(0);
    let slow = bench.open();
    bench.subscribe(&slow, &["EURUSD"]);
    bench.tick("EURUSD");
    slow.hear();
    slow.room(10);
    for _ in 2..=30 {
        bench.tick("EURUSD");
    }
    slow.room(usize::MAX / 2);
    bench.shard.writable(slow.number, bench.now);
    bench.settle();
    let heard = told(&slow.hear());
    // What the socket had begun to take, the gap, and what the ring still holds.
    assert_eq!(heard[0], "tick 2");
    assert_eq!(heard[1], format!("gap 3-{}", 30 - RING));
    assert_eq!(heard.len(), 2 + RING);
    assert_eq!(heard.last().unwrap(), "tick 30");
}

#[test]
fn a_client_that_asks_and_does_not_read_is_closed() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    browser.room(0);
    // What one write takes over, and more replies than may wait.
    for _ in 0..600 {
        browser.send(OpCode::Data(Data::Text), br#"{"type":"ping"}"#);
    }
    bench.shard.readable(browser.number, bench.now);
    bench.settle();
    browser.room(usize::MAX / 2);
    bench.shard.writable(browser.number, bench.now);
    bench.settle();
    assert_eq!(browser.closed_with(), Some(4002));
}

#[test]
fn a_client_that_asks_for_long_answers_and_does_not_read_holds_little_and_is_closed() {
    let mut bench = Bench::with(0, Duration::from_secs(25), 1_000, true);
    let browser = bench.open();
    browser.room(0);
    let many = json!({"type": "unsubscribe", "symbols": vec!["A"; 5_000]}).to_string();
    let answer_bytes = 5_000 * 150;
    let mut asked = 0;
    while bench.shard.clients[browser.number as usize].closing.is_none() {
        browser.send_text(&many);
        bench.shard.readable(browser.number, bench.now);
        bench.pass_time(Duration::from_millis(100));
        let held = bench.shard.clients[browser.number as usize].held_bytes();
        assert!(held < REPLIES_BYTES_MAX + answer_bytes + 2 * WRITE_BYTES, "{held} bytes");
        asked += 1;
        assert!(asked < 20, "it is let go");
    }
    assert!(asked > 2, "two long answers may wait");
    browser.room(usize::MAX / 2);
    bench.shard.writable(browser.number, bench.now);
    bench.settle();
    assert_eq!(browser.closed_with(), Some(4002));
}

#[test]
fn a_flood_of_pings_is_answered_with_the_newest_of_each_read() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    for number in 0..1_000u32 {
        browser.send(OpCode::Control(Control::Ping), &number.to_be_bytes());
    }
    bench.shard.readable(browser.number, bench.now);
    bench.settle();
    let pongs = browser.frames().into_iter().filter(|(opcode, _)| *opcode == 10).map(|(_, payload)| payload);
    let pongs: Vec<_> = pongs.collect();
    assert!(pongs.len() < 20, "{}", pongs.len());
    assert_eq!(pongs.last().map(Vec::as_slice), Some(&999u32.to_be_bytes()[..]));
}

#[test]
fn a_client_that_asks_much_at_once_and_reads_gets_every_answer() {
    let mut bench = Bench::new(5);
    let browser = bench.open();
    for _ in 0..5_000 {
        browser.send(OpCode::Data(Data::Text), br#"{"type":"ping"}"#);
    }
    bench.shard.readable(browser.number, bench.now);
    bench.pass_time(Duration::from_millis(100));
    assert_eq!(browser.hear().iter().filter(|message| message["type"] == "pong").count(), 5_000);
    assert_eq!(bench.shard.len(), 1);
}

#[test]
fn one_request_may_have_more_answers_than_may_wait() {
    let mut bench = Bench::with(5, Duration::from_secs(25), 1_000, false);
    let (quick, slow) = (bench.open(), bench.open());
    slow.room(0);
    let symbols: Vec<String> = (0..1_000).map(|n| format!("SYM{n}")).collect();
    let request = json!({"type": "subscribe", "symbols": symbols});
    bench.say(&quick, &request);
    bench.say(&slow, &request);
    bench.pass_time(Duration::from_millis(100));
    slow.room(usize::MAX / 2);
    bench.shard.writable(slow.number, bench.now);
    bench.pass_time(Duration::from_millis(100));
    for browser in [quick, slow] {
        let pending = browser.hear().iter().filter(|message| message["state"] == "pending").count();
        assert_eq!(pending, 1_000, "all of them are told that the venue is not known yet");
    }
}

#[test]
fn bad_frames_are_closed_with_their_code_and_what_was_said_before_is_answered() {
    let mut bench = Bench::new(0);
    let big = bench.open();
    big.send(OpCode::Data(Data::Text), &[b'x'; 301]);
    let not_text = bench.open();
    not_text.send(OpCode::Data(Data::Text), &[0xFF]);
    let rubbish = bench.open();
    rubbish.pipe.0.lock().unwrap().to_gateway.extend(*b"GET / HTTP/1.1\r\n");
    for (browser, code) in [(big, 1009), (not_text, 1007), (rubbish, 1002)] {
        bench.shard.readable(browser.number, bench.now);
        bench.settle();
        assert_eq!(browser.closed_with(), Some(code));
        assert!(browser.pipe.0.lock().unwrap().is_finished);
        browser.pipe.0.lock().unwrap().is_cut = true;
        bench.shard.readable(browser.number, bench.now);
    }
    assert!(bench.shard.is_empty());
}

#[test]
fn the_clients_close_and_ping_are_answered_in_kind() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    browser.send(OpCode::Control(Control::Ping), b"hi");
    bench.shard.readable(browser.number, bench.now);
    bench.settle();
    assert_eq!(browser.frames(), [(10, b"hi".to_vec())]);
    browser.send(OpCode::Control(Control::Close), &4321u16.to_be_bytes());
    bench.shard.readable(browser.number, bench.now);
    bench.settle();
    assert_eq!(browser.closed_with(), Some(4321));
    bench.pass_time(Duration::from_secs(3));
    assert!(bench.shard.is_empty(), "not waited for longer than two seconds");
}

#[test]
fn a_full_gateway_says_so() {
    let mut bench = Bench::new(0);
    let places: Vec<Browser> = (0..10).map(|_| bench.open()).collect();
    let late = bench.open();
    assert_eq!(late.closed_with(), Some(4003));
    assert!(places.iter().all(|browser| browser.closed_with().is_none()));
    assert!((bench.metric("connections") - 10.0).abs() < 0.1);
}

#[test]
fn a_stopping_gateway_sends_its_clients_elsewhere_within_the_time() {
    let mut bench = Bench::new(0);
    let browsers: Vec<Browser> = (0..10).map(|_| bench.open()).collect();
    bench.gateway.stop.cancel();
    bench.gateway.bulletin.nudge();
    bench.settle();
    let mut moves = Vec::new();
    for browser in &browsers {
        let heard = browser.hear();
        assert_eq!(heard[0]["type"], "goaway");
        moves.push(heard[0]["reconnectInMs"].as_u64().unwrap());
    }
    assert!(moves.iter().all(|ms| *ms <= 7_500) && moves.iter().max() != moves.iter().min(), "{moves:?}");
    bench.pass_time(Duration::from_secs(11));
    assert!(browsers.iter().all(|browser| browser.closed_with() == Some(1001)));
    bench.pass_time(Duration::from_secs(2));
    assert!(bench.shard.is_empty());
}

#[test]
fn statuses_reach_everybody_and_who_missed_some_gets_the_present_one() {
    let mut bench = Bench::new(0);
    let (quick, slow) = (bench.open(), bench.open());
    slow.room(0);
    // The first is on its way already; of the rest there is one more than is kept.
    for n in 0..NOTES_MAX + 2 {
        bench.gateway.bulletin.post(json!({"type": "status", "n": n}).to_string().into());
        bench.settle();
        assert_eq!(quick.hear().last().unwrap()["n"], n);
    }
    slow.room(usize::MAX / 2);
    bench.shard.writable(slow.number, bench.now);
    bench.settle();
    let heard = slow.hear();
    assert_eq!(heard.last().unwrap()["source"], "ctrader");
    assert!(heard.len() <= 2, "{}", heard.len());
}
