use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::outbox::Outbox;
use crate::{
    ConnectionId, Ending, Fault, FaultRow, FaultSet, FaultSpec, Now, Output, Reason, Scenario, SpecError,
    Venue, VenueSettings,
};

/// The shortest time between two looks at the market: quotes due closer together leave in one write.
const MARKET_STEP: Duration = Duration::from_millis(1);

/// The venue and the outboxes of its connections, used by every task. The lock is held for one call at a time.
pub(super) struct Shared {
    held: Mutex<Held>,
    started: Instant,
    /// Told after each call: the next deadline may have come closer.
    moved: Notify,
    faults: watch::Sender<FaultSet>,
}

struct Held {
    venue: Venue,
    outboxes: FxHashMap<ConnectionId, Arc<Outbox>>,
}

impl Shared {
    pub(super) fn new(settings: VenueSettings) -> Self {
        Self {
            held: Mutex::new(Held { venue: Venue::new(settings), outboxes: FxHashMap::default() }),
            started: Instant::now(),
            moved: Notify::new(),
            faults: watch::Sender::new(FaultSet::default()),
        }
    }

    /// A client has finished its handshake.
    pub(super) fn open(&self) -> (ConnectionId, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::default());
        let id = self.act(|held, now| {
            let id = held.venue.open(now);
            held.outboxes.insert(id, outbox.clone());
            id
        });
        (id, outbox)
    }

    pub(super) fn receive(&self, id: ConnectionId, bytes: &[u8]) {
        self.act(|held, now| held.venue.receive(id, now, bytes));
    }

    /// The connection's task is over.
    pub(super) fn closed(&self, id: ConnectionId) {
        self.act(|held, _| {
            held.venue.closed(id, Reason::Peer);
            if held.outboxes.remove(&id).is_some() {
                info!(connection = id.number(), reason = Reason::Peer.as_str(), "connection closed");
            }
        });
    }

    /// Switches a fault; what is known about it.
    ///
    /// # Errors
    /// [`SpecError`] where it names symbols the venue does not have.
    pub(super) fn fault(&self, spec: FaultSpec, on: bool) -> Result<&'static FaultRow, SpecError> {
        let row = spec.row();
        self.look(|venue| venue.check(&spec))?;
        info!(fault = row.name, on, params = %spec.params(), "fault switched");
        self.act(|held, now| held.venue.fault(now, spec, on));
        Ok(row)
    }

    /// Ends every lasting fault.
    pub(super) fn heal(&self) {
        info!("faults ended");
        self.act(|held, now| held.venue.heal(now));
    }

    /// Begins a scenario.
    ///
    /// # Errors
    /// [`SpecError`] where it names symbols the venue does not have.
    pub(super) fn play(&self, scenario: Scenario) -> Result<(), SpecError> {
        self.look(|venue| scenario.specs().try_for_each(|spec| venue.check(spec)))?;
        info!(scenario = scenario.name, "scenario begins");
        self.act(|held, now| held.venue.play(now, scenario));
        Ok(())
    }

    /// Ends the scenario under way.
    pub(super) fn stop_playing(&self) {
        info!("scenario ended");
        self.act(|held, _| held.venue.stop_playing());
    }

    /// The scenario under way; null where there is none.
    pub(super) fn scenario(&self) -> Value {
        let elapsed = self.now().elapsed;
        self.look(|venue| {
            let Some((scenario, faults, next)) = venue.scenario() else { return Value::Null };
            let next_in = next.map(|at| at.saturating_sub(elapsed));
            json!({
                "name": scenario.name,
                "about": scenario.about,
                "seed": scenario.seed,
                "faults": faults,
                "next_in_ms": next_in.and_then(|left| u64::try_from(left.as_millis()).ok()),
            })
        })
    }

    /// What was chosen about a fault that is on, and how long it lasts yet.
    pub(super) fn active_fault(&self, fault: Fault) -> Option<(Value, Option<Duration>)> {
        let elapsed = self.now().elapsed;
        self.look(|venue| {
            let (spec, until) = venue.active_faults().find(|(spec, _)| spec.fault() == fault)?;
            Some((spec.params(), until.map(|until| until.saturating_sub(elapsed))))
        })
    }

    pub(super) fn faults(&self) -> watch::Receiver<FaultSet> {
        self.faults.subscribe()
    }

    /// Looks at the venue without changing it.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Venue) -> R) -> R {
        look(&self.held.lock().unwrap_or_else(PoisonError::into_inner).venue)
    }

    /// Moves the market and the timers until `stop`.
    pub(super) async fn drive(&self, stop: &CancellationToken) {
        loop {
            let deadline =
                self.look(Venue::deadline).map(|due| tokio::time::Instant::from(self.started + due));
            let earliest = tokio::time::Instant::now() + MARKET_STEP;
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.max(earliest)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = due => self.act(|held, now| held.venue.timeout(now)),
                () = self.moved.notified() => {}
            }
        }
    }

    /// What `/status` shows.
    pub(super) fn status(&self) -> Value {
        self.look(|venue| {
            let listings = venue.catalogue().listings();
            let name = |id: i64| venue.catalogue().position(id).map(|at| listings[at].name.as_str());
            let connection = |id: ConnectionId| {
                let accounts: Vec<i64> = venue.logged_in(id).collect();
                let symbols: Vec<&str> = venue.subscribed(id).into_iter().filter_map(name).collect();
                json!({
                    "id": id.number(),
                    "accounts": accounts,
                    "symbols": symbols,
                    "received_bytes": venue.received_bytes(id),
                })
            };
            let connections: Vec<Value> = venue.connections().map(connection).collect();
            let counters = venue.counters();
            let on: Vec<&str> = crate::FAULTS
                .iter()
                .filter(|row| venue.faults().has(row.fault))
                .map(|row| row.name)
                .collect();
            json!({
                "connections_opened": counters.opened,
                "connections_current": connections.len(),
                "received_bytes": counters.received_bytes,
                "connections": connections,
                "symbols_offered": listings.len(),
                "ticks_per_s": venue.settings().ticks_per_s,
                "spot_events_sent": counters.spot_events,
                "faults": on,
            })
        })
    }

    /// One call into the venue, and what comes of it put into the outboxes.
    fn act<R>(&self, call: impl FnOnce(&mut Held, Now) -> R) -> R {
        let now = self.now();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let result = call(&mut held, now);
        held.dispatch();
        while let Some(spec) = held.venue.played() {
            info!(fault = spec.row().name, on = true, params = %spec.params(), "fault switched by the scenario");
        }
        let faults = held.venue.faults();
        self.faults.send_if_modified(|known| std::mem::replace(known, faults) != faults);
        drop(held);
        self.moved.notify_one();
        result
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { elapsed: self.started.elapsed(), unix_ms: i64::try_from(unix.as_millis()).unwrap_or(i64::MAX) }
    }
}

impl Held {
    fn dispatch(&mut self) {
        while let Some(output) = self.venue.poll() {
            match output {
                Output::Send { id, bytes } => {
                    let Some(outbox) = self.outboxes.get(&id) else { continue };
                    if !outbox.put(&bytes) {
                        warn!(connection = id.number(), "client reads too slowly, disconnected");
                        outbox.end(Ending::Reset);
                        self.outboxes.remove(&id);
                        self.venue.closed(id, Reason::SlowReader);
                    }
                }
                Output::Close { id, ending, reason } => {
                    info!(connection = id.number(), reason = reason.as_str(), "connection closed");
                    if let Some(outbox) = self.outboxes.remove(&id) {
                        outbox.end(ending);
                    }
                }
            }
        }
    }
}

/// Waits until none of these faults is on.
pub(super) async fn none_of(faults: &mut watch::Receiver<FaultSet>, which: &[Fault]) {
    // An error means that the venue is gone, and its connections with it.
    let _ = faults.wait_for(|on| which.iter().all(|fault| !on.has(*fault))).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::put_frame;
    use crate::shell::outbox::OUTBOX_BYTES_MAX;
    use crate::wire::ProtoOaVersionReq;

    #[test]
    fn a_client_that_does_not_read_is_disconnected_and_counted() {
        let shared = Shared::new(VenueSettings::default());
        let (slow, outbox) = shared.open();
        let (quick, other) = shared.open();
        assert!(outbox.put(&vec![0; OUTBOX_BYTES_MAX]));
        let mut frame = bytes::BytesMut::new();
        put_frame(&mut frame, &ProtoOaVersionReq { payload_type: None }, None);
        shared.receive(slow, &frame);
        shared.receive(quick, &frame);
        assert!(outbox.reset.is_cancelled() && !other.reset.is_cancelled());
        shared.look(|venue| {
            assert_eq!(venue.connections().collect::<Vec<_>>(), [quick]);
            assert_eq!(venue.counters().closed[&Reason::SlowReader], 1);
        });
        shared.closed(slow);
        assert_eq!(shared.look(|venue| venue.counters().closed.len()), 1);
    }
}
