use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tickcast_bus::{ChannelHistory, History, HistoryError};
use tickcast_model::{Symbol, VenueId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use crate::hub::{Channel, ChannelKey};
use crate::metrics::{GatewayMetrics, HistoryMetrics};
use crate::venues::unix_us;

/// Reads on their way at a time; more wait for their turn.
const READS_MAX: usize = 8;

/// A read that takes longer is given up.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// Where so many channels of a venue wait, they are read together: to find one channel's events the server looks at all,
/// which so many times over is more than sending them all once.
const TOGETHER_FROM: usize = 64;

/// Orders taken in one go.
const ORDERS_AT_A_TIME: usize = 1_024;

/// A read of many channels that takes longer is given up.
const READ_TOGETHER_WITHIN: Duration = Duration::from_secs(10);

/// After one that got no answer no other is tried for so long: each of them would wait as long.
const SPARED_AFTER_SILENCE: Duration = Duration::from_secs(1);

/// What a second read is for must have reached the stream by then.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// One channel whose history is wanted while it is held.
pub struct Wanted {
    channel: Arc<Channel>,
    /// The greatest epoch heard of from the venue.
    epoch: Arc<AtomicU64>,
    /// A read is ordered or on its way: one at a time is enough.
    is_ordered: AtomicBool,
    ended: CancellationToken,
}

impl Wanted {
    /// A channel, and what ends its reads when it is dropped.
    pub fn new(channel: Arc<Channel>, epoch: Arc<AtomicU64>) -> (Arc<Self>, DropGuard) {
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        (Arc::new(Self { channel, epoch, is_ordered: AtomicBool::new(false), ended }), guard)
    }
}

/// Orders reads of channels' histories.
#[derive(Clone)]
pub struct HistoryOrders {
    orders: mpsc::Sender<Arc<Wanted>>,
    metrics: Arc<GatewayMetrics>,
}

impl HistoryOrders {
    /// Orders, and what [`run`] gets them from. A channel has at most one order, so `channels_max` bounds them.
    pub fn new(channels_max: usize, metrics: Arc<GatewayMetrics>) -> (Self, mpsc::Receiver<Arc<Wanted>>) {
        let (orders, new_orders) = mpsc::channel(channels_max.max(1));
        (Self { orders, metrics }, new_orders)
    }

    /// Wants the channel's history read, unless that is on its way. Never waits.
    pub fn order(&self, wanted: &Arc<Wanted>) {
        if wanted.is_ordered.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.orders.try_send(wanted.clone()).is_err() {
            self.metrics.dropped("history_reads");
            wanted.is_ordered.store(false, Ordering::Relaxed);
            wanted.channel.settle();
        }
    }
}

/// Reads the histories that are ordered into their channels until `end`: so many at a time, each once, beside the way of
/// the live ticks and never in it.
pub async fn run(
    history: History,
    ring_ticks: usize,
    mut new_orders: mpsc::Receiver<Arc<Wanted>>,
    metrics: Arc<GatewayMetrics>,
    end: CancellationToken,
) {
    let mut desk = Desk { metrics: metrics.history(), spared_until: Instant::now(), trouble: None };
    let mut reads: FuturesUnordered<BoxFuture<'_, Outcomes>> = FuturesUnordered::new();
    let mut waiting: VecDeque<Arc<Wanted>> = VecDeque::new();
    let mut ordered = Vec::new();
    let depth = metrics.depth("history_reads");
    loop {
        while reads.len() < READS_MAX
            && let Some(next) = waiting.pop_front()
        {
            let venue = next.channel.key().venue.clone();
            let is_beside = |wanted: &Arc<Wanted>| wanted.channel.key().venue == venue;
            if Instant::now() < desk.spared_until {
                desk.metrics.spared.inc();
                finish(&next);
            } else if waiting.iter().filter(|wanted| is_beside(wanted)).count() + 1 >= TOGETHER_FROM {
                let (beside, others): (Vec<_>, Vec<_>) = waiting.drain(..).partition(is_beside);
                waiting = others.into();
                let all = std::iter::once(next).chain(beside).collect();
                desk.metrics.together.inc();
                reads.push(read_together(&history, venue, all, ring_ticks).boxed());
            } else {
                reads.push(read(&history, next, ring_ticks).map(|read| vec![read]).boxed());
            }
        }
        depth.set(i64::try_from(waiting.len() + new_orders.len()).unwrap_or(i64::MAX));
        tokio::select! {
            count = new_orders.recv_many(&mut ordered, ORDERS_AT_A_TIME) => {
                if count == 0 {
                    break;
                }
                waiting.extend(ordered.drain(..));
            }
            Some(done) = reads.next(), if !reads.is_empty() => {
                for (wanted, outcome) in done {
                    desk.note(wanted.channel.key(), outcome);
                }
            }
            () = end.cancelled() => break,
        }
    }
}

/// Lets go on who waits for the history, whatever became of it.
fn finish(wanted: &Wanted) {
    wanted.is_ordered.store(false, Ordering::Relaxed);
    wanted.channel.settle();
}

/// What became of an order.
enum Outcome {
    /// It was read.
    Read { ticks: usize, reads: u32, unreadable: usize, took: Duration },
    /// It was not.
    Failed(HistoryError),
    /// The channel was let go meanwhile.
    LetGo,
}

/// Orders that are done, with what became of them.
type Outcomes = Vec<(Arc<Wanted>, Outcome)>;

/// Reads one channel's history into it; once more where ticks are still missing between history and what came live.
async fn read(history: &History, wanted: Arc<Wanted>, ring_ticks: usize) -> (Arc<Wanted>, Outcome) {
    let reading = async {
        let begun = Instant::now();
        let (mut ticks, mut unreadable, mut reads) = (0, 0, 0);
        loop {
            let ChannelKey { venue, symbol } = wanted.channel.key();
            let found = tokio::time::timeout(READ_WITHIN, history.last_events(venue, symbol, ring_ticks));
            let found: ChannelHistory = match found.await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => return Outcome::Failed(error),
                Err(_) => return Outcome::Failed(HistoryError::Away("no answer in time".into())),
            };
            let epoch = wanted.epoch.load(Ordering::Relaxed);
            let (taken, has_hole) = wanted.channel.fill(&found.events, epoch, unix_us());
            (ticks, unreadable, reads) = (ticks + taken, unreadable + found.unreadable, reads + 1);
            if !has_hole || reads == 2 {
                return Outcome::Read { ticks, reads, unreadable, took: begun.elapsed() };
            }
            // The stream may have been behind.
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    let outcome = tokio::select! {
        outcome = reading => outcome,
        () = wanted.ended.cancelled() => Outcome::LetGo,
    };
    finish(&wanted);
    (wanted, outcome)
}

/// Reads the histories of many channels of one venue at once.
async fn read_together(
    history: &History,
    venue: VenueId,
    all: Vec<Arc<Wanted>>,
    ring_ticks: usize,
) -> Outcomes {
    let begun = Instant::now();
    let symbols: Vec<Symbol> = all.iter().map(|wanted| wanted.channel.key().symbol.clone()).collect();
    let found =
        tokio::time::timeout(READ_TOGETHER_WITHIN, history.last_events_of(&venue, &symbols, ring_ticks));
    let found = found.await.unwrap_or_else(|_| Err(HistoryError::Away("no answer in time".into())));
    let mut outcomes = Vec::with_capacity(all.len());
    match found {
        Ok(found) => {
            for (wanted, found) in all.into_iter().zip(found) {
                let epoch = wanted.epoch.load(Ordering::Relaxed);
                let (ticks, _) = wanted.channel.fill(&found.events, epoch, unix_us());
                finish(&wanted);
                let unreadable = found.unreadable;
                outcomes.push((wanted, Outcome::Read { ticks, reads: 1, unreadable, took: begun.elapsed() }));
                // Live ticks have their turn in between.
                tokio::task::yield_now().await;
            }
        }
        Err(error) => {
            all.iter().for_each(|wanted| finish(wanted));
            outcomes.extend(all.into_iter().map(|wanted| (wanted, Outcome::Failed(error.clone()))));
        }
    }
    outcomes
}

/// Counts outcomes, and says when history comes and goes.
struct Desk {
    metrics: HistoryMetrics,
    spared_until: Instant,
    /// The kind of failure that was said last.
    trouble: Option<&'static str>,
}

impl Desk {
    fn note(&mut self, key: &ChannelKey, outcome: Outcome) {
        let ChannelKey { venue, symbol } = key;
        match outcome {
            Outcome::Read { ticks, reads, unreadable, took } => {
                self.metrics.read.inc();
                self.metrics.again.inc_by(u64::from(reads - 1));
                self.metrics.filled.inc_by(ticks as u64);
                self.metrics.duration.observe(took.as_secs_f64());
                if unreadable > 0 {
                    warn!(%venue, %symbol, unreadable, "unreadable events in the history");
                }
                debug!(%venue, %symbol, ticks, reads, took_us = took.as_micros(), "history read");
                if self.trouble.take().is_some() {
                    info!("history is available");
                }
            }
            Outcome::Failed(error) => {
                let (kind, counter) = match &error {
                    HistoryError::NoJetStream(_) | HistoryError::NoStream => ("absent", &self.metrics.absent),
                    HistoryError::Refused(_) => ("refused", &self.metrics.failed),
                    HistoryError::Away(_) => ("away", &self.metrics.failed),
                };
                counter.inc();
                if matches!(error, HistoryError::Away(_)) {
                    self.spared_until = Instant::now() + SPARED_AFTER_SILENCE;
                }
                if self.trouble.replace(kind) == Some(kind) {
                    debug!(%venue, %symbol, %error, "no history");
                } else {
                    warn!(%venue, %symbol, %error, "no history: channels begin with their first live tick");
                }
            }
            Outcome::LetGo => {
                self.metrics.let_go.inc();
            }
        }
    }
}
