//! WebSocket frames (RFC 6455) as the gateway writes and reads them: shared and unmasked out, small and masked in.

use bytes::{BufMut as _, Bytes};

use crate::reply::Reply;

/// The longest payload of a ping, pong or close frame, in bytes (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A whole text frame, ready for any number of sockets.
pub fn text_frame(message: &[u8]) -> Bytes {
    frame(TEXT, message)
}

/// Appends a text frame.
pub fn put_text(message: &[u8], out: &mut Vec<u8>) {
    put_frame(TEXT, message, out);
}

/// Appends a text frame of a message in two pieces.
pub fn put_text_of(beginning: &[u8], end: &[u8], out: &mut Vec<u8>) {
    put_header(TEXT, beginning.len() + end.len(), out);
    out.put_slice(beginning);
    out.put_slice(end);
}

/// Appends a close frame; the reason is cut where it does not fit.
fn put_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let most = CONTROL_BYTES_MAX - 2;
    let end = (0..=most.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    put_frame(CLOSE, &payload, out);
}

/// Appends what is said to one client.
pub fn put_reply(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Message(json) => put_text(json, out),
        Reply::Ping => put_frame(PING, &[], out),
        Reply::Pong(payload) => put_frame(PONG, payload, out),
        Reply::Close(code, reason) => put_close(*code, reason, out),
    }
}

/// Begins a binary frame whose payload is appended next; gives what [`finish_binary`] wants to know.
pub fn begin_binary(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    at
}

/// Ends the binary frame begun at `at`, whose payload of at most 65,535 bytes is all that was appended since. One without a
/// payload is taken back.
pub fn finish_binary(at: usize, out: &mut Vec<u8>) {
    let payload = out.len() - at - HEADER_BYTES;
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(0), _) => out.truncate(at),
        (Ok(short @ ..=125), _) => {
            // Room was left for a longer header than this.
            out.copy_within(at + HEADER_BYTES.., at + 2);
            out.truncate(at + 2 + payload);
            out[at..at + 2].copy_from_slice(&[0x80 | BINARY, short]);
        }
        (_, middle) => {
            let [high, low] = middle.unwrap_or(u16::MAX).to_be_bytes();
            out[at..at + HEADER_BYTES].copy_from_slice(&[0x80 | BINARY, 126, high, low]);
        }
    }
}

/// The header of a frame of up to 65,535 bytes.
const HEADER_BYTES: usize = 4;

/// The payload of a frame written here: what follows its header.
pub fn payload_of(frame: &Bytes) -> Bytes {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.slice(header.min(frame.len())..)
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let header = match payload.len() {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    // Exactly as long as it gets: then it becomes shared without another allocation.
    let mut out = Vec::with_capacity(header + payload.len());
    put_frame(opcode, payload, &mut out);
    out.into()
}

fn put_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    put_header(opcode, payload.len(), out);
    out.put_slice(payload);
}

fn put_header(opcode: u8, length: usize, out: &mut Vec<u8>) {
    out.put_u8(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => out.put_u8(short),
        (_, Ok(middle)) => {
            out.put_u8(126);
            out.put_u16(middle);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
}

/// What a client sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message; nobody here wants to know what was in it.
    Binary,
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// An answer to one of our pings.
    Pong,
    /// The client ends the connection, with this code if it gave one.
    Close(Option<u16>),
}

/// Why the bytes of a client cannot be read any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// They are not the protocol.
    Protocol,
    /// A message is longer than allowed.
    TooBig,
    /// A text is not UTF-8.
    NotText,
}

/// Reads a client's frames from bytes cut anywhere. It holds memory only while a message is incomplete.
#[derive(Debug)]
pub struct FrameReader {
    message_bytes_max: usize,
    buffer: Vec<u8>,
    /// The message under way, where it comes in several frames.
    partial: Option<Box<Partial>>,
}

#[derive(Debug)]
struct Partial {
    is_text: bool,
    payload: Vec<u8>,
}

/// The header of one frame.
struct Header {
    is_last: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of the header itself.
    length: usize,
    payload: usize,
}

impl FrameReader {
    /// A reader that refuses messages longer than this, before their bytes have come.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, buffer: Vec::new(), partial: None }
    }

    /// Takes bytes as they came off the socket and hands out the messages that are whole now.
    ///
    /// # Errors
    /// Why nothing further can be read; what was whole before that was handed out.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(Received)) -> Result<(), Broken> {
        if self.buffer.is_empty() {
            // The usual case: whole frames, read where they are.
            let mut owned = Vec::new();
            let mut rest = bytes;
            while let Some(used) = self.next(rest, &mut owned, &mut each)? {
                rest = &rest[used..];
            }
            self.buffer.extend_from_slice(rest);
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut owned = Vec::new();
        let mut done = 0;
        while let Some(used) = self.next(&buffer[done..], &mut owned, &mut each)? {
            done += used;
        }
        if done < buffer.len() {
            buffer.drain(..done);
            self.buffer = buffer;
        }
        Ok(())
    }

    /// Reads one frame; `None` where it is not whole yet.
    fn next(
        &mut self,
        bytes: &[u8],
        payload: &mut Vec<u8>,
        each: &mut impl FnMut(Received),
    ) -> Result<Option<usize>, Broken> {
        let Some(header) = self.header(bytes)? else { return Ok(None) };
        let Some(masked) = bytes.get(header.length..header.length + header.payload) else { return Ok(None) };
        payload.clear();
        payload.extend(masked.iter().zip(header.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.take(&header, payload, each)?;
        Ok(Some(header.length + header.payload))
    }

    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, Broken> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (opcode, is_last) = (first & 0x0F, first & 0x80 != 0);
        // No extension is ever agreed on, and clients have to mask.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Broken::Protocol);
        }
        let (size, payload) = match second & 0x7F {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (2, u64::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (8, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            short => (0, u64::from(short)),
        };
        match opcode {
            CLOSE | PING | PONG if !is_last || payload > CONTROL_BYTES_MAX as u64 => {
                return Err(Broken::Protocol);
            }
            CLOSE | PING | PONG => {}
            CONTINUATION if self.partial.is_none() => return Err(Broken::Protocol),
            TEXT | BINARY if self.partial.is_some() => return Err(Broken::Protocol),
            CONTINUATION | TEXT | BINARY => {
                let before = self.partial.as_ref().map_or(0, |partial| partial.payload.len());
                let room = self.message_bytes_max.saturating_sub(before) as u64;
                if payload > room {
                    return Err(Broken::TooBig);
                }
            }
            _ => return Err(Broken::Protocol),
        }
        let Some(mask) = rest.get(size..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
        // Checked above to be at most the message limit or 125.
        let payload = usize::try_from(payload).map_err(|_| Broken::TooBig)?;
        Ok(Some(Header { is_last, opcode, mask: *mask, length: 2 + size + 4, payload }))
    }

    fn take(
        &mut self,
        header: &Header,
        payload: &[u8],
        each: &mut impl FnMut(Received),
    ) -> Result<(), Broken> {
        match header.opcode {
            PING => each(Received::Ping(payload.to_vec())),
            PONG => each(Received::Pong),
            CLOSE => each(Received::Close(close_code(payload)?)),
            TEXT | BINARY if header.is_last => each(message(header.opcode == TEXT, payload.to_vec())?),
            TEXT | BINARY => {
                let partial = Partial { is_text: header.opcode == TEXT, payload: payload.to_vec() };
                self.partial = Some(Box::new(partial));
            }
            _ => {
                let Some(mut partial) = self.partial.take() else { return Err(Broken::Protocol) };
                partial.payload.extend_from_slice(payload);
                if header.is_last {
                    each(message(partial.is_text, partial.payload)?);
                } else {
                    self.partial = Some(partial);
                }
            }
        }
        Ok(())
    }
}

fn message(is_text: bool, payload: Vec<u8>) -> Result<Received, Broken> {
    if is_text {
        String::from_utf8(payload).map(Received::Text).map_err(|_| Broken::NotText)
    } else {
        Ok(Received::Binary)
    }
}

/// The code of a close frame (RFC 6455 section 7.4): codes that only stand for something local are not to be sent.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Broken> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Broken::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    match std::str::from_utf8(reason) {
        Ok(_) if may_be_sent => Ok(Some(code)),
        Ok(_) => Err(Broken::Protocol),
        Err(_) => Err(Broken::NotText),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
    use tokio_tungstenite::tungstenite::{Error, Message};

    use super::*;

    /// A client's frame as the published library writes it.
    fn masked(opcode: OpCode, is_final: bool, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut out = Vec::new();
        Frame::from_payload(header, payload.to_vec().into()).format(&mut out).unwrap();
        out
    }

    fn text(payload: &str) -> Vec<u8> {
        masked(OpCode::Data(Data::Text), true, payload.as_bytes(), [1, 2, 3, 4])
    }

    fn read(reader: &mut FrameReader, bytes: &[u8]) -> (Vec<Received>, Result<(), Broken>) {
        let mut seen = Vec::new();
        let result = reader.read(bytes, |received| seen.push(received));
        (seen, result)
    }

    #[test]
    fn what_is_written_is_read_by_the_published_library() {
        for length in [0usize, 1, 125, 126, 65_535, 65_536] {
            let payload = "x".repeat(length);
            let bytes = text_frame(payload.as_bytes());
            assert_eq!(payload_of(&bytes), payload.as_bytes());
            let mut socket =
                WebSocket::from_raw_socket(std::io::Cursor::new(bytes.to_vec()), Role::Client, None);
            assert_eq!(socket.read().unwrap(), Message::text(payload));
        }
        let mut close = Vec::new();
        put_close(4003, &"é".repeat(100), &mut close);
        let mut socket = WebSocket::from_raw_socket(std::io::Cursor::new(close), Role::Client, None);
        let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("no close") };
        assert_eq!(u16::from(close.code), 4003);
        assert!(close.reason.len() <= 123 && close.reason.starts_with('é'));
    }

    #[test]
    fn a_binary_frame_is_closed_when_its_payload_is_there() {
        for length in [0usize, 1, 125, 126, 65_535] {
            let mut out = b"before".to_vec();
            let at = begin_binary(&mut out);
            out.extend(std::iter::repeat_n(7, length));
            finish_binary(at, &mut out);
            let mut wanted = b"before".to_vec();
            if length > 0 {
                put_frame(BINARY, &vec![7; length], &mut wanted);
            }
            assert_eq!(out, wanted, "{length}");
        }
    }

    #[test]
    fn pieces_are_put_together_and_control_frames_may_come_between() {
        let mut bytes = masked(OpCode::Data(Data::Text), false, b"hel", [9; 4]);
        bytes.extend(masked(OpCode::Control(Control::Ping), true, b"p", [7; 4]));
        bytes.extend(masked(OpCode::Data(Data::Continue), true, b"lo", [5; 4]));
        let mut reader = FrameReader::new(100);
        let (seen, result) = read(&mut reader, &bytes);
        assert_eq!(seen, [Received::Ping(b"p".to_vec()), Received::Text("hello".into())]);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        let mut unmasked = text("a");
        unmasked[1] &= 0x7F;
        let mut reserved = text("a");
        reserved[0] |= 0x40;
        let mut unknown = text("a");
        unknown[0] = 0x83;
        let orphan = masked(OpCode::Data(Data::Continue), true, b"a", [0; 4]);
        let long_ping = masked(OpCode::Control(Control::Ping), true, &[0; 126], [0; 4]);
        let odd_close = masked(OpCode::Control(Control::Close), true, &[3], [0; 4]);
        let local_code = masked(OpCode::Control(Control::Close), true, &1006u16.to_be_bytes(), [0; 4]);
        for bytes in [unmasked, reserved, unknown, orphan, long_ping, odd_close, local_code] {
            assert_eq!(read(&mut FrameReader::new(100), &bytes).1, Err(Broken::Protocol), "{bytes:?}");
        }
        let not_text = masked(OpCode::Data(Data::Text), true, &[0xFF], [0; 4]);
        assert_eq!(read(&mut FrameReader::new(100), &not_text).1, Err(Broken::NotText));
    }

    #[test]
    fn a_message_too_big_is_refused_by_its_header_alone_and_also_in_pieces() {
        let whole = text(&"x".repeat(101));
        assert_eq!(read(&mut FrameReader::new(100), &whole[..8]).1, Err(Broken::TooBig));
        assert_eq!(read(&mut FrameReader::new(101), &whole).1, Ok(()));
        let mut reader = FrameReader::new(100);
        let first = masked(OpCode::Data(Data::Text), false, &[b'x'; 60], [0; 4]);
        assert_eq!(read(&mut reader, &first).1, Ok(()));
        let second = masked(OpCode::Data(Data::Continue), true, &[b'x'; 60], [0; 4]);
        assert_eq!(read(&mut reader, &second).1, Err(Broken::TooBig));
    }

    #[test]
    fn an_idle_reader_holds_no_memory() {
        let mut reader = FrameReader::new(100_000);
        let bytes = text(&"x".repeat(90_000));
        let (front, back) = bytes.split_at(70_000);
        assert!(read(&mut reader, front).0.is_empty());
        assert_eq!(read(&mut reader, back).0.len(), 1);
        assert_eq!((reader.buffer.capacity(), reader.partial.is_none()), (0, true));
    }

    /// What the published library makes of the same bytes.
    fn oracle(bytes: &[u8], most: usize) -> (Vec<Received>, bool) {
        struct ReadOnly<'a>(&'a [u8]);
        impl std::io::Read for ReadOnly<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if self.0.is_empty() {
                    return Err(std::io::ErrorKind::WouldBlock.into());
                }
                std::io::Read::read(&mut self.0, buffer)
            }
        }
        impl std::io::Write for ReadOnly<'_> {
            fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
                Ok(buffer.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let config = WebSocketConfig::default().max_message_size(Some(most)).max_frame_size(Some(most));
        let mut socket = WebSocket::from_raw_socket(ReadOnly(bytes), Role::Server, Some(config));
        let mut seen = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => seen.push(Received::Text(text.to_string())),
                Ok(Message::Binary(_)) => seen.push(Received::Binary),
                Ok(Message::Ping(payload)) => seen.push(Received::Ping(payload.to_vec())),
                Ok(Message::Pong(_)) => seen.push(Received::Pong),
                Ok(Message::Close(frame)) => {
                    seen.push(Received::Close(frame.map(|frame| frame.code.into())));
                    return (seen, true);
                }
                Ok(Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return (seen, true);
                }
                Err(_) => return (seen, false),
            }
        }
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let opcode = prop_oneof![
            4 => Just(OpCode::Data(Data::Text)),
            2 => Just(OpCode::Data(Data::Binary)),
            3 => Just(OpCode::Data(Data::Continue)),
            1 => Just(OpCode::Control(Control::Ping)),
            1 => Just(OpCode::Control(Control::Pong)),
        ];
        let payload = prop_oneof![
            8 => "[a-zé]{0,20}".prop_map(String::into_bytes),
            // Text that is none is refused earlier by the library, which looks into unfinished messages.
            1 => proptest::collection::vec(0u8..0x80, 0..40),
            1 => "[a-z]{126,200}".prop_map(String::into_bytes),
        ];
        (opcode, any::<[u8; 4]>(), prop::bool::weighted(0.7), payload).prop_map(
            |(opcode, mask, last, payload)| {
                let control = matches!(opcode, OpCode::Control(_));
                let payload = if control { &payload[..payload.len().min(125)] } else { &payload };
                masked(opcode, last || control, payload, mask)
            },
        )
    }

    proptest! {
        #[test]
        fn frames_are_read_like_the_published_library_reads_them_wherever_they_are_cut(
            frames in proptest::collection::vec(any_frame(), 0..12),
            cuts in proptest::collection::vec(1usize..40, 1..20),
        ) {
            let bytes = frames.concat();
            let (wanted, is_whole) = oracle(&bytes, 150);
            let mut reader = FrameReader::new(150);
            let (mut seen, mut result) = (Vec::new(), Ok(()));
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() && result.is_ok() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                let (more, now) = read(&mut reader, piece);
                seen.extend(more);
                result = now;
                rest = after;
            }
            prop_assert_eq!(result.is_ok(), is_whole);
            prop_assert_eq!(seen, wanted);
        }

        #[test]
        fn no_bytes_make_it_panic_or_hoard(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = FrameReader::new(64);
            for byte in bytes {
                if read(&mut reader, &[byte]).1.is_err() {
                    break;
                }
                prop_assert!(reader.buffer.len() <= 64 + 14 + 125);
            }
        }
    }
}
