use std::sync::OnceLock;

use bytes::Bytes;
use tickcast_model::{Position, Tick};

use crate::binary::Step;
use crate::wire::{payload_of, text_frame};

/// One tick, and how browsers get it: a whole WebSocket frame, encoded once and shared by everybody who reads it.
#[derive(Debug)]
pub struct Frame {
    /// Where the tick stands in its channel.
    pub position: Position,
    /// Its numbers.
    pub tick: Tick,
    /// When the tick reached this gateway, Unix microseconds.
    pub arrived_us: i64,
    text: Bytes,
    snapshot: OnceLock<Bytes>,
    step: Option<Step>,
}

impl Frame {
    /// A frame of `tick`, whose JSON object is `json`.
    pub fn new(position: Position, tick: Tick, arrived_us: i64, json: &[u8]) -> Self {
        let text = text_frame(json);
        let snapshot = OnceLock::new();
        if tick.snapshot {
            // It says so already.
            let _ = snapshot.set(text.clone());
        }
        Self { position, tick, arrived_us, text, snapshot, step: None }
    }

    /// The same frame as the one that comes after `before` in the ring: where it is also the next tick of the channel, it can
    /// be told as a step.
    pub fn after(mut self, before: Option<&Self>) -> Self {
        let Position { epoch, seq } = self.position;
        let before = before.filter(|before| {
            before.position.epoch == epoch && before.position.seq.checked_add(1) == Some(seq)
        });
        self.step = before.and_then(|before| Step::between(&before.tick, &self.tick));
        self
    }

    /// The tick as a step from the one before it in the channel, encoded once.
    pub fn step(&self) -> Option<&Step> {
        self.step.as_ref()
    }

    /// The message as it stands, framed.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// The message as the beginning of a series, framed: the same object with `"snapshot":true`. Made once, when first
    /// needed.
    pub fn snapshot(&self) -> &Bytes {
        self.snapshot.get_or_init(|| {
            const MARK: &[u8] = b",\"snapshot\":true}";
            let json = payload_of(&self.text);
            let body = json.strip_suffix(b"}").unwrap_or(&json);
            text_frame(&[body, MARK].concat())
        })
    }
}

/// Ticks that a reader will not get, all of one incarnation: `from` to `to`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The incarnation whose ticks are missing.
    pub epoch: u64,
    /// The first that is missing.
    pub from: u64,
    /// The last that is missing.
    pub to: u64,
}

impl Gap {
    /// The last that is missing.
    pub fn end(&self) -> Position {
        Position { epoch: self.epoch, seq: self.to }
    }

    /// How many are missing.
    pub fn missed(&self) -> u64 {
        self.to - self.from + 1
    }
}
