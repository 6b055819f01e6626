use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::client::Sub;
use super::number;
use crate::feed::{Feed, Reading};
use crate::hub::{ChannelKey, Hub, Seat};
use crate::mailbox::Mailbox;
use crate::session::Held;

/// The channels some of a shard's clients read.
#[derive(Default)]
pub(super) struct Channels {
    all: Slab<Channel>,
    numbers: HashMap<ChannelKey, u32>,
    /// By number, the place of a reader that has everything. It is looked at for each symbol of each write, so it is kept
    /// apart from the rest and stays in the cache.
    tips: Vec<Reading>,
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
        let tip = seat.feed().tip();
        if self.tips.len() <= number as usize {
            self.tips.resize(number as usize + 1, tip);
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
        self.tips[number as usize] = channel.seat.feed().tip();
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
        }
        moved
    }

    /// Takes over what a channel got; gives those who read it.
    pub(super) fn follow(&mut self, number: u32) -> &[u32] {
        let Some(channel) = self.all.get_mut(number as usize) else { return &[] };
        channel.seat.follow();
        self.tips[number as usize] = channel.seat.feed().tip();
        &channel.readers
    }

    /// The feed of a channel where this reader may have something coming.
    pub(super) fn feed_beyond(&self, sub: &Sub) -> Option<&Feed> {
        let is_there = self.tips.get(sub.channel as usize) == Some(&sub.reading);
        if is_there { None } else { Some(self.all.get(sub.channel as usize)?.seat.feed()) }
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
