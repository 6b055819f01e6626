use std::collections::VecDeque;

use bytes::Bytes;

/// Something that is said to one client and comes before its ticks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A JSON object.
    Message(Bytes),
    /// Asks for a sign of life.
    Ping,
    /// The answer to the client's ping, with its payload.
    Pong(Bytes),
    /// The last words: code and reason.
    Close(u16, &'static str),
}

/// What is said to one client and still waits, oldest first.
#[derive(Debug, Default)]
pub struct Replies {
    queue: VecDeque<Reply>,
    bytes: usize,
}

impl Replies {
    /// Puts a reply at the end. Of pings only the newest that waits is answered (RFC 6455, 5.5.3).
    pub fn push(&mut self, reply: Reply) {
        if matches!((&reply, self.queue.back()), (Reply::Pong(_), Some(Reply::Pong(_))))
            && let Some(older) = self.queue.pop_back()
        {
            self.bytes -= older.bytes();
        }
        self.bytes += reply.bytes();
        self.queue.push_back(reply);
    }

    /// Takes the oldest; a client that has read them all costs nothing.
    pub fn pop(&mut self) -> Option<Reply> {
        let reply = self.queue.pop_front()?;
        self.bytes -= reply.bytes();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(reply)
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True where none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How long what they say is, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What they take, bytes.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.bytes + self.queue.capacity() * size_of::<Reply>()
    }
}

impl Reply {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(json) => json.len(),
            Self::Pong(payload) => payload.len(),
            Self::Ping | Self::Close(..) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_what_waits() {
        let mut replies = Replies::default();
        replies.push(Reply::Message("abc".into()));
        replies.push(Reply::Ping);
        replies.push(Reply::Pong("xy".into()));
        assert_eq!((replies.len(), replies.bytes()), (3, 5));
        assert_eq!(replies.pop(), Some(Reply::Message("abc".into())));
        assert_eq!(replies.bytes(), 2);
        while replies.pop().is_some() {}
        assert_eq!((replies.bytes(), replies.held_bytes()), (0, 0));
    }

    #[test]
    fn of_many_pings_the_newest_is_answered() {
        let mut replies = Replies::default();
        for payload in ["a", "bb", "ccc"] {
            replies.push(Reply::Pong(payload.into()));
        }
        assert_eq!((replies.len(), replies.bytes()), (1, 3));
        replies.push(Reply::Message("m".into()));
        replies.push(Reply::Pong("d".into()));
        let all: Vec<_> = std::iter::from_fn(|| replies.pop()).collect();
        assert_eq!(all, [Reply::Pong("ccc".into()), Reply::Message("m".into()), Reply::Pong("d".into())]);
    }
}
