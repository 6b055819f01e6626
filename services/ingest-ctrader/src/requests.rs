use std::collections::BTreeMap;
use std::time::Duration;

use crate::messages::Kind;
use crate::pace::Pace;

/// How long an answer may take; peers of the venue wait 5 s (facts 5.1), three of these fit a login.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Requests without an answer at most: more than go out while the first of them may still be answered.
const WAITING_MAX: usize = 256;

/// What a request was about, to be remembered until its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum About {
    ApplicationAuth,
    Refresh,
    Accounts,
    AccountAuth,
    Symbols,
    Details(Vec<i64>),
    Subscribe(Vec<i64>),
    Unsubscribe(Vec<i64>),
}

impl About {
    /// The request's message type.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::ApplicationAuth => Kind::ProtoOaApplicationAuthReq,
            Self::Refresh => Kind::ProtoOaRefreshTokenReq,
            Self::Accounts => Kind::ProtoOaGetAccountsByAccessTokenReq,
            Self::AccountAuth => Kind::ProtoOaAccountAuthReq,
            Self::Symbols => Kind::ProtoOaSymbolsListReq,
            Self::Details(_) => Kind::ProtoOaSymbolByIdReq,
            Self::Subscribe(_) => Kind::ProtoOaSubscribeSpotsReq,
            Self::Unsubscribe(_) => Kind::ProtoOaUnsubscribeSpotsReq,
        }
    }

    /// The name under which requests of this type are counted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ApplicationAuth => "application_auth",
            Self::Refresh => "refresh_token",
            Self::Accounts => "account_list",
            Self::AccountAuth => "account_auth",
            Self::Symbols => "symbols_list",
            Self::Details(_) => "symbol_by_id",
            Self::Subscribe(_) => "subscribe_spots",
            Self::Unsubscribe(_) => "unsubscribe_spots",
        }
    }

    /// True for requests that need the account's login.
    fn needs_account(&self) -> bool {
        matches!(self, Self::Symbols | Self::Details(_) | Self::Subscribe(_) | Self::Unsubscribe(_))
    }
}

/// The requests under way on one connection, and when the next may go.
pub(crate) struct Requests {
    pub(crate) pace: Pace,
    last_id: u64,
    /// What each is about, and until when an answer is waited for.
    waiting: BTreeMap<u64, (About, Duration)>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { pace: Pace::new(), last_id: 0, waiting: BTreeMap::new() }
    }

    /// Gives a request its id where it may go now, else the time it may.
    pub(crate) fn admit(&mut self, now: Duration, about: &About) -> Result<u64, Duration> {
        if self.waiting.len() >= WAITING_MAX
            && let Some(until) = self.deadline()
        {
            return Err(until);
        }
        self.pace.take(now, about.kind())?;
        self.last_id += 1;
        self.waiting.insert(self.last_id, (about.clone(), now + ANSWER_WITHIN));
        Ok(self.last_id)
    }

    /// What a message with this id could be the answer to; `None` for an id that is not ours (facts 1.1: then it is an
    /// event).
    pub(crate) fn about(&self, id: Option<&str>) -> Option<&About> {
        self.waiting.get(&id?.parse().ok()?).map(|(about, _)| about)
    }

    /// Ends the wait for this answer: it came.
    pub(crate) fn answered(&mut self, id: Option<&str>) -> Option<About> {
        let id: u64 = id?.parse().ok()?;
        self.waiting.remove(&id).map(|(about, _)| about)
    }

    /// A request that was not answered in time, one a call.
    pub(crate) fn expired(&mut self, now: Duration) -> Option<About> {
        let id = self.waiting.iter().find(|(_, (_, until))| *until <= now).map(|(id, _)| *id)?;
        self.waiting.remove(&id).map(|(about, _)| about)
    }

    /// The account's login is gone: what was asked on its behalf is not waited for any more.
    pub(crate) fn forget_account(&mut self) {
        self.waiting.retain(|_, (about, _)| !about.needs_account());
    }

    /// Every type an answer is waited for.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.waiting.values().map(|(about, _)| about.kind()).collect()
    }

    /// When the first answer is overdue.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.waiting.values().map(|(_, until)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_finds_its_request_once() {
        let mut requests = Requests::new();
        let id = requests.admit(s(1), &About::Symbols).unwrap().to_string();
        assert_eq!(requests.about(Some(&id)), Some(&About::Symbols));
        assert_eq!(requests.answered(Some("77")), None);
        assert_eq!(requests.answered(Some("not a number")), None);
        assert_eq!(requests.answered(None), None);
        assert_eq!(requests.answered(Some(&id)), Some(About::Symbols));
        assert_eq!(requests.answered(Some(&id)), None);
    }

    /// Row 29.
    #[test]
    fn an_unanswered_request_expires() {
        let mut requests = Requests::new();
        requests.admit(s(1), &About::Symbols).unwrap();
        assert_eq!((requests.expired(s(4)), requests.deadline()), (None, Some(s(5))));
        assert_eq!(requests.expired(s(5)), Some(About::Symbols));
        assert_eq!((requests.expired(s(5)), requests.deadline()), (None, None));
    }

    #[test]
    fn a_lost_login_ends_the_wait_for_what_needed_it() {
        let mut requests = Requests::new();
        requests.admit(s(1), &About::Symbols).unwrap();
        requests.admit(s(1), &About::Refresh).unwrap();
        requests.forget_account();
        assert_eq!(requests.kinds(), [Kind::ProtoOaRefreshTokenReq]);
    }

    #[test]
    fn no_more_than_so_many_wait_for_an_answer() {
        let mut requests = Requests::new();
        let mut now = s(1);
        for _ in 0..10_000 {
            now += Duration::from_millis(10);
            let _ = requests.admit(now, &About::Details(vec![1]));
        }
        assert_eq!(requests.waiting.len(), WAITING_MAX);
    }
}
