//! Bars of bid prices: when a period opens, how ticks fold into a bar (facts 3.7, 3.8).

use std::collections::VecDeque;

use crate::wire::{ProtoOaTrendbar, ProtoOaTrendbarPeriod as Period};

/// Closed one-minute bars kept per symbol: a day.
const MINUTES_KEPT: usize = 1_440;
const DAY: i64 = 1_440;

/// One bar, prices x 100000.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bar {
    /// Open time, Unix minutes.
    pub(crate) opened: i64,
    open: u64,
    high: u64,
    low: u64,
    close: u64,
    /// Updates of either side.
    volume: i64,
}

impl Bar {
    fn new(opened: i64, bid: u64) -> Self {
        Self { opened, open: bid, high: bid, low: bid, close: bid, volume: 0 }
    }

    fn update(&mut self, bid: u64, sides: i64) {
        self.high = self.high.max(bid);
        self.low = self.low.min(bid);
        self.close = bid;
        self.volume += sides;
    }

    fn absorb(&mut self, later: &Self) {
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume += later.volume;
    }

    /// As a live bar: names its period, leaves the close to the bid of its event.
    pub(crate) fn live(&self, period: Period) -> ProtoOaTrendbar {
        ProtoOaTrendbar { period: Some(period.into()), delta_close: None, ..self.closed() }
    }

    /// As a bar of history: leaves the period to the answer.
    pub(crate) fn closed(&self) -> ProtoOaTrendbar {
        ProtoOaTrendbar {
            volume: self.volume,
            period: None,
            low: i64::try_from(self.low).ok(),
            delta_open: Some(self.open - self.low),
            delta_close: Some(self.close - self.low),
            delta_high: Some(self.high - self.low),
            utc_timestamp_in_minutes: u32::try_from(self.opened).ok(),
        }
    }
}

/// The bars of one symbol: minutes of the last day, and the forming bar of each period somebody asked for.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    minutes: VecDeque<Bar>,
    forming: Vec<(Period, Bar)>,
}

impl Bars {
    /// Folds in one event: the bid after it and how many sides it carried.
    pub(crate) fn update(&mut self, unix_ms: i64, bid: u64, sides: i64) {
        let minute = unix_ms.div_euclid(60_000);
        match self.minutes.back_mut() {
            Some(bar) if bar.opened >= minute => bar.update(bid, sides),
            _ => {
                // One more than kept: the last one is still forming.
                if self.minutes.len() > MINUTES_KEPT {
                    self.minutes.pop_front();
                }
                let mut bar = Bar::new(minute, bid);
                bar.update(bid, sides);
                self.minutes.push_back(bar);
            }
        }
        for (period, bar) in &mut self.forming {
            let opened = opening(*period, minute);
            if opened > bar.opened {
                *bar = Bar::new(opened, bid);
            }
            bar.update(bid, sides);
        }
    }

    /// Starts keeping the forming bar of a period.
    pub(crate) fn follow(&mut self, period: Period, unix_ms: i64, bid: u64) {
        if self.forming(period).is_none() {
            let opened = opening(period, unix_ms.div_euclid(60_000));
            let known = self.folded(period).into_iter().next_back().filter(|bar| bar.opened == opened);
            self.forming.push((period, known.unwrap_or(Bar::new(opened, bid))));
        }
    }

    /// The forming bar of a period that is followed.
    pub(crate) fn forming(&self, period: Period) -> Option<&Bar> {
        self.forming.iter().find(|(kept, _)| *kept == period).map(|(_, bar)| bar)
    }

    /// The closed bars of a period, oldest first, as far as the kept minutes reach.
    pub(crate) fn closed(&self, period: Period, unix_ms: i64) -> Vec<Bar> {
        let now = opening(period, unix_ms.div_euclid(60_000));
        let mut bars = self.folded(period);
        bars.retain(|bar| bar.opened < now);
        bars
    }

    fn folded(&self, period: Period) -> Vec<Bar> {
        let mut bars: Vec<Bar> = Vec::new();
        for minute in &self.minutes {
            let opened = opening(period, minute.opened);
            match bars.last_mut() {
                Some(bar) if bar.opened == opened => bar.absorb(minute),
                _ => bars.push(Bar { opened, ..*minute }),
            }
        }
        bars
    }
}

/// When the bar of `period` that holds `minute` opened; both Unix minutes.
///
/// Periods of up to an hour align with the epoch; longer ones with 17:00 in New York, where the trading day begins
/// (facts 3.8). A week begins with the day that opens on Sunday, a month with the day whose date is its first.
pub(crate) fn opening(period: Period, minute: i64) -> i64 {
    let aligned = |length: i64| minute - minute.rem_euclid(length);
    let in_day = |length: i64| {
        let day = day_opening(minute);
        day + (minute - day) / length * length
    };
    match period {
        Period::M1 => minute,
        Period::M2 => aligned(2),
        Period::M3 => aligned(3),
        Period::M4 => aligned(4),
        Period::M5 => aligned(5),
        Period::M10 => aligned(10),
        Period::M15 => aligned(15),
        Period::M30 => aligned(30),
        Period::H1 => aligned(60),
        Period::H4 => in_day(240),
        Period::H12 => in_day(720),
        Period::D1 => day_opening(minute),
        Period::W1 => {
            let date = day_opening(minute).div_euclid(DAY);
            opening_on(date - weekday(date))
        }
        Period::Mn1 => {
            // The trading day is named after the date it ends on.
            let date = day_opening(minute).div_euclid(DAY) + 1;
            let (_, _, day) = civil(date);
            opening_on(date - day)
        }
    }
}

/// The last opening of a trading day at or before `minute`.
fn day_opening(minute: i64) -> i64 {
    let date = minute.div_euclid(DAY);
    let today = opening_on(date);
    if today <= minute { today } else { opening_on(date - 1) }
}

/// The minute of 17:00 in New York on a date (days since 1970-01-01).
fn opening_on(date: i64) -> i64 {
    let (year, _, _) = civil(date);
    let hour = if (summer_begins(year)..summer_ends(year)).contains(&date) { 21 } else { 22 };
    date * DAY + hour * 60
}

/// The second Sunday in March.
fn summer_begins(year: i64) -> i64 {
    sunday_from(date_of(year, 3, 8))
}

/// The first Sunday in November.
fn summer_ends(year: i64) -> i64 {
    sunday_from(date_of(year, 11, 1))
}

fn sunday_from(date: i64) -> i64 {
    date + (7 - weekday(date)) % 7
}

/// Days since the last Sunday; 1970-01-01 was a Thursday.
fn weekday(date: i64) -> i64 {
    (date + 4).rem_euclid(7)
}

/// Days since 1970-01-01 of a date, in years that begin in March so that the leap day comes last.
fn date_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(date: i64) -> (i64, i64, i64) {
    let shifted = date + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> i64 {
        date_of(year, month, day) * DAY + hour * 60 + minute
    }

    #[test]
    fn dates_go_there_and_back() {
        assert_eq!(date_of(1970, 1, 1), 0);
        assert_eq!(date_of(2000, 3, 1), 11_017);
        for date in (-200_000..200_000).step_by(13) {
            let (year, month, day) = civil(date);
            assert_eq!(date_of(year, month, day), date);
        }
    }

    #[test]
    fn short_periods_align_with_the_epoch() {
        let minute = at(2026, 11, 20, 18, 47);
        assert_eq!(opening(Period::M5, minute), at(2026, 11, 20, 18, 45));
        assert_eq!(opening(Period::M30, minute), at(2026, 11, 20, 18, 30));
        assert_eq!(opening(Period::H1, minute), at(2026, 11, 20, 18, 0));
    }

    #[test]
    fn long_periods_follow_new_york_through_the_year() {
        let winter = at(2026, 11, 20, 18, 47);
        assert_eq!(opening(Period::D1, winter), at(2026, 11, 19, 22, 0));
        assert_eq!(opening(Period::H4, winter), at(2026, 11, 20, 18, 0));
        assert_eq!(opening(Period::H12, winter), at(2026, 11, 20, 10, 0));
        assert_eq!(opening(Period::W1, winter), at(2026, 11, 15, 22, 0));
        assert_eq!(opening(Period::Mn1, winter), at(2026, 10, 31, 21, 0));
        let summer = at(2026, 7, 1, 3, 0);
        assert_eq!(opening(Period::D1, summer), at(2026, 6, 30, 21, 0));
        assert_eq!(opening(Period::Mn1, summer), at(2026, 6, 30, 21, 0));
        assert_eq!(opening(Period::D1, at(2026, 3, 8, 20, 59)), at(2026, 3, 7, 22, 0));
        assert_eq!(opening(Period::D1, at(2026, 3, 8, 21, 0)), at(2026, 3, 8, 21, 0));
    }

    #[test]
    fn a_live_bar_counts_sides_and_leaves_the_close_to_the_event() {
        let mut bars = Bars::default();
        let minute = at(2026, 11, 20, 18, 47);
        bars.follow(Period::M1, minute * 60_000, 114_811);
        for (bid, sides) in [(114_811, 2), (114_815, 1), (114_809, 1), (114_810, 2)] {
            bars.update(minute * 60_000 + 500, bid, sides);
        }
        let bar = bars.forming(Period::M1).unwrap().live(Period::M1);
        assert_eq!(
            (bar.volume, bar.low, bar.delta_open, bar.delta_high),
            (6, Some(114_809), Some(2), Some(6))
        );
        assert_eq!((bar.period(), bar.delta_close), (Period::M1, None));
        assert_eq!(i64::from(bar.utc_timestamp_in_minutes()), minute);
    }

    #[test]
    fn minutes_fold_into_longer_bars_and_only_closed_ones_are_history() {
        let mut bars = Bars::default();
        let start = at(2026, 11, 20, 18, 45);
        for minute in 0..7 {
            bars.update((start + minute) * 60_000, 100 + u64::try_from(minute).unwrap(), 1);
        }
        let now_ms = (start + 6) * 60_000;
        let five = bars.closed(Period::M5, now_ms);
        assert_eq!(five.len(), 1);
        let bar = five[0].closed();
        assert_eq!(
            (bar.low, bar.delta_open, bar.delta_close, bar.delta_high),
            (Some(100), Some(0), Some(4), Some(4))
        );
        assert_eq!((bar.volume, bar.period), (5, None));
        assert_eq!(bars.closed(Period::M1, now_ms).len(), 6);
        bars.follow(Period::M5, now_ms, 106);
        assert_eq!(bars.forming(Period::M5).unwrap().volume, 2);
    }

    #[test]
    fn kept_minutes_are_bounded() {
        let mut bars = Bars::default();
        for minute in 0..3_000 {
            bars.update(minute * 60_000, 5, 1);
        }
        assert_eq!(bars.minutes.len(), MINUTES_KEPT + 1);
    }
}
