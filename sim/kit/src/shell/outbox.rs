use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::EndingKind;

/// What waits for one client, in the shape its transport wants to write it.
pub trait Backlog: Default + Send + 'static {
    /// What is put.
    type Message;
    /// What is taken at once.
    type Taken: Send;

    /// Bytes that may wait; a client further behind is disconnected.
    const BYTES_MAX: usize;

    /// Bytes of a message.
    fn bytes_of(message: &Self::Message) -> usize;

    /// Bytes that wait.
    fn bytes(&self) -> usize;

    /// Adds a message.
    fn push(&mut self, message: Self::Message);

    /// Takes what is to be written next, which may be all there is.
    fn pop(&mut self) -> Option<Self::Taken>;
}

/// What one connection still has to write: the venue puts, the connection's task takes.
#[derive(Debug)]
pub struct Outbox<B, E> {
    state: Mutex<State<B, E>>,
    changed: Notify,
    /// Cancelled where the connection is to be reset, whatever is still to be written.
    pub reset: CancellationToken,
}

#[derive(Debug)]
struct State<B, E> {
    backlog: B,
    ending: Option<E>,
}

impl<B: Default, E> Default for Outbox<B, E> {
    /// With nothing in it.
    fn default() -> Self {
        Self {
            state: Mutex::new(State { backlog: B::default(), ending: None }),
            changed: Notify::new(),
            reset: CancellationToken::new(),
        }
    }
}

impl<B: Backlog, E: EndingKind> Outbox<B, E> {
    /// Adds a message; false where the client is too far behind and nothing was added.
    pub fn put(&self, message: B::Message) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.backlog.bytes() + B::bytes_of(&message) > B::BYTES_MAX {
            return false;
        }
        state.backlog.push(message);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Ends the connection once what waits is written; at once for a reset.
    pub fn end(&self, ending: E) {
        if ending == E::RESET {
            self.reset.cancel();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ending.get_or_insert(ending);
        self.changed.notify_one();
    }

    /// Waits for something to write, or for the end, which comes with the last of it or after it; one of the two is
    /// there.
    ///
    /// # Cancel safety
    /// Nothing is taken where the call is dropped.
    pub async fn take(&self) -> (Option<B::Taken>, Option<E>) {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = state.backlog.pop();
                let ending = state.ending.filter(|_| state.backlog.bytes() == 0);
                if taken.is_some() || ending.is_some() {
                    return (taken, ending);
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Ending {
        Quiet,
        Loud,
        Reset,
    }

    impl EndingKind for Ending {
        const RESET: Self = Self::Reset;
    }

    #[derive(Default)]
    struct Words(VecDeque<String>);

    impl Backlog for Words {
        type Message = String;
        type Taken = String;

        const BYTES_MAX: usize = 100;

        fn bytes_of(message: &String) -> usize {
            message.len()
        }

        fn bytes(&self) -> usize {
            self.0.iter().map(String::len).sum()
        }

        fn push(&mut self, message: String) {
            self.0.push_back(message);
        }

        fn pop(&mut self) -> Option<String> {
            self.0.pop_front()
        }
    }

    #[tokio::test]
    async fn messages_come_in_order_and_the_first_end_with_the_last_of_them() {
        let outbox = Outbox::<Words, Ending>::default();
        assert!(outbox.put("ab".into()) && outbox.put("cd".into()));
        outbox.end(Ending::Quiet);
        outbox.end(Ending::Loud);
        assert_eq!(outbox.take().await, (Some("ab".into()), None));
        assert_eq!(outbox.take().await, (Some("cd".into()), Some(Ending::Quiet)));
        assert!(!outbox.reset.is_cancelled());
    }

    #[tokio::test]
    async fn an_end_after_the_last_message_comes_by_itself() {
        let outbox = Outbox::<Words, Ending>::default();
        assert!(outbox.put("ab".into()));
        assert_eq!(outbox.take().await, (Some("ab".into()), None));
        outbox.end(Ending::Quiet);
        assert_eq!(outbox.take().await, (None, Some(Ending::Quiet)));
    }

    #[test]
    fn a_full_outbox_takes_no_more() {
        let outbox = Outbox::<Words, Ending>::default();
        assert!(outbox.put("x".repeat(100)));
        assert!(!outbox.put("x".into()));
        outbox.end(Ending::Reset);
        assert!(outbox.reset.is_cancelled());
    }
}
