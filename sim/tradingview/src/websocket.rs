//! The venue's messages and refusals as what stands on a WebSocket.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::handshake::server::ErrorResponse;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::outcome::{Message, Refusal};

/// Longest message of a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The parts a message is cut into by a fault.
const FRAGMENTS: usize = 3;

pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// The answer to a handshake that is refused.
pub(crate) fn refused(refusal: &Refusal) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some("not here, not now".to_owned()));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if let Some(wait) = refusal.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

/// What is written for a message.
pub(crate) fn frames(message: Message, in_fragments: bool) -> Vec<WsMessage> {
    match message {
        Message::Half(text) => {
            // A whole frame that says more is to come; the reset comes instead.
            let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
            vec![WsMessage::Frame(Frame::message(half, OpCode::Data(Data::Text), false))]
        }
        Message::Text(text) if in_fragments => fragmented(&text),
        Message::Text(text) => vec![WsMessage::Text(text.into())],
    }
}

/// A message in parts, cut wherever the bytes fall.
fn fragmented(text: &str) -> Vec<WsMessage> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let len = bytes.len().div_ceil(FRAGMENTS).max(1);
    let parts: Vec<Bytes> =
        (0..bytes.len()).step_by(len).map(|at| bytes.slice(at..(at + len).min(bytes.len()))).collect();
    let last = parts.len().saturating_sub(1);
    let frame = |(at, part): (usize, Bytes)| {
        let data = if at == 0 { Data::Text } else { Data::Continue };
        WsMessage::Frame(Frame::message(part, OpCode::Data(data), at == last))
    };
    parts.into_iter().enumerate().map(frame).collect()
}

/// The text messages among the frames of a client, as they leave it: whole, shorter than 64 KiB, each with its mask;
/// `None` where they are not.
pub fn client_texts(mut bytes: &[u8]) -> Option<Vec<String>> {
    const TEXT: u8 = 0x81;
    let mut texts = Vec::new();
    while let [head, masked_length, rest @ ..] = bytes {
        let (length, rest) = match masked_length.checked_sub(0x80)? {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            127 => return None,
            short => (usize::from(short), rest),
        };
        let (mask, rest) = rest.split_first_chunk::<4>()?;
        let (masked, rest) = rest.split_at_checked(length)?;
        if *head == TEXT {
            let plain = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            texts.push(String::from_utf8(plain).ok()?);
        }
        bytes = rest;
    }
    bytes.is_empty().then_some(texts)
}
