//! What comes out of the venue: things to do, and totals.

use std::collections::BTreeMap;

use sim_kit::{EndingKind, ReasonKind};

/// What the shell has to do; one WebSocket message at a time.
pub type Output = sim_kit::Output<Message, Ending, Reason>;

/// A WebSocket message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// A whole text message of one or more frames.
    Text(String),
    /// A text message of which only the first half is written.
    Half(String),
}

impl Message {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Half(text) => text,
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Everything is sent, then the WebSocket is closed with this code; without one a client sees 1005.
    Close(Option<u16>),
    /// Everything is sent, then TCP ends without a close of the WebSocket; a client sees 1006.
    Abrupt,
    /// Everything is sent, then TCP is reset.
    SendThenReset,
    /// TCP reset at once.
    Reset,
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The client went away.
    Peer,
    /// The client did not echo a heartbeat.
    NoEcho,
    /// The client was told a `protocol_error`.
    Protocol,
    /// The client does not read what it is sent.
    SlowReader,
    /// The client sends more than is kept for it.
    Flood,
    /// A fault asked for it.
    Fault,
}

impl EndingKind for Ending {
    const RESET: Self = Self::Reset;
}

impl ReasonKind for Reason {
    const PEER: Self = Self::Peer;
    const SLOW_READER: Self = Self::SlowReader;

    fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::NoEcho => "no-echo",
            Self::Protocol => "protocol",
            Self::SlowReader => "slow-reader",
            Self::Flood => "flood",
            Self::Fault => "fault",
        }
    }
}

/// Why a client is not let in: the answer to its handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, seconds.
    pub retry_after_s: Option<u64>,
}

/// Totals since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Connections opened.
    pub opened: u64,
    /// Handshakes refused, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Connections closed, by reason.
    pub closed: BTreeMap<Reason, u64>,
    /// Messages received, by method; `heartbeat` for echoes, `unknown` for what the venue does not know.
    pub requests: BTreeMap<&'static str, u64>,
    /// Errors told, by the message that told them.
    pub errors: BTreeMap<&'static str, u64>,
    /// `qsd` messages sent, snapshots included.
    pub quotes: u64,
    /// `du` and `timescale_update` messages sent.
    pub bars: u64,
    /// Updates a fault withheld.
    pub withheld: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
    /// Things a careful client does not do: duplicate or impossible keys, dead sessions, hibernation, bad frames.
    pub breaches: u64,
}
