//! The lasting faults that are on, with what was chosen about them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{FaultKind, FaultSet, FaultSpec, Param, SymbolNames};
use crate::Now;

/// Which symbols something is about, by their positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// About every one.
    All,
    /// About these.
    These(BTreeSet<usize>),
}

/// What is on. One spec per fault: switching a fault on again replaces what was chosen before.
#[derive(Debug)]
pub struct Faults<F> {
    on: FaultSet<F>,
    active: BTreeMap<F, Active<F>>,
}

/// A fault that is on.
#[derive(Debug)]
pub struct Active<F> {
    /// Which it is, and what was chosen.
    pub spec: FaultSpec<F>,
    /// The symbols it is about.
    pub which: Which,
    /// When it is over by itself, in time elapsed.
    pub until: Option<Duration>,
    /// How many times more it may act.
    left: Option<usize>,
}

impl Which {
    /// The symbols a fault names; a name the venue does not have concerns nothing.
    pub fn read<F: FaultKind>(spec: &FaultSpec<F>, symbols: &(impl SymbolNames + ?Sized)) -> Self {
        let names = spec.texts(Param::Symbols);
        if names.is_empty() {
            return Self::All;
        }
        Self::These(names.iter().filter_map(|name| symbols.position_of(name)).collect())
    }

    /// True where it is about this symbol.
    pub fn has(&self, symbol: usize) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(&symbol),
        }
    }
}

impl<F> Default for Faults<F> {
    /// Nothing is on.
    fn default() -> Self {
        Self { on: FaultSet::default(), active: BTreeMap::new() }
    }
}

impl<F: FaultKind> Faults<F> {
    /// Which are on.
    pub fn on(&self) -> FaultSet<F> {
        self.on
    }

    /// True while the fault is on.
    pub fn has(&self, fault: F) -> bool {
        self.on.has(fault)
    }

    /// The fault, while it is on.
    pub fn get(&self, fault: F) -> Option<&Active<F>> {
        if !self.has(fault) {
            return None;
        }
        self.active.get(&fault)
    }

    /// All that is on.
    pub fn active(&self) -> impl Iterator<Item = &Active<F>> {
        self.active.values()
    }

    /// True where the fault is on and concerns this symbol.
    pub fn concerns(&self, fault: F, symbol: usize) -> bool {
        self.get(fault).is_some_and(|active| active.which.has(symbol))
    }

    /// Switches a lasting fault on, in place of what was chosen about it before.
    pub fn start(&mut self, now: Now, spec: FaultSpec<F>, which: Which) {
        let fault = spec.fault();
        let left = Some(spec.count()).filter(|count| fault.counts_requests() && *count > 0);
        let until = spec.duration().map(|time| now.elapsed + time);
        self.on.set(fault, true);
        self.active.insert(fault, Active { spec, which, until, left });
    }

    /// Switches a fault off; what it was, where it was on.
    pub fn stop(&mut self, fault: F) -> Option<Active<F>> {
        self.on.set(fault, false);
        self.active.remove(&fault)
    }

    /// A fault whose time is over, if any.
    pub fn over(&self, now: Now) -> Option<F> {
        let over = |active: &&Active<F>| active.until.is_some_and(|until| until <= now.elapsed);
        self.active.values().find(over).map(|active| active.spec.fault())
    }

    /// When the next fault is over by itself.
    pub fn deadline(&self) -> Option<Duration> {
        self.active.values().filter_map(|active| active.until).min()
    }

    /// The fault, where it is on and acts on this request; uses it up once.
    pub fn take(&mut self, fault: F, request: &str) -> Option<FaultSpec<F>> {
        if !self.has(fault) {
            return None;
        }
        let active = self.active.get_mut(&fault)?;
        let wanted = active.spec.text(Param::Request);
        if !wanted.is_empty() && wanted != request {
            return None;
        }
        let spec = active.spec.clone();
        if let Some(left) = &mut active.left {
            *left -= 1;
            if *left == 0 {
                self.stop(fault);
            }
        }
        Some(spec)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fault::table::tests::{Places, Weather};

    fn now(ms: u64) -> Now {
        Now { elapsed: Duration::from_millis(ms), unix_ms: 0 }
    }

    fn start(faults: &mut Faults<Weather>, name: &str, params: &serde_json::Value) {
        let spec = FaultSpec::named(name, params).unwrap();
        let which = Which::read(&spec, &Places);
        faults.start(now(0), spec, which);
    }

    #[test]
    fn a_count_is_used_up_by_the_requests_it_is_about() {
        let mut faults = Faults::default();
        start(&mut faults, "fog", &json!({ "request": "walk", "count": 2 }));
        assert_eq!(faults.take(Weather::Fog, "drive"), None);
        assert!(faults.take(Weather::Fog, "walk").is_some());
        assert!(faults.take(Weather::Fog, "walk").is_some());
        assert!(!faults.has(Weather::Fog));
        assert_eq!(faults.take(Weather::Fog, "walk"), None);
    }

    #[test]
    fn a_count_of_something_else_is_not_used_up() {
        let mut faults = Faults::default();
        start(&mut faults, "ice", &json!({ "count": 1 }));
        assert!(faults.take(Weather::Ice, "walk").is_some() && faults.take(Weather::Ice, "walk").is_some());
    }

    #[test]
    fn a_time_is_over_when_it_has_passed() {
        let mut faults = Faults::default();
        start(&mut faults, "fog", &json!({ "for_ms": 500 }));
        start(&mut faults, "rain", &json!({}));
        assert_eq!(faults.deadline(), Some(Duration::from_millis(500)));
        assert_eq!((faults.over(now(499)), faults.over(now(500))), (None, Some(Weather::Fog)));
        assert!(faults.stop(Weather::Fog).is_some());
        assert_eq!((faults.deadline(), faults.over(now(9_999))), (None, None));
    }

    #[test]
    fn names_choose_symbols_and_no_names_all_of_them() {
        let mut faults = Faults::default();
        start(&mut faults, "ice", &json!({ "symbols": ["south", "NOSUCH"] }));
        assert!(faults.concerns(Weather::Ice, 1) && !faults.concerns(Weather::Ice, 0));
        start(&mut faults, "ice", &json!({}));
        assert!(faults.concerns(Weather::Ice, 0));
        assert!(!faults.concerns(Weather::Rain, 0));
    }
}
