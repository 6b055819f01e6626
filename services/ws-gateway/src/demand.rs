use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tickcast_bus::Lease;
use tickcast_model::Symbol;

/// What this gateway wants of one venue, and when it must be said (again).
pub struct Demand {
    holder: Arc<str>,
    ttl: Duration,
    generation: u64,
    /// What the last lease said.
    said: BTreeSet<Symbol>,
    /// When it said so; `None` where no lease holds.
    said_at: Option<Instant>,
    /// Events may have been missed: the last ticks are asked for once more.
    repeat_last: bool,
    /// To be said at the next occasion, changed or not.
    urgent: bool,
}

impl Demand {
    /// Wants nothing, and has said nothing.
    pub fn new(holder: Arc<str>, ttl: Duration) -> Self {
        Self {
            holder,
            ttl,
            generation: 0,
            said: BTreeSet::new(),
            said_at: None,
            repeat_last: true,
            urgent: false,
        }
    }

    /// The bus connection was made (again): events may have been missed, and leases too.
    pub fn bus_came(&mut self) {
        self.repeat_last = true;
        self.urgent = true;
    }

    /// Somebody asks for it, or the venue's ingest is a new one.
    pub fn renew(&mut self) {
        self.urgent = true;
    }

    /// The lease to publish now, if any. `is_heard` tells whether the venue's ingest speaks on this bus connection: only
    /// then can the wish for the last ticks have reached it.
    pub fn decide(&mut self, wanted: &BTreeSet<Symbol>, is_heard: bool, now: Instant) -> Option<Lease> {
        let has_changed = *wanted != self.said;
        let is_due = self.renewal().is_some_and(|at| now >= at);
        let is_urgent = std::mem::take(&mut self.urgent) && !wanted.is_empty();
        if !has_changed && !is_due && !is_urgent {
            return None;
        }
        if has_changed {
            self.generation += 1;
            self.said.clone_from(wanted);
        }
        if wanted.is_empty() {
            return self.withdraw();
        }
        self.said_at = Some(now);
        let repeat_last = self.repeat_last;
        if is_heard {
            self.repeat_last = false;
        }
        Some(self.lease(self.ttl, repeat_last))
    }

    /// The lease that ends the demand, where one holds.
    pub fn withdraw(&mut self) -> Option<Lease> {
        self.said_at.take()?;
        if !self.said.is_empty() {
            self.generation += 1;
            self.said.clear();
        }
        Some(self.lease(Duration::ZERO, false))
    }

    /// When it must be said again.
    pub fn renewal(&self) -> Option<Instant> {
        self.said_at.map(|at| at + self.ttl / 3)
    }

    fn lease(&self, ttl: Duration, repeat_last: bool) -> Lease {
        Lease {
            holder: self.holder.to_string(),
            generation: self.generation,
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            symbols: self.said.iter().cloned().collect(),
            repeat_last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<Symbol> {
        names.iter().filter_map(|name| Symbol::new(name)).collect()
    }

    fn demand() -> (Demand, Instant) {
        (Demand::new("gw-1".into(), Duration::from_secs(15)), Instant::now())
    }

    fn shown(lease: Option<Lease>) -> String {
        lease.map_or("-".into(), |lease| {
            let names: Vec<_> = lease.symbols.iter().map(Symbol::as_str).collect();
            let repeat = if lease.repeat_last { " repeat" } else { "" };
            format!("{}#{} {}ms [{}]{repeat}", lease.holder, lease.generation, lease.ttl_ms, names.join(" "))
        })
    }

    #[test]
    fn a_lease_is_said_on_change_and_at_a_third_of_its_life() {
        let (mut demand, t) = demand();
        assert_eq!(shown(demand.decide(&set(&[]), true, t)), "-");
        assert_eq!(shown(demand.decide(&set(&["B", "A"]), true, t)), "gw-1#1 15000ms [A B] repeat");
        assert_eq!(shown(demand.decide(&set(&["A", "B"]), true, t)), "-");
        let third = t + Duration::from_secs(5);
        assert_eq!(demand.renewal(), Some(third));
        assert_eq!(shown(demand.decide(&set(&["A", "B"]), true, third)), "gw-1#1 15000ms [A B]");
        assert_eq!(shown(demand.decide(&set(&["A"]), true, third)), "gw-1#2 15000ms [A]");
    }

    #[test]
    fn wanting_nothing_any_more_withdraws_the_lease_once() {
        let (mut demand, t) = demand();
        demand.decide(&set(&["A"]), true, t);
        assert_eq!(shown(demand.decide(&set(&[]), true, t)), "gw-1#2 0ms []");
        assert_eq!(shown(demand.decide(&set(&[]), true, t + Duration::from_secs(60))), "-");
        assert_eq!(demand.withdraw(), None);
        assert_eq!(shown(demand.decide(&set(&["A"]), true, t)), "gw-1#3 15000ms [A]");
        assert_eq!(shown(demand.withdraw()), "gw-1#4 0ms []");
    }

    #[test]
    fn whoever_asks_is_answered_at_once_but_not_for_nothing() {
        let (mut demand, t) = demand();
        demand.renew();
        assert_eq!(shown(demand.decide(&set(&[]), true, t)), "-");
        demand.decide(&set(&["A"]), true, t);
        demand.renew();
        assert_eq!(shown(demand.decide(&set(&["A"]), true, t)), "gw-1#1 15000ms [A]");
        assert_eq!(shown(demand.decide(&set(&["A"]), true, t)), "-");
    }

    #[test]
    fn after_the_bus_came_back_the_last_ticks_are_asked_for_until_the_ingest_is_heard() {
        let (mut demand, t) = demand();
        demand.decide(&set(&["A"]), true, t);
        demand.bus_came();
        assert_eq!(shown(demand.decide(&set(&["A"]), false, t)), "gw-1#1 15000ms [A] repeat");
        demand.renew();
        assert_eq!(shown(demand.decide(&set(&["A"]), true, t)), "gw-1#1 15000ms [A] repeat");
        demand.renew();
        assert_eq!(shown(demand.decide(&set(&["A"]), true, t)), "gw-1#1 15000ms [A]");
    }
}
