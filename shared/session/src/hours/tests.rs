use super::*;

/// Unix milliseconds of an instant written as RFC 3339.
fn ms(instant: &str) -> i64 {
    instant.parse::<Timestamp>().unwrap().as_millisecond()
}

fn open(until: &str) -> HoursState {
    HoursState::Open { until_ms: Some(ms(until)) }
}

fn closed(until: &str) -> HoursState {
    HoursState::Closed { until_ms: Some(ms(until)) }
}

/// Sunday 17:00 to Friday 17:00 in New York, a currency's week.
fn currencies(holidays: &[Holiday]) -> MarketHours {
    MarketHours::new("America/New_York", &[(61_200, 493_200)], holidays).unwrap()
}

#[test]
fn daylight_saving_moves_the_opening() {
    let hours = currencies(&[]);
    assert_eq!(hours.state(ms("2026-03-06T21:59:59.999Z")), open("2026-03-06T22:00:00Z"), "winter");
    // Summer time began in the morning of 8 March 2026: 17:00 in New York is 21:00 in Greenwich.
    assert_eq!(hours.state(ms("2026-03-06T22:00:00Z")), closed("2026-03-08T21:00:00Z"));
    assert_eq!(hours.state(ms("2026-03-08T21:00:00Z")), open("2026-03-13T21:00:00Z"));
    // And ended in the morning of 1 November 2026.
    assert_eq!(hours.state(ms("2026-10-31T12:00:00Z")), closed("2026-11-01T22:00:00Z"));
}

#[test]
fn a_session_over_the_night_of_a_change_has_its_length_on_the_clock() {
    // Sunday 00:00 to 12:00 in London; the clocks went forward at 01:00 on 29 March 2026.
    let hours = MarketHours::new("Europe/London", &[(0, 43_200)], &[]).unwrap();
    assert_eq!(hours.state(ms("2026-03-29T00:30:00Z")), open("2026-03-29T11:00:00Z"));
    // Moscow knows no change.
    let hours = MarketHours::new("Europe/Moscow", &[(0, 43_200)], &[]).unwrap();
    assert_eq!(hours.state(ms("2026-03-29T00:30:00Z")), open("2026-03-29T09:00:00Z"));
}

#[test]
fn sessions_that_touch_are_one_and_daily_pauses_are_closed() {
    let days: Vec<(u32, u32)> = (0..7).map(|day| (day * DAY, (day + 1) * DAY)).collect();
    let always = MarketHours::new("UTC", &days, &[]).unwrap();
    assert_eq!(always.state(ms("2026-11-20T21:00:00Z")), HoursState::Open { until_ms: None });
    let pausing: Vec<(u32, u32)> = (1..6).map(|day| (day * DAY, day * DAY + 82_800)).collect();
    let pausing = MarketHours::new("UTC", &pausing, &[]).unwrap();
    assert_eq!(pausing.state(ms("2026-11-18T23:00:00Z")), closed("2026-11-19T00:00:00Z"));
    assert_eq!(pausing.state(ms("2026-11-18T22:59:59Z")), open("2026-11-18T23:00:00Z"));
    assert_eq!(pausing.state(ms("2026-11-20T23:00:00Z")), closed("2026-11-23T00:00:00Z"), "the weekend");
}

#[test]
fn a_session_may_reach_over_the_end_of_the_week() {
    // Saturday 22:00 to Sunday 02:00.
    let hours = MarketHours::new("UTC", &[(6 * DAY + 79_200, 7_200)], &[]).unwrap();
    assert_eq!(hours.state(ms("2026-11-22T01:00:00Z")), open("2026-11-22T02:00:00Z"));
    assert_eq!(hours.state(ms("2026-11-22T02:00:00Z")), closed("2026-11-28T22:00:00Z"));
}

#[test]
fn holidays_close_a_day_or_part_of_it_in_their_own_zone() {
    let christmas = Holiday {
        zone: "UTC".into(),
        day: 10_951, // 1999-12-26, yearly
        yearly: true,
        seconds: None,
    };
    let early = Holiday {
        zone: "America/New_York".into(),
        day: 20_783, // 2026-11-26
        yearly: false,
        seconds: Some((46_800, 61_200)),
    };
    let hours = currencies(&[christmas, early]);
    // 26 December 2025 is a Friday: closed in UTC's day, open again for the session's last hours? It ends at 22:00.
    assert_eq!(hours.state(ms("2025-12-25T23:59:59Z")), open("2025-12-26T00:00:00Z"));
    assert_eq!(hours.state(ms("2025-12-26T12:00:00Z")), closed("2025-12-28T22:00:00Z"));
    assert_eq!(hours.state(ms("2026-11-26T18:00:00Z")), closed("2026-11-26T22:00:00Z"));
    assert_eq!(hours.state(ms("2026-11-26T17:59:59Z")), open("2026-11-26T18:00:00Z"));
    assert_eq!(hours.state(ms("2027-11-26T18:00:00Z")), open("2027-11-26T22:00:00Z"), "once only");
}

#[test]
fn a_market_closed_for_longer_than_is_looked_ahead_has_no_known_opening() {
    let days = |day: i64| Holiday { zone: "UTC".into(), day, yearly: false, seconds: None };
    let holidays: Vec<Holiday> = (20_770..20_900).map(days).collect();
    let hours = currencies(&holidays);
    assert_eq!(hours.state(ms("2026-11-20T12:00:00Z")), HoursState::Closed { until_ms: None });
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    assert_eq!(MarketHours::new("Mars/Base", &[(0, 1)], &[]), Err(HoursError::Zone("Mars/Base".into())));
    assert_eq!(MarketHours::new("UTC", &[], &[]), Err(HoursError::Sessions));
    assert_eq!(MarketHours::new("UTC", &[(WEEK, WEEK)], &[]), Err(HoursError::Sessions));
    assert_eq!(MarketHours::new("UTC", &[(0, 1); 2000], &[]), Err(HoursError::TooLong));
    let holiday = Holiday { zone: "UTC".into(), day: i64::MAX, yearly: true, seconds: None };
    assert_eq!(MarketHours::new("UTC", &[(0, 1)], &[holiday]), Err(HoursError::Sessions));
}

#[test]
fn a_clock_out_of_the_calendar_closes_nothing() {
    for unix_ms in [i64::MIN, i64::MAX] {
        assert_eq!(currencies(&[]).state(unix_ms), HoursState::Open { until_ms: None });
    }
}

#[test]
fn within_a_span_nothing_changes_and_at_its_end_something_does() {
    let zones = ["America/New_York", "Europe/Moscow", "Australia/Lord_Howe", "UTC", "Africa/Casablanca"];
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let sessions: Vec<(u32, u32)> = (0..rng.usize(1..12))
            .map(|_| {
                let from = rng.u32(..WEEK);
                (from, rng.u32(from..=WEEK.min(from + 2 * DAY)))
            })
            .collect();
        let holidays: Vec<Holiday> = (0..rng.usize(..4))
            .map(|_| Holiday {
                zone: zones[rng.usize(..zones.len())].into(),
                day: rng.i64(20_700..20_800),
                yearly: rng.bool(),
                seconds: rng.bool().then(|| (rng.u32(..40_000), rng.u32(40_000..=DAY))),
            })
            .collect();
        let hours = MarketHours::new(zones[rng.usize(..zones.len())], &sessions, &holidays).unwrap();
        for _ in 0..20 {
            let at = rng.i64(ms("2026-09-01T00:00:00Z")..ms("2026-12-31T00:00:00Z"));
            let span = hours.span(at);
            assert!(span.from_ms <= at && at < span.until_ms, "seed {seed}: {span:?} around {at}");
            let end = span.until_ms.min(at + 20 * 86_400_000);
            let inside = rng.i64(at..end);
            let same = hours.span(inside);
            assert_eq!((same.open, same.until_ms), (span.open, span.until_ms), "seed {seed} at {inside}");
            if span.until_ms != i64::MAX {
                assert_ne!(hours.span(span.until_ms).open, span.open, "seed {seed}");
                assert_eq!(hours.span(span.until_ms).from_ms, span.until_ms, "seed {seed}");
            }
        }
    }
}

#[test]
fn where_the_venue_says_only_open_or_closed_that_holds_until_it_says_otherwise() {
    for unix_ms in [0, 1_767_225_600_000, 4_000_000_000_000] {
        assert_eq!(MarketHours::until_told(true).state(unix_ms), HoursState::Open { until_ms: None });
        assert_eq!(MarketHours::until_told(false).state(unix_ms), HoursState::Closed { until_ms: None });
    }
}
