use std::marker::PhantomData;

use super::FaultKind;

/// Which lasting faults are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultSet<F> {
    bits: u64,
    of: PhantomData<F>,
}

impl<F> Default for FaultSet<F> {
    /// None.
    fn default() -> Self {
        Self { bits: 0, of: PhantomData }
    }
}

impl<F: FaultKind> FaultSet<F> {
    /// True while the fault is on.
    pub fn has(self, fault: F) -> bool {
        self.bits & bit(fault) != 0
    }

    pub(crate) fn set(&mut self, fault: F, on: bool) {
        if on {
            self.bits |= bit(fault);
        } else {
            self.bits &= !bit(fault);
        }
    }
}

fn bit<F: FaultKind>(fault: F) -> u64 {
    1 << fault.index()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::table::tests::Weather;

    #[test]
    fn faults_are_switched_one_by_one() {
        let mut set = FaultSet::default();
        set.set(Weather::Fog, true);
        set.set(Weather::Ice, true);
        set.set(Weather::Fog, false);
        assert!(set.has(Weather::Ice) && !set.has(Weather::Fog) && !set.has(Weather::Storm));
    }
}
