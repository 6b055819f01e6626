//! The market all connections share: one random walk per instrument, moving only while somebody watches.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use sim_kit::fault::Which;
use sim_kit::{ConnectionId, Now};

use crate::calendar::{self, GRID_MS};
use crate::catalogue::{Catalogue, Instrument};

/// A walk further behind its schedule than this (a suspended machine) drops the missed part.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// How often an instrument that is kept from moving looks whether it may again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The last state of an instrument; prices in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Steps of this walk so far.
    pub seq: u64,
    /// Last price.
    pub last: i64,
    /// Its time, Unix milliseconds.
    pub at_ms: i64,
    /// Best bid.
    pub bid: i64,
    /// Best ask; never below the bid.
    pub ask: i64,
    /// Size at the bid.
    pub bid_size: i64,
    /// Size at the ask.
    pub ask_size: i64,
    /// Volume of the day.
    pub volume: i64,
    /// First price of the day.
    pub open: i64,
    /// Highest price of the day.
    pub high: i64,
    /// Lowest price of the day.
    pub low: i64,
    /// Last price of the day before.
    pub prev_close: i64,
}

/// What a step changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moved {
    /// A trade: last price, its time, volume.
    Trade,
    /// The best prices and their sizes.
    Book,
    /// Volume and nothing else.
    Volume,
    /// The time of the last price and nothing else.
    Time,
}

/// One step of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) at: usize,
    pub(crate) moved: Moved,
}

/// Who is told of an instrument: a key of a quote session, or a series of a chart session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Watcher {
    pub(crate) id: ConnectionId,
    pub(crate) session: Arc<str>,
    pub(crate) what: Arc<str>,
}

#[derive(Debug)]
struct Walk {
    rng: Rng,
    quote: Quote,
    watchers: Vec<Watcher>,
    /// Counts starts, so that a step scheduled before the last stop is recognised.
    run: u32,
}

#[derive(Debug)]
pub(crate) struct Market {
    catalogue: Catalogue,
    walks: Vec<Walk>,
    /// When each moving instrument steps next: due, position, run.
    steps: BinaryHeap<Reverse<(Duration, usize, u32)>>,
    gap_us: u64,
    /// Instruments that are kept from trading.
    closed: Option<Which>,
    /// Where markets open and close: the time their phases were last looked at, Unix milliseconds, and when next.
    clock: Option<(i64, Duration)>,
}

impl Market {
    /// Each watched instrument moves so many times a second on average, and so many times more slowly than that.
    pub(crate) fn new(catalogue: Catalogue, (ticks_per_s, slower): (u32, u32), seed: u64) -> Self {
        let walk = |(position, instrument): (usize, &Instrument)| Walk {
            rng: Rng::with_seed(seed ^ (position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            quote: Quote::first(instrument),
            watchers: Vec::new(),
            run: 0,
        };
        let walks = catalogue.instruments().iter().enumerate().map(walk).collect();
        let gap_us = 1_000_000 * u64::from(slower.max(1)) / u64::from(ticks_per_s.clamp(1, 1_000_000));
        Self { catalogue, walks, steps: BinaryHeap::new(), gap_us, closed: None, clock: None }
    }

    /// The same with markets that open and close.
    pub(crate) fn with_calendar(self, calendar: bool) -> Self {
        Self { clock: calendar.then_some((0, Duration::ZERO)), ..self }
    }

    /// Looks at the time; true where phases may have changed.
    pub(crate) fn turn(&mut self, now: Now) -> bool {
        let Some((unix_ms, next)) = &mut self.clock else { return false };
        if now.elapsed < *next {
            return false;
        }
        let left_ms = GRID_MS - now.unix_ms.rem_euclid(GRID_MS);
        (*unix_ms, *next) = (now.unix_ms, now.elapsed + Duration::from_millis(left_ms.unsigned_abs()));
        true
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Closes instruments, or opens all of them.
    pub(crate) fn close(&mut self, which: Option<Which>) {
        self.closed = which;
    }

    pub(crate) fn is_closed(&self, at: usize) -> bool {
        self.is_halted(at) || self.phase(at) != "market"
    }

    /// True where it is kept from trading, whatever the calendar says.
    pub(crate) fn is_halted(&self, at: usize) -> bool {
        self.closed.as_ref().is_some_and(|which| which.has(at))
    }

    /// What the calendar says, as a `current_session`.
    pub(crate) fn phase(&self, at: usize) -> &'static str {
        self.clock.map_or("market", |(unix_ms, _)| calendar::phase(self.instrument(at).kind, unix_ms))
    }

    pub(crate) fn instrument(&self, at: usize) -> &Instrument {
        &self.catalogue.instruments()[at]
    }

    pub(crate) fn quote(&self, at: usize) -> Quote {
        self.walks[at].quote
    }

    pub(crate) fn watchers(&self, at: usize) -> &[Watcher] {
        &self.walks[at].watchers
    }

    /// Somebody begins to watch an instrument; the first one sets it moving.
    pub(crate) fn watch(&mut self, at: usize, watcher: Watcher, now: Now) {
        let (gap_us, is_closed) = (self.gap_us, self.is_closed(at));
        let walk = &mut self.walks[at];
        if walk.watchers.is_empty() {
            // The market went on while nobody looked: its last price is a little old, never older than one told.
            if !is_closed || walk.quote.at_ms == 0 {
                walk.quote.at_ms = walk.quote.at_ms.max(now.unix_ms - walk.rng.i64(0..=2_000));
            }
            walk.run = walk.run.wrapping_add(1);
            let due = now.elapsed + gap(&mut walk.rng, gap_us);
            self.steps.push(Reverse((due, at, walk.run)));
        }
        walk.watchers.push(watcher);
    }

    /// Somebody watches an instrument no longer.
    pub(crate) fn unwatch(&mut self, at: usize, watcher: &Watcher) {
        let walk = &mut self.walks[at];
        if walk.watchers.is_empty() {
            return;
        }
        walk.watchers.retain(|one| one != watcher);
        if walk.watchers.is_empty() {
            walk.run = walk.run.wrapping_add(1);
        }
    }

    /// When the next step is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let step = self.steps.peek().map(|Reverse((due, ..))| *due);
        step.into_iter().chain(self.clock.map(|(_, next)| next)).min()
    }

    /// Moves an instrument once, due or not.
    pub(crate) fn jolt(&mut self, at: usize, now: Now) -> Step {
        let moved = self.walks[at].step(&self.catalogue.instruments()[at], now.unix_ms);
        Step { at, moved }
    }

    /// Lets the last price jump by so many percent of itself.
    pub(crate) fn jump(&mut self, at: usize, percent: i64, now: Now) {
        let spread = self.catalogue.instruments()[at].spread;
        let quote = &mut self.walks[at].quote;
        quote.trade((quote.last + quote.last * percent / 100).max(1), now.unix_ms);
        (quote.bid, quote.ask) = (quote.last, quote.last + spread);
    }

    /// Takes the next step that is due, if any.
    pub(crate) fn step(&mut self, now: Now) -> Option<Step> {
        loop {
            let Reverse((due, at, run)) = *self.steps.peek()?;
            if due > now.elapsed {
                return None;
            }
            self.steps.pop();
            if self.walks[at].run != run {
                continue;
            }
            if self.is_closed(at) {
                let next = self.clock.filter(|_| !self.is_halted(at)).map(|(_, next)| next);
                let look_at = next.unwrap_or_default().max(now.elapsed + LOOK_EVERY);
                self.steps.push(Reverse((look_at, at, run)));
                continue;
            }
            // From the time it was due, so that a late call does not slow the market down.
            let from = due.max(now.elapsed.saturating_sub(BEHIND_MAX));
            let gap = gap(&mut self.walks[at].rng, self.gap_us);
            self.steps.push(Reverse((from + gap, at, run)));
            return Some(self.jolt(at, now));
        }
    }
}

impl Quote {
    fn first(instrument: &Instrument) -> Self {
        let (last, spread) = (instrument.start, instrument.spread);
        let prev_close = last - last / 800 - 1;
        Self {
            seq: 0,
            last,
            at_ms: 0,
            bid: last - spread / 2,
            ask: last + spread - spread / 2,
            bid_size: 100,
            ask_size: 100,
            volume: 81_234,
            open: prev_close,
            high: last,
            low: prev_close,
            prev_close,
        }
    }

    fn trade(&mut self, price: i64, unix_ms: i64) {
        self.last = price;
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        // Time never runs backwards within an instrument, whatever the wall clock does.
        self.at_ms = self.at_ms.max(unix_ms);
    }
}

impl Walk {
    fn step(&mut self, instrument: &Instrument, unix_ms: i64) -> Moved {
        let (low, high) = (instrument.start / 2, instrument.start * 2);
        let (rng, quote) = (&mut self.rng, &mut self.quote);
        quote.seq += 1;
        let moved = match rng.u8(..100) {
            0..5 if instrument.volume => Moved::Volume,
            5..10 => Moved::Time,
            10..45 if instrument.spread > 0 => Moved::Book,
            _ => Moved::Trade,
        };
        match moved {
            Moved::Volume => quote.volume += rng.i64(1..50),
            Moved::Time => quote.at_ms = quote.at_ms.max(unix_ms),
            Moved::Book => {
                let spread = rng.i64(
                    instrument.spread.div_euclid(2).max(1)..=instrument.spread + instrument.spread / 2 + 1,
                );
                quote.bid = (quote.last - rng.i64(0..=spread)).max(1);
                quote.ask = quote.bid + spread;
                quote.bid_size = rng.i64(1..1_000);
                quote.ask_size = rng.i64(1..1_000);
            }
            Moved::Trade => {
                let reach = instrument.spread.clamp(2, 50);
                let price = (quote.last + rng.i64(-reach..=reach)).clamp(low, high);
                quote.trade(price, unix_ms);
                if instrument.volume {
                    quote.volume += rng.i64(1..50);
                }
            }
        }
        moved
    }
}

/// The time to the next step: bursts of about five close together, then a pause; `mean_us` on average.
fn gap(rng: &mut Rng, mean_us: u64) -> Duration {
    let percent = if rng.u8(..100) < 80 { rng.u64(10..=50) } else { rng.u64(160..=600) };
    Duration::from_micros(mean_us * percent / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(ms: u64) -> Now {
        Now { elapsed: Duration::from_millis(ms), unix_ms: 1_789_757_000_000 + i64::try_from(ms).unwrap() }
    }

    fn watcher(number: u64) -> Watcher {
        Watcher { id: ConnectionId::from_number(number), session: "qs_1".into(), what: "X".into() }
    }

    fn run(market: &mut Market, until_ms: u64) -> Vec<(Step, Quote)> {
        let mut steps = Vec::new();
        for ms in 0..=until_ms {
            while let Some(step) = market.step(now(ms)) {
                steps.push((step, market.quote(step.at)));
            }
        }
        steps
    }

    #[test]
    fn only_what_is_watched_moves() {
        let mut market = Market::new(Catalogue::new(10), (20, 1), 1);
        assert_eq!(market.deadline(), None);
        market.watch(3, watcher(1), now(0));
        market.watch(3, watcher(2), now(0));
        assert!(run(&mut market, 1_000).iter().all(|(step, _)| step.at == 3));
        market.unwatch(3, &watcher(1));
        assert!(market.step(now(2_000)).is_some());
        market.unwatch(3, &watcher(2));
        assert_eq!((market.step(now(60_000)), market.deadline()), (None, None));
    }

    #[test]
    fn the_mean_rate_is_as_asked_and_the_book_never_crosses() {
        let mut market = Market::new(Catalogue::new(40), (20, 1), 7);
        (0..40).for_each(|at| market.watch(at, watcher(1), now(0)));
        let steps = run(&mut market, 20_000);
        let expected = 40 * 20 * 20;
        assert!(steps.len().abs_diff(expected) < expected / 20, "{}", steps.len());
        for wanted in [Moved::Trade, Moved::Book, Moved::Volume, Moved::Time] {
            assert!(
                steps.iter().filter(|(step, _)| step.moved == wanted).count() > steps.len() / 50,
                "{wanted:?}"
            );
        }
        for (step, quote) in &steps {
            let instrument = market.instrument(step.at);
            assert!(quote.bid <= quote.ask && quote.bid > 0 && quote.last > 0, "{quote:?}");
            assert!(quote.low <= quote.last && quote.last <= quote.high);
            assert!(step.moved != Moved::Book || instrument.spread > 0);
        }
    }

    #[test]
    fn a_seed_gives_the_same_walk_whatever_else_is_watched() {
        let walk = |others: std::ops::Range<usize>| {
            let mut market = Market::new(Catalogue::new(20), (20, 1), 11);
            market.watch(5, watcher(1), now(0));
            others.for_each(|at| market.watch(at, watcher(1), now(0)));
            run(&mut market, 3_000).into_iter().filter(|(step, _)| step.at == 5).collect::<Vec<_>>()
        };
        assert_eq!(walk(0..0), walk(6..20));
    }

    #[test]
    fn a_long_sleep_is_not_made_up_for() {
        let mut market = Market::new(Catalogue::new(1), (20, 1), 5);
        market.watch(0, watcher(1), now(0));
        let steps = std::iter::from_fn(|| market.step(now(3_600_000))).count();
        assert!((5..60).contains(&steps), "{steps}");
    }
}
