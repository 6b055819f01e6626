use serde_json::{Value, json};

use super::super::*;
use super::bench::*;

/// A client whose line takes so many bytes in a second, with so much buffer before it; it reads what has got through.
struct Line {
    browser: Browser,
    bytes_per_s: usize,
    /// Taken by the socket and not yet on the line.
    buffered: Vec<u8>,
    buffer_bytes: usize,
    /// The line's part of the current second.
    credit: usize,
}

impl Line {
    fn new(browser: Browser, bytes_per_s: usize, buffer_bytes: usize) -> Self {
        browser.room(buffer_bytes);
        Self { browser, bytes_per_s, buffered: Vec::new(), buffer_bytes, credit: 0 }
    }

    /// Lets a tenth of a second pass for the line; what came through is left for [`Browser::hear`].
    fn pass(&mut self, bench: &mut Bench, through: &mut Vec<u8>) {
        let taken = self.browser.take_bytes();
        self.buffered.extend(taken);
        self.credit += self.bytes_per_s / 10;
        let goes = self.credit.min(self.buffered.len());
        self.credit -= goes;
        if self.buffered.is_empty() {
            self.credit = 0;
        }
        through.extend(self.buffered.drain(..goes));
        self.browser.room(self.buffer_bytes - self.buffered.len());
        bench.shard.writable(self.browser.number, bench.now);
        bench.settle();
    }
}

/// What one client has been told of one symbol, added up.
#[derive(Default)]
struct Account {
    last: u64,
    ticks: u64,
    merged: u64,
    missed: u64,
}

impl Account {
    fn take(&mut self, messages: &[Value]) {
        for message in messages {
            match message["type"].as_str() {
                Some("tick") => {
                    let seq = message["seq"].as_u64().unwrap();
                    assert!(seq > self.last, "twice");
                    self.last = seq;
                    self.ticks += 1;
                    self.merged += message["merged"].as_u64().unwrap_or(1) - 1;
                }
                Some("gap") => {
                    let (from, to) = (message["from"].as_u64().unwrap(), message["to"].as_u64().unwrap());
                    assert_eq!(message["missed"], to - from + 1);
                    assert_eq!(from, self.last + 1);
                    self.last = to;
                    self.missed += to - from + 1;
                }
                _ => {}
            }
        }
        assert_eq!(self.ticks + self.merged + self.missed, self.last, "all accounted for");
    }
}

/// Ten minutes at 10 kbit/s beside a flood: nothing grows, nothing is older than a drain, and all is accounted for.
fn slow_client(on_slow: &str) -> Account {
    const BUFFER: usize = 8 * 1024;
    const BYTES_PER_S: usize = 1_250;
    let mut bench = Bench::new(5);
    let good = bench.open();
    bench.subscribe(&good, &["EURUSD"]);
    let browser = bench.open();
    bench.say(&browser, &json!({"type": "subscribe", "symbols": ["EURUSD"], "onSlow": on_slow}));
    browser.hear();
    let mut line = Line::new(browser, BYTES_PER_S, BUFFER);
    let (mut account, mut through, mut published_at) = (Account::default(), Vec::new(), vec![bench.now]);
    let mut good_last = 0;
    for tenth in 0..6_000u32 {
        for _ in 0..10 {
            bench.tick("EURUSD");
            published_at.push(bench.now);
            bench.pass_time(Duration::from_millis(10));
        }
        line.pass(&mut bench, &mut through);
        let heard = messages(&mut through);
        account.take(&heard);
        // The first of it waits in the first, full buffer.
        let drain = Duration::from_secs_f64((BUFFER + SLOW_WRITE_BYTES) as f64 / BYTES_PER_S as f64);
        let most = bench.gateway.slow_after + drain + Duration::from_secs(2);
        for tick in heard.iter().filter(|message| message["type"] == "tick" && tenth > 300) {
            let age = bench.now - published_at[usize::try_from(tick["seq"].as_u64().unwrap()).unwrap()];
            assert!(age <= most, "{age:?} old, {tick}");
        }
        let last = good.hear().iter().filter_map(|message| message["seq"].as_u64()).max();
        good_last = last.unwrap_or(good_last);
        assert_eq!(good_last, u64::from(tenth + 1) * 10, "the others have everything");
        let client = &bench.shard.clients[line.browser.number as usize];
        assert!(client.held_bytes() < 20 * 1024, "{}", client.held_bytes());
        // Later it says nothing more: that it reads is sign of life enough, for our pings wait in front of a slow line.
        if tenth < 1_000 && tenth % 100 == 0 {
            line.browser.send_text(&json!({"type": "ping"}).to_string());
            bench.shard.readable(line.browser.number, bench.now);
        }
        good.send_pong();
        bench.shard.readable(good.number, bench.now);
    }
    assert_eq!(bench.shard.len(), 2, "nobody is dropped for being slow");
    assert!(bench.metric("clients_passed_over_total") > 100.0);
    account
}

#[test]
fn a_client_slower_than_its_symbols_stays_near_the_present_and_is_told_what_it_misses() {
    let account = slow_client("gap");
    assert!(account.missed > 50_000 && account.merged == 0, "{}", account.missed);
    assert!(account.ticks > 1_000);
}

#[test]
fn a_client_slower_than_its_symbols_gets_them_merged_where_it_wants() {
    let account = slow_client("merge");
    assert!(account.merged > 50_000, "{}", account.merged);
    assert_eq!(account.missed, 0, "all of it, in fewer messages");
}

#[test]
fn a_short_stall_loses_nothing_the_ring_has() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    bench.tick("EURUSD");
    browser.hear();
    browser.room(0);
    for _ in 0..RING {
        bench.tick("EURUSD");
    }
    bench.pass_time(Duration::from_millis(1_999));
    browser.room(usize::MAX / 2);
    bench.shard.writable(browser.number, bench.now);
    bench.settle();
    let expected: Vec<String> = (2..=1 + RING).map(|seq| format!("tick {seq}")).collect();
    assert_eq!(told(&browser.hear()), expected);
}

#[test]
fn who_stalls_for_longer_goes_on_with_the_newest() {
    for (on_slow, expected) in
        [("gap", vec!["tick 2", "gap 3-8", "tick 9"]), ("merge", vec!["tick 2", "tick 9"])]
    {
        let mut bench = Bench::new(0);
        let browser = bench.open();
        bench.say(&browser, &json!({"type": "subscribe", "symbols": "EURUSD", "onSlow": on_slow}));
        bench.tick("EURUSD");
        browser.hear();
        browser.room(0);
        for _ in 0..RING {
            bench.tick("EURUSD");
        }
        bench.pass_time(Duration::from_secs(3));
        browser.room(usize::MAX / 2);
        bench.shard.writable(browser.number, bench.now);
        bench.settle();
        let heard = browser.hear();
        // What the socket was offered before it blocked, then one message for the rest.
        assert_eq!(told(&heard), expected);
        if on_slow == "merge" {
            assert_eq!(heard[1]["merged"], 7);
        }
        // Everything there is: not behind any more.
        bench.tick("EURUSD");
        bench.pass_time(Duration::from_secs(10));
        bench.tick("EURUSD");
        assert_eq!(told(&browser.hear()), ["tick 10", "tick 11"]);
        assert!((bench.metric("clients_passed_over_total") - 1.0).abs() < 0.1);
    }
}

#[test]
fn replies_and_statuses_do_not_wait_behind_ticks() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD", "GBPUSD"]);
    bench.tick("EURUSD");
    browser.hear();
    browser.room(0);
    bench.tick("EURUSD");
    for _ in 0..RING {
        bench.tick("GBPUSD");
    }
    bench.say(&browser, &json!({"type": "ping"}));
    bench.gateway.bulletin.post(json!({"type": "status"}).to_string().into());
    bench.settle();
    browser.room(usize::MAX / 2);
    bench.shard.writable(browser.number, bench.now);
    bench.settle();
    let heard = told(&browser.hear());
    assert_eq!(heard[..3], ["tick 2", "pong", "status"]);
}

#[test]
fn a_socket_that_takes_a_little_at_a_time_is_slow_and_not_dead() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    browser.room(0);
    for _ in 0..300 {
        bench.tick("EURUSD");
        // A byte gets free, and the system does not say so.
        browser.room(1);
        bench.pass_time(Duration::from_secs(1));
        browser.send_pong();
        bench.shard.readable(browser.number, bench.now);
    }
    assert_eq!(bench.shard.len(), 1);
}
