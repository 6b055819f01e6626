use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::feed::{Reading, Step};
use crate::form::merged_json;
use crate::frame::Gap;
use crate::gateway::Gateway;
use crate::hub::{ChannelKey, Reader, Seat};
use crate::places::Places;
use crate::protocol::Subscribe;
use crate::rate::{Mode, Rate};
use crate::session::{Action, ClientSession, Held, World as _};
use crate::shard::{AHEAD_WITHIN, HISTORY_WITHIN};
use crate::stream::Understood;
use crate::wire::payload_of;

/// Bytes of one answer, and a message more; the rest comes with the next.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What one poll gets.
#[derive(Debug)]
pub struct Polled {
    /// Every message, JSON, in its order: the answer to the subscribe first.
    pub messages: Vec<Bytes>,
    /// The ticks among them.
    pub ticks: Vec<Bytes>,
    /// The names of which no tick is among them.
    pub missing: Vec<String>,
    /// How far the client is with that.
    pub places: Places,
    /// There was more than one answer holds.
    pub has_more: bool,
}

/// Keeps the channels of clients that poll, so that they are still there when the next request comes.
#[derive(Default)]
pub struct Polls(Mutex<HashMap<ChannelKey, (Seat, Instant)>>);

/// So long after a request its channels are kept.
const KEPT_FOR: Duration = Duration::from_secs(10);

impl Polls {
    /// Keeps a channel from now on; there is at most one seat for each, so there are no more than channels.
    fn keep(&self, key: ChannelKey, seat: Seat) {
        let until = Instant::now() + KEPT_FOR;
        self.kept().insert(key, (seat, until));
    }

    /// Lets go what was not asked for again, until `end`.
    pub async fn run(&self, end: CancellationToken) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        while end.run_until_cancelled(second.tick()).await.is_some() {
            let now = Instant::now();
            self.kept().retain(|_, (_, until)| *until > now);
        }
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<ChannelKey, (Seat, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client for the time of one request: it reads its channels like any other, from its positions or from the last known tick
/// on. Where no tick and no gap is there it waits for one until `until`.
pub async fn poll(gateway: &Gateway, polls: &Polls, wanted: Understood, until: Instant) -> Polled {
    let bell = Arc::new(Bell::default());
    let mut poll = Poll::join(gateway, &bell, wanted);
    poll.settle(gateway, &bell).await;
    while !poll.read() && Instant::now() < until {
        tokio::select! {
            () = bell.0.notified() => {}
            () = tokio::time::sleep_until(until.into()) => {}
            () = gateway.stop.cancelled() => break,
        }
    }
    poll.done(gateway, polls)
}

/// Wakes the request.
#[derive(Default)]
struct Bell(Notify);

impl Reader for Bell {
    fn mark(&self, _slot: u32) {
        self.0.notify_one();
    }
}

/// A client that has nothing yet.
struct Nothing;

impl Held for Nothing {
    fn count(&self) -> usize {
        0
    }

    fn rate(&self, _key: &ChannelKey) -> Option<Rate> {
        None
    }

    fn all(&self) -> Vec<(ChannelKey, Rate)> {
        Vec::new()
    }
}

struct Poll {
    places: Places,
    names: Vec<String>,
    subscribe: Subscribe,
    joined: Vec<Joined>,
    /// Not said yet, as it says what was recovered.
    answer: Option<Box<Answer>>,
    messages: Vec<Bytes>,
    ticks: Vec<Bytes>,
    has_tick: Vec<bool>,
    bytes: usize,
    has_more: bool,
}

struct Joined {
    key: ChannelKey,
    seat: Seat,
    reading: Reading,
    place: Option<usize>,
    away: bool,
}

impl Poll {
    fn join(gateway: &Gateway, bell: &Arc<Bell>, wanted: Understood) -> Self {
        let Understood { subscribe, places, names, .. } = wanted;
        let mut poll = Self {
            has_tick: vec![false; names.len()],
            places,
            names,
            subscribe,
            joined: Vec::new(),
            answer: None,
            messages: Vec::new(),
            ticks: Vec::new(),
            bytes: 0,
            has_more: false,
        };
        let mut session = ClientSession::new(gateway.limits.clone(), Instant::now());
        let mut actions = Vec::new();
        session.subscribe(&poll.subscribe, false, &*gateway.venues, &Nothing, &mut actions);
        for action in actions {
            match action {
                Action::Send(message) => poll.say(message),
                Action::Join { key, away, .. } => poll.sit(gateway, bell, key, away),
                // Its channels were joined before.
                Action::Answer(answer) => poll.answer = Some(answer),
                Action::Refused(code) => gateway.metrics.error(code),
                // It holds nothing it could leave, and does not wait for names: it comes back anyway.
                _ => {}
            }
        }
        poll
    }

    fn sit(&mut self, gateway: &Gateway, bell: &Arc<Bell>, key: ChannelKey, away: bool) {
        let slot = u32::try_from(self.joined.len()).unwrap_or(u32::MAX);
        let mut seat = gateway.hub.join(&key, bell.clone(), slot);
        if self.subscribe.rate.mode != Mode::Every {
            seat.fold();
        }
        let reading = seat.join(away);
        let place = self.places.find(&key.symbol);
        self.joined.push(Joined { key, seat, reading, place, away });
    }

    /// Finds out from which of its positions the client can go on, as far as that can be known soon, and says so.
    async fn settle(&mut self, gateway: &Gateway, bell: &Bell) {
        let Some(mut answer) = self.answer.take() else { return };
        let began = Instant::now();
        for (number, resumed) in answer.resumed.clone().into_iter().enumerate() {
            let Some(joined) = self.joined.iter_mut().find(|joined| joined.key == resumed.key) else {
                continue;
            };
            let recovered = loop {
                joined.seat.follow();
                let feed = joined.seat.feed();
                if let Some(reading) = feed.resume(resumed.position, joined.away) {
                    joined.reading = reading;
                    break true;
                }
                let is_ahead = feed.last().is_some_and(|last| resumed.position > last.position);
                let until = match (feed.is_settled(), is_ahead) {
                    (false, _) => began + HISTORY_WITHIN,
                    (true, true) => began + AHEAD_WITHIN,
                    (true, false) => break false,
                };
                tokio::select! {
                    () = bell.0.notified() => {}
                    () = tokio::time::sleep_until(until.into()) => break false,
                    () = gateway.stop.cancelled() => break false,
                }
            };
            if !recovered {
                // What came while it waited is part of the snapshot.
                joined.reading = joined.seat.join(joined.away);
            }
            answer.decide(number, recovered);
        }
        self.say(answer.message(gateway.venues.now_ms()));
        answer.then.into_iter().for_each(|message| self.say(message));
    }

    /// Takes what is there; true where that is any tick or gap.
    fn read(&mut self) -> bool {
        let merges = self.subscribe.rate.mode != Mode::Every;
        let mut joined = std::mem::take(&mut self.joined);
        let mut has_prices = false;
        for Joined { seat, reading, place, .. } in &mut joined {
            seat.follow();
            let feed = seat.feed();
            loop {
                if self.bytes >= ANSWER_BYTES_MAX {
                    self.has_more = true;
                    break;
                }
                let mut gaps: Vec<Gap> = Vec::new();
                let step = if merges {
                    feed.next_merged(reading, true, |gap| gaps.push(gap))
                } else {
                    feed.next(reading)
                };
                if step.is_none() && gaps.is_empty() {
                    break;
                }
                let (tick, state) = match step {
                    None => (None, None),
                    Some(Step::Gap(gap)) => {
                        gaps.push(gap);
                        (None, None)
                    }
                    Some(Step::State(json)) => (None, Some(json)),
                    Some(Step::Tick(frame)) => (Some((frame.position, payload_of(frame.text()))), None),
                    Some(Step::Snapshot(frame)) => {
                        (Some((frame.position, payload_of(frame.snapshot()))), None)
                    }
                    Some(Step::Merged(merged)) => (Some((merged.frame.position, merged_json(&merged))), None),
                };
                has_prices |= tick.is_some() || !gaps.is_empty();
                for gap in gaps {
                    if let Some(place) = place {
                        self.places.miss(*place, &gap);
                    }
                    self.say(feed.writer().gap(&gap));
                }
                if let Some((position, json)) = tick {
                    if let Some(place) = place {
                        self.places.set(*place, position);
                        self.has_tick[*place] = true;
                    }
                    self.ticks.push(json.clone());
                    self.say(json);
                }
                if let Some(json) = state {
                    self.say(json);
                }
            }
        }
        self.joined = joined;
        has_prices
    }

    fn say(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.messages.push(message);
    }

    fn done(self, gateway: &Gateway, polls: &Polls) -> Polled {
        self.joined.into_iter().for_each(|joined| polls.keep(joined.key, joined.seat));
        gateway.metrics.delivered.inc_by(self.ticks.len() as u64);
        let names = self.names.into_iter().zip(self.has_tick);
        Polled {
            messages: self.messages,
            ticks: self.ticks,
            missing: names.filter(|(_, has_tick)| !has_tick).map(|(name, _)| name).collect(),
            places: self.places,
            has_more: self.has_more,
        }
    }
}

/// The longest wait of one poll.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
