use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use slab::Slab;
use tickcast_model::{Body, ChannelEvent, Symbol, VenueId};

use crate::feed::{Feed, Published, Reading};
use crate::frame::Frame;
use crate::protocol::ChannelWriter;

/// Which channel: one symbol of one venue.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ChannelKey {
    /// The venue.
    pub venue: VenueId,
    /// The symbol in the venue's spelling.
    pub symbol: Symbol,
}

/// Somebody who reads channels. He is told that something is there, and fetches it when he can.
pub trait Reader: Send + Sync {
    /// The channel he joined as `slot` has something for him. Called often, so it must be quick and must not wait.
    fn mark(&self, slot: u32);
}

/// One channel with its readers.
pub struct Channel {
    key: ChannelKey,
    feed: Mutex<Feed>,
    readers: Mutex<Slab<(Arc<dyn Reader>, u32)>>,
}

impl Channel {
    /// Which channel this is.
    pub fn key(&self) -> &ChannelKey {
        &self.key
    }

    /// How many read it.
    pub fn reader_count(&self) -> usize {
        lock(&self.readers).len()
    }

    /// Looks at what is known.
    pub fn with_feed<T>(&self, look: impl FnOnce(&Feed) -> T) -> T {
        look(&lock(&self.feed))
    }

    /// Takes an event from the bus and marks the channel for its readers.
    pub fn publish(&self, event: &ChannelEvent, arrived_us: i64) -> Published {
        let published = lock(&self.feed).publish(event, arrived_us);
        if matches!(published, Published::Tick | Published::TickAfterHole | Published::State) {
            self.mark();
        }
        published
    }

    /// Takes over ticks from history, see [`Feed::fill`]; gives how many, and whether some are still missing between.
    pub fn fill(&self, events: &[ChannelEvent], epoch: u64, arrived_us: i64) -> (usize, bool) {
        // Encoded before the feed is locked: live ticks need not wait for it.
        let writer = self.with_feed(|feed| feed.writer().clone());
        let frames = events.iter().filter_map(|event| match &event.body {
            Body::Tick(tick) => {
                let json = writer.tick(tick, event.position);
                Some(Arc::new(Frame::new(event.position, tick.clone(), arrived_us, &json)))
            }
            Body::State(_) => None,
        });
        let frames = frames.collect();
        let mut feed = lock(&self.feed);
        let taken = feed.fill(frames, epoch);
        let has_hole = feed.has_hole();
        drop(feed);
        if taken > 0 {
            self.mark();
        }
        (taken, has_hole)
    }

    /// Says that what there is of history was filled in, or will not come.
    pub fn settle(&self) {
        lock(&self.feed).settle();
        self.mark();
    }

    /// Marks the channel for its readers; not under the feed's lock, for who reads meanwhile need not wait until everybody
    /// is told.
    fn mark(&self) {
        for (_, (reader, slot)) in lock(&self.readers).iter() {
            reader.mark(*slot);
        }
    }
}

/// A reader's place in a channel; dropping it leaves the channel.
pub struct Seat {
    hub: Arc<Hub>,
    channel: Arc<Channel>,
    number: usize,
    feed: Feed,
    /// Number of the channel's next frame that `feed` does not have.
    next: u64,
}

impl Seat {
    /// The channel.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// A place for one more reader behind this seat, see [`Feed::join`].
    pub fn join(&mut self, away: bool) -> Reading {
        if away {
            let mut feed = lock(&self.channel.feed);
            feed.await_any();
            self.next = self.feed.follow(&feed, self.next);
        }
        self.feed.join(away)
    }

    /// From now on ticks can be merged, see [`Feed::fold`].
    pub fn fold(&mut self) {
        self.feed.fold();
    }

    /// The channel's feed as it was at the last [`Seat::follow`].
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Takes over what the channel got since the last time.
    pub fn follow(&mut self) {
        self.next = self.feed.follow(&lock(&self.channel.feed), self.next);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut readers = lock(&self.channel.readers);
        readers.remove(self.number);
        let left_empty = readers.is_empty();
        drop(readers);
        if left_empty {
            (self.hub.interest_changed)();
        }
    }
}

/// The names of a venue's channels have so many bytes at most: a lease says them all in one message, and the bus takes a
/// megabyte.
const LEASE_BYTES_MAX: usize = 768 * 1024;

/// Every channel somebody reads or lately read.
pub struct Hub {
    channels: RwLock<Channels>,
    ring_ticks: usize,
    channels_max: usize,
    interest_changed: Box<dyn Fn() + Send + Sync>,
}

impl Hub {
    /// A hub of at most `channels_max` channels with the last `ring_ticks` ticks each. `interest_changed` is called when
    /// a channel gets its first reader or loses its last one; it must not wait.
    pub fn new(
        ring_ticks: usize,
        channels_max: usize,
        interest_changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            channels: RwLock::default(),
            ring_ticks,
            channels_max,
            interest_changed: Box::new(interest_changed),
        }
    }

    /// Whether a channel is there or could be made, besides so many others that are about to be. Each writer may exceed the
    /// limits by what one message asks for, for others join at the same time.
    pub fn has_room(&self, key: &ChannelKey, besides: usize) -> bool {
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = channels.lease_bytes.get(&key.venue).copied().unwrap_or(0) + lease_bytes(&key.symbol);
        (channels.by_key.len() + besides < self.channels_max && bytes <= LEASE_BYTES_MAX)
            || channels.by_key.contains_key(key)
    }

    /// Joins a channel, which is made if need be; the seat's feed is what is known now.
    pub fn join(self: &Arc<Self>, key: &ChannelKey, reader: Arc<dyn Reader>, slot: u32) -> Seat {
        // The map stays locked until the reader is in, so the channel cannot be removed in between.
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.by_key.get(key) {
            return self.sit(channel.clone(), reader, slot);
        }
        drop(channels);
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        let Channels { by_key, lease_bytes: bytes } = &mut *channels;
        let channel = by_key.entry(key.clone()).or_insert_with(|| {
            *bytes.entry(key.venue.clone()).or_default() += lease_bytes(&key.symbol);
            let feed = Feed::new(ChannelWriter::new(&key.venue, &key.symbol), self.ring_ticks);
            Arc::new(Channel { key: key.clone(), feed: Mutex::new(feed), readers: Mutex::default() })
        });
        self.sit(channel.clone(), reader, slot)
    }

    fn sit(self: &Arc<Self>, channel: Arc<Channel>, reader: Arc<dyn Reader>, slot: u32) -> Seat {
        let mut readers = lock(&channel.readers);
        // Under both locks: what is published from here on marks the reader, what was published before is in its feed.
        let feed = lock(&channel.feed).clone();
        let next = feed.end();
        let is_first = readers.is_empty();
        let number = readers.insert((reader, slot));
        drop(readers);
        if is_first {
            (self.interest_changed)();
        }
        Seat { hub: self.clone(), channel, number, feed, next }
    }

    /// A channel, where it is there.
    pub fn channel(&self, key: &ChannelKey) -> Option<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).by_key.get(key).cloned()
    }

    /// Every channel.
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).by_key.values().cloned().collect()
    }

    /// Forgets a channel unless somebody reads it again.
    pub fn remove_idle(&self, key: &ChannelKey) -> bool {
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        let idle = channels.by_key.get(key).is_some_and(|channel| channel.reader_count() == 0);
        if idle {
            channels.by_key.remove(key);
            if let Some(bytes) = channels.lease_bytes.get_mut(&key.venue) {
                *bytes = bytes.saturating_sub(lease_bytes(&key.symbol));
            }
        }
        idle
    }
}

#[derive(Default)]
struct Channels {
    by_key: HashMap<ChannelKey, Arc<Channel>>,
    /// What the names of each venue take in a lease.
    lease_bytes: HashMap<VenueId, usize>,
}

/// What a name takes in a lease, its key and its length included.
fn lease_bytes(symbol: &Symbol) -> usize {
    symbol.as_str().len() + 3
}

/// A panic elsewhere does not make the data unusable: nothing is left half changed under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;
    use tickcast_model::{Body, Position, Price, Tick};

    use super::*;
    use crate::feed::Step;

    #[derive(Default)]
    struct Marks(Mutex<Vec<u32>>);

    impl Reader for Marks {
        fn mark(&self, slot: u32) {
            self.0.lock().unwrap().push(slot);
        }
    }

    fn key(symbol: &str) -> ChannelKey {
        ChannelKey { venue: VenueId::new("ctrader").unwrap(), symbol: Symbol::new(symbol).unwrap() }
    }

    fn tick(symbol: &str, seq: u64) -> ChannelEvent {
        let body = Body::Tick(Tick {
            bid: Price::new(1, 0),
            ask: None,
            last: None,
            digits: 0,
            venue_time_ms: None,
            received_us: 0,
            snapshot: false,
            delayed_s: None,
            details: None,
        });
        ChannelEvent { symbol: Symbol::new(symbol).unwrap(), position: Position { epoch: 1, seq }, body }
    }

    fn hub(ring: usize) -> (Arc<Hub>, Arc<AtomicU64>) {
        let changes = Arc::new(AtomicU64::new(0));
        let seen = changes.clone();
        (Arc::new(Hub::new(ring, 100, move || _ = seen.fetch_add(1, Ordering::Relaxed))), changes)
    }

    #[test]
    fn interest_changes_with_the_first_and_the_last_reader_only() {
        let (hub, changes) = hub(4);
        let marks = Arc::new(Marks::default());
        let first = hub.join(&key("A"), marks.clone(), 0);
        let second = hub.join(&key("A"), marks.clone(), 1);
        assert_eq!(changes.load(Ordering::Relaxed), 1);
        assert!(!hub.remove_idle(&key("A")));
        drop(first);
        assert_eq!(changes.load(Ordering::Relaxed), 1);
        drop(second);
        assert_eq!(changes.load(Ordering::Relaxed), 2);
        assert!(hub.remove_idle(&key("A")));
        assert!(hub.channel(&key("A")).is_none());
    }

    #[test]
    fn a_published_tick_marks_every_reader_with_its_slot() {
        let (hub, _) = hub(4);
        let marks = Arc::new(Marks::default());
        let _seats = [hub.join(&key("A"), marks.clone(), 7), hub.join(&key("A"), marks.clone(), 9)];
        let _other = hub.join(&key("B"), marks.clone(), 8);
        marks.0.lock().unwrap().clear();
        hub.channel(&key("A")).unwrap().publish(&tick("A", 1), 0);
        assert_eq!(*marks.0.lock().unwrap(), [7, 9]);
        hub.channel(&key("A")).unwrap().publish(&tick("A", 1), 0);
        assert_eq!(marks.0.lock().unwrap().len(), 2, "a repeated tick wakes nobody");
    }

    #[test]
    fn the_number_of_channels_is_limited() {
        let hub = Arc::new(Hub::new(4, 1, || {}));
        let _seat = hub.join(&key("A"), Arc::new(Marks::default()), 0);
        assert!(hub.has_room(&key("A"), 0));
        assert!(!hub.has_room(&key("B"), 0));
        let hub = Arc::new(Hub::new(4, 3, || {}));
        let _seat = hub.join(&key("A"), Arc::new(Marks::default()), 0);
        assert!(hub.has_room(&key("B"), 1) && !hub.has_room(&key("B"), 2), "others are about to be joined");
    }

    #[test]
    fn the_names_of_a_venue_fit_into_one_lease() {
        let hub = Arc::new(Hub::new(1, 1_000_000, || {}));
        let marks = Arc::new(Marks::default());
        let long = |number: usize| key(&format!("{number:0>128}"));
        let mut seats = Vec::new();
        while hub.has_room(&long(seats.len()), 0) {
            seats.push(hub.join(&long(seats.len()), marks.clone(), 0));
        }
        let lease = tickcast_bus::Lease {
            holder: "a".repeat(128),
            generation: u64::MAX,
            ttl_ms: u64::MAX,
            symbols: seats.iter().map(|seat| seat.channel.key().symbol.clone()).collect(),
            repeat_last: true,
        };
        let bytes = tickcast_bus::encode_lease(&lease).len();
        assert!((LEASE_BYTES_MAX * 9 / 10..1024 * 1024 - 64 * 1024).contains(&bytes), "{bytes} bytes");
        let other = ChannelKey { venue: VenueId::new("ib").unwrap(), ..long(0) };
        assert!(hub.has_room(&other, 0), "each venue has a lease of its own");
        let gone = seats.pop().unwrap().channel.key().clone();
        let next = long(1_000_000);
        assert!(!hub.has_room(&next, 0) && hub.remove_idle(&gone) && hub.has_room(&next, 0));
    }

    /// Counts what a reader got of one channel.
    struct Counted {
        seat: Seat,
        reading: Reading,
        joined: u64,
        has_begun: bool,
        delivered: u64,
        missed: u64,
        last: u64,
    }

    impl Counted {
        fn read(&mut self, items: usize) {
            self.seat.follow();
            for _ in 0..items {
                let Some(step) = self.seat.feed().next(&mut self.reading) else { break };
                let (begins, position) = match step {
                    Step::Snapshot(frame) => (true, frame.position),
                    Step::Tick(frame) => (false, frame.position),
                    Step::Gap(gap) => {
                        assert_eq!(gap.from, self.last + 1);
                        self.last = gap.to;
                        self.missed += gap.missed();
                        continue;
                    }
                    Step::Merged(_) | Step::State(_) => continue,
                };
                if begins && self.joined > 0 && !self.has_begun {
                    assert_eq!((self.delivered, self.missed), (0, 0), "the snapshot comes first");
                    if position.seq != self.joined {
                        let newest = self.seat.feed().last().map(|frame| frame.position.seq);
                        assert_eq!(
                            Some(position.seq),
                            newest,
                            "lapped before it began, it begins with the newest"
                        );
                    }
                    (self.has_begun, self.joined, self.last) = (true, position.seq, position.seq);
                    continue;
                }
                assert_eq!(position.seq, self.last + 1);
                self.last = position.seq;
                self.delivered += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn every_reader_of_every_channel_gets_or_misses_each_tick_once(
            ring in 1usize..6,
            ops in proptest::collection::vec((0u8..7, 0usize..3, 0usize..8, 0u64..3), 1..200),
        ) {
            let (hub, _) = hub(ring);
            let names = ["A", "B", "C"];
            let mut seqs = [0u64; 3];
            let mut seats: Vec<(usize, Counted)> = Vec::new();
            // One seat each keeps the channels, as linger would.
            let _keep = names.map(|name| hub.join(&key(name), Arc::new(Marks::default()), 0));
            for (op, channel, n, skip) in ops {
                match op {
                    0..=2 => {
                        // The very first tick sets where the numbering starts for those who wait for it.
                        seqs[channel] += 1 + if seqs[channel] == 0 { 0 } else { skip };
                        hub.channel(&key(names[channel])).unwrap().publish(&tick(names[channel], seqs[channel]), 0);
                    }
                    3 => {
                        let mut seat = hub.join(&key(names[channel]), Arc::new(Marks::default()), 0);
                        let reading = seat.join(n % 2 == 0);
                        let joined = seqs[channel];
                        seats.push((channel, Counted { seat, reading, joined, has_begun: false, delivered: 0, missed: 0, last: joined }));
                    }
                    // History has all of it, or what is left of it.
                    6 => {
                        let kept = (1..=seqs[channel]).filter(|seq| n > 3 || seq % 3 != skip);
                        let events: Vec<_> = kept.map(|seq| tick(names[channel], seq)).collect();
                        hub.channel(&key(names[channel])).unwrap().fill(&events, 0, 0);
                    }
                    4 => if !seats.is_empty() { seats.swap_remove(n % seats.len()); },
                    _ => if !seats.is_empty() {
                        let index = n % seats.len();
                        seats[index].1.read(n);
                    },
                }
            }
            for (channel, counted) in &mut seats {
                counted.read(usize::MAX);
                prop_assert_eq!(counted.delivered + counted.missed, seqs[*channel] - counted.joined);
            }
        }
    }
}
