use std::time::Instant;

use serde_json::{Map, Value, json};
use tickcast_model::Position;

use crate::audit::Channel;
use crate::link::Link;
use crate::symbols::SymbolTable;
use crate::tally::{Tally, count_name};
use crate::{
    Answer, FrameReader, LoadError, Message, NatsEvent, NatsReader, Protocol, PusherEvent, PusherReader,
    Scanned, Settings, Target, binary_frame, close_frame, nats_greeting, pong_frame, pusher_pong,
    pusher_subscriptions, scan, text_frame,
};

/// Symbols in one `subscribe` message, so that it stays far below the gateway's message limit.
const SYMBOLS_PER_MESSAGE: usize = 200;

/// How a tick of the usual servers begins: enough to count it.
const TICK_START: &[u8] = br#"{"type":"tick""#;

/// How a client reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// As soon as something has come.
    Quick,
    /// So many bytes a second.
    Slow,
    /// Nothing after the upgrade.
    Stalled,
}

/// One connection and what it saw. A few KB: a socket, a cursor for each symbol, and no buffer while nothing is halfway.
pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) begun: Instant,
    pub(crate) pace: Pace,
    /// Bytes a slow client may still read.
    pub(crate) allowance: usize,
    /// Whether this connection replaces one that ended.
    pub(crate) is_again: bool,
    /// Whether it was counted among the open ones.
    pub(crate) is_counted: bool,
    /// Whether every tick is looked at, or only counted.
    is_audited: bool,
    phase: Phase,
    reader: FrameReader,
    nats: NatsReader,
    audit: Option<Seats>,
}

enum Phase {
    Connecting,
    Upgrading(Answer),
    Open,
}

/// One cursor for each symbol the client asked for.
pub(crate) struct Seats {
    /// The symbols' places in the table, in order.
    places: Box<[u32]>,
    channels: Box<[Channel]>,
}

/// What a client needs of its surroundings for one turn.
pub(crate) struct Turn<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) target: &'a Target,
    pub(crate) symbols: &'a SymbolTable,
    pub(crate) tally: &'a mut Tally,
    pub(crate) buffer: &'a mut [u8],
    /// The wall clock, Unix microseconds: the stamps in the ticks are wall-clock times too.
    pub(crate) now_us: i64,
    /// Whether this is inside the measuring window.
    pub(crate) is_measuring: bool,
}

/// How far a client has come in a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progressed {
    /// Nothing to say.
    No,
    /// The connection was just opened.
    Opened,
}

impl Client {
    /// A connection that begins; one that replaces another is `again`, and goes on from the seats where it has any.
    pub(crate) fn new(link: Link, pace: Pace, is_audited: bool, again: Option<Option<Seats>>) -> Self {
        Self {
            link,
            begun: Instant::now(),
            pace,
            allowance: 0,
            is_again: again.is_some(),
            is_counted: false,
            is_audited,
            phase: Phase::Connecting,
            reader: FrameReader::default(),
            nats: NatsReader::default(),
            audit: again.flatten(),
        }
    }

    /// Where it stood.
    pub(crate) fn into_seats(self) -> Option<Seats> {
        self.audit
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Goes on with the connection as far as it can; the second value is true where more may be waiting to be read.
    pub(crate) fn advance(
        &mut self,
        mine: impl FnOnce() -> Vec<u32>,
        turn: &mut Turn<'_>,
    ) -> Result<(Progressed, bool), LoadError> {
        if matches!(self.phase, Phase::Connecting) {
            if !self.link.is_connected()? {
                return Ok((Progressed::No, false));
            }
            self.phase = Phase::Upgrading(Answer::default());
            self.link.send(turn.target.request().as_bytes())?;
        } else {
            self.link.flush()?;
        }
        if self.is_open() {
            return match self.pace {
                Pace::Quick => Ok((Progressed::No, self.read(usize::MAX, turn)?)),
                Pace::Slow | Pace::Stalled => Ok((Progressed::No, false)),
            };
        }
        let (mut early, mut more): (Option<Vec<u8>>, bool) = (None, false);
        if let Phase::Upgrading(answer) = &mut self.phase {
            more = self.link.read(turn.buffer, 1024, |bytes| {
                match &mut early {
                    Some(early) => early.extend_from_slice(bytes),
                    None => early = answer.feed(bytes)?,
                }
                Ok(())
            })?;
        }
        let Some(early) = early else { return Ok((Progressed::No, more)) };
        self.phase = Phase::Open;
        let places = mine();
        self.subscribe(&places, turn)?;
        if self.pace == Pace::Quick {
            self.take(&early, turn)?;
            // What came along with the answer made no event of its own.
            return Ok((Progressed::Opened, self.read(usize::MAX, turn)?));
        }
        Ok((Progressed::Opened, false))
    }

    fn subscribe(&mut self, places: &[u32], turn: &mut Turn<'_>) -> Result<(), LoadError> {
        let names: Vec<&str> = places.iter().map(|place| turn.symbols.name(*place)).collect();
        if self.is_audited && self.audit.is_none() {
            self.audit = Some(Seats {
                channels: vec![Channel::default(); places.len()].into(),
                places: places.into(),
            });
        }
        match turn.settings.protocol {
            Protocol::Tickcast => {
                let (settings, symbols) = (turn.settings, turn.symbols);
                let mut stood = |name: &&str| {
                    let place = symbols.place(name.as_bytes())?;
                    let last = self.audit.as_mut().filter(|_| self.is_again)?.channel(place)?.last()?;
                    Some(((*name).to_owned(), json!({"epoch": last.epoch.to_string(), "seq": last.seq})))
                };
                for part in names.chunks(SYMBOLS_PER_MESSAGE) {
                    let resume = part.iter().filter_map(&mut stood).collect();
                    self.link.send(&text_frame(&subscribe_message(part, settings, resume)))?;
                }
            }
            Protocol::Nats => {
                let source = turn.settings.source.as_deref().unwrap_or("bench");
                let subjects = names.iter().map(|name| format!("json.{source}.{name}"));
                self.link.send(&binary_frame(nats_greeting(subjects).as_bytes()))?;
            }
            Protocol::Pusher => {
                let all = pusher_subscriptions(names.iter().copied());
                self.link.send(&all.flat_map(|message| text_frame(&message)).collect::<Vec<u8>>())?;
            }
        }
        Ok(())
    }

    /// Reads up to `limit` bytes; true where more may be waiting.
    pub(crate) fn read(&mut self, limit: usize, turn: &mut Turn<'_>) -> Result<bool, LoadError> {
        let Self { link, reader, nats, audit, allowance, pace, begun, .. } = self;
        let Turn { tally, buffer, now_us, is_measuring, .. } = turn;
        let mut sink = Sink {
            tally,
            audit: audit.as_mut(),
            symbols: turn.symbols,
            settings: turn.settings,
            now_us: *now_us,
            is_measuring: *is_measuring,
            is_slow: *pace == Pace::Slow,
            begun: *begun,
        };
        let mut replies = Vec::new();
        let mut closed = None;
        let more = link.read(buffer, limit, |bytes| {
            *allowance = allowance.saturating_sub(bytes.len());
            sink.bytes(bytes, reader, nats, &mut replies, &mut closed)
        })?;
        self.settle(&replies, closed)?;
        Ok(more)
    }

    /// Takes bytes that were read already.
    fn take(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), LoadError> {
        let mut sink = Sink {
            tally: turn.tally,
            audit: self.audit.as_mut(),
            symbols: turn.symbols,
            settings: turn.settings,
            now_us: turn.now_us,
            is_measuring: turn.is_measuring,
            is_slow: false,
            begun: self.begun,
        };
        let mut replies = Vec::new();
        let mut closed = None;
        sink.bytes(bytes, &mut self.reader, &mut self.nats, &mut replies, &mut closed)?;
        self.settle(&replies, closed)
    }

    fn settle(&mut self, replies: &[u8], closed: Option<u16>) -> Result<(), LoadError> {
        if let Some(code) = closed {
            return Err(LoadError::Closed(code));
        }
        if replies.is_empty() { Ok(()) } else { Ok(self.link.send(replies)?) }
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self) -> Result<(), LoadError> {
        Ok(self.link.send(&close_frame(1000))?)
    }
}

/// Where a client's bytes go.
struct Sink<'a> {
    tally: &'a mut Tally,
    audit: Option<&'a mut Seats>,
    symbols: &'a SymbolTable,
    settings: &'a Settings,
    now_us: i64,
    is_measuring: bool,
    is_slow: bool,
    /// When the connection was begun.
    begun: Instant,
}

impl Sink<'_> {
    fn bytes(
        &mut self,
        bytes: &[u8],
        reader: &mut FrameReader,
        nats: &mut NatsReader,
        replies: &mut Vec<u8>,
        closed: &mut Option<u16>,
    ) -> Result<(), LoadError> {
        if self.is_measuring {
            self.tally.window_bytes += bytes.len() as u64;
            self.tally.window_reads += 1;
        }
        let mut broken = Ok(());
        reader.feed(bytes, |message| match message {
            Message::Text(text) if self.settings.protocol == Protocol::Pusher => {
                match PusherReader::default().read(text) {
                    PusherEvent::Tick(tick) => self.message(tick),
                    PusherEvent::Ping => replies.extend(text_frame(&pusher_pong())),
                    PusherEvent::Error(words) => count_name(&mut self.tally.errors, &words, 1),
                    PusherEvent::Other => {}
                }
            }
            Message::Text(text) => self.message(text),
            Message::Binary(bytes) if self.settings.protocol == Protocol::Nats => {
                let fed = nats.feed(bytes, |event| match event {
                    NatsEvent::Message(payload) => self.message(payload),
                    NatsEvent::Ping => replies.extend(binary_frame(b"PONG\r\n")),
                    NatsEvent::Error(words) => {
                        count_name(&mut self.tally.errors, &String::from_utf8_lossy(words), 1);
                    }
                });
                if fed.is_err() {
                    broken = fed;
                }
            }
            Message::Ping(payload) => {
                self.tally.pings += 1;
                replies.extend(pong_frame(payload));
            }
            Message::Close(code) => *closed = Some(code.unwrap_or(1005)),
            Message::Binary(_) | Message::Pong(_) => {}
        })?;
        broken
    }

    fn message(&mut self, text: &[u8]) {
        let Some(seats) = &mut self.audit else {
            if text.starts_with(TICK_START) {
                self.tally.counted_only += 1;
                self.tally.window_ticks += u64::from(self.is_measuring);
            } else {
                self.other(text);
            }
            return;
        };
        match scan(text) {
            Some(Scanned::Tick(tick)) => {
                let position = Position { epoch: tick.epoch, seq: tick.seq };
                let place = self.symbols.place(tick.symbol);
                match place.and_then(|place| seats.channel(place)) {
                    Some(channel) => {
                        channel.tick(&mut self.tally.audit, position, tick.snapshot, tick.merged - 1);
                    }
                    None => self.tally.audit.unasked(tick.snapshot),
                }
                // A snapshot is as old as the symbol's last move, which says nothing of the way it took.
                if self.is_measuring && !tick.snapshot {
                    self.tally.tick(self.now_us, &tick, self.settings.fine_stamps, self.is_slow);
                }
            }
            Some(Scanned::Other(_)) => self.other(text),
            None => self.tally.unreadable += 1,
        }
    }

    /// Takes a message that is no tick.
    fn other(&mut self, text: &[u8]) {
        let Some(Scanned::Other(kind)) = scan(text) else {
            self.tally.unreadable += 1;
            return;
        };
        count_name(&mut self.tally.messages, &String::from_utf8_lossy(kind), 1);
        if !matches!(kind, b"gap" | b"error" | b"subscribeResponse") {
            return;
        }
        // Rare enough for a full JSON reader.
        let Ok(message) = serde_json::from_slice::<Value>(text) else {
            self.tally.unreadable += 1;
            return;
        };
        match message["type"].as_str() {
            Some("gap") => self.gap(&message),
            Some("error") => {
                count_name(&mut self.tally.errors, message["code"].as_str().unwrap_or("no code"), 1);
            }
            _ => self.results(message["results"].as_array().map_or(&[], Vec::as_slice)),
        }
    }

    /// Takes what became of each symbol of a subscribe.
    fn results(&mut self, results: &[Value]) {
        let mut has_resumed = false;
        for result in results {
            if result["status"] == "error" {
                count_name(&mut self.tally.errors, result["code"].as_str().unwrap_or("no code"), 1);
            }
            let Some(recovered) = result["recovered"].as_bool() else { continue };
            has_resumed = true;
            self.tally.recovered += u64::from(recovered);
            self.tally.begun_anew += u64::from(!recovered);
            let place = result["symbol"].as_str().and_then(|name| self.symbols.place(name.as_bytes()));
            if !recovered && let Some(channel) = place.and_then(|place| self.audit.as_mut()?.channel(place)) {
                *channel = Channel::default();
            }
        }
        if has_resumed {
            let took_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.tally.resume_us.saturating_record(took_us);
        }
    }

    fn gap(&mut self, message: &Value) {
        let (Some(symbol), Some(missed)) = (message["symbol"].as_str(), message["missed"].as_u64()) else {
            self.tally.unreadable += 1;
            return;
        };
        let place = self.symbols.place(symbol.as_bytes());
        let findings = &mut self.tally.audit;
        match place.and_then(|place| self.audit.as_mut()?.channel(place)) {
            Some(channel) => channel.gap(findings, missed),
            None => Channel::default().gap(findings, missed),
        }
    }
}

impl Seats {
    fn channel(&mut self, place: u32) -> Option<&mut Channel> {
        // Where everything is asked for, the place is the index.
        let index = match self.places.get(place as usize) {
            Some(found) if *found == place => place as usize,
            _ => self.places.binary_search(&place).ok()?,
        };
        self.channels.get_mut(index)
    }
}

fn subscribe_message(symbols: &[&str], settings: &Settings, resume: Map<String, Value>) -> String {
    let mut message = json!({"type": "subscribe", "symbols": symbols});
    if !resume.is_empty() {
        message["resume"] = resume.into();
    }
    let texts = [("source", &settings.source), ("mode", &settings.mode), ("onSlow", &settings.on_slow)];
    for (name, value) in texts {
        if let Some(value) = value {
            message[name] = value.as_str().into();
        }
    }
    if let Some(ms) = settings.min_interval_ms {
        message["minIntervalMs"] = ms.into();
    }
    message.to_string()
}
