use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use sim_kit::fault::{FaultKind, FaultSpec, SymbolNames};
use tickcast_model::{Symbol, Tick};
use tickcast_session::{DialPace, Now, Session};

use crate::trouble::Case;
use crate::tuning::Tuning;

/// What an ingest keeps on its disk.
pub type Disk = Arc<Mutex<Option<String>>>;

/// A venue as a world needs it: the session that is tested, the venue in a box, and what goes wrong there.
///
/// The world is the network between the two, the processes, the bus and those who want prices; it knows nothing of any
/// protocol. [`Now`] is the true time in all of it, whatever the ingests' clocks say.
pub trait Venue: Sized + 'static {
    /// Its name on the bus, in seeds and on the page.
    const NAME: &'static str;
    /// Its name for people.
    const TITLE: &'static str;
    /// What people who read its table should know.
    const REMARK: &'static str;

    /// What our side says and hears over one connection.
    type Session: Session + Send + 'static;
    /// What a process remembers from one connection to the next.
    type Memory: Clone;
    /// What is held against a process that says too much.
    type Meter: Meter;
    /// The name of a connection at the venue.
    type Line: Copy + PartialEq;

    /// A venue that is well and that nobody is connected to.
    fn new(seed: u64, tuning: &Tuning) -> Self;

    /// Everything that can go wrong, at the venue and around it.
    fn cases() -> &'static [Case];

    /// Everything the venue has, in a fixed order.
    fn symbols(&self) -> Vec<Symbol>;

    /// What a process remembers that has just been started.
    fn memory(&self) -> Self::Memory;

    /// Makes a session for each new connection of a process.
    fn sessions(
        &self,
        memory: &Self::Memory,
        disk: &Disk,
        seed: u64,
    ) -> impl FnMut() -> Self::Session + Send + 'static;

    /// After so long it may dial again, however often it did.
    const DIALS_WITHIN: Duration;

    /// How often a process may dial.
    fn dials() -> DialPace;

    /// What a session believes that the venue streams to it.
    fn held(session: &Self::Session) -> BTreeSet<Symbol>;

    /// What a new connection finds at this moment.
    fn door(&self) -> Door;

    /// A client has connected.
    fn open(&mut self, now: Now) -> Self::Line;

    /// Bytes of a client, cut anywhere. Connections that are over are ignored.
    fn receive(&mut self, line: Self::Line, now: Now, bytes: &[u8]);

    /// A client went away.
    fn closed(&mut self, line: Self::Line);

    /// When the venue wants to be called.
    fn deadline(&self) -> Option<Duration>;

    /// That time has come.
    fn timeout(&mut self, now: Now);

    /// What the venue does next.
    fn poll(&mut self) -> Option<Output<Self::Line>>;

    /// A fault begins, with its usual parameters or some by chance; says which.
    fn begin(&mut self, now: Now, fault: &'static str, chance: Option<&mut Rng>) -> String;

    /// A fault ends.
    fn end(&mut self, now: Now, fault: &'static str);

    /// Every fault ends.
    fn heal(&mut self, now: Now);

    /// Connections there are, for the venue.
    fn connections(&self) -> usize;

    /// What the venue streams on a connection.
    fn streams(&self, line: Self::Line) -> BTreeSet<Symbol>;

    /// Whether something trades.
    fn is_open(&mut self, now: Now, symbol: &Symbol) -> bool;

    /// Any tick has prices that can be.
    ///
    /// # Panics
    /// Where it has not.
    fn assert_sound(tick: &Tick);

    /// This tick says what the venue said last on a connection.
    ///
    /// # Panics
    /// Where it does not.
    fn assert_true(&self, line: Self::Line, symbol: &Symbol, tick: &Tick);
}

/// Holds what one process does against what the venue allows.
pub trait Meter: Default {
    /// Dials within a minute at most.
    const DIALS_PER_MINUTE_MAX: usize;

    /// A new connection: what is counted by connection begins anew.
    fn dialled(&mut self);

    /// Bytes go out.
    ///
    /// # Panics
    /// Where it is too much.
    fn sent(&mut self, now: Duration, bytes: &[u8]);
}

/// What a new connection finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// It is accepted.
    Open,
    /// It is refused, or reset before it could say anything.
    Refused,
    /// TCP is accepted, and nothing is ever answered.
    Silent,
}

/// What a venue does on a connection.
pub enum Output<L> {
    /// It sends these bytes.
    Send(L, Bytes),
    /// It ends the connection, for this reason; everything sent before arrives.
    End(L, &'static str),
}

/// A fault of this name, with its usual parameters or some by chance.
pub(crate) fn chosen<F: FaultKind>(
    fault: &str,
    chance: Option<&mut Rng>,
    symbols: &(impl SymbolNames + ?Sized),
) -> FaultSpec<F> {
    let fault = named(fault);
    match chance {
        Some(rng) => FaultSpec::draw_of(rng, fault, symbols),
        None => FaultSpec::from(fault),
    }
}

/// The fault of this name.
pub(crate) fn named<F: FaultKind>(fault: &str) -> F {
    F::named(fault).expect("a fault of the venue").fault
}

/// The time as simulators read it.
pub(crate) fn venue_now(now: Now) -> sim_kit::Now {
    sim_kit::Now { elapsed: now.elapsed, unix_ms: now.unix_ms() }
}
