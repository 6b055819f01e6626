use std::time::Duration;

use tickcast_bus::{Ensured, HISTORY_STREAM, History, HistoryBounds, HistoryError, HistoryStorage};
use tickcast_service::Reader;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::HistoryMetrics;

/// The server answers by then, or not now.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked after: a stream in memory is gone with its server, and anybody may delete it.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// After a failure that may pass it is tried again so soon: a server that has just started needs a moment.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Reads the settings; `None` where no history is wanted.
pub(crate) fn read(reader: &mut Reader) -> Option<HistoryBounds> {
    let storage = reader.choice(
        "HISTORY",
        &["memory", "file", "off"],
        "memory",
        "where the bus keeps the last ticks of each symbol",
    );
    let replicas = reader.number(
        "HISTORY_REPLICAS",
        1,
        1..=5,
        "",
        "copies of the history, where its stream has to be created; 3 in a cluster",
    );
    let age_max = reader.millis(
        "HISTORY_MAX_AGE_MS",
        24 * 3_600_000,
        1_000..=30 * 24 * 3_600_000,
        "older ticks are dropped from the history",
    );
    let events_per_channel_max = reader.number(
        "HISTORY_TICKS",
        256,
        1..=65_536,
        "ticks",
        "of each symbol in the history; as many as RING_TICKS of the gateways",
    );
    let bytes_max = reader.number(
        "HISTORY_MAX_BYTES",
        64 * 1024 * 1024,
        65_536..=1 << 40,
        "bytes",
        "of the whole history, of all venues; what the server must have to spare",
    );
    let storage = match storage {
        "off" => return None,
        "file" => HistoryStorage::File,
        _ => HistoryStorage::Memory,
    };
    Some(HistoryBounds { storage, replicas, age_max, events_per_channel_max, bytes_max })
}

/// Sees to it that the bus keeps the history.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) bounds: HistoryBounds,
    pub(crate) bus: async_nats::Client,
    pub(crate) connected: watch::Receiver<bool>,
    pub(crate) metrics: HistoryMetrics,
}

impl Recorder {
    /// Creates the stream where it is missing, and sets its bounds once, until `stop`.
    ///
    /// Ticks do not wait for it, whatever becomes of it: the stream listens, and nobody publishes to it.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let keeping = async {
            let history = History::new(self.bus.clone(), ANSWER_WITHIN);
            let mut said = None;
            // Only the first time: two that were set differently would not stop changing it.
            let mut adjust = true;
            while self.connected.wait_for(|connected| *connected).await.is_ok() {
                let outcome = history.ensure(&self.bounds, adjust).await;
                self.metrics.kept(outcome.is_ok());
                adjust &= outcome.is_err();
                let again = self.note(outcome, &mut said);
                tokio::select! {
                    () = tokio::time::sleep(again) => {}
                    // After an outage it is looked at at once.
                    _ = self.connected.wait_for(|connected| !connected) => {}
                }
            }
        };
        tokio::select! {
            () = keeping => {}
            () = stop.cancelled() => {}
        }
    }

    /// Says what is news; gives the time to the next look.
    fn note(&self, outcome: Result<Ensured, HistoryError>, said: &mut Option<String>) -> Duration {
        match outcome {
            Ok(ensured) => {
                let HistoryBounds { storage, age_max, events_per_channel_max, bytes_max, .. } = &self.bounds;
                match ensured {
                    Ensured::Created | Ensured::Adjusted => info!(
                        stream = HISTORY_STREAM,
                        ?ensured,
                        ?storage,
                        max_age_ms = age_max.as_millis(),
                        ticks = events_per_channel_max,
                        max_bytes = bytes_max,
                        "history is kept"
                    ),
                    Ensured::Elsewhere => warn!(
                        stream = HISTORY_STREAM,
                        ?storage,
                        "history lies elsewhere than it should or has another number of copies; that changes when the \
                         stream is deleted"
                    ),
                    Ensured::Kept if said.is_some() => info!(stream = HISTORY_STREAM, "history is kept"),
                    Ensured::Kept => {}
                }
                *said = None;
                LOOK_EVERY
            }
            Err(error) => {
                let words = error.to_string();
                if said.as_ref() == Some(&words) {
                    debug!(stream = HISTORY_STREAM, %error, "history is still not kept");
                } else {
                    warn!(stream = HISTORY_STREAM, %error, "history is not kept; everything else works");
                    *said = Some(words);
                }
                match error {
                    HistoryError::Away(_) | HistoryError::NoStream => TRY_AGAIN_AFTER,
                    HistoryError::NoJetStream(_) | HistoryError::Refused(_) => LOOK_EVERY,
                }
            }
        }
    }
}
