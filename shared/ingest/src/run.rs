use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Event;
use tickcast_bus::{BusNews, BusWatch, connect};
use tickcast_model::VenueId;
use tickcast_service::Context;
use tickcast_session::{DialPace, Session};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::companions::begin_anew;
use crate::history::Recorder;
use crate::lead::{Leader, Role, Term};
use crate::lease::{LeaseStore, lease_key};
use crate::metrics::{HistoryMetrics, IngestMetrics, LeaderMetrics};
use crate::term::Office;
use crate::{Clock, Dial, IngestError, IngestSettings};

/// Messages one bus subscription may hold back.
const SUBSCRIPTION_MESSAGES: usize = 1_024;
/// Time for the lease to be given back.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// What an ingest connects to.
pub struct Upstream {
    /// The venue.
    pub venue: VenueId,
    /// The account at the venue. What the venue allows once, an application on an account, exactly one process holds.
    pub account: String,
    /// The id of the application, which is said to nobody.
    pub application: String,
    /// How often the venue may be dialled.
    pub dials: DialPace,
    /// Where the session's secrets are stored ([`read_kept`](crate::read_kept) reads them back); without it storing one
    /// is refused.
    pub keep_file: Option<PathBuf>,
}

/// Runs the ingest of one venue until the stop: everything but the venue's protocol, which `new_session` brings.
///
/// Only while this process leads among those that serve the same account is there a connection; before and after, it
/// stands by.
///
/// # Errors
/// [`IngestError`] where it cannot start, or where a task of its own has failed. Neither a venue nor a bus that is away
/// stops it.
pub async fn run<S: Session + Send + 'static>(
    upstream: Upstream,
    settings: IngestSettings,
    dialler: impl Dial,
    new_session: impl FnMut() -> S + Send + 'static,
    context: Context,
) -> Result<(), IngestError> {
    let venue = upstream.venue;
    context.ready.declare("bus");
    context.ready.declare("leader");
    let metrics = context.metrics.register(|registry| IngestMetrics::register(registry, venue.as_str()));
    let (bus_up, connected) = watch::channel(false);
    let bus = {
        let (watch, metrics, context) = (Mutex::default(), metrics.clone(), context.clone());
        let notice = Notice { watch, bus_up, metrics, context };
        let hear = move |event| notice.hear(&event);
        connect(&settings.bus, &context_name(&venue), SUBSCRIPTION_MESSAGES, hear).await?
    };
    let key = lease_key(&venue, &upstream.account, &upstream.application);
    let store = LeaseStore::new(bus.clone(), &key, settings.leader_replicas);
    let (roles, mut role) = watch::channel(Role::default());
    let (abandon, abandoned) = mpsc::channel(1);
    show(&context, role.clone(), key.clone());
    let leader = Leader {
        hints: bus.subscribe(store.subject().to_owned()).await?,
        store,
        key,
        ttl: settings.leader_ttl,
        connected: connected.clone(),
        abandoned,
        roles,
        metrics: context.metrics.register(|registry| LeaderMetrics::register(registry, venue.as_str())),
        context: context.clone(),
    };
    if let Some(bounds) = settings.history.clone() {
        let metrics = context.metrics.register(|registry| HistoryMetrics::register(registry, venue.as_str()));
        let recorder = Recorder { bounds, bus: bus.clone(), connected: connected.clone(), metrics };
        let stop = context.stop.clone();
        let recording = begin_anew("history", stop.clone(), move || recorder.clone().run(stop.clone()));
        tokio::spawn(recording.instrument(info_span!("history", %venue)));
    }
    let leave = CancellationToken::new();
    let mut leading = tokio::spawn(leader.run(leave.clone()).instrument(info_span!("leader", %venue)));
    let office = Office {
        bus,
        venue,
        settings,
        dialler,
        new_session: Arc::new(Mutex::new(new_session)),
        dials: upstream.dials,
        keep_file: upstream.keep_file,
        clock: Clock::start(),
        connected,
        metrics,
        context: context.clone(),
    };
    let mut last = None;
    let served = loop {
        let term = tokio::select! {
            biased;
            () = context.stop.cancelled() => break Ok(()),
            ended = &mut leading => return ended.unwrap_or(Err(IngestError::Ended("leader"))),
            term = next_term(&mut role, last) => term,
        };
        last = Some(term.epoch);
        let served = office.serve(term).await;
        if served.is_err() || context.stop.is_cancelled() {
            break served;
        }
        // It ended by itself; the leader may not know yet. Only one epoch can wait to be heard, for there is no other.
        let _ = abandon.try_send(last.unwrap_or_default());
    };
    // The connection is closed and the last word said: now another one may.
    leave.cancel();
    if tokio::time::timeout(LEAVE_WITHIN, &mut leading).await.is_err() {
        warn!("the lease could not be given back; it runs out by itself");
    }
    served
}

/// Waits for a term after this one.
async fn next_term(role: &mut watch::Receiver<Role>, last: Option<u64>) -> Term {
    let next = |role: &Role| matches!(role, Role::Leading(term) if Some(term.epoch) != last);
    match role.wait_for(next).await.as_deref() {
        Ok(Role::Leading(term)) => term.clone(),
        // The leader has ended; whoever waits beside hears why.
        _ => pending().await,
    }
}

/// Shows the role on the admin pages.
fn show(context: &Context, role: watch::Receiver<Role>, key: String) {
    let words = role.clone();
    context.ready.explain("leader", move || words.borrow().words());
    context.status.provide("leader", move || role.borrow().page(&key));
}

/// A name people find in the bus's own monitoring.
fn context_name(venue: &VenueId) -> String {
    format!("ingest-{venue}")
}

/// What the bus client says, as the rest of the process hears it.
struct Notice {
    watch: Mutex<BusWatch>,
    bus_up: watch::Sender<bool>,
    metrics: IngestMetrics,
    context: Context,
}

impl Notice {
    fn hear(&self, event: &Event) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        match watch.hear(event) {
            BusNews::Up => {
                info!("bus connected");
                self.bus_up.send_replace(true);
            }
            BusNews::Down => {
                warn!("bus disconnected");
                self.bus_up.send_replace(false);
            }
            BusNews::Trouble { error, is_new: true } => {
                warn!(error, "the bus or its client reports an error");
            }
            BusNews::Trouble { error, is_new: false } => debug!(error, "the same error of the bus"),
            // A lease is said again, a question asked again.
            BusNews::SlowConsumer => self.metrics.slow_consumer(),
            BusNews::Nothing => {}
        }
        self.context.ready.set("bus", watch.state());
    }
}
