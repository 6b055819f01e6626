use crate::Symbol;

/// A sender's complete wanted set with its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Name of the sender, unique per process run.
    pub holder: String,
    /// Grows with each change of the set by this holder.
    pub generation: u64,
    /// How long the lease holds from its arrival, milliseconds; 0 withdraws it.
    pub ttl_ms: u64,
    /// Every symbol wanted.
    pub symbols: Vec<Symbol>,
    /// True where the holder may have missed events and wants the last tick and state of its symbols once more.
    pub repeat_last: bool,
}
