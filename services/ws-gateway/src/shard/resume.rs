use std::time::{Duration, Instant};

use super::channels::Place;
use super::sub::special;
use super::{Shard, Socket};
use crate::answer::Answer;
use crate::hub::ChannelKey;
use crate::protocol::Subscribe;
use crate::reply::Reply;
use crate::session::World as _;

/// So long an answer waits for the history of its channels, or a request for the venue's names.
pub(crate) const HISTORY_WITHIN: Duration = Duration::from_secs(2);

/// So long an answer waits for ticks that the client got elsewhere and that have not come here yet.
pub(crate) const AHEAD_WITHIN: Duration = Duration::from_millis(250);

/// They are looked at no more often than this, however much becomes known meanwhile.
const LOOKS_EVERY: Duration = Duration::from_millis(5);

/// Requests of one client that may wait. One more is answered with what is known.
const PARKED_MAX: usize = 8;

/// A request whose answer waits until more is known.
pub(super) struct Parked {
    wait: Wait,
    since: Instant,
}

enum Wait {
    /// For the venue's names.
    Names(Box<Subscribe>),
    /// For what the channels say of these positions; the first few are decided.
    Channels { answer: Box<Answer>, decided: usize },
}

/// The requests of one shard's clients that wait.
#[derive(Default)]
pub(super) struct Waiting {
    /// Clients that may have some, each once or more often.
    clients: Vec<u32>,
    /// When they are to be looked at next.
    pub(super) until: Option<Instant>,
}

impl Waiting {
    fn add(&mut self, client: u32, until: Instant) {
        self.clients.push(client);
        self.look_at(until);
    }

    fn look_at(&mut self, at: Instant) {
        self.until = Some(self.until.map_or(at, |known| known.min(at)));
    }

    /// Something became known that some of them may wait for.
    pub(super) fn look_soon(&mut self, now: Instant) {
        if !self.clients.is_empty() {
            self.look_at(now + LOOKS_EVERY);
        }
    }
}

impl<S: Socket> Shard<S> {
    /// Puts a request off until the names in it can be looked up.
    pub(super) fn defer(&mut self, index: u32, request: Box<Subscribe>, now: Instant) {
        self.park(index, Parked { wait: Wait::Names(request), since: now }, now);
    }

    /// Answers a request whose channels are joined, at once or when they can say what became of its positions. Until then
    /// they have nothing for this client.
    pub(super) fn answer(&mut self, index: u32, answer: Box<Answer>, now: Instant) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        for joined in &answer.joined {
            if let Some(place) = self.channels.find(&client.subs, &joined.key) {
                client.subs[place].set(special::HELD);
            }
        }
        self.park(index, Parked { wait: Wait::Channels { answer, decided: 0 }, since: now }, now);
    }

    /// The client left a channel that an answer may be about.
    pub(super) fn forget_in_answers(&mut self, index: u32, key: &ChannelKey) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        for parked in client.parked.iter_mut().flat_map(|parked| parked.iter_mut()) {
            if let Wait::Channels { answer, .. } = &mut parked.wait {
                answer.joined.retain(|joined| joined.key != *key);
            }
        }
    }

    fn park(&mut self, index: u32, mut parked: Parked, now: Instant) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        let is_full = client.parked.as_ref().is_some_and(|parked| parked.len() >= PARKED_MAX);
        if is_full {
            self.gateway.metrics.dropped("client_answers");
        }
        match self.wait_until(index, &mut parked, now) {
            Some(until) if !is_full => {
                if let Some(client) = self.clients.get_mut(index as usize) {
                    client.parked.get_or_insert_default().push(parked);
                    self.waiting.add(index, until);
                }
            }
            _ => self.release(index, parked, now),
        }
    }

    /// Looks at all that waits: something may have become known, or have taken too long.
    pub(super) fn look_at_waiting(&mut self, now: Instant) {
        self.waiting.until = None;
        for index in std::mem::take(&mut self.waiting.clients) {
            let Some(client) = self.clients.get_mut(index as usize) else { continue };
            let Some(all) = client.parked.take() else { continue };
            let mut left = Vec::new();
            for mut parked in *all {
                match self.wait_until(index, &mut parked, now) {
                    Some(until) => {
                        left.push(parked);
                        self.waiting.add(index, until);
                    }
                    None => self.release(index, parked, now),
                }
            }
            // What was released may have parked something new, which comes behind.
            if !left.is_empty()
                && let Some(client) = self.clients.get_mut(index as usize)
            {
                let later = client.parked.take();
                left.extend(later.into_iter().flat_map(|later| *later));
                client.parked = Some(Box::new(left));
            }
        }
    }

    /// How long a request is to wait yet; `None` where it can be answered now.
    fn wait_until(&mut self, index: u32, parked: &mut Parked, now: Instant) -> Option<Instant> {
        let until = match &mut parked.wait {
            Wait::Names(request) => {
                let venues = &self.gateway.venues;
                let venue = request.source.as_deref().map_or(Some(0), |source| venues.number(source));
                let is_there = venue.is_none_or(|venue| venues.book(venue).is_some());
                (!is_there).then_some(parked.since + HISTORY_WITHIN)
            }
            Wait::Channels { answer, decided } => {
                let client = self.clients.get(index as usize)?;
                loop {
                    let Some(resumed) = answer.resumed.get(*decided) else { break None };
                    let place = self.channels.find(&client.subs, &resumed.key);
                    match place.map(|place| self.channels.place(&client.subs[place], resumed.position)) {
                        Some(Place::Unsettled) => break Some(parked.since + HISTORY_WITHIN),
                        Some(Place::Ahead) => break Some(parked.since + AHEAD_WITHIN),
                        Some(Place::Here | Place::Nowhere) | None => *decided += 1,
                    }
                }
            }
        };
        until.filter(|until| *until > now)
    }

    /// Answers a request with what is known now.
    fn release(&mut self, index: u32, parked: Parked, now: Instant) {
        match parked.wait {
            Wait::Names(request) => {
                let Some(client) = self.clients.get_mut(index as usize) else { return };
                let mut actions = Vec::new();
                let held = self.channels.held(&client.subs, client.rates.as_deref());
                client.session.subscribe(&request, false, &*self.gateway.venues, &held, &mut actions);
                self.act(index, &mut actions, now);
                self.hurry(index);
            }
            Wait::Channels { mut answer, .. } => {
                for place in 0..answer.resumed.len() {
                    let recovered = self.go_on(index, &answer, place);
                    answer.decide(place, recovered);
                }
                // Those that do not go on begin with what is known now.
                for joined in &answer.joined {
                    let Some(client) = self.clients.get_mut(index as usize) else { return };
                    if let Some(place) = self.channels.find(&client.subs, &joined.key)
                        && client.subs[place].is(special::HELD)
                    {
                        self.channels.rejoin(&mut client.subs[place], joined.away);
                        client.subs[place].unset(special::HELD);
                    }
                }
                self.reply(index, Reply::Message(answer.message(self.gateway.venues.now_ms())));
                answer.then.into_iter().for_each(|message| self.reply(index, Reply::Message(message)));
                self.hurry(index);
            }
        }
    }

    /// Lets a client go on where it stopped; false where it cannot.
    fn go_on(&mut self, index: u32, answer: &Answer, resumed: usize) -> bool {
        let resumed = &answer.resumed[resumed];
        let Some(client) = self.clients.get_mut(index as usize) else { return false };
        let Some(place) = self.channels.find(&client.subs, &resumed.key) else { return false };
        let sub = &mut client.subs[place];
        match answer.joined.iter().find(|joined| joined.key == resumed.key) {
            Some(joined) if sub.is(special::HELD) => {
                let has_gone_on = self.channels.go_on(sub, resumed.position, joined.away);
                if has_gone_on {
                    sub.unset(special::HELD);
                }
                has_gone_on
            }
            // It reads the channel already and goes on as it does.
            _ => !sub.is(special::HELD) && self.channels.is_at(sub, resumed.position),
        }
    }
}
