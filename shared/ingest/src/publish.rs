use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::{Client, HeaderMap, Subject};
use bytes::BytesMut;
use rustc_hash::FxHashMap;
use tickcast_bus::{encode_health, health_subject, put_channel_event, tick_subject};
use tickcast_model::{Symbol, VenueHealth, VenueId};
use tickcast_service::trace;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info_span, warn};

use crate::fence::Fence;
use crate::metrics::IngestMetrics;
use crate::outbox::Outbox;

/// Events taken from the outbox at once; between two batches it looks whether the bus is still there.
const BATCH: usize = 1_024;
/// Subjects remembered; where there are more they are put together anew.
const SUBJECTS_MAX: usize = 131_072;
/// Room for payloads allocated at once, in bytes; a tick has about fifty.
const PAYLOADS_BYTES: usize = 32 * 1024;

/// What speaks on the bus in one term, and nothing after it.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) bus: Client,
    /// Whether the bus is connected.
    pub(crate) connected: watch::Receiver<bool>,
    pub(crate) metrics: IngestMetrics,
    pub(crate) fence: Fence,
}

/// Empties the outbox onto the bus until the stop, and then sends what is left.
///
/// It never flushes per message: the client's writer does so when its queue is empty. While the bus is away nothing is
/// handed over, for the client would keep it and deliver it stale; on return the newest of each channel goes out.
pub(crate) async fn publish_events(
    publisher: Publisher,
    venue: VenueId,
    outbox: Arc<Outbox>,
    stop: CancellationToken,
) {
    let Publisher { bus, mut connected, metrics, fence } = publisher;
    let mut subjects: FxHashMap<Symbol, Subject> = FxHashMap::default();
    // Payloads are slices of it: one allocation for hundreds of them.
    let mut payloads = BytesMut::with_capacity(PAYLOADS_BYTES);
    let mut batch = VecDeque::with_capacity(BATCH);
    loop {
        if !*connected.borrow_and_update() {
            tokio::select! {
                back = connected.wait_for(|up| *up) => if back.is_err() { return },
                () = stop.cancelled() => return,
            }
            outbox.conflate();
        }
        outbox.take(BATCH, &mut batch);
        if batch.is_empty() {
            tokio::select! {
                biased;
                () = outbox.filled() => continue,
                changed = connected.changed() => if changed.is_err() { return } else { continue },
                () = stop.cancelled() => return,
            }
        }
        let mut published = 0;
        for event in batch.drain(..) {
            if !fence.holds() {
                return;
            }
            let subject = match subjects.get(&event.symbol) {
                Some(subject) => subject.clone(),
                None => {
                    // The ledger numbers fewer channels, but symbols it has no room for are spoken of too.
                    if subjects.len() >= SUBJECTS_MAX {
                        subjects.clear();
                    }
                    let subject = Subject::from(tick_subject(&venue, &event.symbol));
                    subjects.entry(event.symbol.clone()).or_insert(subject).clone()
                }
            };
            put_channel_event(&mut payloads, &event);
            match bus.publish(subject, payloads.split().freeze()).await {
                Ok(()) => published += 1,
                Err(_) => metrics.publish_failed(),
            }
        }
        metrics.published(published);
    }
}

/// Says the venue's health on every change and beat, and at once when the bus is back, until the stop.
pub(crate) async fn publish_health(
    publisher: Publisher,
    mut health: watch::Receiver<VenueHealth>,
    stop: CancellationToken,
) {
    let Publisher { bus, mut connected, metrics, fence } = publisher;
    let subject = Subject::from(health_subject(&health.borrow().venue));
    loop {
        let stopping = tokio::select! {
            changed = health.changed() => changed.is_err(),
            changed = connected.changed() => changed.is_err(),
            () = stop.cancelled() => true,
        };
        let said = health.borrow_and_update().clone();
        if !fence.holds() {
            return;
        }
        if *connected.borrow_and_update() {
            say(&bus, &subject, &said, &metrics).await;
        }
        if stopping {
            return;
        }
    }
}

async fn say(bus: &Client, subject: &Subject, health: &VenueHealth, metrics: &IngestMetrics) {
    // A trace of its own: that of the term would grow by one each second.
    let span = info_span!(parent: None, "health", venue = %health.venue);
    let mut headers = HeaderMap::new();
    span.in_scope(|| trace::inject(|name, value| headers.insert(name, value)));
    let payload = encode_health(health).into();
    if let Err(error) = bus.publish_with_headers(subject.clone(), headers, payload).await {
        metrics.publish_failed();
        warn!(%error, "health not published");
    }
}
