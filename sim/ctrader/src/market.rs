//! The market all connections share: one random walk per symbol, moving only while somebody watches.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use sim_kit::fault::Which;
use sim_kit::{ConnectionId, Now};

use crate::bars::Bars;
use crate::catalogue::{Catalogue, Change, Listing};
use crate::hours::Calendar;
use crate::recording::{Recording, Track};

/// Past quotes kept per symbol for history.
const QUOTES_KEPT: usize = 512;

/// A walk further behind its schedule than this (a suspended machine) drops the missed part.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// The longest an unwatched symbol pretends to have been without a quote.
const QUIET_MS_MAX: i64 = 3_000;

/// How often a symbol that is kept from moving looks whether it may again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same where the calendar says when.
const LOOK_EVERY_CLOSED: Duration = Duration::from_secs(600);

/// The last state of a symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Events of this symbol so far, whoever watched.
    pub seq: u64,
    /// Bid x 100000.
    pub bid: u64,
    /// Ask x 100000; never below the bid.
    pub ask: u64,
    /// Time of the last quote, Unix milliseconds.
    pub at_ms: i64,
}

/// What one step of a walk tells: an absent side is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QuoteEvent {
    pub(crate) symbol: usize,
    pub(crate) at_ms: i64,
    pub(crate) bid: Option<u64>,
    pub(crate) ask: Option<u64>,
}

/// Who watches a symbol: an account on a connection.
pub(crate) type Watcher = (ConnectionId, i64);

#[derive(Debug)]
struct Walk {
    rng: Rng,
    quote: Quote,
    bars: Bars,
    past: VecDeque<QuoteEvent>,
    watchers: Vec<Watcher>,
    /// Counts starts, so that a step scheduled before the last stop is recognised.
    run: u32,
    /// What is played in place of a walk, and the number of its next event.
    track: Option<Track>,
    next: usize,
}

#[derive(Debug)]
pub(crate) struct Market {
    catalogue: Catalogue,
    walks: Vec<Walk>,
    /// When each moving symbol steps next: due, symbol, run.
    steps: BinaryHeap<Reverse<(Duration, usize, u32)>>,
    gap_us: u64,
    /// Symbols without quotes, and since when, Unix milliseconds.
    halt: Option<(Which, i64)>,
    calendar: Calendar,
}

impl Market {
    pub(crate) fn new(catalogue: Catalogue, ticks_per_s: u32, seed: u64) -> Self {
        let walk = |(position, listing): (usize, &Listing)| {
            let rng = Rng::with_seed(seed ^ (position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let ask = listing.start + listing.spread_ticks * listing.tick();
            Walk {
                rng,
                quote: Quote { seq: 0, bid: listing.start, ask, at_ms: 0 },
                bars: Bars::default(),
                past: VecDeque::new(),
                watchers: Vec::new(),
                run: 0,
                track: None,
                next: 0,
            }
        };
        let walks = catalogue.listings().iter().enumerate().map(walk).collect();
        let gap_us = 1_000_000 / u64::from(ticks_per_s.clamp(1, 1_000_000));
        Self { catalogue, walks, steps: BinaryHeap::new(), gap_us, halt: None, calendar: Calendar::default() }
    }

    /// Plays a recording in place of the walks of its symbols, each from its beginning whenever it is first watched.
    pub(crate) fn play(&mut self, recording: &Recording) {
        for (symbol, track) in recording.tracks() {
            let Some(symbol) = self.catalogue.named(symbol) else { continue };
            self.catalogue.set_session_close(symbol, track.session_close);
            let walk = &mut self.walks[symbol];
            (walk.quote.bid, walk.quote.ask) = (track.bid, track.ask);
            walk.track = Some(track.clone());
        }
    }

    /// Lets everything happen so many times more slowly.
    pub(crate) fn slower(mut self, times: u32) -> Self {
        self.gap_us = self.gap_us.saturating_mul(times.max(1).into());
        self
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    pub(crate) fn change(&mut self, symbol: usize, change: Change) {
        self.catalogue.change(symbol, change);
    }

    /// Keeps symbols from moving, or lets all of them move again.
    pub(crate) fn halt(&mut self, now: Now, which: Option<Which>) {
        self.halt = which.map(|which| (which, now.unix_ms));
    }

    pub(crate) fn quote(&self, symbol: usize) -> Quote {
        self.walks[symbol].quote
    }

    pub(crate) fn bars(&self, symbol: usize) -> &Bars {
        &self.walks[symbol].bars
    }

    /// Starts keeping a live bar of a symbol.
    pub(crate) fn follow(&mut self, symbol: usize, period: crate::wire::ProtoOaTrendbarPeriod, now: Now) {
        let walk = &mut self.walks[symbol];
        walk.bars.follow(period, now.unix_ms, walk.quote.bid);
    }

    /// Past quotes of a symbol, oldest first.
    pub(crate) fn past(&self, symbol: usize) -> impl DoubleEndedIterator<Item = &QuoteEvent> {
        self.walks[symbol].past.iter()
    }

    pub(crate) fn watchers(&self, symbol: usize) -> &[Watcher] {
        &self.walks[symbol].watchers
    }

    /// Somebody begins to watch a symbol; the first one sets it moving.
    pub(crate) fn watch(&mut self, symbol: usize, watcher: Watcher, now: Now) {
        let gap_us = self.gap_us;
        let closed_ms = self.closed(symbol, now).map(|(since_ms, _)| since_ms);
        let walk = &mut self.walks[symbol];
        if walk.watchers.is_empty() {
            // The market went on while nobody looked: the last quote is a little old, never older than one sent.
            let mut quiet_since = now.unix_ms - walk.rng.i64(0..=QUIET_MS_MAX);
            if let Some(closed_ms) = closed_ms {
                quiet_since = quiet_since.min(closed_ms);
            }
            walk.quote.at_ms = walk.quote.at_ms.max(quiet_since);
            walk.run = walk.run.wrapping_add(1);
            if let Some(track) = &walk.track {
                walk.next = 0;
                (walk.quote.bid, walk.quote.ask) = (track.bid, track.ask);
            }
            let due = now.elapsed + walk.gap(gap_us);
            self.steps.push(Reverse((due, symbol, walk.run)));
        }
        walk.watchers.push(watcher);
    }

    /// Somebody watches a symbol no longer.
    pub(crate) fn unwatch(&mut self, symbol: usize, watcher: Watcher) {
        let walk = &mut self.walks[symbol];
        walk.watchers.retain(|other| *other != watcher);
        if walk.watchers.is_empty() {
            walk.run = walk.run.wrapping_add(1);
        }
    }

    /// Where a symbol does not trade: since when, Unix milliseconds, and when to look again.
    fn closed(&mut self, symbol: usize, now: Now) -> Option<(i64, Duration)> {
        if let Some((_, since_ms)) = self.halt.as_ref().filter(|(which, _)| which.has(symbol)) {
            return Some((*since_ms, LOOK_EVERY));
        }
        if !self.catalogue.has_calendar() {
            return None;
        }
        let class = self.catalogue.listings()[symbol].class();
        let stretch = self.calendar.stretch(class, now.unix_ms);
        let left = Duration::from_millis((stretch.until_ms - now.unix_ms).unsigned_abs());
        // The wall clock may be set meanwhile.
        (!stretch.open).then(|| (stretch.from_ms, left.clamp(LOOK_EVERY, LOOK_EVERY_CLOSED)))
    }

    /// True while a symbol trades.
    pub(crate) fn is_open(&mut self, symbol: usize, now: Now) -> bool {
        self.closed(symbol, now).is_none()
    }

    /// When the next step is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.steps.peek().map(|Reverse((due, ..))| *due)
    }

    /// Moves a symbol once, due or not.
    pub(crate) fn jolt(&mut self, symbol: usize, now: Now) -> QuoteEvent {
        self.walks[symbol].step(&self.catalogue.listings()[symbol], symbol, now.unix_ms)
    }

    /// Takes the next step that is due, if any.
    pub(crate) fn step(&mut self, now: Now) -> Option<QuoteEvent> {
        loop {
            let Reverse((due, symbol, run)) = *self.steps.peek()?;
            if due > now.elapsed {
                return None;
            }
            self.steps.pop();
            let walk = &mut self.walks[symbol];
            if walk.run != run {
                continue;
            }
            if let Some((_, look_in)) = self.closed(symbol, now) {
                self.steps.push(Reverse((now.elapsed + look_in, symbol, run)));
                continue;
            }
            let walk = &mut self.walks[symbol];
            // From the time it was due, so that a late call does not slow the market down.
            let from = due.max(now.elapsed.saturating_sub(BEHIND_MAX));
            let event = walk.step(&self.catalogue.listings()[symbol], symbol, now.unix_ms);
            self.steps.push(Reverse((from + walk.gap(self.gap_us), symbol, run)));
            return Some(event);
        }
    }
}

impl Walk {
    fn step(&mut self, listing: &Listing, symbol: usize, unix_ms: i64) -> QuoteEvent {
        let (bid, ask) = match &self.track {
            Some(track) => {
                let event = track.event(self.next);
                self.next += 1;
                (event.bid, event.ask)
            }
            None => self.draw(listing),
        };
        let quote = &mut self.quote;
        quote.bid = bid.unwrap_or(quote.bid);
        quote.ask = ask.unwrap_or(quote.ask);
        quote.seq += 1;
        // Time never runs backwards within a symbol (facts 3.6), whatever the wall clock does.
        quote.at_ms = quote.at_ms.max(unix_ms);
        let event = QuoteEvent { symbol, at_ms: quote.at_ms, bid, ask };
        let sides = i64::from(bid.is_some()) + i64::from(ask.is_some());
        self.bars.update(quote.at_ms, quote.bid, sides);
        if self.past.len() == QUOTES_KEPT {
            self.past.pop_front();
        }
        self.past.push_back(event);
        event
    }

    /// The next move of the walk: bid and ask, where they change.
    fn draw(&mut self, listing: &Listing) -> (Option<u64>, Option<u64>) {
        let tick = listing.tick();
        let usual = listing.spread_ticks;
        let quote = self.quote;
        let (low, high) = (listing.start / 2, listing.start.saturating_mul(2));
        let reach = i64::try_from(usual.clamp(2, 50)).unwrap_or(2);
        // Now and then a known price is told again.
        let ticks = if self.rng.u8(..100) < 4 { 0 } else { self.rng.i64(-reach..=reach) };
        let moved = |price: u64| {
            let by = ticks.unsigned_abs() * tick;
            let price = if ticks < 0 { price.saturating_sub(by) } else { price + by };
            price.clamp(low, high)
        };
        let wide = 3 * usual * tick;
        match self.rng.u8(..100) {
            0..30 => (Some(moved(quote.bid).clamp(quote.ask.saturating_sub(wide), quote.ask)), None),
            30..60 => (None, Some(moved(quote.ask).clamp(quote.bid, quote.bid + wide))),
            60 => {
                let bid = moved(quote.bid);
                (Some(bid), Some(bid))
            }
            _ => {
                let bid = moved(quote.bid);
                let spread = self.rng.u64(usual.div_ceil(2)..=usual + usual / 2);
                (Some(bid), Some(bid + spread * tick))
            }
        }
    }

    /// The time to the next step.
    fn gap(&mut self, mean_us: u64) -> Duration {
        match &self.track {
            Some(track) => track.gap(self.next),
            None => gap(&mut self.rng, mean_us),
        }
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

    const ONE: Watcher = (ConnectionId::from_number(1), 7);
    const TWO: Watcher = (ConnectionId::from_number(2), 7);

    fn now(ms: u64) -> Now {
        Now { elapsed: Duration::from_millis(ms), unix_ms: 1_789_757_000_000 + i64::try_from(ms).unwrap() }
    }

    fn run(market: &mut Market, until_ms: u64) -> Vec<QuoteEvent> {
        let mut events = Vec::new();
        for ms in 0..=until_ms {
            while let Some(event) = market.step(now(ms)) {
                events.push(event);
            }
        }
        events
    }

    #[test]
    fn only_watched_symbols_move() {
        let mut market = Market::new(Catalogue::new(10), 20, 1);
        assert_eq!(market.deadline(), None);
        market.watch(3, ONE, now(0));
        market.watch(3, TWO, now(0));
        assert!(run(&mut market, 1_000).iter().all(|event| event.symbol == 3));
        market.unwatch(3, ONE);
        assert!(market.step(now(2_000)).is_some());
        market.unwatch(3, TWO);
        assert_eq!(market.step(now(60_000)), None);
        assert_eq!(market.deadline(), None);
    }

    #[test]
    fn the_mean_rate_is_as_asked_and_comes_in_bursts() {
        let mut market = Market::new(Catalogue::new(50), 20, 7);
        (0..50).for_each(|symbol| market.watch(symbol, ONE, now(0)));
        let events = run(&mut market, 20_000);
        let expected = 50 * 20 * 20;
        assert!(events.len().abs_diff(expected) < expected / 20, "{}", events.len());
        let times: Vec<i64> =
            events.iter().filter(|event| event.symbol == 0).map(|event| event.at_ms).collect();
        let gaps = || times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps().filter(|gap| *gap <= 26).count() > times.len() * 6 / 10);
        assert!(gaps().any(|gap| gap > 150));
    }

    #[test]
    fn quotes_mix_all_kinds_and_the_book_never_crosses() {
        let mut market = Market::new(Catalogue::new(80), 20, 3);
        (0..80).for_each(|symbol| market.watch(symbol, ONE, now(0)));
        let events = run(&mut market, 10_000);
        let share = |wanted: (bool, bool)| {
            let of_kind = |event: &&QuoteEvent| (event.bid.is_some(), event.ask.is_some()) == wanted;
            events.iter().filter(of_kind).count() * 100 / events.len()
        };
        assert!(share((true, false)) > 20 && share((false, true)) > 20 && share((true, true)) > 20);
        assert_eq!(share((false, false)), 0);
        let mut book: Vec<(u64, u64)> = Catalogue::new(80)
            .listings()
            .iter()
            .map(|listing| (listing.start, listing.start + listing.spread_ticks * listing.tick()))
            .collect();
        let (mut repeated, mut closed) = (0, 0);
        for event in &events {
            let (bid, ask) = &mut book[event.symbol];
            repeated += usize::from(event.bid == Some(*bid) || event.ask == Some(*ask));
            *bid = event.bid.unwrap_or(*bid);
            *ask = event.ask.unwrap_or(*ask);
            closed += usize::from(bid == ask);
            assert!(bid <= ask && *bid > 0);
            let tick = market.catalogue().listings()[event.symbol].tick();
            assert!(bid.is_multiple_of(tick) && ask.is_multiple_of(tick));
        }
        assert!(repeated > 0 && closed > 0);
        for (symbol, (bid, ask)) in book.into_iter().enumerate() {
            assert_eq!((market.quote(symbol).bid, market.quote(symbol).ask), (bid, ask));
        }
    }

    #[test]
    fn a_seed_gives_the_same_walk_whatever_else_is_watched() {
        let walk = |others: std::ops::Range<usize>| {
            let mut market = Market::new(Catalogue::new(20), 20, 11);
            market.watch(5, ONE, now(0));
            others.for_each(|symbol| market.watch(symbol, ONE, now(0)));
            run(&mut market, 3_000).into_iter().filter(|event| event.symbol == 5).collect::<Vec<_>>()
        };
        assert_eq!(walk(0..0), walk(6..20));
    }

    #[test]
    fn a_long_sleep_is_not_made_up_for() {
        let mut market = Market::new(Catalogue::new(1), 20, 5);
        market.watch(0, ONE, now(0));
        let events = std::iter::from_fn(|| market.step(now(3_600_000))).count();
        assert!((5..60).contains(&events), "{events}");
        assert!(market.past(0).count() <= QUOTES_KEPT);
    }
}
