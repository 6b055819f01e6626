use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use tickcast_model::{Position, Symbol, VenueId};

use crate::answer::{Answer, Joined, Resumed};
use crate::hub::ChannelKey;
use crate::limits::{ClientLimits, TokenBucket};
use crate::protocol::{self, ErrorCode, Failure, Granted, Request, Subscribe, SymbolResult, Unsubscribe};
use crate::rate::Rate;

/// A venue's number: its place in the gateway's list.
pub type VenueNumber = u16;

/// What a name means at a venue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookUp {
    /// The venue's spelling of it.
    Symbol(Symbol),
    /// The venue's catalogue is known and does not have it.
    Unknown,
    /// The venue's catalogue is not known yet.
    NotYet,
}

/// What a session sees of the gateway around it.
pub trait World {
    /// The venues, the default one first. There is at least one.
    fn venues(&self) -> &[VenueId];
    /// What a name means.
    fn look_up(&self, venue: VenueNumber, name: &str) -> LookUp;
    /// Whether the venue can serve at the moment.
    fn is_ready(&self, venue: VenueNumber) -> bool;
    /// Whether the gateway can hold this channel, and so many others that are about to be joined.
    fn has_room(&self, key: &ChannelKey, besides: usize) -> bool;
    /// The venue's current `status` message with its symbols.
    fn status(&self, venue: VenueNumber) -> Bytes;
    /// Unix milliseconds.
    fn now_ms(&self) -> i64;
}

/// The channels a client holds. Its writer knows them anyway, so the session does not keep them a second time.
pub trait Held {
    /// How many.
    fn count(&self) -> usize;
    /// How this one is delivered, where it is among them.
    fn rate(&self, key: &ChannelKey) -> Option<Rate>;
    /// All of them.
    fn all(&self) -> Vec<(ChannelKey, Rate)>;
}

/// What the session wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Say this to the client.
    Send(Bytes),
    /// Join a channel, which is not held yet.
    Join {
        /// Which channel.
        key: ChannelKey,
        /// The venue cannot serve at the moment.
        away: bool,
        /// How it is to be delivered.
        rate: Rate,
    },
    /// Deliver a channel that is held in another way.
    Tune(ChannelKey, Rate),
    /// Say this once the channels can tell what became of the positions in it. Its channels were joined before.
    Answer(Box<Answer>),
    /// Ask for this again by [`ClientSession::subscribe`] when more is known: what it resumes cannot be looked up yet.
    Defer(Box<Subscribe>),
    /// Leave a channel that is held.
    Leave(ChannelKey),
    /// Count a refusal (the client is told by a `Send`).
    Refused(ErrorCode),
}

/// One client: what it said, what it is told, and which channels it wants. No sockets, no clock.
pub struct ClientSession {
    limits: Arc<ClientLimits>,
    bucket: TokenBucket,
    /// Names that wait for a venue's catalogue, as the client wrote them: until then nobody knows which of them mean the same.
    waiting: BTreeMap<(VenueNumber, String), Rate>,
}

/// One venue of the gateway.
#[derive(Clone, Copy)]
struct Venue<'a> {
    number: VenueNumber,
    id: &'a VenueId,
}

/// What one request for symbols has led to so far.
#[derive(Default)]
struct Made {
    joins: Vec<Joined>,
    joined: HashSet<ChannelKey>,
    tunes: Vec<Action>,
    tuned: HashSet<ChannelKey>,
    resumed: Vec<Resumed>,
    pending: Vec<Bytes>,
    /// The number of the result under way.
    result: usize,
}

impl ClientSession {
    /// A session that wants nothing yet.
    pub fn new(limits: Arc<ClientLimits>, now: Instant) -> Self {
        Self { bucket: TokenBucket::new(limits.messages_per_s, now), limits, waiting: BTreeMap::new() }
    }

    /// True where names wait for a catalogue, see [`ClientSession::resolve`].
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a text message.
    pub fn receive(
        &mut self,
        text: &str,
        now: Instant,
        world: &impl World,
        held: &impl Held,
        actions: &mut Vec<Action>,
    ) {
        if !self.bucket.take(now) {
            let message = format!("at most {} messages in a second", self.limits.messages_per_s);
            return refuse(ErrorCode::RateLimited, &message, None, None, actions);
        }
        match protocol::read(text, self.limits.symbols_per_message_max()) {
            Ok(request) => self.perform(&request, world, held, actions),
            Err(Failure { code, message, id }) => refuse(code, &message, id.as_ref(), None, actions),
        }
    }

    /// Does what a client asks for, however it came to ask.
    pub fn perform(
        &mut self,
        request: &Request,
        world: &impl World,
        held: &impl Held,
        actions: &mut Vec<Action>,
    ) {
        match request {
            Request::Connect => {
                let venues = 0..u16::try_from(world.venues().len()).unwrap_or(VenueNumber::MAX);
                actions.extend(venues.map(|venue| Action::Send(world.status(venue))));
            }
            Request::Subscribe(request) => self.subscribe(request, true, world, held, actions),
            Request::Unsubscribe(request) => self.unsubscribe(request, world, held, actions),
            Request::Subscriptions { id } => actions.push(self.subscriptions(id.as_ref(), world, held)),
            Request::Ping { id } => {
                actions.push(Action::Send(protocol::pong(id.as_ref(), world.now_ms())));
            }
        }
    }

    /// Takes a binary message, of which the protocol has none.
    pub fn receive_binary(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.bucket.take(now) {
            let message = "messages are text frames; a binary frame means nothing here";
            refuse(ErrorCode::BadMessage, message, None, None, actions);
        } else {
            let message = format!("at most {} messages in a second", self.limits.messages_per_s);
            refuse(ErrorCode::RateLimited, &message, None, None, actions);
        }
    }

    /// Looks the waiting names up again; call it when a catalogue may have become known.
    pub fn resolve(&mut self, world: &impl World, held: &impl Held, actions: &mut Vec<Action>) {
        let mut found = Vec::new();
        self.waiting.retain(|(venue, name), rate| match world.look_up(*venue, name) {
            LookUp::NotYet => true,
            meaning => {
                found.push((*venue, name.clone(), *rate, meaning));
                false
            }
        });
        let mut made = Made::default();
        for (number, name, rate, meaning) in found {
            let Some(id) = world.venues().get(usize::from(number)) else { continue };
            let (code, message) = match meaning {
                LookUp::Symbol(symbol) => {
                    let key = ChannelKey { venue: id.clone(), symbol };
                    if made.is_held(&key, held) || world.has_room(&key, made.joined.len()) {
                        let away = !world.is_ready(number);
                        made.want(Joined { key, away, rate }, held);
                        continue;
                    }
                    (ErrorCode::TooManySubscriptions, NO_ROOM)
                }
                LookUp::Unknown | LookUp::NotYet => {
                    (ErrorCode::UnknownSymbol, "the venue has no such symbol; the subscription has ended")
                }
            };
            actions.push(Action::Refused(code));
            actions.push(Action::Send(protocol::symbol_refused(id, &name, code, message)));
        }
        actions.append(&mut made.tunes);
        actions.extend(made.joins.into_iter().map(Joined::action));
    }

    /// Answers a subscribe. Where it `may_wait` and wants to go on with symbols that cannot be looked up yet, it is put off.
    pub fn subscribe(
        &mut self,
        request: &Subscribe,
        may_wait: bool,
        world: &impl World,
        held: &impl Held,
        actions: &mut Vec<Action>,
    ) {
        let Some(venue) = venue(request.source.as_deref(), request.id.as_ref(), world, actions) else {
            return;
        };
        let is_early = |name: &String| {
            resumed(request, venue, name, world).is_some()
                && world.look_up(venue.number, name) == LookUp::NotYet
        };
        if may_wait && request.symbols.iter().any(is_early) {
            return actions.push(Action::Defer(Box::new(request.clone())));
        }
        let mut made = Made::default();
        let mut results = Vec::with_capacity(request.symbols.len());
        for name in &request.symbols {
            made.result = results.len();
            let result = match self.subscribe_one(venue, name, request, world, held, &mut made) {
                Ok(result) => result,
                Err((code, message)) => {
                    actions.push(Action::Refused(code));
                    failed(name, venue.id, code, message)
                }
            };
            results.push(result);
        }
        if made.resumed.is_empty() {
            let response =
                protocol::symbol_results("subscribeResponse", &results, request.id.as_ref(), world.now_ms());
            actions.push(Action::Send(response));
            actions.extend(made.pending.into_iter().map(Action::Send));
            actions.append(&mut made.tunes);
            actions.extend(made.joins.into_iter().map(Joined::action));
            return;
        }
        actions.append(&mut made.tunes);
        actions.extend(made.joins.iter().cloned().map(Joined::action));
        let Made { joins: joined, resumed, pending: then, .. } = made;
        actions.push(Action::Answer(Box::new(Answer {
            results,
            id: request.id.clone(),
            joined,
            resumed,
            then,
        })));
    }

    fn subscribe_one(
        &mut self,
        venue: Venue<'_>,
        name: &str,
        request: &Subscribe,
        world: &impl World,
        held: &impl Held,
        made: &mut Made,
    ) -> Result<SymbolResult, (ErrorCode, String)> {
        let asked = Symbol::new(name)
            .ok_or_else(|| (ErrorCode::BadMessage, "not a symbol: 1 to 128 bytes of text".to_owned()))?;
        let resume = resumed(request, venue, name, world);
        let mut result = SymbolResult {
            symbol: name.to_owned(),
            source: venue.id.clone(),
            status: "subscribed",
            code: None,
            message: None,
            granted: Some(Granted::of(request.rate)),
            recovered: resume.map(|_| false),
        };
        let away = !world.is_ready(venue.number);
        if away {
            result.code = Some(crate::feed::VENUE_DOWN);
            result.message = Some("the venue is not available; the symbol becomes live by itself".into());
        }
        match world.look_up(venue.number, name) {
            LookUp::Symbol(symbol) => {
                symbol.as_str().clone_into(&mut result.symbol);
                let key = ChannelKey { venue: venue.id.clone(), symbol };
                if !made.is_held(&key, held) {
                    self.check_room(Some(&key), world, held, made)?;
                }
                made.want(Joined { key: key.clone(), away, rate: request.rate }, held);
                if let Some(Some(position)) = resume {
                    made.resumed.push(Resumed { result: made.result, key, position });
                }
            }
            LookUp::Unknown => {
                return Err((ErrorCode::UnknownSymbol, format!("{} has no such symbol", venue.id)));
            }
            LookUp::NotYet => {
                result.code = Some(crate::feed::VENUE_DOWN);
                result.message =
                    Some("the venue's instruments are not known yet; the symbol is looked up then".into());
                let key = (venue.number, asked.as_str().to_owned());
                if let Some(rate) = self.waiting.get_mut(&key) {
                    *rate = request.rate;
                } else {
                    self.check_room(None, world, held, made)?;
                    self.waiting.insert(key, request.rate);
                    made.pending.push(protocol::venue_down(venue.id, name));
                }
            }
        }
        Ok(result)
    }

    fn check_room(
        &self,
        key: Option<&ChannelKey>,
        world: &impl World,
        held: &impl Held,
        made: &Made,
    ) -> Result<(), (ErrorCode, String)> {
        let max = self.limits.subscriptions_max;
        if held.count() + made.joined.len() + self.waiting.len() >= max {
            return Err((ErrorCode::TooManySubscriptions, format!("at most {max} symbols at a time")));
        }
        if key.is_some_and(|key| !world.has_room(key, made.joined.len())) {
            return Err((ErrorCode::TooManySubscriptions, NO_ROOM.into()));
        }
        Ok(())
    }

    fn unsubscribe(
        &mut self,
        request: &Unsubscribe,
        world: &impl World,
        held: &impl Held,
        actions: &mut Vec<Action>,
    ) {
        let Some(venue) = venue(request.source.as_deref(), request.id.as_ref(), world, actions) else {
            return;
        };
        let mut left = HashSet::new();
        let mut results = Vec::with_capacity(request.symbols.len());
        let waiting = self.waiting.keys().filter(|(number, _)| *number == venue.number);
        let spellings = waiting.map(|(_, name)| (Symbol::lookup_key(name), name.clone())).collect();
        for name in &request.symbols {
            results.push(match self.unsubscribe_one(venue, name, &spellings, world, held, &mut left) {
                Some(symbol) => SymbolResult {
                    symbol,
                    source: venue.id.clone(),
                    status: "unsubscribed",
                    code: None,
                    message: None,
                    granted: None,
                    recovered: None,
                },
                None => {
                    actions.push(Action::Refused(ErrorCode::NotSubscribed));
                    failed(name, venue.id, ErrorCode::NotSubscribed, "there is no such subscription".into())
                }
            });
        }
        actions.extend(left.into_iter().map(Action::Leave));
        let response =
            protocol::symbol_results("unsubscribeResponse", &results, request.id.as_ref(), world.now_ms());
        actions.push(Action::Send(response));
    }

    /// The name of what was unsubscribed. Of what waits, another of its `spellings` will do where the name itself does not wait.
    fn unsubscribe_one(
        &mut self,
        venue: Venue<'_>,
        name: &str,
        spellings: &HashMap<String, String>,
        world: &impl World,
        held: &impl Held,
        left: &mut HashSet<ChannelKey>,
    ) -> Option<String> {
        if !spellings.is_empty() {
            let other = spellings.get(&Symbol::lookup_key(name)).map(String::as_str);
            let mut waits =
                |name: &str| self.waiting.remove(&(venue.number, name.to_owned())).map(|_| name.to_owned());
            if let Some(gone) = waits(name).or_else(|| waits(other?)) {
                return Some(gone);
            }
        }
        // What is held is found in its own spelling even where the catalogue has changed.
        let symbol = match world.look_up(venue.number, name) {
            LookUp::Symbol(symbol) => symbol,
            LookUp::Unknown | LookUp::NotYet => Symbol::new(name)?,
        };
        let key = ChannelKey { venue: venue.id.clone(), symbol };
        let spelling = key.symbol.as_str().to_owned();
        (held.rate(&key).is_some() && left.insert(key)).then_some(spelling)
    }

    fn subscriptions(&self, id: Option<&Value>, world: &impl World, held: &impl Held) -> Action {
        let name_of = |venue: VenueNumber| world.venues().get(usize::from(venue)).map_or("", VenueId::as_str);
        let held = held.all();
        let mut all: Vec<_> =
            held.iter().map(|(key, rate)| (key.venue.as_str(), key.symbol.as_str(), *rate)).collect();
        let waiting = self.waiting.iter();
        all.extend(waiting.map(|((venue, name), rate)| (name_of(*venue), name.as_str(), *rate)));
        all.sort_unstable_by_key(|(venue, symbol, _)| (*venue, *symbol));
        Action::Send(protocol::subscriptions(&all, id, world.now_ms()))
    }
}

impl Made {
    /// Whether the client holds a channel, or is about to.
    fn is_held(&self, key: &ChannelKey, held: &impl Held) -> bool {
        held.rate(key).is_some() || self.joined.contains(key)
    }

    /// Joins a channel, or changes how it is delivered where it is held.
    fn want(&mut self, wanted: Joined, held: &impl Held) {
        match held.rate(&wanted.key) {
            Some(rate) if rate == wanted.rate => {}
            Some(_) if self.tuned.insert(wanted.key.clone()) => {
                self.tunes.push(Action::Tune(wanted.key, wanted.rate));
            }
            None if self.joined.insert(wanted.key.clone()) => self.joins.push(wanted),
            Some(_) | None => {}
        }
    }
}

impl Joined {
    fn action(self) -> Action {
        Action::Join { key: self.key, away: self.away, rate: self.rate }
    }
}

/// Why a gateway takes no further channel.
const NO_ROOM: &str = "this gateway serves no more symbols";

/// What a request says of where the client stopped in a symbol.
fn resumed(
    request: &Subscribe,
    venue: Venue<'_>,
    name: &str,
    world: &impl World,
) -> Option<Option<Position>> {
    let look_up = |name: &str| world.look_up(venue.number, name);
    request.resume.of(name, |other| look_up(other) == look_up(name))
}

/// The venue a request means; an unknown one is refused.
fn venue<'w>(
    source: Option<&str>,
    id: Option<&Value>,
    world: &'w impl World,
    actions: &mut Vec<Action>,
) -> Option<Venue<'w>> {
    let number = match source {
        None => Some(0),
        Some(source) => world.venues().iter().position(|venue| venue.as_str() == source),
    };
    let found = number
        .and_then(|n| Some(Venue { number: VenueNumber::try_from(n).ok()?, id: world.venues().get(n)? }));
    if found.is_none() {
        let offered: Vec<_> = world.venues().iter().map(VenueId::as_str).collect();
        let message = format!("there is no such venue here; there are {}", offered.join(", "));
        refuse(ErrorCode::UnknownSource, &message, id, source, actions);
    }
    found
}

fn refuse(
    code: ErrorCode,
    message: &str,
    id: Option<&Value>,
    source: Option<&str>,
    actions: &mut Vec<Action>,
) {
    actions.push(Action::Refused(code));
    actions.push(Action::Send(protocol::error(code, message, id, source)));
}

fn failed(name: &str, venue: &VenueId, code: ErrorCode, message: String) -> SymbolResult {
    SymbolResult {
        symbol: name.to_owned(),
        source: venue.clone(),
        status: "error",
        code: Some(code.as_str()),
        message: Some(message),
        granted: None,
        recovered: None,
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
