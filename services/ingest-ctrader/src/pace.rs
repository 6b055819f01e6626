use std::collections::BTreeMap;
use std::time::Duration;

use tickcast_session::TokenBucket;

use crate::messages::Kind;

/// Requests per second in the long run, and how many may go at once after a quiet spell (facts 3.4). Together with the
/// reserve no second sees more than 45 + 2 + 1 + 1 of the venue's 50.
const PER_SECOND: u32 = 45;
const BURST: u32 = 2;
/// Kept for heartbeats, logins and renewals while everything else is used up.
const RESERVE_PER_SECOND: u32 = 1;
/// The venue answers five historical requests a second.
const HISTORICAL_PER_SECOND: u32 = 4;
/// First pause where the venue names no time; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause of our own.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Longest pause the venue may name.
const PAUSE_NAMED_MAX: Duration = Duration::from_secs(5 * 60);

/// How fast requests may go, by payload type: the venue's limits, and its wish for less of one type (facts 3.4).
pub(crate) struct Pace {
    ordinary: TokenBucket,
    reserve: TokenBucket,
    historical: TokenBucket,
    /// Types the venue wants less of: until when, and how often it said so in a row. As many as there are types.
    paused: BTreeMap<i32, (Duration, u32)>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            ordinary: TokenBucket::new(PER_SECOND, BURST),
            reserve: TokenBucket::new(RESERVE_PER_SECOND, 1),
            historical: TokenBucket::new(HISTORICAL_PER_SECOND, 1),
            paused: BTreeMap::new(),
        }
    }

    /// Counts a request of this type that goes now, or says when it may.
    pub(crate) fn take(&mut self, now: Duration, kind: Kind) -> Result<(), Duration> {
        let paused = self.paused.get(&(kind as i32)).map_or(Duration::ZERO, |(until, _)| *until);
        if paused > now {
            return Err(paused);
        }
        if is_historical(kind) {
            return if self.historical.take(now) { Ok(()) } else { Err(self.historical.next_at()) };
        }
        if self.ordinary.take(now) || (is_urgent(kind) && self.reserve.take(now)) {
            return Ok(());
        }
        Err(self.ordinary.next_at())
    }

    /// Counts a heartbeat, which always goes: it is due only after a silence in which there was room for it.
    pub(crate) fn heartbeat(&mut self, now: Duration) {
        if !self.ordinary.take(now) {
            self.reserve.take(now);
        }
    }

    /// Pauses one type of request: for the time the venue gave, else a second, doubling. Says how often in a row.
    pub(crate) fn pause(&mut self, now: Duration, kind: Kind, retry_after_s: Option<u64>) -> u32 {
        let (until, times) = self.paused.entry(kind as i32).or_insert((Duration::ZERO, 0));
        let doubled = PAUSE.saturating_mul(1 << (*times).min(8)).min(PAUSE_MAX);
        let pause = retry_after_s.map_or(doubled, |s| Duration::from_secs(s).min(PAUSE_NAMED_MAX));
        *until = now + pause;
        *times = times.saturating_add(1);
        *times
    }

    /// The venue took a request of this type: the next pause starts small again.
    pub(crate) fn accepted(&mut self, kind: Kind) {
        self.paused.remove(&(kind as i32));
    }
}

/// Requests of which the venue takes only a few a second.
fn is_historical(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ProtoOaGetTrendbarsReq
            | Kind::ProtoOaGetTickdataReq
            | Kind::ProtoOaDealListReq
            | Kind::ProtoOaOrderListReq
            | Kind::ProtoOaCashFlowHistoryListReq
    )
}

/// Requests without which nothing else works.
fn is_urgent(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ProtoOaApplicationAuthReq | Kind::ProtoOaAccountAuthReq | Kind::ProtoOaRefreshTokenReq
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Sends as fast as it may for some seconds, and says the most that went in any one of them.
    fn busiest_second(kinds: &[Kind]) -> usize {
        let mut pace = Pace::new();
        let mut sent: Vec<Duration> = Vec::new();
        for step in 0..50_000u64 {
            let now = s(1) + Duration::from_micros(100 * step);
            for kind in kinds {
                while pace.take(now, *kind).is_ok() {
                    sent.push(now);
                }
            }
        }
        let in_second =
            |start: &Duration| sent.iter().filter(|at| **at >= *start && **at < *start + s(1)).count();
        sent.iter().map(in_second).max().unwrap()
    }

    /// Row 14.
    #[test]
    fn no_second_sees_more_than_the_venue_allows() {
        let ordinary = busiest_second(&[Kind::ProtoOaSubscribeSpotsReq]);
        assert!((45..=47).contains(&ordinary), "{ordinary}");
        let with_logins = busiest_second(&[Kind::ProtoOaSubscribeSpotsReq, Kind::ProtoOaAccountAuthReq]);
        assert!((47..=49).contains(&with_logins), "{with_logins}");
        let historical = busiest_second(&[Kind::ProtoOaGetTrendbarsReq, Kind::ProtoOaGetTickdataReq]);
        assert!((4..=5).contains(&historical), "{historical}");
    }

    #[test]
    fn a_login_passes_where_everything_else_has_to_wait() {
        let mut pace = Pace::new();
        while pace.take(s(1), Kind::ProtoOaSubscribeSpotsReq).is_ok() {}
        assert_eq!(pace.take(s(1), Kind::ProtoOaAccountAuthReq), Ok(()));
    }

    /// Row 14, and row 27: `retryAfter` is seconds.
    #[test]
    fn a_pause_holds_one_type_for_the_seconds_named_and_else_doubles() {
        let mut pace = Pace::new();
        let (subscribe, details) = (Kind::ProtoOaSubscribeSpotsReq, Kind::ProtoOaSymbolByIdReq);
        assert_eq!(pace.pause(s(10), subscribe, None), 1);
        assert_eq!(pace.take(s(10), subscribe), Err(s(11)));
        assert_eq!(pace.take(s(10), details), Ok(()));
        assert_eq!(pace.pause(s(11), subscribe, None), 2);
        assert_eq!(pace.take(s(11), subscribe), Err(s(13)));
        pace.pause(s(13), subscribe, Some(7));
        assert_eq!(pace.take(s(13), subscribe), Err(s(20)));
        pace.accepted(subscribe);
        assert_eq!(pace.take(s(13), subscribe), Ok(()));
        for _ in 0..40 {
            pace.pause(s(13), subscribe, None);
        }
        assert_eq!(pace.take(s(13), subscribe), Err(s(33)), "bounded");
    }
}
