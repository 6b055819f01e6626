use std::collections::VecDeque;

use bytes::Bytes;

use super::WRITE_BYTES;
use super::channels::Channels;
use super::client::Client;
use crate::feed::Step;
use crate::form::{Of, Reply};
use crate::gateway::Gateway;
use crate::session::World as _;

/// What was put together for one write.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) ticks: u64,
    pub(super) missed: u64,
    /// Pings alone do not put off a heartbeat.
    pub(super) has_text: bool,
    /// When the oldest of the ticks arrived that were no snapshots, Unix microseconds; 0 where there was none.
    pub(super) oldest_us: i64,
    /// There may be more.
    pub(super) is_full: bool,
}

/// Puts together what the client gets next: replies, news, then its channels.
///
/// The frames are copied one behind the other: a write of one piece costs the system less than one of many, by more than
/// the copying costs here.
pub(super) fn gather<S>(
    client: &mut Client<S>,
    channels: &Channels,
    notes: &VecDeque<Bytes>,
    notes_gone: u64,
    gateway: &Gateway,
    batch: &mut Vec<u8>,
) -> Gathered {
    let mut gathered = Gathered::default();
    batch.clear();
    while batch.len() < WRITE_BYTES
        && let Some(reply) = client.replies.pop_front()
    {
        gathered.has_text |= matches!(reply, Reply::Message(_));
        client.form.reply(&reply, batch);
    }
    if client.replies.is_empty() && client.replies.capacity() > 0 {
        client.replies = VecDeque::new();
    }
    while batch.len() < WRITE_BYTES
        && let Some(ahead) =
            (notes_gone + notes.len() as u64).checked_sub(client.news_next).filter(|n| *n > 0)
    {
        gathered.has_text = true;
        let place = usize::try_from(ahead).ok().and_then(|ahead| notes.len().checked_sub(ahead));
        if let Some(note) = place.and_then(|place| notes.get(place)) {
            client.news_next += 1;
            client.form.note(note, batch);
        } else {
            gateway.metrics.dropped("client_statuses");
            client.news_next += ahead;
            let venues = &gateway.venues;
            for venue in venues.numbers() {
                client.form.note(&venues.status(venue), batch);
            }
        }
    }
    if client.closing.is_some() {
        gathered.is_full = batch.len() >= WRITE_BYTES;
        return gathered;
    }
    // Beginning where the last write ended, so that no symbol waits for the others for ever.
    let count = client.subs.len();
    let from = if (client.scan_from as usize) < count { client.scan_from as usize } else { 0 };
    for place in (from..count).chain(0..from) {
        let sub = &mut client.subs[place];
        while let Some(feed) = channels.feed_beyond(sub) {
            if batch.len() >= WRITE_BYTES {
                client.scan_from = u32::try_from(place).unwrap_or(0);
                gathered.is_full = true;
                return gathered;
            }
            let Some(step) = feed.next(&mut sub.reading) else { break };
            gathered.has_text = true;
            let of = Of { channel: sub.channel, feed };
            match step {
                Step::Tick(frame) => {
                    gathered.ticks += 1;
                    if gathered.oldest_us == 0 {
                        gathered.oldest_us = frame.arrived_us;
                    }
                    client.form.tick(of, frame, batch);
                }
                Step::Snapshot(frame) => {
                    // Not measured: how old a snapshot is says nothing of the gateway.
                    gathered.ticks += 1;
                    client.form.snapshot(of, frame, batch);
                }
                Step::Gap(gap) => {
                    gathered.missed += gap.missed();
                    client.form.gap(of, &gap, batch);
                }
                Step::State(state) => client.form.state(of, &state, batch),
            }
        }
    }
    gathered.is_full = batch.len() >= WRITE_BYTES;
    gathered
}
