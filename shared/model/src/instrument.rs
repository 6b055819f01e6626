use crate::Symbol;

/// One instrument a venue offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instrument {
    /// The venue's own spelling.
    pub symbol: Symbol,
    /// What it is, in the venue's words; empty where the venue says nothing.
    pub description: String,
    /// Decimals worth showing; absent until the venue was asked for details.
    pub digits: Option<u8>,
    /// Decimal place of one pip (pip = 10^-`pip_position`); absent until the venue was asked for details.
    pub pip_position: Option<i8>,
}

/// What a venue offers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Catalogue {
    /// Grows with each change; 0 means not known yet.
    pub version: u64,
    /// True where the venue has no list and any name may be asked for.
    pub open: bool,
    /// The instruments, in the order of their symbols.
    pub instruments: Vec<Instrument>,
}

impl Catalogue {
    /// True where the venue has told what it offers (or that it offers no list).
    pub fn is_known(&self) -> bool {
        self.version > 0
    }
}
