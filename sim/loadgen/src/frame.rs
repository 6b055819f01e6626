use crate::LoadError;

/// The largest message read, bytes: a full catalogue of the largest venue fits several times.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A buffer larger than this, bytes, is given back as soon as it is empty, so an idle connection holds next to nothing.
const KEPT_BYTES_MAX: usize = 2048;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A whole message from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Text, not checked for UTF-8: what reads it does that.
    Text(&'a [u8]),
    /// Bytes.
    Binary(&'a [u8]),
    /// To be answered with a pong of the same bytes.
    Ping(&'a [u8]),
    /// The answer to a ping.
    Pong(&'a [u8]),
    /// The end, with its code where one was given.
    Close(Option<u16>),
}

/// Takes a server's bytes in any pieces and gives whole messages (RFC 6455, without extensions).
#[derive(Default)]
pub struct FrameReader {
    /// Start of a frame that has not come whole.
    partial: Vec<u8>,
    /// Fragments of a message that has not come whole, with its kind.
    fragments: Option<(u8, Vec<u8>)>,
}

impl FrameReader {
    /// Takes the next bytes and calls `each` for every message they complete.
    ///
    /// # Errors
    /// [`LoadError::Frame`] where the bytes are no server's frames or a message is above [`MESSAGE_BYTES_MAX`];
    /// the connection is of no use after that.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Message<'_>)) -> Result<(), LoadError> {
        let bytes = if self.partial.is_empty() { bytes } else { self.complete(bytes, &mut each)? };
        let used = self.read(bytes, &mut each)?;
        self.partial.extend_from_slice(&bytes[used..]);
        Ok(())
    }

    /// Completes the frame whose start is held, taking no more bytes than it needs; gives the bytes after it.
    fn complete<'a>(
        &mut self,
        mut bytes: &'a [u8],
        each: &mut impl FnMut(Message<'_>),
    ) -> Result<&'a [u8], LoadError> {
        let mut partial = std::mem::take(&mut self.partial);
        while !bytes.is_empty() {
            let wanted = match Header::read(&partial)? {
                None => partial.len() + 1,
                Some(header) => header.bytes + header.payload_bytes,
            };
            let (taken, after) = bytes.split_at(bytes.len().min(wanted.saturating_sub(partial.len())));
            partial.extend_from_slice(taken);
            bytes = after;
            let used = self.read(&partial, each)?;
            if used > 0 {
                partial.clear();
                break;
            }
        }
        if !partial.is_empty() || partial.capacity() <= KEPT_BYTES_MAX {
            self.partial = partial;
        }
        Ok(bytes)
    }

    /// Bytes held for messages that have not come whole.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.fragments.as_ref().map_or(0, |(_, bytes)| bytes.capacity())
    }

    /// Reads every whole frame at the start of `bytes` and says how many bytes they were.
    fn read(&mut self, bytes: &[u8], each: &mut impl FnMut(Message<'_>)) -> Result<usize, LoadError> {
        let mut used = 0;
        while let Some(header) = Header::read(&bytes[used..])? {
            let Some(payload) = bytes[used..].get(header.bytes..header.bytes + header.payload_bytes) else {
                break;
            };
            used += header.bytes + header.payload_bytes;
            self.take(&header, payload, each)?;
        }
        Ok(used)
    }

    fn take(
        &mut self,
        header: &Header,
        payload: &[u8],
        each: &mut impl FnMut(Message<'_>),
    ) -> Result<(), LoadError> {
        match header.opcode {
            PING => each(Message::Ping(payload)),
            PONG => each(Message::Pong(payload)),
            CLOSE => each(Message::Close(match payload {
                [high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
                [] => None,
                [_] => return Err(LoadError::Frame("a close frame with half a code")),
            })),
            TEXT | BINARY if self.fragments.is_some() => {
                return Err(LoadError::Frame("a message inside another"));
            }
            TEXT if header.last => each(Message::Text(payload)),
            BINARY if header.last => each(Message::Binary(payload)),
            TEXT | BINARY => self.fragments = Some((header.opcode, payload.to_vec())),
            CONTINUATION => {
                let Some((kind, mut message)) = self.fragments.take() else {
                    return Err(LoadError::Frame("a continuation of nothing"));
                };
                if message.len() + payload.len() > MESSAGE_BYTES_MAX {
                    return Err(LoadError::Frame("a message above the limit"));
                }
                message.extend_from_slice(payload);
                match (header.last, kind) {
                    (false, _) => self.fragments = Some((kind, message)),
                    (true, TEXT) => each(Message::Text(&message)),
                    (true, _) => each(Message::Binary(&message)),
                }
            }
            _ => return Err(LoadError::Frame("an unknown kind of frame")),
        }
        Ok(())
    }
}

struct Header {
    last: bool,
    opcode: u8,
    bytes: usize,
    payload_bytes: usize,
}

impl Header {
    /// The header at the start of `bytes`; `None` where it has not come whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, LoadError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(LoadError::Frame("an extension nobody agreed on"));
        }
        if second & 0x80 != 0 {
            return Err(LoadError::Frame("a masked frame from a server"));
        }
        let (last, opcode) = (first & 0x80 != 0, first & 0x0F);
        let (bytes, payload_bytes) = match (second & 0x7F, rest) {
            (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
            (126 | 127, _) => return Ok(None),
            (short, _) => (2, u64::from(short)),
        };
        if opcode >= CLOSE && (!last || payload_bytes > 125) {
            return Err(LoadError::Frame("a control frame in parts or too long"));
        }
        match usize::try_from(payload_bytes) {
            Ok(payload_bytes) if payload_bytes <= MESSAGE_BYTES_MAX => {
                Ok(Some(Self { last, opcode, bytes, payload_bytes }))
            }
            _ => Err(LoadError::Frame("a message above the limit")),
        }
    }
}

/// A client's text message as one frame.
pub fn text_frame(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes())
}

/// A client's binary message as one frame.
pub fn binary_frame(payload: &[u8]) -> Vec<u8> {
    frame(BINARY, payload)
}

/// The answer to a ping with these bytes.
pub fn pong_frame(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

/// A client's close with this code.
pub fn close_frame(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

/// Clients mask what they send. The mask guards intermediaries against chosen bytes, which a load tool does not send, so
/// a plain generator is enough.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | opcode);
    if payload.len() < 126 {
        frame.push(0x80 | u8::try_from(payload.len()).unwrap_or(0));
    } else if let Ok(length) = u16::try_from(payload.len()) {
        frame.push(0x80 | 126);
        frame.extend_from_slice(&length.to_be_bytes());
    } else {
        frame.push(0x80 | 127);
        frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    let mask = fastrand::u32(..).to_be_bytes();
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};

    use super::*;

    /// A message with bytes of its own, so it outlives the reader's call.
    #[derive(Clone, PartialEq, Eq, Debug)]
    enum Owned {
        Text(Vec<u8>),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<u16>),
    }

    fn owned(message: &Message<'_>) -> Owned {
        match *message {
            Message::Text(bytes) => Owned::Text(bytes.to_vec()),
            Message::Binary(bytes) => Owned::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Owned::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Owned::Pong(bytes.to_vec()),
            Message::Close(code) => Owned::Close(code),
        }
    }

    fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Owned>, LoadError> {
        let mut reader = FrameReader::default();
        let mut seen = Vec::new();
        for part in bytes.chunks(piece) {
            reader.feed(part, |message| seen.push(owned(&message)))?;
        }
        Ok(seen)
    }

    /// What a server writes, made by another implementation.
    fn server(opcode: OpCode, last: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let header = FrameHeader { is_final: last, opcode, ..FrameHeader::default() };
        Frame::from_payload(header, payload.to_vec().into()).format(&mut out).unwrap();
        out
    }

    #[test]
    fn a_session_reads_the_same_whole_in_halves_and_one_byte_at_a_time() {
        let long = vec![b'x'; 70_000];
        let mut bytes = server(OpCode::Data(Data::Text), true, b"{}");
        bytes.extend(server(OpCode::Data(Data::Text), false, b"ab"));
        bytes.extend(server(OpCode::Control(Control::Ping), true, b"p"));
        bytes.extend(server(OpCode::Data(Data::Continue), true, b"cd"));
        bytes.extend(server(OpCode::Data(Data::Binary), true, &long));
        bytes.extend(server(OpCode::Data(Data::Text), true, &long[..300]));
        bytes.extend(server(OpCode::Control(Control::Pong), true, b""));
        Frame::close(Some(CloseFrame { code: CloseCode::Away, reason: "bye".into() }))
            .format(&mut bytes)
            .unwrap();
        let expected = [
            Owned::Text(b"{}".to_vec()),
            Owned::Ping(b"p".to_vec()),
            Owned::Text(b"abcd".to_vec()),
            Owned::Binary(long.clone()),
            Owned::Text(long[..300].to_vec()),
            Owned::Pong(Vec::new()),
            Owned::Close(Some(1001)),
        ];
        for piece in [bytes.len(), bytes.len() / 2, 4096, 1000, 7, 1] {
            assert_eq!(read_in_pieces(&bytes, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn nothing_is_held_between_messages() {
        let mut reader = FrameReader::default();
        let bytes = server(OpCode::Data(Data::Text), true, &vec![b'x'; 100_000]);
        for part in bytes.chunks(1000) {
            reader.feed(part, |_| ()).unwrap();
        }
        assert!(reader.held_bytes() <= KEPT_BYTES_MAX, "{}", reader.held_bytes());
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        let masked = frame(TEXT, b"x");
        let cases: [&[u8]; 8] = [
            &masked,
            &[0xC1, 0x00],                                                // extension bit
            &[0x83, 0x00],                                                // unknown kind
            &[0x80, 0x01, b'x'],                                          // continuation of nothing
            &[0x09, 0x00],                                                // ping in parts
            &[0x89, 126, 0, 126],                                         // long ping
            &[0x88, 0x01, 0x03],                                          // half a code
            &[0x81, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], // endless
        ];
        for bytes in cases {
            assert!(read_in_pieces(bytes, bytes.len()).is_err(), "{bytes:?}");
        }
        let mut inside = server(OpCode::Data(Data::Text), false, b"a");
        inside.extend(server(OpCode::Data(Data::Text), true, b"b"));
        assert!(read_in_pieces(&inside, inside.len()).is_err());
    }

    #[test]
    fn another_implementation_reads_our_frames() {
        for length in [0usize, 1, 125, 126, 300, 65_535, 65_536] {
            let bytes = text_frame(&"y".repeat(length));
            let mut cursor = std::io::Cursor::new(bytes.as_slice());
            let (header, payload_bytes) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            assert_eq!(payload_bytes, length as u64);
            assert_eq!(header.opcode, OpCode::Data(Data::Text));
            let mask = header.mask.unwrap();
            let start = usize::try_from(cursor.position()).unwrap();
            let clear = bytes[start..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
            assert!(clear.eq(std::iter::repeat_n(b'y', length)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_hold_more_than_came(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..20,
        ) {
            let mut reader = FrameReader::default();
            for part in bytes.chunks(piece) {
                if reader.feed(part, |_| ()).is_err() {
                    break;
                }
                prop_assert!(reader.held_bytes() <= KEPT_BYTES_MAX + 4 * bytes.len());
            }
        }

        #[test]
        fn any_cut_gives_the_same_messages(
            texts in proptest::collection::vec("[a-z]{0,200}", 1..6), piece in 1usize..50,
        ) {
            let bytes: Vec<u8> =
                texts.iter().flat_map(|t| server(OpCode::Data(Data::Text), true, t.as_bytes())).collect();
            let expected: Vec<Owned> = texts.iter().map(|t| Owned::Text(t.clone().into_bytes())).collect();
            prop_assert_eq!(read_in_pieces(&bytes, piece).unwrap(), expected);
        }
    }
}
