//! How often a tick asks for memory on its way, once everything has grown to its size. These are the numbers that hold on
//! any machine; what they are worth in time is `bench-path stages`' matter.

use allocation_counter::measure;
use bench_path::Upstream;
use bytes::BytesMut;
use tickcast_bus::{decode_channel_event_of, encode_channel_event, put_channel_event};
use tickcast_model::{Body, ChannelEvent, Symbol, VenueId};
use ws_gateway::feed::{Feed, Published};
use ws_gateway::protocol::ChannelWriter;

const SYMBOLS: usize = 50;
const TICKS: u64 = 10_000;

/// An ingest that has seen every symbol tick.
fn upstream() -> Upstream {
    let mut upstream = Upstream::holding(SYMBOLS);
    let mut seen = 0;
    while seen < TICKS {
        upstream.receive(32, |_| seen += 1);
    }
    upstream
}

/// A tick as it stands on the bus, and its symbol.
fn tick() -> ChannelEvent {
    let mut last = None;
    upstream().receive(1, |event| last = Some(event));
    last.filter(|event| matches!(event.body, Body::Tick(_))).expect("a tick")
}

fn writer(symbol: &Symbol) -> ChannelWriter {
    ChannelWriter::new(&VenueId::new("ctrader").expect("a venue's name"), symbol)
}

#[test]
fn a_tick_from_venue_bytes_to_a_numbered_event_allocates_nothing() {
    for quotes_per_read in [1, 7, 64] {
        let mut upstream = upstream();
        upstream.receive(quotes_per_read, drop);
        let mut seen = 0;
        let cost = measure(|| {
            while seen < TICKS {
                upstream.receive(quotes_per_read, |_| seen += 1);
            }
        });
        assert_eq!((cost.count_total, seen >= TICKS), (0, true), "{quotes_per_read} quotes a read");
    }
}

#[test]
fn payloads_for_the_bus_share_an_allocation_among_at_least_a_hundred() {
    let event = tick();
    let mut payloads = BytesMut::with_capacity(32 * 1024);
    let cost = measure(|| {
        for _ in 0..TICKS {
            put_channel_event(&mut payloads, &event);
            drop(payloads.split().freeze());
        }
    });
    assert!(cost.count_total <= TICKS / 100, "{} for {TICKS}", cost.count_total);
}

#[test]
fn a_tick_read_from_the_bus_allocates_nothing() {
    let event = tick();
    let bytes = encode_channel_event(&event);
    let cost = measure(|| {
        for _ in 0..TICKS {
            assert_eq!(decode_channel_event_of(&event.symbol, &bytes).unwrap().position, event.position);
        }
    });
    assert_eq!(cost.count_total, 0);
}

#[test]
fn the_json_of_a_tick_is_one_allocation_of_its_size() {
    let event = tick();
    let Body::Tick(tick) = &event.body else { unreachable!() };
    let writer = writer(&event.symbol);
    let mut json = None;
    let cost = measure(|| json = Some(writer.tick(tick, event.position)));
    assert_eq!((cost.count_total, cost.bytes_total), (1, json.unwrap().len() as u64));
}

/// The message, its JSON, the frame around it and what shares the frame: four, whatever the number of readers.
#[test]
fn a_tick_into_the_feed_of_its_channel_allocates_four_times_at_most() {
    let mut event = tick();
    let mut feed = Feed::new(writer(&event.symbol), 64);
    let mut publish = |count: u64| {
        for _ in 0..count {
            event.position.seq += 1;
            assert_eq!(feed.publish(&event, 1), Published::Tick);
        }
    };
    publish(100);
    let cost = measure(|| publish(TICKS));
    assert!(cost.count_total <= 4 * TICKS, "{} for {TICKS}", cost.count_total);
}
