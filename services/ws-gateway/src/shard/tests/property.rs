use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;
use tickcast_model::{Symbol, VenueId};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::super::*;
use super::bench::*;

/// What happens to the shard in the property test.
#[derive(Clone, Debug)]
enum Op {
    Publish { symbol: usize, skip: u64 },
    Room { browser: usize, bytes: usize },
    Pass { ms: u64 },
    Open,
    Leave { browser: usize },
    Cut { browser: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0usize..2, prop_oneof![8 => Just(0u64), 1 => 1u64..3]).prop_map(|(symbol, skip)| Op::Publish { symbol, skip }),
        5 => (0usize..4, 0usize..700).prop_map(|(browser, bytes)| Op::Room { browser, bytes }),
        3 => (0u64..8).prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Open),
        1 => (0usize..4).prop_map(|browser| Op::Leave { browser }),
        1 => (0usize..4).prop_map(|browser| Op::Cut { browser }),
    ]
}

/// What one browser has been told, checked while it is told.
struct Checked {
    browser: Browser,
    /// By symbol: number when it joined (0 = nothing was known), last number accounted for.
    seen: HashMap<String, (u64, u64)>,
    is_reading: bool,
}

impl Checked {
    fn hear(&mut self) {
        for message in self.browser.hear() {
            let Some(symbol) = message["symbol"].as_str() else { continue };
            let Some((joined, last)) = self.seen.get_mut(symbol) else { continue };
            match message["type"].as_str() {
                Some("tick") => {
                    let seq = message["seq"].as_u64().unwrap();
                    if message["snapshot"] == true && *last == 0 {
                        // Either what was known on joining or, where nothing was, the first there was.
                        assert!(*joined == 0 || seq == *joined, "{symbol}: snapshot {seq}, known {joined}");
                    } else {
                        assert_eq!(seq, *last + 1, "{symbol}: a hole unannounced, or twice");
                    }
                    *last = seq;
                }
                Some("gap") => {
                    assert_eq!(message["from"].as_u64().unwrap(), *last + 1);
                    *last = message["to"].as_u64().unwrap();
                    let missed = message["missed"].as_u64().unwrap();
                    assert_eq!(missed, *last - message["from"].as_u64().unwrap() + 1);
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Through real frames and sockets that take a few bytes at a time: every tick is delivered once, or declared missing.
    #[test]
    fn every_tick_is_delivered_once_or_declared_missing(flush_ms in 0u64..6, ops in proptest::collection::vec(op(), 1..250)) {
        let mut bench = Bench::new(flush_ms);
        let symbols = ["EURUSD", "GBPUSD"];
        let mut browsers: Vec<Checked> = Vec::new();
        for op in ops {
            match op {
                Op::Publish { symbol, skip } => {
                    // Before the first tick nobody can miss one.
                    let skip = if bench.seqs.contains_key(symbols[symbol]) { skip } else { 0 };
                    let has_readers = browsers.iter().any(|checked| checked.is_reading);
                    if has_readers {
                        bench.publish(symbols[symbol], skip);
                        bench.settle();
                    }
                }
                Op::Room { browser, bytes } => if let Some(checked) = browsers.get_mut(browser) {
                    checked.browser.room(bytes);
                    bench.shard.writable(checked.browser.number, bench.now);
                    bench.settle();
                    checked.hear();
                },
                Op::Pass { ms } => bench.pass_time(Duration::from_millis(ms)),
                Op::Open => if browsers.len() < 4 {
                    let browser = bench.open();
                    let seen = symbols.iter().map(|name| {
                        let key = ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new(name).unwrap() };
                        // A channel nobody read meanwhile is known only to the hub, as it is kept for a while.
                        let known = bench.gateway.hub.channel(&key).and_then(|channel| {
                            channel.with_feed(|feed| feed.last().map(|frame| frame.position.seq))
                        });
                        ((*name).to_owned(), (known.unwrap_or(0), 0))
                    });
                    let mut checked = Checked { browser, seen: seen.collect(), is_reading: true };
                    let request = json!({"type": "subscribe", "symbols": symbols}).to_string();
                    checked.browser.send(OpCode::Data(Data::Text), request.as_bytes());
                    bench.shard.readable(checked.browser.number, bench.now);
                    bench.settle();
                    checked.hear();
                    browsers.push(checked);
                },
                Op::Leave { browser } => if let Some(checked) = browsers.get_mut(browser) {
                    checked.hear();
                    checked.is_reading = false;
                    let request = json!({"type": "unsubscribe", "symbols": symbols}).to_string();
                    checked.browser.send(OpCode::Data(Data::Text), request.as_bytes());
                    bench.shard.readable(checked.browser.number, bench.now);
                    bench.settle();
                    checked.seen.clear();
                },
                Op::Cut { browser } => if browser < browsers.len() {
                    let checked = browsers.swap_remove(browser);
                    checked.browser.pipe.0.lock().unwrap().is_cut = true;
                    bench.shard.readable(checked.browser.number, bench.now);
                    bench.settle();
                },
            }
        }
        bench.pass_time(Duration::from_millis(20));
        for checked in &mut browsers {
            checked.browser.room(usize::MAX / 2);
            bench.shard.writable(checked.browser.number, bench.now);
            bench.settle();
            checked.hear();
            for (symbol, (joined, last)) in &checked.seen {
                let published = bench.seqs.get(symbol).copied().unwrap_or(0);
                let nothing_since = *last == 0 && (*joined == 0 || *joined == published);
                prop_assert!(*last == published || nothing_since, "{}: {} of {}", symbol, last, published);
            }
        }
    }
}
