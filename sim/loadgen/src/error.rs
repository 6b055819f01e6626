/// What can go wrong with one connection or with the run.
#[derive(thiserror::Error, Debug)]
pub enum LoadError {
    /// The address is not one this tool can use.
    #[error("the address {0:?} is not ws://host[:port][/path] or wss://…")]
    Url(String),
    /// The settings make no sense; one line for each.
    #[error("settings cannot be used:\n  {}", .0.join("\n  "))]
    Settings(Vec<String>),
    /// The server broke the WebSocket rules.
    #[error("the server sent {0}")]
    Frame(&'static str),
    /// The server did not agree to speak WebSocket.
    #[error("the server answered HTTP {0}")]
    Http(u16),
    /// The server's answer to the upgrade is no answer.
    #[error("the server's answer to the upgrade {0}")]
    Handshake(&'static str),
    /// A NATS server said what none may say.
    #[error("the server said {0}")]
    Nats(&'static str),
    /// TLS cannot be used as asked.
    #[error("TLS: {0}")]
    Tls(String),
    /// Another process of the same run did not do its part.
    #[error("a part of the run failed: {0}")]
    Part(String),
    /// Something took longer than it may.
    #[error("{0} took too long")]
    Timeout(&'static str),
    /// A socket or file error.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The server closed the connection.
    #[error("closed by the server, code {0}")]
    Closed(u16),
    /// The venue's symbols could not be learned.
    #[error("no symbols found: {0}")]
    Symbols(String),
    /// The report could not be written as JSON.
    #[error("the report cannot be written: {0}")]
    Report(#[from] serde_json::Error),
}

impl LoadError {
    /// A short name to count by.
    pub fn kind(&self) -> String {
        match self {
            Self::Url(_) => "url".into(),
            Self::Settings(_) => "settings".into(),
            Self::Frame(_) => "protocol".into(),
            Self::Http(status) => format!("http_{status}"),
            Self::Handshake(_) => "handshake".into(),
            Self::Nats(_) => "nats".into(),
            Self::Tls(_) => "tls".into(),
            Self::Part(_) => "part".into(),
            Self::Timeout(_) => "timeout".into(),
            Self::Io(error) => match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "refused".into(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => "reset".into(),
                std::io::ErrorKind::UnexpectedEof => "eof".into(),
                std::io::ErrorKind::AddrNotAvailable => "no_local_port".into(),
                _ => "io".into(),
            },
            Self::Closed(code) => format!("closed_{code}"),
            Self::Symbols(_) => "symbols".into(),
            Self::Report(_) => "report".into(),
        }
    }
}
