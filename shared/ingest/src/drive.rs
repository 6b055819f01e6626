use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tickcast_model::{
    AuthState, Body, Catalogue, CauseKind, ChannelEvent, DataState, Hop, Lease, LinkState, Symbol,
    VenueHealth,
};
use tickcast_session::{Action, DemandNote, Note, Session, Supervisor};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::fence::Fence;
use crate::keep::Keeper;
use crate::link::{Link, LinkEvent};
use crate::metrics::IngestMetrics;
use crate::outbox::Outbox;
use crate::{Clock, Dial};

/// What others tell the venue loop.
pub(crate) enum Order {
    /// Somebody said what they want.
    Lease(Lease),
    /// The bus is connected, or is not.
    Bus(bool),
    /// Somebody wants a new connection.
    Reconnect,
    /// Somebody asks how this symbol stands: its hops, and when that was (Unix milliseconds).
    Explain(Symbol, oneshot::Sender<(Vec<Hop>, i64)>),
}

/// Where the venue loop puts what it has; none of it can make it wait.
pub(crate) struct Outlets {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) health: watch::Sender<VenueHealth>,
    pub(crate) catalogue: watch::Sender<Arc<Catalogue>>,
    pub(crate) metrics: IngestMetrics,
    /// Whether anything may still leave.
    pub(crate) fence: Fence,
}

/// How often health is said anew without a change: the beat (contract, section 4).
const BEAT: Duration = Duration::from_secs(1);

/// Owns the venue's socket and does what its supervisor says, until the stop; then closes and returns. Where the term is
/// over before, it drops the socket as it is and returns at once.
///
/// One loop, in this order: stop, time, orders, what was stored, socket. While it runs it waits for none of the bus, the
/// disk and whoever asks.
pub(crate) async fn drive<S: Session, D: Dial>(
    mut supervisor: Supervisor<S>,
    dialler: D,
    clock: Clock,
    mut orders: mpsc::Receiver<Order>,
    outlets: Outlets,
    mut keeper: Keeper,
    stop: CancellationToken,
) {
    let mut link = Link::Down;
    let mut received = BytesMut::new();
    let mut events = Vec::new();
    let mut beat = tokio::time::interval(BEAT);
    let mut stopped = pin!(stop.cancelled());
    // Moved on with each arrival, which costs less than a timer of its own each.
    let mut due = pin!(tokio::time::sleep(Duration::ZERO));
    while outlets.fence.holds() {
        while let Some(action) = supervisor.poll() {
            act(action, &mut link, &mut keeper, &dialler, &outlets, &mut events).await;
        }
        outlets.outbox.append(&mut events);
        let deadline = supervisor.deadline().map(|elapsed| clock.instant(elapsed));
        let Some(deadline) = deadline else { break };
        due.as_mut().reset(deadline);
        tokio::select! {
            biased;
            () = outlets.fence.broken() => {}
            // Not polled again: a supervisor that has stopped has no deadline.
            () = &mut stopped => supervisor.stop(clock.now()),
            () = &mut due => supervisor.timeout(clock.now()),
            _ = beat.tick() => {
                outlets.health.send_replace(supervisor.health(clock.now()));
                let refused = supervisor.take_refused();
                outlets.metrics.demand(supervisor.leases(), refused, supervisor.wanted().len());
                let (waiting, dropped) = outlets.outbox.measure();
                outlets.metrics.outbox(waiting, dropped);
                outlets.metrics.orders(orders.len());
            }
            Some(order) = orders.recv() => match order {
                Order::Lease(lease) => supervisor.lease(clock.now(), lease),
                Order::Bus(up) => supervisor.bus(clock.now(), up),
                Order::Reconnect => supervisor.reconnect(clock.now()),
                Order::Explain(symbol, answer) => {
                    let now = clock.now();
                    // Who asked may have gone.
                    let _ = answer.send((supervisor.explain(now, &symbol), now.unix_ms()));
                }
            },
            (number, result) = keeper.next() => {
                if let Err(reason) = &result {
                    error!(reason, "could not store new tokens");
                }
                supervisor.kept(clock.now(), number, result);
            }
            event = link.next(&mut received) => match event {
                LinkEvent::Dialled(Ok(())) => supervisor.dialled(clock.now()),
                LinkEvent::Dialled(Err(cause)) => {
                    outlets.metrics.failure(cause.kind);
                    supervisor.dial_failed(clock.now(), cause);
                }
                LinkEvent::Received => {
                    supervisor.received(clock.now(), &received);
                    received.clear();
                }
                LinkEvent::Ended(cause) => {
                    link = Link::Down;
                    outlets.metrics.failure(cause.kind);
                    supervisor.closed(clock.now(), cause);
                }
            },
        }
    }
    keeper.finish().await;
}

/// Does one thing; an event only joins those that go to the outbox together.
async fn act(
    action: Action,
    link: &mut Link,
    keeper: &mut Keeper,
    dialler: &impl Dial,
    outlets: &Outlets,
    events: &mut Vec<ChannelEvent>,
) {
    match action {
        Action::Dial => {
            outlets.metrics.attempt();
            *link = Link::dial(dialler, outlets.fence.clone());
        }
        Action::Send(bytes) => link.send(&bytes),
        Action::Close(cause) => {
            if cause.kind != CauseKind::Stopping {
                outlets.metrics.failure(cause.kind);
            }
            // Closing takes time where the venue does not answer; what it said before does not wait for that.
            outlets.outbox.append(events);
            link.close().await;
        }
        Action::Event(event) => {
            match &event.body {
                Body::Tick(tick) => {
                    let fresh = tick.venue_time_ms.filter(|_| !tick.snapshot);
                    outlets.metrics.tick(fresh.map(|at| seconds_between(at, tick.received_us)));
                }
                Body::State(state) => outlets.metrics.symbol_state(state.state.as_str()),
            }
            events.push(event);
        }
        Action::Health(health) => {
            let worth_a_line = {
                let before = outlets.health.borrow();
                (before.link, before.auth, before.data, &before.cause, before.attempt)
                    != (health.link, health.auth, health.data, &health.cause, health.attempt)
            };
            if worth_a_line {
                tell(&health);
            }
            outlets.metrics.health(&health);
            outlets.health.send_replace(health);
        }
        Action::Catalogue(catalogue) => {
            info!(instruments = catalogue.instruments.len(), version = catalogue.version, "catalogue known");
            outlets.catalogue.send_replace(catalogue);
        }
        Action::Keep(number, secret) => keeper.keep(number, secret),
        Action::Note(Note::Request(request)) => outlets.metrics.request(request),
        Action::Note(Note::Paced(request, delay)) => outlets.metrics.paced(request, delay),
        Action::Note(Note::Odd(kind)) => outlets.metrics.odd(kind),
        Action::Demand(note) => tell_limit(&note),
        Action::Recovered(after) => outlets.metrics.recovered(after),
    }
}

/// One line for each change of the health, as loud as what it says.
fn tell(health: &VenueHealth) {
    let (link, auth, data) = (health.link.as_str(), health.auth.as_str(), health.data.as_str());
    let (attempt, retry_in_ms) = (health.attempt, health.retry_in_ms);
    let cause = health.cause.as_ref().map(ToString::to_string);
    if health.auth == AuthState::Refused && health.link == LinkState::Down {
        error!(link, auth, data, cause, attempt, retry_in_ms, "venue refused the credentials");
    } else if health.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Stopping) {
        info!(link, auth, data, cause, "venue connection closed");
    } else if health.data == DataState::Stale || (health.link == LinkState::Down && attempt > 0) {
        warn!(link, auth, data, cause, attempt, retry_in_ms, "venue not well");
    } else {
        info!(link, auth, data, cause, attempt, "venue health");
    }
}

/// One line for each limit of the demand that begins to hold back, or ends to.
fn tell_limit(note: &DemandNote) {
    match note {
        DemandNote::TtlCut { holder, asked, granted } => warn!(
            holder,
            asked_ms = asked.as_millis(),
            granted_ms = granted.as_millis(),
            "leases of this holder run shorter than it asks"
        ),
        DemandNote::TooManyHolders { holder, max } => {
            warn!(holder, max, "lease refused, there are too many holders");
        }
        DemandNote::TooManySymbols { left_out, max } => {
            warn!(left_out, max, "more symbols are wanted than may be, some are left out");
        }
        DemandNote::RoomAgain => info!("no wanted symbol is left out any more"),
    }
}

/// From a venue's time stamp to our receive stamp; the venue's clock may be ahead, which counts as none.
#[expect(clippy::cast_precision_loss, reason = "a delay of days still fits a double to the microsecond")]
fn seconds_between(venue_time_ms: i64, received_us: i64) -> f64 {
    received_us.saturating_sub(venue_time_ms.saturating_mul(1000)).max(0) as f64 / 1e6
}
