//! One writer's clients: what each has coming, when it is written, and how it ends. No threads, no clock.
//!
//! A tick reaches a shard once, however many of its clients read it: the channel's feed is followed, and each reader is a
//! cursor in it. A client costs nothing while nothing is there for it; what there is goes out in one write.

mod channels;
mod client;
mod everybody;
mod gather;
mod rates;
mod resume;
mod socket;
mod sub;
mod writing;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;
use tracing::{debug, debug_span};

use crate::bulletin::BulletinSeat;
use crate::form::Form;
use crate::gateway::Gateway;
use crate::hub::ChannelKey;
use crate::limits::Place;
use crate::mailbox::Mailbox;
use crate::protocol::Request;
use crate::rate::{Mode, OnSlow, Rate};
use crate::reply::Reply;
use crate::session::Action;
use crate::wheel::Wheel;
use crate::wire::{Broken, Received};

use channels::Channels;
pub use client::End;
use client::{Client, Closing};
use everybody::Depths;
use resume::Waiting;
pub(crate) use resume::{AHEAD_WITHIN, HISTORY_WITHIN};
pub use socket::Socket;
use sub::{Sub, special};
use writing::Counts;

/// A heartbeat is sent after this time without anything else (contract section 2).
const HEARTBEAT_AFTER: Duration = Duration::from_secs(15);

/// A write that makes no progress for this long ends the connection.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// A socket that has taken nothing for this long is tried although the system does not say that it has room: it waits with
/// that until much of its buffer is free, which takes a slow client long.
const TRIED_AFTER: Duration = Duration::from_secs(1);

/// Time for the last words.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// How often every client is looked at, at most and at least: pings, heartbeats and ends need no better clock.
const SWEEP_EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// So often within the shortest time that is to be kept.
const SWEEPS: u32 = 16;

/// A write is this long at most, and one message more.
const WRITE_BYTES: usize = 16 * 1024;

/// The same for the ticks of a client that was too slow for everything.
const SLOW_WRITE_BYTES: usize = 2 * 1024;

/// Bytes taken from a socket at once, and how often before others get their turn.
const READ_BYTES: usize = 16 * 1024;
const READS_A_TURN: usize = 8;

/// Replies that may wait for a client that does not read when it asks for more; else the connection is closed with 4002.
/// What one message is answered with comes on top: a request for a thousand symbols may have a thousand answers.
const REPLIES_MAX: usize = 256;
/// The same, bytes: the statuses of all venues with their symbols fit, and a client that asks on and on without reading does not.
const REPLIES_BYTES_MAX: usize = 1024 * 1024;

/// Messages to everybody that are kept for the slow. Who is further behind is told the present state instead.
const NOTES_MAX: usize = 64;

/// Close codes of the contract.
mod code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const GOING_AWAY: u16 = 1001;
    pub(super) const PROTOCOL: u16 = 1002;
    /// Never sent: the connection ended without a close frame.
    pub(super) const ABNORMAL: u16 = 1006;
    pub(super) const NOT_TEXT: u16 = 1007;
    pub(super) const TOO_BIG: u16 = 1009;
    pub(super) const NOT_KEPT_UP: u16 = 4002;
    pub(super) const LIMIT: u16 = 4003;
    pub(super) const SILENT: u16 = 4408;
}

/// A browser whose handshake is done.
pub struct Arrival<S> {
    /// Its socket, which must not block.
    pub socket: S,
    /// How it is framed what it is told.
    pub form: Form,
    /// What it sent right behind the handshake.
    pub early: Vec<u8>,
    /// What it asked for by the handshake itself.
    pub first: Option<Request>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its place, or none where the gateway is full: then it is told so and let go.
    pub place: Option<Place>,
}

/// The clients of one writer.
pub struct Shard<S> {
    gateway: Arc<Gateway>,
    mailbox: Arc<Mailbox>,
    news: BulletinSeat,
    started: Instant,
    clock: (Instant, u64),
    flush_ms: u64,
    clients: Slab<Client<S>>,
    /// What is looked at for each tick and client, apart from the rest so that it stays in the cache.
    pace: Vec<Pace>,
    channels: Channels,
    /// Messages to everybody, oldest first, and how many there were before.
    notes: VecDeque<Bytes>,
    notes_gone: u64,
    wheel: Wheel,
    /// Clients that can be written to now.
    ready: Vec<u32>,
    /// When clients with symbols in mode `latest` are to be looked at: each once, in the shard's milliseconds.
    alarms: BTreeSet<(u64, u32)>,
    /// Clients whose requests wait for an answer.
    waiting: Waiting,
    /// Clients that may have sent more than one turn took.
    unread: Vec<u32>,
    sweep_at: Instant,
    sweep_every: Duration,
    draining: bool,
    counts: Counts,
    depths: Depths,
    scratch: Scratch,
}

/// One client's place in time.
#[derive(Clone, Copy, Default)]
struct Pace {
    /// From this millisecond on the client may be written to at once.
    open_from_ms: u64,
    /// True while it waits to be written to, or cannot be.
    waits: bool,
}

/// Memory that is used again and again.
struct Scratch {
    marked: VecDeque<u32>,
    batch: Vec<u8>,
    read: Box<[u8]>,
    received: Vec<Received>,
    actions: Vec<Action>,
}

impl<S: Socket> Shard<S> {
    /// A shard without clients, told by `mailbox` what is there for it.
    pub fn new(gateway: Arc<Gateway>, mailbox: Arc<Mailbox>, now: Instant) -> Self {
        let flush_ms = u64::try_from(gateway.flush.as_millis()).unwrap_or(u64::MAX);
        let depths = Depths::of(&gateway.metrics);
        let sweep_every = (gateway.ping / SWEEPS).clamp(SWEEP_EVERY.0, SWEEP_EVERY.1);
        Self {
            news: gateway.bulletin.join(mailbox.clone()),
            wheel: Wheel::new(flush_ms),
            gateway,
            mailbox,
            started: now,
            clock: (now, 0),
            flush_ms,
            clients: Slab::new(),
            pace: Vec::new(),
            channels: Channels::default(),
            notes: VecDeque::new(),
            notes_gone: 0,
            ready: Vec::new(),
            alarms: BTreeSet::new(),
            waiting: Waiting::default(),
            unread: Vec::new(),
            sweep_at: now + sweep_every,
            sweep_every,
            draining: false,
            counts: Counts::default(),
            depths,
            scratch: Scratch {
                marked: VecDeque::new(),
                batch: Vec::with_capacity(2 * WRITE_BYTES),
                read: vec![0; READ_BYTES].into(),
                received: Vec::new(),
                actions: Vec::new(),
            },
        }
    }

    /// The number the next client gets.
    pub fn next_number(&self) -> u32 {
        number(self.clients.vacant_key())
    }

    /// True where no client is left.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// When [`Shard::pass`] wants to be called although nothing happens.
    pub fn deadline(&self) -> Instant {
        if !self.ready.is_empty() || !self.unread.is_empty() {
            return self.started;
        }
        let alarm_ms = self.alarms.first().map(|(ms, _)| *ms);
        let due_ms = [self.wheel.next_due_ms(), alarm_ms].into_iter().flatten().min();
        let due = due_ms.map(|ms| self.started + Duration::from_millis(ms));
        [due, self.waiting.until].into_iter().flatten().fold(self.sweep_at, Instant::min)
    }

    /// Takes a client in.
    pub fn insert(&mut self, mut arrival: Arrival<S>, now: Instant) {
        let metrics = &self.gateway.metrics;
        metrics.opened.inc();
        let is_full = arrival.place.is_none();
        if !is_full {
            metrics.connections.inc();
        }
        let ping_at = now + self.gateway.ping.mul_f64(fastrand::f64());
        let news_next = self.notes_gone + self.notes.len() as u64;
        let (peer, early, first) = (arrival.peer, take(&mut arrival.early), arrival.first.take());
        let client = Client::new(arrival, &self.gateway.limits, now, ping_at, news_next);
        let index = number(self.clients.insert(client));
        if self.pace.len() <= index as usize {
            self.pace.resize(index as usize + 1, Pace::default());
        }
        self.pace[index as usize] = Pace::default();
        debug!(client = index, %peer, is_full, "client came");
        if is_full {
            return self.end(index, End::FULL, now);
        }
        if self.draining {
            self.send_elsewhere(index, now);
        }
        if let Some(request) = first {
            // Nor could it ask how the venues are.
            self.greet(index);
            self.ask(index, &request, now);
        }
        self.take_bytes(index, &early, now);
    }

    /// The client's socket has something to read, or ended.
    pub fn readable(&mut self, index: u32, now: Instant) {
        let mut buffer = take(&mut self.scratch.read);
        let mut turns = 0;
        while let Some(client) = self.clients.get_mut(index as usize) {
            if turns == READS_A_TURN {
                self.unread.push(index);
                break;
            }
            turns += 1;
            match client.socket.read(&mut buffer) {
                Ok(0) => self.lost(index, now),
                Ok(count) => self.take_bytes(index, &buffer[..count], now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.lost(index, now),
            }
        }
        self.scratch.read = buffer;
    }

    /// The client's socket takes data again.
    pub fn writable(&mut self, index: u32, now: Instant) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        let Some(since) = client.blocked_since.take() else { return };
        let taken = self.counts.bytes();
        self.write_to(index, now);
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        if self.counts.bytes() != taken {
            // A full socket takes more only where the client has read: it lives, though our ping waits behind all that.
            client.heard_at = now;
        } else if client.blocked_since.is_some() {
            client.blocked_since = Some(since);
        }
    }

    /// Does all there is to do: news, marked channels, clients whose time has come.
    pub fn pass(&mut self, now: Instant) {
        if self.mailbox.take_notice() {
            self.look_around(now);
        }
        let now_ms = self.millis(now);
        let mut marked = take(&mut self.scratch.marked);
        self.mailbox.take_slots(&mut marked);
        for number in marked.drain(..) {
            for client in self.channels.follow(number) {
                mark(&mut self.pace[*client as usize], *client, now_ms, &mut self.ready, &mut self.wheel);
            }
        }
        self.scratch.marked = marked;
        if take(&mut self.channels.has_news) {
            self.waiting.look_soon(now);
        }
        if self.waiting.until.is_some_and(|until| until <= now) {
            self.look_at_waiting(now);
        }
        for index in take(&mut self.unread) {
            self.readable(index, now);
        }
        if self.sweep_at <= now {
            self.sweep_at = now + self.sweep_every;
            self.sweep(now);
        }
        while self.alarms.first().is_some_and(|(ms, _)| *ms <= now_ms)
            && let Some((_, index)) = self.alarms.pop_first()
        {
            if let Some(rates) = self.clients.get_mut(index as usize).and_then(|client| client.rates.as_mut())
            {
                rates.alarm_ms = None;
            }
            self.set_alarm(index, now_ms);
            mark(&mut self.pace[index as usize], index, now_ms, &mut self.ready, &mut self.wheel);
        }
        self.wheel.take_due(now_ms, &mut self.ready);
        // Whoever has more than a turn's worth is put back, and served in the next pass.
        let turn = self.ready.len();
        for place in 0..turn {
            self.write_to(self.ready[place], now);
        }
        self.ready.drain(..turn);
        self.publish_counts();
    }

    /// The shard's clock in milliseconds; asked for once for each client of a pass, so the last answer is kept.
    fn millis(&mut self, now: Instant) -> u64 {
        if self.clock.0 != now {
            let passed = now.saturating_duration_since(self.started).as_millis();
            self.clock = (now, u64::try_from(passed).unwrap_or(u64::MAX));
        }
        self.clock.1
    }

    /// The client has something that should not wait for its pace.
    fn hurry(&mut self, index: u32) {
        let pace = &mut self.pace[index as usize];
        if !pace.waits {
            pace.waits = true;
            self.ready.push(index);
        }
    }

    fn take_bytes(&mut self, index: u32, bytes: &[u8], now: Instant) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        // Whoever is being let go may say what he likes, and who only listens has nothing to say.
        if bytes.is_empty() || client.closing.is_some() || !client.form.is_websocket() {
            return;
        }
        client.heard_at = now;
        let mut received = take(&mut self.scratch.received);
        let result = client.reader.read(bytes, |message| received.push(message));
        for message in received.drain(..) {
            self.receive(index, message, now);
            // Many questions in one read: answers go out meanwhile, as long as the client takes them.
            if self.clients.get(index as usize).is_some_and(|client| {
                client.replies.len() >= REPLIES_MAX / 2 || client.replies.bytes() >= REPLIES_BYTES_MAX / 2
            }) {
                self.write_to(index, now);
            }
        }
        self.scratch.received = received;
        if let Err(broken) = result {
            self.end(index, End::of(broken), now);
        }
        if self.clients.contains(index as usize) {
            self.hurry(index);
        }
    }

    fn receive(&mut self, index: u32, message: Received, now: Instant) {
        let Some(client) = self.clients.get_mut(index as usize).filter(|client| client.closing.is_none())
        else {
            return;
        };
        if client.replies.len() > REPLIES_MAX || client.replies.bytes() > REPLIES_BYTES_MAX {
            self.gateway.metrics.dropped("client_replies");
            return self.end(
                index,
                End::Close(code::NOT_KEPT_UP, "could not keep up with control messages"),
                now,
            );
        }
        let mut actions = take(&mut self.scratch.actions);
        match message {
            Received::Text(text) => {
                let _entered = debug_span!("client", client = index, peer = %client.peer).entered();
                let held = self.channels.held(&client.subs, client.rates.as_deref());
                client.session.receive(&text, now, &*self.gateway.venues, &held, &mut actions);
            }
            Received::Binary => client.session.receive_binary(now, &mut actions),
            Received::Ping(payload) => client.replies.push(Reply::Pong(payload.into())),
            Received::Pong => {}
            Received::Close(code) => {
                client.replies.push(Reply::Close(code.unwrap_or(code::NORMAL), ""));
                self.end(index, End::Peer(code.unwrap_or(code::NORMAL)), now);
            }
        }
        self.act(index, &mut actions, now);
        self.scratch.actions = actions;
    }

    /// Asks for something in the client's name.
    fn ask(&mut self, index: u32, request: &Request, now: Instant) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        let mut actions = take(&mut self.scratch.actions);
        let held = self.channels.held(&client.subs, client.rates.as_deref());
        client.session.perform(request, &*self.gateway.venues, &held, &mut actions);
        self.act(index, &mut actions, now);
        self.scratch.actions = actions;
        self.hurry(index);
    }

    fn act(&mut self, index: u32, actions: &mut Vec<Action>, now: Instant) {
        let has_joined = actions.iter().any(|action| matches!(action, Action::Join { .. }));
        for action in actions.drain(..) {
            match action {
                Action::Send(message) => self.reply(index, Reply::Message(message)),
                Action::Join { key, away, rate } => self.join(index, &key, away, rate),
                Action::Tune(key, rate) => self.tune(index, &key, rate, now),
                Action::Answer(answer) => self.answer(index, answer, now),
                Action::Defer(request) => self.defer(index, request, now),
                Action::Leave(key) => self.leave(index, &key),
                Action::Refused(code) => self.gateway.metrics.error(code),
            }
        }
        if has_joined && let Some(client) = self.clients.get_mut(index as usize) {
            client.subs.shrink_to_fit();
        }
    }

    fn reply(&mut self, index: u32, reply: Reply) {
        if let Some(client) = self.clients.get_mut(index as usize) {
            client.replies.push(reply);
        }
    }

    fn join(&mut self, index: u32, key: &ChannelKey, away: bool, rate: Rate) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        let number = self.channels.open(key, &self.gateway.hub, &self.mailbox);
        if let Err(place) = client.subs.binary_search_by_key(&number, |sub| sub.channel)
            && let Some(sub) = self.channels.join(number, index, away)
        {
            client.subs.insert(place, sub);
            client.form.joined(number, key);
            self.gateway.metrics.subscriptions.inc();
            self.set_rate(index, place, rate);
        }
    }

    /// Delivers a channel in another way from now on.
    fn tune(&mut self, index: u32, key: &ChannelKey, rate: Rate, now: Instant) {
        let Some(client) = self.clients.get(index as usize) else { return };
        if let Some(place) = self.channels.find(&client.subs, key) {
            self.set_rate(index, place, rate);
            let now_ms = self.millis(now);
            self.set_alarm(index, now_ms);
            self.hurry(index);
        }
    }

    fn set_rate(&mut self, index: u32, place: usize, rate: Rate) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        let sub = &mut client.subs[place];
        if rate.merges() {
            self.channels.fold(sub.channel);
        }
        match rate.mode {
            Mode::Latest { min_interval_ms } => {
                client.rates.get_or_insert_default().set(sub.channel, min_interval_ms);
                sub.set(special::LATEST);
            }
            Mode::Every => {
                if let Some(rates) = &mut client.rates {
                    rates.remove(sub.channel);
                }
                // What waited for its time and is not there any more tick by tick comes as it would have come.
                if sub.is(special::LATEST) && !self.channels.has_all_behind(sub) {
                    sub.set(special::FOLDS);
                }
                sub.unset(special::LATEST);
            }
        }
        match rate.on_slow {
            OnSlow::Gap => sub.unset(special::MERGES),
            OnSlow::Merge => sub.set(special::MERGES),
        }
    }

    /// Sees to it that the client is looked at when the next of its symbols opens.
    fn set_alarm(&mut self, index: u32, now_ms: u64) {
        let Some(rates) = self.clients.get_mut(index as usize).and_then(|client| client.rates.as_mut())
        else {
            return;
        };
        let next_ms = rates.next_ms(now_ms);
        if next_ms == rates.alarm_ms {
            return;
        }
        if let Some(old_ms) = std::mem::replace(&mut rates.alarm_ms, next_ms) {
            self.alarms.remove(&(old_ms, index));
        }
        if let Some(next_ms) = next_ms {
            self.alarms.insert((next_ms, index));
        }
    }

    fn leave(&mut self, index: u32, key: &ChannelKey) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        if let Some(place) = self.channels.find(&client.subs, key) {
            let sub = client.subs.remove(place);
            if let Some(rates) = &mut client.rates {
                rates.remove(sub.channel);
            }
            self.leave_channel(&sub);
            self.forget_in_answers(index, key);
        }
    }

    fn leave_channel(&mut self, sub: &Sub) {
        self.gateway.metrics.subscriptions.dec();
        if let Some(moved) = self.channels.leave(sub)
            && let Some(client) = self.clients.get_mut(moved as usize)
            && let Ok(place) = client.subs.binary_search_by_key(&sub.channel, |sub| sub.channel)
        {
            client.subs[place].move_to(sub.place());
        }
    }

    /// Begins the end of a connection, or ends it at once where there is nobody to talk to.
    fn end(&mut self, index: u32, end: End, now: Instant) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        if matches!(end, End::Lost | End::Stuck) {
            return self.remove(index, end, now);
        }
        if client.closing.is_some() {
            return;
        }
        if let End::Close(code, reason) = end {
            // What waited is not worth keeping the end waiting for.
            client.replies.clear();
            client.replies.push(Reply::Close(code, reason));
        }
        client.closing = Some(Closing { end, until: now + FAREWELL_WITHIN });
        for sub in take(&mut client.subs) {
            self.leave_channel(&sub);
        }
        self.hurry(index);
    }

    /// The socket ended or broke.
    fn lost(&mut self, index: u32, now: Instant) {
        let end = self.clients.get(index as usize).and_then(|client| client.closing.as_ref());
        let end = end.map_or(End::Lost, |closing| closing.end);
        self.remove(index, end, now);
    }

    fn remove(&mut self, index: u32, end: End, now: Instant) {
        let Some(mut client) = self.clients.try_remove(index as usize) else { return };
        for sub in take(&mut client.subs) {
            self.leave_channel(&sub);
        }
        if let Some(alarm_ms) = client.rates.take().and_then(|rates| rates.alarm_ms) {
            self.alarms.remove(&(alarm_ms, index));
        }
        debug!(client = index, peer = %client.peer, ?end, "client gone");
        let metrics = &self.gateway.metrics;
        if client.place.is_some() {
            metrics.connections.dec();
            let stayed = now.saturating_duration_since(client.opened_at);
            metrics.duration.observe(stayed.as_secs_f64());
        }
        metrics.closed(end.code());
    }
}

/// Puts a client where its time comes: at once after a pause, else when it may be written to again.
fn mark(pace: &mut Pace, client: u32, now_ms: u64, ready: &mut Vec<u32>, wheel: &mut Wheel) {
    if pace.waits {
        return;
    }
    pace.waits = true;
    if pace.open_from_ms <= now_ms {
        ready.push(client);
    } else {
        wheel.insert(pace.open_from_ms, client);
    }
}

fn number(index: usize) -> u32 {
    // There are never so many: connections and channels are limited far below.
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl End {
    fn of(broken: Broken) -> Self {
        match broken {
            Broken::TooBig => Self::Close(code::TOO_BIG, "message too big"),
            Broken::NotText => Self::Close(code::NOT_TEXT, "text frames hold UTF-8"),
            Broken::Protocol => Self::Close(code::PROTOCOL, "not the WebSocket protocol"),
        }
    }
}

#[cfg(test)]
mod tests;
