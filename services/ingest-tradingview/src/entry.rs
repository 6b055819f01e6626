use std::collections::BTreeSet;
use std::time::Duration;

use tickcast_model::Symbol;

use crate::quote::{Market, Quote};

/// A symbol that is wanted, and how far it is on its way to ticking.
pub(crate) struct Entry {
    pub(crate) step: Step,
    /// Since when.
    pub(crate) since: Duration,
    /// The quote session that holds it.
    pub(crate) room: Option<u64>,
    /// Only a quote session numbered above this will do: those before lost it.
    pub(crate) after: u64,
    /// So many keys at most may be asked for together with it, itself included: fewer once a batch with it was refused.
    pub(crate) lot: usize,
    /// A session that was asked for nothing else broke: the next time it is refused.
    pub(crate) blamed: bool,
    /// Times it was asked for again in a row without a new quote.
    pub(crate) missed: u32,
    pub(crate) quote: Quote,
    pub(crate) first: First,
    /// What the last tick said; its repetition is no tick.
    pub(crate) told: Option<Market>,
}

/// How far a symbol is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// To be asked for.
    Needed,
    /// Asked for, and nothing was heard of it yet.
    Asked,
    /// The venue knows that we want it.
    Held,
    /// The venue does not stream it.
    Refused(Refusal),
}

/// That, and why, the venue does not stream a symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) retry_at: Duration,
    pub(crate) reason: String,
    /// It broke a quote session, so it is asked for alone.
    pub(crate) breaks: bool,
}

/// How far the parts of the first data are (facts 0.9: they come in several messages, in any order).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum First {
    /// Nothing came.
    Waiting,
    /// Something came; what is there at this time is all there is.
    By(Duration),
    /// They are told, or there was nothing to tell.
    Told,
}

impl Entry {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            step: Step::Needed,
            since: now,
            room: None,
            after: 0,
            lot: usize::MAX,
            blamed: false,
            missed: 0,
            quote: Quote::default(),
            first: First::Waiting,
            told: None,
        }
    }

    pub(crate) fn go(&mut self, now: Duration, step: Step) {
        self.step = step;
        self.since = now;
    }

    /// Forgets what the venue said: it will say all of it again.
    pub(crate) fn start_over(&mut self, now: Duration) {
        self.go(now, Step::Needed);
        self.room = None;
        self.quote = Quote::default();
        self.first = First::Waiting;
    }

    /// True where a batch with it was refused and it may be why.
    pub(crate) fn is_suspect(&self) -> bool {
        self.lot != usize::MAX
    }
}

/// A quote session at the venue.
pub(crate) struct Room {
    /// Our name for it.
    pub(crate) id: String,
    /// The keys the venue holds in it, those to be let go included.
    pub(crate) keys: BTreeSet<Symbol>,
    /// Asked for in it, and nothing was heard of them yet.
    pub(crate) asked: BTreeSet<Symbol>,
    /// To be let go.
    pub(crate) leaving: BTreeSet<Symbol>,
    /// Keys were added, and nothing more is said in it before they are answered or this time has come: what was added may
    /// have broken it, and a word to a session that is no more could cost the connection (facts 4.3).
    pub(crate) rests_until: Duration,
    /// Something was added to it already.
    pub(crate) is_used: bool,
    /// It is for keys that may be why another session broke, and no others until those are cleared.
    pub(crate) on_trial: bool,
}

impl Room {
    pub(crate) fn new(id: String, on_trial: bool) -> Self {
        let (keys, asked, leaving) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { id, keys, asked, leaving, rests_until: Duration::ZERO, is_used: false, on_trial }
    }

    /// Ends its rest and its trial where everything asked for in it is answered; true where that is so.
    pub(crate) fn answered(&mut self) -> bool {
        if self.is_used && self.asked.is_empty() {
            self.rests_until = Duration::ZERO;
            self.on_trial = false;
        }
        self.asked.is_empty()
    }
}
