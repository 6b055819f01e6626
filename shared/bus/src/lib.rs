//! The message bus: what its subjects are called, what its messages mean, and how to connect.
//!
//! Floor 1: knows the values of [`tickcast_model`] and NATS, and neither a venue nor a browser. It holds no state.

mod client;
mod history;
mod message;
mod subject;
mod tick;
mod watch;
mod why;

/// The bus messages as generated from `proto/bus/v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/tickcast.bus.v1.rs"));
}

pub use client::{BusSettings, Variable, connect};
pub use history::{
    ChannelHistory, Ensured, HISTORY_STREAM, History, HistoryBounds, HistoryError, HistoryStorage,
};
pub use message::{
    decode_catalogue, decode_channel_event, decode_health, decode_lease, encode_catalogue,
    encode_channel_event, encode_health, encode_lease,
};
pub use subject::{
    catalogue_subject, decode_token, demand_subject, encode_token, health_subject, lease_subject,
    reconnect_subject, tick_subject, venue_of_subject, why_subject,
};
pub use tick::{decode_channel_event_of, put_channel_event};
pub use tickcast_model::Lease;
pub use watch::{BusNews, BusWatch};
pub use why::{Explanation, decode_explanation, decode_why, encode_explanation, encode_why};

/// What can go wrong on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The servers could not be reached or did not accept us.
    #[error("cannot connect to the bus: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// The settings cannot be used, for example an address that is none.
    #[error("cannot use the bus settings: {0}")]
    Settings(String),
    /// A message is not valid protobuf.
    #[error("undecodable bus message: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A message is valid protobuf and makes no sense.
    #[error("bus message without meaning: {0}")]
    Meaning(&'static str),
}
