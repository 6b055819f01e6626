//! The browser protocol: what clients say, read into types, and what they are told, written as JSON.

mod request;
mod write;

pub use request::{Failure, Request, Resume, Subscribe, Unsubscribe, read};
pub use write::{
    ChannelWriter, Granted, HealthView, Offer, StatusView, SymbolResult, Text, error, goaway, heartbeat,
    merged_end, pong, status, subscriptions, symbol_refused, symbol_results, venue_down,
};

/// Why a message or one of its symbols was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorCode {
    /// Not JSON.
    BadJson,
    /// JSON of the wrong shape, or something that is not served.
    BadMessage,
    /// No such type of message.
    UnknownType,
    /// No such venue here.
    UnknownSource,
    /// The venue has no such symbol.
    UnknownSymbol,
    /// Nothing to unsubscribe.
    NotSubscribed,
    /// One subscription more than allowed.
    TooManySubscriptions,
    /// Messages come too fast.
    RateLimited,
}

impl ErrorCode {
    /// The code as clients and metrics see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "BAD_JSON",
            Self::BadMessage => "BAD_MESSAGE",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::UnknownSource => "UNKNOWN_SOURCE",
            Self::UnknownSymbol => "UNKNOWN_SYMBOL",
            Self::NotSubscribed => "NOT_SUBSCRIBED",
            Self::TooManySubscriptions => "TOO_MANY_SUBSCRIPTIONS",
            Self::RateLimited => "RATE_LIMITED",
        }
    }
}
