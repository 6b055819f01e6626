use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{Context, GetStreamErrorKind, PublishErrorKind, RequestErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, StorageType, Stream};
use async_nats::{Client, HeaderMap, HeaderValue};
use bytes::Bytes;
use serde_json::{Value, json};
use tickcast_bus::encode_token;
use tickcast_model::VenueId;
use tickcast_session::{Claim, LeadershipAction, LeaseAnswer, LeaseEntry};
use tracing::{info, warn};

/// The bucket of all leader leases (docs/bus.md).
pub(crate) const BUCKET: &str = "LEADERS";

/// An answer of the store that takes longer is of no use to anybody.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest time that is waited for a holder, whatever its claim says; the greatest setting of the TTL.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(60);
/// Bytes the bucket may take; a lease has about two hundred.
const BUCKET_BYTES_MAX: i64 = 1024 * 1024;
/// Bytes of a claim at most.
const CLAIM_BYTES_MAX: i32 = 4096;
const KV_OPERATION: &str = "KV-Operation";

/// The name of a lease in the bucket: `<venue>.<account>.<hash of the application>`.
///
/// What venues allow once is an application on an account; the application's id is hashed, for it is half of a login.
pub(crate) fn lease_key(venue: &VenueId, account: &str, application: &str) -> String {
    // FNV-1a: it has to be the same everywhere and for ever, and needs to hide nothing.
    let hash = application
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{venue}.{}.{:08x}", encode_token(account), hash >> 32)
}

/// Why the store cannot be used.
#[derive(Clone, Debug)]
pub(crate) enum StoreError {
    /// The bus has no JetStream for us, and waiting does not bring it.
    NoJetStream(String),
    /// It does not work now.
    Away(String),
}

/// The lease in its JetStream bucket. Clones share it.
#[derive(Clone)]
pub(crate) struct LeaseStore {
    context: Context,
    replicas: usize,
    subject: String,
}

impl LeaseStore {
    pub(crate) fn new(bus: Client, key: &str, replicas: usize) -> Self {
        let mut context = async_nats::jetstream::new(bus);
        context.set_timeout(ANSWER_WITHIN);
        Self { context, replicas, subject: format!("$KV.{BUCKET}.{key}") }
    }

    /// The subject on which the lease is written: whoever hears something there has reason to look.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Makes sure that the bucket is there.
    pub(crate) async fn open(&self) -> Result<(), StoreError> {
        let stream = match self.context.get_stream(stream_name()).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    self.create().await?
                }
                GetStreamErrorKind::JetStream(error) => return Err(judge(&error)),
                // No answer at all: is there a JetStream?
                _ => {
                    self.query().await?;
                    return Err(StoreError::Away(error.to_string()));
                }
            },
        };
        let state = &stream.cached_info().state;
        if state.messages == 0 && state.last_sequence < unix_ms() {
            // New, or wiped: revisions go on beyond those of any bucket there was before, for they are epochs, and
            // whoever has heard of a greater one drops what comes with a smaller.
            self.skip(stream, unix_ms()).await?;
        }
        Ok(())
    }

    /// Asks whether there is a JetStream. The answer is read by hand: its shape differs between versions of the server.
    async fn query(&self) -> Result<(), StoreError> {
        match self.context.request::<_, _, Value>("INFO", &json!({})).await {
            Ok(answer) => match serde_json::from_value(answer["error"].clone()) {
                Ok(error) => Err(judge(&error)),
                Err(_) => Ok(()),
            },
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(StoreError::NoJetStream("nothing answers for it".to_owned()))
            }
            Err(error) => Err(StoreError::Away(chain(&error))),
        }
    }

    /// Creates the bucket: a stream with the settings by which every client knows a key-value bucket.
    async fn create(&self) -> Result<Stream, StoreError> {
        let config = Config {
            name: stream_name(),
            description: Some("who holds the one connection of each venue account".to_owned()),
            subjects: vec![format!("$KV.{BUCKET}.>")],
            max_messages_per_subject: 1,
            max_bytes: BUCKET_BYTES_MAX,
            max_message_size: CLAIM_BYTES_MAX,
            storage: StorageType::File,
            num_replicas: self.replicas,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..Config::default()
        };
        match self.context.create_stream(config).await {
            Ok(_) => info!(bucket = BUCKET, replicas = self.replicas, "bucket of leader leases created"),
            // Somebody else may have been faster.
            Err(error) => {
                warn!(bucket = BUCKET, error = chain(&error), "bucket of leader leases not created");
            }
        }
        self.context.get_stream(stream_name()).await.map_err(|error| StoreError::Away(chain(&error)))
    }

    /// Empties the bucket and makes its next revision this one, at least.
    async fn skip(&self, stream: Stream, next: u64) -> Result<(), StoreError> {
        stream.purge().sequence(next).await.map_err(|error| StoreError::Away(error.to_string()))?;
        info!(bucket = BUCKET, revision = next, "revisions go on from here");
        Ok(())
    }

    /// Does one operation. The error says why the answer is [`LeaseAnswer::Failed`].
    pub(crate) async fn perform(&self, action: LeadershipAction) -> Result<LeaseAnswer, StoreError> {
        match action {
            LeadershipAction::Read { .. } => self.read().await.map(LeaseAnswer::Seen),
            LeadershipAction::Write { expected, claim, .. } => {
                self.write(expected, encode(&claim), HeaderMap::new()).await
            }
            LeadershipAction::Delete { expected, .. } => {
                let mut headers = HeaderMap::new();
                headers.insert(KV_OPERATION, "DEL");
                self.write(expected, Bytes::new(), headers).await
            }
            LeadershipAction::SkipAhead { beyond, .. } => {
                let stream = self.context.get_stream(stream_name()).await;
                let stream = stream.map_err(|error| StoreError::Away(error.to_string()))?;
                self.skip(stream, unix_ms().max(beyond.saturating_add(1))).await?;
                Ok(LeaseAnswer::Done { revision: 0 })
            }
            LeadershipAction::Lead { .. } | LeadershipAction::StepDown(_) => {
                Err(StoreError::Away("not an operation".to_owned()))
            }
        }
    }

    /// Reads at the server that leads the stream: a replica may be behind.
    async fn read(&self) -> Result<LeaseEntry, StoreError> {
        let away = |error: &dyn std::error::Error| StoreError::Away(chain(error));
        let stream = self.context.get_stream_no_info(stream_name()).await.map_err(|error| away(&error))?;
        match stream.get_last_raw_message_by_subject(&self.subject).await {
            Ok(message) => {
                let revision = message.sequence;
                Ok(match message.headers.get(KV_OPERATION).map(HeaderValue::as_str) {
                    Some("DEL" | "PURGE") => LeaseEntry::Released { revision },
                    _ => LeaseEntry::Held { revision, claim: decode(&message.payload) },
                })
            }
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(LeaseEntry::Absent),
                LastRawMessageErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    self.open().await.map(|()| LeaseEntry::Absent)
                }
                _ => Err(away(&error)),
            },
        }
    }

    async fn write(
        &self,
        expected: u64,
        value: Bytes,
        mut headers: HeaderMap,
    ) -> Result<LeaseAnswer, StoreError> {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(expected));
        let written =
            async { self.context.publish_with_headers(self.subject.clone(), headers, value).await?.await };
        match written.await {
            Ok(ack) => Ok(LeaseAnswer::Done { revision: ack.sequence }),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(LeaseAnswer::Conflict),
            Err(error) => Err(StoreError::Away(chain(&error))),
        }
    }
}

fn stream_name() -> String {
    format!("KV_{BUCKET}")
}

fn judge(error: &async_nats::jetstream::Error) -> StoreError {
    match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            StoreError::NoJetStream(error.to_string())
        }
        _ => StoreError::Away(error.to_string()),
    }
}

/// An error with what caused it: the client's own texts say little.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => {
            format!("{error}: {}", chain(source))
        }
        _ => error.to_string(),
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

/// JSON, so that a person sees with the tools of the bus who leads.
fn encode(claim: &Claim) -> Bytes {
    let ttl_ms = u64::try_from(claim.ttl.as_millis()).unwrap_or(u64::MAX);
    // An epoch may be greater than a double can hold, so it stays a text.
    let value = json!({
        "holder": claim.holder, "epoch": claim.epoch.to_string(), "write": claim.write, "ttlMs": ttl_ms,
    });
    value.to_string().into()
}

/// What is no claim is one of nobody: it is waited for like any other.
fn decode(bytes: &[u8]) -> Claim {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let ttl = Duration::from_millis(value["ttlMs"].as_u64().unwrap_or(0));
    Claim {
        holder: value["holder"].as_str().unwrap_or_default().to_owned(),
        write: value["write"].as_u64().unwrap_or(0),
        epoch: value["epoch"].as_str().and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        ttl: ttl.min(TTL_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_venue_and_account_and_hides_the_application() {
        let venue = VenueId::new("ctrader").unwrap();
        let key = lease_key(&venue, "1000001", "sim-app");
        assert_eq!(key, "ctrader.1000001.5d3850ce");
        assert_ne!(key, lease_key(&venue, "1000001", "sim-app2"));
        assert_eq!(lease_key(&venue, "DU 1.2", "x").split('.').count(), 3);
    }

    #[test]
    fn a_claim_survives_and_garbage_is_nobodys() {
        let claim = Claim {
            holder: "ingest-ctrader-1a2b3c4d".into(),
            write: 7,
            epoch: u64::MAX,
            ttl: Duration::from_secs(3),
        };
        assert_eq!(decode(&encode(&claim)), claim);
        for garbage in [&b""[..], b"{", b"[1]", br#"{"holder":7,"epoch":-1,"ttlMs":"x"}"#] {
            let nobody = decode(garbage);
            assert_eq!((nobody.holder.as_str(), nobody.epoch, nobody.ttl), ("", 0, Duration::ZERO));
        }
        assert_eq!(decode(br#"{"ttlMs":99999999999}"#).ttl, TTL_MAX);
    }
}
