//! A million ticks through every mode: what the modes tell adds up to the same, and so do bars made of it.

use serde_json::json;

use super::super::*;
use super::account::Said;
use super::bench::*;
use super::lives::next_frame;

const TICKS: u64 = 1_000_000;

/// Messages that make a bar here. A merged tick belongs to one bar, whatever went into it.
const BAR_MESSAGES: u64 = 50;

/// Prices of the raw stream in the last place, by number.
fn units(seq: u64) -> i64 {
    100_000 + i64::try_from(seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50).unwrap()
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Bar {
    count: u64,
    high: i64,
    low: i64,
    close: i64,
}

impl Bar {
    fn of(seqs: std::ops::RangeInclusive<u64>) -> Self {
        let prices = || seqs.clone().map(units);
        let (high, low) = (prices().max().unwrap(), prices().min().unwrap());
        Self { count: seqs.clone().count() as u64, high, low, close: units(*seqs.end()) }
    }
}

/// A client that makes bars of what it is told, and compares them with those of the raw stream.
struct Charted {
    browser: Browser,
    name: &'static str,
    bar: Option<Bar>,
    messages: u64,
    /// The last number in a bar, and the last told.
    barred: u64,
    last: u64,
    ticks: u64,
    merged: u64,
    missed: u64,
    bars: u64,
}

impl Charted {
    fn new(bench: &mut Bench, name: &'static str, rate: &serde_json::Value) -> Self {
        let browser = bench.open();
        let mut request = json!({"type": "subscribe", "symbols": "EURUSD"});
        request.as_object_mut().unwrap().extend(rate.as_object().unwrap().clone());
        bench.say(&browser, &request);
        Self {
            browser,
            name,
            bar: None,
            messages: 0,
            barred: 0,
            last: 0,
            ticks: 0,
            merged: 0,
            missed: 0,
            bars: 0,
        }
    }

    fn hear(&mut self) {
        let bytes = self.browser.take_bytes();
        let mut done = 0;
        while let Some((opcode, payload)) = next_frame(&bytes[done..]) {
            let json = &bytes[done + payload.start..done + payload.end];
            done += payload.end;
            if opcode != 1 {
                continue;
            }
            let said: Said<'_> = serde_json::from_slice(json).unwrap();
            match said.kind {
                "tick" => self.tick(&said),
                "gap" => {
                    self.missed += said.missed.unwrap();
                    assert_eq!(said.from, Some(self.last + 1));
                    self.last = said.to.unwrap();
                    // Bars over what is missing are not the same, and the client knows it.
                    (self.bar, self.messages) = (None, 0);
                    self.barred = self.last;
                }
                _ => {}
            }
        }
        self.browser.give_back(&bytes[done..]);
    }

    #[expect(clippy::cast_possible_truncation, reason = "prices of five places")]
    fn tick(&mut self, said: &Said<'_>) {
        let in_units = |price: Option<f64>| (price.unwrap() * 1e5).round() as i64;
        let (seq, count, close) = (said.seq.unwrap(), said.merged.unwrap_or(1), in_units(said.price));
        assert_eq!(seq, self.last + count, "{}: {said:?}", self.name);
        self.last = seq;
        self.ticks += 1;
        self.merged += count - 1;
        let (high, low) =
            if said.merged.is_some() { (in_units(said.high), in_units(said.low)) } else { (close, close) };
        let bar = self.bar.get_or_insert(Bar { count: 0, high, low, close });
        *bar = Bar { count: bar.count + count, high: bar.high.max(high), low: bar.low.min(low), close };
        self.messages += 1;
        if self.messages == BAR_MESSAGES {
            assert_eq!(*bar, Bar::of(self.barred + 1..=seq), "{}", self.name);
            (self.bar, self.messages, self.barred) = (None, 0, seq);
            self.bars += 1;
        }
    }
}

#[test]
fn a_million_ticks_add_up_to_the_same_in_every_mode_and_so_do_their_bars() {
    let mut bench = Bench::new(0);
    bench.price = |seq| tickcast_model::Price::new(units(seq), 5);
    let latest = |ms: u64| json!({"mode": "latest", "minIntervalMs": ms});
    let mut clients = [
        Charted::new(&mut bench, "every", &json!({})),
        Charted::new(&mut bench, "latest at once", &latest(0)),
        Charted::new(&mut bench, "latest after 20 ms", &latest(20)),
        Charted::new(&mut bench, "latest after 1 s", &latest(1_000)),
        Charted::new(&mut bench, "slow and merged", &json!({"onSlow": "merge"})),
        Charted::new(&mut bench, "slow with gaps", &json!({"onSlow": "gap"})),
    ];
    for burst in 0..TICKS / 4 {
        for _ in 0..4 {
            bench.publish("EURUSD", 0);
        }
        bench.settle();
        if burst % 2 == 0 {
            bench.pass_time(Duration::from_millis(1));
        }
        for (place, client) in clients.iter_mut().enumerate() {
            // The slow ones take a message now and then.
            if place >= 4 && burst % 64 == 0 {
                client.browser.room(if burst % 512 == 0 { 4_000 } else { 150 });
                bench.shard.writable(client.browser.number, bench.now);
                bench.settle();
            }
            client.hear();
        }
        if burst % 1_000 == 0 {
            for client in &clients {
                client.browser.send_pong();
                bench.shard.readable(client.browser.number, bench.now);
            }
        }
    }
    for client in &mut clients {
        client.browser.room(usize::MAX / 2);
        bench.shard.writable(client.browser.number, bench.now);
        bench.pass_time(Duration::from_secs(1));
        client.hear();
        assert_eq!(client.ticks + client.merged + client.missed, TICKS, "{}", client.name);
        // Who has gaps all the time never has a whole bar.
        assert!(client.bars >= 2 || client.missed > 0, "{}: {}", client.name, client.bars);
    }
    let [every, at_once, often, seldom, merged, gaps] = &clients;
    assert_eq!((every.ticks, every.bars), (TICKS, TICKS / BAR_MESSAGES));
    assert!(at_once.ticks < TICKS && often.ticks < at_once.ticks && seldom.ticks < often.ticks);
    assert!([at_once, often, seldom, merged].iter().all(|client| client.missed == 0));
    assert!(merged.merged > 0 && gaps.missed > 0 && gaps.merged == 0);
}
