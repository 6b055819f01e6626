use std::time::Duration;

use tickcast_model::{Cause, CauseKind};

/// How a session ends: why, and when a next one is worth trying.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Why the connection must be closed.
    pub cause: Cause,
    /// When to dial again.
    pub retry: Retry,
}

/// When a next connection is worth trying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Soon, and later with each failure.
    Backoff,
    /// Rarely: waiting will hardly mend it and the venue must not be pestered.
    Slowly,
    /// After this time, as the venue said. The supervisor caps it at an hour and adds jitter.
    After(Duration),
}

impl From<Cause> for Ending {
    fn from(cause: Cause) -> Self {
        let retry = match cause.kind {
            CauseKind::AuthRefused => Retry::Slowly,
            _ => Retry::Backoff,
        };
        Self { cause, retry }
    }
}
