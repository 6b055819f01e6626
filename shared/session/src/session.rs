use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tickcast_model::{AuthState, Catalogue, Cause, StateChange, Symbol, Tick};

use crate::{Ending, MarketHours, Now, Secret, Standing};

/// A venue's protocol over one connection, from its first byte to its last.
///
/// A session lives exactly as long as its link: what it knows of logins and subscriptions is true for this connection
/// only, so nothing can survive a reconnect by accident. Every call may queue outputs; the caller empties
/// [`Session::poll`] after each one. An `Err` ends the session and nothing is called after it.
pub trait Session {
    /// The link is up: begin.
    fn start(&mut self, now: Now);

    /// Bytes arrived, cut anywhere.
    ///
    /// # Errors
    /// Why the connection must be closed, and when to try again.
    fn receive(&mut self, now: Now, bytes: &[u8]) -> Result<(), Ending>;

    /// This is the whole set of symbols wanted from now on.
    fn want(&mut self, now: Now, wanted: &Arc<BTreeSet<Symbol>>);

    /// These wanted symbols should tick and do not: ask the venue for them once more.
    fn ask_again(&mut self, now: Now, silent: &BTreeSet<Symbol>);

    /// The answer to [`SessionOutput::Keep`]: stored durably, or the reason in words why not.
    fn kept(&mut self, now: Now, result: Result<(), String>);

    /// The time of [`Session::deadline`] has come.
    ///
    /// # Errors
    /// Why the connection must be closed, and when to try again.
    fn timeout(&mut self, now: Now) -> Result<(), Ending>;

    /// When [`Session::timeout`] wants to be called, as [`Now::elapsed`].
    fn deadline(&self) -> Option<Duration>;

    /// The next output.
    fn poll(&mut self) -> Option<SessionOutput>;

    /// How far this symbol is on its way to ticking.
    fn standing(&self, now: Now, symbol: &Symbol) -> Standing;
}

/// What a session wants done or known.
#[derive(Clone, PartialEq, Debug)]
pub enum SessionOutput {
    /// Write these bytes.
    Send(Bytes),
    /// The login stands like this. The first [`AuthState::Ok`] ends the time allowed for connecting.
    ///
    /// On a living link it may fall back from `Ok` to `Pending` or `Refused` with its cause; the session then logs in
    /// again at its own pace and says `Ok` once it has.
    Auth(AuthState, Option<Cause>),
    /// What the venue offers, as known now; the supervisor gives it its version.
    Catalogue(Catalogue),
    /// A quote.
    Tick(Symbol, Tick),
    /// Something about one symbol changed.
    State(Symbol, StateChange),
    /// When this symbol's market is open, by the venue's own schedule.
    Hours(Symbol, Arc<MarketHours>),
    /// Store this durably and answer with [`Session::kept`]. One at a time: the next only after the answer.
    Keep(Secret),
    /// Something worth counting.
    Note(Note),
}

/// Things worth counting that change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// A request of this kind was sent.
    Request(&'static str),
    /// A request of this kind has to wait so long for the venue's rate limit; said each time it has to.
    Paced(&'static str, Duration),
    /// The venue did something unexpected that was passed over.
    Odd(&'static str),
}
