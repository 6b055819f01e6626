use std::collections::VecDeque;

use bytes::Bytes;

use super::channels::Channels;
use super::client::Client;
use super::sub::{Sub, special};
use super::{SLOW_WRITE_BYTES, WRITE_BYTES};
use crate::feed::Step;
use crate::form::{Form, Of};
use crate::frame::Gap;
use crate::gateway::Gateway;
use crate::reply::Reply;
use crate::session::World as _;

/// What was put together for one write.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) ticks: u64,
    /// Ticks merged into others, which count as delivered.
    pub(super) merged: u64,
    merged_messages: u64,
    /// Times when ticks were too long ago to be merged.
    pub(super) cut: u64,
    /// Symbols in mode `latest` were told of.
    pub(super) has_rated: bool,
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
    (gateway, now_ms): (&Gateway, u64),
    batch: &mut Vec<u8>,
) -> Gathered {
    let mut gathered = Gathered::default();
    batch.clear();
    while batch.len() < WRITE_BYTES
        && let Some(reply) = client.replies.pop()
    {
        gathered.has_text |= matches!(reply, Reply::Message(_));
        client.form.reply(&reply, batch);
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
    // What a slow client is sent waits in its buffers, where it grows old.
    let most = if client.is_slow { SLOW_WRITE_BYTES } else { WRITE_BYTES };
    for place in (from..count).chain(0..from) {
        let has_all = if client.subs[place].is_plain() {
            gather_every(client, place, channels, most, batch, &mut gathered)
        } else {
            gather_special(client, place, channels, (most, now_ms), batch, &mut gathered)
        };
        if !has_all {
            client.scan_from = u32::try_from(place).unwrap_or(0);
            gathered.is_full = true;
            return gathered;
        }
    }
    gathered.is_full = batch.len() >= WRITE_BYTES;
    gathered
}

/// Each tick of one symbol; false where there was no room for more.
fn gather_every<S>(
    client: &mut Client<S>,
    place: usize,
    channels: &Channels,
    most: usize,
    batch: &mut Vec<u8>,
    gathered: &mut Gathered,
) -> bool {
    let sub = &mut client.subs[place];
    while let Some(feed) = channels.feed_beyond(sub) {
        if batch.len() >= most {
            return false;
        }
        let Some(step) = feed.next(&mut sub.reading) else { break };
        gathered.tell(&mut client.form, Of { channel: sub.channel, feed }, step, batch);
    }
    true
}

/// What there is of a symbol that is not delivered like any other; false where there was no room for more.
fn gather_special<S>(
    client: &mut Client<S>,
    place: usize,
    channels: &Channels,
    (most, now_ms): (usize, u64),
    batch: &mut Vec<u8>,
    gathered: &mut Gathered,
) -> bool {
    let (sub, form) = (&mut client.subs[place], &mut client.form);
    if sub.is(special::HELD) {
        return true;
    }
    let mut rates = client.rates.as_mut().filter(|_| sub.is(special::LATEST));
    let is_open = rates.as_ref().is_some_and(|rates| rates.is_open(sub.channel, now_ms));
    let merged_before = gathered.merged_messages;
    while let Some(feed) = channels.feed_beyond(sub) {
        if batch.len() >= most {
            return false;
        }
        let of = Of { channel: sub.channel, feed };
        let mut gap = |gap: Gap| {
            gathered.has_text = true;
            gathered.missed += gap.missed();
            form.gap(of, &gap, batch);
        };
        let is_late = |sub: &Sub| sub.is(special::JUMPS) || !feed.has_all_behind(sub.reading);
        let merges = sub.is(special::FOLDS) || sub.is(special::MERGES) && is_late(sub);
        let step = if rates.is_some() {
            feed.next_merged(&mut sub.reading, is_open, gap)
        } else if merges {
            match feed.next_merged(&mut sub.reading, true, gap) {
                Some(Step::Merged(one)) if one.count == 1 && one.begins => Some(Step::Snapshot(one.frame)),
                Some(Step::Merged(one)) if one.count == 1 => Some(Step::Tick(one.frame)),
                step => step,
            }
        } else {
            if sub.is(special::JUMPS) && feed.jump(&mut sub.reading, &mut gap) {
                sub.unset(special::JUMPS);
            }
            feed.next(&mut sub.reading)
        };
        let Some(step) = step else { break };
        gathered.tell(form, of, step, batch);
    }
    sub.unset(special::JUMPS | special::FOLDS);
    if gathered.merged_messages > merged_before
        && let Some(rates) = &mut rates
    {
        rates.told(sub.channel, now_ms);
        gathered.has_rated = true;
    }
    true
}

impl Gathered {
    fn tell(&mut self, form: &mut Form, of: Of<'_>, step: Step<'_>, batch: &mut Vec<u8>) {
        self.has_text = true;
        match step {
            Step::Tick(frame) => {
                self.ticks += 1;
                if self.oldest_us == 0 {
                    self.oldest_us = frame.arrived_us;
                }
                form.tick(of, frame, batch);
            }
            Step::Snapshot(frame) => {
                // Not measured: how old a snapshot is says nothing of the gateway.
                self.ticks += 1;
                form.snapshot(of, frame, batch);
            }
            Step::Merged(merged) => {
                self.ticks += 1;
                self.merged_messages += 1;
                self.merged += merged.count - 1;
                self.cut += u64::from(merged.is_cut);
                form.merged(of, &merged, batch);
            }
            Step::Gap(gap) => {
                self.missed += gap.missed();
                form.gap(of, &gap, batch);
            }
            Step::State(state) => form.state(of, &state, batch),
        }
    }
}
