use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tickcast_session::{Note, Now, SessionOutput};

use crate::messages;
use crate::requests::{About, Requests};

/// What leaves a session: requests at the venue's pace, heartbeats, and what the supervisor is told.
///
/// The queue is emptied after every call of the session, so it holds no more than one read can cause.
pub(crate) struct Outgoing {
    pub(crate) requests: Requests,
    queue: VecDeque<SessionOutput>,
    last_sent: Duration,
    /// When something that had to wait for the venue's pace can go.
    work_at: Option<Duration>,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        let queue = VecDeque::new();
        Self { requests: Requests::new(), queue, last_sent: Duration::ZERO, work_at: None }
    }

    /// The connection is there; its silence is counted from now.
    pub(crate) fn start(&mut self, now: Now) {
        self.last_sent = now.elapsed;
    }

    /// Everything that waits is about to be looked at again.
    pub(crate) fn begin_work(&mut self) {
        self.work_at = None;
    }

    /// Something is to be looked at again at once.
    pub(crate) fn work_again(&mut self, now: Now) {
        self.work_at = Some(now.elapsed);
    }

    /// Sends a request if it may go now; else notes when it may, and says false.
    pub(crate) fn ask(&mut self, now: Now, about: &About, message: &impl Message) -> bool {
        match self.requests.admit(now.elapsed, about) {
            Ok(id) => {
                self.tell(SessionOutput::Note(Note::Request(about.name())));
                self.send(now, messages::encode(about.kind() as u32, message, Some(id)));
                true
            }
            Err(at) => {
                self.tell(SessionOutput::Note(Note::Paced(about.name(), at.saturating_sub(now.elapsed))));
                self.work_at = Some(self.work_at.map_or(at, |work| work.min(at)));
                false
            }
        }
    }

    /// Sends a heartbeat after so long a silence of our own (facts 3.3).
    pub(crate) fn beat(&mut self, now: Now, after: Duration) {
        if self.last_sent + after <= now.elapsed {
            self.requests.pace.heartbeat(now.elapsed);
            self.send(now, messages::heartbeat());
        }
    }

    /// When the next heartbeat is due, or something can go that had to wait, or an answer is overdue.
    pub(crate) fn deadline(&self, heartbeat: Duration) -> Duration {
        let others = [self.requests.deadline(), self.work_at];
        others.into_iter().flatten().fold(self.last_sent + heartbeat, Duration::min)
    }

    pub(crate) fn tell(&mut self, output: SessionOutput) {
        self.queue.push_back(output);
    }

    /// Counts something unexpected that was passed over.
    pub(crate) fn odd(&mut self, what: &'static str) {
        self.tell(SessionOutput::Note(Note::Odd(what)));
    }

    pub(crate) fn poll(&mut self) -> Option<SessionOutput> {
        self.queue.pop_front()
    }

    fn send(&mut self, now: Now, bytes: Bytes) {
        self.last_sent = now.elapsed;
        self.tell(SessionOutput::Send(bytes));
    }
}
