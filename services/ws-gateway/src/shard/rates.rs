/// When the symbols one client has in mode `latest` may be told of next. The times are the shard's milliseconds.
#[derive(Default)]
pub(super) struct Rates {
    /// In the order of the channels' numbers.
    all: Vec<Rated>,
    /// When the client is looked at for the next of them; at or before each time that is to come.
    pub(super) alarm_ms: Option<u64>,
}

struct Rated {
    channel: u32,
    interval_ms: u16,
    open_from_ms: u64,
}

impl Rates {
    /// Sets how far apart a channel's ticks are at least; the last one counts.
    pub(super) fn set(&mut self, channel: u32, interval_ms: u16) {
        match self.place(channel) {
            Ok(place) => {
                let rated = &mut self.all[place];
                let last_ms = rated.open_from_ms.saturating_sub(rated.interval_ms.into());
                *rated = Rated { channel, interval_ms, open_from_ms: last_ms + u64::from(interval_ms) };
            }
            Err(place) => self.all.insert(place, Rated { channel, interval_ms, open_from_ms: 0 }),
        }
    }

    /// The channel is read otherwise, or not at all.
    pub(super) fn remove(&mut self, channel: u32) {
        if let Ok(place) = self.place(channel) {
            self.all.remove(place);
        }
    }

    /// How far apart a channel's ticks are at least.
    pub(super) fn interval_ms(&self, channel: u32) -> Option<u16> {
        self.place(channel).ok().map(|place| self.all[place].interval_ms)
    }

    /// Whether a channel may be told of now.
    pub(super) fn is_open(&self, channel: u32, now_ms: u64) -> bool {
        self.place(channel).is_ok_and(|place| self.all[place].open_from_ms <= now_ms)
    }

    /// A channel was told of.
    pub(super) fn told(&mut self, channel: u32, now_ms: u64) {
        if let Ok(place) = self.place(channel) {
            let rated = &mut self.all[place];
            rated.open_from_ms = now_ms + u64::from(rated.interval_ms);
        }
    }

    /// The next time at which a channel opens.
    pub(super) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        self.all.iter().map(|rated| rated.open_from_ms).filter(|open_from_ms| *open_from_ms > now_ms).min()
    }

    fn place(&self, channel: u32) -> Result<usize, usize> {
        self.all.binary_search_by_key(&channel, |rated| rated.channel)
    }
}
