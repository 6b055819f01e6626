use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;

use slab::Slab;
use tickcast_model::Position;

use super::number;
use super::rates::Rates;
use super::sub::{Sub, special};
use crate::feed::{Feed, Reading};
use crate::frame::Frame;
use crate::hub::{ChannelKey, Hub, Seat};
use crate::mailbox::Mailbox;
use crate::rate::{Mode, OnSlow, Rate};
use crate::session::Held;

/// The channels some of a shard's clients read.
#[derive(Default)]
pub(super) struct Channels {
    all: Slab<Channel>,
    numbers: HashMap<ChannelKey, u32>,
    /// By number. Looked at for each symbol of each write, so it is kept apart from the rest and stays in the cache.
    tips: Vec<Tip>,
    /// A channel somebody waits for got something.
    pub(super) has_news: bool,
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
    /// Somebody waits for what it gets next.
    is_awaited: bool,
}

/// Where a position stands in a channel.
pub(super) enum Place {
    /// A reader can go on from it.
    Here,
    /// Nobody can.
    Nowhere,
    /// It cannot be told before the channel's history is known.
    Unsettled,
    /// It is beyond what has come here.
    Ahead,
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
        entry.insert(Channel { seat, key: key.clone(), readers: Vec::new(), is_awaited: false });
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
        Some(Sub::new(number, place, reading))
    }

    /// Readers of this channel may want its ticks merged.
    pub(super) fn fold(&mut self, number: u32) {
        if let Some(channel) = self.all.get_mut(number as usize) {
            channel.seat.fold();
        }
    }

    /// Whether a reader can have each tick it has not got yet.
    pub(super) fn has_all_behind(&self, sub: &Sub) -> bool {
        let channel = self.all.get(sub.channel as usize);
        channel.is_none_or(|channel| channel.seat.feed().has_all_behind(sub.reading))
    }

    /// Lets a reader begin anew, as if it joined now.
    pub(super) fn rejoin(&mut self, sub: &mut Sub, away: bool) {
        if let Some(channel) = self.all.get_mut(sub.channel as usize) {
            sub.reading = channel.seat.join(away);
            self.tips[sub.channel as usize] = Tip::of(channel.seat.feed());
        }
    }

    /// Where a position stands in a channel that is joined. Where that may change, the next it gets is news.
    pub(super) fn place(&mut self, sub: &Sub, position: Position) -> Place {
        let Some(channel) = self.all.get_mut(sub.channel as usize) else { return Place::Nowhere };
        channel.seat.follow();
        let feed = channel.seat.feed();
        self.tips[sub.channel as usize] = Tip::of(feed);
        let place = match feed.last() {
            _ if feed.resume(position, false).is_some() => Place::Here,
            _ if !feed.is_settled() => Place::Unsettled,
            Some(last) if position > last.position => Place::Ahead,
            _ => Place::Nowhere,
        };
        channel.is_awaited |= matches!(place, Place::Unsettled | Place::Ahead);
        place
    }

    /// Lets a reader go on from a position; false where it cannot.
    pub(super) fn go_on(&mut self, sub: &mut Sub, position: Position, away: bool) -> bool {
        // As it would join: who joins while the venue is away waits for whatever is heard next.
        self.rejoin(sub, away);
        let feed = self.all.get(sub.channel as usize).map(|channel| channel.seat.feed());
        let reading = feed.and_then(|feed| feed.resume(position, away));
        reading.inspect(|reading| sub.reading = *reading).is_some()
    }

    /// Whether a reader stands exactly at a position.
    pub(super) fn is_at(&self, sub: &Sub, position: Position) -> bool {
        let channel = self.all.get(sub.channel as usize);
        channel.is_some_and(|channel| channel.seat.feed().is_at(sub.reading, position))
    }

    /// Takes a reader out. Who stood last in the channel stands where it stood: given back to be told so.
    pub(super) fn leave(&mut self, sub: &Sub) -> Option<u32> {
        let channel = self.all.get_mut(sub.channel as usize)?;
        channel.readers.swap_remove(sub.place() as usize);
        let moved = channel.readers.get(sub.place() as usize).copied();
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
        self.has_news |= take(&mut channel.is_awaited);
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
    pub(super) fn pending(&self, subs: &[Sub], rates: Option<&Rates>, now_ms: u64) -> Pending<'_> {
        let mut pending = Pending::Nothing;
        for (place, sub) in subs.iter().enumerate() {
            let Some(tip) = self.tips.get(sub.channel as usize) else { return Pending::More };
            if tip.reading == sub.reading {
                continue;
            }
            if !sub.is_plain() {
                // A symbol in mode `latest` waits for its time, but a change of its state does not.
                let is_open = || rates.is_none_or(|rates| rates.is_open(sub.channel, now_ms));
                let waits = sub.is(special::LATEST) && sub.reading.knows_state_of(tip.reading) && !is_open();
                if waits || sub.is(special::HELD) {
                    continue;
                }
                return Pending::More;
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
    pub(super) fn held<'a>(&'a self, subs: &'a [Sub], rates: Option<&'a Rates>) -> Holding<'a> {
        Holding { channels: self, subs, rates }
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
    rates: Option<&'a Rates>,
}

impl Holding<'_> {
    fn rate_of(&self, sub: &Sub) -> Rate {
        let interval =
            self.rates.filter(|_| sub.is(special::LATEST)).and_then(|rates| rates.interval_ms(sub.channel));
        Rate {
            mode: interval.map_or(Mode::Every, |min_interval_ms| Mode::Latest { min_interval_ms }),
            on_slow: if sub.is(special::MERGES) { OnSlow::Merge } else { OnSlow::Gap },
        }
    }
}

impl Held for Holding<'_> {
    fn count(&self) -> usize {
        self.subs.len()
    }

    fn rate(&self, key: &ChannelKey) -> Option<Rate> {
        self.channels.find(self.subs, key).map(|place| self.rate_of(&self.subs[place]))
    }

    fn all(&self) -> Vec<(ChannelKey, Rate)> {
        let channel = |sub: &Sub| self.channels.all.get(sub.channel as usize);
        self.subs.iter().filter_map(|sub| Some((channel(sub)?.key.clone(), self.rate_of(sub)))).collect()
    }
}
