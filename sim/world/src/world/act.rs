use std::time::Duration;

use tickcast_model::{AuthState, Body, CauseKind, DataState, LinkState, SymbolState, VenueHealth};
use tickcast_session::{Action, Note};

use super::{Entry, World};
use crate::node::{Node, Said, Term};
use crate::trouble::Trouble;
use crate::venue::{Meter as _, Venue};
use crate::wire::Socket;

/// A health that is not repeated for so long means that the ingest is gone (contract, section 4).
const BEAT_MISSED: Duration = Duration::from_secs(3);
/// What may wait on a connection towards the venue.
const UNSENT_MAX: usize = 10_000;

/// What receivers hear of the beats.
#[derive(Clone, Copy)]
pub(super) enum Led {
    Now,
    Unled(Duration),
    Noticed,
}

impl Led {
    /// When receivers notice.
    pub(super) fn deadline(self) -> Option<Duration> {
        match self {
            Self::Unled(since) => Some(since + BEAT_MISSED),
            Self::Now | Self::Noticed => None,
        }
    }
}

/// What the processes do, and what of it reaches those who want prices.
impl<V: Venue> World<V> {
    /// Does everything that is to be done at this instant.
    pub(crate) fn settle(&mut self) {
        for index in 0..self.nodes.len() {
            while let Some(action) = self.nodes[index].term.as_mut().and_then(|term| term.supervisor.poll()) {
                self.act(index, action);
            }
        }
        while let Some(output) = self.venue.poll() {
            self.deliver(output);
        }
    }

    fn act(&mut self, index: usize, action: Action) {
        match action {
            Action::Dial => self.dial(index),
            Action::Send(bytes) => {
                let at = self.elapsed + self.delay();
                let elapsed = self.elapsed;
                let node = &mut self.nodes[index];
                node.meter.sent(elapsed, &bytes);
                let Some(Term { socket: Socket::Up(wire), .. }) = &mut node.term else {
                    panic!("sent without a connection")
                };
                if !wire.lost {
                    wire.to_venue.push(at, bytes);
                    assert!(wire.to_venue.len() < UNSENT_MAX, "requests pile up");
                }
            }
            Action::Close(cause) => {
                self.note(|| format!("close {cause}"));
                let term = self.nodes[index].term.as_mut().unwrap();
                assert!(!matches!(term.socket, Socket::None), "closed without a connection");
                if let Socket::Up(wire) = std::mem::replace(&mut term.socket, Socket::None) {
                    self.venue.closed(wire.id);
                }
            }
            Action::Event(event) => {
                let term = self.nodes[index].term.as_ref().unwrap();
                if let Body::Tick(tick) = &event.body
                    && !tick.snapshot
                {
                    assert!(matches!(term.socket, Socket::Up(_)), "a tick without a connection");
                    assert!(term.ready, "a tick before ready");
                }
                assert_eq!(event.position.epoch, term.epoch);
                if let Body::State(state) = &event.body {
                    self.stales += u64::from(state.state == SymbolState::Stale);
                    let line = format!("{} {} {:?}", event.symbol, state.state.as_str(), state.code);
                    self.note(|| line);
                }
                self.publish(index, Said::Event(event));
            }
            Action::Health(health) => {
                self.judge(&health);
                let term = self.nodes[index].term.as_mut().unwrap();
                term.ready = (health.link, health.auth) == (LinkState::Up, AuthState::Ok);
                self.publish(index, Said::Health(health));
            }
            Action::Keep(number, secret) => {
                *self.disk.lock().unwrap() = Some(secret.expose().to_owned());
                let at = self.elapsed + Duration::from_millis(self.rng.u64(0..50));
                let life = self.nodes[index].life;
                self.plan(at, Entry::Kept { index, life, number });
            }
            Action::Recovered(_) => self.recoveries += 1,
            Action::Note(Note::Odd(kind)) => {
                assert_ne!(kind, "tick_before_ready");
                assert_ne!(kind, "channels_full");
            }
            Action::Note(_) | Action::Demand(_) | Action::Catalogue(_) => {}
        }
    }

    fn judge(&mut self, health: &VenueHealth) {
        self.stales += u64::from(health.data == DataState::Stale);
        self.note(|| {
            let (link, auth, data) = (health.link, health.auth, health.data);
            let cause = health.cause.as_ref().map(ToString::to_string);
            format!("{link:?} {auth:?} {data:?} attempt {} {cause:?}", health.attempt)
        });
        if health.link == LinkState::Down && health.attempt > 0 {
            let stopping = health.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Stopping);
            assert!(stopping || health.retry_in_ms.is_some(), "down without a plan: {health:?}");
        }
    }

    /// A process says something on the bus. Only the one that leads may.
    fn publish(&mut self, index: usize, said: Said) {
        let epoch = self.nodes[index].term.as_ref().map(|term| term.epoch);
        assert_eq!(epoch, Some(self.epoch), "{index} publishes and does not lead");
        let slow = self.has(Trouble::SlowBus) || self.has(Trouble::BusAway);
        if !slow && self.nodes[index].published.is_empty() {
            return self.hear(said);
        }
        let late = if slow { self.rng.u64(0..5_000) } else { 0 };
        let at = self.elapsed + Duration::from_millis(late);
        let published = &mut self.nodes[index].published;
        let at = published.back().map_or(at, |(last, _)| at.max(*last));
        published.push_back((at, said));
    }

    /// A message of the bus arrives.
    pub(super) fn hear(&mut self, said: Said) {
        match said {
            Said::Event(event) => _ = self.receiver.event::<V>(self.elapsed, event),
            Said::Health(health) => _ = self.receiver.health(self.elapsed, health),
        }
    }

    /// Receivers hear nothing while nobody who leads runs.
    pub(super) fn notice_who_leads(&mut self) {
        let leads = self.nodes.iter().any(Node::leads) && !self.has(Trouble::BusAway);
        self.led = match self.led {
            _ if leads => Led::Now,
            Led::Now => Led::Unled(self.elapsed),
            Led::Unled(since) if since + BEAT_MISSED <= self.elapsed => {
                self.receiver.ingest_gone(self.elapsed);
                Led::Noticed
            }
            led => led,
        };
    }
}
