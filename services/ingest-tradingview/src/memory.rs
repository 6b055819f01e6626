use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tickcast_model::Symbol;

use crate::entry::Refusal;

/// What outlives a connection: what the venue refused of late, so that neither a client that asks again and again nor a
/// reconnect makes us do so. Clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Refusals>>);

/// Refusals by symbol, each up to the time it may be asked for again.
#[derive(Default)]
pub(crate) struct Refusals {
    by_symbol: BTreeMap<Symbol, Refusal>,
}

/// Refusals remembered at most; beyond, the one that ends first is forgotten.
const REFUSALS_MAX: usize = 1_000;

impl Memory {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Refusals> {
        // Nothing is left half done by a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusals {
    pub(crate) fn note(&mut self, symbol: &Symbol, refusal: Refusal) {
        self.by_symbol.insert(symbol.clone(), refusal);
        if self.by_symbol.len() > REFUSALS_MAX {
            let first = self.by_symbol.iter().min_by_key(|(_, refusal)| refusal.retry_at);
            let first = first.map(|(symbol, _)| symbol.clone());
            first.map(|symbol| self.by_symbol.remove(&symbol));
        }
    }

    /// The refusal of a symbol that need not be asked for yet.
    pub(crate) fn of(&mut self, now: Duration, symbol: &Symbol) -> Option<Refusal> {
        if self.by_symbol.get(symbol).is_some_and(|refusal| refusal.retry_at <= now) {
            self.by_symbol.remove(symbol);
        }
        self.by_symbol.get(symbol).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(seconds: u64) -> Refusal {
        Refusal { retry_at: Duration::from_secs(seconds), reason: "no".into(), breaks: false }
    }

    #[test]
    fn what_is_remembered_ends_and_is_bounded_and_clones_share_it() {
        let (memory, other) = (Memory::default(), Memory::default());
        let shared = memory.clone();
        let name = |number: u64| Symbol::new(&format!("A:{number}")).unwrap();
        for number in 0..1_500 {
            memory.lock().note(&name(number), refusal(100 + number));
        }
        let now = Duration::from_secs(50);
        assert_eq!(shared.lock().of(now, &name(499)), None, "what ends first is forgotten first");
        assert_eq!(shared.lock().of(now, &name(500)), Some(refusal(600)));
        assert_eq!(shared.lock().of(Duration::from_secs(600), &name(500)), None, "it may be asked for again");
        assert_eq!(other.lock().of(now, &name(700)), None);
    }
}
