use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::Ending;

/// Bytes that may wait for one client; a client further behind is disconnected.
pub(super) const OUTBOX_BYTES_MAX: usize = 8 << 20;

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
    bytes: BytesMut,
    ending: Option<Ending>,
}

impl Outbox {
    /// Adds bytes; false where the client is too far behind and nothing was added.
    pub(super) fn put(&self, bytes: &[u8]) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.bytes.len() + bytes.len() > OUTBOX_BYTES_MAX {
            return false;
        }
        state.bytes.extend_from_slice(bytes);
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

    /// Waits for bytes or the end, and takes all there is.
    ///
    /// # Cancel safety
    /// Nothing is taken where the call is dropped.
    pub(super) async fn take(&self) -> (Bytes, Option<Ending>) {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if !state.bytes.is_empty() || state.ending.is_some() {
                    return (state.bytes.split().freeze(), state.ending);
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_put_is_taken_at_once_with_the_end() {
        let outbox = Outbox::default();
        assert!(outbox.put(b"ab") && outbox.put(b"cd"));
        assert_eq!(outbox.take().await, (Bytes::from("abcd"), None));
        assert!(outbox.put(b"e"));
        outbox.end(Ending::Abrupt);
        outbox.end(Ending::Orderly);
        assert_eq!(outbox.take().await, (Bytes::from("e"), Some(Ending::Abrupt)));
        assert!(!outbox.reset.is_cancelled());
    }

    #[test]
    fn a_full_outbox_takes_no_more() {
        let outbox = Outbox::default();
        let chunk = vec![0; OUTBOX_BYTES_MAX];
        assert!(outbox.put(&chunk));
        assert!(!outbox.put(b"x"));
        outbox.end(Ending::Reset);
        assert!(outbox.reset.is_cancelled());
    }
}
