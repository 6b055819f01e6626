use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Answer, FrameReader, LoadError, Message, Target, pong_frame};

/// Connecting and upgrading together may take this long.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that takes nothing for this long is stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes read at a time. One buffer serves all connections of a thread.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// One open WebSocket connection.
pub(crate) struct Connection {
    stream: TcpStream,
    reader: FrameReader,
    /// Frames that came along with the upgrade's answer.
    early: Vec<u8>,
}

/// What one read brought.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Bytes read.
    pub(crate) bytes: usize,
    /// Pings among them.
    pub(crate) pings: u64,
    /// The server's close, as a code; 1005 where it gave none.
    pub(crate) closed: Option<u16>,
}

impl Connection {
    /// Connects and upgrades.
    pub(crate) async fn open(target: &Target) -> Result<Self, LoadError> {
        timeout(OPEN_TIMEOUT, Self::open_now(target)).await.map_err(|_| LoadError::Timeout("connecting"))?
    }

    async fn open_now(target: &Target) -> Result<Self, LoadError> {
        let mut stream = TcpStream::connect(&target.authority).await?;
        stream.set_nodelay(true)?;
        stream.write_all(target.request().as_bytes()).await?;
        let mut answer = Answer::default();
        let mut bytes = [0; 1024];
        loop {
            stream.readable().await?;
            match stream.try_read(&mut bytes) {
                Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => {
                    if let Some(early) = answer.feed(&bytes[..count])? {
                        return Ok(Self { stream, reader: FrameReader::default(), early });
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until there is something to read.
    ///
    /// # Cancel safety
    /// Nothing is read here, so nothing is lost.
    pub(crate) async fn readable(&self) -> Result<(), LoadError> {
        if self.early.is_empty() {
            self.stream.readable().await?;
        }
        Ok(())
    }

    /// Reads what is there into `buffer` and gives `each` text message; answers the newest ping.
    pub(crate) async fn read(
        &mut self,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<Read, LoadError> {
        let early = std::mem::take(&mut self.early);
        let bytes = if early.is_empty() {
            match self.stream.try_read(buffer) {
                Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(Read::default()),
                Err(error) => return Err(error.into()),
            }
        } else {
            &early[..]
        };
        let mut read = Read { bytes: bytes.len(), ..Read::default() };
        let mut pong = None;
        self.reader.feed(bytes, |message| match message {
            Message::Text(text) => each(text),
            Message::Ping(payload) => {
                read.pings += 1;
                pong = Some(pong_frame(payload));
            }
            Message::Close(code) => read.closed = Some(code.unwrap_or(1005)),
            Message::Binary(_) | Message::Pong(_) => {}
        })?;
        if let Some(pong) = pong {
            self.send(&pong).await?;
        }
        Ok(read)
    }

    /// Writes one frame.
    pub(crate) async fn send(&mut self, frame: &[u8]) -> Result<(), LoadError> {
        match timeout(WRITE_TIMEOUT, self.stream.write_all(frame)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(LoadError::Timeout("writing")),
        }
    }
}
