use tickcast_model::{DataState, SymbolState};

use super::World;
use crate::node::Term;
use crate::venue::Venue;
use crate::wire::Socket;

/// Whether all is well, and whether that is true on both sides.
impl<V: Venue> World<V> {
    /// True where receivers are told that all is well, and it is: on the one connection, at the venue too.
    pub(super) fn is_well(&mut self) -> bool {
        let wanted = self.wanted();
        let now = self.true_now();
        let Some(Term { supervisor, socket: Socket::Up(wire), .. }) =
            self.nodes.iter().find(|node| node.leads()).and_then(|node| node.term.as_ref())
        else {
            return false;
        };
        let wanted_there = supervisor.wanted();
        if wire.lost
            || !wanted.iter().all(|symbol| wanted_there.contains(symbol))
            || !self.receiver.is_logged_in()
        {
            return false;
        }
        let mut live = 0;
        for symbol in &wanted {
            match self.receiver.state(symbol) {
                Some(SymbolState::Live) => live += 1,
                Some(SymbolState::Closed) if !self.venue.is_open(now, symbol) => {}
                _ => return false,
            }
        }
        // A session that was lost without a word while nothing trades shows when something should.
        if self.venue.streams(wire.id).len() < live {
            return false;
        }
        let data = if live > 0 { DataState::Live } else { DataState::Idle };
        self.receiver
            .health
            .as_ref()
            .is_some_and(|health| health.data == data && (live == 0 || health.cause.is_none()))
    }

    /// True where something is wanted, and all of it is live.
    pub(crate) fn is_live(&mut self) -> bool {
        let wanted = self.wanted();
        !wanted.is_empty()
            && self.is_well()
            && wanted.iter().all(|symbol| self.receiver.state(symbol) == Some(SymbolState::Live))
    }

    fn leader(&self) -> Option<&Term<V>> {
        self.nodes.iter().find(|node| node.leads()).and_then(|node| node.term.as_ref())
    }

    /// What is wanted and exists is subscribed on both sides, ticks, and shows the venue's own prices.
    ///
    /// # Panics
    /// Where it is not so.
    pub fn assert_everything_wanted_is_held_and_true(&mut self) {
        assert!(self.is_well(), "well a moment ago, and not any more: {:?}", self.receiver.health);
        if !self.is_live() {
            return;
        }
        let wanted = self.wanted();
        let term = self.leader().expect("a leader");
        let Socket::Up(wire) = &term.socket else { panic!("no connection after all troubles ended") };
        let session = term.supervisor.session().expect("a session");
        assert_eq!(V::held(session), wanted, "held is what is wanted");
        // It may stream more: what was let go just when it said that the session was over, and it was not.
        let streams = self.venue.streams(wire.id);
        assert_eq!(wanted.difference(&streams).next(), None, "the venue agrees");
        assert_eq!(self.venue.connections(), 1, "one connection");
        for symbol in &wanted {
            let tick = self.receiver.tick(symbol).expect("a price");
            if wire.to_ingest.is_empty() {
                self.venue.assert_true(wire.id, symbol, tick);
            }
        }
        let unknown = self.names.last().unwrap();
        if term.supervisor.wanted().contains(unknown) {
            assert_eq!(
                self.receiver.state(unknown),
                Some(SymbolState::Refused),
                "a name the venue does not have"
            );
        }
    }
}
