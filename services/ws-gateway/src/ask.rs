use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Request, RequestErrorKind};
use tickcast_bus::{decode_explanation, encode_why, why_subject};
use tokio::sync::watch;
use tracing::{Instrument as _, info_span};

use crate::hub::ChannelKey;
use crate::metrics::GatewayMetrics;
use crate::why::Asked;

/// Puts questions about symbols to their venues' ingests, for anybody who asks over HTTP.
///
/// One question is on its way for a symbol at a time; who asks the same meanwhile, or within a quarter of a second of the
/// answer, gets that answer. So however many ask, an ingest hears at most 64 questions in that time.
pub struct Asker {
    bus: Client,
    metrics: Arc<GatewayMetrics>,
    questions: Mutex<HashMap<ChannelKey, watch::Receiver<Option<Asked>>>>,
}

/// There are too many questions at the moment.
#[derive(Debug)]
pub struct TooMany;

/// Questions on their way or answered lately, of all symbols.
const QUESTIONS_MAX: usize = 64;
/// Time for the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long an answer is given to others who ask the same.
const KEPT: Duration = Duration::from_millis(250);

impl Asker {
    /// Asks on this bus.
    pub fn new(bus: Client, metrics: Arc<GatewayMetrics>) -> Self {
        Self { bus, metrics, questions: Mutex::default() }
    }

    /// What the venue's ingest says of the symbol.
    ///
    /// # Errors
    /// [`TooMany`] where it cannot be asked now.
    ///
    /// # Cancel safety
    /// The question goes on for others when this is dropped, and ends by itself.
    pub async fn ask(self: &Arc<Self>, key: &ChannelKey) -> Result<Asked, TooMany> {
        let mut answer = self.question(key)?;
        // The sender goes without an answer only where its task was ended.
        let asked = answer.wait_for(Option::is_some).await.ok().and_then(|asked| asked.clone());
        Ok(asked.unwrap_or(Asked::NoAnswer(Duration::ZERO)))
    }

    /// The question that is on its way, or a new one.
    fn question(self: &Arc<Self>, key: &ChannelKey) -> Result<watch::Receiver<Option<Asked>>, TooMany> {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let there = questions.len();
        match questions.entry(key.clone()) {
            Entry::Occupied(question) => {
                self.metrics.why_shared.inc();
                Ok(question.get().clone())
            }
            Entry::Vacant(_) if there >= QUESTIONS_MAX => {
                self.metrics.why_refused.inc();
                Err(TooMany)
            }
            Entry::Vacant(place) => {
                let (answer, receiver) = watch::channel(None);
                place.insert(receiver.clone());
                let question = Question { asker: self.clone(), key: key.clone() };
                tokio::spawn(async move {
                    let asked = question.put().await;
                    question.asker.metrics.why_asked(&question.key.venue, &asked);
                    answer.send_replace(Some(asked));
                    tokio::time::sleep(KEPT).await;
                });
                Ok(receiver)
            }
        }
    }
}

/// A question's place among the others; dropping it gives the place back.
struct Question {
    asker: Arc<Asker>,
    key: ChannelKey,
}

impl Question {
    async fn put(&self) -> Asked {
        let ChannelKey { venue, symbol } = &self.key;
        let asking = async {
            let mut headers = HeaderMap::new();
            tickcast_service::trace::inject(|name, value| headers.insert(name, value));
            let mut request = Request::new().payload(encode_why(symbol).into()).timeout(Some(ANSWER_WITHIN));
            if !headers.is_empty() {
                request = request.headers(headers);
            }
            self.asker.bus.send_request(why_subject(venue), request).await
        };
        // The request itself may wait for a bus that is away.
        let asking = asking.instrument(info_span!("why", %venue, %symbol));
        match tokio::time::timeout(ANSWER_WITHIN, asking).await {
            Ok(Ok(message)) => match decode_explanation(&message.payload) {
                Ok(said) if said.venue == *venue && said.symbol == *symbol => Asked::Answered(said),
                Ok(_) => Asked::Unreadable("about another symbol".into()),
                Err(error) => Asked::Unreadable(error.to_string()),
            },
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Asked::NobodyThere,
            Ok(Err(_)) | Err(_) => Asked::NoAnswer(ANSWER_WITHIN),
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.asker.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
