use std::collections::BTreeMap;
use std::time::Duration;

use tickcast_session::TokenBucket;

use crate::messages::Kind;

/// How long an answer may take (facts 4, row 29: no answer is not a failure of the link).
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Requests per second in the long run; with the burst it stays under the venue's 50 in any second (facts 3.4).
const PER_SECOND: u32 = 40;
/// Requests at once after a quiet spell.
const BURST: u32 = 5;
/// Longest pause after the venue said it is too fast.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a request was about, to be remembered until its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum About {
    ApplicationAuth,
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
            Self::AccountAuth => "account_auth",
            Self::Symbols => "symbols_list",
            Self::Details(_) => "symbol_by_id",
            Self::Subscribe(_) => "subscribe_spots",
            Self::Unsubscribe(_) => "unsubscribe_spots",
        }
    }
}

/// The requests under way on one connection, and when the next may go.
pub(crate) struct Requests {
    bucket: TokenBucket,
    last_id: u64,
    waiting: BTreeMap<u64, (About, Duration)>,
    /// Types the venue wants less of: until when, and how often it said so in a row.
    paused: BTreeMap<&'static str, (Duration, u32)>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        let bucket = TokenBucket::new(PER_SECOND, BURST);
        Self { bucket, last_id: 0, waiting: BTreeMap::new(), paused: BTreeMap::new() }
    }

    /// Gives a request its id where it may go now, else the time it may.
    pub(crate) fn admit(&mut self, now: Duration, about: &About) -> Result<u64, Duration> {
        let paused = self.paused.get(about.name()).map_or(Duration::ZERO, |(until, _)| *until);
        if paused > now {
            return Err(paused);
        }
        if !self.bucket.take(now) {
            return Err(self.bucket.next_at());
        }
        self.last_id += 1;
        self.waiting.insert(self.last_id, (about.clone(), now + ANSWER_WITHIN));
        Ok(self.last_id)
    }

    /// What this answer is about; `None` for an id that is not ours (facts 1.1: then it is an event).
    pub(crate) fn answered(&mut self, id: Option<&str>) -> Option<About> {
        let id: u64 = id?.parse().ok()?;
        self.waiting.remove(&id).map(|(about, _)| about)
    }

    /// A request that was not answered in time, one a call.
    pub(crate) fn expired(&mut self, now: Duration) -> Option<About> {
        let id = self.waiting.iter().find(|(_, (_, until))| *until <= now).map(|(id, _)| *id)?;
        self.waiting.remove(&id).map(|(about, _)| about)
    }

    /// Pauses one type of request: for the time the venue gave, else a second, doubling (facts 3.4).
    pub(crate) fn pause(&mut self, now: Duration, about: &About, retry_after_s: Option<u64>) {
        let (until, times) = self.paused.entry(about.name()).or_insert((Duration::ZERO, 0));
        let doubled = Duration::from_secs(1).saturating_mul(1 << (*times).min(6));
        *until = now + retry_after_s.map_or(doubled, Duration::from_secs).min(PAUSE_MAX);
        *times += 1;
    }

    /// The venue took a request of this type: the next pause starts small again.
    pub(crate) fn accepted(&mut self, about: &About) {
        self.paused.remove(about.name());
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
        assert_eq!(requests.answered(Some("77")), None);
        assert_eq!(requests.answered(Some("not a number")), None);
        assert_eq!(requests.answered(None), None);
        assert_eq!(requests.answered(Some(&id)), Some(About::Symbols));
        assert_eq!(requests.answered(Some(&id)), None);
    }

    #[test]
    fn an_unanswered_request_expires() {
        let mut requests = Requests::new();
        requests.admit(s(1), &About::Symbols).unwrap();
        assert_eq!((requests.expired(s(10)), requests.deadline()), (None, Some(s(11))));
        assert_eq!(requests.expired(s(11)), Some(About::Symbols));
        assert_eq!((requests.expired(s(11)), requests.deadline()), (None, None));
    }

    #[test]
    fn no_second_sees_more_than_the_venue_allows() {
        let mut requests = Requests::new();
        let mut sent: Vec<Duration> = Vec::new();
        let mut now = s(1);
        while now < s(4) {
            match requests.admit(now, &About::Subscribe(vec![1])) {
                Ok(_) => sent.push(now),
                Err(at) => now = at,
            }
        }
        for start in &sent {
            let in_second = sent.iter().filter(|at| **at >= *start && **at < *start + s(1)).count();
            assert!(in_second <= 45, "{in_second}");
        }
    }

    #[test]
    fn a_pause_holds_one_type_and_doubles() {
        let mut requests = Requests::new();
        let (subscribe, details) = (About::Subscribe(vec![1]), About::Details(vec![1]));
        requests.pause(s(10), &subscribe, None);
        assert_eq!(requests.admit(s(10), &subscribe), Err(s(11)));
        assert!(requests.admit(s(10), &details).is_ok());
        requests.pause(s(11), &subscribe, None);
        assert_eq!(requests.admit(s(11), &subscribe), Err(s(13)));
        requests.pause(s(13), &subscribe, Some(7));
        assert_eq!(requests.admit(s(13), &subscribe), Err(s(20)));
        requests.accepted(&subscribe);
        assert!(requests.admit(s(13), &subscribe).is_ok());
    }
}
