//! The thin shell: sockets, TLS, clocks and the admin port around the pure [`crate::Venue`].

mod admin;
mod certificate;
mod connection;
mod metrics;
mod outbox;
mod server;
mod settings;
mod shared;

pub use server::serve;
pub use settings::ServerSettings;

/// What keeps the simulator from running.
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
    /// The scenario names what the venue does not have.
    #[error("cannot play SIM_SCENARIO: {0}")]
    Scenario(#[from] crate::SpecError),
    /// The venue's port cannot be opened.
    #[error("cannot listen on SIM_ADDR {addr}: {source}")]
    Listen {
        /// The address.
        addr: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}
