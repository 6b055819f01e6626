use serde_json::json;
use tickcast_model::{Symbol, VenueId};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::super::*;
use super::bench::*;

#[test]
fn a_quiet_client_gets_its_tick_at_once_and_a_busy_one_all_that_is_pending_in_one_write() {
    let mut bench = Bench::new(5);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    bench.pass_time(Duration::from_millis(50));
    browser.writes();
    bench.tick("EURUSD");
    assert_eq!((told(&browser.hear()), browser.writes()), (vec!["tick 1".into(), "symbolState".into()], 1));
    bench.tick("EURUSD");
    bench.pass_time(Duration::from_millis(4));
    bench.tick("EURUSD");
    assert_eq!(browser.writes(), 0, "five milliseconds are not over");
    bench.pass_time(Duration::from_millis(1));
    assert_eq!((told(&browser.hear()), browser.writes()), (vec!["tick 2".into(), "tick 3".into()], 1));
    bench.pass_time(Duration::from_millis(5));
    bench.tick("EURUSD");
    assert_eq!(browser.writes(), 1, "quiet again, at once again");
}

#[test]
fn without_a_pace_every_tick_goes_out_at_once() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    browser.writes();
    for _ in 0..5 {
        bench.tick("EURUSD");
    }
    assert_eq!(browser.writes(), 5);
}

#[test]
fn however_many_clients_read_it_a_tick_reaches_the_shard_once_and_is_shared() {
    let mut bench = Bench::new(0);
    let browsers: Vec<Browser> = (0..8).map(|_| bench.open()).collect();
    for browser in &browsers {
        bench.subscribe(browser, &["EURUSD", "GBPUSD"]);
    }
    let key = ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new("EURUSD").unwrap() };
    assert_eq!(
        bench.gateway.hub.channel(&key).unwrap().reader_count(),
        1,
        "the shard reads it, not its clients"
    );
    bench.tick("EURUSD");
    for browser in &browsers {
        assert_eq!(told(&browser.hear())[0], "tick 1");
    }
    assert!(bench.metric("ticks_delivered_total") >= 8.0);
    for browser in &browsers {
        bench.say(browser, &json!({"type": "unsubscribe", "symbols": ["EURUSD"]}));
    }
    assert_eq!(bench.gateway.hub.channel(&key).unwrap().reader_count(), 0);
}
/// A socket that takes everything and keeps nothing.
struct Sink;

impl Socket for Sink {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_delivery_allocates_nothing() {
    // Pings are no deliveries.
    let mut bench = Bench::with(5, Duration::from_secs(100_000), 10, true);
    let mut shard = Shard::new(bench.gateway.clone(), Arc::new(Mailbox::new(|| {})), bench.now);
    let request = json!({"type": "subscribe", "symbols": ["EURUSD", "GBPUSD"]}).to_string();
    let mut early = Vec::new();
    let header =
        FrameHeader { opcode: OpCode::Data(Data::Text), mask: Some([0; 4]), ..FrameHeader::default() };
    Frame::from_payload(header, request.into_bytes().into()).format(&mut early).unwrap();
    for _ in 0..10 {
        let place = bench.gateway.doors.enter([127, 0, 0, 1].into()).ok();
        let arrival = Arrival {
            socket: Sink,
            form: Form::Text,
            early: early.clone(),
            first: None,
            peer: ([127, 0, 0, 1], 9).into(),
            place,
        };
        shard.insert(arrival, bench.now);
    }
    let (mut allocations, mut steady_from) = (0, 0.0);
    for round in 0..1_000 {
        bench.publish("EURUSD", 0);
        bench.publish("GBPUSD", 0);
        bench.now += Duration::from_millis(3);
        let now = bench.now;
        let counted = allocation_counter::measure(|| shard.pass(now));
        // Until the rings and the lists have their sizes.
        if round == 100 {
            steady_from = bench.metric("ticks_delivered_total");
        }
        if round > 100 {
            allocations += counted.count_total;
        }
    }
    let delivered = bench.metric("ticks_delivered_total") - steady_from;
    assert!(delivered > 15_000.0, "{delivered}");
    assert_eq!(allocations, 0, "in {delivered} deliveries");
}

#[test]
fn encodes_are_ticks_however_many_clients_there_are() {
    let count = |clients: usize| {
        let mut bench = Bench::new(0);
        let browsers: Vec<Browser> = (0..clients).map(|_| bench.open()).collect();
        browsers.iter().for_each(|browser| bench.subscribe(browser, &["EURUSD"]));
        bench.tick("EURUSD");
        let key =
            ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new("EURUSD").unwrap() };
        let channel = bench.gateway.hub.channel(&key).unwrap();
        let frame = channel.with_feed(|feed| feed.last().unwrap().clone());
        for browser in &browsers {
            assert_eq!(told(&browser.hear())[0], "tick 1");
        }
        // The hub, the shard's own ring, and the test: no copy for a client.
        Arc::strong_count(&frame)
    };
    assert_eq!(count(1), count(9));
}

#[test]
fn an_idle_client_holds_nothing_of_what_it_was_sent() {
    let mut bench = Bench::new(0);
    let browser = bench.open();
    bench.subscribe(&browser, &["EURUSD"]);
    for _ in 0..100 {
        bench.tick("EURUSD");
    }
    let client = &bench.shard.clients[browser.number as usize];
    assert_eq!(client.replies.held_bytes(), 0);
    assert!(size_of::<Client<Pipe>>() <= 640, "{}", size_of::<Client<Pipe>>());
    assert!(size_of::<Option<Sub>>() <= 64, "{}", size_of::<Option<Sub>>());
}
