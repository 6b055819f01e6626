use std::time::Duration;

use tickcast_model::{Cause, CauseKind};
use tickcast_session::{Ending, Now, Retry};

use crate::messages::Refusal;

/// What an error answer means for us (facts 3.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// What we asked for is already so.
    Already,
    /// Too fast: wait, then ask again.
    SlowDown,
    /// The venue is under maintenance, perhaps until a time it names.
    Maintenance,
    /// What stands behind the venue's front is away.
    VenueAway,
    /// The front cannot reach the account: it is away, or it lives on the other host.
    Unroutable,
    /// The account's login is gone.
    LoggedOut,
    /// The application's login is gone.
    Disconnected,
    /// The access or refresh token is not accepted.
    Token,
    /// A person is needed.
    Operator,
    /// This symbol only.
    Symbol,
    /// We said something the venue did not understand.
    Bug,
    /// A failed request, nothing more.
    Failed,
}

/// Every code with a meaning of its own (facts 3.12); all others are a failed request only.
const CODES: &[(&str, Meaning)] = &[
    ("ALREADY_LOGGED_IN", Meaning::Already),
    ("ALREADY_SUBSCRIBED", Meaning::Already),
    ("REQUEST_FREQUENCY_EXCEEDED", Meaning::SlowDown),
    ("BLOCKED_PAYLOAD_TYPE", Meaning::SlowDown),
    ("CONNECTIONS_LIMIT_EXCEEDED", Meaning::SlowDown),
    ("SERVER_IS_UNDER_MAINTENANCE", Meaning::Maintenance),
    ("CH_SERVER_NOT_REACHABLE", Meaning::VenueAway),
    ("TIMEOUT_ERROR", Meaning::VenueAway),
    ("CANT_ROUTE_REQUEST", Meaning::Unroutable),
    ("ACCOUNT_NOT_AUTHORIZED", Meaning::LoggedOut),
    ("CH_CLIENT_NOT_AUTHENTICATED", Meaning::Disconnected),
    ("OA_AUTH_TOKEN_EXPIRED", Meaning::Token),
    ("CH_ACCESS_TOKEN_INVALID", Meaning::Token),
    ("CH_CLIENT_AUTH_FAILURE", Meaning::Operator),
    ("CH_OA_CLIENT_NOT_FOUND", Meaning::Operator),
    ("CH_CTID_TRADER_ACCOUNT_NOT_FOUND", Meaning::Operator),
    ("RET_NO_SUCH_LOGIN", Meaning::Operator),
    ("RET_ACCOUNT_DISABLED", Meaning::Operator),
    ("CHANNEL_IS_BLOCKED", Meaning::Operator),
    ("SYMBOL_NOT_FOUND", Meaning::Symbol),
    ("UNKNOWN_SYMBOL", Meaning::Symbol),
    ("NOT_SUBSCRIBED_TO_SPOTS", Meaning::Symbol),
    ("INCORRECT_BOUNDARIES", Meaning::Symbol),
    ("UNSUPPORTED_MESSAGE", Meaning::Bug),
    ("INVALID_REQUEST", Meaning::Bug),
    ("FRAME_TOO_LONG", Meaning::Bug),
    ("CH_CLIENT_ALREADY_AUTHENTICATED", Meaning::Bug),
];

/// Longest wait for an end of maintenance, which the venue may name wrongly (facts 3.13).
const MAINTENANCE_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Longest text of the venue's that is passed on, in characters.
const WORDS_CHARS_MAX: usize = 300;

impl Refusal {
    /// Reads the code first; the free text matters in one case only.
    pub(crate) fn meaning(&self) -> Meaning {
        if self.code == "INVALID_REQUEST" && self.description.to_ascii_lowercase().contains("not authorized")
        {
            return Meaning::LoggedOut;
        }
        let known = CODES.iter().find(|(code, _)| *code == self.code);
        known.map_or(Meaning::Failed, |(_, meaning)| *meaning)
    }

    /// The answer in words, under the kind of cause it is.
    pub(crate) fn cause(&self) -> Cause {
        let kind = match self.meaning() {
            Meaning::SlowDown => CauseKind::RateLimited,
            Meaning::Maintenance => CauseKind::Maintenance,
            Meaning::VenueAway | Meaning::Unroutable => CauseKind::VenueAway,
            Meaning::LoggedOut | Meaning::Disconnected => CauseKind::SessionLost,
            Meaning::Token => CauseKind::TokenExpired,
            Meaning::Operator => CauseKind::AuthRefused,
            Meaning::Bug => CauseKind::BadRequest,
            Meaning::Already | Meaning::Symbol | Meaning::Failed => CauseKind::VenueError,
        };
        Cause::new(kind, self.words())
    }

    /// How a connection ends because of this answer: credentials are tried rarely, maintenance is waited for.
    pub(crate) fn ending(&self, now: Now) -> Ending {
        let mut ending = Ending { cause: self.cause(), retry: Retry::Backoff };
        match self.meaning() {
            Meaning::Operator | Meaning::Token => ending.retry = Retry::Slowly,
            Meaning::SlowDown => {
                ending.retry =
                    self.retry_after_s.map_or(Retry::Backoff, |s| Retry::After(Duration::from_secs(s)));
            }
            Meaning::Maintenance => {
                if let Some(end_ms) = self.maintenance_end_ms {
                    let wait = end_ms.saturating_sub(now.unix_ms().unsigned_abs());
                    ending.retry = Retry::After(Duration::from_millis(wait).min(MAINTENANCE_WAIT_MAX));
                    ending.cause.detail = format!("{}, until {}", self.words(), time(end_ms));
                }
            }
            _ => {}
        }
        ending
    }

    /// Code and text as one line for people, bounded.
    pub(crate) fn words(&self) -> String {
        if self.description.is_empty() {
            clean(&self.code)
        } else {
            clean(&format!("{} ({})", self.code, self.description))
        }
    }
}

/// A text of the venue's as one bounded line.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
}

/// Unix milliseconds as people read them.
pub(crate) fn time(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(
        || "a time outside the calendar".to_owned(),
        |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_132_800_000;

    fn refusal(code: &str, description: &str) -> Refusal {
        Refusal {
            code: code.into(),
            description: description.into(),
            retry_after_s: None,
            maintenance_end_ms: None,
        }
    }

    fn now() -> Now {
        Now { elapsed: Duration::from_secs(1), unix_us: NOW_MS * 1000 }
    }

    /// Row 6.
    #[test]
    fn the_text_decides_only_for_not_authorized() {
        let lost = refusal("INVALID_REQUEST", "Trading account is not authorized");
        assert_eq!(lost.meaning(), Meaning::LoggedOut);
        assert_eq!(lost.cause().kind, CauseKind::SessionLost);
        assert_eq!(refusal("INVALID_REQUEST", "bad field").meaning(), Meaning::Bug);
        assert_eq!(refusal("SOMETHING_NEW", "not authorized").meaning(), Meaning::Failed);
    }

    #[test]
    fn every_code_has_one_meaning_and_unknown_text_is_a_failed_request() {
        for (index, (code, meaning)) in CODES.iter().enumerate() {
            assert_eq!(refusal(code, "").meaning(), *meaning, "{code}");
            assert!(CODES[..index].iter().all(|(other, _)| other != code), "{code} twice");
        }
        for other in ["", "MARKET_CLOSED", "already_logged_in", "NO_SUCH_CODE"] {
            assert_eq!(refusal(other, "").meaning(), Meaning::Failed, "{other}");
        }
    }

    #[test]
    fn credentials_are_tried_rarely_and_a_venue_that_is_away_soon() {
        for (code, kind, retry) in [
            ("CH_CLIENT_AUTH_FAILURE", CauseKind::AuthRefused, Retry::Slowly),
            ("CHANNEL_IS_BLOCKED", CauseKind::AuthRefused, Retry::Slowly),
            ("OA_AUTH_TOKEN_EXPIRED", CauseKind::TokenExpired, Retry::Slowly),
            ("CH_SERVER_NOT_REACHABLE", CauseKind::VenueAway, Retry::Backoff),
            ("CANT_ROUTE_REQUEST", CauseKind::VenueAway, Retry::Backoff),
            ("SERVER_IS_UNDER_MAINTENANCE", CauseKind::Maintenance, Retry::Backoff),
            ("CH_CLIENT_NOT_AUTHENTICATED", CauseKind::SessionLost, Retry::Backoff),
            ("CONNECTIONS_LIMIT_EXCEEDED", CauseKind::RateLimited, Retry::Backoff),
        ] {
            let ending = refusal(code, "x").ending(now());
            assert_eq!((ending.cause.kind, ending.retry), (kind, retry), "{code}");
        }
    }

    /// Row 27, facts 3.13.
    #[test]
    fn maintenance_is_waited_for_until_the_time_named_but_never_longer_than_an_hour() {
        let until = |ms: u64| {
            Refusal { maintenance_end_ms: Some(ms), ..refusal("SERVER_IS_UNDER_MAINTENANCE", "") }
                .ending(now())
        };
        let now_ms = NOW_MS.unsigned_abs();
        let ending = until(now_ms + 600_000);
        assert_eq!(ending.retry, Retry::After(Duration::from_secs(600)));
        assert_eq!(ending.cause.detail, "SERVER_IS_UNDER_MAINTENANCE, until 2026-11-20 00:10 UTC");
        assert_eq!(until(now_ms + 86_400_000).retry, Retry::After(Duration::from_secs(3_600)));
        assert_eq!(until(5).retry, Retry::After(Duration::ZERO), "it is over");
        assert!(until(u64::MAX).cause.detail.contains("outside the calendar"));
    }

    #[test]
    fn a_long_or_dirty_text_is_cut() {
        let long = refusal("X", &"a\n".repeat(1000)).words();
        assert!(long.len() <= 300 && !long.contains('\n'));
    }
}
