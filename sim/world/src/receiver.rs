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
            || health.auth == AuthState::Refused;
        assert!(!unwell || health.cause.is_some(), "unwell without a cause: {health:?}");
        if health.cause.is_some() {
            self.named_at = Some(now);
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
