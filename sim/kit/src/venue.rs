//! A venue without a socket or a clock, as its shell and the tests drive it.

use std::time::Duration;

use crate::fault::{FaultEffects, FaultSet, FaultSpec, Lasting, Param, SpecError, Which};
use crate::{ConnectionId, EndingKind, Now, Output, ReasonKind};

/// A venue in a box.
///
/// Give it what clients send and the time; take outputs with [`SimulatedVenue::poll`] after each call until there are
/// none; call [`SimulatedVenue::timeout`] when [`SimulatedVenue::deadline`] is reached.
pub trait SimulatedVenue: FaultEffects + Send + 'static {
    /// What a client sends at once, as the transport hands it over: some bytes, or a message.
    type Input: ?Sized;
    /// What the venue sends at once.
    type Message: Send;
    /// How its connections end.
    type Ending: EndingKind;
    /// Why they do.
    type Reason: ReasonKind;

    /// A client has connected; its handshakes are done.
    fn open(&mut self, now: Now) -> ConnectionId;

    /// The shell ended a connection, or saw its end. Unknown names are ignored.
    fn closed(&mut self, id: ConnectionId, reason: Self::Reason);

    /// Something came in on a connection. Unknown names, and connections about to end, are ignored.
    fn receive(&mut self, id: ConnectionId, now: Now, input: &Self::Input);

    /// Time has passed: faults end, the market moves, timers run out.
    fn timeout(&mut self, now: Now);

    /// When [`SimulatedVenue::timeout`] is due, in time elapsed; `None` while nothing can happen by itself.
    fn deadline(&self) -> Option<Duration>;

    /// The next thing to do, or `None` until something happens.
    fn poll(&mut self) -> Option<Output<Self::Message, Self::Ending, Self::Reason>>;

    /// The next fault that the venue switched on by itself since the last call, for telling people; the last few are
    /// kept.
    fn played(&mut self) -> Option<FaultSpec<Self::Fault>> {
        None
    }

    /// Switches a fault, with what was chosen about it; one that happens once does so when switched on.
    ///
    /// A bare fault has nothing chosen. A lasting fault that is on already goes on with what is chosen now. Symbols the
    /// venue does not have are passed over; [`SimulatedVenue::check`] finds them.
    fn fault(&mut self, now: Now, fault: impl Into<FaultSpec<Self::Fault>>, on: bool)
    where
        Self: Sized,
    {
        let spec = fault.into();
        if on {
            self.noted(spec.row());
        }
        match (spec.row().lasting, on) {
            (Lasting::Once, true) => self.happen(now, &spec),
            (Lasting::Once, false) => {}
            (Lasting::UntilSwitchedOff, true) => {
                let fault = spec.fault();
                self.end_fault(now, fault);
                let which = Which::read(&spec, self.symbols());
                self.switched_mut().start(now, spec, which);
                self.begin_fault(now, fault);
            }
            (Lasting::UntilSwitchedOff, false) => self.end_fault(now, spec.fault()),
        }
    }

    /// Ends every lasting fault.
    fn heal(&mut self, now: Now)
    where
        Self: Sized,
    {
        let on: Vec<Self::Fault> = self.switched().active().map(|active| active.spec.fault()).collect();
        for fault in on {
            self.fault(now, fault, false);
        }
    }

    /// Finds what cannot be meant: symbols the venue does not have.
    ///
    /// # Errors
    /// [`SpecError::Unusable`] with their names.
    fn check(&self, spec: &FaultSpec<Self::Fault>) -> Result<(), SpecError> {
        let unknown = spec.unknown_symbols(self.symbols());
        if unknown.is_empty() {
            return Ok(());
        }
        let wanted = format!("names of symbols the venue has, and it has no {}", unknown.join(", "));
        Err(SpecError::Unusable { fault: spec.row().name, param: Param::Symbols.name(), wanted })
    }

    /// The lasting faults that are on.
    fn faults(&self) -> FaultSet<Self::Fault> {
        self.switched().on()
    }

    /// The lasting faults that are on, with what was chosen about each and when it is over by itself (time elapsed).
    fn active_faults(&self) -> impl Iterator<Item = (&FaultSpec<Self::Fault>, Option<Duration>)> {
        self.switched().active().map(|active| (&active.spec, active.until))
    }
}
