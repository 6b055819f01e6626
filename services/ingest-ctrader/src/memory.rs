use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::tokens::{TokenFileError, TokenPair, Tokens};

/// What outlives a connection: the newest tokens, and what earlier connections showed. Clones share it.
#[derive(Clone)]
pub struct Memory(Arc<Mutex<Remembered>>);

pub(crate) struct Remembered {
    pub(crate) tokens: Tokens,
    /// The account was logged in at this host before: a host that cannot route it now is away, not wrong.
    pub(crate) routed: bool,
    /// Connections in a row that the venue ended with a disconnect event, all but the first right after their beginning.
    disconnects: u32,
}

/// A connection ended by the venue sooner than this did not do anything wrong: the end repeats itself (facts 3.11).
const AT_ONCE: Duration = Duration::from_secs(10);
/// Ends in a row, the first of them after any time, from which on waiting longer is what is left.
const DISCONNECTS_MAX: u32 = 3;

impl Memory {
    /// Begins with the configured tokens of this application's account.
    pub fn new(pair: TokenPair, client_id: &str, account_id: i64) -> Self {
        let tokens = Tokens::new(pair, &format!("{client_id} {account_id}"));
        Self(Arc::new(Mutex::new(Remembered { tokens, routed: false, disconnects: 0 })))
    }

    /// Takes the tokens of the token file where they are newer; true where it did.
    ///
    /// # Errors
    /// [`TokenFileError`] where it is not one; nothing is changed then.
    pub fn load(&self, text: &str) -> Result<bool, TokenFileError> {
        self.lock().tokens.load(text)
    }

    /// A memory of its own with the same access token and nothing to renew it: for who only looks.
    #[must_use]
    pub fn never_renewed(&self) -> Self {
        let pair = TokenPair::new(self.lock().tokens.access().clone(), None);
        let tokens = Tokens::new(pair, "");
        Self(Arc::new(Mutex::new(Remembered { tokens, routed: false, disconnects: 0 })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Remembered> {
        // Nothing is left half done by a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// The venue ended a connection of this age; true where that repeats itself so that we should come rarely.
    pub(crate) fn disconnected(&mut self, age: Duration) -> bool {
        self.disconnects = if age < AT_ONCE { self.disconnects.saturating_add(1) } else { 1 };
        self.disconnects >= DISCONNECTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_cannot_renew() {
        let pair = TokenPair::new("a".to_owned().into(), Some("r".to_owned().into()));
        let memory = Memory::new(pair, "app", 7);
        assert!(memory.lock().tokens.refresh().is_some());
        assert!(memory.never_renewed().lock().tokens.refresh().is_none());
        assert!(memory.lock().tokens.refresh().is_some(), "the other one still can");
    }

    #[test]
    fn an_end_that_repeats_itself_at_once_is_noticed() {
        let memory = Memory::new(TokenPair::new("a".to_owned().into(), None), "app", 7);
        let mut memory = memory.lock();
        let s = Duration::from_secs;
        assert!(!memory.disconnected(s(4_000)));
        assert!(!memory.disconnected(s(2)));
        assert!(memory.disconnected(s(2)));
        assert!(!memory.disconnected(s(60)), "it lived");
    }
}
