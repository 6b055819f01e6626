use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf as _, Bytes};

use super::{Socket, WRITE_MESSAGES, code};
use crate::feed::Reading;
use crate::limits::{ClientLimits, Place};
use crate::session::ClientSession;
use crate::wire::FrameReader;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// We close it, with this code and reason.
    Close(u16, &'static str),
    /// The client closed it, with this code.
    Peer(u16),
    /// It broke.
    Lost,
    /// The client took nothing for too long.
    Stuck,
}

impl End {
    /// The connection limit is reached.
    pub const FULL: Self = Self::Close(code::LIMIT, "connection limit reached");

    pub(super) fn code(self) -> u16 {
        match self {
            Self::Close(code, _) | Self::Peer(code) => code,
            Self::Lost | Self::Stuck => code::ABNORMAL,
        }
    }
}

/// One browser. Idle, it is this and nothing more.
pub(super) struct Client<S> {
    pub(super) socket: S,
    pub(super) peer: SocketAddr,
    pub(super) place: Option<Place>,
    pub(super) reader: FrameReader,
    pub(super) session: ClientSession,
    /// Joined channels by the session's slots.
    pub(super) subs: Vec<Option<Sub>>,
    /// The slot the next write begins with.
    pub(super) scan_from: u32,
    /// What the socket did not take of the last write; the first may be the rest of a frame.
    unsent: VecDeque<Bytes>,
    pub(super) replies: VecDeque<Bytes>,
    /// Number of the next message to everybody.
    pub(super) news_next: u64,
    pub(super) opened_at: Instant,
    pub(super) heard_at: Instant,
    pub(super) said_at: Instant,
    pub(super) ping_at: Instant,
    /// Since when the socket takes nothing.
    pub(super) blocked_since: Option<Instant>,
    /// When it is closed because the gateway stops.
    pub(super) close_at: Option<Instant>,
    pub(super) closing: Option<Closing>,
}

/// One client's reading of one channel.
pub(super) struct Sub {
    /// The channel's number in the shard.
    pub(super) channel: u32,
    /// The reader's place in the channel.
    pub(super) place: u32,
    pub(super) reading: Reading,
}

/// The end of a connection that is under way.
pub(super) struct Closing {
    pub(super) end: End,
    /// Then it is cut.
    pub(super) until: Instant,
}

impl<S: Socket> Client<S> {
    pub(super) fn new(
        socket: S,
        peer: SocketAddr,
        place: Option<Place>,
        limits: &Arc<ClientLimits>,
        now: Instant,
        ping_at: Instant,
        news_next: u64,
    ) -> Self {
        Self {
            socket,
            peer,
            place,
            reader: FrameReader::new(limits.message_bytes_max),
            session: ClientSession::new(limits.clone(), now),
            subs: Vec::new(),
            scan_from: 0,
            unsent: VecDeque::new(),
            replies: VecDeque::new(),
            news_next,
            opened_at: now,
            heard_at: now,
            said_at: now,
            ping_at,
            blocked_since: None,
            close_at: None,
            closing: None,
        }
    }

    /// Writes a batch; what the socket does not take is kept, and the client is blocked until it takes more.
    ///
    /// # Errors
    /// The socket is broken.
    pub(super) fn write(
        &mut self,
        batch: &mut Vec<Bytes>,
        now: Instant,
        written: &mut u64,
    ) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            if done == batch.len() {
                break self.socket.flush();
            }
            let mut slices = [IoSlice::new(&[]); WRITE_MESSAGES];
            let count = batch.len() - done;
            for (slice, bytes) in slices.iter_mut().zip(&batch[done..]) {
                *slice = IoSlice::new(bytes);
            }
            match self.socket.write(&slices[..count.min(WRITE_MESSAGES)]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(mut taken) => {
                    *written += taken as u64;
                    while done < batch.len() && taken >= batch[done].len() {
                        taken -= batch[done].len();
                        done += 1;
                    }
                    if taken > 0 {
                        batch[done].advance(taken);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.unsent.extend(batch.drain(done..));
        batch.clear();
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked_since = Some(now);
                Ok(())
            }
            result => result,
        }
    }

    /// Keeps a batch that was not written yet.
    pub(super) fn put_back(&mut self, batch: &mut Vec<Bytes>) {
        self.unsent.extend(batch.drain(..));
    }
}

impl<S> Client<S> {
    /// Moves what was kept into the next batch.
    pub(super) fn take_unsent(&mut self, batch: &mut Vec<Bytes>, most: usize) {
        if !self.unsent.is_empty() {
            let count = most.min(self.unsent.len());
            batch.extend(self.unsent.drain(..count));
            if self.unsent.is_empty() {
                self.unsent = VecDeque::new();
            }
        }
    }
}
