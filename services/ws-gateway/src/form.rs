//! How a connection frames what its client is told: one form for each way to the gateway, all fed from the same place.

mod binary;
mod events;

use bytes::Bytes;

use crate::feed::Feed;
use crate::fold::Merged;
use crate::frame::{Frame, Gap};
use crate::hub::ChannelKey;
use crate::protocol;
use crate::reply::Reply;
use crate::wire;

pub use binary::BinaryForm;
pub use events::EventsForm;

/// How a connection frames what its client is told, for its whole life.
///
/// Replies, news, states and gaps are JSON objects; ticks are frames, which are encoded once and shared by everybody. Each
/// function appends to what goes out in one write, which [`Form::finish`] ends.
#[derive(Debug)]
pub enum Form {
    /// WebSocket text frames of JSON.
    Text,
    /// WebSocket binary frames for ticks, text frames for the rest.
    Binary(Box<BinaryForm>),
    /// Server-sent events.
    Events(Box<EventsForm>),
}

/// The channel something is said of.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    /// Its number, the same for the client as long as it reads the channel.
    pub channel: u32,
    /// What is known of it.
    pub feed: &'a Feed,
}

/// Appends ticks told as one, as a text frame of JSON.
fn put_merged_text(merged: &Merged<'_>, out: &mut Vec<u8>) {
    wire::put_text_of(&merged_beginning(merged), protocol::merged_end(merged).as_bytes(), out);
}

/// Ticks told as one, as JSON.
pub(crate) fn merged_json(merged: &Merged<'_>) -> Bytes {
    [&merged_beginning(merged)[..], protocol::merged_end(merged).as_bytes()].concat().into()
}

/// The tick ticks are merged into, as JSON without its last brace.
fn merged_beginning(merged: &Merged<'_>) -> Bytes {
    let frame = if merged.begins { merged.frame.snapshot() } else { merged.frame.text() };
    let json = wire::payload_of(frame);
    let length = json.strip_suffix(b"}").map_or(json.len(), <[u8]>::len);
    json.slice(..length)
}

impl Form {
    /// True where a tick goes out as [`Frame::text`] and nothing else.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text)
    }

    /// True where the client speaks, and answers pings.
    pub fn is_websocket(&self) -> bool {
        !matches!(self, Self::Events(_))
    }

    /// The client reads this channel from now on, whatever it read before.
    pub fn joined(&mut self, channel: u32, key: &ChannelKey) {
        match self {
            Self::Text => {}
            Self::Binary(form) => form.forget(channel),
            Self::Events(form) => form.joined(channel, key),
        }
    }

    /// Something said to this client.
    pub fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        match self {
            Self::Text => wire::put_reply(reply, out),
            Self::Binary(form) => form.reply(reply, out),
            Self::Events(form) => form.reply(reply, out),
        }
    }

    /// A message to everybody.
    pub fn note(&mut self, json: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Text => wire::put_text(json, out),
            Self::Binary(form) => form.text(json, out),
            Self::Events(form) => form.event(json, out),
        }
    }

    /// The tick after the one before.
    pub fn tick(&mut self, of: Of<'_>, frame: &Frame, out: &mut Vec<u8>) {
        match self {
            Self::Text => out.extend_from_slice(frame.text()),
            Self::Binary(form) => form.tick(of, frame, out),
            Self::Events(form) => form.tick(of, frame, out),
        }
    }

    /// The beginning of a series of ticks.
    pub fn snapshot(&mut self, of: Of<'_>, frame: &Frame, out: &mut Vec<u8>) {
        match self {
            Self::Text => out.extend_from_slice(frame.snapshot()),
            Self::Binary(form) => form.snapshot(of, frame, out),
            Self::Events(form) => form.snapshot(of, frame, out),
        }
    }

    /// Ticks told as one.
    pub fn merged(&mut self, of: Of<'_>, merged: &Merged<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text => put_merged_text(merged, out),
            Self::Binary(form) => form.merged(of, merged, out),
            Self::Events(form) => form.merged(of, merged, out),
        }
    }

    /// Ticks that are lost for this client.
    pub fn gap(&mut self, of: Of<'_>, gap: &Gap, out: &mut Vec<u8>) {
        match self {
            Self::Text => wire::put_text(&of.feed.writer().gap(gap), out),
            Self::Binary(form) => form.gap(of, gap, out),
            Self::Events(form) => form.gap(of, gap, out),
        }
    }

    /// The symbol's state, as a JSON object.
    pub fn state(&mut self, _of: Of<'_>, json: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Text => wire::put_text(json, out),
            Self::Binary(form) => form.text(json, out),
            Self::Events(form) => form.event(json, out),
        }
    }

    /// Ends what goes out in one write.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Text => {}
            Self::Binary(form) => form.finish(out),
            Self::Events(form) => form.finish(out),
        }
    }
}
