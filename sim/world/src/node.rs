use std::time::Duration;

use ingest_ctrader::{CtraderSession, Memory};
use tickcast_session::Supervisor;

use crate::meter::Meter;
use crate::wire::Socket;

/// One ingest process.
pub(crate) struct Node {
    pub(crate) power: Power,
    /// What it does while it leads.
    pub(crate) term: Option<Term>,
    pub(crate) meter: Meter,
    /// What the process remembers from one connection to the next.
    pub(crate) memory: Memory,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    Running,
    /// Stands still; its connections stay open and fill.
    Paused,
    Dead,
}

/// The life of one supervisor: from the beginning of its leadership to the end of it.
pub(crate) struct Term {
    pub(crate) epoch: u64,
    pub(crate) supervisor: Supervisor<CtraderSession>,
    pub(crate) socket: Socket,
}

impl Node {
    pub(crate) fn new(memory: Memory) -> Self {
        Self { power: Power::Running, term: None, meter: Meter::default(), memory }
    }

    /// When this process has something to do by itself or something to read.
    pub(crate) fn next_time(&self) -> Option<Duration> {
        let term = self.term.as_ref()?;
        let venue_at = match &term.socket {
            Socket::Up(wire) => wire.venue_at(),
            _ => None,
        };
        if self.power != Power::Running {
            return venue_at;
        }
        let own = match &term.socket {
            Socket::None | Socket::Dialling { outcome: crate::wire::Outcome::Never, .. } => None,
            Socket::Dialling { at, .. } => Some(*at),
            Socket::Up(wire) => wire.ingest_at(),
        };
        let supervisor = term.supervisor.deadline();
        assert!(supervisor.is_some(), "alive and without a deadline");
        [supervisor, own, venue_at].into_iter().flatten().min()
    }
}
