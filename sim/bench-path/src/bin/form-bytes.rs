//! How many bytes a tick takes in each form, on one and the same recorded stream.
//!
//!     curl -sN 'http://127.0.0.1:8080/api/v1/stream?symbols=EURUSD,...' | timeout 60 cat >ticks.txt
//!     cargo run -p bench-path --bin form-bytes <ticks.txt
//!
//! It reads messages, one JSON object a line, with or without `data: ` before it, and writes a table: each tick in a write of
//! its own, and as they come where a client is written to no sooner than so many milliseconds after its last write.

use std::collections::HashMap;
use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;

use serde_json::Value;
use tickcast_model::{Body, ChannelEvent, Decimal, Details, Phase, Position, Price, Symbol, Tick, VenueId};
use ws_gateway::feed::{Feed, Reading, Step};
use ws_gateway::form::{BinaryForm, EventsForm, Form, Of};
use ws_gateway::hub::ChannelKey;
use ws_gateway::places::Places;
use ws_gateway::protocol::ChannelWriter;

/// Times between two writes, milliseconds.
const FLUSHES_MS: [i64; 4] = [0, 5, 50, 250];

/// Places of a price as it is kept; the venues here have no more.
const SCALE: u8 = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ticks = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let text = line.strip_prefix("data: ").unwrap_or(&line);
        let Ok(message) = serde_json::from_str::<Value>(text) else { continue };
        if message["type"] == "tick" {
            ticks.push(Recorded::read(text, &message).ok_or("a tick that lacks something")?);
        }
    }
    ticks.sort_by_key(|tick| tick.event_ms);
    align_details(&mut ticks);
    if ticks.is_empty() {
        return Err("no ticks on standard input".into());
    }
    let mut out = io::stdout().lock();
    let symbols = names(&ticks).len();
    writeln!(out, "{} ticks of {symbols} symbols in {:.1} s\n", ticks.len(), seconds(&ticks))?;
    writeln!(
        out,
        "| written every | ticks a write | WebSocket JSON | server-sent events | `tickcast.v1.bin` |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for flush_ms in FLUSHES_MS {
        let (writes, _) = play(&ticks, Form::Text, flush_ms);
        let sizes = [Form::Text, events(&ticks), Form::Binary(Box::<BinaryForm>::default())]
            .map(|form| bytes_a_tick(play(&ticks, form, flush_ms).1, ticks.len()));
        let every = if flush_ms == 0 { "tick".to_owned() } else { format!("{flush_ms} ms") };
        let [json, events, binary] = sizes;
        let a_write = bytes_a_tick(ticks.len(), writes);
        writeln!(out, "| {every} | {a_write} | {json} | {events} | {binary} |")?;
    }
    Ok(())
}

/// A tick of the stream.
struct Recorded {
    key: ChannelKey,
    event: ChannelEvent,
    event_ms: i64,
}

impl Recorded {
    fn read(text: &str, message: &Value) -> Option<Self> {
        let key = ChannelKey {
            venue: VenueId::new(message["source"].as_str()?)?,
            symbol: Symbol::new(message["symbol"].as_str()?)?,
        };
        let received_ms = message["receivedAt"].as_i64()?;
        let (bid, ask, last) = (price(text, "bid"), price(text, "ask"), price(text, "last"));
        let digits =
            [text_of(text, "bid"), text_of(text, "price")].into_iter().flatten().map(places).next()?;
        let tick = Tick {
            bid,
            ask,
            last,
            digits,
            venue_time_ms: message["timestamp"].as_i64(),
            received_us: received_ms * 1000,
            snapshot: false,
            delayed_s: message["delayedS"].as_u64().and_then(|s| u32::try_from(s).ok()),
            details: details(text, message),
        };
        let position =
            Position { epoch: message["epoch"].as_str()?.parse().ok()?, seq: message["seq"].as_u64()? };
        let event = ChannelEvent { symbol: key.symbol.clone(), position, body: Body::Tick(tick) };
        Some(Self { key, event, event_ms: received_ms })
    }

    fn details(&self) -> Option<&Details> {
        match &self.event.body {
            Body::Tick(tick) => tick.details.as_deref(),
            Body::State(_) => None,
        }
    }
}

/// What the message says beside prices.
fn details(text: &str, message: &Value) -> Option<Arc<Details>> {
    let number = |name| decimal(text_of(text, name)?, places(text_of(text, name)?));
    let details = Details {
        bid_size: number("bidSize"),
        ask_size: number("askSize"),
        volume: number("volume"),
        change: number("change"),
        change_percent: number("changePercent"),
        session: message["session"].as_str().and_then(Phase::new),
    };
    (details != Details::default()).then(|| Arc::new(details))
}

/// Gives the numbers of each symbol's details as many decimals as the finest of them has, which is what an ingest does.
fn align_details(ticks: &mut [Recorded]) {
    let mut finest: HashMap<ChannelKey, [u8; 5]> = HashMap::new();
    for tick in &*ticks {
        let finest = finest.entry(tick.key.clone()).or_default();
        for (finest, number) in
            finest.iter_mut().zip(tick.details().map(Details::numbers).unwrap_or_default())
        {
            *finest = number.map_or(*finest, |number| number.scale().max(*finest));
        }
    }
    for tick in ticks {
        let (Some(details), Some(finest)) = (tick.details().cloned(), finest.get(&tick.key)) else {
            continue;
        };
        let mut numbers = details.numbers();
        for (number, places) in numbers.iter_mut().zip(finest) {
            *number = number.and_then(|number| decimal(&number.with_digits(0).to_string(), *places));
        }
        let [bid_size, ask_size, volume, change, change_percent] = numbers;
        if let Body::Tick(told) = &mut tick.event.body {
            let session = details.session;
            told.details =
                Some(Arc::new(Details { bid_size, ask_size, volume, change, change_percent, session }));
        }
    }
}

/// A number of a message as it is written, for its decimals count.
fn text_of<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()
}

fn places(text: &str) -> u8 {
    text.split_once('.').map_or(0, |(_, decimals)| u8::try_from(decimals.len()).unwrap_or(SCALE))
}

fn price(message: &str, name: &str) -> Option<Price> {
    decimal(text_of(message, name)?, SCALE)
}

/// A number as it is written, with so many decimal places.
fn decimal(text: &str, scale: u8) -> Option<Decimal> {
    let whole = text.replacen('.', "", 1).parse::<i64>().ok()?;
    Decimal::new(whole * 10i64.pow(u32::from(scale.checked_sub(places(text))?)), scale)
}

fn names(ticks: &[Recorded]) -> Vec<String> {
    let mut names: Vec<_> = ticks.iter().map(|tick| tick.key.symbol.as_str().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

fn events(ticks: &[Recorded]) -> Form {
    let places = Places::new(ticks[0].key.venue.as_str(), names(ticks));
    Form::Events(Box::new(EventsForm::new(Box::default(), places)))
}

fn seconds(ticks: &[Recorded]) -> f64 {
    let (first, last) = (ticks[0].event_ms, ticks[ticks.len() - 1].event_ms);
    std::time::Duration::from_millis((last - first).unsigned_abs()).as_secs_f64()
}

/// One decimal place, of whole numbers.
fn bytes_a_tick(bytes: usize, ticks: usize) -> String {
    let tenths = (bytes * 10 + ticks / 2) / ticks.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// What one client is sent: writes and bytes.
fn play(ticks: &[Recorded], form: Form, flush_ms: i64) -> (usize, usize) {
    let mut client = Client { form, channels: HashMap::new(), waiting: Vec::new(), writes: 0, bytes: 0 };
    let (mut due_ms, mut open_from_ms) = (i64::MIN, i64::MIN);
    for tick in ticks {
        if !client.waiting.is_empty() && (flush_ms == 0 || tick.event_ms > due_ms) {
            client.write();
            open_from_ms = due_ms + flush_ms;
        }
        if client.waiting.is_empty() {
            due_ms = open_from_ms.max(tick.event_ms);
        }
        client.take(tick, ticks.len());
    }
    client.write();
    (client.writes, client.bytes)
}

/// One client, with every channel to itself.
struct Client<'a> {
    form: Form,
    channels: HashMap<&'a ChannelKey, (u32, Feed, Reading)>,
    waiting: Vec<&'a ChannelKey>,
    writes: usize,
    bytes: usize,
}

impl<'a> Client<'a> {
    fn take(&mut self, tick: &'a Recorded, ring_ticks: usize) {
        let number = u32::try_from(self.channels.len()).unwrap_or(u32::MAX);
        let form = &mut self.form;
        let (_, feed, _) = self.channels.entry(&tick.key).or_insert_with(|| {
            form.joined(number, &tick.key);
            let feed = Feed::new(ChannelWriter::new(&tick.key.venue, &tick.key.symbol), ring_ticks);
            let reading = feed.join(false);
            (number, feed, reading)
        });
        feed.publish(&tick.event, tick.event_ms * 1000);
        if !self.waiting.contains(&&tick.key) {
            self.waiting.push(&tick.key);
        }
    }

    fn write(&mut self) {
        let mut batch = Vec::new();
        for key in self.waiting.drain(..) {
            let Some((number, feed, reading)) = self.channels.get_mut(key) else { continue };
            while let Some(step) = feed.next(reading) {
                let of = Of { channel: *number, feed };
                match step {
                    Step::Tick(frame) => self.form.tick(of, frame, &mut batch),
                    Step::Snapshot(frame) => self.form.snapshot(of, frame, &mut batch),
                    Step::Gap(gap) => self.form.gap(of, &gap, &mut batch),
                    // Not of the price.
                    Step::State(_) | Step::Merged(_) => {}
                }
            }
        }
        self.form.finish(&mut batch);
        self.writes += 1;
        self.bytes += batch.len();
    }
}
