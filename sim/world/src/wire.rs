use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tickcast_model::Cause;

use crate::venue::Door;

/// What a process has in its hands: no connection, one being opened, or one.
pub(crate) enum Socket<L> {
    None,
    Dialling { at: Duration, door: Door },
    Up(Wire<L>),
}

/// One connection: bytes on their way in both directions, in order, late, and cut anywhere.
pub(crate) struct Wire<L> {
    pub(crate) id: L,
    pub(crate) to_venue: Lane,
    pub(crate) to_ingest: Lane,
    /// The end of the connection as the ingest will see it, once everything before it has arrived.
    pub(crate) ends: Option<(Duration, Cause)>,
    /// The network lost this connection without telling anybody: nothing arrives on either side any more.
    pub(crate) lost: bool,
}

/// Bytes under way in one direction.
#[derive(Default)]
pub(crate) struct Lane(VecDeque<(Duration, Bytes)>);

impl Lane {
    /// Sends bytes that arrive at `at`, or with what was sent before if that is later.
    pub(crate) fn push(&mut self, at: Duration, bytes: Bytes) {
        let at = self.0.back().map_or(at, |(last, _)| at.max(*last));
        self.0.push_back((at, bytes));
    }

    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Bytes> {
        self.0.pop_front_if(|(at, _)| *at <= now).map(|(_, bytes)| bytes)
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.0.front().map(|(at, _)| *at)
    }

    fn last_at(&self) -> Option<Duration> {
        self.0.back().map(|(at, _)| *at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<L> Wire<L> {
    pub(crate) fn new(id: L) -> Self {
        Self { id, to_venue: Lane::default(), to_ingest: Lane::default(), ends: None, lost: false }
    }

    /// Takes bytes of the venue, cut into pieces by chance.
    pub(crate) fn carry(&mut self, at: Duration, mut rest: Bytes, rng: &mut Rng) {
        if self.lost {
            return;
        }
        while !rest.is_empty() {
            let piece = match rng.u8(..8) {
                0 => 1,
                1 => rng.usize(1..=rest.len()),
                _ => rest.len(),
            };
            self.to_ingest.push(at, rest.split_to(piece));
        }
    }

    /// The venue ended the connection; what it sent before arrives first.
    pub(crate) fn ended(&mut self, now: Duration, cause: Cause) {
        if !self.lost {
            self.ends = Some((self.to_ingest.last_at().unwrap_or(now), cause));
        }
    }

    /// The network forgets the connection.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
        self.to_venue = Lane::default();
        self.to_ingest = Lane::default();
        self.ends = None;
    }

    /// When something arrives at the venue.
    pub(crate) fn venue_at(&self) -> Option<Duration> {
        self.to_venue.next_at()
    }

    /// When the ingest has something to read, or sees the end.
    pub(crate) fn ingest_at(&self) -> Option<Duration> {
        self.to_ingest.next_at().or(self.ends.as_ref().map(|(at, _)| *at))
    }
}
