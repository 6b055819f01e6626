use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use slab::Slab;

use crate::mailbox::Mailbox;

/// What is said to every client: the last few messages, which each writer fetches at its own speed.
#[derive(Default)]
pub struct Bulletin {
    notes: Mutex<Notes>,
    readers: Mutex<Slab<Arc<Mailbox>>>,
}

#[derive(Default)]
struct Notes {
    /// Oldest first.
    last: VecDeque<Bytes>,
    /// How many there were before the oldest that is left.
    gone: u64,
}

/// Messages kept. Who is further behind is told the present state instead.
const NOTES_MAX: usize = 64;

/// One writer's place in the bulletin; dropping it ends the reading.
pub struct BulletinSeat {
    bulletin: Arc<Bulletin>,
    number: usize,
    next: u64,
}

/// What a writer gets next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// This message.
    Message(Bytes),
    /// Messages are lost for this writer; it wants the present state.
    Missed,
}

impl Bulletin {
    /// Joins: what is posted from now on is read, and the mailbox gets a notice of it.
    pub fn join(self: &Arc<Self>, mailbox: Arc<Mailbox>) -> BulletinSeat {
        let number = lock(&self.readers).insert(mailbox);
        let notes = lock(&self.notes);
        BulletinSeat { bulletin: self.clone(), number, next: notes.gone + notes.last.len() as u64 }
    }

    /// Says this to everybody.
    pub fn post(&self, message: Bytes) {
        let mut notes = lock(&self.notes);
        if notes.last.len() == NOTES_MAX {
            notes.last.pop_front();
            notes.gone += 1;
        }
        notes.last.push_back(message);
        drop(notes);
        self.nudge();
    }

    /// Makes everybody look around.
    pub fn nudge(&self) {
        for (_, mailbox) in lock(&self.readers).iter() {
            mailbox.notice();
        }
    }
}

impl BulletinSeat {
    /// What comes next; `None` where everything was read.
    pub fn fetch(&mut self) -> Option<Note> {
        let notes = lock(&self.bulletin.notes);
        if self.next < notes.gone {
            self.next = notes.gone + notes.last.len() as u64;
            return Some(Note::Missed);
        }
        let message = notes.last.get(usize::try_from(self.next - notes.gone).ok()?)?;
        self.next += 1;
        Some(Note::Message(message.clone()))
    }
}

impl Drop for BulletinSeat {
    fn drop(&mut self) {
        lock(&self.bulletin.readers).remove(self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(n: usize) -> Bytes {
        n.to_string().into()
    }

    #[test]
    fn what_is_posted_after_joining_is_read_once_and_in_order() {
        let bulletin = Arc::new(Bulletin::default());
        bulletin.post(note(0));
        let mailbox = Arc::new(Mailbox::new(|| {}));
        let mut seat = bulletin.join(mailbox.clone());
        assert_eq!(seat.fetch(), None);
        bulletin.post(note(1));
        bulletin.post(note(2));
        assert!(mailbox.take_notice());
        assert_eq!(seat.fetch(), Some(Note::Message(note(1))));
        assert_eq!(seat.fetch(), Some(Note::Message(note(2))));
        assert_eq!(seat.fetch(), None);
        drop(seat);
        bulletin.post(note(3));
        assert!(!mailbox.take_notice());
    }

    #[test]
    fn who_is_too_far_behind_is_told_so_once() {
        let bulletin = Arc::new(Bulletin::default());
        let mut seat = bulletin.join(Arc::new(Mailbox::new(|| {})));
        for n in 0..=NOTES_MAX {
            bulletin.post(note(n));
        }
        assert_eq!(seat.fetch(), Some(Note::Missed));
        assert_eq!(seat.fetch(), None);
        bulletin.post(note(100));
        assert_eq!(seat.fetch(), Some(Note::Message(note(100))));
    }
}
