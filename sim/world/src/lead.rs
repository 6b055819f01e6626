//! Who leads: the store, the way to it, and what begins and ends with a term.

use std::time::Duration;

use tickcast_model::VenueId;
use tickcast_session::{
    DemandLimits, Leadership, LeadershipAction, LeadershipSettings, LeaseAnswer, Supervisor,
    SupervisorSettings,
};

use crate::node::{Node, Power, Term};
use crate::trouble::Trouble;
use crate::venue::Venue;
use crate::wire::Socket;
use crate::world::{Entry, World};

impl<V: Venue> World<V> {
    /// A process that has just been started.
    pub(crate) fn start_node(&mut self, index: usize, life: u64) -> Node<V> {
        let settings =
            LeadershipSettings { holder: format!("ingest-{index}-{life}"), ttl: self.tuning.leader_ttl };
        let mut node = Node::new(Leadership::new(settings, self.elapsed), self.venue.memory());
        node.life = life;
        node
    }

    /// Does what the process's leadership wants done.
    pub(crate) fn settle_leadership(&mut self, index: usize) {
        while let Some(action) = self.nodes[index].leadership.poll() {
            match action {
                LeadershipAction::Lead { epoch } => self.begin_term(index, epoch),
                LeadershipAction::StepDown(why) => {
                    self.note(|| format!("{index} steps down: {why:?}"));
                    self.end_term(index);
                }
                operation => {
                    let life = self.nodes[index].life;
                    let at = self.elapsed + self.store_delay();
                    self.plan(at, Entry::Asked { index, life, operation });
                }
            }
        }
    }

    /// An operation arrives at the store, or does not.
    pub(crate) fn asked(&mut self, index: usize, life: u64, operation: &LeadershipAction) {
        let lossy = self.has(Trouble::StoreLossy);
        if self.has(Trouble::StoreAway) || self.has(Trouble::BusAway) || lossy && self.rng.u8(..4) == 0 {
            // Some are told so, the others are never answered.
            if self.rng.bool() {
                let at = self.elapsed + self.store_delay();
                self.plan(
                    at,
                    Entry::Answered { index, life, op: number(operation), answer: LeaseAnswer::Failed },
                );
            }
            return;
        }
        let answer = self.store.perform(operation);
        let has_changed = !matches!(answer, LeaseAnswer::Seen(_) | LeaseAnswer::Conflict);
        if !lossy || self.rng.u8(..4) > 0 {
            let at = self.elapsed + self.store_delay();
            self.plan(at, Entry::Answered { index, life, op: number(operation), answer });
        }
        for other in (0..self.nodes.len()).filter(|other| has_changed && *other != index) {
            let at = self.elapsed + self.store_delay();
            self.plan(at, Entry::Hinted { index: other });
        }
    }

    /// An answer reaches the process that asked, if it still is the same one; one that stands still reads it later.
    pub(crate) fn answered(&mut self, index: usize, life: u64, op: u64, answer: LeaseAnswer) {
        let node = &mut self.nodes[index];
        if node.life != life || node.power == Power::Dead {
            return;
        }
        if node.power == Power::Paused {
            let at = self.elapsed + Duration::from_secs(1);
            return self.plan(at, Entry::Answered { index, life, op, answer });
        }
        node.leadership.answer(self.elapsed, op, answer);
        self.settle_leadership(index);
    }

    pub(crate) fn hinted(&mut self, index: usize) {
        if self.nodes[index].power == Power::Running {
            self.nodes[index].leadership.hint(self.elapsed);
            self.settle_leadership(index);
        }
    }

    fn store_delay(&mut self) -> Duration {
        let longest = if self.has(Trouble::StoreLossy) { 900 } else { 20 };
        Duration::from_millis(self.rng.u64(0..longest))
    }

    fn begin_term(&mut self, index: usize, epoch: u64) {
        self.note(|| format!("{index} leads as {epoch}"));
        assert!(epoch > self.epoch, "{epoch} comes after {}", self.epoch);
        self.epoch = epoch;
        let others = self.nodes.iter().filter(|node| node.leads()).count();
        assert_eq!(others, 0, "two lead at once");
        let settings = SupervisorSettings {
            venue: VenueId::new(V::NAME).unwrap(),
            epoch,
            connect_timeout: self.tuning.connect_timeout,
            silence_timeout: self.tuning.silence_timeout,
            stale_after: self.tuning.stale_after,
            symbol_stale_min: Duration::from_secs(5),
            symbol_stale_max: Duration::from_secs(300),
            backoff_min: self.tuning.backoff_min,
            backoff_max: self.tuning.backoff_max,
            auth_retry: self.tuning.auth_retry,
            dials: self.nodes[index].dials.clone(),
            stable_after: Duration::from_secs(30),
            linger: self.tuning.linger,
            demand: DemandLimits::default(),
            channels_max: 1000,
            seed: self.rng.u64(..),
        };
        let seed = settings.seed.rotate_left(17);
        let new_session = self.venue.sessions(&self.nodes[index].memory, &self.disk, seed);
        let supervisor = Supervisor::new(settings, self.now(), new_session);
        self.nodes[index].term = Some(Term { epoch, supervisor, socket: Socket::None, ready: false });
        // Who leads asks everybody what they want.
        let at = self.elapsed + self.store_delay();
        self.plan(at, Entry::AskedForDemand);
    }

    /// Ends a term without another word: the connection is closed, nothing is published.
    pub(crate) fn end_term(&mut self, index: usize) {
        if let Some(Term { socket: Socket::Up(wire), .. }) = self.nodes[index].term.take() {
            self.venue.closed(wire.id);
        }
    }
}

fn number(action: &LeadershipAction) -> u64 {
    match action {
        LeadershipAction::Read { op }
        | LeadershipAction::Write { op, .. }
        | LeadershipAction::Delete { op, .. }
        | LeadershipAction::SkipAhead { op, .. } => *op,
        LeadershipAction::Lead { .. } | LeadershipAction::StepDown(_) => panic!("no operation"),
    }
}
