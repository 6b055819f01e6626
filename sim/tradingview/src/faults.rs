//! The lasting faults that are on, with what was chosen about them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Now;
use crate::catalogue::Catalogue;
use crate::fault::{Fault, FaultSet};
use crate::fault_spec::FaultSpec;
use crate::param::Param;

/// Which symbols something is about, by their positions in the catalogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    All,
    These(BTreeSet<usize>),
}

/// What is on. One spec per fault: switching a fault on again replaces what was chosen before.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    on: FaultSet,
    active: BTreeMap<Fault, Active>,
}

#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) spec: FaultSpec,
    pub(crate) which: Which,
    /// When it is over by itself, in time elapsed.
    pub(crate) until: Option<Duration>,
    /// How many times more it may act.
    left: Option<usize>,
}

impl Which {
    /// The symbols a fault names; a name the catalogue does not have concerns nothing.
    pub(crate) fn read(spec: &FaultSpec, catalogue: &Catalogue) -> Self {
        let names = spec.texts(Param::Symbols);
        if names.is_empty() {
            return Self::All;
        }
        Self::These(names.iter().filter_map(|name| catalogue.named(name)).collect())
    }

    pub(crate) fn has(&self, symbol: usize) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(&symbol),
        }
    }
}

impl Faults {
    pub(crate) fn on(&self) -> FaultSet {
        self.on
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.on.has(fault)
    }

    pub(crate) fn get(&self, fault: Fault) -> Option<&Active> {
        if !self.has(fault) {
            return None;
        }
        self.active.get(&fault)
    }

    pub(crate) fn active(&self) -> impl Iterator<Item = &Active> {
        self.active.values()
    }

    /// True where the fault is on and concerns this symbol.
    pub(crate) fn concerns(&self, fault: Fault, symbol: usize) -> bool {
        self.get(fault).is_some_and(|active| active.which.has(symbol))
    }

    pub(crate) fn start(&mut self, now: Now, spec: FaultSpec, which: Which) {
        let fault = spec.fault();
        // Limits have a count of another meaning; late events count by symbol.
        let uses = matches!(fault, Fault::NoAnswer | Fault::DelayedAnswer);
        let left = Some(spec.count()).filter(|count| uses && *count > 0);
        let until = spec.duration().map(|time| now.elapsed + time);
        self.on.set(fault, true);
        self.active.insert(fault, Active { spec, which, until, left });
    }

    /// Switches a fault off; what it was, where it was on.
    pub(crate) fn stop(&mut self, fault: Fault) -> Option<Active> {
        self.on.set(fault, false);
        self.active.remove(&fault)
    }

    /// A fault whose time is over, if any.
    pub(crate) fn over(&self, now: Now) -> Option<Fault> {
        let over = |active: &&Active| active.until.is_some_and(|until| until <= now.elapsed);
        self.active.values().find(over).map(|active| active.spec.fault())
    }

    /// When the next fault is over by itself.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.active.values().filter_map(|active| active.until).min()
    }

    /// The fault, where it is on and acts on this request; uses it up once.
    pub(crate) fn take(&mut self, fault: Fault, request: &str) -> Option<FaultSpec> {
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

    fn now(ms: u64) -> Now {
        Now { elapsed: Duration::from_millis(ms), unix_ms: 0 }
    }

    fn start(faults: &mut Faults, name: &str, params: &serde_json::Value) {
        let spec = FaultSpec::named(name, params).unwrap();
        let which = Which::read(&spec, &Catalogue::new(5));
        faults.start(now(0), spec, which);
    }

    #[test]
    fn a_count_is_used_up_by_the_requests_it_is_about() {
        let mut faults = Faults::default();
        start(&mut faults, "no-answer", &json!({ "request": "quote_add_symbols", "count": 2 }));
        assert_eq!(faults.take(Fault::NoAnswer, "set_locale"), None);
        assert!(faults.take(Fault::NoAnswer, "quote_add_symbols").is_some());
        assert!(faults.take(Fault::NoAnswer, "quote_add_symbols").is_some());
        assert!(!faults.has(Fault::NoAnswer));
        assert_eq!(faults.take(Fault::NoAnswer, "quote_add_symbols"), None);
    }

    #[test]
    fn a_time_is_over_when_it_has_passed() {
        let mut faults = Faults::default();
        start(&mut faults, "stall", &json!({ "for_ms": 500 }));
        start(&mut faults, "refuse", &json!({}));
        assert_eq!(faults.deadline(), Some(Duration::from_millis(500)));
        assert_eq!((faults.over(now(499)), faults.over(now(500))), (None, Some(Fault::Stall)));
        assert!(faults.stop(Fault::Stall).is_some());
        assert_eq!((faults.deadline(), faults.over(now(9_999))), (None, None));
    }

    #[test]
    fn names_choose_symbols_and_no_names_all_of_them() {
        let mut faults = Faults::default();
        start(&mut faults, "mute", &json!({ "symbols": ["FX:EURUSD", "NOSUCH"] }));
        assert!(faults.concerns(Fault::Mute, 1) && !faults.concerns(Fault::Mute, 0));
        start(&mut faults, "mute", &json!({}));
        assert!(faults.concerns(Fault::Mute, 0));
        assert!(!faults.concerns(Fault::Weekend, 0));
    }
}
