use std::collections::VecDeque;

use sim_kit::shell::Backlog;

use crate::Message;

/// Messages not written to a client yet; they leave one by one.
#[derive(Debug, Default)]
pub struct Unwritten {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Backlog for Unwritten {
    type Message = Message;
    type Taken = Message;

    /// More than the longest message there is.
    const BYTES_MAX: usize = 32 << 20;

    fn bytes_of(message: &Message) -> usize {
        message.text().len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, message: Message) {
        self.bytes += Self::bytes_of(&message);
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= Self::bytes_of(&message);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_their_bytes_are_known() {
        let text = |text: &str| Message::Text(text.to_owned());
        let mut unwritten = Unwritten::default();
        unwritten.push(text("ab"));
        unwritten.push(text("cde"));
        assert_eq!(unwritten.bytes(), 5);
        assert_eq!((unwritten.pop(), unwritten.bytes()), (Some(text("ab")), 3));
        assert_eq!((unwritten.pop(), unwritten.bytes()), (Some(text("cde")), 0));
        assert_eq!(unwritten.pop(), None);
    }
}
