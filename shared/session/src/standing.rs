use std::time::Duration;

/// How far a wanted symbol is on its way to ticking, as its session sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// True where the venue is known to stream it: a price came after the subscription.
    pub ok: bool,
    /// Since when it stands like this, as [`Now::elapsed`](crate::Now), where that is known.
    pub since: Option<Duration>,
    /// How it stands, in words.
    pub detail: String,
    /// What happens next and when, in words; empty where nothing has to.
    pub next: String,
}
