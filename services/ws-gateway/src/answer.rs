use bytes::Bytes;
use serde_json::Value;
use tickcast_model::Position;

use crate::hub::ChannelKey;
use crate::protocol::{self, SymbolResult};
use crate::rate::Rate;

/// The answer to a subscribe that resumes: complete but for what only the channels can say, whether the client goes on
/// where it stopped.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    pub(crate) results: Vec<SymbolResult>,
    pub(crate) id: Option<Value>,
    /// What is to be joined with it; of these nothing is told before the answer.
    pub(crate) joined: Vec<Joined>,
    /// What the client wants to go on with.
    pub(crate) resumed: Vec<Resumed>,
    /// What is said right after it.
    pub(crate) then: Vec<Bytes>,
}

/// A channel that is joined with an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Joined {
    /// Which channel.
    pub key: ChannelKey,
    /// The venue could not serve then.
    pub away: bool,
    /// How it is to be delivered.
    pub rate: Rate,
}

/// A channel a client wants to go on with.
#[derive(Clone, PartialEq, Debug)]
pub struct Resumed {
    /// Which of the results is about it.
    pub(crate) result: usize,
    /// Which channel.
    pub key: ChannelKey,
    /// The last the client got.
    pub position: Position,
}

impl Answer {
    /// Notes whether the client goes on where it stopped.
    pub fn decide(&mut self, resumed: usize, recovered: bool) {
        if let Some(resumed) = self.resumed.get(resumed)
            && let Some(result) = self.results.get_mut(resumed.result)
        {
            result.recovered = Some(recovered);
        }
    }

    /// `subscribeResponse`
    pub fn message(&self, now_ms: i64) -> Bytes {
        protocol::symbol_results("subscribeResponse", &self.results, self.id.as_ref(), now_ms)
    }
}
