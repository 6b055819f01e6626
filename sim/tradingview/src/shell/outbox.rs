use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Ending, Message};

/// Bytes that may wait for one client; a client further behind is disconnected. More than the longest message there is.
pub(super) const OUTBOX_BYTES_MAX: usize = 32 << 20;

/// What one connection still has to write: the venue puts, the connection's task takes.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
    /// Cancelled where the connection is to be reset, whatever is still to be written.
    pub(super) reset: CancellationToken,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    ending: Option<Ending>,
}

/// What comes next for a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Message(Message),
    End(Ending),
}

impl Outbox {
    /// Adds a message; false where the client is too far behind and nothing was added.
    pub(super) fn put(&self, message: Message) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = message.text().len();
        if state.bytes + bytes > OUTBOX_BYTES_MAX {
            return false;
        }
        state.bytes += bytes;
        state.messages.push_back(message);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Ends the connection once what waits is written; at once for a reset.
    pub(super) fn end(&self, ending: Ending) {
        if ending == Ending::Reset {
            self.reset.cancel();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ending.get_or_insert(ending);
        self.changed.notify_one();
    }

    /// Waits for a message, or for the end once there are none.
    ///
    /// # Cancel safety
    /// Nothing is taken where the call is dropped.
    pub(super) async fn take(&self) -> Next {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(message) = state.messages.pop_front() {
                    state.bytes -= message.text().len();
                    return Next::Message(message);
                }
                if let Some(ending) = state.ending {
                    return Next::End(ending);
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Message {
        Message::Text(text.to_owned())
    }

    #[tokio::test]
    async fn messages_come_in_order_and_the_end_after_them() {
        let outbox = Outbox::default();
        assert!(outbox.put(text("ab")) && outbox.put(text("cd")));
        outbox.end(Ending::Abrupt);
        outbox.end(Ending::Close(None));
        assert_eq!(outbox.take().await, Next::Message(text("ab")));
        assert_eq!(outbox.take().await, Next::Message(text("cd")));
        assert_eq!(outbox.take().await, Next::End(Ending::Abrupt));
        assert!(!outbox.reset.is_cancelled());
    }

    #[test]
    fn a_full_outbox_takes_no_more() {
        let outbox = Outbox::default();
        assert!(outbox.put(text(&"x".repeat(OUTBOX_BYTES_MAX))));
        assert!(!outbox.put(text("x")));
        outbox.end(Ending::Reset);
        assert!(outbox.reset.is_cancelled());
    }
}
