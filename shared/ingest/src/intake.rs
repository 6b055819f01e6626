use std::sync::Arc;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tickcast_bus::{
    Explanation, catalogue_subject, decode_lease, decode_why, demand_subject, encode_catalogue,
    encode_explanation, lease_subject, reconnect_subject, why_subject,
};
use tickcast_model::{Catalogue, VenueId};
use tickcast_service::trace;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, debug, info, info_span, warn};

use crate::drive::Order;
use crate::publish::Publisher;
use crate::{Fence, IngestError};

/// Hears leases and questions from the bus and answers them.
pub(crate) struct Intake {
    bus: Client,
    venue: VenueId,
    epoch: u64,
    fence: Fence,
    leases: Subscriber,
    catalogue_asks: Subscriber,
    reconnect_asks: Subscriber,
    why_asks: Subscriber,
}

/// Questions "why" that may wait for the venue loop; anybody on the bus may ask them.
const QUESTIONS_MAX: usize = 64;

impl Intake {
    /// Subscribes. The subscriptions live through every reconnect of the bus.
    ///
    /// # Errors
    /// [`IngestError::Subscribe`] where the bus client does not take a subscription.
    pub(crate) async fn subscribe(
        bus: Client,
        venue: VenueId,
        epoch: u64,
        fence: Fence,
    ) -> Result<Self, IngestError> {
        let leases = bus.subscribe(lease_subject(&venue)).await?;
        let catalogue_asks = bus.subscribe(catalogue_subject(&venue)).await?;
        let reconnect_asks = bus.subscribe(reconnect_subject(&venue)).await?;
        let why_asks = bus.subscribe(why_subject(&venue)).await?;
        Ok(Self { bus, venue, epoch, fence, leases, catalogue_asks, reconnect_asks, why_asks })
    }

    /// Serves until the stop. Each time the bus connects it asks every lease holder to renew at once, so all demand is
    /// known within one renewal of a start or an outage.
    pub(crate) async fn serve(
        mut self,
        orders: mpsc::Sender<Order>,
        catalogue: watch::Receiver<Arc<Catalogue>>,
        publisher: Publisher,
        stop: CancellationToken,
    ) {
        let Publisher { mut connected, metrics, .. } = publisher;
        let mut encoded: Option<(u64, Bytes)> = None;
        let mut questions = FuturesUnordered::new();
        // The state at the start is told like a change.
        connected.mark_changed();
        while self.fence.holds() {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = connected.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let up = *connected.borrow_and_update();
                    metrics.bus(up);
                    if orders.send(Order::Bus(up)).await.is_err() {
                        return;
                    }
                    if up {
                        let span = info_span!(parent: None, "demand", venue = %self.venue);
                        self.tell(demand_subject(&self.venue), Bytes::new()).instrument(span).await;
                    }
                }
                message = self.leases.next() => {
                    let Some(message) = message else { return };
                    // A gateway renews every few seconds: without a context there is nothing to tell of it.
                    let is_traced = trace::is_carried(|name| header(&message, name));
                    let span = if is_traced {
                        adopted(info_span!(parent: None, "lease", venue = %self.venue), &message)
                    } else {
                        Span::none()
                    };
                    let _entered = span.enter();
                    match decode_lease(&message.payload) {
                        Ok(lease) => {
                            debug!(holder = lease.holder, symbols = lease.symbols.len(), ttl_ms = lease.ttl_ms, "lease");
                            // A lease that finds no room is repeated by its holder's next renewal.
                            if orders.try_send(Order::Lease(lease)).is_err() {
                                metrics.intake_dropped();
                            }
                        }
                        Err(error) => {
                            metrics.intake_unreadable("lease");
                            warn!(%error, "unusable lease");
                        }
                    }
                }
                message = self.catalogue_asks.next() => {
                    let Some(message) = message else { return };
                    let span = adopted(info_span!(parent: None, "catalogue", venue = %self.venue), &message);
                    let known = Arc::clone(&catalogue.borrow());
                    if encoded.as_ref().is_none_or(|(version, _)| *version != known.version) {
                        encoded = Some((known.version, span.in_scope(|| self.encode(&known))));
                    }
                    if let (Some(reply), Some((_, payload))) = (message.reply, &encoded) {
                        self.tell(reply.to_string(), payload.clone()).instrument(span).await;
                    }
                }
                message = self.reconnect_asks.next() => {
                    let Some(message) = message else { return };
                    let span = adopted(info_span!(parent: None, "reconnect", venue = %self.venue), &message);
                    span.in_scope(|| info!("reconnect requested"));
                    if orders.try_send(Order::Reconnect).is_err() {
                        metrics.intake_dropped();
                    }
                    if let Some(reply) = message.reply {
                        self.tell(reply.to_string(), Bytes::new()).instrument(span).await;
                    }
                }
                Some(message) = self.why_asks.next() => match decode_why(&message.payload) {
                    Ok(symbol) => {
                        let venue = &self.venue;
                        let span = adopted(info_span!(parent: None, "why", %venue, %symbol), &message);
                        let (answer, answered) = oneshot::channel();
                        let has_room = questions.len() < QUESTIONS_MAX;
                        // Who gets no answer asks again, or says that there was none.
                        if !has_room || orders.try_send(Order::Explain(symbol.clone(), answer)).is_err() {
                            metrics.intake_dropped();
                        } else if let Some(reply) = message.reply {
                            questions.push(async move { (reply, symbol, span, answered.await) });
                        }
                    }
                    Err(error) => {
                        metrics.intake_unreadable("question");
                        debug!(%error, "unusable question");
                    }
                },
                Some((reply, symbol, span, answered)) = questions.next() => {
                    // A venue loop that has ended says nothing more.
                    if let Ok((hops, at_ms)) = answered {
                        let (venue, epoch) = (self.venue.clone(), self.epoch);
                        let said = Explanation { venue, epoch, symbol, hops, at_ms };
                        self.tell(reply.to_string(), encode_explanation(&said).into()).instrument(span).await;
                    }
                }
                else => return,
            }
        }
    }

    async fn tell(&self, subject: String, payload: Bytes) {
        if !self.fence.holds() {
            return;
        }
        let mut headers = HeaderMap::new();
        trace::inject(|name, value| headers.insert(name, value));
        if let Err(error) = self.bus.publish_with_headers(subject, headers, payload).await {
            warn!(%error, "answer not published");
        }
    }

    /// The catalogue as one message: without descriptions where it would not fit the bus otherwise.
    fn encode(&self, catalogue: &Catalogue) -> Bytes {
        let limit = self.bus.server_info().max_payload;
        let whole = encode_catalogue(&self.venue, self.epoch, catalogue);
        if limit == 0 || whole.len() <= limit {
            return whole.into();
        }
        let mut short = catalogue.clone();
        for instrument in &mut short.instruments {
            instrument.description.clear();
        }
        let short = encode_catalogue(&self.venue, self.epoch, &short);
        warn!(
            bytes = whole.len(),
            short_bytes = short.len(),
            limit,
            "catalogue too large for the bus, sent without descriptions"
        );
        short.into()
    }
}

/// The span of a message, as a part of what its sender does. What nobody sent a context for begins a trace of its own,
/// for that of the term would never end.
fn adopted(span: Span, message: &Message) -> Span {
    trace::adopt(&span, |name| header(message, name));
    span
}

fn header(message: &Message, name: &str) -> Option<String> {
    message.headers.as_ref()?.get(name).map(ToString::to_string)
}
