use super::{Of, Reply, merged_beginning};
use crate::fold::Merged;
use crate::frame::{Frame, Gap};
use crate::hub::ChannelKey;
use crate::places::Places;
use crate::protocol;
use crate::wire::payload_of;

/// Server-sent events: each message is one event, whose id says how far its client has got in every symbol.
#[derive(Debug)]
pub struct EventsForm {
    /// The answer to the request, until it is said.
    head: Option<Box<[u8]>>,
    places: Places,
    /// The channels of the symbols, in the order of their numbers, with their places.
    channels: Vec<(u32, usize)>,
}

impl EventsForm {
    /// A stream of these symbols that begins with `head`.
    pub fn new(head: Box<[u8]>, places: Places) -> Self {
        Self { head: Some(head), places, channels: Vec::new() }
    }

    pub(super) fn joined(&mut self, channel: u32, key: &ChannelKey) {
        self.channels.retain(|(known, _)| *known != channel);
        if let Some(place) = self.places.find(&key.symbol) {
            let at = self.channels.partition_point(|(known, _)| *known < channel);
            self.channels.insert(at, (channel, place));
        }
    }

    pub(super) fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        match reply {
            Reply::Message(json) => self.event(json, out),
            // Nobody could answer.
            Reply::Ping | Reply::Pong(_) => {}
            Reply::Close(code, reason) => {
                self.finish(out);
                out.extend_from_slice(format!(": {code} {reason}\n\n").as_bytes());
            }
        }
    }

    pub(super) fn tick(&mut self, of: Of<'_>, frame: &Frame, out: &mut Vec<u8>) {
        self.moved(of, frame);
        self.event(&payload_of(frame.text()), out);
    }

    pub(super) fn snapshot(&mut self, of: Of<'_>, frame: &Frame, out: &mut Vec<u8>) {
        self.moved(of, frame);
        self.event(&payload_of(frame.snapshot()), out);
    }

    pub(super) fn merged(&mut self, of: Of<'_>, merged: &Merged<'_>, out: &mut Vec<u8>) {
        self.moved(of, merged.frame);
        self.event_of(&merged_beginning(merged), protocol::merged_end(merged).as_bytes(), out);
    }

    pub(super) fn gap(&mut self, of: Of<'_>, gap: &Gap, out: &mut Vec<u8>) {
        if let Some(place) = self.place(of) {
            self.places.miss(place, gap);
        }
        self.event(&of.feed.writer().gap(gap), out);
    }

    /// One message.
    pub(super) fn event(&mut self, json: &[u8], out: &mut Vec<u8>) {
        self.event_of(json, &[], out);
    }

    /// One message in two pieces.
    fn event_of(&mut self, beginning: &[u8], end: &[u8], out: &mut Vec<u8>) {
        self.finish(out);
        if self.places.is_known() {
            out.extend_from_slice(b"id: ");
            self.places.write(out);
            out.push(b'\n');
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(beginning);
        out.extend_from_slice(end);
        out.extend_from_slice(b"\n\n");
    }

    /// The answer to the request goes before everything, and out at once.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(head) = self.head.take() {
            out.extend_from_slice(&head);
        }
    }

    fn moved(&mut self, of: Of<'_>, frame: &Frame) {
        self.moved_to(of, frame.position);
    }

    fn moved_to(&mut self, of: Of<'_>, position: tickcast_model::Position) {
        if let Some(place) = self.place(of) {
            self.places.set(place, position);
        }
    }

    fn place(&self, of: Of<'_>) -> Option<usize> {
        let at = self.channels.binary_search_by_key(&of.channel, |(channel, _)| *channel);
        at.ok().map(|at| self.channels[at].1)
    }
}
