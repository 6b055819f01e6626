use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bits::Bits;
use crate::hub::Reader;

/// What waits for one writer: the channels that have something, each at most once however many ticks there are.
///
/// Its size is bounded by the channels. The writer is woken once for a burst.
pub struct Mailbox {
    marks: Mutex<Marks>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Marks {
    slots: VecDeque<u32>,
    /// Those that are in `slots`.
    marked: Bits,
    notice: bool,
}

impl Mailbox {
    /// An empty mailbox; `wake` is called when something comes in and must not wait.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { marks: Mutex::default(), wake: Box::new(wake) }
    }

    /// Something that concerns every client may have changed: statuses, a catalogue, the stop.
    pub fn notice(&self) {
        let was_set = std::mem::replace(&mut self.marks().notice, true);
        if !was_set {
            (self.wake)();
        }
    }

    /// Whether there was a notice since the last call.
    pub fn take_notice(&self) -> bool {
        std::mem::take(&mut self.marks().notice)
    }

    /// Takes the marked slots, in the order in which they were marked, in exchange for an empty list.
    pub fn take_slots(&self, empty: &mut VecDeque<u32>) {
        let mut marks = self.marks();
        std::mem::swap(&mut marks.slots, empty);
        marks.slots.clear();
        for slot in empty {
            marks.marked.remove(*slot);
        }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for Mailbox {
    fn mark(&self, slot: u32) {
        let mut marks = self.marks();
        if !marks.marked.insert(slot) {
            return;
        }
        let was_empty = marks.slots.is_empty();
        marks.slots.push_back(slot);
        drop(marks);
        if was_empty {
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn counted() -> (Mailbox, Arc<AtomicU32>) {
        let woken = Arc::new(AtomicU32::new(0));
        let count = woken.clone();
        (Mailbox::new(move || _ = count.fetch_add(1, Ordering::Relaxed)), woken)
    }

    fn take(mailbox: &Mailbox) -> Vec<u32> {
        let mut slots = VecDeque::new();
        mailbox.take_slots(&mut slots);
        slots.into()
    }

    #[test]
    fn a_slot_is_there_once_and_a_burst_wakes_once() {
        let (mailbox, woken) = counted();
        for slot in [3, 70, 3, 0, 70] {
            mailbox.mark(slot);
        }
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(take(&mailbox), [3, 70, 0]);
        mailbox.mark(70);
        assert_eq!(take(&mailbox), [70]);
        assert_eq!(take(&mailbox), [] as [u32; 0]);
    }

    #[test]
    fn a_notice_is_a_level() {
        let (mailbox, woken) = counted();
        mailbox.notice();
        mailbox.notice();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(mailbox.take_notice());
        assert!(!mailbox.take_notice());
    }
}
