//! The thin shell: the port, TLS, clocks and the admin pages around a [`SimulatedVenue`].

mod admin;
mod attend;
mod certificate;
mod metrics;
mod outbox;
mod server;
mod settings;
mod shared;

use std::future::Future;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use attend::{FAREWELL_WITHIN, HANDSHAKE_WITHIN, begins, left, none_of};
pub use metrics::{Family, Total};
pub use outbox::{Backlog, Outbox};
pub use server::serve;
pub use settings::{ListenerSettings, MarketSettings, file, secret};
pub use shared::Shared;

use crate::SimulatedVenue;

/// A venue with what the shell wants to know of it: its transport, its totals, the faults that act on sockets.
pub trait ServedVenue: SimulatedVenue + Sized {
    /// What waits for one client.
    type Backlog: Backlog<Message = Self::Message>;

    /// While it is on, the listener is closed.
    const REFUSE: Self::Fault;
    /// While it is on, new connections are reset during their handshake.
    const RESET_HANDSHAKE: Self::Fault;
    /// While one of them is on, the first byte of a client is not answered.
    const HANG: &'static [Self::Fault];

    /// The life of one socket, from accept to close: the handshakes, then [`Shared::open`], what comes and goes, and
    /// [`Shared::closed`].
    fn attend(
        stream: TcpStream,
        peer: SocketAddr,
        tls: TlsAcceptor,
        shared: &Shared<Self>,
        stop: &CancellationToken,
    ) -> impl Future<Output = ()> + Send;

    /// How many connections there are.
    fn connections_current(&self) -> usize;

    /// What the status page shows, as a JSON object; the shell adds the faults that are on.
    fn status(&self) -> Value;

    /// Totals since the start.
    fn totals(&self) -> Vec<Total>;

    /// Totals by a label.
    fn families(&self) -> Vec<Family>;
}

/// What keeps a simulator from running.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificate cannot be left for the clients.
    #[error("cannot write SIM_CA_FILE {path}: {source}")]
    CaFile {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The venue's port cannot be opened.
    #[error("cannot listen on SIM_ADDR {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}
