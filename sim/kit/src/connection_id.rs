//! The name of a connection.

/// Names a connection for as long as the venue lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The name of the connection that was opened as this one, from 1 on.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number behind the name, from 1 on in the order of opening.
    pub fn number(self) -> u64 {
        self.0
    }
}
