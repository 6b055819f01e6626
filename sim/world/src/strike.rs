//! How troubles begin and end.

use std::time::Duration;

use crate::node::{Power, Term};
use crate::trouble::{Case, Trouble};
use crate::venue::Venue;
use crate::wire::Socket;
use crate::world::{Entry, World};

impl<V: Venue> World<V> {
    /// Lets a trouble begin, with its usual parameters or some by chance. It ends by itself after a time its case gives
    /// it, or with [`World::heal`].
    pub fn strike(&mut self, case: &'static Case) {
        let lasts = if case.lasts_s.is_empty() { 0 } else { self.rng.u64(case.lasts_s.clone()) };
        let drawn = self.rng.bool() && case.alone_for.is_none();
        self.strike_as(case, Duration::from_secs(lasts), drawn);
    }

    /// Lets a trouble begin with its usual parameters that ends by itself after this time, if it is one that lasts.
    pub fn strike_for(&mut self, case: &'static Case, lasts: Duration) {
        self.strike_as(case, lasts, false);
    }

    fn strike_as(&mut self, case: &'static Case, lasts: Duration, drawn: bool) {
        let leader = self.nodes.iter().position(crate::node::Node::leads);
        if self.has(case.trouble) || !self.may_strike(case, leader.is_some()) {
            return;
        }
        self.struck += 1;
        if let Some(alone_for) = case.alone_for {
            self.alone_until = Some(self.elapsed + alone_for);
        }
        self.note(|| format!("--- {}", case.name));
        let untroubled = self.present.is_empty() && self.is_live() && !drawn;
        let leader = leader.unwrap_or_default();
        self.begin(case.trouble, leader, drawn);
        if case.cuts {
            self.begin(Trouble::Venue("cut"), leader, false);
        }
        let lasts = Some(lasts).filter(|_| !case.lasts_s.is_empty());
        if let Some(lasts) = lasts {
            self.present.push((case.trouble, leader));
            self.plan(self.elapsed + lasts, Entry::Ends(case.trouble));
        }
        if let Some(within) = case.named_within.filter(|_| untroubled) {
            let within = within(&self.tuning);
            if lasts.is_none_or(|lasts| lasts > within) {
                let named = Entry::Named { case: case.name, struck: self.elapsed, number: self.struck };
                self.plan(self.elapsed + within, named);
            }
        }
    }

    /// What nobody could recover from does not happen: then a person is needed.
    fn may_strike(&mut self, case: &Case, led: bool) -> bool {
        let restarts = self.has(Trouble::Killed) || self.has(Trouble::Stopped);
        match case.trouble {
            // Somebody has to remember the epochs of a store that has forgotten them.
            Trouble::StoreWiped => !restarts && self.nodes.iter().all(|node| node.leadership.has_looked()),
            Trouble::Killed | Trouble::Stopped => led && !self.has(Trouble::StoreWiped),
            Trouble::Paused => led,
            _ if case.alone_for.is_some() => self.present.is_empty() && self.is_live(),
            _ => self.alone_until.is_none_or(|until| until < self.elapsed),
        }
    }

    /// True while this trouble lasts.
    pub(crate) fn has(&self, trouble: Trouble) -> bool {
        self.present.iter().any(|(present, _)| *present == trouble)
    }

    /// Ends every trouble now.
    pub fn heal(&mut self) {
        self.note(|| "--- all troubles end".into());
        for (trouble, node) in std::mem::take(&mut self.present) {
            self.end(trouble, node);
        }
        self.venue.heal(self.true_now());
        self.settle();
        self.agenda.retain(|_, entry| !matches!(entry, Entry::Ends(_) | Entry::Named { .. }));
    }

    /// Ends one trouble.
    pub(crate) fn over(&mut self, trouble: Trouble) {
        if let Some(at) = self.present.iter().position(|(present, _)| *present == trouble) {
            let (_, node) = self.present.remove(at);
            self.end(trouble, node);
        }
    }

    fn begin(&mut self, trouble: Trouble, leader: usize, drawn: bool) {
        match trouble {
            Trouble::Venue(fault) => {
                let now = self.true_now();
                let words = self.venue.begin(now, fault, drawn.then_some(&mut self.rng));
                self.note(|| format!("    {words}"));
            }
            Trouble::LinkLost => {
                for node in &mut self.nodes {
                    if let Some(Term { socket: Socket::Up(wire), .. }) = &mut node.term {
                        wire.lose();
                    }
                }
            }
            Trouble::Paused => self.pause(leader),
            Trouble::Suspended => (0..self.nodes.len()).for_each(|index| self.pause(index)),
            Trouble::Killed => self.kill(leader),
            Trouble::Stopped => {
                let now = self.now();
                if let Some(term) = &mut self.nodes[leader].term {
                    term.supervisor.stop(now);
                }
                self.settle();
                if let Some(term) = self.nodes[leader].term.take() {
                    assert!(matches!(term.socket, Socket::None), "stopped with a connection");
                }
                self.nodes[leader].leadership.leave(self.elapsed);
                self.settle_leadership(leader);
            }
            Trouble::ClockStep => self.clock_off_ms = self.rng.i64(-60_000..60_000),
            Trouble::BusAway => self.bus(false),
            Trouble::StoreWiped => self.store.wipe(),
            Trouble::SlowNetwork | Trouble::SlowBus | Trouble::StoreAway | Trouble::StoreLossy => {}
        }
        self.settle();
    }

    fn pause(&mut self, index: usize) {
        if self.nodes[index].power == Power::Running {
            self.nodes[index].power = Power::Paused;
        }
    }

    fn kill(&mut self, index: usize) {
        self.nodes[index].power = Power::Dead;
        self.end_term(index);
    }

    fn end(&mut self, trouble: Trouble, node: usize) {
        self.note(|| format!("--- {trouble:?} ends"));
        match trouble {
            Trouble::Venue(fault) => self.venue.end(self.true_now(), fault),
            Trouble::Paused => self.resume(node),
            Trouble::Suspended => (0..self.nodes.len()).for_each(|index| self.resume(index)),
            Trouble::Killed | Trouble::Stopped => {
                self.end_term(node);
                let life = self.nodes[node].life + 1;
                let published = std::mem::take(&mut self.nodes[node].published);
                self.nodes[node] = self.start_node(node, life);
                self.nodes[node].published = published;
                self.settle_leadership(node);
            }
            Trouble::BusAway => {
                self.bus(true);
                self.renew();
            }
            _ => {}
        }
        self.settle();
    }

    /// A process goes on: the first thing it looks at is whether its term is over.
    fn resume(&mut self, index: usize) {
        let still = self.present.iter().any(|(present, node)| {
            *present == Trouble::Suspended || *present == Trouble::Paused && *node == index
        });
        if self.nodes[index].power == Power::Paused && !still {
            self.nodes[index].power = Power::Running;
            self.nodes[index].leadership.timeout(self.elapsed);
            self.settle_leadership(index);
        }
    }

    fn bus(&mut self, up: bool) {
        let now = self.now();
        for node in self.nodes.iter_mut().filter(|node| node.power == Power::Running) {
            if let Some(term) = &mut node.term {
                term.supervisor.bus(now, up);
            }
        }
    }
}
