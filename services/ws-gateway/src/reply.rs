use bytes::Bytes;

/// Something that is said to one client and comes before its ticks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A JSON object.
    Message(Bytes),
    /// Asks for a sign of life.
    Ping,
    /// The answer to the client's ping, with its payload.
    Pong(Bytes),
    /// The last words: code and reason.
    Close(u16, &'static str),
}
