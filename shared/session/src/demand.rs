use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tickcast_model::{Lease, Symbol};

/// How much demand is accepted.
#[derive(Clone, Copy, Debug)]
pub struct DemandLimits {
    /// Lease holders at once; a further one is refused.
    pub holders_max: usize,
    /// Symbols wanted at once, lingering ones included; further ones are left out.
    pub symbols_max: usize,
    /// The longest a lease may run, whatever it says.
    pub ttl_max: Duration,
}

impl Default for DemandLimits {
    fn default() -> Self {
        Self { holders_max: 1_000, symbols_max: 20_000, ttl_max: Duration::from_secs(300) }
    }
}

/// Something about the limits that a person should hear of, said once when it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DemandNote {
    /// This holder's leases run shorter than it asks.
    TtlCut {
        /// Who.
        holder: String,
        /// What it asked.
        asked: Duration,
        /// What it gets.
        granted: Duration,
    },
    /// This holder's lease was refused, and others may be after it: there are too many.
    TooManyHolders {
        /// The first that found no room.
        holder: String,
        /// How many there may be.
        max: usize,
    },
    /// Symbols are leased that there is no room for.
    TooManySymbols {
        /// How many, when it began.
        left_out: usize,
        /// How many may be wanted.
        max: usize,
    },
    /// There is room for all leased symbols again.
    RoomAgain,
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
    /// Since it was last asked.
    refused: u64,
    /// A holder was refused and none accepted since.
    refuses_holders: bool,
    /// Leased symbols there is no room for.
    left_out: usize,
    notes: VecDeque<DemandNote>,
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
            refuses_holders: false,
            left_out: 0,
            notes: VecDeque::new(),
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

    /// Whether a lease names this symbol that there is no room for.
    pub fn is_left_out(&self, symbol: &Symbol) -> bool {
        !self.wanted.contains(symbol) && self.holders.values().any(|holder| holder.symbols.contains(symbol))
    }

    /// How many symbols may be wanted.
    pub fn symbols_max(&self) -> usize {
        self.limits.symbols_max
    }

    /// Leases refused since the last call, and symbols left out of one when they were new in it.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// The next thing a person should hear of.
    pub fn note(&mut self) -> Option<DemandNote> {
        self.notes.pop_front()
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
        if known.is_none() {
            let is_full = self.holders.len() >= self.limits.holders_max;
            if is_full && !self.refuses_holders {
                let (holder, max) = (lease.holder.clone(), self.limits.holders_max);
                self.notes.push_back(DemandNote::TooManyHolders { holder, max });
            }
            self.refuses_holders = is_full;
            if is_full {
                self.refused += 1;
                return Vec::new();
            }
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
        let asked = Duration::from_millis(lease.ttl_ms);
        let ttl = asked.min(self.limits.ttl_max);
        if ttl < asked && known.is_none_or(|holder| holder.ttl < ttl) {
            self.notes.push_back(DemandNote::TtlCut { holder: lease.holder.clone(), asked, granted: ttl });
        }
        let holder = Holder { generation: lease.generation, ttl, ends_at: now + ttl, symbols };
        let before = self.holders.insert(lease.holder.clone(), holder).map(|holder| holder.symbols);
        if changed {
            self.settle(now);
            let named = self.holders.get(&lease.holder).into_iter().flat_map(|holder| &holder.symbols);
            let is_new = |symbol: &Symbol| before.as_ref().is_none_or(|before| !before.contains(symbol));
            let refused = named.filter(|symbol| is_new(symbol) && !self.wanted.contains(*symbol)).count();
            self.refused += u64::try_from(refused).unwrap_or(u64::MAX);
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
        let leased: BTreeSet<&Symbol> = self.holders.values().flat_map(|holder| &holder.symbols).collect();
        // What is served goes on being served, whoever else comes.
        let (served, others): (Vec<&Symbol>, Vec<&Symbol>) =
            leased.iter().partition(|symbol| self.wanted.contains(**symbol));
        let max = self.limits.symbols_max;
        let mut wanted: BTreeSet<Symbol> = served.into_iter().chain(others).take(max).cloned().collect();
        let left_out = leased.len() - wanted.len();
        for symbol in self.wanted.iter().filter(|symbol| !leased.contains(symbol)) {
            self.lingering.entry(symbol.clone()).or_insert(now + self.linger);
        }
        self.lingering.retain(|symbol, until| !leased.contains(symbol) && *until > now);
        // What nobody leases any more makes room first.
        while wanted.len() + self.lingering.len() > max {
            self.lingering.pop_last();
        }
        wanted.extend(self.lingering.keys().cloned());
        if wanted != *self.wanted {
            self.wanted = Arc::new(wanted);
        }
        match (self.left_out, left_out) {
            (0, 1..) => self.notes.push_back(DemandNote::TooManySymbols { left_out, max }),
            (1.., 0) => self.notes.push_back(DemandNote::RoomAgain),
            _ => {}
        }
        self.left_out = left_out;
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

    fn small(holders_max: usize, symbols_max: usize) -> DemandTable {
        DemandTable::new(DemandLimits { holders_max, symbols_max, ttl_max: s(10) }, LINGER)
    }

    fn notes(table: &mut DemandTable) -> Vec<DemandNote> {
        std::iter::from_fn(|| table.note()).collect()
    }

    #[test]
    fn limits_hold_and_each_refusal_is_counted_once() {
        let mut table = small(1, 2);
        table.lease(s(0), lease("a", 1, &["A", "B", "C"]));
        assert_eq!(names(&table), ["A", "B"]);
        assert_eq!(table.take_refused(), 1);
        assert!(table.is_left_out(&Symbol::new("C").unwrap()));
        table.lease(s(1), lease("a", 1, &["A", "B", "C"]));
        table.lease(s(2), lease("a", 2, &["B", "C", "A"]));
        table.timeout(s(3));
        assert_eq!(table.take_refused(), 0, "a renewal refuses nothing anew");
        table.lease(s(3), lease("a", 3, &["A", "B", "C", "D"]));
        assert_eq!(table.take_refused(), 1);
        table.lease(s(3), lease("b", 1, &["Z"]));
        assert_eq!((table.holders(), table.take_refused()), (1, 1));
        assert_eq!(table.deadline(), Some(s(13)), "a lease runs no longer than allowed");
    }

    #[test]
    fn lingering_symbols_are_within_the_limit_and_make_room() {
        let mut table = small(9, 3);
        table.lease(s(0), lease("a", 1, &["A", "B", "C"]));
        table.lease(s(1), lease("a", 2, &["X", "Y"]));
        assert_eq!(names(&table), ["A", "X", "Y"], "one lingers, two gave way");
        assert_eq!(table.take_refused(), 0);
        table.lease(s(2), lease("a", 3, &["X", "Y", "Z"]));
        assert_eq!(names(&table), ["X", "Y", "Z"]);
        assert_eq!(table.take_refused(), 0);
    }

    #[test]
    fn who_is_served_is_not_driven_out_and_who_was_left_out_follows_when_there_is_room() {
        let mut table = small(9, 2);
        table.lease(s(0), lease("m", 1, &["M", "N"]));
        table.lease(s(0), lease("a", 1, &["A", "M"]));
        assert_eq!(names(&table), ["M", "N"]);
        table.lease(s(1), lease("m", 2, &["M"]));
        assert_eq!(names(&table), ["A", "M"]);
    }

    #[test]
    fn a_limit_that_is_reached_is_told_when_it_begins_and_not_with_each_renewal() {
        let mut table = small(1, 2);
        for renewal in 0..3 {
            table.lease(s(renewal), lease("a", 1, &["A", "B", "C"]));
            table.lease(s(renewal), lease("b", 1, &[]));
            table.lease(s(renewal), lease("c", 1, &[]));
        }
        let cut = DemandNote::TtlCut { holder: "a".into(), asked: s(15), granted: s(10) };
        let symbols = DemandNote::TooManySymbols { left_out: 1, max: 2 };
        let holders = DemandNote::TooManyHolders { holder: "b".into(), max: 1 };
        assert_eq!(notes(&mut table), [cut, symbols, holders]);
        table.lease(s(3), Lease { ttl_ms: 0, ..lease("a", 2, &[]) });
        assert_eq!(notes(&mut table), [DemandNote::RoomAgain]);
        table.lease(s(3), Lease { ttl_ms: 9_000, ..lease("b", 1, &["A", "B", "C"]) });
        assert_eq!(notes(&mut table), [DemandNote::TooManySymbols { left_out: 1, max: 2 }]);
        table.lease(s(3), lease("c", 1, &[]));
        assert_eq!(notes(&mut table), [DemandNote::TooManyHolders { holder: "c".into(), max: 1 }]);
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
