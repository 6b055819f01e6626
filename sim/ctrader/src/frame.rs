//! Frames: a 4-byte big-endian length, then one encoded envelope (facts 1).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use crate::message::Payload;
use crate::wire::ProtoMessage;

/// Bytes of the length in front of each frame.
const PREFIX_BYTES: usize = 4;

/// Cuts a byte stream into frames, however it arrives.
///
/// Keeps at most one unfinished frame: a length is judged as soon as it is read, before anything is kept for it.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

/// Why a byte stream cannot be cut any further; the connection is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A frame announced no bytes at all.
    #[error("a frame of no bytes")]
    Empty,
    /// A frame announced more bytes than are accepted.
    #[error("a frame of {0} bytes is too long")]
    TooLong(u32),
    /// The bytes of a frame are not an envelope.
    #[error("a frame without an envelope")]
    Garbage,
}

impl FrameDecoder {
    /// A decoder that accepts frames of up to `frame_bytes_max` bytes, prefix not counted.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), frame_bytes_max }
    }

    /// Takes in what was read. Call [`FrameDecoder::next_envelope`] until it has no more, then push again.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole envelope, or `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] where the stream makes no sense from here on.
    pub fn next_envelope(&mut self) -> Result<Option<ProtoMessage>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*prefix);
        let len = announced as usize;
        if len == 0 {
            return Err(FrameError::Empty);
        }
        if len > self.frame_bytes_max {
            return Err(FrameError::TooLong(announced));
        }
        if self.buffer.len() < PREFIX_BYTES + len {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        let body = self.buffer.split_to(len).freeze();
        let envelope = ProtoMessage::decode(body).map_err(|_| FrameError::Garbage)?;
        if envelope.payload_type == 0 {
            return Err(FrameError::Garbage);
        }
        Ok(Some(envelope))
    }
}

/// Appends one framed message to `out`.
///
/// The envelope's payload is always written, even when it is empty: a published client needs it (facts 5.3).
pub fn put_frame<P: Payload>(out: &mut BytesMut, message: &P, client_msg_id: Option<&str>) {
    put_envelope(out, P::TYPE, message.encode_to_vec(), client_msg_id, &[]);
}

/// The same with fields no schema has, inside the message and in the envelope.
pub(crate) fn put_frame_with_unknown_fields<P: Payload>(
    out: &mut BytesMut,
    message: &P,
    client_msg_id: Option<&str>,
) {
    let mut payload = message.encode_to_vec();
    // Field 1000 as a number, field 1001 as text.
    payload.extend_from_slice(b"\xc0\x3e\x07\xca\x3e\x03new");
    // Field 100 as text.
    put_envelope(out, P::TYPE, payload, client_msg_id, b"\xa2\x06\x03new");
}

/// A frame of any payload type, its payload already encoded; `more` is put behind the envelope's fields.
pub(crate) fn put_envelope(
    out: &mut BytesMut,
    payload_type: u32,
    payload: Vec<u8>,
    client_msg_id: Option<&str>,
    more: &[u8],
) {
    let envelope = ProtoMessage {
        payload_type,
        payload: Some(Bytes::from(payload)),
        client_msg_id: client_msg_id.map(str::to_owned),
    };
    let len = envelope.encoded_len() + more.len();
    out.reserve(PREFIX_BYTES + len);
    // A frame of 4 GiB cannot be built from what the venue sends; the peer refuses a false length anyway.
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    envelope.encode_raw(out);
    out.put_slice(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        ProtoHeartbeatEvent, ProtoOaAccountAuthReq, ProtoOaApplicationAuthReq, ProtoOaApplicationAuthRes,
        ProtoOaErrorRes, ProtoOaSpotEvent, ProtoOaSubscribeSpotsReq,
    };

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn framed<P: Payload>(message: &P, id: Option<&str>) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_frame(&mut out, message, id);
        out.to_vec()
    }

    fn decoded<P: Payload + Default>(wire: &[u8]) -> (P, Option<String>) {
        let mut decoder = FrameDecoder::new(1 << 20);
        decoder.push(wire);
        let envelope = decoder.next_envelope().unwrap().unwrap();
        assert_eq!(envelope.payload_type, P::TYPE);
        assert_eq!(decoder.next_envelope(), Ok(None));
        (P::decode(envelope.payload.unwrap_or_default()).unwrap(), envelope.client_msg_id)
    }

    /// Both directions against bytes made with the official descriptors (facts 1.2).
    fn golden<P: Payload + Default + PartialEq + std::fmt::Debug>(hex: &str, message: &P, id: Option<&str>) {
        assert_eq!(framed(message, id), bytes(hex), "{message:?}");
        assert_eq!(decoded::<P>(&bytes(hex)), (message.clone(), id.map(str::to_owned)));
    }

    #[test]
    fn golden_bytes_are_written_and_read() {
        golden("00 00 00 04 08 33 12 00", &ProtoHeartbeatEvent { payload_type: None }, None);
        golden(
            "00 00 00 12 08 b4 10 12 0a 12 03 61 70 70 1a 03 73 65 63 1a 01 31",
            &ProtoOaApplicationAuthReq {
                payload_type: None,
                client_id: "app".into(),
                client_secret: "sec".into(),
            },
            Some("1"),
        );
        golden(
            "00 00 00 08 08 b5 10 12 00 1a 01 31",
            &ProtoOaApplicationAuthRes { payload_type: None },
            Some("1"),
        );
        golden(
            "00 00 00 0f 08 b6 10 12 07 10 07 1a 03 74 6f 6b 1a 01 32",
            &ProtoOaAccountAuthReq {
                payload_type: None,
                ctid_trader_account_id: 7,
                access_token: "tok".into(),
            },
            Some("2"),
        );
        golden(
            "00 00 00 10 08 cf 10 12 08 10 07 18 01 18 29 20 01 1a 01 33",
            &ProtoOaSubscribeSpotsReq {
                payload_type: None,
                ctid_trader_account_id: 7,
                symbol_id: vec![1, 41],
                subscribe_to_spot_timestamp: Some(true),
            },
            Some("3"),
        );
        let event = ProtoOaSpotEvent {
            ctid_trader_account_id: 7,
            symbol_id: 1,
            bid: Some(114_811),
            ask: Some(114_813),
            session_close: Some(114_761),
            timestamp: Some(1_789_757_084_253),
            ..ProtoOaSpotEvent::default()
        };
        golden(
            "00 00 00 1c 08 d3 10 12 17 10 07 18 01 20 fb 80 07 28 fd 80 07 38 c9 80 07 40 dd a4 d7 ae 8b 34",
            &event,
            None,
        );
        let ask_only =
            ProtoOaSpotEvent { bid: None, session_close: None, timestamp: Some(1_789_757_087_103), ..event };
        golden("00 00 00 14 08 d3 10 12 0f 10 07 18 01 28 fd 80 07 40 ff ba d7 ae 8b 34", &ask_only, None);
        golden(
            "00 00 00 1e 08 de 10 12 16 10 07 1a 12 41 4c 52 45 41 44 59 5f 53 55 42 53 43 52 49 42 45 44 1a 01 33",
            &ProtoOaErrorRes {
                ctid_trader_account_id: Some(7),
                error_code: "ALREADY_SUBSCRIBED".into(),
                ..ProtoOaErrorRes::default()
            },
            Some("3"),
        );
    }

    #[test]
    fn a_heartbeat_without_a_payload_field_is_read() {
        let (heartbeat, id) = decoded::<ProtoHeartbeatEvent>(&bytes("00 00 00 02 08 33"));
        assert_eq!((heartbeat.payload_type, id), (None, None));
    }

    #[test]
    fn packed_and_unpacked_symbol_ids_read_the_same() {
        let packed = bytes("00 00 00 10 08 cf 10 12 08 10 07 1a 02 01 29 20 01 1a 01 33");
        let (request, _) = decoded::<ProtoOaSubscribeSpotsReq>(&packed);
        assert_eq!(request.symbol_id, [1, 41]);
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut() {
        let mut stream = framed(&ProtoHeartbeatEvent { payload_type: None }, Some("first"));
        stream.extend(framed(&ProtoOaApplicationAuthRes { payload_type: None }, Some("second")));
        for cut in 0..=stream.len() {
            let mut decoder = FrameDecoder::new(64);
            let mut ids = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                decoder.push(part);
                while let Some(envelope) = decoder.next_envelope().unwrap() {
                    ids.push(envelope.client_msg_id.unwrap());
                }
            }
            assert_eq!(ids, ["first", "second"], "cut at {cut}");
        }
        let mut decoder = FrameDecoder::new(64);
        let mut count = 0;
        for byte in &stream {
            decoder.push(&[*byte]);
            while decoder.next_envelope().unwrap().is_some() {
                count += 1;
            }
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn a_bad_length_is_refused_on_its_fourth_byte() {
        for (prefix, error) in [
            (0u32, FrameError::Empty),
            (65, FrameError::TooLong(65)),
            (u32::MAX, FrameError::TooLong(u32::MAX)),
        ] {
            let mut decoder = FrameDecoder::new(64);
            let wire = prefix.to_be_bytes();
            decoder.push(&wire[..3]);
            assert_eq!(decoder.next_envelope(), Ok(None));
            decoder.push(&wire[3..]);
            assert_eq!(decoder.next_envelope(), Err(error));
        }
    }

    #[test]
    fn a_frame_that_is_no_envelope_is_refused() {
        for body in ["ff ff ff", "12 00", "08 00"] {
            let body = bytes(body);
            let mut decoder = FrameDecoder::new(64);
            decoder.push(&u32::try_from(body.len()).unwrap().to_be_bytes());
            decoder.push(&body);
            assert_eq!(decoder.next_envelope(), Err(FrameError::Garbage), "{body:?}");
        }
    }
}
