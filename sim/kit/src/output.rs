//! What comes out of a venue: things for the shell to do.

use std::fmt::Debug;

use crate::ConnectionId;

/// What the shell has to do: messages as the venue's transport has them, endings and reasons as the venue knows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output<M, E, R> {
    /// Write this, after all earlier ones.
    Send {
        /// To whom.
        id: ConnectionId,
        /// A message, or bytes: one or more frames, or a part of one where a fault cuts it.
        message: M,
    },
    /// End the connection; the venue has forgotten it.
    Close {
        /// Which one.
        id: ConnectionId,
        /// In what manner.
        ending: E,
        /// Why.
        reason: R,
    },
}

/// How a connection of this venue can end.
pub trait EndingKind: Copy + Eq + Debug + Send + Sync + 'static {
    /// TCP reset at once, whatever is still to be written.
    const RESET: Self;
}

/// Why a connection of this venue can end.
pub trait ReasonKind: Copy + Eq + Debug + Send + Sync + 'static {
    /// The client went away.
    const PEER: Self;
    /// The client does not read what it is sent.
    const SLOW_READER: Self;

    /// The reason as a metric label.
    fn as_str(self) -> &'static str;
}
