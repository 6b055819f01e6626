use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{Findings, TickFields};

/// The longest latency told apart, microseconds; longer ones count as this long.
const LATENCY_US_MAX: u64 = 300_000_000;

/// The most different names one of the maps below holds; more are counted under `other`.
const NAMES_MAX: usize = 40;

/// What one worker's clients saw.
#[derive(Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Time from the first packet to the accepted upgrade, microseconds.
    #[serde(with = "pairs")]
    pub(crate) connect_us: Histogram<u64>,
    /// Connections not made, by kind.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Ticks in the measuring window, snapshots not included.
    pub(crate) window_ticks: u64,
    /// Ticks of clients that only count theirs, over the whole run.
    pub(crate) counted_only: u64,
    /// Reads from sockets in the measuring window.
    pub(crate) window_reads: u64,
    /// Bytes in the measuring window.
    pub(crate) window_bytes: u64,
    /// From the tick's `timestamp` to its arrival, microseconds.
    #[serde(with = "pairs")]
    pub(crate) venue_us: Histogram<u64>,
    /// From the tick's `receivedAt` to its arrival, microseconds.
    #[serde(with = "pairs")]
    pub(crate) ingest_us: Histogram<u64>,
    /// The same as `venue_us`, of the clients that read slowly: theirs would hide the others'.
    #[serde(with = "pairs")]
    pub(crate) slow_us: Histogram<u64>,
    /// Ticks whose stamp lies after their arrival: the clocks of the two machines differ.
    pub(crate) stamps_ahead: u64,
    /// Messages that are not ticks, by type.
    pub(crate) messages: BTreeMap<String, u64>,
    /// Codes of `error` messages and of refused symbols.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Messages that could not be read.
    pub(crate) unreadable: u64,
    /// Pings answered.
    pub(crate) pings: u64,
    /// Connections the server ended before the run did, by close code or kind of error.
    pub(crate) closes: BTreeMap<String, u64>,
    /// The sequence audit of all clients together.
    pub(crate) audit: Findings,
    /// Time from the end of a connection to its replacement, microseconds.
    #[serde(with = "pairs")]
    pub(crate) reconnect_us: Histogram<u64>,
    /// Time from the first packet of a replacement to the answer to its `resume`, microseconds.
    #[serde(with = "pairs")]
    pub(crate) resume_us: Histogram<u64>,
    /// Symbols that went on where they stopped.
    pub(crate) recovered: u64,
    /// Symbols that did not, and began anew.
    pub(crate) begun_anew: u64,
    /// When the first connection was begun and the last one opened, Unix microseconds.
    pub(crate) opened: Span,
    /// When the first connection ended and the last replacement was open, Unix microseconds.
    pub(crate) replaced: Span,
    /// The measuring window in pieces, where they were asked for.
    pub(crate) slices: Vec<Slice>,
    /// Time from one slice to the next, microseconds; 0 = no slices.
    slice_us: u64,
}

/// A time with a beginning and an end, Unix microseconds; 0 where there was none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Span {
    /// The first.
    pub from_us: i64,
    /// The last.
    pub to_us: i64,
}

impl Span {
    /// Something happened.
    pub(crate) fn add(&mut self, at_us: i64) {
        self.from_us = if self.from_us == 0 { at_us } else { self.from_us.min(at_us) };
        self.to_us = self.to_us.max(at_us);
    }

    /// Takes another span in.
    pub(crate) fn join(&mut self, other: Self) {
        for at_us in [other.from_us, other.to_us] {
            if at_us != 0 {
                self.add(at_us);
            }
        }
    }

    /// Its length.
    pub fn length_us(&self) -> u64 {
        u64::try_from(self.to_us - self.from_us).unwrap_or(0)
    }
}

/// A piece of the measuring window.
#[derive(Serialize, Deserialize)]
pub(crate) struct Slice {
    /// Its number since the epoch of Unix, so that those of several threads and processes meet.
    pub(crate) number: u64,
    /// From the tick's `timestamp` to its arrival, microseconds.
    #[serde(with = "pairs")]
    pub(crate) venue_us: Histogram<u64>,
}

/// The most slices kept; later ticks are not in them.
const SLICES_MAX: usize = 1200;

/// A histogram as its values and how often each came.
mod pairs {
    use hdrhistogram::Histogram;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
        let pairs = values.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        pairs.collect::<Vec<(u64, u64)>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
        let mut values = super::histogram();
        for (value, count) in Vec::<(u64, u64)>::deserialize(from)? {
            values.saturating_record_n(value, count);
        }
        Ok(values)
    }
}

impl Tally {
    pub(crate) fn new(slice_ms: u64) -> Self {
        Self {
            reconnect_us: histogram(),
            resume_us: histogram(),
            recovered: 0,
            begun_anew: 0,
            opened: Span::default(),
            replaced: Span::default(),
            slices: Vec::new(),
            slice_us: slice_ms * 1000,
            counted_only: 0,
            window_reads: 0,
            connect_us: histogram(),
            failures: BTreeMap::new(),
            window_ticks: 0,
            window_bytes: 0,
            venue_us: histogram(),
            ingest_us: histogram(),
            slow_us: histogram(),
            stamps_ahead: 0,
            messages: BTreeMap::new(),
            errors: BTreeMap::new(),
            unreadable: 0,
            pings: 0,
            closes: BTreeMap::new(),
            audit: Findings::default(),
        }
    }

    /// A tick of the measuring window arrived. With `is_fine` the last three decimals of `bid` are the microseconds of
    /// its `timestamp`.
    pub(crate) fn tick(&mut self, arrived_us: i64, tick: &TickFields<'_>, is_fine: bool, is_slow: bool) {
        self.window_ticks += 1;
        let fraction_us = tick.bid_thousandths.filter(|_| is_fine).map_or(0, i64::from);
        let stamp_us = tick.timestamp_ms.saturating_mul(1000).saturating_add(fraction_us);
        let venue_us = arrived_us.saturating_sub(stamp_us);
        self.stamps_ahead += u64::from(venue_us < 0);
        let venue_us = u64::try_from(venue_us).unwrap_or(0);
        if is_slow {
            self.slow_us.saturating_record(venue_us);
            return;
        }
        self.venue_us.saturating_record(venue_us);
        if let Some(received_at_ms) = tick.received_at_ms {
            let ingest_us = arrived_us.saturating_sub(received_at_ms.saturating_mul(1000));
            self.ingest_us.saturating_record(u64::try_from(ingest_us).unwrap_or(0));
        }
        if let Some(number) = u64::try_from(arrived_us).unwrap_or(0).checked_div(self.slice_us)
            && let Some(slice) = slice_of(&mut self.slices, number)
        {
            slice.venue_us.saturating_record(venue_us);
        }
    }

    /// Length of a slice, microseconds; 0 = no slices.
    pub(crate) fn slice_us(&self) -> u64 {
        self.slice_us
    }

    /// Adds what another worker saw.
    pub(crate) fn add(&mut self, other: &Self) {
        // Every histogram has the same bounds, so adding cannot fail.
        let _ = self.connect_us.add(&other.connect_us);
        let _ = self.venue_us.add(&other.venue_us);
        let _ = self.ingest_us.add(&other.ingest_us);
        let _ = self.slow_us.add(&other.slow_us);
        let _ = self.reconnect_us.add(&other.reconnect_us);
        let _ = self.resume_us.add(&other.resume_us);
        self.recovered += other.recovered;
        self.begun_anew += other.begun_anew;
        self.opened.join(other.opened);
        self.replaced.join(other.replaced);
        for slice in &other.slices {
            if let Some(mine) = slice_of(&mut self.slices, slice.number) {
                let _ = mine.venue_us.add(&slice.venue_us);
            }
        }
        self.counted_only += other.counted_only;
        self.window_reads += other.window_reads;
        self.window_ticks += other.window_ticks;
        self.window_bytes += other.window_bytes;
        self.stamps_ahead += other.stamps_ahead;
        self.unreadable += other.unreadable;
        self.pings += other.pings;
        self.audit.add(&other.audit);
        for (mine, others) in [
            (&mut self.failures, &other.failures),
            (&mut self.messages, &other.messages),
            (&mut self.errors, &other.errors),
            (&mut self.closes, &other.closes),
        ] {
            for (name, count) in others {
                count_name(mine, name, *count);
            }
        }
    }
}

/// Counts `name`, as long as the map stays small: names come from the server.
pub(crate) fn count_name(map: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    if let Some(counted) = map.get_mut(name) {
        *counted += count;
    } else {
        let name = if map.len() < NAMES_MAX { name } else { "other" };
        *map.entry(name.chars().take(60).collect()).or_default() += count;
    }
}

/// The slice of this number, made where there is none yet; they stay in order.
fn slice_of(slices: &mut Vec<Slice>, number: u64) -> Option<&mut Slice> {
    let index = match slices.last() {
        Some(last) if last.number == number => slices.len() - 1,
        _ => match slices.binary_search_by_key(&number, |slice| slice.number) {
            Ok(index) => index,
            Err(_) if slices.len() >= SLICES_MAX => return None,
            Err(index) => {
                slices.insert(index, Slice { number, venue_us: histogram() });
                index
            }
        },
    };
    slices.get_mut(index)
}

pub(crate) fn histogram() -> Histogram<u64> {
    // Three significant digits: 1.00 ms and 1.01 ms are told apart.
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("these constant bounds are valid ones")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(timestamp_ms: i64, received_at_ms: Option<i64>) -> TickFields<'static> {
        TickFields { timestamp_ms, received_at_ms, bid_thousandths: Some(250), ..TickFields::default() }
    }

    #[test]
    fn latency_is_arrival_less_stamp_and_never_negative() {
        let mut tally = Tally::new(0);
        tally.tick(5_000_700, &stamped(5_000, Some(4_999)), false, false);
        tally.tick(4_999_000, &stamped(5_000, None), false, false);
        assert_eq!((tally.venue_us.len(), tally.venue_us.max(), tally.stamps_ahead), (2, 700, 1));
        assert_eq!((tally.ingest_us.len(), tally.ingest_us.max()), (1, 1_700));
        tally.tick(5_000_900, &stamped(5_000, None), true, false);
        assert_eq!(tally.venue_us.count_at(650), 1, "microseconds from the price");
        tally.tick(9_000_000, &stamped(5_000, None), false, true);
        assert_eq!(
            (tally.slow_us.len(), tally.venue_us.len()),
            (1, 3),
            "a slow reader does not hide the others"
        );
    }

    #[test]
    fn slices_meet_by_their_time_and_their_number_is_bounded() {
        let mut both = Tally::new(100);
        for first in [0, 1] {
            let mut one = Tally::new(100);
            one.tick(150_000 + first * 100_000, &stamped(150, None), false, false);
            one.tick(250_000, &stamped(240, None), false, false);
            both.add(&one);
        }
        let seen: Vec<_> = both.slices.iter().map(|slice| (slice.number, slice.venue_us.len())).collect();
        assert_eq!(seen, [(1, 1), (2, 3)]);
        for number in 0..2 * SLICES_MAX as u64 {
            slice_of(&mut both.slices, number);
        }
        assert_eq!(both.slices.len(), SLICES_MAX);
    }

    #[test]
    fn a_tally_survives_the_way_between_processes() {
        let mut tally = Tally::new(100);
        tally.tick(150_321, &stamped(150, Some(149)), false, false);
        tally.opened.add(5);
        tally.audit.ticks = 7;
        let read: Tally = serde_json::from_str(&serde_json::to_string(&tally).unwrap()).unwrap();
        assert_eq!((read.venue_us.len(), read.venue_us.max(), read.audit.ticks), (1, 321, 7));
        assert_eq!((read.slices.len(), read.opened), (1, Span { from_us: 5, to_us: 5 }));
    }

    #[test]
    fn names_from_the_server_cannot_grow_a_map_without_end() {
        let mut map = BTreeMap::new();
        for index in 0..1000 {
            count_name(&mut map, &format!("{index}{}", "x".repeat(500)), 1);
        }
        assert_eq!(map.len(), NAMES_MAX + 1);
        assert_eq!(map.values().sum::<u64>(), 1000);
        assert!(map.keys().all(|name| name.len() <= 60));
    }

    #[test]
    fn tallies_of_workers_add_up() {
        let mut both = Tally::new(0);
        for _ in 0..2 {
            let mut one = Tally::new(0);
            one.tick(1_000, &stamped(0, None), false, false);
            count_name(&mut one.closes, "1001", 2);
            one.audit.ticks = 5;
            both.add(&one);
        }
        assert_eq!((both.window_ticks, both.venue_us.len(), both.audit.ticks), (2, 2, 10));
        assert_eq!(both.closes["1001"], 4);
    }
}
