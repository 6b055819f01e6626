use std::time::Duration;

use tickcast_model::{Cause, CauseKind};

use super::World;
use crate::node::Term;
use crate::trouble::Trouble;
use crate::venue::{Door, Meter as _, Output, Venue};
use crate::wire::{Socket, Wire};

/// The way between the processes and the venue.
impl<V: Venue> World<V> {
    /// What arrives at the venue by now.
    pub(super) fn step_venue_side(&mut self, index: usize) {
        let now = self.true_now();
        let Some(Term { socket: Socket::Up(wire), .. }) = &mut self.nodes[index].term else { return };
        while let Some(bytes) = wire.to_venue.pop_due(now.elapsed) {
            self.venue.receive(wire.id, now, &bytes);
        }
    }

    /// What a process hears of its connection by now.
    pub(super) fn step_socket(&mut self, index: usize) {
        let (now, true_now) = (self.now(), self.true_now());
        let Some(term) = &mut self.nodes[index].term else { return };
        match &mut term.socket {
            Socket::Dialling { at, door } if *at <= now.elapsed => match door {
                Door::Silent => {}
                Door::Refused => {
                    term.socket = Socket::None;
                    term.supervisor.dial_failed(now, Cause::new(CauseKind::Refused, ""));
                }
                Door::Open => {
                    term.socket = Socket::Up(Wire::new(self.venue.open(true_now)));
                    term.supervisor.dialled(now);
                }
            },
            Socket::Up(wire) => {
                // Network pieces may arrive one by one or several in one read.
                let mut read = Vec::new();
                while let Some(bytes) = wire.to_ingest.pop_due(now.elapsed) {
                    read.extend_from_slice(&bytes);
                    if self.rng.bool() {
                        break;
                    }
                }
                let ended = wire
                    .to_ingest
                    .is_empty()
                    .then(|| wire.ends.take_if(|(at, _)| *at <= now.elapsed))
                    .flatten();
                if !read.is_empty() {
                    term.supervisor.received(now, &read);
                }
                if let Some((_, cause)) = ended {
                    // The supervisor may have ended it by itself on what was just read.
                    self.settle();
                    if let Some(term) = &mut self.nodes[index].term
                        && matches!(term.socket, Socket::Up(_))
                    {
                        term.socket = Socket::None;
                        term.supervisor.closed(now, cause);
                    }
                }
            }
            _ => {}
        }
    }

    /// What something takes on its way to the venue or back.
    pub(super) fn delay(&mut self) -> Duration {
        let longest = if self.has(Trouble::SlowNetwork) { 4_000 } else { 80 };
        Duration::from_millis(self.rng.u64(0..longest))
    }

    pub(super) fn dial(&mut self, index: usize) {
        self.dials += 1;
        self.note(|| format!("{index} dials"));
        let door = self.venue.door();
        let at = self.elapsed + self.delay() * 2;
        let elapsed = self.elapsed;
        let node = &mut self.nodes[index];
        node.meter.dialled();
        let dials = node.dialled.count(elapsed, Duration::from_secs(60));
        assert!(dials <= V::Meter::DIALS_PER_MINUTE_MAX, "{dials} dials within a minute");
        let term = self.nodes[index].term.as_mut().unwrap();
        assert!(matches!(term.socket, Socket::None), "never two sockets");
        term.socket = Socket::Dialling { at, door };
    }

    pub(super) fn deliver(&mut self, output: Output<V::Line>) {
        let at = self.elapsed + self.delay();
        let (Output::Send(line, _) | Output::End(line, _)) = output;
        let wires = self.nodes.iter_mut().filter_map(|node| match &mut node.term {
            Some(Term { socket: Socket::Up(wire), .. }) => Some(wire),
            _ => None,
        });
        let Some(wire) = wires.into_iter().find(|wire| wire.id == line) else { return };
        match output {
            Output::Send(_, bytes) => wire.carry(at, bytes, &mut self.rng),
            Output::End(_, why) => wire.ended(self.elapsed, Cause::new(CauseKind::PeerClosed, why)),
        }
    }
}
