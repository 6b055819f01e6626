use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::client::Sub;
use super::number;
use crate::feed::{Feed, Reading};
use crate::hub::{ChannelKey, Hub, Seat};
use crate::mailbox::Mailbox;
use crate::ring::Frame;
use crate::session::Held;

/// The channels some of a shard's clients read.
#[derive(Default)]
pub(super) struct Channels {
    all: Slab<Channel>,
    numbers: HashMap<ChannelKey, u32>,
    /// By number. Looked at for each symbol of each write, so it is kept apart from the rest and stays in the cache.
    tips: Vec<Tip>,
}

/// The newest of one channel.
#[derive(Clone)]
struct Tip {
    /// The place of a reader that has everything.
    reading: Reading,
    frame: Option<Arc<Frame>>,
}

/// What is there for one client.
pub(super) enum Pending<'a> {
    Nothing,
    /// One tick, and all is said with it. The reading is where the client stands once it has it.
    OneTick {
        place: usize,
        frame: &'a Frame,
        after: Reading,
    },
    /// More than that.
    More,
}

/// One channel with those who read it here.
struct Channel {
    seat: Seat,
    key: ChannelKey,
    /// The clients' numbers.
    readers: Vec<u32>,
}

impl Channels {
    /// The number of this channel, which is joined in the hub where it was not.
    pub(super) fn open(&mut self, key: &ChannelKey, hub: &Arc<Hub>, mailbox: &Arc<Mailbox>) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let entry = self.all.vacant_entry();
        let number = number(entry.key());
        let seat = hub.join(key, mailbox.clone(), number);
        let tip = Tip::of(seat.feed());
        if self.tips.len() <= number as usize {
            self.tips.resize(number as usize + 1, tip.clone());
        }
        self.tips[number as usize] = tip;
        entry.insert(Channel { seat, key: key.clone(), readers: Vec::new() });
        self.numbers.insert(key.clone(), number);
        number
    }

    /// Adds a reader to an open channel: its place in it, and what it reads.
    pub(super) fn join(&mut self, number: u32, client: u32, away: bool) -> Option<Sub> {
        let channel = self.all.get_mut(number as usize)?;
        let reading = channel.seat.join(away);
        self.tips[number as usize] = Tip::of(channel.seat.feed());
        let place = u32::try_from(channel.readers.len()).unwrap_or(u32::MAX);
        channel.readers.push(client);
        Some(Sub { channel: number, place, reading })
    }

    /// Takes a reader out. Who stood last in the channel stands where it stood: given back to be told so.
    pub(super) fn leave(&mut self, sub: &Sub) -> Option<u32> {
        let channel = self.all.get_mut(sub.channel as usize)?;
        channel.readers.swap_remove(sub.place as usize);
        let moved = channel.readers.get(sub.place as usize).copied();
        if channel.readers.is_empty() {
            self.numbers.remove(&channel.key);
            self.all.remove(sub.channel as usize);
            self.tips[sub.channel as usize].frame = None;
        }
        moved
    }

    /// Takes over what a channel got; gives those who read it.
    pub(super) fn follow(&mut self, number: u32) -> &[u32] {
        let Some(channel) = self.all.get_mut(number as usize) else { return &[] };
        channel.seat.follow();
        self.tips[number as usize] = Tip::of(channel.seat.feed());
        &channel.readers
    }

    /// The feed of a channel where this reader may have something coming.
    pub(super) fn feed_beyond(&self, sub: &Sub) -> Option<&Feed> {
        let is_there = self.tips.get(sub.channel as usize).is_some_and(|tip| tip.reading == sub.reading);
        if is_there { None } else { Some(self.all.get(sub.channel as usize)?.seat.feed()) }
    }

    /// What there is for a client that reads these.
    #[inline]
    pub(super) fn pending(&self, subs: &[Sub]) -> Pending<'_> {
        let mut pending = Pending::Nothing;
        for (place, sub) in subs.iter().enumerate() {
            let Some(tip) = self.tips.get(sub.channel as usize) else { return Pending::More };
            if tip.reading == sub.reading {
                continue;
            }
            let after = sub.reading.advanced();
            pending = match (&pending, &tip.frame) {
                (Pending::Nothing, Some(frame)) if after == tip.reading => {
                    Pending::OneTick { place, frame, after }
                }
                _ => return Pending::More,
            };
        }
        pending
    }

    /// The channels of one client, as its session asks for them.
    pub(super) fn held<'a>(&'a self, subs: &'a [Sub]) -> Holding<'a> {
        Holding { channels: self, subs }
    }

    /// Where a channel stands, or would stand, among those a client reads.
    pub(super) fn find(&self, subs: &[Sub], key: &ChannelKey) -> Option<usize> {
        let number = self.numbers.get(key)?;
        subs.binary_search_by_key(number, |sub| sub.channel).ok()
    }
}

impl Tip {
    fn of(feed: &Feed) -> Self {
        Self { reading: feed.tip(), frame: feed.last().cloned() }
    }
}

/// What one client holds.
pub(super) struct Holding<'a> {
    channels: &'a Channels,
    subs: &'a [Sub],
}

impl Held for Holding<'_> {
    fn count(&self) -> usize {
        self.subs.len()
    }

    fn contains(&self, key: &ChannelKey) -> bool {
        self.channels.find(self.subs, key).is_some()
    }

    fn keys(&self) -> Vec<ChannelKey> {
        let channels = self.subs.iter().filter_map(|sub| self.channels.all.get(sub.channel as usize));
        channels.map(|channel| channel.key.clone()).collect()
    }
}
