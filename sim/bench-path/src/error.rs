/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file, a socket or a process.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A page or a result that is not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The WebSocket to the gateway.
    #[error("WebSocket: {0}")]
    WebSocket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    /// TLS of the venue played here.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The bus, in words.
    #[error("bus: {0}")]
    Bus(String),
    /// A program to be measured is not there.
    #[error("{0} is missing: build it in the same profile, as in `cargo build --release --workspace`")]
    NotBuilt(String),
    /// Something did not happen in time.
    #[error("waited in vain for {0}")]
    Late(String),
}

impl BenchError {
    pub(crate) fn bus(error: &dyn std::fmt::Display) -> Self {
        Self::Bus(error.to_string())
    }
}
