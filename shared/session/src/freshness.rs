use std::time::Duration;

use tickcast_model::DataState;

/// The data axis of a venue: does what is wanted tick?
///
/// It knows nothing of links and logins: a feed can be mute on a perfect link, and stays live for a while after a cut.
#[derive(Clone, Debug)]
pub struct Freshness {
    stale_after: Duration,
    state: DataState,
    /// Since when something is wanted without a break.
    wanted_since: Option<Duration>,
    last_tick: Option<Duration>,
}

impl Freshness {
    /// Nothing wanted yet; data counts as stale after `stale_after` without any.
    pub fn new(stale_after: Duration) -> Self {
        Self { stale_after, state: DataState::Idle, wanted_since: None, last_tick: None }
    }

    /// The axis as it stands.
    pub fn state(&self) -> DataState {
        self.state
    }

    /// When the last tick came.
    pub fn last_tick(&self) -> Option<Duration> {
        self.last_tick
    }

    /// Says whether anything is wanted.
    pub fn want(&mut self, now: Duration, anything: bool) {
        if !anything {
            self.wanted_since = None;
            self.state = DataState::Idle;
        } else if self.wanted_since.is_none() {
            self.wanted_since = Some(now);
        }
    }

    /// A tick of a wanted symbol came.
    pub fn tick(&mut self, now: Duration) {
        self.last_tick = Some(now);
        if self.wanted_since.is_some() {
            self.state = DataState::Live;
        }
    }

    /// Goes stale where it is time.
    pub fn timeout(&mut self, now: Duration) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.state = DataState::Stale;
        }
    }

    /// When the data will count as stale if nothing ticks; none while it does already or nothing is wanted.
    pub fn deadline(&self) -> Option<Duration> {
        let wanted_since = self.wanted_since?;
        let silent_since = self.last_tick.map_or(wanted_since, |tick| tick.max(wanted_since));
        (self.state != DataState::Stale).then_some(silent_since + self.stale_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_wanted_is_idle_however_long_the_silence() {
        let mut data = Freshness::new(s(30));
        data.timeout(s(1000));
        assert_eq!((data.state(), data.deadline()), (DataState::Idle, None));
    }

    #[test]
    fn never_ticked_becomes_stale() {
        let mut data = Freshness::new(s(30));
        data.want(s(5), true);
        data.timeout(s(34));
        assert_eq!(data.state(), DataState::Idle);
        data.timeout(s(35));
        assert_eq!(data.state(), DataState::Stale);
    }

    #[test]
    fn silence_after_ticks_is_stale_and_one_tick_heals_it() {
        let mut data = Freshness::new(s(30));
        data.want(s(0), true);
        data.tick(s(10));
        assert_eq!((data.state(), data.deadline()), (DataState::Live, Some(s(40))));
        data.timeout(s(40));
        assert_eq!((data.state(), data.deadline()), (DataState::Stale, None));
        data.tick(s(50));
        assert_eq!(data.state(), DataState::Live);
    }

    #[test]
    fn an_old_tick_does_not_make_a_new_wish_stale_at_once() {
        let mut data = Freshness::new(s(30));
        data.want(s(0), true);
        data.tick(s(1));
        data.want(s(2), false);
        data.want(s(100), true);
        assert_eq!(data.deadline(), Some(s(130)));
    }
}
