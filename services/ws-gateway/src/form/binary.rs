use super::{Of, Reply, put_merged_text};
use crate::binary::{self, Full, Names};
use crate::bits::Bits;
use crate::fold::Merged;
use crate::frame::{Frame, Gap};
use crate::wire;

/// Subprotocol `tickcast.v1.bin`: ticks as binary records, all else as JSON text. `docs/binary.md` has it byte by byte.
#[derive(Debug, Default)]
pub struct BinaryForm {
    /// Where the binary frame begins that records are added to.
    open: Option<usize>,
    /// The channels whose last tick the client has on this connection: the next may be told as a step.
    known: Bits,
}

/// Payload bytes after which a further record begins another frame: the length of one is written in two bytes.
const FRAME_BYTES_MAX: usize = 32 * 1024;

impl BinaryForm {
    pub(super) fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        self.finish(out);
        wire::put_reply(reply, out);
    }

    pub(super) fn text(&mut self, json: &[u8], out: &mut Vec<u8>) {
        self.finish(out);
        wire::put_text(json, out);
    }

    pub(super) fn tick(&mut self, of: Of<'_>, frame: &Frame, out: &mut Vec<u8>) {
        match frame.step() {
            Some(step) if self.known.contains(of.channel) => {
                self.begin(out);
                step.write(of.channel, false, out);
            }
            _ => self.full(of, &Merged::one(frame, false), false, out),
        }
    }

    pub(super) fn merged(&mut self, of: Of<'_>, merged: &Merged<'_>, out: &mut Vec<u8>) {
        if merged.begins {
            self.forget(of.channel);
        }
        match merged.frame.step() {
            Some(step) if merged.count == 1 && self.known.contains(of.channel) => {
                self.begin(out);
                step.write(of.channel, true, out);
            }
            _ => self.full(of, merged, true, out),
        }
    }

    pub(super) fn snapshot(&mut self, of: Of<'_>, frame: &Frame, out: &mut Vec<u8>) {
        // It may begin another epoch, which goes with the names.
        self.forget(of.channel);
        self.full(of, &Merged::one(frame, true), false, out);
    }

    pub(super) fn gap(&mut self, of: Of<'_>, gap: &Gap, out: &mut Vec<u8>) {
        self.forget(of.channel);
        self.text(&of.feed.writer().gap(gap), out);
    }

    /// The client gets nothing more of a channel that goes on from the tick it had last.
    pub(super) fn forget(&mut self, channel: u32) {
        self.known.remove(channel);
    }

    fn full(&mut self, of: Of<'_>, told: &Merged<'_>, is_merged: bool, out: &mut Vec<u8>) {
        let frame = told.frame;
        let writer = of.feed.writer();
        let names = Names { source: writer.venue().as_str(), symbol: writer.symbol().as_str() };
        let full = Full {
            channel: of.channel,
            names: (!self.known.contains(of.channel)).then_some(names),
            position: frame.position,
            tick: &frame.tick,
            is_snapshot: told.begins,
            merged: is_merged.then_some(binary::Merged { count: told.count, range: told.high.zip(told.low) }),
        };
        self.begin(out);
        if full.write(out) {
            self.known.insert(of.channel);
        } else {
            // The reader does not take over what came as text: the next cannot be a step from it.
            self.forget(of.channel);
            self.finish(out);
            if is_merged {
                put_merged_text(told, out);
            } else {
                out.extend_from_slice(if told.begins { frame.snapshot() } else { frame.text() });
            }
        }
    }

    /// Opens a frame for one more record, where none is open.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.open.is_some_and(|at| out.len() - at > FRAME_BYTES_MAX) {
            self.finish(out);
        }
        if self.open.is_none() {
            self.open = Some(wire::begin_binary(out));
        }
    }

    /// Closes the frame, where one is open: nothing else may be added to what goes out before.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(at) = self.open.take() {
            wire::finish_binary(at, out);
        }
    }
}
