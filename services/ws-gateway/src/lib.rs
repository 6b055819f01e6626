//! Serves browsers: live ticks and venue health over WebSocket.

pub mod catalogue;
pub mod feed;
pub mod health;
pub mod hub;
pub mod limits;
pub mod protocol;
pub mod ring;
pub mod session;
