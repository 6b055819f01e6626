use std::time::Duration;

use sim_tradingview::payloads;

use super::MESSAGES_PER_S;
use crate::meter::Window;
use crate::venue::Meter;

/// Holds what one process sends against what was asked of it, in any sliding window.
#[derive(Default)]
pub struct MessageMeter {
    messages: Window,
}

impl Meter for MessageMeter {
    const DIALS_PER_MINUTE_MAX: usize = 120;

    fn dialled(&mut self) {
        self.messages = Window::default();
    }

    fn sent(&mut self, now: Duration, bytes: &[u8]) {
        if bytes.starts_with(b"GET ") {
            return;
        }
        for text in texts(bytes) {
            for payload in payloads(&text) {
                // The answers to heartbeats come on top.
                if payload.expect("a frame of ours").starts_with("~h~") {
                    continue;
                }
                let count = self.messages.count(now, Duration::from_secs(1));
                assert!(count <= MESSAGES_PER_S, "{count} messages within a second, the last: {text}");
            }
        }
    }
}

/// The text messages among the WebSocket frames of a client, which are whole and masked.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    const TEXT: u8 = 0x81;
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let (head, length) = (bytes[0], usize::from(bytes[1] & 0x7f));
        assert!(bytes[1] & 0x80 != 0, "a client masks what it sends");
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), &bytes[4..]),
            127 => panic!("a message of more than 64 KiB"),
            short => (short, &bytes[2..]),
        };
        let (mask, rest) = rest.split_at(4);
        let (masked, rest) = rest.split_at(length);
        if head == TEXT {
            let plain = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            texts.push(String::from_utf8(plain).expect("a text"));
        }
        bytes = rest;
    }
    texts
}
