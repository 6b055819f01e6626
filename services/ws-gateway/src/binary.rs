//! The compact binary form of ticks, subprotocol `tickcast.v1.bin`: `docs/binary.md` has it byte by byte.
//!
//! A tick is told as a step from the one before it in its channel. The step is the same for everybody, so it is encoded
//! once; who did not get the one before, or not on this connection, gets the tick in full.

use tickcast_model::{Decimal, Details, Position, Price, Tick};

/// Bits of a step's first byte. A first byte without [`FULL`] is a step.
mod step_bit {
    pub(super) const MERGED: u8 = 0x40;
    pub(super) const LAG: u8 = 0x20;
    pub(super) const LAST: u8 = 0x10;
    /// The ask moved by something else than the bid.
    pub(super) const ASK: u8 = 0x08;
    /// The ask moved by as much as the bid.
    pub(super) const ASK_LIKE_BID: u8 = 0x04;
    pub(super) const BID: u8 = 0x02;
    pub(super) const DETAILS: u8 = 0x01;
}

/// The bit of the first byte that tells a full tick from a step.
const FULL: u8 = 0x80;

/// Further bits of a full tick's first byte.
mod full_bit {
    pub(super) const MERGED: u8 = 0x40;
    pub(super) const SNAPSHOT: u8 = 0x20;
    pub(super) const DELAYED: u8 = 0x10;
    pub(super) const NAMES: u8 = 0x08;
    pub(super) const LAST: u8 = 0x04;
    pub(super) const ASK: u8 = 0x02;
    pub(super) const BID: u8 = 0x01;
}

/// The bit of the byte with the decimal places that says that details follow.
const HAS_DETAILS: u8 = 0x80;

/// The bit of the details' own first byte for their session; those below it are the numbers'.
const SESSION: u8 = 0x20;

/// The greatest number a price may be in units of its last place, so that a reader whose numbers are doubles computes
/// the exact middle of two of them.
const UNITS_MAX: u64 = 1 << 47;

/// The greatest number of the details in units of its last place: what a double holds exactly.
const DETAIL_UNITS_MAX: u64 = (1 << 53) - 1;

/// The longest step that is kept, without its first byte and its channel: a longer one is no gain over the full tick.
const STEP_BYTES_MAX: usize = 30;

/// A tick as what changed since the one before it in its channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    head: u8,
    len: u8,
    rest: [u8; STEP_BYTES_MAX],
}

impl Step {
    /// The step from one tick to the next; `None` where it is not only the numbers that changed, or not by little.
    pub fn between(before: &Tick, after: &Tick) -> Option<Self> {
        let (from, to) = (Numbers::of(before)?, Numbers::of(after)?);
        let sides = |numbers: &Numbers<'_>| numbers.sides().map(|side| side.is_some());
        if after.snapshot
            || from.places != to.places
            || sides(&from) != sides(&to)
            || before.delayed_s != after.delayed_s
            || from.details.map(|it| &it.session) != to.details.map(|it| &it.session)
        {
            return None;
        }
        let moved = |from: Option<i64>, to: Option<i64>| to.unwrap_or(0) - from.unwrap_or(0);
        let [bid, ask, last] =
            [(from.bid, to.bid), (from.ask, to.ask), (from.last, to.last)].map(|s| moved(s.0, s.1));
        let lag = to.lag_ms.checked_sub(from.lag_ms)?;
        let mut step = Self { head: 0, len: 0, rest: [0; STEP_BYTES_MAX] };
        step.put(to.received_ms.checked_sub(from.received_ms)?)?;
        if bid != 0 {
            step.put_changed(step_bit::BID, bid)?;
        }
        if ask != 0 && ask == bid {
            step.head |= step_bit::ASK_LIKE_BID;
        } else if ask != 0 {
            step.put_changed(step_bit::ASK, ask)?;
        }
        if last != 0 {
            step.put_changed(step_bit::LAST, last)?;
        }
        if lag != 0 {
            step.put_changed(step_bit::LAG, lag)?;
        }
        step.put_details(from.details_numbers(), to.details_numbers())?;
        Some(step)
    }

    /// How much the numbers of the details changed; `None` where that is not all.
    fn put_details(&mut self, from: [Option<Decimal>; 5], to: [Option<Decimal>; 5]) -> Option<()> {
        let places = |numbers: [Option<Decimal>; 5]| numbers.map(|number| number.map(Decimal::scale));
        if places(from) != places(to) {
            return None;
        }
        let moved =
            from.iter().zip(&to).map(|(from, to)| Some(to.as_ref()?.units() - from.as_ref()?.units()));
        let moved = moved.enumerate().filter_map(|(bit, by)| by.filter(|by| *by != 0).map(|by| (bit, by)));
        let mask = moved.clone().fold(0, |mask, (bit, _)| mask | 1 << bit);
        if mask != 0 {
            self.head |= step_bit::DETAILS;
            self.put_byte(mask)?;
        }
        for (_, by) in moved {
            self.put(by)?;
        }
        Some(())
    }

    fn put_changed(&mut self, bit: u8, value: i64) -> Option<()> {
        self.head |= bit;
        self.put(value)
    }

    fn put(&mut self, value: i64) -> Option<()> {
        let mut left = zigzag(value);
        loop {
            let more = left >= 0x80;
            let byte = low_bits(left) | if more { 0x80 } else { 0 };
            self.put_byte(byte)?;
            left >>= 7;
            if !more {
                return Some(());
            }
        }
    }

    fn put_byte(&mut self, byte: u8) -> Option<()> {
        *self.rest.get_mut(usize::from(self.len))? = byte;
        self.len += 1;
        Some(())
    }

    /// Appends the step as a record of this channel; `is_merged` where the reader merges ticks and this one is alone.
    pub fn write(&self, channel: u32, is_merged: bool, out: &mut Vec<u8>) {
        out.push(self.head | if is_merged { step_bit::MERGED } else { 0 });
        put_varint(channel.into(), out);
        out.extend_from_slice(&self.rest[..usize::from(self.len)]);
    }
}

/// What several ticks were merged into one with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Merged {
    /// How many there were, the newest included.
    pub count: u64,
    /// The highest and the lowest price among them, where any had one.
    pub range: Option<(Price, Price)>,
}

/// What a channel is called, told before its first tick on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names<'a> {
    /// The venue.
    pub source: &'a str,
    /// The symbol in the venue's spelling.
    pub symbol: &'a str,
}

/// A tick told in full.
#[derive(Clone, Copy, Debug)]
pub struct Full<'a> {
    /// The channel's number on the connection.
    pub channel: u32,
    /// Its names and, with them, the epoch; absent where the client got a tick of this epoch before.
    pub names: Option<Names<'a>>,
    /// Where the tick stands.
    pub position: Position,
    /// Its numbers.
    pub tick: &'a Tick,
    /// Whether it begins a series.
    pub is_snapshot: bool,
    /// What it was merged from, where the client gets merged ticks.
    pub merged: Option<Merged>,
}

impl Full<'_> {
    /// Appends the record. Where the numbers cannot be told in this form nothing is appended and the answer is false:
    /// then the tick goes out as JSON.
    #[must_use]
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        let Some(numbers) = Numbers::of(self.tick) else { return false };
        let Some(range) = self.merged.map(|merged| numbers.range(merged.range)).unwrap_or(Some(None)) else {
            return false;
        };
        let mut head = FULL;
        for (bit, is_set) in [
            (full_bit::MERGED, self.merged.is_some()),
            (full_bit::SNAPSHOT, self.is_snapshot || self.tick.snapshot),
            (full_bit::DELAYED, self.tick.delayed_s.is_some()),
            (full_bit::NAMES, self.names.is_some()),
            (full_bit::LAST, numbers.last.is_some()),
            (full_bit::ASK, numbers.ask.is_some()),
            (full_bit::BID, numbers.bid.is_some()),
        ] {
            head |= if is_set { bit } else { 0 };
        }
        out.push(head);
        put_varint(self.channel.into(), out);
        if let Some(names) = self.names {
            for text in [names.source, names.symbol] {
                put_text(text, out);
            }
            put_varint(self.position.epoch, out);
        }
        put_varint(self.position.seq, out);
        out.push(numbers.places | if numbers.details.is_some() { HAS_DETAILS } else { 0 });
        // The other prices are near the bid, where there is one.
        let base = numbers.bid.unwrap_or(0);
        if let Some(bid) = numbers.bid {
            put_signed(bid, out);
        }
        for price in [numbers.ask, numbers.last].into_iter().flatten() {
            put_signed(price - base, out);
        }
        put_signed(numbers.received_ms, out);
        put_signed(numbers.lag_ms, out);
        if let Some(delayed_s) = self.tick.delayed_s {
            put_varint(delayed_s.into(), out);
        }
        if let Some(details) = numbers.details {
            put_details(details, out);
        }
        if let Some(merged) = self.merged {
            put_varint(merged.count, out);
            out.push(u8::from(range.is_some()));
            if let Some((high, low)) = range {
                put_signed(high, out);
                put_signed(low, out);
            }
        }
        true
    }
}

/// A tick's numbers as this form has them.
struct Numbers<'a> {
    /// Decimal places of the prices below.
    places: u8,
    bid: Option<i64>,
    ask: Option<i64>,
    last: Option<i64>,
    received_ms: i64,
    /// How much later than the venue's time that is.
    lag_ms: i64,
    /// What else the venue tells, where that is anything.
    details: Option<&'a Details>,
}

impl<'a> Numbers<'a> {
    /// `None` where a number is too large, the prices have different scales, or there is no exact middle.
    fn of(tick: &'a Tick) -> Option<Self> {
        let sides = [tick.bid, tick.ask, tick.last];
        let mut prices = sides.iter().flatten();
        let scale = prices.next().map_or(tick.digits.min(Price::SCALE_MAX), |price| price.scale());
        let is_uniform = prices.all(|price| price.scale() == scale);
        // A middle that JSON cannot say must not come out here either.
        if !is_uniform || (tick.price().is_none() && sides.iter().any(Option::is_some)) {
            return None;
        }
        // As many places as the instrument shows, and more where a price has more.
        let (mut units, mut places) = (sides.map(|side| side.map(Price::units)), scale);
        while places > tick.digits && units.iter().flatten().all(|units| units % 10 == 0) {
            units = units.map(|units| units.map(|units| units / 10));
            places -= 1;
        }
        if units.iter().flatten().any(|units| units.unsigned_abs() > UNITS_MAX) {
            return None;
        }
        let [bid, ask, last] = units;
        let received_ms = tick.received_us.div_euclid(1000);
        let lag_ms = received_ms.checked_sub(tick.venue_time_ms.unwrap_or(received_ms))?;
        let is_time = |ms: i64| ms.unsigned_abs() <= UNITS_MAX;
        let details = tick.details.as_deref().filter(|details| **details != Details::default());
        let numbers = Self { places, bid, ask, last, received_ms, lag_ms, details };
        let mut others = numbers.details_numbers().into_iter().flatten();
        let is_told = others.all(|number| number.units().unsigned_abs() <= DETAIL_UNITS_MAX);
        (is_time(received_ms) && is_time(lag_ms) && is_told).then_some(numbers)
    }

    fn details_numbers(&self) -> [Option<Decimal>; 5] {
        self.details.map(Details::numbers).unwrap_or_default()
    }

    fn sides(&self) -> [Option<i64>; 3] {
        [self.bid, self.ask, self.last]
    }

    /// The price people chart, with one decimal place more than [`Numbers::places`].
    fn price(&self) -> Option<i64> {
        match (self.bid, self.ask) {
            (Some(bid), Some(ask)) => Some((bid + ask) * 5),
            (bid, ask) => self.last.or(bid).or(ask).map(|units| units * 10),
        }
    }

    /// High and low as their distance from the price, one place finer; the outer `None` where they do not fit.
    #[expect(clippy::option_option, reason = "whether there is a range, and whether it can be told")]
    fn range(&self, range: Option<(Price, Price)>) -> Option<Option<(i64, i64)>> {
        let Some((high, low)) = range else { return Some(None) };
        let base = self.price().unwrap_or(0);
        let told = |price: Price| Some(units_at(price, self.places + 1)? - base);
        Some(Some((told(high)?, told(low)?)))
    }
}

/// A price in units of so many decimal places; `None` where it has more of them, or is too large.
fn units_at(price: Price, places: u8) -> Option<i64> {
    let mut units = price.units();
    for _ in places..price.scale() {
        if units % 10 != 0 {
            return None;
        }
        units /= 10;
    }
    for _ in price.scale()..places {
        units = units.checked_mul(10)?;
    }
    // Ten times as fine as the prices are.
    (units.unsigned_abs() <= 10 * UNITS_MAX).then_some(units)
}

/// Small numbers of either sign as small numbers: 0, -1, 1, -2, 2 as 0, 1, 2, 3, 4.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits are what is wanted")]
fn low_bits(value: u64) -> u8 {
    value as u8 & 0x7F
}

/// Seven bits in each byte, the lowest first; all but the last byte have their top bit set.
fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn put_signed(value: i64, out: &mut Vec<u8>) {
    put_varint(zigzag(value), out);
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// All that is known of the details, and in the first byte what that is.
fn put_details(details: &Details, out: &mut Vec<u8>) {
    let numbers = details.numbers();
    let mask = (0..).zip(numbers).fold(0, |mask, (bit, number)| mask | u8::from(number.is_some()) << bit);
    out.push(mask | if details.session.is_some() { SESSION } else { 0 });
    for number in numbers.into_iter().flatten() {
        out.push(number.scale());
        put_signed(number.units(), out);
    }
    if let Some(session) = &details.session {
        put_text(session.as_str(), out);
    }
}

#[cfg(test)]
#[path = "binary_tests.rs"]
mod tests;
