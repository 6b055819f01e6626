use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::Uri;
use http::header::RETRY_AFTER;
use tickcast_model::{Cause, CauseKind};
use tickcast_session::{Ending, Retry};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::client::{ClientHandshake, Response};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{ClientRequestBuilder, Error, Message, Utf8Bytes, WebSocket};

/// A WebSocket without a socket: bytes of the connection go in and come out, text messages come out and go in.
///
/// The library speaks to two buffers instead of a stream, so the handshake and the frames are part of what a session
/// decides from bytes alone, and are cut, repeated and simulated like everything else of it.
pub(crate) struct Socket {
    state: State,
}

enum State {
    Shaking(Box<MidHandshake<ClientHandshake<Pipe>>>),
    Open(Box<WebSocket<Pipe>>),
    Over,
}

/// What stands in for the stream.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) incoming: BytesMut,
    pub(crate) outgoing: BytesMut,
}

/// Who is asked for the upgrade, and how.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    /// Where to, with path and query.
    pub(crate) uri: Uri,
    /// What is said to be the page that asks (facts 1.3).
    pub(crate) origin: String,
}

/// Who we are; nothing pretends to be a browser (facts 7).
const USER_AGENT: &str = concat!("tickcast/", env!("CARGO_PKG_VERSION"));
/// What ends the head of an HTTP answer, and how long that may be.
const HEAD_END: &[u8] = b"\r\n\r\n";
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest message taken; facts 2.1 ask for 8 MiB at least.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes read into the library's buffer at once.
const READ_BYTES: usize = 16 << 10;
/// A venue that refuses us for asking too often is not asked for this long, where it does not say how long.
const SLOW_DOWN: Duration = Duration::from_secs(60);

impl Socket {
    /// Begins the handshake; its request is the first thing that comes out.
    ///
    /// # Errors
    /// Where no request can be made of these settings.
    pub(crate) fn new(upgrade: &Upgrade) -> Result<Self, Ending> {
        let request = ClientRequestBuilder::new(upgrade.uri.clone())
            .with_header("Origin", &upgrade.origin)
            .with_header("User-Agent", USER_AGENT)
            .into_client_request();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let shaking = request
            .and_then(|request| ClientHandshake::start(Pipe::default(), request, Some(config)))
            .map_err(|error| ending(&error))?;
        let mut socket = Self { state: State::Shaking(Box::new(shaking)) };
        socket.shake()?;
        Ok(socket)
    }

    /// True once the venue has agreed to speak WebSocket.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Takes bytes of the connection, cut anywhere.
    ///
    /// # Errors
    /// Why there will be no WebSocket.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Ending> {
        let is_shaking = matches!(self.state, State::Shaking(_));
        let Some(pipe) = self.pipe() else { return Ok(()) };
        pipe.incoming.extend_from_slice(bytes);
        // The library takes an answer in many small pieces for an attack, so it gets the head whole.
        if is_shaking && !pipe.incoming.windows(HEAD_END.len()).any(|bytes| bytes == HEAD_END) {
            if pipe.incoming.len() > HEAD_BYTES_MAX {
                return Err(protocol("the answer to the upgrade has no end").into());
            }
            return Ok(());
        }
        self.shake()
    }

    /// The next text message. One in binary is as good where it holds text (facts 2.1, opcode).
    ///
    /// # Errors
    /// Why the connection must end.
    pub(crate) fn next(&mut self) -> Result<Option<Utf8Bytes>, Ending> {
        let State::Open(socket) = &mut self.state else { return Ok(None) };
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(text)),
                Ok(Message::Binary(bytes)) => {
                    let text = Utf8Bytes::try_from(bytes);
                    return text.map(Some).map_err(|_| protocol("a binary message that is no text").into());
                }
                Ok(Message::Close(frame)) => {
                    let words = frame.map_or("without a code".into(), |frame| {
                        let reason: String =
                            frame.reason.chars().filter(|it| !it.is_control()).take(120).collect();
                        format!("code {} {reason}", u16::from(frame.code))
                    });
                    return Err(Cause::new(CauseKind::PeerClosed, words.trim_end()).into());
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(ending(&error)),
            }
        }
    }

    /// Queues a text message.
    ///
    /// # Errors
    /// Why the connection must end.
    pub(crate) fn send(&mut self, text: String) -> Result<(), Ending> {
        let State::Open(socket) = &mut self.state else { return Ok(()) };
        socket.send(Message::text(text)).map_err(|error| ending(&error))
    }

    /// Bytes for the connection.
    pub(crate) fn outgoing(&mut self) -> Option<Bytes> {
        let pipe = self.pipe()?;
        (!pipe.outgoing.is_empty()).then(|| pipe.outgoing.split().freeze())
    }

    fn pipe(&mut self) -> Option<&mut Pipe> {
        match &mut self.state {
            State::Shaking(shaking) => Some(shaking.get_mut().get_mut()),
            State::Open(socket) => Some(socket.get_mut()),
            State::Over => None,
        }
    }

    /// Goes on with the handshake as far as the bytes reach.
    fn shake(&mut self) -> Result<(), Ending> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Shaking(shaking) => match shaking.handshake() {
                Ok((socket, _)) => self.state = State::Open(Box::new(socket)),
                Err(HandshakeError::Interrupted(shaking)) => self.state = State::Shaking(Box::new(shaking)),
                Err(HandshakeError::Failure(error)) => return Err(ending(&error)),
            },
            state => self.state = state,
        }
        Ok(())
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = self.incoming.len().min(buffer.len());
        self.incoming.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn protocol(words: &str) -> Cause {
    Cause::new(CauseKind::Protocol, words)
}

fn ending(error: &Error) -> Ending {
    match error {
        Error::Http(response) => refused_upgrade(response),
        Error::ConnectionClosed | Error::AlreadyClosed => Cause::new(CauseKind::PeerClosed, "").into(),
        error => protocol(&error.to_string()).into(),
    }
}

/// What an HTTP answer other than "switching protocols" means (facts 1.3, 5.6).
fn refused_upgrade(response: &Response) -> Ending {
    let status = response.status();
    let said = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = said.map(|seconds| Duration::from_secs(seconds).min(SLOW_DOWN));
    let (kind, retry, advice) = match status.as_u16() {
        401 => (CauseKind::AuthRefused, Retry::Slowly, ""),
        403 => (
            CauseKind::VenueError,
            Retry::Slowly,
            ": the venue or an edge filter in front of it does not take this client; see TRADINGVIEW_ORIGIN",
        ),
        429 => (
            CauseKind::RateLimited,
            Retry::After(after.unwrap_or(SLOW_DOWN)),
            ": too many connections from this address",
        ),
        500..=599 => (CauseKind::VenueAway, after.map_or(Retry::Backoff, Retry::After), ""),
        _ => (CauseKind::BadRequest, Retry::Slowly, ": see TRADINGVIEW_URL"),
    };
    Ending {
        cause: Cause::new(kind, format!("WebSocket upgrade answered with HTTP {status}{advice}")),
        retry,
    }
}
