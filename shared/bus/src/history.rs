use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{Context, RequestErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, Message, StatusCode};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tickcast_model::{ChannelEvent, Symbol, VenueId};

use crate::{decode_channel_event_of, tick_subject};

/// The JetStream stream that holds what is published on `tick.>`.
pub const HISTORY_STREAM: &str = "TICKS";

/// What the stream captures.
const SUBJECTS: &str = "tick.>";

/// Events asked for at a time, well below what one subscription may hold.
const BATCH_EVENTS: u64 = 256;

/// A reader that is gone leaves nothing on the server after this.
const FORGET_READER_AFTER: Duration = Duration::from_secs(5);

/// Where the stream lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistoryStorage {
    /// In the server's memory: gone when it restarts.
    Memory,
    /// On the server's disk.
    File,
}

/// How much history there is. What is beyond a bound is dropped, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryBounds {
    /// Where it lies; decided when the stream is created.
    pub storage: HistoryStorage,
    /// Copies in a cluster; decided when the stream is created.
    pub replicas: usize,
    /// How old an event may become.
    pub age_max: Duration,
    /// Events of one channel, at least one.
    pub events_per_channel_max: u32,
    /// Bytes of all events.
    pub bytes_max: u64,
}

/// What [`History::ensure`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ensured {
    /// The stream was there as it should be.
    Kept,
    /// It was not there.
    Created,
    /// It had other bounds.
    Adjusted,
    /// It is bounded as it should be and lies elsewhere, or has another number of copies, which cannot be changed: it has
    /// to be deleted first.
    Elsewhere,
}

/// Why there is no history.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// The bus has no JetStream for us, and waiting does not bring it.
    #[error("the bus has no JetStream: {0}")]
    NoJetStream(String),
    /// Nobody has created the stream, or it was lost.
    #[error("there is no stream {HISTORY_STREAM}")]
    NoStream,
    /// The server does not do it like this.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer, or one that makes no sense.
    #[error("not available: {0}")]
    Away(String),
}

/// What was read of a channel.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ChannelHistory {
    /// Its last events, in the order in which they were published. Repeats are among them, and what a replaced
    /// incarnation said late.
    pub events: Vec<ChannelEvent>,
    /// Messages on its subject that were none.
    pub unreadable: usize,
}

/// The history of all channels. Clones share the connection.
#[derive(Clone)]
pub struct History {
    client: Client,
    context: Context,
}

impl History {
    /// The history on this bus; a server that does not answer within `answer_within` is away.
    pub fn new(client: Client, answer_within: Duration) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(answer_within);
        Self { client, context }
    }

    /// Makes sure that the stream is there, and where `adjust` that its bounds are these. Any number of processes may do
    /// this at a time.
    ///
    /// # Errors
    /// [`HistoryError`] where it is not there and cannot be created, or its bounds cannot be set.
    ///
    /// # Cancel safety
    /// What was done so far stays done; doing it again does the rest.
    pub async fn ensure(&self, bounds: &HistoryBounds, adjust: bool) -> Result<Ensured, HistoryError> {
        let found = match self.api::<Info>("STREAM.INFO", &json!({})).await {
            Err(HistoryError::NoStream) => None,
            found => Some(found?.config),
        };
        match (found, adjust) {
            (None, _) => {
                let made: Result<Info, _> = self.api("STREAM.CREATE", &created(bounds)).await;
                match made {
                    Ok(_) => Ok(Ensured::Created),
                    // Somebody else may have been faster.
                    Err(error) => match self.api::<Info>("STREAM.INFO", &json!({})).await {
                        Ok(_) => Ok(Ensured::Kept),
                        Err(_) => Err(error),
                    },
                }
            }
            (Some(found), true) => {
                let adjusted = adjusted(&found, bounds);
                if let Some(config) = &adjusted {
                    self.api::<Info>("STREAM.UPDATE", config).await?;
                }
                let is_elsewhere =
                    found.storage != storage(bounds.storage) || found.num_replicas != bounds.replicas;
                Ok(match adjusted {
                    _ if is_elsewhere => Ensured::Elsewhere,
                    Some(_) => Ensured::Adjusted,
                    None => Ensured::Kept,
                })
            }
            (Some(_), false) => Ok(Ensured::Kept),
        }
    }

    /// Reads the last `count` events of a channel.
    ///
    /// It costs the server a look at every event since the channel's oldest one, for that is how it finds those of one
    /// subject, and a message for each event of the channel; so the stream should hold about `count` of each.
    ///
    /// # Errors
    /// [`HistoryError`] where it cannot be read to its end.
    ///
    /// # Cancel safety
    /// Nothing is left but a reader on the server, which it forgets by itself.
    pub async fn last_events(
        &self,
        venue: &VenueId,
        symbol: &Symbol,
        count: usize,
    ) -> Result<ChannelHistory, HistoryError> {
        let mut read = Last::new(symbol.clone(), count);
        self.read(tick_subject(venue, symbol), |message| read.take(message)).await?;
        Ok(read.history())
    }

    /// Reads the last `count` events of many of a venue's channels at once; they come in the order of `symbols`.
    ///
    /// It costs the server a message for every event of the venue, whichever channels are asked for. That is less than
    /// reading them one by one where they are many, see [`History::last_events`].
    ///
    /// # Errors
    /// [`HistoryError`] where it cannot be read to its end.
    ///
    /// # Cancel safety
    /// Nothing is left but a reader on the server, which it forgets by itself.
    pub async fn last_events_of(
        &self,
        venue: &VenueId,
        symbols: &[Symbol],
        count: usize,
    ) -> Result<Vec<ChannelHistory>, HistoryError> {
        let mut reads: Vec<Last> = symbols.iter().map(|symbol| Last::new(symbol.clone(), count)).collect();
        let places = symbols.iter().enumerate().map(|(place, symbol)| (tick_subject(venue, symbol), place));
        let places: HashMap<String, usize> = places.collect();
        let all = format!("tick.{venue}.>");
        self.read(all, |message| {
            if let Some(place) = places.get(message.subject.as_str()) {
                reads[*place].take(message);
            }
        })
        .await?;
        Ok(reads.into_iter().map(Last::history).collect())
    }

    /// Reads what the stream has now on a subject, oldest first.
    async fn read(&self, filter: String, mut each: impl FnMut(&Message)) -> Result<(), HistoryError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            filter_subject: filter,
            inactive_threshold: FORGET_READER_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let reader: Reader =
            self.api("CONSUMER.CREATE", &json!({"stream_name": HISTORY_STREAM, "config": config})).await?;
        let inbox = self.client.new_inbox();
        let mut messages = self.client.subscribe(inbox.clone()).await.map_err(|error| away(&error))?;
        // Only so many: what is published meanwhile comes live.
        let mut left = reader.num_pending;
        'all: while left > 0 {
            let batch = left.min(BATCH_EVENTS);
            let expires_ns = FORGET_READER_AFTER.as_nanos();
            let ask = json!({"batch": batch, "expires": expires_ns}).to_string();
            self.tell(&format!("CONSUMER.MSG.NEXT.{HISTORY_STREAM}.{}", reader.name), &inbox, ask).await?;
            for _ in 0..batch {
                let Some(message) = messages.next().await else {
                    return Err(HistoryError::Away("the connection has ended".into()));
                };
                match message.status {
                    // What should have come was dropped meanwhile, for its age or for what came after it.
                    Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => break 'all,
                    Some(status) if status.as_u16() >= 400 => {
                        return Err(HistoryError::Away(message.description.unwrap_or_default()));
                    }
                    _ => each(&message),
                }
            }
            left -= batch;
        }
        self.tell(&format!("CONSUMER.DELETE.{HISTORY_STREAM}.{}", reader.name), &inbox, String::new()).await
    }

    /// A request of the JetStream API about the stream.
    async fn api<T: DeserializeOwned>(
        &self,
        request: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, HistoryError> {
        let answer: Result<Response<T>, _> =
            self.context.request(format!("{request}.{HISTORY_STREAM}"), body).await;
        match answer {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(judge(&error)),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(HistoryError::NoJetStream("nothing answers for it".into()))
            }
            Err(error) => Err(away(&error)),
        }
    }

    /// A request whose answer comes to the inbox, or is of no interest.
    async fn tell(&self, request: &str, inbox: &str, body: String) -> Result<(), HistoryError> {
        let told =
            self.client.publish_with_reply(format!("$JS.API.{request}"), inbox.to_owned(), body.into());
        told.await.map_err(|error| away(&error))
    }
}

/// The last events of one channel, while they are read.
struct Last {
    symbol: Symbol,
    count: usize,
    events: VecDeque<ChannelEvent>,
    unreadable: usize,
}

impl Last {
    fn new(symbol: Symbol, count: usize) -> Self {
        Self { symbol, count: count.max(1), events: VecDeque::new(), unreadable: 0 }
    }

    fn take(&mut self, message: &Message) {
        match decode_channel_event_of(&self.symbol, &message.payload) {
            Ok(event) => {
                if self.events.len() == self.count {
                    self.events.pop_front();
                }
                self.events.push_back(event);
            }
            Err(_) => self.unreadable += 1,
        }
    }

    fn history(self) -> ChannelHistory {
        ChannelHistory { events: self.events.into(), unreadable: self.unreadable }
    }
}

/// What the server says of a reader it made.
#[derive(Deserialize)]
struct Reader {
    name: String,
    num_pending: u64,
}

fn judge(error: &jetstream::Error) -> HistoryError {
    match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            HistoryError::NoJetStream(error.to_string())
        }
        ErrorCode::STREAM_NOT_FOUND => HistoryError::NoStream,
        _ if error.code() < 500 => HistoryError::Refused(error.to_string()),
        _ => HistoryError::Away(error.to_string()),
    }
}

/// The client's own texts say little without their causes.
fn away(error: &dyn Error) -> HistoryError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    HistoryError::Away(text)
}

fn created(bounds: &HistoryBounds) -> Config {
    let config = Config {
        name: HISTORY_STREAM.to_owned(),
        description: Some("the last ticks and states of every channel".to_owned()),
        storage: storage(bounds.storage),
        num_replicas: bounds.replicas,
        ..Config::default()
    };
    bound(config, bounds)
}

fn storage(storage: HistoryStorage) -> StorageType {
    match storage {
        HistoryStorage::Memory => StorageType::Memory,
        HistoryStorage::File => StorageType::File,
    }
}

/// What becomes of a stream that is there; `None` where nothing has to change.
fn adjusted(found: &Config, bounds: &HistoryBounds) -> Option<Config> {
    let config = bound(found.clone(), bounds);
    (config != *found).then_some(config)
}

fn bound(config: Config, bounds: &HistoryBounds) -> Config {
    let subjects = vec![SUBJECTS.to_owned()];
    Config {
        subjects,
        max_age: bounds.age_max,
        max_messages_per_subject: i64::from(bounds.events_per_channel_max),
        max_bytes: i64::try_from(bounds.bytes_max).unwrap_or(i64::MAX),
        discard: DiscardPolicy::Old,
        // Nobody asks whether an event was stored.
        no_ack: true,
        // The server keeps no table of what it has seen longer than this; events carry no ids.
        duplicate_window: config.duplicate_window.min(bounds.age_max),
        ..config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> HistoryBounds {
        HistoryBounds {
            storage: HistoryStorage::Memory,
            replicas: 1,
            age_max: Duration::from_secs(60),
            events_per_channel_max: 256,
            bytes_max: 1 << 20,
        }
    }

    #[test]
    fn a_stream_is_left_alone_where_it_is_bounded_as_it_should_be() {
        assert_eq!(adjusted(&created(&bounds()), &bounds()), None);
    }

    #[test]
    fn other_bounds_are_put_right_and_what_cannot_change_stays() {
        let found = created(&HistoryBounds { storage: HistoryStorage::File, replicas: 3, ..bounds() });
        assert_eq!(adjusted(&found, &bounds()), None, "neither storage nor copies can be changed");
        let wanted =
            HistoryBounds { age_max: Duration::from_secs(90), events_per_channel_max: 8, ..bounds() };
        let config = adjusted(&found, &wanted).unwrap();
        assert_eq!((config.max_age, config.max_messages_per_subject), (Duration::from_secs(90), 8));
        assert_eq!((config.storage, config.num_replicas), (StorageType::File, 3));
    }
}
