use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tickcast_bus::{Lease, decode_channel_event_of, encode_lease, lease_subject, tick_subject};
use tickcast_model::{Body, Symbol, VenueId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, debug, info_span, trace, warn};

use crate::demand::Demand;
use crate::feed::Published;
use crate::history::{HistoryOrders, Wanted};
use crate::hub::{Channel, ChannelKey, Hub};
use crate::metrics::{GatewayMetrics, TickMetrics, seconds_between};
use crate::session::VenueNumber;
use crate::venues::{Venues, unix_us};

/// Tells the interest task that a comparison is due.
pub struct InterestSignal {
    changed: Notify,
    renew: Vec<AtomicBool>,
}

impl InterestSignal {
    /// A signal for `venues` venues.
    pub fn new(venues: usize) -> Self {
        Self { changed: Notify::new(), renew: (0..venues).map(|_| AtomicBool::new(false)).collect() }
    }

    /// Channels got their first or lost their last reader.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// The venue's ingest wants to hear the demand.
    pub fn renew(&self, venue: VenueNumber) {
        self.renew[usize::from(venue)].store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// What the interest task works with.
pub struct Interest {
    /// The bus.
    pub client: async_nats::Client,
    /// Whether the bus is connected.
    pub bus: watch::Receiver<bool>,
    /// The venues.
    pub venues: Arc<Venues>,
    /// The channels with their readers.
    pub hub: Arc<Hub>,
    /// What is counted.
    pub metrics: Arc<GatewayMetrics>,
    /// Where channels' histories are asked for.
    pub history: HistoryOrders,
    /// Wakes the task.
    pub signal: Arc<InterestSignal>,
    /// Name in the leases.
    pub holder: Arc<str>,
    /// How long a lease holds.
    pub lease_ttl: Duration,
    /// How long a channel nobody reads is kept.
    pub linger: Duration,
}

/// Changes of this time make one lease.
const COALESCE: Duration = Duration::from_millis(20);

/// A command to the bus client that takes longer than this means that it is not connected; it is tried again later.
const COMMAND_WITHIN: Duration = Duration::from_secs(1);

/// How long the last words may take when stopping.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

/// Channels on their way to the pump; more wait.
const PUMP_QUEUE: usize = 256;

/// One channel's subscription on the bus; dropping it ends it.
struct Held {
    _until: oneshot::Sender<()>,
    wanted: Arc<Wanted>,
    _reads_until: DropGuard,
    idle_since: Option<Instant>,
}

/// Compares, until `stop`, which channels are read with what is subscribed and leased, and makes them the same.
///
/// Then the leases are withdrawn. Nothing is decided by what happened, only by how things are, so a lost wake-up or a
/// lost message is repaired by the next comparison.
pub async fn run(mut interest: Interest, stop: CancellationToken) {
    let (streams, new_streams) = mpsc::channel(PUMP_QUEUE);
    let end_of_pump = CancellationToken::new();
    let (metrics, history) = (interest.metrics.clone(), interest.history.clone());
    let mut pump = tokio::spawn(pump(new_streams, metrics, history, end_of_pump.clone()));
    let demands = || Demand::new(interest.holder.clone(), interest.lease_ttl);
    let mut venues: Vec<VenueInterest> = interest
        .venues
        .numbers()
        .map(|number| {
            let venue = interest.venues.id(number).clone();
            let metrics = interest.metrics.ticks(&venue);
            VenueInterest { number, venue, metrics, held: HashMap::new(), demand: demands() }
        })
        .collect();
    let mut was_up = false;
    loop {
        let is_up = *interest.bus.borrow_and_update();
        if is_up && !was_up {
            for venue in &mut venues {
                venue.demand.bus_came();
                // What was missed meanwhile may be there. The client has subscribed again before it said so.
                venue.held.values().for_each(|held| interest.history.order(&held.wanted));
            }
        }
        was_up = is_up;
        let mut next = Instant::now() + Duration::from_secs(3600);
        if is_up {
            next = next.min(interest.reconcile(&mut venues, &streams).await);
        }
        tokio::select! {
            () = interest.signal.changed.notified() => {
                tokio::select! {
                    () = tokio::time::sleep(COALESCE) => {}
                    () = stop.cancelled() => break,
                }
            }
            changed = interest.bus.changed() => if changed.is_err() { break },
            () = tokio::time::sleep_until(next) => {}
            () = stop.cancelled() => break,
            // Without it no tick reaches anybody.
            _ = &mut pump => break,
        }
    }
    interest.farewell(&mut venues).await;
    end_of_pump.cancel();
    if !pump.is_finished() {
        let _ = pump.await;
    }
}

/// One venue's part.
struct VenueInterest {
    number: VenueNumber,
    venue: VenueId,
    metrics: Arc<TickMetrics>,
    held: HashMap<Symbol, Held>,
    demand: Demand,
}

impl Interest {
    /// One comparison; gives the time of the next one that is due whatever happens.
    async fn reconcile(
        &self,
        venues: &mut [VenueInterest],
        streams: &mpsc::Sender<ChannelStream>,
    ) -> Instant {
        let mut next = Instant::now() + self.lease_ttl;
        let mut channels: HashMap<VenueId, Vec<Arc<Channel>>> = HashMap::new();
        for channel in self.hub.channels() {
            channels.entry(channel.key().venue.clone()).or_default().push(channel);
        }
        for venue in venues {
            let here = channels.remove(&venue.venue).unwrap_or_default();
            next = next.min(self.hold(venue, &here, streams).await);
            if self.signal.renew[usize::from(venue.number)].swap(false, Ordering::Relaxed) {
                venue.demand.renew();
            }
            let wanted: BTreeSet<Symbol> = venue.held.keys().cloned().collect();
            let is_heard = self.venues.tracker(venue.number).heard_on_this_bus();
            // The subscriptions above were handed to the same connection before, so no answer can be missed.
            if let Some(lease) = venue.demand.decide(&wanted, is_heard, Instant::now().into_std()) {
                self.publish(&venue.venue, &lease).await;
            }
            if let Some(renewal) = venue.demand.renewal() {
                next = next.min(renewal.into());
            }
        }
        let on_the_way = streams.max_capacity() - streams.capacity();
        self.metrics.depth("new_channels").set(on_the_way.try_into().unwrap_or(i64::MAX));
        self.metrics.channels.set(self.hub.channels().len().try_into().unwrap_or(i64::MAX));
        next
    }

    /// Subscribes what is read and ends what nobody has read for a while; gives the time of the next end.
    async fn hold(
        &self,
        venue: &mut VenueInterest,
        channels: &[Arc<Channel>],
        streams: &mpsc::Sender<ChannelStream>,
    ) -> Instant {
        let now = Instant::now();
        let mut next = now + self.lease_ttl;
        for channel in channels {
            let key = channel.key();
            match (channel.reader_count() > 0, venue.held.get_mut(&key.symbol)) {
                (true, Some(held)) => held.idle_since = None,
                (true, None) => {
                    if let Some(held) = self.subscribe(venue.number, channel, &venue.metrics, streams).await {
                        venue.held.insert(key.symbol.clone(), held);
                    } else {
                        next = now + COMMAND_WITHIN;
                    }
                }
                (false, Some(held)) => {
                    let end = *held.idle_since.get_or_insert(now) + self.linger;
                    if end > now {
                        next = next.min(end);
                    } else if self.hub.remove_idle(key) {
                        debug!(venue = %key.venue, symbol = %key.symbol, "channel let go");
                        venue.held.remove(&key.symbol);
                    }
                }
                (false, None) => _ = self.hub.remove_idle(key),
            }
        }
        // A channel that is no longer in the hub has no readers either.
        let there: HashSet<&Symbol> = channels.iter().map(|channel| &channel.key().symbol).collect();
        venue.held.retain(|symbol, _| there.contains(symbol));
        next
    }

    async fn subscribe(
        &self,
        number: VenueNumber,
        channel: &Arc<Channel>,
        metrics: &Arc<TickMetrics>,
        streams: &mpsc::Sender<ChannelStream>,
    ) -> Option<Held> {
        let ChannelKey { venue, symbol } = channel.key();
        let command = self.client.subscribe(tick_subject(venue, symbol));
        let subscriber = match tokio::time::timeout(COMMAND_WITHIN, command).await {
            Ok(Ok(subscriber)) => subscriber,
            Ok(Err(error)) => {
                warn!(%venue, %symbol, %error, "cannot subscribe to a channel");
                return None;
            }
            Err(_) => return None,
        };
        debug!(%venue, %symbol, "channel taken up");
        let (until, ended) = oneshot::channel();
        let epoch = self.venues.epoch(number).clone();
        let (wanted, reads_until) = Wanted::new(channel.clone(), epoch.clone());
        let stream = ChannelStream {
            subscriber,
            ended,
            channel: channel.clone(),
            metrics: metrics.clone(),
            epoch,
            wanted: wanted.clone(),
        };
        streams.send(stream).await.ok()?;
        // After the subscription on the same connection: between what is read and what comes live nothing is lost, but
        // what the stream did not have yet.
        self.history.order(&wanted);
        Some(Held { _until: until, wanted, _reads_until: reads_until, idle_since: None })
    }

    async fn publish(&self, venue: &VenueId, lease: &Lease) {
        let span = info_span!("lease", %venue, holder = lease.holder, generation = lease.generation);
        let publishing = async {
            let mut headers = HeaderMap::new();
            tickcast_service::trace::inject(|name, value| headers.insert(name, value));
            let payload = encode_lease(lease).into();
            // Without headers the message is shorter, and most often there is no trace to carry.
            let command = async {
                if headers.is_empty() {
                    self.client.publish(lease_subject(venue), payload).await
                } else {
                    self.client.publish_with_headers(lease_subject(venue), headers, payload).await
                }
            };
            match tokio::time::timeout(COMMAND_WITHIN, command).await {
                Ok(Ok(())) => {
                    self.metrics.lease(venue);
                    debug!(
                        symbols = lease.symbols.len(),
                        ttl_ms = lease.ttl_ms,
                        repeat_last = lease.repeat_last,
                        "lease said"
                    );
                }
                Ok(Err(error)) => {
                    self.metrics.dropped("leases");
                    warn!(%error, "cannot publish a lease");
                }
                Err(_) => {
                    self.metrics.dropped("leases");
                    warn!("cannot publish a lease: the bus does not take it");
                }
            }
        };
        publishing.instrument(span).await;
    }

    /// Withdraws the leases and sees them off.
    async fn farewell(&self, venues: &mut [VenueInterest]) {
        if !*self.bus.borrow() {
            return;
        }
        for venue in venues {
            if let Some(lease) = venue.demand.withdraw() {
                self.publish(&venue.venue, &lease).await;
            }
        }
        #[expect(clippy::disallowed_methods, reason = "the last words of a process that stops")]
        let flush = self.client.flush();
        if tokio::time::timeout(FAREWELL_WITHIN, flush).await.is_err() {
            warn!("stopped before the bus took the withdrawal of the leases; they end by themselves");
        }
    }
}

/// A channel's messages, until it is let go.
struct ChannelStream {
    subscriber: Subscriber,
    ended: oneshot::Receiver<()>,
    channel: Arc<Channel>,
    metrics: Arc<TickMetrics>,
    /// The greatest epoch heard of from the venue.
    epoch: Arc<AtomicU64>,
    wanted: Arc<Wanted>,
}

impl ChannelStream {
    /// Brings what is there to the hub; ready once the channel is let go or the bus has no more of it.
    ///
    /// One poll takes everything that waits, up to what the runtime allows a task at once, so that a burst costs one
    /// wake-up and one look at the clock.
    fn poll_carry(
        &mut self,
        cx: &mut Context<'_>,
        metrics: &GatewayMetrics,
        history: &HistoryOrders,
    ) -> Poll<()> {
        if self.ended.poll_unpin(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut arrived_us = None;
        while let Some(message) = ready!(self.subscriber.poll_next_unpin(cx)) {
            let arrived_us = *arrived_us.get_or_insert_with(unix_us);
            let published = take(&self.channel, &self.epoch, &self.metrics, &message, arrived_us, metrics);
            if published == Some(Published::TickAfterHole) {
                history.order(&self.wanted);
            }
        }
        Poll::Ready(())
    }
}

/// Carries events from the bus to the hub. Only channels that have something are looked at.
async fn pump(
    mut new_streams: mpsc::Receiver<ChannelStream>,
    metrics: Arc<GatewayMetrics>,
    history: HistoryOrders,
    end: CancellationToken,
) {
    let carry = |mut stream: ChannelStream| {
        let (metrics, history) = (metrics.clone(), history.clone());
        poll_fn(move |cx| stream.poll_carry(cx, &metrics, &history))
    };
    let mut carried = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(stream) = new_streams.recv() => carried.push(carry(stream)),
            Some(()) = carried.next(), if !carried.is_empty() => {}
            () = end.cancelled() => break,
        }
    }
}

/// Brings one message to the hub; gives what became of its event, where it is one of now.
fn take(
    channel: &Channel,
    epoch: &AtomicU64,
    ticks: &TickMetrics,
    message: &Message,
    arrived_us: i64,
    metrics: &GatewayMetrics,
) -> Option<Published> {
    let key = channel.key();
    let event = match decode_channel_event_of(&key.symbol, &message.payload) {
        Ok(event) => event,
        Err(error) => {
            metrics.bad_events.inc();
            warn!(venue = %key.venue, symbol = %key.symbol, %error, "unreadable event");
            return None;
        }
    };
    let known = epoch.load(Ordering::Relaxed);
    if event.position.epoch < known {
        // The channel itself may not have heard of the new leader yet.
        ticks.old_epoch.inc();
        return None;
    }
    if event.position.epoch > known {
        epoch.fetch_max(event.position.epoch, Ordering::Relaxed);
    }
    let published = channel.publish(&event, arrived_us);
    trace!(venue = %key.venue, symbol = %key.symbol, position = ?event.position, ?published, "event");
    match published {
        Published::Tick | Published::TickAfterHole => {
            ticks.received.inc();
            metrics.encodes.inc();
            if let Body::Tick(tick) = &event.body
                && !tick.snapshot
            {
                ticks.ingest_to_gateway.observe(seconds_between(tick.received_us, arrived_us));
                if let Some(venue_ms) = tick.venue_time_ms {
                    let venue_us = venue_ms.saturating_mul(1_000);
                    ticks.venue_to_ingest.observe(seconds_between(venue_us, tick.received_us));
                }
            }
        }
        Published::State => {}
        Published::Repeated => _ = ticks.repeated.inc(),
        Published::OldEpoch => _ = ticks.old_epoch.inc(),
    }
    Some(published)
}
