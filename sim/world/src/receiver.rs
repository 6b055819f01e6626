use std::collections::BTreeMap;
use std::time::Duration;

use tickcast_model::{
    AuthState, Body, Cause, ChannelEvent, DataState, LinkState, Position, StateChange, Symbol, SymbolState,
    Tick, VenueHealth,
};

use crate::venue::Venue;

/// What a gateway knows, by the rules a gateway applies: a smaller epoch is passed over, everything else counts by one.
#[derive(Default)]
pub(crate) struct Receiver {
    channels: BTreeMap<Symbol, Channel>,
    pub(crate) health: Option<VenueHealth>,
    /// The epoch in which the venue was last said to be logged in.
    logged_in: Option<u64>,
    /// When something was last told that is not well and says why.
    pub(crate) named_at: Option<Duration>,
    /// Ticks taken.
    pub(crate) ticks: u64,
    /// Events of a leader that is none any more, passed over.
    pub(crate) outdated: u64,
}

#[derive(Default)]
struct Channel {
    at: Position,
    tick: Option<Tick>,
    state: Option<StateChange>,
}

impl Receiver {
    /// An event of a channel. True where it was taken.
    pub(crate) fn event<V: Venue>(&mut self, now: Duration, event: ChannelEvent) -> bool {
        let channel = self.channels.entry(event.symbol.clone()).or_default();
        if event.position.epoch < channel.at.epoch {
            self.outdated += 1;
            return false;
        }
        if event.position.epoch > channel.at.epoch {
            *channel = Channel { at: Position { epoch: event.position.epoch, seq: 0 }, ..Channel::default() };
        }
        match event.body {
            Body::Tick(tick) => {
                let repeated =
                    tick.snapshot && event.position.seq == channel.at.seq && channel.tick.is_some();
                if !repeated {
                    assert_eq!(event.position.seq, channel.at.seq + 1, "{} counts by one", event.symbol);
                    channel.at.seq += 1;
                    self.ticks += 1;
                }
                V::assert_sound(&tick);
                channel.tick = Some(tick);
            }
            Body::State(state) => {
                assert_eq!(event.position.seq, channel.at.seq, "a state makes no hole");
                if !matches!(state.state, SymbolState::Live)
                    && (state.code.is_some() || state.message.is_some())
                {
                    self.named_at = Some(now);
                }
                channel.state = Some(state);
            }
        }
        true
    }

    /// The venue's health. True where it was taken.
    pub(crate) fn health(&mut self, now: Duration, health: VenueHealth) -> bool {
        if self.health.as_ref().is_some_and(|known| health.epoch < known.epoch) {
            self.outdated += 1;
            return false;
        }
        let unwell = health.attempt > 0 && health.link != LinkState::Up
            || health.data == DataState::Stale
            || health.auth == AuthState::Refused
            // Also on a living link, from which the login was taken away.
            || health.auth != AuthState::Ok && self.logged_in == Some(health.epoch);
        assert!(!unwell || health.cause.is_some(), "unwell without a cause: {health:?}");
        if health.cause.is_some() {
            self.named_at = Some(now);
        }
        if health.auth == AuthState::Ok {
            self.logged_in = Some(health.epoch);
        }
        self.health = Some(health);
        true
    }

    /// Nobody publishes for the venue: a gateway says so by itself.
    pub(crate) fn ingest_gone(&mut self, now: Duration) {
        self.named_at = Some(now);
    }

    /// The cause said now, if something is not well.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.health.as_ref().and_then(|health| health.cause.as_ref())
    }

    /// How a symbol stands.
    pub(crate) fn state(&self, symbol: &Symbol) -> Option<SymbolState> {
        self.channels.get(symbol)?.state.as_ref().map(|state| state.state)
    }

    /// The last price of a symbol.
    pub(crate) fn tick(&self, symbol: &Symbol) -> Option<&Tick> {
        self.channels.get(symbol)?.tick.as_ref()
    }

    /// True where the venue is said to be connected and logged in.
    pub(crate) fn is_logged_in(&self) -> bool {
        self.health
            .as_ref()
            .is_some_and(|health| (health.link, health.auth) == (LinkState::Up, AuthState::Ok))
    }
}

#[cfg(test)]
mod tests {
    use tickcast_model::{CauseKind, VenueId};

    use super::*;

    fn health(epoch: u64, auth: AuthState, cause: Option<CauseKind>) -> VenueHealth {
        VenueHealth {
            venue: VenueId::new("test").unwrap(),
            epoch,
            link: LinkState::Up,
            auth,
            data: DataState::Idle,
            link_since_ms: 0,
            auth_since_ms: 0,
            data_since_ms: 0,
            cause: cause.map(|kind| Cause::new(kind, "")),
            attempt: 0,
            retry_in_ms: None,
            last_tick_age_ms: None,
            catalogue_version: 0,
            at_ms: 0,
        }
    }

    fn hears(told: &[VenueHealth]) {
        let mut receiver = Receiver::default();
        for health in told {
            assert!(receiver.health(Duration::ZERO, health.clone()));
        }
    }

    #[test]
    fn a_login_under_way_needs_no_cause_before_the_first_and_one_that_was_lost_has_it() {
        use AuthState::{Ok, Pending};
        let lost = Some(CauseKind::SessionLost);
        hears(&[health(1, Pending, None), health(1, Ok, None), health(1, Pending, lost)]);
        hears(&[health(1, Ok, None), health(2, Pending, None)]);
    }

    #[test]
    #[should_panic(expected = "unwell without a cause")]
    fn a_login_that_was_lost_on_a_living_link_is_not_told_without_a_cause() {
        hears(&[health(1, AuthState::Ok, None), health(1, AuthState::Pending, None)]);
    }
}
