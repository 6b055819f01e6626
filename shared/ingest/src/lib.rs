//! The only owner of venue sockets.
//!
//! Floor 2: it dials, moves bytes between a socket and the venue's [`Session`](tickcast_session::Session), publishes
//! what comes out and takes leases from the bus. It decides nothing: that is the supervisor's. Its tasks:
//!
//! * `drive` owns the socket and the supervisor, and waits for neither the bus nor anybody on it;
//! * `publish_events` and `publish_health` bring what it says onto the bus;
//! * `Leader` competes for the one lease of the venue account; the others live for one term of it;
//! * `Recorder` sees to it that the bus keeps the history, whoever leads;
//! * `Intake` hears leases and questions from the bus;
//! * `Companions` are those of a term beside the venue loop: where one ends early, so do the term and the process.

mod clock;
mod companions;
mod dial;
mod doctor;
mod drive;
mod fence;
mod history;
mod intake;
mod keep;
mod lead;
mod lease;
mod link;
mod metrics;
mod outbox;
mod publish;
mod run;
mod settings;
mod term;

pub use clock::Clock;
pub use dial::{Dial, TlsDialler, Transport};
pub use doctor::{Names, Patient, doctor};
pub use fence::Fence;
pub use keep::{read_kept, try_to_keep};
pub use run::{Upstream, run};
pub use settings::IngestSettings;

/// What can stop an ingest from starting. Nothing that happens outside it ends it later.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The bus client could not be made.
    #[error(transparent)]
    Bus(#[from] tickcast_bus::BusError),
    /// A subscription on the bus could not be made.
    #[error("cannot subscribe on the bus: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// The bus has no JetStream, in which the leader lease is kept.
    #[error("the bus has no JetStream, which the leader lease needs (start nats-server with -js): {0}")]
    NoJetStream(String),
    /// A part that must not end has ended.
    #[error("the {0} task has failed")]
    Ended(&'static str),
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
