//! The plain programs the gateway is measured against, so that each figure has a ceiling and a floor made on the same
//! machine in the same minutes.
//!
//! - `calibrator`: bare non-blocking sends of finished frames, one thread, no hub, no library: what the kernel takes.
//! - `axum-plain`: axum's own WebSocket with a task and a channel for each client and a flush for each tick: what people
//!   write first.
//! - `certificate`: a certificate for the runs with TLS.
//!
//! Floor 5: none of it is part of the product, and none of it knows the gateway.

pub mod rounds;
pub mod wire;
