use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tickcast_model::Symbol;

use crate::entry::Refusal;

/// What outlives a connection: what the venue refused, so that neither a client that asks again and again nor a reconnect
/// makes us do so. Clones share it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Refusals>>);

/// Refusals by symbol, each up to the time it may be asked for again, and tokens for as long as we live.
#[derive(Default)]
pub(crate) struct Refusals {
    by_symbol: BTreeMap<Symbol, Refusal>,
    tokens: VecDeque<SecretString>,
}

/// Refusals remembered at most; beyond, the one that ends first is forgotten.
const REFUSALS_MAX: usize = 1_000;
/// Refused tokens remembered at most; each took a person to put it there.
const TOKENS_MAX: usize = 100;

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

    /// The venue refused this token.
    pub(crate) fn note_token(&mut self, token: &SecretString) {
        if self.has_token(token) {
            return;
        }
        if self.tokens.len() == TOKENS_MAX {
            self.tokens.pop_front();
        }
        self.tokens.push_back(token.clone());
    }

    /// Whether the venue refused this token once.
    pub(crate) fn has_token(&self, token: &SecretString) -> bool {
        self.tokens.iter().any(|refused| refused.expose_secret() == token.expose_secret())
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

    #[test]
    fn refused_tokens_are_remembered_and_bounded() {
        let memory = Memory::default();
        let token = |number: usize| SecretString::from(format!("ey.{number}"));
        for number in (0..=TOKENS_MAX).chain([TOKENS_MAX]) {
            memory.lock().note_token(&token(number));
        }
        let has = |number| memory.lock().has_token(&token(number));
        assert_eq!([has(0), has(1), has(TOKENS_MAX), has(TOKENS_MAX + 1)], [false, true, true, false]);
    }
}
