//! Serves browsers: live ticks and venue health over WebSocket.
//!
//! Floor 3: knows the bus and the browser protocol, and no venue. What a client gets is decided in pure code (`ring`,
//! `feed`, `form`, `hub`, `session`, `shard`, `health`, `catalogue`, `demand`, `protocol`); `writer` is the only place that knows
//! how bytes reach a browser, `interest` and `watch` the only ones that listen to the bus.
//!
//! A tick: bus → `interest` (decoded, then encoded once by `feed`) → `hub` marks the writers that read the channel →
//! `mailbox` → `shard` (a cursor a client) → `writer`.
//! A subscribe: `writer` → `shard` → `session` → `hub` → `interest` compares readers with bus subscriptions and leases.

/// The answer to a subscribe that resumes.
pub mod answer;
/// HTTP: routes and answers.
pub mod api;
/// Questions to the venues' ingests.
pub mod ask;
pub mod binary;
/// A set of small numbers.
pub mod bits;
/// What is said to every client.
pub mod bulletin;
/// A venue's instruments, and look-ups in them.
pub mod catalogue;
/// Settings.
pub mod config;
/// The console page.
pub mod console;
/// When a lease is said, and what it says.
pub mod demand;
/// What is known of one channel, and a reader's place in it.
pub mod feed;
/// What pending ticks come to when they are told as one.
pub mod fold;
pub mod form;
/// One tick as browsers get it, and ticks they do not get.
pub mod frame;
/// What the parts share.
pub mod gateway;
/// Takes sockets out of HTTP.
pub mod handover;
/// From a venue's health to its status.
pub mod health;
/// Reads channels' last ticks from the history into their rings.
pub mod history;
/// The channels and their readers.
pub mod hub;
/// What is read compared with what is subscribed and leased; events from the bus to the hub.
pub mod interest;
/// What a client may do, and how many there may be.
pub mod limits;
/// Accepts connections and serves HTTP on them.
pub mod listener;
/// What waits for one writer.
pub mod mailbox;
/// What is counted.
pub mod metrics;
/// Which web pages may connect.
pub mod origins;
/// How far a client has got, as one short text.
pub mod places;
/// A client for the time of one request.
pub mod poll;
pub mod protocol;
/// How a symbol is delivered to one client.
pub mod rate;
/// What is said to one client beside ticks.
pub mod reply;
/// The last ticks of one channel, and a reader's cursor.
pub mod ring;
/// What a client said, what it is told and what it wants.
pub mod session;
pub mod shard;
/// Server-sent events.
pub mod stream;
/// Browsers that connect with TLS.
pub mod tls;
/// From an HTTP request to a WebSocket.
pub mod upgrade;
/// What is known of the venues.
pub mod venues;
/// Follows one venue's health and catalogue.
pub mod watch;
/// What is due within a few milliseconds.
pub mod wheel;
/// Why a symbol is quiet: the hops of its way.
pub mod why;
pub mod wire;
pub mod writer;

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tickcast_bus::{BusNews, BusWatch, History};
use tickcast_service::{Context, Tasks};
use tokio::sync::watch as tokio_watch;
use tokio_util::sync::CancellationToken;
use tracing::{Span, error, info, warn};

use api::Admin;
use ask::Asker;
use bulletin::Bulletin;
use gateway::Gateway;
use history::HistoryOrders;
use hub::Hub;
use interest::{Interest, InterestSignal};
use limits::Doors;
use metrics::GatewayMetrics;
use poll::Polls;
use venues::Venues;
use watch::Watch;
use writer::Writers;

pub use config::Config;

/// Why the gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The listener for browsers could not be opened.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address of the settings.
        addr: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The threads that write to browsers could not be started.
    #[error("cannot start the writers")]
    Writers(#[source] std::io::Error),
    /// The bus cannot be used with these settings.
    #[error(transparent)]
    Bus(#[from] tickcast_bus::BusError),
    /// Something has ended without which there is no gateway.
    #[error("the {0} has ended, which should not")]
    Ended(&'static str),
}

/// Messages one bus subscription holds before it drops: seconds of a fast symbol.
const SUBSCRIPTION_CAPACITY: usize = 1_024;

/// The server that holds the history answers by then, or not at all.
const HISTORY_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Runs the gateway until `context.stop` is cancelled, then moves its clients elsewhere and withdraws its leases.
///
/// # Errors
/// [`GatewayError`] where it could not begin, or where a part of it ended too early: its clients are moved then, too, for a
/// gateway that takes them in and has nothing for them is worse than none.
pub async fn run(config: Config, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Ok(serve(config, context).await?)
}

async fn serve(config: Config, context: Context) -> Result<(), GatewayError> {
    for part in ["bus", "listener"] {
        context.ready.declare(part);
    }
    let metrics = Arc::new(context.metrics.register(GatewayMetrics::register));
    let (client, bus) = connect(&config, &context, &metrics).await?;
    let signal = Arc::new(InterestSignal::new(config.venues.len()));
    let on_change = signal.clone();
    let hub = Arc::new(Hub::new(config.ring_ticks, config.channels_max, move || on_change.changed()));
    let venues = Arc::new(Venues::new(config.venues, hub.clone()));
    let bulletin = Arc::new(Bulletin::default());
    let gateway = Arc::new(Gateway {
        venues: venues.clone(),
        hub: hub.clone(),
        bulletin: bulletin.clone(),
        metrics: metrics.clone(),
        doors: Arc::new(Doors::new(config.connections_max, config.connections_per_ip_max)),
        limits: Arc::new(config.limits),
        origins: config.origins,
        ping: config.ping,
        drain: config.drain,
        stop: context.stop.clone(),
        flush: config.flush,
        slow_after: config.slow_after,
    });
    let writers = Writers::open(writer_count(config.writers)).map_err(GatewayError::Writers)?;
    let writers = Arc::new(writers);
    let writer_ended = CancellationToken::new();
    let threads = writers.start(&gateway, &writer_ended).map_err(GatewayError::Writers)?;
    show(&context, &gateway);

    let end = CancellationToken::new();
    let mut tasks = Tasks::within(Span::current());
    for venue in venues.numbers() {
        let watch = Watch {
            venue,
            client: client.clone(),
            bus: bus.clone(),
            venues: venues.clone(),
            bulletin: bulletin.clone(),
            interest: signal.clone(),
            metrics: metrics.clone(),
        };
        let end = end.clone();
        tasks.start("watch over a venue", async move {
            if let Err(error) = watch::run(watch, end).await {
                warn!(%error, "a venue is not followed any more");
            }
        });
    }
    let polls = Arc::new(Polls::default());
    let (kept, end_of_polls) = (polls.clone(), end.clone());
    tasks.start("keeper of polls", async move { kept.run(end_of_polls).await });
    let admin = Admin { bus: client.clone(), anonymous: config.anonymous_admin };
    let asker = Arc::new(Asker::new(client.clone(), metrics.clone()));
    let (orders, new_orders) = HistoryOrders::new(config.channels_max, metrics.clone());
    let history = History::new(client.clone(), HISTORY_ANSWERS_WITHIN);
    let reading = history::run(history, config.ring_ticks, new_orders, metrics.clone(), end.clone());
    tasks.start("reader of history", reading);
    let interest = Interest {
        client,
        bus,
        venues,
        hub,
        metrics,
        history: orders,
        signal,
        holder: context.instance.clone(),
        lease_ttl: config.lease_ttl,
        linger: config.interest_linger,
    };
    tasks.start("interest", interest::run(interest, end.clone()));

    let addr = config.listen;
    let listener = listener::open(addr).map_err(|source| GatewayError::Listen { addr, source })?;
    let addr = listener.local_addr().map_err(|source| GatewayError::Listen { addr, source })?;
    info!(what = "websocket", %addr, "listening");
    context.ready.set("listener", Ok(()));
    let router = api::router(gateway.clone(), writers, admin, asker, polls, &context);
    let busy = gateway.metrics.http_connections.clone();
    let stop = context.stop.clone();
    let serving = listener::serve(listener, config.tls, config.accepts_per_s, router, busy, stop.clone());
    let ended = serve_while_whole(serving, &mut tasks, &writer_ended, &stop).await;
    context.ready.set("listener", Err("stopping".into()));

    // Ticks flow on until the last client has moved.
    info!(
        clients = gateway.doors.count(),
        drain_ms = config.drain.as_millis(),
        "sending the clients elsewhere"
    );
    gateway.bulletin.nudge();
    // Each ends with its last client.
    let joined =
        tokio::task::spawn_blocking(|| threads.into_iter().all(|thread| thread.join().is_ok())).await;
    if !joined.unwrap_or(false) {
        warn!("a writer ended in disorder");
    }
    end.cancel();
    tasks.all_ended().await;
    ended.map_or(Ok(()), |name| Err(GatewayError::Ended(name)))
}

/// Serves until the stop, or until a part has ended without which there is no gateway: then everything stops, and its name is
/// given.
async fn serve_while_whole(
    serving: impl Future<Output = ()>,
    tasks: &mut Tasks,
    writer_ended: &CancellationToken,
    stop: &CancellationToken,
) -> Option<&'static str> {
    let mut serving = pin!(serving);
    let first = tokio::select! {
        biased;
        () = &mut serving => return None,
        name = tasks.one_ended() => name,
        () = writer_ended.cancelled() => "writer",
    };
    // Whoever is asked to stop ends everything, in any order.
    let is_early = !stop.is_cancelled();
    if is_early {
        error!(part = first, "a part of the gateway has ended that should not, it stops");
        stop.cancel();
    }
    serving.await;
    is_early.then_some(first)
}

/// As many writers as the settings say, or as there are cores.
fn writer_count(setting: usize) -> usize {
    if setting > 0 { setting } else { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) }
}

/// Opens the bus connection and follows it.
async fn connect(
    config: &Config,
    context: &Context,
    metrics: &Arc<GatewayMetrics>,
) -> Result<(async_nats::Client, tokio_watch::Receiver<bool>), GatewayError> {
    let (is_up, bus) = tokio_watch::channel(false);
    let watch = Mutex::new(BusWatch::default());
    context.ready.set("bus", Err("connecting".into()));
    let (ready, counted) = (context.ready.clone(), metrics.clone());
    let notice = move |event| {
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        match watch.hear(&event) {
            BusNews::Up => {
                info!("bus connected");
                counted.bus(true);
                is_up.send_replace(true);
            }
            BusNews::Down => {
                if is_up.send_replace(false) {
                    warn!("bus connection lost");
                }
                counted.bus(false);
            }
            BusNews::Trouble { error, is_new: true } => {
                warn!(error, "the bus or its client reports an error");
            }
            BusNews::Trouble { error, is_new: false } => tracing::debug!(error, "the same error of the bus"),
            // The jump in the numbers of the ticks makes a gap of it.
            BusNews::SlowConsumer => _ = counted.slow_consumer.inc(),
            BusNews::Nothing => {}
        }
        ready.set("bus", watch.state());
    };
    let client = tickcast_bus::connect(&config.bus, &context.instance, SUBSCRIPTION_CAPACITY, notice).await?;
    Ok((client, bus))
}

/// Puts the gateway on the `/status` page.
fn show(context: &Context, gateway: &Arc<Gateway>) {
    let shown = gateway.clone();
    context.status.provide("gateway", move || {
        let venues: Vec<_> =
            shown.venues.numbers().map(|venue| shown.venues.tracker(venue).view(venues::now())).collect();
        let channels: Vec<_> = shown
            .hub
            .channels()
            .iter()
            .take(CHANNELS_SHOWN)
            .map(|channel| {
                let key = channel.key();
                json!({"source": key.venue.as_str(), "symbol": key.symbol.as_str(),
                       "readers": channel.reader_count(), "state": channel.with_feed(|feed| feed.state().as_str())})
            })
            .collect();
        json!({"connections": shown.doors.count(), "venues": venues, "channels": channels})
    });
}

/// Channels on the `/status` page.
const CHANNELS_SHOWN: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves with a part that ends by `end`, and tells which part that was.
    async fn ended(end: impl Future<Output = ()> + Send + 'static, writer: bool) -> Option<&'static str> {
        let (stop, writer_ended) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = Tasks::within(Span::none());
        tasks.start("patient", stop.clone().cancelled_owned());
        tasks.start("short-lived", end);
        if writer {
            drop(writer_ended.clone().drop_guard());
        }
        let serving = stop.clone().cancelled_owned();
        let ended = serve_while_whole(serving, &mut tasks, &writer_ended, &stop).await;
        assert!(stop.is_cancelled());
        ended
    }

    #[tokio::test]
    async fn a_gateway_without_one_of_its_parts_stops_and_says_which() {
        assert_eq!(ended(async {}, false).await, Some("short-lived"));
        assert_eq!(ended(async { panic!("out of cheese") }, false).await, Some("short-lived"));
        assert_eq!(ended(std::future::pending(), true).await, Some("writer"));
    }

    #[tokio::test]
    async fn parts_that_end_with_the_stop_are_no_failure() {
        let (stop, writer_ended) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = Tasks::within(Span::none());
        tasks.start("short-lived", stop.clone().cancelled_owned());
        let serving = {
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                tokio::task::yield_now().await;
            }
        };
        stop.cancel();
        drop(writer_ended.clone().drop_guard());
        assert_eq!(serve_while_whole(serving, &mut tasks, &writer_ended, &stop).await, None);
    }
}
