use bytes::{Bytes, BytesMut};
use sim_kit::shell::Backlog;

/// Bytes not written to a client yet; all of them leave at once.
#[derive(Debug, Default)]
pub struct Unwritten(BytesMut);

impl Backlog for Unwritten {
    type Message = Bytes;
    type Taken = Bytes;

    const BYTES_MAX: usize = 8 << 20;

    fn bytes_of(message: &Bytes) -> usize {
        message.len()
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, message: Bytes) {
        self.0.extend_from_slice(&message);
    }

    fn pop(&mut self) -> Option<Bytes> {
        Some(self.0.split().freeze()).filter(|bytes| !bytes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use sim_kit::shell::Outbox;

    use super::*;
    use crate::Ending;

    #[tokio::test]
    async fn what_was_put_is_taken_at_once_with_the_end() {
        let outbox = Outbox::<Unwritten, Ending>::default();
        assert!(outbox.put(Bytes::from("ab")) && outbox.put(Bytes::from("cd")));
        assert_eq!(outbox.take().await, (Some(Bytes::from("abcd")), None));
        assert!(outbox.put(Bytes::from("e")));
        outbox.end(Ending::Abrupt);
        assert_eq!(outbox.take().await, (Some(Bytes::from("e")), Some(Ending::Abrupt)));
    }
}
