use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tickcast_model::{AuthState, Catalogue, Cause, StateChange, Symbol, Tick};

use crate::Now;

/// A venue's protocol over one connection, from its first byte to its last.
///
/// A session lives exactly as long as its link: what it knows of logins and subscriptions is true for this connection
/// only, so nothing can survive a reconnect by accident. Every call may queue outputs; the caller empties
/// [`Session::poll`] after each one. An `Err` ends the session with its cause and nothing is called after it.
pub trait Session {
    /// The link is up: begin.
    fn start(&mut self, now: Now);

    /// Bytes arrived, cut anywhere.
    ///
    /// # Errors
    /// The cause for which the connection must be closed.
    fn receive(&mut self, now: Now, bytes: &[u8]) -> Result<(), Cause>;

    /// This is the whole set of symbols wanted from now on.
    fn want(&mut self, now: Now, wanted: &Arc<BTreeSet<Symbol>>);

    /// Nothing ticks though something is wanted: ask the venue for all of it once more.
    fn refresh(&mut self, now: Now);

    /// The time of [`Session::deadline`] has come.
    ///
    /// # Errors
    /// The cause for which the connection must be closed.
    fn timeout(&mut self, now: Now) -> Result<(), Cause>;

    /// When [`Session::timeout`] wants to be called, as [`Now::elapsed`].
    fn deadline(&self) -> Option<Duration>;

    /// The next output.
    fn poll(&mut self) -> Option<SessionOutput>;
}

/// What a session wants done or known.
#[derive(Clone, PartialEq, Debug)]
pub enum SessionOutput {
    /// Write these bytes.
    Send(Bytes),
    /// The login came this far. [`AuthState::Ok`] ends the time allowed for connecting.
    Auth(AuthState),
    /// What the venue offers, as known now; the supervisor gives it its version.
    Catalogue(Catalogue),
    /// A quote.
    Tick(Symbol, Tick),
    /// Something about one symbol changed.
    State(Symbol, StateChange),
    /// Something worth counting.
    Note(Note),
}

/// Things worth counting that change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// A request of this kind was sent.
    Request(&'static str),
    /// A request of this kind had to wait for the venue's rate limit.
    Paced(&'static str),
    /// The venue did something unexpected that was passed over.
    Odd(&'static str),
}
