use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use sim_kit::Now;

use crate::catalogue::Named;
use crate::say::Bar;

/// The most bars one series ever holds; history allows no more (facts 3.4).
pub(crate) const BARS_MAX: usize = 20_000;

/// What a client has on one chart.
#[derive(Debug, Default)]
pub(crate) struct ChartSession {
    /// What each name of the client's stands for; `None` = it was refused.
    pub(crate) symbols: BTreeMap<String, Option<Named>>,
    pub(crate) series: BTreeMap<Arc<str>, Series>,
}

/// The bars of one symbol on a chart.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) named: Named,
    pub(crate) turnaround: String,
    pub(crate) bar_s: i64,
    /// The index of the oldest bar: 0 at first, less when more history was asked for.
    pub(crate) first: i64,
    /// Oldest first; never empty.
    pub(crate) bars: Vec<Bar>,
    /// Tells the history, from the first bar backwards.
    pub(crate) past: Rng,
    pub(crate) volume: bool,
}

impl Series {
    /// A series of one bar, the one of this moment.
    pub(crate) fn new(
        named: Named,
        turnaround: &str,
        bar_s: i64,
        now: Now,
        price: f64,
        volume: bool,
        seed: u64,
    ) -> Self {
        let time = now.unix_ms.div_euclid(1_000).div_euclid(bar_s) * bar_s;
        let bar =
            Bar { time, open: price, high: price, low: price, close: price, volume: volume.then_some(1.0) };
        let past = Rng::with_seed(seed);
        Self { named, turnaround: turnaround.to_owned(), bar_s, first: 0, bars: vec![bar], past, volume }
    }

    /// Adds older bars in front; how many history had.
    pub(crate) fn load(&mut self, count: usize) -> usize {
        let count = count.min(BARS_MAX.saturating_sub(self.bars.len()));
        let mut older = Vec::with_capacity(count);
        let mut next = self.bars[0];
        let round = |price: f64| (price * 1e5).round() / 1e5;
        for _ in 0..count {
            let mut away = || 1.0 + (self.past.f64() - 0.5) / 500.0;
            let close = next.open;
            let open = round(close * away());
            let (high, low) = (open.max(close), open.min(close));
            next = Bar {
                time: next.time - self.bar_s,
                open,
                high: round(high * away().max(1.0)),
                low: round(low * away().min(1.0)),
                close,
                volume: self.volume.then(|| f64::from(self.past.u16(1..1_000))),
            };
            older.push(next);
        }
        older.reverse();
        self.first -= i64::try_from(older.len()).unwrap_or(0);
        let added = older.len();
        older.append(&mut self.bars);
        self.bars = older;
        added
    }

    /// The bar a trade belongs to, and whether it is a new one.
    pub(crate) fn trade(&mut self, price: f64, now: Now) -> (Bar, bool) {
        let time = now.unix_ms.div_euclid(1_000).div_euclid(self.bar_s) * self.bar_s;
        let last = self.bars.len() - 1;
        if time > self.bars[last].time {
            let open = self.bars[last].close;
            let (high, low) = (open.max(price), open.min(price));
            let bar = Bar { time, open, high, low, close: price, volume: self.volume.then_some(1.0) };
            self.bars.push(bar);
            if self.bars.len() > 2 * BARS_MAX {
                self.bars.drain(..BARS_MAX);
                self.first += i64::try_from(BARS_MAX).unwrap_or(0);
            }
            return (bar, true);
        }
        let bar = &mut self.bars[last];
        bar.high = bar.high.max(price);
        bar.low = bar.low.min(price);
        bar.close = price;
        bar.volume = bar.volume.map(|volume| volume + 1.0);
        (*bar, false)
    }
}
