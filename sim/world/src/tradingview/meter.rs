use std::time::Duration;

use sim_tradingview::{client_texts, payloads};

use super::{DIALS_PER_MINUTE, MESSAGES_PER_S};
use crate::meter::Window;
use crate::venue::Meter;

/// Holds what one process sends against what was asked of it, in any sliding window.
#[derive(Default)]
pub struct MessageMeter {
    messages: Window,
}

impl Meter for MessageMeter {
    const DIALS_PER_MINUTE_MAX: usize = DIALS_PER_MINUTE;

    fn dialled(&mut self) {
        self.messages = Window::default();
    }

    fn sent(&mut self, now: Duration, bytes: &[u8]) {
        if bytes.starts_with(b"GET ") {
            return;
        }
        for text in client_texts(bytes).expect("frames of ours") {
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
