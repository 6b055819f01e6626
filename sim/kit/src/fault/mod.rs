//! Faults as data: what can go wrong at a venue, what can be chosen about it, and what is switched on. Pure.

mod param;
mod set;
mod spec;
mod switched;
mod table;

pub use param::{Kind, Param, ParamRow, number, param};
pub use set::FaultSet;
pub use spec::{FaultSpec, SpecError};
pub use switched::{Active, Faults, Which};
pub use table::{Drawn, FaultKind, FaultRow, Lasting, flaws, lasting, once};

use crate::Now;

/// The names of a venue's symbols, by their positions.
pub trait SymbolNames {
    /// How many there are; at least one.
    fn count(&self) -> usize;

    /// The name of the one at this position, which is below [`SymbolNames::count`].
    fn name_at(&self, position: usize) -> &str;

    /// Where the one of this name is.
    fn position_of(&self, name: &str) -> Option<usize>;
}

/// What faults do to a venue: the part each venue writes itself. Callers use [`crate::SimulatedVenue`] instead.
pub trait FaultEffects {
    /// The venue's faults.
    type Fault: FaultKind;

    /// What is on.
    fn switched(&self) -> &Faults<Self::Fault>;

    /// What is on, for switching.
    fn switched_mut(&mut self) -> &mut Faults<Self::Fault>;

    /// The names faults can be about.
    fn symbols(&self) -> &dyn SymbolNames;

    /// Lets a fault happen that is over at once.
    fn happen(&mut self, now: Now, spec: &FaultSpec<Self::Fault>);

    /// A lasting fault was just switched on.
    fn begin_fault(&mut self, now: Now, fault: Self::Fault);

    /// Switches a lasting fault off, where it is on, and makes up for what it held back.
    fn end_fault(&mut self, now: Now, fault: Self::Fault);

    /// A fault is about to be switched on, of either sort; for counting.
    fn noted(&mut self, _row: &'static FaultRow<Self::Fault>) {}
}
