use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Outbox, ServedVenue};
use crate::fault::{FaultKind as _, FaultRow, FaultSet, FaultSpec, SpecError};
use crate::{ConnectionId, EndingKind as _, Now, Output, ReasonKind as _, SimulatedVenue};

type OutboxOf<V> = Outbox<<V as ServedVenue>::Backlog, <V as SimulatedVenue>::Ending>;

/// The shortest time between two looks at the market: quotes due closer together leave in one write.
const MARKET_STEP: Duration = Duration::from_millis(1);

/// The venue and the outboxes of its connections, used by every task. The lock is held for one call at a time.
pub struct Shared<V: ServedVenue> {
    held: Mutex<Held<V>>,
    started: Instant,
    /// Told after each call: the next deadline may have come closer.
    moved: Notify,
    faults: watch::Sender<FaultSet<V::Fault>>,
}

struct Held<V: ServedVenue> {
    venue: V,
    outboxes: FxHashMap<ConnectionId, Arc<OutboxOf<V>>>,
}

impl<V: ServedVenue> Shared<V> {
    /// A venue whose time begins now.
    pub fn new(venue: V) -> Self {
        Self {
            held: Mutex::new(Held { venue, outboxes: FxHashMap::default() }),
            started: Instant::now(),
            moved: Notify::new(),
            faults: watch::Sender::new(FaultSet::default()),
        }
    }

    /// A client has finished its handshakes.
    pub fn open(&self) -> (ConnectionId, Arc<OutboxOf<V>>) {
        let outbox = Arc::new(Outbox::default());
        let id = self.call(|held, now| {
            let id = held.venue.open(now);
            held.outboxes.insert(id, outbox.clone());
            id
        });
        (id, outbox)
    }

    /// A client has sent this.
    pub fn receive(&self, id: ConnectionId, input: &V::Input) {
        self.act(|venue, now| venue.receive(id, now, input));
    }

    /// The connection's task is over.
    pub fn closed(&self, id: ConnectionId) {
        self.call(|held, _| {
            held.venue.closed(id, V::Reason::PEER);
            if held.outboxes.remove(&id).is_some() {
                info!(connection = id.number(), reason = V::Reason::PEER.as_str(), "connection closed");
            }
        });
    }

    /// Switches a fault; what is known about it.
    ///
    /// # Errors
    /// [`SpecError`] where it names symbols the venue does not have.
    pub(super) fn fault(
        &self,
        spec: FaultSpec<V::Fault>,
        on: bool,
    ) -> Result<&'static FaultRow<V::Fault>, SpecError> {
        let row = spec.row();
        self.look(|venue| venue.check(&spec))?;
        info!(fault = row.name, on, params = %spec.params(), "fault switched");
        self.act(|venue, now| venue.fault(now, spec, on));
        Ok(row)
    }

    /// Ends every lasting fault.
    pub(super) fn heal(&self) {
        info!("faults ended");
        self.act(|venue, now| venue.heal(now));
    }

    /// What was chosen about a fault that is on, and how long it lasts yet.
    pub(super) fn active_fault(&self, fault: V::Fault) -> Option<(Value, Option<Duration>)> {
        let elapsed = self.elapsed();
        self.look(|venue| {
            let (spec, until) = venue.active_faults().find(|(spec, _)| spec.fault() == fault)?;
            Some((spec.params(), until.map(|until| until.saturating_sub(elapsed))))
        })
    }

    /// The faults that are on, for waiting.
    pub fn faults(&self) -> watch::Receiver<FaultSet<V::Fault>> {
        self.faults.subscribe()
    }

    /// Looks at the venue without changing it.
    pub fn look<R>(&self, look: impl FnOnce(&V) -> R) -> R {
        look(&self.held.lock().unwrap_or_else(PoisonError::into_inner).venue)
    }

    /// Moves the market and the timers until `stop`.
    pub(super) async fn drive(&self, stop: &CancellationToken) {
        loop {
            let deadline = self.look(V::deadline).map(|due| tokio::time::Instant::from(self.started + due));
            let earliest = tokio::time::Instant::now() + MARKET_STEP;
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.max(earliest)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = due => self.act(|venue, now| venue.timeout(now)),
                () = self.moved.notified() => {}
            }
        }
    }

    /// What `/status` shows.
    pub(super) fn status(&self) -> Value {
        self.look(|venue| {
            let on = venue.faults();
            let names: Vec<&str> =
                V::Fault::TABLE.iter().filter(|row| on.has(row.fault)).map(|row| row.name).collect();
            let mut status = venue.status();
            status["faults"] = names.into();
            status
        })
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One call into the venue, and what comes of it put into the outboxes.
    pub fn act<R>(&self, act: impl FnOnce(&mut V, Now) -> R) -> R {
        self.call(|held, now| act(&mut held.venue, now))
    }

    fn call<R>(&self, call: impl FnOnce(&mut Held<V>, Now) -> R) -> R {
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
        Now { elapsed: self.elapsed(), unix_ms: i64::try_from(unix.as_millis()).unwrap_or(i64::MAX) }
    }
}

impl<V: ServedVenue> Held<V> {
    fn dispatch(&mut self) {
        while let Some(output) = self.venue.poll() {
            match output {
                Output::Send { id, message } => {
                    let Some(outbox) = self.outboxes.get(&id) else { continue };
                    if !outbox.put(message) {
                        warn!(connection = id.number(), "client reads too slowly, disconnected");
                        outbox.end(V::Ending::RESET);
                        self.outboxes.remove(&id);
                        self.venue.closed(id, V::Reason::SLOW_READER);
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
