use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where the run stands; shared by all threads.
#[derive(Default)]
pub(crate) struct Progress {
    /// Connections open now.
    pub(crate) open: AtomicUsize,
    /// Connections not made.
    pub(crate) failed: AtomicUsize,
    /// Connections made and ended by the server.
    pub(crate) ended: AtomicUsize,
    /// True inside the measuring window.
    pub(crate) measuring: AtomicBool,
    /// Set at the end of the run.
    pub(crate) stopped: AtomicBool,
    bell: (Mutex<()>, Condvar),
}

impl Progress {
    /// Waits.
    pub(crate) fn pause(&self, time: Duration) {
        let (lock, bell) = &self.bell;
        let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            guard = bell.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Connections of which it is known what became of them.
    pub(crate) fn settled(&self) -> usize {
        [&self.open, &self.failed, &self.ended].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}
