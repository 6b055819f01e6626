use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event};
use tickcast_bus::connect;
use tickcast_model::{Catalogue, VenueId};
use tickcast_service::Context;
use tickcast_session::{Session, Supervisor};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use crate::drive::{Outlets, drive};
use crate::intake::Intake;
use crate::keep::Keeper;
use crate::metrics::IngestMetrics;
use crate::outbox::Outbox;
use crate::publish::{publish_events, publish_health};
use crate::{Clock, Dial, IngestError, IngestSettings};

/// Events that may wait for the bus.
const OUTBOX_EVENTS: usize = 65_536;
/// Leases and questions that may wait for the venue loop.
const ORDERS: usize = 1_024;
/// Messages one bus subscription may hold back.
const SUBSCRIPTION_MESSAGES: usize = 1_024;
/// Time for the last messages to leave when stopping.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// Runs the ingest of one venue until the stop: everything but the venue's protocol, which `new_session` brings.
///
/// `keep_file` is where the session's secrets are stored ([`read_kept`](crate::read_kept) reads them back); without it
/// storing one is refused.
///
/// # Errors
/// [`IngestError`] where it cannot start. Neither a venue nor a bus that is away stops it.
pub async fn run<S: Session + Send + 'static>(
    venue: VenueId,
    settings: IngestSettings,
    dialler: impl Dial,
    new_session: impl FnMut() -> S + Send + 'static,
    keep_file: Option<PathBuf>,
    context: Context,
) -> Result<(), IngestError> {
    let clock = Clock::start();
    let now = clock.now();
    // A later incarnation is greater as long as the wall clock does not go back over a restart.
    let epoch = u64::try_from(now.unix_ms()).unwrap_or(0);
    let span = info_span!("ingest", %venue, epoch);
    context.ready.declare("bus");

    let metrics = context.metrics.register(|registry| IngestMetrics::register(registry, venue.as_str()));
    let (bus_up, connected) = watch::channel(false);
    let bus = {
        let context = context.clone();
        let notice = move |event| notice(&event, &bus_up, &context);
        connect(&settings.bus, &context_name(&venue), SUBSCRIPTION_MESSAGES, notice).await?
    };
    let intake = Intake::subscribe(bus.clone(), venue.clone(), epoch).await?;

    let supervisor = Supervisor::new(settings.supervisor(venue.clone(), epoch), now, new_session);
    let (health, said) = watch::channel(supervisor.health(now));
    let (catalogue, known) = watch::channel(Arc::new(Catalogue::default()));
    let (orders_in, orders) = mpsc::channel(ORDERS);
    let outbox = Arc::new(Outbox::new(OUTBOX_EVENTS));
    context.status.provide("venue", status_page(said.clone()));

    // The venue loop stops first, so that what it says last still leaves.
    let farewell = CancellationToken::new();
    let outlets = Outlets { outbox: Arc::clone(&outbox), health, catalogue, metrics: metrics.clone() };
    let driving =
        drive(supervisor, dialler, clock, orders, outlets, Keeper::new(keep_file), context.stop.clone());
    let events =
        publish_events(bus.clone(), venue, outbox, connected.clone(), metrics.clone(), farewell.clone());
    let healths = publish_health(bus.clone(), said, connected.clone(), metrics.clone(), farewell.clone());
    let serving = intake.serve(orders_in, known, connected.clone(), metrics, farewell.clone());

    let driving = tokio::spawn(driving.instrument(span.clone()));
    let others = [
        tokio::spawn(events.instrument(span.clone())),
        tokio::spawn(healths.instrument(span.clone())),
        tokio::spawn(serving.instrument(span.clone())),
    ];
    if let Err(error) = driving.await {
        warn!(%error, "the venue loop ended early");
    }
    farewell.cancel();
    let leaving = async {
        for other in others {
            let _ = other.await;
        }
        flush(&bus).await;
    };
    if tokio::time::timeout(FAREWELL_WITHIN, leaving).await.is_err() {
        warn!("the bus did not take the last messages");
    }
    Ok(())
}

/// A name people find in the bus's own monitoring.
fn context_name(venue: &VenueId) -> String {
    format!("ingest-{venue}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one flush: when stopping, so that the last words are heard"
)]
async fn flush(bus: &Client) {
    let _ = bus.flush().await;
}

fn notice(event: &Event, bus_up: &watch::Sender<bool>, context: &Context) {
    match event {
        Event::Connected => {
            info!("bus connected");
            context.ready.set("bus", Ok(()));
            bus_up.send_replace(true);
        }
        Event::Disconnected | Event::Closed => {
            warn!("bus disconnected");
            context.ready.set("bus", Err("disconnected".to_owned()));
            bus_up.send_replace(false);
        }
        other => warn!(event = %other, "bus"),
    }
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
