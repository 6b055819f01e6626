use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Why a schedule cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HoursError {
    /// The time zone is not in the tz database.
    #[error("no time zone is called {0:?}")]
    Zone(String),
    /// No session is left, or one lies outside the week.
    #[error("the schedule has no usable session")]
    Sessions,
    /// More sessions or holidays than any market has.
    #[error("the schedule is longer than {ENTRIES_MAX} entries")]
    TooLong,
}

/// Whether a market trades, and until when it stays so; `None` where no change is known for the weeks ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoursState {
    /// It trades.
    Open {
        /// Next closing, Unix milliseconds.
        until_ms: Option<i64>,
    },
    /// It does not.
    Closed {
        /// Next opening, Unix milliseconds.
        until_ms: Option<i64>,
    },
}

/// A time without trading on one day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holiday {
    /// IANA name of the zone the day is meant in.
    pub zone: String,
    /// The day, in days since 1970-01-01.
    pub day: i64,
    /// True where it comes back on the same date each year.
    pub yearly: bool,
    /// Beginning and end inside the day, in seconds from its midnight; `None` for all of it.
    pub seconds: Option<(u32, u32)>,
}

/// When a market trades: weekly sessions on the clocks of a time zone, less holidays.
///
/// Sessions are meant on the wall clock of their zone, so daylight saving moves them (cTrader facts 3.10).
#[derive(Clone, PartialEq)]
pub struct MarketHours {
    zone: TimeZone,
    /// Beginning and end in seconds since Sunday 00:00, by beginning; an end may lie in the week after.
    sessions: Vec<(u32, u32)>,
    holidays: Vec<Closing>,
}

#[derive(Clone, PartialEq)]
struct Closing {
    zone: TimeZone,
    date: Date,
    yearly: bool,
    seconds: (u32, u32),
}

const DAY: u32 = 86_400;
const WEEK: u32 = 7 * DAY;
/// Sessions and holidays of one market at most.
const ENTRIES_MAX: usize = 1_024;
/// Weeks ahead in which the next change is looked for: first the near ones, which nearly always suffice.
const WEEKS_AHEAD: [i64; 2] = [1, 6];

impl MarketHours {
    /// A schedule of sessions in seconds since Sunday 00:00 in the zone of this IANA name, end exclusive.
    ///
    /// A session whose end is not after its beginning reaches into the next week.
    ///
    /// # Errors
    /// [`HoursError`] where the zone is unknown or nothing usable is left; the market's hours are then not known.
    pub fn new(zone: &str, sessions: &[(u32, u32)], holidays: &[Holiday]) -> Result<Self, HoursError> {
        if sessions.len().max(holidays.len()) > ENTRIES_MAX {
            return Err(HoursError::TooLong);
        }
        if sessions.is_empty() || sessions.iter().any(|(from, to)| *from >= WEEK || *to > WEEK) {
            return Err(HoursError::Sessions);
        }
        let wrapped = |(from, to): (u32, u32)| (from, if to <= from { to + WEEK } else { to });
        let mut sessions: Vec<(u32, u32)> = sessions.iter().copied().map(wrapped).collect();
        sessions.sort_unstable();
        let holidays = holidays.iter().map(Closing::new).collect::<Result<_, _>>()?;
        Ok(Self { zone: zone_of(zone)?, sessions, holidays })
    }

    /// The hours of a market whose venue says only whether it trades now: so until it says otherwise.
    pub fn until_told(is_open: bool) -> Self {
        let sessions = if is_open { vec![(0, WEEK)] } else { Vec::new() };
        Self { zone: TimeZone::UTC, sessions, holidays: Vec::new() }
    }

    /// Whether the market trades at this time, Unix milliseconds.
    pub fn state(&self, unix_ms: i64) -> HoursState {
        let span = self.span(unix_ms);
        let until_ms = span.until();
        if span.open { HoursState::Open { until_ms } } else { HoursState::Closed { until_ms } }
    }

    /// The stretch of time around this one in which nothing changes.
    pub(crate) fn span(&self, unix_ms: i64) -> HoursSpan {
        let mut span = HoursSpan { open: true, from_ms: i64::MIN, until_ms: i64::MAX };
        for weeks in WEEKS_AHEAD {
            // A clock outside the calendar's years is no reason to call a market closed.
            let Some(open) = self.open_times(unix_ms, weeks) else { break };
            let before = open.iter().rev().find(|(from, _)| *from <= unix_ms);
            let after = open.iter().find(|(from, _)| *from > unix_ms);
            span = match before {
                Some((from, to)) if unix_ms < *to => {
                    let end_known = after.is_some() || *to < unix_ms + weeks * i64::from(WEEK) * 1000;
                    HoursSpan { open: true, from_ms: *from, until_ms: if end_known { *to } else { i64::MAX } }
                }
                _ => HoursSpan {
                    open: false,
                    from_ms: before.map_or(i64::MIN, |(_, to)| *to),
                    until_ms: after.map_or(i64::MAX, |(from, _)| *from),
                },
            };
            if span.until_ms != i64::MAX {
                break;
            }
        }
        span
    }

    /// Every open stretch from the week before to so many weeks after, in order, none touching the next.
    fn open_times(&self, unix_ms: i64, weeks: i64) -> Option<Vec<(i64, i64)>> {
        let today = Timestamp::from_millisecond(unix_ms).ok()?.to_zoned(self.zone.clone()).date();
        let sunday = today.checked_sub(Span::new().days(today.weekday().to_sunday_zero_offset())).ok()?;
        let mut open: Vec<(i64, i64)> = Vec::new();
        for week in -1..=weeks {
            let sunday = sunday.checked_add(Span::new().weeks(week)).ok()?;
            for (from, to) in &self.sessions {
                let (from, to) = (at(&self.zone, sunday, *from)?, at(&self.zone, sunday, *to)?);
                match open.last_mut() {
                    Some((_, end)) if from <= *end => *end = to.max(*end),
                    _ => open.push((from, to)),
                }
            }
        }
        for holiday in &self.holidays {
            for year in today.year().saturating_sub(1)..=today.year().saturating_add(1) {
                if let Some((from, to)) = holiday.time_in(year) {
                    open = open.iter().flat_map(|time| without(*time, from, to)).collect();
                }
            }
        }
        Some(open)
    }
}

impl fmt::Debug for MarketHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.iana_name().unwrap_or("?");
        let (sessions, holidays) = (self.sessions.len(), self.holidays.len());
        write!(f, "{sessions} sessions a week in {zone}, {holidays} holidays")
    }
}

/// A stretch of time in which a market does not change between open and closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HoursSpan {
    pub(crate) open: bool,
    /// Unix milliseconds, inclusive; the least value where it is not known.
    pub(crate) from_ms: i64,
    /// Unix milliseconds, exclusive; the greatest value where it is not known.
    pub(crate) until_ms: i64,
}

impl HoursSpan {
    /// Of a market whose hours are not known.
    pub(crate) const ALWAYS_OPEN: Self = Self { open: true, from_ms: i64::MIN, until_ms: i64::MAX };
    /// Contains no time: to be looked up.
    pub(crate) const UNKNOWN: Self = Self { open: true, from_ms: i64::MAX, until_ms: i64::MIN };

    pub(crate) fn contains(&self, unix_ms: i64) -> bool {
        self.from_ms <= unix_ms && unix_ms < self.until_ms
    }

    /// When it ends, where that is known.
    pub(crate) fn until(&self) -> Option<i64> {
        (self.until_ms != i64::MAX).then_some(self.until_ms)
    }
}

impl Closing {
    fn new(holiday: &Holiday) -> Result<Self, HoursError> {
        let epoch = jiff::civil::date(1970, 1, 1);
        // Days outside the calendar are no days of any market.
        let days = Span::new().try_days(holiday.day).map_err(|_| HoursError::Sessions)?;
        let date = epoch.checked_add(days).map_err(|_| HoursError::Sessions)?;
        let seconds = match holiday.seconds {
            Some((from, to)) if from < to && to <= DAY => (from, to),
            _ => (0, DAY),
        };
        Ok(Self { zone: zone_of(&holiday.zone)?, date, yearly: holiday.yearly, seconds })
    }

    /// The time it takes in this year, Unix milliseconds.
    fn time_in(&self, year: i16) -> Option<(i64, i64)> {
        let date = if self.yearly {
            Date::new(year, self.date.month(), self.date.day()).ok()?
        } else {
            Some(self.date).filter(|date| date.year() == year)?
        };
        Some((at(&self.zone, date, self.seconds.0)?, at(&self.zone, date, self.seconds.1)?))
    }
}

fn zone_of(name: &str) -> Result<TimeZone, HoursError> {
    TimeZone::get(name).map_err(|_| HoursError::Zone(name.chars().take(64).collect()))
}

/// So many seconds on the clocks of a zone after a day's midnight, Unix milliseconds.
fn at(zone: &TimeZone, midnight: Date, seconds: u32) -> Option<i64> {
    let date = midnight.checked_add(Span::new().days(i64::from(seconds / DAY))).ok()?;
    let time = date.to_datetime(Time::midnight()).checked_add(Span::new().seconds(seconds % DAY)).ok()?;
    Some(zone.to_timestamp(time).ok()?.as_millisecond())
}

/// What is left of a stretch of time without another one.
fn without((from, to): (i64, i64), cut_from: i64, cut_to: i64) -> impl Iterator<Item = (i64, i64)> {
    let left = (from, to.min(cut_from));
    let right = (from.max(cut_to), to);
    let same = cut_to <= from || to <= cut_from;
    let parts = if same { [(from, to), (0, 0)] } else { [left, right] };
    parts.into_iter().filter(|(from, to)| from < to)
}

#[cfg(test)]
mod tests;
