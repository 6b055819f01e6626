//! The only owner of venue sockets.
//!
//! Floor 2: it dials, moves bytes between a socket and the venue's [`Session`](tickcast_session::Session), publishes
//! what comes out and takes leases from the bus. It decides nothing: that is the supervisor's. Its tasks:
//!
//! * `drive` owns the socket and the supervisor, and waits for neither the bus nor anybody on it;
//! * `publish_events` and `publish_health` bring what it says onto the bus;
//! * `Intake` hears leases and questions from the bus.

mod clock;
mod dial;
mod doctor;
mod drive;
mod intake;
mod keep;
mod link;
mod metrics;
mod outbox;
mod publish;
mod run;
mod settings;

pub use clock::Clock;
pub use dial::{Dial, TlsDialler, Transport};
pub use doctor::{Names, Patient, doctor};
pub use keep::read_kept;
pub use run::run;
pub use settings::IngestSettings;

/// What can stop an ingest from starting. Nothing that happens later ends it.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The bus client could not be made.
    #[error(transparent)]
    Bus(#[from] tickcast_bus::BusError),
    /// A subscription on the bus could not be made.
    #[error("cannot subscribe on the bus: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// The trust anchors cannot be used.
    #[error("cannot use the trust anchors in {file}: {reason}")]
    TrustAnchors {
        /// The file named in the settings.
        file: String,
        /// Why not.
        reason: String,
    },
    /// The host is not one TLS can be spoken to.
    #[error("not a host name: {0}")]
    Host(String),
}
