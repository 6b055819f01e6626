use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use tickcast_model::{Body, ChannelEvent, Position, StateChange, Symbol, SymbolState, Tick};

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

#[derive(Debug, Default)]
struct Channel {
    seq: u64,
    last: Option<Tick>,
    state: Option<StateChange>,
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

    /// Numbers a tick; also says that the symbol is live where that was not known. `None` where the ledger is full.
    pub fn tick(&mut self, symbol: &Symbol, tick: Tick) -> Option<(ChannelEvent, Option<ChannelEvent>)> {
        let epoch = self.epoch;
        let channel = self.channel(symbol)?;
        channel.seq += 1;
        channel.last = Some(tick.clone());
        let position = Position { epoch, seq: channel.seq };
        let live = StateChange::plain(SymbolState::Live);
        let turned = (channel.state.as_ref() != Some(&live)).then(|| {
            channel.state = Some(live.clone());
            ChannelEvent { symbol: symbol.clone(), position, body: Body::State(live) }
        });
        Some((ChannelEvent { symbol: symbol.clone(), position, body: Body::Tick(tick) }, turned))
    }

    /// Notes a symbol's state; an event only where it changed. `None` also where the ledger is full.
    pub fn state(&mut self, symbol: &Symbol, state: StateChange) -> Option<ChannelEvent> {
        let epoch = self.epoch;
        let channel = self.channel(symbol)?;
        if channel.state.as_ref() == Some(&state) {
            return None;
        }
        channel.state = Some(state.clone());
        let position = Position { epoch, seq: channel.seq };
        Some(ChannelEvent { symbol: symbol.clone(), position, body: Body::State(state) })
    }

    /// The state last noted for a symbol.
    pub fn state_of(&self, symbol: &Symbol) -> Option<SymbolState> {
        self.channels.get(symbol)?.state.as_ref().map(|state| state.state)
    }

    /// The state last said of a symbol, with its reason.
    pub fn said(&self, symbol: &Symbol) -> Option<&StateChange> {
        self.channels.get(symbol)?.state.as_ref()
    }

    /// When the newest tick of a symbol was received, Unix microseconds.
    pub fn last_received_us(&self, symbol: &Symbol) -> Option<i64> {
        self.channels.get(symbol)?.last.as_ref().map(|tick| tick.received_us)
    }

    /// The newest tick, marked as a snapshot at its old position, and the newest state, for those who missed them.
    pub fn repeat(&self, symbol: &Symbol) -> impl Iterator<Item = ChannelEvent> + use<> {
        let channel = self.channels.get(symbol);
        let position = Position { epoch: self.epoch, seq: channel.map_or(0, |channel| channel.seq) };
        let last = channel.and_then(|channel| channel.last.clone());
        let tick = last.map(|tick| Body::Tick(Tick { snapshot: true, ..tick }));
        let state = channel.and_then(|channel| channel.state.clone()).map(Body::State);
        let symbol = symbol.clone();
        tick.into_iter().chain(state).map(move |body| ChannelEvent { symbol: symbol.clone(), position, body })
    }

    /// The symbols something is remembered of that are not in this set.
    pub fn unwanted(&self, wanted: &BTreeSet<Symbol>) -> Vec<Symbol> {
        let remembered =
            self.channels.iter().filter(|(_, channel)| channel.state.is_some() || channel.last.is_some());
        remembered.map(|(symbol, _)| symbol).filter(|symbol| !wanted.contains(*symbol)).cloned().collect()
    }

    /// Forgets tick and state of a symbol nobody wants any more, and keeps its number.
    pub fn forget(&mut self, symbol: &Symbol) {
        if let Some(channel) = self.channels.get_mut(symbol) {
            channel.last = None;
            channel.state = None;
        }
    }

    fn channel(&mut self, symbol: &Symbol) -> Option<&mut Channel> {
        let full = self.channels.len() >= self.channels_max;
        match self.channels.entry(symbol.clone()) {
            Entry::Occupied(channel) => Some(channel.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(place) => Some(place.insert(Channel::default())),
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
        }
    }

    #[test]
    fn each_channel_counts_its_ticks_from_one_and_states_make_no_hole() {
        let mut ledger = Ledger::new(7, 10);
        let (eur, gbp) = (symbol("EURUSD"), symbol("GBPUSD"));
        let pending = StateChange::plain(SymbolState::Pending);
        assert_eq!(ledger.state(&eur, pending.clone()).unwrap().position, Position { epoch: 7, seq: 0 });
        assert!(ledger.state(&eur, pending).is_none(), "said once");
        let (first, turned) = ledger.tick(&eur, quote(1)).unwrap();
        assert_eq!((first.position.seq, turned.is_some()), (1, true));
        let (second, turned) = ledger.tick(&eur, quote(2)).unwrap();
        assert_eq!((second.position.seq, turned.is_some()), (2, false));
        assert_eq!(ledger.tick(&gbp, quote(3)).unwrap().0.position.seq, 1);
    }

    #[test]
    fn a_repeat_is_the_last_tick_at_its_own_position() {
        let mut ledger = Ledger::new(1, 10);
        let eur = symbol("EURUSD");
        assert_eq!(ledger.repeat(&eur).count(), 0);
        ledger.tick(&eur, quote(1)).unwrap();
        ledger.tick(&eur, quote(2)).unwrap();
        let events: Vec<ChannelEvent> = ledger.repeat(&eur).collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].position.seq, 2);
        assert!(matches!(&events[0].body, Body::Tick(tick) if tick.snapshot && tick.received_us == 2));
    }

    #[test]
    fn a_forgotten_channel_keeps_its_number() {
        let mut ledger = Ledger::new(1, 10);
        let eur = symbol("EURUSD");
        ledger.tick(&eur, quote(1)).unwrap();
        ledger.forget(&eur);
        assert_eq!(ledger.repeat(&eur).count(), 0);
        assert_eq!(ledger.tick(&eur, quote(2)).unwrap().0.position.seq, 2);
    }

    #[test]
    fn a_full_ledger_numbers_no_further_channel() {
        let mut ledger = Ledger::new(1, 1);
        assert!(ledger.tick(&symbol("A"), quote(1)).is_some());
        assert!(ledger.tick(&symbol("B"), quote(1)).is_none());
        assert!(ledger.tick(&symbol("A"), quote(2)).is_some());
    }
}
