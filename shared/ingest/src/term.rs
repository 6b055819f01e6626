use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use tickcast_model::{Catalogue, VenueId};
use tickcast_service::Context;
use tickcast_session::{DialPace, Session, Supervisor};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span, warn};

use crate::companions::Companions;
use crate::drive::{Outlets, drive};
use crate::intake::Intake;
use crate::keep::Keeper;
use crate::lead::Term;
use crate::metrics::IngestMetrics;
use crate::outbox::Outbox;
use crate::publish::{Publisher, publish_events, publish_health};
use crate::{Clock, Dial, IngestError, IngestSettings};

/// Events that may wait for the bus.
const OUTBOX_EVENTS: usize = 65_536;
/// Leases and questions that may wait for the venue loop.
const ORDERS: usize = 1_024;
/// Time for the last messages to leave when stopping.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// Everything that serves a venue for one term of leadership after another.
pub(crate) struct Office<D, F> {
    pub(crate) bus: Client,
    pub(crate) venue: VenueId,
    pub(crate) settings: IngestSettings,
    pub(crate) dialler: D,
    pub(crate) new_session: Arc<Mutex<F>>,
    pub(crate) dials: DialPace,
    pub(crate) keep_file: Option<PathBuf>,
    pub(crate) clock: Clock,
    pub(crate) connected: watch::Receiver<bool>,
    pub(crate) metrics: IngestMetrics,
    pub(crate) context: Context,
}

impl<D: Dial, S: Session + Send + 'static, F: FnMut() -> S + Send + 'static> Office<D, F> {
    /// Serves one term, until it is over or the process stops. Nothing of it is left when this returns.
    ///
    /// # Errors
    /// [`IngestError`] where it cannot begin, or where a task of it has failed: then somebody else is to take over.
    pub(crate) async fn serve(&self, term: Term) -> Result<(), IngestError> {
        let Term { epoch, fence } = term;
        let (venue, now) = (self.venue.clone(), self.clock.now());
        let span = info_span!("ingest", %venue, epoch);
        let intake = Intake::subscribe(self.bus.clone(), venue.clone(), epoch, fence.clone()).await?;
        let new_session = Arc::clone(&self.new_session);
        let new_session = move || (new_session.lock().unwrap_or_else(PoisonError::into_inner))();
        let settings = self.settings.supervisor(venue.clone(), epoch, self.dials.clone());
        let supervisor = Supervisor::new(settings, now, new_session);
        let (health, said) = watch::channel(supervisor.health(now));
        let (catalogue, known) = watch::channel(Arc::new(Catalogue::default()));
        let (orders_in, orders) = mpsc::channel(ORDERS);
        let outbox = Arc::new(Outbox::new(OUTBOX_EVENTS));
        self.context.status.provide("venue", status_page(said.clone()));

        // The venue loop stops first, so that what it says last still leaves.
        let farewell = CancellationToken::new();
        let outlets = Outlets {
            outbox: Arc::clone(&outbox),
            health,
            catalogue,
            metrics: self.metrics.clone(),
            fence: fence.clone(),
        };
        let keeper = Keeper::new(self.keep_file.clone());
        let halt = self.context.stop.child_token();
        let driving =
            drive(supervisor, self.dialler.clone(), self.clock, orders, outlets, keeper, halt.clone());
        let publisher = Publisher {
            bus: self.bus.clone(),
            connected: self.connected.clone(),
            metrics: self.metrics.clone(),
            fence: fence.clone(),
        };
        let mut companions = Companions::within(span.clone());
        companions.start("events", publish_events(publisher.clone(), venue, outbox, farewell.clone()));
        companions.start("health", publish_health(publisher.clone(), said, farewell.clone()));
        companions.start("intake", intake.serve(orders_in, known, publisher, farewell.clone()));

        let driving = tokio::spawn(driving.instrument(span));
        let driven = companions.watch_over(driving, &halt, &fence).await;
        farewell.cancel();
        if !fence.holds() {
            // Not another word: somebody else may lead by now.
            companions.abort();
        }
        let leaving = async {
            companions.all_ended().await;
            if fence.holds() {
                flush(&self.bus).await;
            }
        };
        if tokio::time::timeout(FAREWELL_WITHIN, leaving).await.is_err() {
            warn!("the bus did not take the last messages");
            companions.abort();
        }
        fence.end();
        self.context.status.provide("venue", || serde_json::Value::Null);
        driven
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one flush: when stopping, so that the last words are heard"
)]
async fn flush(bus: &Client) {
    let _ = bus.flush().await;
}

fn status_page(
    health: watch::Receiver<tickcast_model::VenueHealth>,
) -> impl Fn() -> serde_json::Value + Send + Sync + 'static {
    move || {
        let health = health.borrow();
        serde_json::json!({
            "venue": health.venue.as_str(),
            "epoch": health.epoch.to_string(),
            "link": health.link.as_str(),
            "auth": health.auth.as_str(),
            "data": health.data.as_str(),
            "linkSince": health.link_since_ms,
            "authSince": health.auth_since_ms,
            "dataSince": health.data_since_ms,
            "cause": health.cause.as_ref().map(ToString::to_string),
            "causeCode": health.cause.as_ref().map(|cause| cause.kind.code()),
            "attempt": health.attempt,
            "retryInMs": health.retry_in_ms,
            "lastTickAgeMs": health.last_tick_age_ms,
            "catalogueVersion": health.catalogue_version,
            "at": health.at_ms,
        })
    }
}
