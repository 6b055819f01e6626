use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::Findings;

/// The longest latency told apart, microseconds; longer ones count as this long.
const LATENCY_US_MAX: u64 = 300_000_000;

/// The most different names one of the maps below holds; more are counted under `other`.
const NAMES_MAX: usize = 40;

/// What one worker's clients saw.
pub(crate) struct Tally {
    /// Time from the first packet to the accepted upgrade, microseconds.
    pub(crate) connect_us: Histogram<u64>,
    /// Connections not made, by kind.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Ticks in the measuring window, snapshots not included.
    pub(crate) window_ticks: u64,
    /// Bytes in the measuring window.
    pub(crate) window_bytes: u64,
    /// From the tick's `timestamp` to its arrival, microseconds.
    pub(crate) venue_us: Histogram<u64>,
    /// From the tick's `receivedAt` to its arrival, microseconds.
    pub(crate) ingest_us: Histogram<u64>,
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
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            connect_us: histogram(),
            failures: BTreeMap::new(),
            window_ticks: 0,
            window_bytes: 0,
            venue_us: histogram(),
            ingest_us: histogram(),
            stamps_ahead: 0,
            messages: BTreeMap::new(),
            errors: BTreeMap::new(),
            unreadable: 0,
            pings: 0,
            closes: BTreeMap::new(),
            audit: Findings::default(),
        }
    }

    /// A tick of the measuring window arrived.
    pub(crate) fn tick(&mut self, arrived_us: i64, timestamp_ms: i64, received_at_ms: Option<i64>) {
        self.window_ticks += 1;
        let venue_us = arrived_us.saturating_sub(timestamp_ms.saturating_mul(1000));
        self.stamps_ahead += u64::from(venue_us < 0);
        self.venue_us.saturating_record(u64::try_from(venue_us).unwrap_or(0));
        if let Some(received_at_ms) = received_at_ms {
            let ingest_us = arrived_us.saturating_sub(received_at_ms.saturating_mul(1000));
            self.ingest_us.saturating_record(u64::try_from(ingest_us).unwrap_or(0));
        }
    }

    /// Adds what another worker saw.
    pub(crate) fn add(&mut self, other: &Self) {
        // Every histogram has the same bounds, so adding cannot fail.
        let _ = self.connect_us.add(&other.connect_us);
        let _ = self.venue_us.add(&other.venue_us);
        let _ = self.ingest_us.add(&other.ingest_us);
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

fn histogram() -> Histogram<u64> {
    // Three significant digits: 1.00 ms and 1.01 ms are told apart.
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("these constant bounds are valid ones")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_arrival_less_stamp_and_never_negative() {
        let mut tally = Tally::new();
        tally.tick(5_000_700, 5_000, Some(4_999));
        tally.tick(4_999_000, 5_000, None);
        assert_eq!((tally.venue_us.len(), tally.venue_us.max(), tally.stamps_ahead), (2, 700, 1));
        assert_eq!((tally.ingest_us.len(), tally.ingest_us.max()), (1, 1_700));
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
        let mut both = Tally::new();
        for _ in 0..2 {
            let mut one = Tally::new();
            one.tick(1_000, 0, None);
            count_name(&mut one.closes, "1001", 2);
            one.audit.ticks = 5;
            both.add(&one);
        }
        assert_eq!((both.window_ticks, both.venue_us.len(), both.audit.ticks), (2, 2, 10));
        assert_eq!(both.closes["1001"], 4);
    }
}
