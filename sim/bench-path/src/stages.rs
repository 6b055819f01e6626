use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use clap::ValueEnum;
use serde::Serialize;
use tickcast_bus::{decode_channel_event_of, encode_channel_event, put_channel_event};
use tickcast_model::{Body, ChannelEvent, Symbol, VenueId};
use ws_gateway::feed::Feed;
use ws_gateway::protocol::ChannelWriter;

use crate::Upstream;

/// A part of the path that is pure code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum StageName {
    /// Venue frames through the session and the supervisor to numbered events.
    FramesToEvents,
    /// An event to the bytes of a bus message.
    EventToBus,
    /// The bytes of a bus message to an event.
    BusToEvent,
    /// An event to the JSON browsers get.
    EventToJson,
    /// An event into the feed of its channel, JSON included.
    EventToFeed,
}

/// What one stage costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stage {
    /// Which one.
    pub name: StageName,
    /// Events that went through.
    pub events: u64,
    /// Elapsed time for each, nanoseconds; best of five runs.
    pub ns_per_event: f64,
}

/// The result of [`stages`].
#[derive(Debug, Serialize)]
pub struct Stages(Vec<Stage>);

/// Symbols in all stages.
const SYMBOLS: usize = 100;
/// Quotes a read from a busy socket brings.
const QUOTES_PER_READ: usize = 32;

/// Runs the stages, or `only` one of them, with `events` events each.
pub fn stages(events: u64, only: Option<StageName>) -> Stages {
    let mut upstream = Upstream::holding(SYMBOLS);
    let mut some = Vec::new();
    while some.len() < 4_096 {
        upstream.receive(QUOTES_PER_READ, |event| some.push(event));
    }
    some.retain(|event| matches!(event.body, Body::Tick(_)));
    let encode = |event: &ChannelEvent| (event.symbol.clone(), encode_channel_event(event));
    let encoded: Vec<(Symbol, Vec<u8>)> = some.iter().map(encode).collect();
    let names = StageName::value_variants().iter().filter(|name| only.is_none_or(|only| only == **name));
    let run = |name: StageName, upstream: &mut Upstream| match name {
        StageName::FramesToEvents => {
            let mut seen = 0;
            while seen < events {
                upstream.receive(QUOTES_PER_READ, |event| {
                    black_box(&event);
                    seen += 1;
                });
            }
        }
        StageName::EventToBus => {
            let mut payloads = BytesMut::new();
            cycle(&some, events, |event| {
                put_channel_event(&mut payloads, black_box(event));
                black_box(payloads.split().freeze());
            });
        }
        StageName::BusToEvent => {
            cycle(&encoded, events, |(symbol, bytes)| {
                _ = black_box(decode_channel_event_of(symbol, black_box(bytes)));
            });
        }
        StageName::EventToJson => to_json(&some, events),
        StageName::EventToFeed => into_feed(&some, events),
    };
    Stages(
        names
            .map(|name| {
                let time = |_| {
                    let began = Instant::now();
                    run(*name, &mut upstream);
                    began.elapsed().as_secs_f64()
                };
                let best = (0..5).map(time).fold(f64::INFINITY, f64::min);
                Stage { name: *name, events, ns_per_event: best * 1e9 / to_f64(events) }
            })
            .collect(),
    )
}

fn cycle<T>(items: &[T], events: u64, each: impl FnMut(&T)) {
    items.iter().cycle().take(usize::try_from(events).unwrap_or(usize::MAX)).for_each(each);
}

fn writer(event: &ChannelEvent) -> ChannelWriter {
    ChannelWriter::new(&VenueId::new("ctrader").expect("a venue's name"), &event.symbol)
}

fn to_json(some: &[ChannelEvent], events: u64) {
    let Some(first) = some.first() else { return };
    let writer = writer(first);
    cycle(some, events, |event| {
        if let Body::Tick(tick) = &event.body {
            black_box(writer.tick(black_box(tick), event.position));
        }
    });
}

fn into_feed(some: &[ChannelEvent], events: u64) {
    let Some(first) = some.first() else { return };
    let mut feed = Feed::new(writer(first), 256);
    let mut event = first.clone();
    for _ in 0..events {
        event.position.seq += 1;
        black_box(feed.publish(black_box(&event), 1));
    }
}

/// Counts are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<18} {:>12}", "stage", "ns per event")?;
        for stage in &self.0 {
            let name = stage.name.to_possible_value();
            let name = name.as_ref().map_or("", |name| name.get_name());
            writeln!(f, "{name:<18} {:>12.0}", stage.ns_per_event)?;
        }
        Ok(())
    }
}
