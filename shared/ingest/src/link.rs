use std::future::{self, Future};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tickcast_model::{Cause, CauseKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::Instant;

use crate::{Dial, Fence, Transport};

/// The one connection of a venue, or its absence.
pub(crate) enum Link {
    Down,
    Dialling(Dialling),
    Up(Wire),
}

type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, Cause>> + Send>>;

pub(crate) struct Wire {
    reading: ReadHalf<Box<dyn Transport>>,
    writing: WriteHalf<Box<dyn Transport>>,
    unsent: BytesMut,
    unflushed: bool,
    /// When the venue must have taken what is being written.
    write_by: Option<Instant>,
}

/// What happened on the connection.
pub(crate) enum LinkEvent {
    Dialled(Result<(), Cause>),
    Received,
    Ended(Cause),
}

/// A write the venue does not take for so long means that nobody reads there.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Bytes waiting to be written at most; our requests are small, so more means that nobody reads there.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// Time for an orderly close, which never ends against a half-open peer (cTrader facts 1).
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

impl Link {
    /// Begins to open a connection.
    pub(crate) fn dial(dialler: &impl Dial, fence: Fence) -> Self {
        let dialler = dialler.clone();
        Self::Dialling(Box::pin(async move { dialler.dial(fence).await }))
    }

    /// Takes over a connection that is open.
    pub(crate) fn over(stream: Box<dyn Transport>) -> Self {
        Self::Up(Wire::new(stream))
    }

    /// Queues bytes; [`Link::next`] writes them.
    pub(crate) fn send(&mut self, bytes: &Bytes) {
        if let Self::Up(wire) = self {
            wire.unsent.extend_from_slice(bytes);
            wire.write_by.get_or_insert_with(|| Instant::now() + WRITE_WITHIN);
        }
    }

    /// Moves bytes until something happened that has to be told. What was read is in `received`.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped: bytes are either in a buffer or not yet taken off it.
    pub(crate) async fn next(&mut self, received: &mut BytesMut) -> LinkEvent {
        match self {
            Self::Down => future::pending().await,
            Self::Dialling(dialling) => {
                let result = dialling.await;
                LinkEvent::Dialled(match result {
                    Ok(stream) => {
                        *self = Self::Up(Wire::new(stream));
                        Ok(())
                    }
                    Err(cause) => {
                        *self = Self::Down;
                        Err(cause)
                    }
                })
            }
            Self::Up(wire) => {
                received.reserve(READ_BYTES);
                wire.next(received).await
            }
        }
    }

    /// Ends whatever there is, in order where the venue lets us.
    pub(crate) async fn close(&mut self) {
        if let Self::Up(mut wire) = std::mem::replace(self, Self::Down) {
            let _ = tokio::time::timeout(CLOSE_WITHIN, wire.writing.shutdown()).await;
        }
    }
}

impl Wire {
    fn new(stream: Box<dyn Transport>) -> Self {
        let (reading, writing) = tokio::io::split(stream);
        Self { reading, writing, unsent: BytesMut::new(), unflushed: false, write_by: None }
    }

    async fn next(&mut self, received: &mut BytesMut) -> LinkEvent {
        if self.unsent.len() > UNSENT_BYTES_MAX {
            return LinkEvent::Ended(Cause::new(CauseKind::Reset, "the venue does not read what is sent"));
        }
        loop {
            let busy = self.unflushed || !self.unsent.is_empty();
            let write_by = self.write_by;
            let overdue = async move {
                match write_by {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                read = self.reading.read_buf(received) => return match read {
                    Ok(0) => LinkEvent::Ended(Cause::new(CauseKind::PeerClosed, "")),
                    Ok(_) => LinkEvent::Received,
                    Err(error) => LinkEvent::Ended(ended(&error)),
                },
                drained = drain(&mut self.writing, &mut self.unsent, &mut self.unflushed), if busy => {
                    if let Err(error) = drained {
                        return LinkEvent::Ended(ended(&error));
                    }
                    self.write_by = None;
                }
                () = overdue => {
                    let waited = WRITE_WITHIN.as_secs();
                    return LinkEvent::Ended(Cause::new(CauseKind::Reset, format!("a write took more than {waited} s")));
                }
            }
        }
    }
}

/// Writes and flushes everything. Cancel safe: what is left to do stays in the two states.
async fn drain(
    writing: &mut WriteHalf<Box<dyn Transport>>,
    unsent: &mut BytesMut,
    unflushed: &mut bool,
) -> io::Result<()> {
    while !unsent.is_empty() {
        if writing.write_buf(unsent).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *unflushed = true;
    }
    writing.flush().await?;
    *unflushed = false;
    Ok(())
}

/// TLS reports a connection that ends without its closing message as an unexpected end; venues do that all the time.
fn ended(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Cause::new(CauseKind::PeerClosed, "without a TLS goodbye"),
        io::ErrorKind::InvalidData => Cause::new(CauseKind::Tls, error.to_string()),
        _ => Cause::new(CauseKind::Reset, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    /// The other end of a half-open connection: it says nothing, takes nothing and finishes nothing.
    struct Deaf;

    impl AsyncRead for Deaf {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Deaf {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// cTrader facts 4, row 17.
    #[tokio::test]
    async fn a_goodbye_that_is_never_answered_does_not_hold_up_the_next_connection() {
        let mut link = Link::over(Box::new(Deaf));
        tokio::time::timeout(10 * CLOSE_WITHIN, link.close()).await.expect("it ends by itself");
        assert!(matches!(link, Link::Down));
    }
}
