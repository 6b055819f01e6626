use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{HeaderMap, Request};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tickcast_bus::{catalogue_subject, decode_catalogue, decode_health, demand_subject, health_subject};
use tickcast_model::{Catalogue, VenueId};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::bulletin::Bulletin;
use crate::catalogue::Book;
use crate::interest::InterestSignal;
use crate::metrics::GatewayMetrics;
use crate::protocol::StatusView;
use crate::session::VenueNumber;
use crate::venues::{Venues, now};

/// What follows one venue's health and catalogue.
pub struct Watch {
    /// Which venue.
    pub venue: VenueNumber,
    /// The bus.
    pub client: async_nats::Client,
    /// Whether the bus is connected.
    pub bus: watch::Receiver<bool>,
    /// Where it is written down.
    pub venues: Arc<Venues>,
    /// Where changes are said.
    pub bulletin: Arc<Bulletin>,
    /// Who must say the demand again when an ingest is new.
    pub interest: Arc<InterestSignal>,
    /// What is counted.
    pub metrics: Arc<GatewayMetrics>,
}

/// How often silence is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Time between two requests for a catalogue.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Time for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Follows the venue until `stop`.
///
/// # Errors
/// Where the bus client takes no subscriptions at all, which happens only when it was closed.
pub async fn run(mut watch: Watch, stop: CancellationToken) -> Result<(), async_nats::SubscribeError> {
    let id = watch.venues.id(watch.venue).clone();
    let mut health = watch.client.subscribe(health_subject(&id)).await?;
    let mut asked = watch.client.subscribe(demand_subject(&id)).await?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answer: Option<BoxFuture<'static, Result<(u64, Catalogue), String>>> = None;
    let mut ask_at = Instant::now();
    loop {
        tokio::select! {
            Some(message) = health.next() => watch.hear(&id, &message.payload),
            Some(_) = asked.next() => watch.interest.renew(watch.venue),
            changed = watch.bus.changed() => if changed.is_err() { break },
            answered = async { match answer.as_mut() { Some(answer) => answer.await, None => pending().await } } => {
                answer = None;
                watch.take(&id, answered);
            }
            _ = look.tick() => {}
            () = stop.cancelled() => break,
        }
        let is_up = *watch.bus.borrow_and_update();
        watch.venues.tracker(watch.venue).bus(is_up, now());
        if answer.is_none() && Instant::now() >= ask_at && watch.wants_catalogue() {
            ask_at = Instant::now() + ASK_EVERY;
            answer = Some(Box::pin(ask(watch.client.clone(), id.clone())));
        }
        watch.announce();
    }
    Ok(())
}

impl Watch {
    fn hear(&self, id: &VenueId, payload: &[u8]) {
        match decode_health(payload) {
            Ok(health) if health.venue == *id => {
                let mut tracker = self.venues.tracker(self.venue);
                let before = tracker.epoch();
                let is_news = tracker.hear(health, now());
                let epoch = tracker.epoch();
                drop(tracker);
                let heard = self.venues.epoch(self.venue);
                if epoch < before {
                    // The later incarnation is gone for good; then what the earlier one says counts again.
                    heard.store(epoch, Ordering::Relaxed);
                } else {
                    heard.fetch_max(epoch, Ordering::Relaxed);
                }
                // An ingest that is new here does not know what this gateway wants.
                if is_news {
                    self.interest.renew(self.venue);
                }
            }
            Ok(health) => warn!(venue = %id, found = %health.venue, "health of another venue"),
            Err(error) => {
                self.metrics.bad_events.inc();
                warn!(venue = %id, %error, "unreadable health");
            }
        }
    }

    fn wants_catalogue(&self) -> bool {
        let offered = self.venues.tracker(self.venue).edition(now());
        offered.is_some() && offered != self.venues.book(self.venue).map(|book| book.edition())
    }

    fn take(&self, id: &VenueId, answered: Result<(u64, Catalogue), String>) {
        let book = match answered {
            Ok((epoch, catalogue)) if catalogue.is_known() => Book::new(epoch, catalogue),
            Ok(_) => return debug!(venue = %id, "the ingest has no catalogue yet"),
            Err(error) => return warn!(venue = %id, error, "no catalogue, asking again"),
        };
        let before = self.venues.book(self.venue);
        let is_same = before.is_some_and(|before| before.offers_the_same(&book));
        info!(venue = %id, instruments = book.len(), open = book.is_open(), "catalogue taken");
        self.venues.set_book(self.venue, book);
        let mut tracker = self.venues.tracker(self.venue);
        tracker.catalogue(true);
        if !is_same {
            tracker.announce_again();
        }
        drop(tracker);
        // Names may wait for it.
        self.bulletin.nudge();
    }

    fn announce(&self) {
        let view: Option<StatusView> = self.venues.tracker(self.venue).announce(now());
        if let Some(view) = view {
            info!(venue = view.source, status = view.status, detail = view.message, "venue status");
            self.metrics.health(&view);
            self.bulletin.post(self.venues.announcement(self.venue, &view));
        }
    }
}

/// Asks for the catalogue.
async fn ask(client: async_nats::Client, venue: VenueId) -> Result<(u64, Catalogue), String> {
    let span = info_span!("catalogue", %venue);
    async {
        let mut headers = HeaderMap::new();
        tickcast_service::trace::inject(|name, value| headers.insert(name, value));
        let mut request = Request::new().timeout(Some(ANSWER_WITHIN));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let answer = client.send_request(catalogue_subject(&venue), request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        decode_catalogue(&answer.payload).map_err(|error| error.to_string())
    }
    .instrument(span)
    .await
}
