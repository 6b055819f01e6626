use std::fmt::Write as _;

use crate::LoadError;

/// The longest line of the protocol that is read, bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The largest payload read, bytes.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// What a NATS server says to a client, as far as a load tool cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NatsEvent<'a> {
    /// The payload of a `MSG`.
    Message(&'a [u8]),
    /// To be answered with `PONG`.
    Ping,
    /// `-ERR` with its words.
    Error(&'a [u8]),
}

/// Takes a NATS server's bytes in any pieces and gives what they say.
///
/// Over WebSocket the frames' payloads are the bytes: a frame may hold half a message or many.
#[derive(Default)]
pub struct NatsReader {
    partial: Vec<u8>,
}

impl NatsReader {
    /// Takes the next bytes and calls `each` for everything they complete.
    ///
    /// # Errors
    /// [`LoadError::Nats`] where the bytes are not a server's.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(NatsEvent<'_>)) -> Result<(), LoadError> {
        if self.partial.is_empty() {
            let used = read(bytes, &mut each)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            self.partial.extend_from_slice(bytes);
            let used = read(&self.partial, &mut each)?;
            self.partial.drain(..used);
        }
        Ok(())
    }
}

/// What a client says first: no acknowledgements, its subscriptions, and a ping that makes the server answer.
pub fn nats_greeting(subjects: impl Iterator<Item = String>) -> String {
    let mut text = String::from(
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"loadgen\",\"version\":\"0\"}\r\n",
    );
    for (number, subject) in subjects.enumerate() {
        let _ = write!(text, "SUB {subject} {}\r\n", number + 1);
    }
    text.push_str("PING\r\n");
    text
}

/// Reads everything whole at the start of `bytes` and says how many bytes it was.
fn read(bytes: &[u8], each: &mut impl FnMut(NatsEvent<'_>)) -> Result<usize, LoadError> {
    let mut used = 0;
    loop {
        let rest = &bytes[used..];
        let Some(end) = rest.windows(2).take(LINE_BYTES_MAX).position(|pair| pair == b"\r\n") else {
            return if rest.len() > LINE_BYTES_MAX {
                Err(LoadError::Nats("an endless line"))
            } else {
                Ok(used)
            };
        };
        let line = &rest[..end];
        let after = end + 2;
        if let Some(head) = line.strip_prefix(b"MSG ") {
            let length =
                head.rsplit(|byte| *byte == b' ').next().and_then(|text| std::str::from_utf8(text).ok());
            let length: usize = length
                .and_then(|text| text.parse().ok())
                .filter(|length| *length <= PAYLOAD_BYTES_MAX)
                .ok_or(LoadError::Nats("a message without a length"))?;
            let Some(payload) = rest.get(after..after + length + 2) else { return Ok(used) };
            let payload =
                payload.strip_suffix(b"\r\n").ok_or(LoadError::Nats("a message of another length"))?;
            each(NatsEvent::Message(payload));
            used += after + length + 2;
            continue;
        }
        match line {
            b"PING" => each(NatsEvent::Ping),
            b"PONG" | b"+OK" => {}
            _ if line.starts_with(b"INFO ") => {}
            _ => match line.strip_prefix(b"-ERR ") {
                Some(words) => each(NatsEvent::Error(words)),
                None => return Err(LoadError::Nats("an unknown line")),
            },
        }
        used += after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<String>, LoadError> {
        let mut reader = NatsReader::default();
        let mut seen = Vec::new();
        for part in bytes.chunks(piece) {
            reader.feed(part, |event| {
                seen.push(match event {
                    NatsEvent::Message(payload) => format!("message {}", String::from_utf8_lossy(payload)),
                    NatsEvent::Ping => "ping".into(),
                    NatsEvent::Error(words) => format!("error {}", String::from_utf8_lossy(words)),
                });
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn a_session_reads_the_same_in_any_pieces() {
        let bytes = b"INFO {\"x\":1}\r\nPONG\r\nMSG a.b 1 5\r\nhe\r\no\r\nMSG a.b 1 reply 0\r\n\r\nPING\r\n-ERR 'no'\r\nMSG x 2 3\r\nab";
        for piece in [bytes.len(), 40, 7, 1] {
            let seen = read_in_pieces(bytes, piece).unwrap();
            assert_eq!(seen, ["message he\r\no", "message ", "ping", "error 'no'"], "in pieces of {piece}");
        }
    }

    #[test]
    fn what_no_server_says_is_refused() {
        for bad in ["HELLO\r\n", "MSG a 1 x\r\n", "MSG a 1 99999999999\r\n", "MSG a 1 1\r\nabc"] {
            assert!(read_in_pieces(bad.as_bytes(), bad.len()).is_err(), "{bad}");
        }
        assert!(read_in_pieces(&vec![b'x'; LINE_BYTES_MAX + 2], 1000).is_err());
    }

    #[test]
    fn a_greeting_subscribes_everything() {
        let text = nats_greeting(["a", "b"].map(str::to_owned).into_iter());
        assert!(text.starts_with("CONNECT {") && text.ends_with("\r\nSUB a 1\r\nSUB b 2\r\nPING\r\n"));
    }
}
