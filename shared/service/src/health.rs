use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tracing::info;

/// Which parts of the process are ready to serve: `/readyz` says 503 with reasons until all of them are.
#[derive(Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<String, Result<(), String>>>>,
    explanations: Arc<Mutex<BTreeMap<String, Explain>>>,
}

type Explain = Arc<dyn Fn() -> String + Send + Sync>;

impl Readiness {
    /// Says that a part exists; until it is set the process is not ready.
    pub fn declare(&self, part: &str) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.entry(part.to_owned()).or_insert_with(|| Err("starting".to_owned()));
    }

    /// Sets the state of a part, with the reason where it is not ready. Changes are logged.
    pub fn set(&self, part: &str, state: Result<(), String>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = parts.insert(part.to_owned(), state.clone());
        drop(parts);
        match state {
            _ if before.as_ref() == Some(&state) => {}
            Ok(()) => info!(part, "ready"),
            Err(reason) => info!(part, reason, "not ready"),
        }
    }

    /// Adds words about a part that people want to know whether it is ready or not, such as `standby`. `explain` is called
    /// for each request of the page and must not wait.
    pub fn explain(&self, part: &str, explain: impl Fn() -> String + Send + Sync + 'static) {
        let mut explanations = self.explanations.lock().unwrap_or_else(PoisonError::into_inner);
        explanations.insert(part.to_owned(), Arc::new(explain));
    }

    /// The words of [`Readiness::explain`], one text per part.
    pub fn notes(&self) -> Vec<String> {
        let explanations = self.explanations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        explanations.iter().map(|(part, explain)| format!("{part}: {}", explain())).collect()
    }

    /// Why the process is not ready, one text per part; empty where it is.
    pub fn reasons(&self) -> Vec<String> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .filter_map(|(part, state)| state.as_ref().err().map(|reason| format!("{part}: {reason}")))
            .collect()
    }
}

/// The parts of the `/status` page.
#[derive(Clone, Default)]
pub struct StatusPage {
    parts: Arc<Mutex<BTreeMap<String, Provide>>>,
}

type Provide = Arc<dyn Fn() -> Value + Send + Sync>;

impl StatusPage {
    /// Adds a part (or replaces it). `provide` is called for each request of the page and must not wait.
    pub fn provide(&self, part: &str, provide: impl Fn() -> Value + Send + Sync + 'static) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(part.to_owned(), Arc::new(provide));
    }

    /// The parts as they are now.
    pub fn parts(&self) -> serde_json::Map<String, Value> {
        // Called outside the lock: a part may itself look at the page's owner.
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        parts.into_iter().map(|(part, provide)| (part, provide())).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_declared_part_is_a_reason_until_it_is_set() {
        let ready = Readiness::default();
        assert_eq!(ready.reasons(), [] as [&str; 0]);
        ready.declare("bus");
        ready.declare("listener");
        ready.set("listener", Ok(()));
        assert_eq!(ready.reasons(), ["bus: starting"]);
        ready.set("bus", Err("connecting".into()));
        ready.declare("bus");
        assert_eq!(ready.reasons(), ["bus: connecting"]);
        ready.set("bus", Ok(()));
        assert_eq!(ready.reasons(), [] as [&str; 0]);
    }

    #[test]
    fn a_part_says_more_than_whether_it_is_ready() {
        let ready = Readiness::default();
        ready.declare("leader");
        ready.explain("leader", || "standby".to_owned());
        assert_eq!(ready.notes(), ["leader: standby"]);
        assert_eq!(ready.reasons(), ["leader: starting"]);
        ready.set("leader", Ok(()));
        assert_eq!(ready.notes(), ["leader: standby"]);
    }

    #[test]
    fn a_status_part_is_computed_for_each_look() {
        let status = StatusPage::default();
        let count = Arc::new(Mutex::new(0));
        let seen = count.clone();
        status.provide("calls", move || {
            *seen.lock().unwrap() += 1;
            json!(*seen.lock().unwrap())
        });
        assert_eq!(status.parts()["calls"], 1);
        assert_eq!(status.parts()["calls"], 2);
    }
}
