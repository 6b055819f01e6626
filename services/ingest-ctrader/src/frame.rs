use bytes::{Bytes, BytesMut};
use tickcast_model::{Cause, CauseKind};

/// Largest frame accepted, the venue SDK's own bound, in bytes (facts 1).
pub(crate) const FRAME_BYTES_MAX: usize = 15_000_000;

/// Room kept for the next bytes; what a long frame needed beyond it is given back.
const KEPT_BYTES: usize = 128 * 1024;

/// Cuts the byte stream into frames: a 4-byte big-endian length that counts what follows it, then that many bytes
/// (facts 1).
///
/// The length is checked before anything is allocated for it, so a broken peer cannot make us reserve memory.
#[derive(Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
}

impl FrameReader {
    /// Takes bytes as they came off the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        // Frames are taken out until there is none, so what is left to move is part of one.
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEPT_BYTES);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame without its length, if it is there.
    ///
    /// # Errors
    /// [`CauseKind::Protocol`] for a length of zero or above `FRAME_BYTES_MAX`: the stream cannot be followed further.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, Cause> {
        let Some(prefix) = self.buffer[self.start..].first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(Cause::new(CauseKind::Protocol, format!("a frame of {length} bytes")));
        }
        let from = self.start + 4;
        let Some(frame) = self.buffer.get(from..from + length) else { return Ok(None) };
        self.start = from + length;
        Ok(Some(frame))
    }
}

/// Puts the length in front of an encoded envelope.
pub(crate) fn frame(body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + body.len());
    // Our own requests are a few kilobytes at most.
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(body);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(reader: &mut FrameReader) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| reader.next_frame().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_its_bytes_come() {
        for prefix in [0u32, 15_000_001, u32::MAX] {
            let mut reader = FrameReader::default();
            reader.push(&prefix.to_be_bytes());
            assert_eq!(reader.next_frame().unwrap_err().kind, CauseKind::Protocol);
            assert!(reader.buffer.capacity() < 1024, "nothing was reserved for it");
        }
    }

    #[test]
    fn the_largest_frame_is_waited_for() {
        let mut reader = FrameReader::default();
        reader.push(&15_000_000u32.to_be_bytes());
        assert_eq!(reader.next_frame().unwrap(), None);
    }

    #[test]
    fn the_room_of_a_long_frame_is_given_back() {
        let mut reader = FrameReader::default();
        reader.push(&frame(&vec![7; 10 * KEPT_BYTES]));
        assert_eq!(read_all(&mut reader).len(), 1);
        reader.push(&frame(&[7]));
        assert_eq!(read_all(&mut reader), [[7]]);
        assert!(reader.buffer.capacity() <= KEPT_BYTES);
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_wherever_the_stream_is_cut(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..20),
            cuts in proptest::collection::vec(1usize..20, 1..50),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body).to_vec()).collect();
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            let mut rest = stream.as_slice();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                reader.push(piece);
                seen.extend(read_all(&mut reader));
                rest = after;
            }
            prop_assert_eq!(seen, bodies);
        }
    }
}
