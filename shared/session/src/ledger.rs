use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use tickcast_model::{Body, ChannelEvent, Position, StateChange, Symbol, SymbolState, Tick};

use crate::pulse::Pulse;

/// Numbers the events of every channel and remembers the newest tick and state of each.
///
/// A channel once seen keeps its number for the life of the ledger: were it forgotten, its next tick would be
/// numbered 1 again and every receiver would drop it as old. The number of channels is therefore bounded.
#[derive(Debug)]
pub struct Ledger {
    epoch: u64,
    channels_max: usize,
    channels: FxHashMap<Symbol, Channel>,
}

/// One channel: its number, what was last said in it, and how it ticks.
#[derive(Debug)]
pub(crate) struct Channel {
    position: Position,
    last: Option<Tick>,
    state: Option<StateChange>,
    pub(crate) pulse: Pulse,
}

impl Channel {
    /// Numbers a tick.
    pub(crate) fn tick(&mut self, symbol: &Symbol, tick: Tick) -> ChannelEvent {
        self.position.seq += 1;
        self.last = Some(tick.clone());
        ChannelEvent { symbol: symbol.clone(), position: self.position, body: Body::Tick(tick) }
    }

    /// Notes the state; an event only where it changed.
    pub(crate) fn say(&mut self, symbol: &Symbol, state: StateChange) -> Option<ChannelEvent> {
        if self.state.as_ref() == Some(&state) {
            return None;
        }
        self.state = Some(state.clone());
        Some(ChannelEvent { symbol: symbol.clone(), position: self.position, body: Body::State(state) })
    }

    /// The state last said, with its reason.
    pub(crate) fn said(&self) -> Option<&StateChange> {
        self.state.as_ref()
    }

    /// The state last said.
    pub(crate) fn state(&self) -> Option<SymbolState> {
        self.state.as_ref().map(|state| state.state)
    }

    /// True while its symbol ticks as it should.
    pub(crate) fn is_live(&self) -> bool {
        self.state() == Some(SymbolState::Live)
    }

    /// The newest tick.
    pub(crate) fn last(&self) -> Option<&Tick> {
        self.last.as_ref()
    }
}

impl Ledger {
    /// An empty ledger of one incarnation; `channels_max` bounds the channels it will number.
    pub fn new(epoch: u64, channels_max: usize) -> Self {
        Self { epoch, channels_max, channels: FxHashMap::default() }
    }

    /// The incarnation all positions carry.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Channels numbered.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// A channel that was opened.
    pub(crate) fn get(&self, symbol: &Symbol) -> Option<&Channel> {
        self.channels.get(symbol)
    }

    /// A channel that was opened, to be changed.
    pub(crate) fn get_mut(&mut self, symbol: &Symbol) -> Option<&mut Channel> {
        self.channels.get_mut(symbol)
    }

    /// A channel, opened where it was not yet; `None` where the ledger is full.
    pub(crate) fn open(&mut self, symbol: &Symbol) -> Option<&mut Channel> {
        let full = self.channels.len() >= self.channels_max;
        match self.channels.entry(symbol.clone()) {
            Entry::Occupied(channel) => Some(channel.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(place) => {
                let position = Position { epoch: self.epoch, seq: 0 };
                Some(place.insert(Channel { position, last: None, state: None, pulse: Pulse::new() }))
            }
        }
    }

    /// Notes a symbol's state; an event only where it changed. `None` also where the ledger is full.
    pub fn state(&mut self, symbol: &Symbol, state: StateChange) -> Option<ChannelEvent> {
        self.open(symbol)?.say(symbol, state)
    }

    /// The state last noted for a symbol.
    pub fn state_of(&self, symbol: &Symbol) -> Option<SymbolState> {
        self.get(symbol)?.state()
    }

    /// The newest tick, marked as a snapshot at its old position, and the newest state, for those who missed them.
    pub fn repeat(&self, symbol: &Symbol) -> impl Iterator<Item = ChannelEvent> + use<> {
        let channel = self.channels.get(symbol);
        let position = channel.map_or(Position { epoch: self.epoch, seq: 0 }, |channel| channel.position);
        let last = channel.and_then(|channel| channel.last.clone());
        let tick = last.map(|tick| Body::Tick(Tick { snapshot: true, ..tick }));
        let state = channel.and_then(|channel| channel.state.clone()).map(Body::State);
        let symbol = symbol.clone();
        tick.into_iter().chain(state).map(move |body| ChannelEvent { symbol: symbol.clone(), position, body })
    }

    /// An event that says a state of a symbol without noting it: one that is not served needs no channel.
    pub(crate) fn unnumbered(&self, symbol: &Symbol, state: StateChange) -> ChannelEvent {
        let channel = self.channels.get(symbol);
        let position = channel.map_or(Position { epoch: self.epoch, seq: 0 }, |channel| channel.position);
        ChannelEvent { symbol: symbol.clone(), position, body: Body::State(state) }
    }

    /// The symbols something is remembered of that are not in this set.
    pub fn unwanted(&self, wanted: &BTreeSet<Symbol>) -> Vec<Symbol> {
        let remembered =
            self.channels.iter().filter(|(_, channel)| channel.state.is_some() || channel.last.is_some());
        remembered.map(|(symbol, _)| symbol).filter(|symbol| !wanted.contains(*symbol)).cloned().collect()
    }

    /// Forgets tick and state of a symbol nobody wants any more, and keeps its number, its rhythm and its hours.
    pub fn forget(&mut self, symbol: &Symbol) {
        if let Some(channel) = self.channels.get_mut(symbol) {
            channel.last = None;
            channel.state = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str) -> Symbol {
        Symbol::new(name).unwrap()
    }

    fn quote(received_us: i64) -> Tick {
        Tick {
            bid: None,
            ask: None,
            last: None,
            digits: 5,
            venue_time_ms: None,
            received_us,
            snapshot: false,
            delayed_s: None,
            details: None,
        }
    }

    /// Numbers a tick where there is room for its channel.
    fn seq(ledger: &mut Ledger, symbol: &Symbol, received_us: i64) -> Option<u64> {
        Some(ledger.open(symbol)?.tick(symbol, quote(received_us)).position.seq)
    }

    #[test]
    fn each_channel_counts_its_ticks_from_one_and_states_make_no_hole() {
        let mut ledger = Ledger::new(7, 10);
        let (eur, gbp) = (symbol("EURUSD"), symbol("GBPUSD"));
        let pending = StateChange::plain(SymbolState::Pending);
        assert_eq!(ledger.state(&eur, pending.clone()).unwrap().position, Position { epoch: 7, seq: 0 });
        assert!(ledger.state(&eur, pending).is_none(), "said once");
        assert_eq!(seq(&mut ledger, &eur, 1), Some(1));
        let live = StateChange::plain(SymbolState::Live);
        assert_eq!(ledger.state(&eur, live).unwrap().position.seq, 1);
        assert_eq!(seq(&mut ledger, &eur, 2), Some(2));
        assert_eq!(seq(&mut ledger, &gbp, 3), Some(1));
    }

    #[test]
    fn a_repeat_is_the_last_tick_at_its_own_position() {
        let mut ledger = Ledger::new(1, 10);
        let eur = symbol("EURUSD");
        assert_eq!(ledger.repeat(&eur).count(), 0);
        seq(&mut ledger, &eur, 1);
        seq(&mut ledger, &eur, 2);
        ledger.state(&eur, StateChange::plain(SymbolState::Live));
        let events: Vec<ChannelEvent> = ledger.repeat(&eur).collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].position.seq, 2);
        assert!(matches!(&events[0].body, Body::Tick(tick) if tick.snapshot && tick.received_us == 2));
    }

    #[test]
    fn a_forgotten_channel_keeps_its_number() {
        let mut ledger = Ledger::new(1, 10);
        let eur = symbol("EURUSD");
        seq(&mut ledger, &eur, 1);
        ledger.forget(&eur);
        assert_eq!(ledger.repeat(&eur).count(), 0);
        assert_eq!(seq(&mut ledger, &eur, 2), Some(2));
    }

    #[test]
    fn a_full_ledger_numbers_no_further_channel() {
        let mut ledger = Ledger::new(1, 1);
        assert_eq!(seq(&mut ledger, &symbol("A"), 1), Some(1));
        assert_eq!(seq(&mut ledger, &symbol("B"), 1), None);
        assert_eq!(seq(&mut ledger, &symbol("A"), 2), Some(2));
    }
}
