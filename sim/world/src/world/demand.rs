use std::collections::BTreeSet;

use tickcast_model::{Lease, Symbol};

use super::{Entry, World};
use crate::node::Power;
use crate::trouble::Trouble;
use crate::venue::Venue;

/// Gateways and others that want something.
pub(super) const HOLDERS: usize = 3;

/// One of those who want something.
pub(super) struct Holder {
    generation: u64,
    /// Positions in the names of the world.
    symbols: BTreeSet<usize>,
    alive: bool,
}

impl Holder {
    pub(super) fn new() -> Self {
        Self { generation: 0, symbols: BTreeSet::new(), alive: true }
    }
}

/// Who wants what.
impl<V: Venue> World<V> {
    /// Everybody wants other symbols, and one of them may come or go.
    pub fn change_demand(&mut self) {
        let holder = self.rng.usize(..HOLDERS);
        self.holders[holder].alive = holder == 0 || self.rng.u8(..4) > 0;
        let count = self.rng.usize(0..6);
        self.holders[holder].symbols = (0..count).map(|_| self.rng.usize(..self.names.len())).collect();
        self.holders[holder].generation += 1;
        self.agenda.retain(|_, entry| !matches!(entry, Entry::Named { .. }));
        self.renew();
    }

    /// This is wanted from now on, and nothing else; the last number is a symbol the venue does not have.
    pub fn demand(&mut self, symbols: &[usize]) {
        for holder in &mut self.holders {
            holder.alive = true;
            holder.symbols.clear();
            holder.generation += 1;
        }
        self.holders[0].symbols = symbols.iter().copied().collect();
        self.renew();
    }

    /// The wanted symbols the venue has.
    pub(super) fn wanted(&self) -> BTreeSet<Symbol> {
        let alive = self.holders.iter().filter(|holder| holder.alive);
        let known = self.names.len() - 1;
        let wanted = alive.flat_map(|holder| &holder.symbols).filter(|index| **index < known);
        wanted.map(|index| self.names[*index].clone()).collect()
    }

    /// Everybody alive says what they want.
    pub(crate) fn renew(&mut self) {
        if self.has(Trouble::BusAway) {
            return;
        }
        let now = self.now();
        for index in 0..self.holders.len() {
            let holder = &self.holders[index];
            if !holder.alive {
                continue;
            }
            let lease = Lease {
                holder: format!("holder-{index}"),
                generation: holder.generation,
                ttl_ms: u64::try_from(self.tuning.lease_ttl.as_millis()).unwrap(),
                symbols: holder.symbols.iter().map(|index| self.names[*index].clone()).collect(),
                repeat_last: self.rng.u8(..8) == 0,
            };
            for node in self.nodes.iter_mut().filter(|node| node.power == Power::Running) {
                if let Some(term) = &mut node.term {
                    term.supervisor.lease(now, lease.clone());
                }
            }
            self.settle();
        }
    }
}
