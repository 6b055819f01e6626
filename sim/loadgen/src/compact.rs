use std::collections::HashMap;

use serde_json::{Value, json};

/// A tick of the compact binary form, as `docs/binary.md` says it comes out. Prices are whole numbers of
/// `places` decimals; `price`, `high` and `low` have one more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of the message of the protocol")]
pub struct CompactTick {
    pub source: String,
    pub symbol: String,
    pub places: u8,
    pub bid: Option<i64>,
    pub ask: Option<i64>,
    pub last: Option<i64>,
    pub price: Option<i64>,
    pub timestamp_ms: i64,
    pub received_at_ms: i64,
    pub epoch: u64,
    pub seq: u64,
    pub snapshot: bool,
    pub delayed_s: Option<u64>,
    /// `bidSize`, `askSize`, `volume`, `change` and `changePercent`, each as its units and its decimal places.
    pub details: [Option<(i64, u8)>; 5],
    pub session: Option<String>,
    pub merged: Option<u64>,
    pub range: Option<(i64, i64)>,
}

impl CompactTick {
    /// The message it stands for, as the JSON form has it.
    pub fn message(&self) -> Value {
        // Whole numbers and powers of ten are exact, so the quotient is the same double that the decimal text means.
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let decimal = |units: i64, places: u8| json!(units as f64 / 10f64.powi(places.into()));
        let mut message = json!({
            "type": "tick", "source": self.source, "symbol": self.symbol, "timestamp": self.timestamp_ms,
            "receivedAt": self.received_at_ms, "epoch": self.epoch.to_string(), "seq": self.seq,
        });
        let finer = self.places + 1;
        let (high, low) = (self.range.map(|range| range.0), self.range.map(|range| range.1));
        let sides = [("bid", self.bid), ("ask", self.ask), ("last", self.last)];
        let finer = [("price", self.price), ("high", high), ("low", low)].map(|(name, n)| (name, n, finer));
        let sides = sides.map(|(name, units)| (name, units, self.places));
        for (name, units, places) in sides.into_iter().chain(finer) {
            if let Some(units) = units {
                message[name] = decimal(units, places);
            }
        }
        for (name, number) in DETAILS.into_iter().zip(self.details) {
            if let Some((units, places)) = number {
                message[name] = decimal(units, places);
            }
        }
        if let Some(session) = &self.session {
            message["session"] = json!(session);
        }
        for (name, number) in [("merged", self.merged), ("delayedS", self.delayed_s)] {
            if let Some(number) = number {
                message[name] = json!(number);
            }
        }
        if self.snapshot {
            message["snapshot"] = json!(true);
        }
        message
    }
}

/// What else a tick may say in numbers, in its order.
const DETAILS: [&str; 5] = ["bidSize", "askSize", "volume", "change", "changePercent"];

/// Why a binary frame cannot be read. The connection is of no use after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CompactError {
    /// There is no record in it.
    #[error("an empty frame")]
    Empty,
    /// A record ends early.
    #[error("a record ends early")]
    Short,
    /// A bit that must not be set is, or a byte has no meaning.
    #[error("not version 1 of the form")]
    Unknown,
    /// A number is too large for what it stands for.
    #[error("a number too large")]
    TooLarge,
    /// A name is not UTF-8.
    #[error("a name that is no text")]
    NotText,
    /// A record is about a channel of which nothing was told.
    #[error("a channel without a name")]
    UnknownChannel,
}

/// Channels told of in one connection; a gateway has fewer.
const CHANNELS_MAX: usize = 1_000_000;

/// Prices and times are smaller than this in size.
const SIZE_MAX: i64 = 1 << 53;

/// Reads the binary frames of one connection (subprotocol `tickcast.v1.bin`), written from its page alone.
#[derive(Default)]
pub struct CompactReader {
    channels: HashMap<u64, Entry>,
}

/// What is kept of one channel.
#[derive(Clone, Default)]
struct Entry {
    source: String,
    symbol: String,
    epoch: u64,
    seq: u64,
    places: u8,
    bid: Option<i64>,
    ask: Option<i64>,
    last: Option<i64>,
    received_at: i64,
    lag: i64,
    delayed_s: Option<u64>,
    details: [Option<(i64, u8)>; 5],
    session: Option<String>,
}

impl CompactReader {
    /// Takes the payload of one binary frame and gives its ticks in their order.
    ///
    /// # Errors
    /// [`CompactError`] where it is not the form; ticks before that were given.
    pub fn read(&mut self, payload: &[u8], mut each: impl FnMut(CompactTick)) -> Result<(), CompactError> {
        if payload.is_empty() {
            return Err(CompactError::Empty);
        }
        let mut rest = Rest(payload);
        while !rest.0.is_empty() {
            let head = rest.byte()?;
            let tick = if head & 0x80 == 0 { self.step(head, &mut rest) } else { self.full(head, &mut rest) };
            each(tick?);
        }
        Ok(())
    }

    fn step(&mut self, head: u8, rest: &mut Rest<'_>) -> Result<CompactTick, CompactError> {
        let bit = |number: u8| head >> number & 1 == 1;
        let (is_merged, has_lag, has_last, has_ask, ask_is_like_bid, has_bid) =
            (bit(6), bit(5), bit(4), bit(3), bit(2), bit(1));
        if ask_is_like_bid && (has_ask || !has_bid) {
            return Err(CompactError::Unknown);
        }
        let entry = self.channels.get_mut(&rest.varint()?).ok_or(CompactError::UnknownChannel)?;
        entry.seq = entry.seq.checked_add(1).ok_or(CompactError::TooLarge)?;
        entry.received_at = sum(entry.received_at, rest.signed()?)?;
        let change = |there: &mut Option<i64>, by: i64| {
            let there = there.as_mut().ok_or(CompactError::Unknown)?;
            *there = sum(*there, by)?;
            Ok(())
        };
        if has_bid {
            let by = rest.signed()?;
            change(&mut entry.bid, by)?;
            if ask_is_like_bid {
                change(&mut entry.ask, by)?;
            }
        }
        if has_ask {
            change(&mut entry.ask, rest.signed()?)?;
        }
        if has_last {
            change(&mut entry.last, rest.signed()?)?;
        }
        if has_lag {
            entry.lag = sum(entry.lag, rest.signed()?)?;
        }
        if bit(0) {
            let mask = rest.mask(0x1F)?;
            for (number, detail) in entry.details.iter_mut().enumerate() {
                if mask >> number & 1 == 1 {
                    let (units, _) = detail.as_mut().ok_or(CompactError::Unknown)?;
                    *units = sum(*units, rest.signed()?)?;
                }
            }
        }
        let mut tick = entry.tick()?;
        if is_merged {
            tick.merged = Some(1);
            tick.range = tick.price.map(|price| (price, price));
        }
        Ok(tick)
    }

    fn full(&mut self, head: u8, rest: &mut Rest<'_>) -> Result<CompactTick, CompactError> {
        let bit = |number: u8| head >> number & 1 == 1;
        let number = rest.varint()?;
        let mut entry = if bit(3) {
            let (source, symbol) = (rest.text()?, rest.text()?);
            Entry { source, symbol, epoch: rest.varint()?, ..Entry::default() }
        } else {
            self.channels.get(&number).cloned().ok_or(CompactError::UnknownChannel)?
        };
        entry.seq = rest.varint()?;
        let marked = rest.byte()?;
        entry.places = places(marked & 0x7F)?;
        entry.bid = bit(0).then(|| rest.signed()).transpose()?;
        let base = entry.bid.unwrap_or(0);
        entry.ask = bit(1).then(|| sum(base, rest.signed()?)).transpose()?;
        entry.last = bit(2).then(|| sum(base, rest.signed()?)).transpose()?;
        entry.received_at = rest.signed()?;
        entry.lag = rest.signed()?;
        entry.delayed_s = bit(4).then(|| rest.varint()).transpose()?;
        (entry.details, entry.session) = Default::default();
        if marked & 0x80 != 0 {
            let mask = rest.mask(0x3F)?;
            for (number, detail) in entry.details.iter_mut().enumerate() {
                if mask >> number & 1 == 1 {
                    let places = places(rest.byte()?)?;
                    *detail = Some((rest.signed()?, places));
                }
            }
            entry.session = (mask & 0x20 != 0).then(|| rest.text()).transpose()?;
        }
        let mut tick = entry.tick()?;
        tick.snapshot = bit(5);
        if bit(6) {
            tick.merged = Some(rest.varint()?);
            tick.range = match rest.byte()? {
                0 => None,
                1 => {
                    let base = tick.price.unwrap_or(0);
                    Some((sum(base, rest.signed()?)?, sum(base, rest.signed()?)?))
                }
                _ => return Err(CompactError::Unknown),
            };
        }
        if self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(&number) {
            return Err(CompactError::TooLarge);
        }
        self.channels.insert(number, entry);
        Ok(tick)
    }
}

impl Entry {
    fn tick(&self) -> Result<CompactTick, CompactError> {
        let times = |units: i64, by: i64| units.checked_mul(by).ok_or(CompactError::TooLarge);
        let price = match (self.bid, self.ask, self.last) {
            (Some(bid), Some(ask), _) => Some(times(sum(bid, ask)?, 5)?),
            (bid, ask, last) => last.or(bid).or(ask).map(|units| times(units, 10)).transpose()?,
        };
        Ok(CompactTick {
            source: self.source.clone(),
            symbol: self.symbol.clone(),
            places: self.places,
            bid: self.bid,
            ask: self.ask,
            last: self.last,
            price,
            timestamp_ms: sum(self.received_at, -self.lag)?,
            received_at_ms: self.received_at,
            epoch: self.epoch,
            seq: self.seq,
            snapshot: false,
            delayed_s: self.delayed_s,
            details: self.details,
            session: self.session.clone(),
            merged: None,
            range: None,
        })
    }
}

fn sum(a: i64, b: i64) -> Result<i64, CompactError> {
    a.checked_add(b).filter(|sum| (-SIZE_MAX..=SIZE_MAX).contains(sum)).ok_or(CompactError::TooLarge)
}

/// So many decimal places, if there can be so many.
fn places(count: u8) -> Result<u8, CompactError> {
    if count <= 18 { Ok(count) } else { Err(CompactError::Unknown) }
}

/// The part of a frame not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Result<u8, CompactError> {
        let (first, rest) = self.0.split_first().ok_or(CompactError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    /// A byte that says what follows: something, and nothing but what these bits stand for.
    fn mask(&mut self, bits: u8) -> Result<u8, CompactError> {
        let mask = self.byte()?;
        if mask != 0 && mask & !bits == 0 { Ok(mask) } else { Err(CompactError::Unknown) }
    }

    fn varint(&mut self) -> Result<u64, CompactError> {
        let mut value = 0;
        for place in 0..10 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte holds the last bit alone.
            if place == 9 && bits > 1 {
                return Err(CompactError::TooLarge);
            }
            value |= bits << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CompactError::TooLarge)
    }

    fn signed(&mut self) -> Result<i64, CompactError> {
        let value = self.varint()?;
        let value = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        sum(value, 0)
    }

    fn text(&mut self) -> Result<String, CompactError> {
        let length = usize::try_from(self.varint()?).map_err(|_| CompactError::Short)?;
        let (text, rest): (&'a [u8], _) = self.0.split_at_checked(length).ok_or(CompactError::Short)?;
        self.0 = rest;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| CompactError::NotText)
    }
}
