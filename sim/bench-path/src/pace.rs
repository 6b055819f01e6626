use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The rate at which a sender of this program is to send; shared between the sender's thread and who measures.
#[derive(Clone, Default)]
pub(crate) struct Pace(Arc<Shared>);

#[derive(Default)]
struct Shared {
    per_s: AtomicU64,
    is_on: AtomicBool,
    is_over: AtomicBool,
    sent: AtomicU64,
}

/// A turn of the sender: what is due is sent at once, in one write.
const TURN: Duration = Duration::from_millis(1);
/// Events of one turn where the rate is not limited, and at most.
const TURN_EVENTS_MAX: u64 = 2_048;

impl Pace {
    /// Lets the sender send so many events per second from now on; 0 is as many as go.
    pub(crate) fn send(&self, per_s: u64) {
        self.0.per_s.store(per_s, Ordering::Relaxed);
        self.0.is_on.store(true, Ordering::Release);
    }

    /// Stops the sender until the next [`Pace::send`].
    pub(crate) fn pause(&self) {
        self.0.is_on.store(false, Ordering::Release);
    }

    /// Ends the sender.
    pub(crate) fn end(&self) {
        self.0.is_over.store(true, Ordering::Release);
    }

    /// Events handed to a socket so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Calls `turn` with the number of events that are due, until the end or an error.
    ///
    /// What is overdue is made up for, up to a tenth of a second: a sender that cannot keep the rate falls behind.
    pub(crate) fn run<E>(&self, mut turn: impl FnMut(usize) -> Result<(), E>) -> Result<(), E> {
        let mut began = None;
        let mut sent: u64 = 0;
        while !self.0.is_over.load(Ordering::Acquire) {
            if !self.0.is_on.load(Ordering::Acquire) {
                began = None;
                rest(TURN);
                continue;
            }
            let per_s = self.0.per_s.load(Ordering::Relaxed);
            let start = *began.get_or_insert_with(|| {
                sent = 0;
                Instant::now()
            });
            let due = if per_s == 0 {
                TURN_EVENTS_MAX
            } else {
                let elapsed_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                let planned = per_s.saturating_mul(elapsed_us) / 1_000_000;
                sent = sent.max(planned.saturating_sub(per_s / 10));
                planned.saturating_sub(sent).min(TURN_EVENTS_MAX)
            };
            if due == 0 {
                rest(TURN);
                continue;
            }
            turn(usize::try_from(due).unwrap_or(1))?;
            sent += due;
            self.0.sent.fetch_add(due, Ordering::Relaxed);
            if per_s != 0 {
                rest(TURN);
            }
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own that paces what it sends")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}
