//! What comes out of the venue: things to do, and totals.

use std::collections::BTreeMap;

use bytes::Bytes;
use sim_kit::{EndingKind, ReasonKind};

/// What the shell has to do; one or more frames at a time, or a part of one where a fault cuts it.
pub type Output = sim_kit::Output<Bytes, Ending, Reason>;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Everything is sent, then TLS and TCP close as they should.
    Orderly,
    /// Everything is sent, then TCP ends without a close of TLS.
    Abrupt,
    /// TCP reset.
    Reset,
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The client went away.
    Peer,
    /// The client was silent for too long.
    Inactivity,
    /// The application was refused.
    Credentials,
    /// The client's bytes are no frames.
    BadFrame,
    /// The client does not read what it is sent.
    SlowReader,
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
            Self::Inactivity => "inactivity",
            Self::Credentials => "credentials",
            Self::BadFrame => "bad-frame",
            Self::SlowReader => "slow-reader",
            Self::Fault => "fault",
        }
    }
}

/// Totals since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Connections opened.
    pub opened: u64,
    /// Bytes received on all connections.
    pub received_bytes: u64,
    /// Connections closed, by reason.
    pub closed: BTreeMap<Reason, u64>,
    /// Messages received, by name of their payload type.
    pub requests: BTreeMap<&'static str, u64>,
    /// Error answers, by code.
    pub errors: BTreeMap<&'static str, u64>,
    /// Requests beyond the venue's own limits; not counted while a fault has chosen others.
    pub breaches: u64,
    /// Faults switched on, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Spot events sent, snapshots included.
    pub spot_events: u64,
    /// Spot events a fault withheld.
    pub withheld: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
}
