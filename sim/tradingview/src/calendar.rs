//! When markets trade where the venue has a calendar: simple hours, the same in every week, in UTC.

/// Phases change at no other time of day than at multiples of this.
pub(crate) const GRID_MS: i64 = 30 * 60 * 1_000;

const HALF_HOURS_OF_DAY: i64 = 48;
const HALF_HOURS_OF_WEEK: i64 = 7 * HALF_HOURS_OF_DAY;
/// Unix time began on a Thursday; weeks begin on Mondays.
const THURSDAY: i64 = 3 * HALF_HOURS_OF_DAY;
/// Friday and Sunday, 22:00.
const WEEKEND: std::ops::Range<i64> = 4 * HALF_HOURS_OF_DAY + 2 * 22..6 * HALF_HOURS_OF_DAY + 2 * 22;

/// The `current_session` of an instrument of this kind at a time, Unix milliseconds.
pub(crate) fn phase(kind: &str, unix_ms: i64) -> &'static str {
    let half_hour = (unix_ms.div_euclid(GRID_MS) + THURSDAY).rem_euclid(HALF_HOURS_OF_WEEK);
    match kind {
        "spot" | "swap" => "market",
        _ if WEEKEND.contains(&half_hour) => "out_of_session",
        "stock" => match half_hour.rem_euclid(HALF_HOURS_OF_DAY) {
            // From 9:00, 14:30 and 21:00 on; none of it on a Sunday, of which two hours are no weekend.
            _ if half_hour >= 5 * HALF_HOURS_OF_DAY => "out_of_session",
            18..29 => "pre_market",
            29..42 => "market",
            42.. => "post_market",
            _ => "out_of_session",
        },
        _ => "market",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_has_a_weekend_and_shares_have_a_day() {
        const MONDAY_MS: i64 = 1_767_571_200_000;
        let at = |day: i64, hour: i64, minute: i64| {
            let unix_ms = MONDAY_MS + ((day * 24 + hour) * 60 + minute) * 60_000;
            ["forex", "stock", "spot"].map(|kind| phase(kind, unix_ms))
        };
        let (friday, saturday, sunday) = (4, 5, 6);
        assert_eq!(at(0, 8, 59), ["market", "out_of_session", "market"]);
        assert_eq!(at(0, 9, 0), ["market", "pre_market", "market"]);
        assert_eq!(at(0, 14, 30), ["market", "market", "market"]);
        assert_eq!(at(friday, 21, 59), ["market", "post_market", "market"]);
        assert_eq!(at(friday, 22, 0), ["out_of_session", "out_of_session", "market"]);
        assert_eq!(at(saturday, 15, 0), ["out_of_session", "out_of_session", "market"]);
        assert_eq!(at(sunday, 21, 59), ["out_of_session", "out_of_session", "market"]);
        assert_eq!(at(sunday, 22, 0), ["market", "out_of_session", "market"]);
    }
}
