//! When markets trade: weekly sessions and holidays on the clocks of a time zone (facts 3.10).
//!
//! Read off the wall clock minute by minute, so that a client's arithmetic is compared with something simpler.

use jiff::Timestamp;
use jiff::civil::{Date, Time, date};
use jiff::tz::TimeZone;

use crate::class::Class;
use crate::wire::{ProtoOaHoliday, ProtoOaInterval};

const MINUTE_MS: i64 = 60_000;
const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

/// How far away a change is looked for.
const LOOK_MINUTES: i64 = 8 * 24 * 60;

/// The weekly sessions of a class of symbols, and its holidays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hours {
    zone: &'static str,
    /// Seconds since Sunday 00:00, end exclusive.
    weekly: &'static [(u32, u32)],
    holidays: &'static [Holiday],
}

/// Hours without trading on a date, every year.
#[derive(Clone, Copy, Debug)]
struct Holiday {
    name: &'static str,
    month: i8,
    day: i8,
    /// Seconds of the day, end exclusive.
    closed: (u32, u32),
}

/// A stretch of time in which a market stays open or closed, Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    pub(crate) open: bool,
    /// Beginning, as far as it was looked for.
    pub(crate) from_ms: i64,
    /// End, exclusive, as far as it was looked for.
    pub(crate) until_ms: i64,
}

/// The stretches markets are in, worked out once for each.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    known: Vec<(Class, Stretch)>,
}

const CHRISTMAS: Holiday = Holiday { name: "Christmas Day", month: 12, day: 25, closed: (0, DAY) };
const NEW_YEAR: Holiday = Holiday { name: "New Year's Day", month: 1, day: 1, closed: (0, DAY) };
/// Shares close early.
const CHRISTMAS_EVE: Holiday =
    Holiday { name: "Christmas Eve", month: 12, day: 24, closed: (13 * HOUR, DAY) };

const ALWAYS: Hours = Hours { zone: "Europe/Moscow", weekly: &[(0, 7 * DAY)], holidays: &[] };
const FOREX: Hours = Hours {
    zone: "America/New_York",
    weekly: &[(17 * HOUR, 5 * DAY + 17 * HOUR)],
    holidays: &[CHRISTMAS, NEW_YEAR],
};
/// An hour's break each day.
const METALS: Hours = Hours {
    zone: "America/New_York",
    weekly: &[
        (18 * HOUR, DAY + 17 * HOUR),
        (DAY + 18 * HOUR, 2 * DAY + 17 * HOUR),
        (2 * DAY + 18 * HOUR, 3 * DAY + 17 * HOUR),
        (3 * DAY + 18 * HOUR, 4 * DAY + 17 * HOUR),
        (4 * DAY + 18 * HOUR, 5 * DAY + 17 * HOUR),
    ],
    holidays: &[CHRISTMAS, NEW_YEAR],
};
/// From one in the morning to eleven at night.
const INDICES: Hours = Hours {
    zone: "Europe/Berlin",
    weekly: &[
        (DAY + HOUR, DAY + 23 * HOUR),
        (2 * DAY + HOUR, 2 * DAY + 23 * HOUR),
        (3 * DAY + HOUR, 3 * DAY + 23 * HOUR),
        (4 * DAY + HOUR, 4 * DAY + 23 * HOUR),
        (5 * DAY + HOUR, 5 * DAY + 23 * HOUR),
    ],
    holidays: &[CHRISTMAS, NEW_YEAR],
};
/// From half past nine to four.
const SHARES: Hours = Hours {
    zone: "America/New_York",
    weekly: &[
        (DAY + 34_200, DAY + 16 * HOUR),
        (2 * DAY + 34_200, 2 * DAY + 16 * HOUR),
        (3 * DAY + 34_200, 3 * DAY + 16 * HOUR),
        (4 * DAY + 34_200, 4 * DAY + 16 * HOUR),
        (5 * DAY + 34_200, 5 * DAY + 16 * HOUR),
    ],
    holidays: &[CHRISTMAS, NEW_YEAR, CHRISTMAS_EVE],
};

impl Hours {
    /// The hours of a class of symbols; where markets never close, those of all of them.
    pub(crate) fn of(class: Class, calendar: bool) -> Self {
        if !calendar {
            return ALWAYS;
        }
        match class {
            Class::Forex => FOREX,
            Class::Metals | Class::Energies => METALS,
            Class::Indices => INDICES,
            Class::Shares => SHARES,
            Class::Crypto => Self { zone: "UTC", ..ALWAYS },
        }
    }

    pub(crate) fn zone(&self) -> String {
        self.zone.to_owned()
    }

    pub(crate) fn schedule(&self) -> Vec<ProtoOaInterval> {
        let interval = |(start_second, end_second): &(u32, u32)| ProtoOaInterval {
            start_second: *start_second,
            end_second: *end_second,
        };
        self.weekly.iter().map(interval).collect()
    }

    pub(crate) fn holidays(&self) -> Vec<ProtoOaHoliday> {
        let told = |(at, holiday): (usize, &Holiday)| ProtoOaHoliday {
            holiday_id: i64::try_from(at + 1).unwrap_or_default(),
            name: holiday.name.to_owned(),
            description: None,
            schedule_time_zone: self.zone(),
            holiday_date: days_since_epoch(date(2025, holiday.month, holiday.day)),
            is_recurring: true,
            start_second: i32::try_from(holiday.closed.0).ok(),
            end_second: i32::try_from(holiday.closed.1).ok(),
        };
        self.holidays.iter().enumerate().map(told).collect()
    }

    /// The stretch this time is in.
    pub(crate) fn stretch(&self, unix_ms: i64) -> Stretch {
        // A zone the database does not have, or a year beyond it, would be open.
        let zone = TimeZone::get(self.zone).unwrap_or(TimeZone::UTC);
        let minute = unix_ms.div_euclid(MINUTE_MS);
        let open = self.is_open(&zone, minute);
        let same = |minute: &i64| self.is_open(&zone, *minute) == open;
        let later = (1..=LOOK_MINUTES).map(|by| minute + by).take_while(same).last().unwrap_or(minute);
        let earlier = (1..=LOOK_MINUTES).map(|by| minute - by).take_while(same).last().unwrap_or(minute);
        Stretch { open, from_ms: earlier * MINUTE_MS, until_ms: (later + 1) * MINUTE_MS }
    }

    fn is_open(&self, zone: &TimeZone, minute: i64) -> bool {
        let Ok(at) = Timestamp::from_second(minute * 60) else { return true };
        let local = zone.to_datetime(at);
        let second = seconds_of(local.time());
        let weekday = local.weekday().to_sunday_zero_offset().unsigned_abs();
        let of_week = u32::from(weekday) * DAY + second;
        let holiday = |holiday: &Holiday| {
            (holiday.month, holiday.day) == (local.month(), local.day())
                && (holiday.closed.0..holiday.closed.1).contains(&second)
        };
        self.weekly.iter().any(|(from, to)| (*from..*to).contains(&of_week))
            && !self.holidays.iter().any(holiday)
    }
}

impl Calendar {
    /// The stretch a class of symbols is in; the one known is used as long as it lasts.
    pub(crate) fn stretch(&mut self, class: Class, unix_ms: i64) -> Stretch {
        let at = self.known.iter().position(|(known, _)| *known == class);
        if let Some(at) = at
            && (self.known[at].1.from_ms..self.known[at].1.until_ms).contains(&unix_ms)
        {
            return self.known[at].1;
        }
        let stretch = Hours::of(class, true).stretch(unix_ms);
        match at {
            Some(at) => self.known[at].1 = stretch,
            None => self.known.push((class, stretch)),
        }
        stretch
    }
}

fn seconds_of(time: Time) -> u32 {
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    u32::from(hour.unsigned_abs()) * HOUR
        + u32::from(minute.unsigned_abs()) * 60
        + u32::from(second.unsigned_abs())
}

fn days_since_epoch(day: Date) -> i64 {
    (day - date(1970, 1, 1)).get_days().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix_ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn check(class: Class, at: &str, open: bool, until: &str) {
        let stretch = Hours::of(class, true).stretch(unix_ms(at));
        let told = Timestamp::from_millisecond(stretch.until_ms).unwrap().to_string();
        assert_eq!((stretch.open, told.as_str()), (open, until), "{class:?} at {at}");
    }

    #[test]
    fn forex_follows_the_clocks_of_new_york() {
        check(Class::Forex, "2026-11-20T21:59:59Z", true, "2026-11-20T22:00:00Z");
        check(Class::Forex, "2026-11-20T22:00:00Z", false, "2026-11-22T22:00:00Z");
        check(Class::Forex, "2026-07-03T21:00:00Z", false, "2026-07-05T21:00:00Z");
        // Clocks change in the weekend of 8 March 2026.
        check(Class::Forex, "2026-03-07T12:00:00Z", false, "2026-03-08T21:00:00Z");
        check(Class::Forex, "2026-03-03T12:00:00Z", true, "2026-03-06T22:00:00Z");
    }

    #[test]
    fn indices_have_a_break_at_night_in_berlin() {
        check(Class::Indices, "2026-11-18T21:59:00Z", true, "2026-11-18T22:00:00Z");
        check(Class::Indices, "2026-11-18T23:30:00Z", false, "2026-11-19T00:00:00Z");
        check(Class::Indices, "2026-07-15T21:30:00Z", false, "2026-07-15T23:00:00Z");
    }

    #[test]
    fn holidays_and_short_days_are_closed_and_crypto_never_is() {
        check(Class::Forex, "2026-12-25T12:00:00Z", false, "2026-12-27T22:00:00Z");
        check(Class::Shares, "2026-12-24T17:59:00Z", true, "2026-12-24T18:00:00Z");
        check(Class::Shares, "2026-12-24T18:30:00Z", false, "2026-12-28T14:30:00Z");
        assert!(Hours::of(Class::Crypto, true).stretch(unix_ms("2026-12-26T12:00:00Z")).open);
        assert!(Hours::of(Class::Shares, false).stretch(unix_ms("2026-12-26T12:00:00Z")).open);
    }

    #[test]
    fn what_is_told_is_what_is_kept() {
        assert_eq!(days_since_epoch(date(2026, 11, 20)), 20_777);
        let hours = Hours::of(Class::Forex, true);
        assert_eq!((hours.zone().as_str(), hours.schedule().len()), ("America/New_York", 1));
        assert_eq!((hours.schedule()[0].start_second, hours.schedule()[0].end_second), (61_200, 493_200));
        assert_eq!(hours.holidays().len(), 2);
        let mut calendar = Calendar::default();
        for at in ["2026-11-20T21:59:59Z", "2026-11-20T22:00:00Z", "2026-11-23T00:00:00Z"].map(unix_ms) {
            assert_eq!(calendar.stretch(Class::Forex, at).open, hours.stretch(at).open);
        }
    }
}
