use tickcast_model::{Cause, CauseKind};
use tickcast_session::{Ending, Retry};

/// What the venue says of too many sessions on a connection.
#[derive(Default)]
pub(crate) struct Limit {
    /// Sessions too many, since a newer one was answered in.
    in_a_row: u32,
    /// The last of them.
    last: u64,
    words: String,
    /// Some session was answered in on this connection.
    had_some: bool,
}

/// Sessions count for as long as their socket lives (facts 5.4), so trying again on the same one has an early end.
const IN_A_ROW_MAX: u32 = 3;

impl Limit {
    /// The session of this number was one too many.
    pub(crate) fn reached(&mut self, number: u64, words: &str) {
        self.in_a_row += 1;
        self.last = number;
        words.clone_into(&mut self.words);
    }

    /// The venue answers in this session.
    pub(crate) fn answered(&mut self, number: u64) {
        self.had_some = true;
        if number > self.last {
            self.in_a_row = 0;
        }
    }

    /// # Errors
    /// Where this connection has been told often enough.
    pub(crate) fn check(&self) -> Result<(), Ending> {
        if self.in_a_row < IN_A_ROW_MAX { Ok(()) } else { self.ending().map_or(Ok(()), Err) }
    }

    /// How the connection ends, where this was the last the venue said of sessions. A new one may have as many; but if
    /// this one never had any, it is not the socket that they are counted by.
    pub(crate) fn ending(&self) -> Option<Ending> {
        let retry = if self.had_some { Retry::Backoff } else { Retry::Slowly };
        let cause = Cause::new(CauseKind::RateLimited, self.words.as_str());
        (self.in_a_row > 0).then_some(Ending { cause, retry })
    }
}
