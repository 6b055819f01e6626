use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::Clock;

/// The right to act in one term of leadership: looked at before every byte to the venue and every message to the bus.
///
/// It ends by itself where nobody extends it, and once it has been found ended it never holds again: a process that was
/// paused past its term must not go on, whatever it hears first when it wakes.
#[derive(Clone, Debug)]
pub struct Fence {
    /// Goes on while the machine sleeps, as that of the others does.
    clock: Clock,
    /// Microseconds of the clock.
    until_us: Arc<AtomicU64>,
    broken: CancellationToken,
}

impl Fence {
    pub(crate) fn new(clock: Clock, until: Duration) -> Self {
        let fence = Self { clock, until_us: Arc::default(), broken: CancellationToken::new() };
        fence.until_us.store(micros(until), Ordering::Release);
        fence
    }

    /// A fence that never ends, for measuring and testing a dialler alone.
    pub fn open() -> Self {
        Self::new(Clock::start(), Duration::MAX)
    }

    /// Whether the term still runs.
    pub fn holds(&self) -> bool {
        if self.broken.is_cancelled() {
            return false;
        }
        let holds = micros(self.clock.elapsed()) < self.until_us.load(Ordering::Acquire);
        if !holds {
            self.broken.cancel();
        }
        holds
    }

    /// Moves the end; false where it was found ended before.
    pub(crate) fn extend(&self, until: Duration) -> bool {
        self.until_us.store(micros(until), Ordering::Release);
        !self.broken.is_cancelled()
    }

    /// Ends the term now.
    pub(crate) fn end(&self) {
        self.broken.cancel();
    }

    /// Waits until the term was ended or found ended.
    pub(crate) async fn broken(&self) {
        self.broken.cancelled().await;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A stream that writes nothing once its fence has ended, not even a goodbye.
pub(crate) struct Fenced<T> {
    stream: T,
    fence: Fence,
}

impl<T> Fenced<T> {
    pub(crate) fn new(stream: T, fence: Fence) -> Self {
        Self { stream, fence }
    }

    fn check(&self) -> io::Result<()> {
        if self.fence.holds() {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "the term of this process is over"))
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Fenced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Fenced<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_fence_found_ended_stays_ended() {
        let clock = Clock::start();
        let fence = Fence::new(clock, clock.elapsed() + Duration::from_secs(60));
        assert!(fence.holds());
        assert!(fence.extend(Duration::ZERO), "nobody has looked yet");
        assert!(fence.extend(clock.elapsed() + Duration::from_secs(60)));
        assert!(fence.holds());
        fence.extend(clock.elapsed());
        assert!(!fence.holds());
        assert!(!fence.extend(Duration::MAX));
        assert!(!fence.holds());
    }

    #[tokio::test]
    async fn nothing_is_written_behind_an_ended_fence_and_everything_before() {
        let (near, mut far) = tokio::io::duplex(64);
        let fence = Fence::open();
        let mut near = Fenced::new(near, fence.clone());
        near.write_all(b"before").await.unwrap();
        fence.end();
        let error = near.write_all(b"after").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let slices = [io::IoSlice::new(b"after")];
        assert!(near.write_vectored(&slices).await.is_err());
        drop(near);
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "before");
    }
}
