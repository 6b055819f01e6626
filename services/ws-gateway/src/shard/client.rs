use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::channels::Channels;
use super::rates::Rates;
use super::resume::Parked;
use super::sub::{Sub, special};
use super::{Arrival, Socket, code};
use crate::form::Form;
use crate::limits::{ClientLimits, Place};
use crate::reply::Replies;
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
    /// What it reads, in the order of the channels' numbers.
    pub(super) subs: Vec<Sub>,
    /// Where in `subs` the next write begins.
    pub(super) scan_from: u32,
    /// What the socket did not take of the last write.
    unsent: Bytes,
    pub(super) form: Form,
    /// What it is told before its ticks.
    pub(super) replies: Replies,
    /// Where it has symbols in mode `latest`.
    pub(super) rates: Option<Box<Rates>>,
    /// What it asked for and is not answered yet; most have none.
    #[expect(clippy::box_collection, reason = "eight bytes instead of twenty-four for each client")]
    pub(super) parked: Option<Box<Vec<Parked>>>,
    /// Number of the next message to everybody.
    pub(super) news_next: u64,
    pub(super) opened_at: Instant,
    pub(super) heard_at: Instant,
    pub(super) said_at: Instant,
    pub(super) ping_at: Instant,
    /// Since when the socket takes nothing.
    pub(super) blocked_since: Option<Instant>,
    /// Since when the socket has not taken everything there was, or what was pending was last passed over.
    pub(super) behind_since: Option<Instant>,
    /// What was pending was passed over since it last had everything.
    pub(super) is_slow: bool,
    /// When it is closed because the gateway stops.
    pub(super) close_at: Option<Instant>,
    pub(super) closing: Option<Closing>,
}

/// The end of a connection that is under way.
pub(super) struct Closing {
    pub(super) end: End,
    /// Then it is cut.
    pub(super) until: Instant,
}

impl<S: Socket> Client<S> {
    pub(super) fn new(
        arrival: Arrival<S>,
        limits: &Arc<ClientLimits>,
        now: Instant,
        ping_at: Instant,
        news_next: u64,
    ) -> Self {
        Self {
            socket: arrival.socket,
            peer: arrival.peer,
            place: arrival.place,
            reader: FrameReader::new(limits.message_bytes_max),
            session: ClientSession::new(limits.clone(), now),
            subs: Vec::new(),
            scan_from: 0,
            unsent: Bytes::new(),
            form: arrival.form,
            replies: Replies::default(),
            rates: None,
            parked: None,
            behind_since: None,
            is_slow: false,
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

    /// True where nothing but shared frames can be there for it: no rest of a write, no reply, no news, no end.
    pub(super) fn has_only_frames(&self, notes_end: u64) -> bool {
        self.unsent.is_empty()
            && self.replies.is_empty()
            && self.news_next == notes_end
            && self.closing.is_none()
            && self.form.is_text()
            && self.behind_since.is_none()
    }

    /// What it takes beyond itself, bytes.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.unsent.len() + self.replies.held_bytes() + self.subs.capacity() * size_of::<Sub>()
    }

    /// It has been behind for too long: each symbol of which every tick is wanted goes on with the newest.
    pub(super) fn pass_over(&mut self, channels: &Channels, now: Instant) {
        self.behind_since = Some(now);
        self.is_slow = true;
        for sub in &mut self.subs {
            if sub.wants_every() && channels.feed_beyond(sub).is_some() {
                sub.set(special::JUMPS);
            }
        }
    }

    /// Writes bytes; what the socket does not take is kept, and the client is blocked until it takes more.
    ///
    /// # Errors
    /// The socket is broken.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8], now: Instant, written: &mut u64) -> io::Result<()> {
        match self.socket.write(bytes) {
            // Nearly always all of it goes in one go.
            Ok(taken) if taken == bytes.len() => {
                *written += taken as u64;
                match self.socket.flush() {
                    Ok(()) => Ok(()),
                    Err(error) => self.blocked(error, &[], now),
                }
            }
            Ok(taken) => {
                *written += taken as u64;
                self.write_rest(&bytes[taken..], now, written)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.write_rest(bytes, now, written),
            Err(error) => self.blocked(error, bytes, now),
        }
    }

    #[cold]
    fn write_rest(&mut self, mut bytes: &[u8], now: Instant, written: &mut u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    *written += taken as u64;
                    bytes = &bytes[taken..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.blocked(error, bytes, now),
            }
        }
        self.socket.flush().or_else(|error| self.blocked(error, &[], now))
    }

    /// Keeps what a socket did not take that can take more later.
    #[cold]
    fn blocked(&mut self, error: io::Error, rest: &[u8], now: Instant) -> io::Result<()> {
        if !rest.is_empty() {
            self.unsent = Bytes::copy_from_slice(rest);
        }
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        self.blocked_since = Some(now);
        self.behind_since.get_or_insert(now);
        Ok(())
    }

    /// Writes what was kept, if anything; after that the client may be blocked again.
    ///
    /// # Errors
    /// The socket is broken.
    pub(super) fn write_kept(&mut self, now: Instant, written: &mut u64) -> io::Result<()> {
        if self.unsent.is_empty() {
            return self.socket.flush().or_else(|error| self.blocked(error, &[], now));
        }
        let kept = std::mem::take(&mut self.unsent);
        self.write(&kept, now, written)
    }
}
