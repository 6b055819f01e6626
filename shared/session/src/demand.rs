use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tickcast_model::{Lease, Symbol};

/// How much demand is accepted.
#[derive(Clone, Copy, Debug)]
pub struct DemandLimits {
    /// Lease holders at once; a further one is refused.
    pub holders_max: usize,
    /// Symbols wanted at once over all leases; further ones are left out.
    pub symbols_max: usize,
    /// The longest a lease may run, whatever it says.
    pub ttl_max: Duration,
}

impl Default for DemandLimits {
    fn default() -> Self {
        Self { holders_max: 1_000, symbols_max: 20_000, ttl_max: Duration::from_secs(300) }
    }
}

/// Who wants what, and for how long: the union of all leases that have not ended, plus linger.
///
/// Demand is said as levels. A holder that dies says nothing more and its lease ends; nothing is counted up or down.
#[derive(Debug)]
pub struct DemandTable {
    limits: DemandLimits,
    linger: Duration,
    holders: BTreeMap<String, Holder>,
    /// Symbols nobody leases any more, with the time they are dropped.
    lingering: BTreeMap<Symbol, Duration>,
    wanted: Arc<BTreeSet<Symbol>>,
    frozen: bool,
    refused: u64,
}

#[derive(Debug)]
struct Holder {
    generation: u64,
    ttl: Duration,
    ends_at: Duration,
    symbols: BTreeSet<Symbol>,
}

impl DemandTable {
    /// No demand yet; a symbol nobody wants any more is kept for `linger`.
    pub fn new(limits: DemandLimits, linger: Duration) -> Self {
        Self {
            limits,
            linger,
            holders: BTreeMap::new(),
            lingering: BTreeMap::new(),
            wanted: Arc::default(),
            frozen: false,
            refused: 0,
        }
    }

    /// Everything wanted now, lingering symbols included.
    pub fn wanted(&self) -> &Arc<BTreeSet<Symbol>> {
        &self.wanted
    }

    /// Leases running now.
    pub fn holders(&self) -> usize {
        self.holders.len()
    }

    /// Leases refused and symbols left out because a limit was reached.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes a lease and returns the symbols whose last events its holder has to be told.
    pub fn lease(&mut self, now: Duration, lease: Lease) -> Vec<Symbol> {
        let known = self.holders.get(&lease.holder);
        if known.is_some_and(|holder| lease.generation < holder.generation) {
            return Vec::new();
        }
        if lease.ttl_ms == 0 {
            self.holders.remove(&lease.holder);
            self.settle(now);
            return Vec::new();
        }
        if known.is_none() && self.holders.len() >= self.limits.holders_max {
            self.refused += 1;
            return Vec::new();
        }
        let symbols: BTreeSet<Symbol> = lease.symbols.into_iter().collect();
        let repeat = symbols
            .iter()
            .filter(|symbol| {
                lease.repeat_last || known.is_none_or(|holder| !holder.symbols.contains(*symbol))
            })
            .cloned()
            .collect();
        let changed = known.is_none_or(|holder| holder.symbols != symbols);
        let ttl = Duration::from_millis(lease.ttl_ms).min(self.limits.ttl_max);
        let holder = Holder { generation: lease.generation, ttl, ends_at: now + ttl, symbols };
        self.holders.insert(lease.holder, holder);
        if changed {
            self.settle(now);
        }
        repeat
    }

    /// Stops the leases' clocks while the bus is away: nobody could renew. On return each runs anew in full.
    pub fn freeze(&mut self, now: Duration, frozen: bool) {
        if self.frozen && !frozen {
            self.renew(now);
        }
        self.frozen = frozen;
    }

    /// Lets every lease run anew in full, after a time in which nobody could be heard.
    pub fn renew(&mut self, now: Duration) {
        for holder in self.holders.values_mut() {
            holder.ends_at = now + holder.ttl;
        }
    }

    /// Ends what is over.
    pub fn timeout(&mut self, now: Duration) {
        let leases = self.holders.len();
        if !self.frozen {
            self.holders.retain(|_, holder| holder.ends_at > now);
        }
        if self.holders.len() != leases || self.lingering.values().any(|until| *until <= now) {
            self.settle(now);
        }
    }

    /// When [`DemandTable::timeout`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let lease = self.holders.values().map(|holder| holder.ends_at).min().filter(|_| !self.frozen);
        lease.into_iter().chain(self.lingering.values().copied()).min()
    }

    /// Compares the leases with what was wanted, and starts or ends lingering.
    fn settle(&mut self, now: Duration) {
        let mut leased = BTreeSet::new();
        for symbol in self.holders.values().flat_map(|holder| &holder.symbols) {
            if leased.len() < self.limits.symbols_max || leased.contains(symbol) {
                leased.insert(symbol.clone());
            } else {
                self.refused += 1;
            }
        }
        for symbol in self.wanted.iter().filter(|symbol| !leased.contains(*symbol)) {
            self.lingering.entry(symbol.clone()).or_insert(now + self.linger);
        }
        self.lingering.retain(|symbol, until| !leased.contains(symbol) && *until > now);
        leased.extend(self.lingering.keys().cloned());
        if leased != *self.wanted {
            self.wanted = Arc::new(leased);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINGER: Duration = Duration::from_secs(5);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(holder: &str, generation: u64, symbols: &[&str]) -> Lease {
        Lease {
            holder: holder.into(),
            generation,
            ttl_ms: 15_000,
            symbols: symbols.iter().map(|name| Symbol::new(name).unwrap()).collect(),
            repeat_last: false,
        }
    }

    fn names(table: &DemandTable) -> Vec<&str> {
        table.wanted().iter().map(Symbol::as_str).collect()
    }

    fn table() -> DemandTable {
        DemandTable::new(DemandLimits::default(), LINGER)
    }

    #[test]
    fn the_union_of_leases_is_wanted() {
        let mut table = table();
        table.lease(s(0), lease("a", 1, &["EURUSD", "GBPUSD"]));
        table.lease(s(0), lease("b", 1, &["EURUSD", "XAUUSD"]));
        assert_eq!(names(&table), ["EURUSD", "GBPUSD", "XAUUSD"]);
    }

    #[test]
    fn a_dead_holders_demand_ends_with_its_lease_and_linger() {
        let mut table = table();
        table.lease(s(0), lease("a", 1, &["EURUSD"]));
        assert_eq!(table.deadline(), Some(s(15)));
        table.timeout(s(15));
        assert_eq!(names(&table), ["EURUSD"], "lingers");
        assert_eq!(table.deadline(), Some(s(20)));
        table.timeout(s(20));
        assert!(table.wanted().is_empty());
        assert_eq!(table.deadline(), None);
    }

    #[test]
    fn a_renewed_lease_does_not_end() {
        let mut table = table();
        for renewal in 0..10 {
            table.lease(s(renewal * 5), lease("a", 1, &["EURUSD"]));
            table.timeout(s(renewal * 5));
        }
        assert_eq!(table.deadline(), Some(s(60)));
    }

    #[test]
    fn a_withdrawn_lease_ends_at_once_and_the_symbol_lingers() {
        let mut table = table();
        table.lease(s(0), lease("a", 1, &["EURUSD"]));
        table.lease(s(1), Lease { ttl_ms: 0, ..lease("a", 2, &[]) });
        assert_eq!((table.holders(), names(&table)), (0, vec!["EURUSD"]));
        table.timeout(s(6));
        assert!(table.wanted().is_empty());
    }

    #[test]
    fn a_symbol_wanted_again_while_lingering_stays() {
        let mut table = table();
        table.lease(s(0), lease("a", 1, &["EURUSD"]));
        table.lease(s(1), lease("a", 2, &[]));
        table.lease(s(5), lease("b", 1, &["EURUSD"]));
        table.timeout(s(10));
        assert_eq!(names(&table), ["EURUSD"]);
    }

    #[test]
    fn an_overtaken_lease_is_ignored() {
        let mut table = table();
        table.lease(s(0), lease("a", 2, &["EURUSD"]));
        assert!(table.lease(s(0), lease("a", 1, &["GBPUSD"])).is_empty());
        assert_eq!(names(&table), ["EURUSD"]);
    }

    #[test]
    fn a_holder_is_told_the_last_events_of_what_is_new_to_it() {
        let mut table = table();
        assert_eq!(table.lease(s(0), lease("a", 1, &["EURUSD"])).len(), 1);
        assert_eq!(table.lease(s(1), lease("a", 1, &["EURUSD"])).len(), 0, "a renewal");
        assert_eq!(table.lease(s(2), lease("a", 2, &["EURUSD", "GBPUSD"])).len(), 1);
        assert_eq!(table.lease(s(3), lease("b", 1, &["EURUSD"])).len(), 1, "another holder");
        let again = Lease { repeat_last: true, ..lease("a", 2, &["EURUSD", "GBPUSD"]) };
        assert_eq!(table.lease(s(4), again).len(), 2);
    }

    #[test]
    fn no_lease_ends_while_the_bus_is_away() {
        let mut table = table();
        table.lease(s(0), lease("a", 1, &["EURUSD"]));
        table.freeze(s(10), true);
        table.timeout(s(100));
        assert_eq!((table.holders(), table.deadline()), (1, None));
        table.freeze(s(100), false);
        assert_eq!(table.deadline(), Some(s(115)));
    }

    #[test]
    fn limits_hold_and_what_they_refuse_is_counted() {
        let limits = DemandLimits { holders_max: 1, symbols_max: 2, ttl_max: s(10) };
        let mut table = DemandTable::new(limits, LINGER);
        table.lease(s(0), lease("a", 1, &["A", "B", "C"]));
        assert_eq!((names(&table), table.refused()), (vec!["A", "B"], 1));
        table.lease(s(0), lease("b", 1, &["Z"]));
        assert_eq!((table.holders(), table.refused()), (1, 2));
        assert_eq!(table.deadline(), Some(s(10)), "a lease runs no longer than allowed");
    }

    proptest! {
        /// Compares the table with the plainest model: recompute everything from the log of leases each time.
        #[test]
        fn what_is_leased_is_wanted_and_nothing_else_stays_beyond_linger(
            steps in proptest::collection::vec((0usize..3, 0u64..6, proptest::collection::btree_set(0usize..5, 0..4), any::<bool>()), 1..60),
        ) {
            let mut table = table();
            let mut model: BTreeMap<usize, (u64, BTreeSet<usize>)> = BTreeMap::new();
            let mut now = 0;
            let mut generation = 0;
            let mut last_leased: BTreeMap<usize, u64> = BTreeMap::new();
            for (holder, wait, symbols, withdraw) in steps {
                for _ in 0..wait {
                    now += 1;
                    table.timeout(s(now));
                    model.retain(|_, (ends, _)| *ends > now);
                    for symbol in model.values().flat_map(|(_, set)| set) { last_leased.insert(*symbol, now); }
                }
                generation += 1;
                let names: Vec<String> = symbols.iter().map(|index| format!("S{index}")).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut said = lease(&format!("h{holder}"), generation, &names);
                if withdraw { said.ttl_ms = 0; model.remove(&holder); } else { model.insert(holder, (now + 15, symbols)); }
                table.lease(s(now), said);
                for symbol in model.values().flat_map(|(_, set)| set) { last_leased.insert(*symbol, now); }
                for index in 0..5 {
                    let wanted = table.wanted().contains(format!("S{index}").as_str());
                    let leased = model.values().any(|(_, set)| set.contains(&index));
                    prop_assert!(!leased || wanted, "leased and not wanted");
                    let long_gone = last_leased.get(&index).is_none_or(|at| at + 6 < now);
                    prop_assert!(!(long_gone && wanted), "wanted beyond linger");
                }
                prop_assert!(table.wanted().is_empty() || table.deadline().is_some());
            }
        }
    }
}
