use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use tickcast_model::{Symbol, VenueId};

use crate::hub::ChannelKey;
use crate::limits::{ClientLimits, TokenBucket};
use crate::protocol::{self, ErrorCode, Failure, Granted, Request, Subscribe, SymbolResult, Unsubscribe};

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
    /// Whether the gateway can hold this channel.
    fn has_room(&self, key: &ChannelKey) -> bool;
    /// The venue's current `status` message with its symbols.
    fn status(&self, venue: VenueNumber) -> Bytes;
    /// Unix milliseconds.
    fn now_ms(&self) -> i64;
}

/// What the session wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Say this to the client.
    Send(Bytes),
    /// Join a channel.
    Join {
        /// By this number the channel is meant from now on.
        slot: u32,
        /// Which channel.
        key: ChannelKey,
        /// The venue cannot serve at the moment.
        away: bool,
    },
    /// Leave the channel of this slot.
    Leave {
        /// Its number.
        slot: u32,
    },
    /// Count a refusal (the client is told by a `Send`).
    Refused(ErrorCode),
}

/// One client: what it said, what it is told, and which channels it wants. No sockets, no clock.
pub struct ClientSession {
    limits: Arc<ClientLimits>,
    bucket: TokenBucket,
    /// Channels by slot; a slot that was given back is `None` and in `free`.
    slots: Vec<Option<(VenueNumber, Symbol)>>,
    free: Vec<u32>,
    /// The slots in use, in the order of their channels: a few bytes each, for there is one for each symbol of each client.
    held: Vec<u32>,
    /// Names that wait for a venue's catalogue: as the client wrote them, under their look-up key.
    waiting: HashMap<(VenueNumber, String), String>,
}

impl ClientSession {
    /// A session that wants nothing yet.
    pub fn new(limits: Arc<ClientLimits>, now: Instant) -> Self {
        Self {
            bucket: TokenBucket::new(limits.messages_per_s, now),
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            held: Vec::new(),
            waiting: HashMap::new(),
        }
    }

    /// How many symbols the client is subscribed to.
    pub fn subscription_count(&self) -> usize {
        self.held.len() + self.waiting.len()
    }

    /// True where names wait for a catalogue, see [`ClientSession::resolve`].
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a text message.
    pub fn receive(&mut self, text: &str, now: Instant, world: &impl World, actions: &mut Vec<Action>) {
        if !self.bucket.take(now) {
            let message = format!("at most {} messages in a second", self.limits.messages_per_s);
            return refuse(ErrorCode::RateLimited, &message, None, None, actions);
        }
        match protocol::read(text, self.limits.symbols_per_message_max()) {
            Ok(Request::Connect) => {
                let venues = 0..u16::try_from(world.venues().len()).unwrap_or(VenueNumber::MAX);
                actions.extend(venues.map(|venue| Action::Send(world.status(venue))));
            }
            Ok(Request::Subscribe(request)) => self.subscribe(&request, world, actions),
            Ok(Request::Unsubscribe(request)) => self.unsubscribe(&request, world, actions),
            Ok(Request::Subscriptions { id }) => actions.push(self.subscriptions(id.as_ref(), world)),
            Ok(Request::Ping { id }) => {
                actions.push(Action::Send(protocol::pong(id.as_ref(), world.now_ms())));
            }
            Err(Failure { code, message, id }) => refuse(code, &message, id.as_ref(), None, actions),
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
    pub fn resolve(&mut self, world: &impl World, actions: &mut Vec<Action>) {
        let mut found = Vec::new();
        self.waiting.retain(|(venue, _), name| match world.look_up(*venue, name) {
            LookUp::NotYet => true,
            meaning => {
                found.push((*venue, name.clone(), meaning));
                false
            }
        });
        for (venue, name, meaning) in found {
            let Some(id) = world.venues().get(usize::from(venue)) else { continue };
            match meaning {
                LookUp::Symbol(symbol) if self.find(venue, &symbol).is_ok() => {}
                LookUp::Symbol(symbol) => self.join(venue, symbol, world, actions),
                LookUp::Unknown | LookUp::NotYet => {
                    actions.push(Action::Refused(ErrorCode::UnknownSymbol));
                    actions.push(Action::Send(protocol::symbol_refused(id, &name)));
                }
            }
        }
    }

    fn subscribe(&mut self, request: &Subscribe, world: &impl World, actions: &mut Vec<Action>) {
        let Some((venue, id)) = venue(request.source.as_deref(), request.id.as_ref(), world, actions) else {
            return;
        };
        let (mut joins, mut pending) = (Vec::new(), Vec::new());
        let mut results = Vec::with_capacity(request.symbols.len());
        for name in &request.symbols {
            let result = match self.subscribe_one(venue, id, name, request, world, &mut joins, &mut pending) {
                Ok(result) => result,
                Err((code, message)) => {
                    actions.push(Action::Refused(code));
                    failed(name, id, code, message)
                }
            };
            results.push(result);
        }
        let response =
            protocol::symbol_results("subscribeResponse", &results, request.id.as_ref(), world.now_ms());
        actions.push(Action::Send(response));
        actions.append(&mut pending);
        actions.append(&mut joins);
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `subscribe`, split off for its early returns")]
    fn subscribe_one<'a>(
        &mut self,
        venue: VenueNumber,
        id: &'a VenueId,
        name: &str,
        request: &Subscribe,
        world: &impl World,
        joins: &mut Vec<Action>,
        pending: &mut Vec<Action>,
    ) -> Result<SymbolResult<'a>, (ErrorCode, String)> {
        if request.latest {
            return Err((ErrorCode::BadMessage, "mode \"latest\" is not served yet".into()));
        }
        if request.merge {
            return Err((ErrorCode::BadMessage, "onSlow \"merge\" is not served yet".into()));
        }
        let asked = Symbol::new(name)
            .ok_or_else(|| (ErrorCode::BadMessage, "not a symbol: 1 to 128 bytes of text".to_owned()))?;
        let mut result = SymbolResult {
            symbol: name.to_owned(),
            source: id.as_str(),
            status: "subscribed",
            code: None,
            message: None,
            granted: Some(Granted::EVERY),
            // There is no history to go on from; the snapshot comes instead.
            recovered: request.resume.iter().any(|resumed| resumed == name).then_some(false),
        };
        let away = !world.is_ready(venue);
        if away {
            result.code = Some(crate::feed::VENUE_DOWN);
            result.message = Some("the venue is not available; the symbol becomes live by itself".into());
        }
        match world.look_up(venue, name) {
            LookUp::Symbol(symbol) => {
                symbol.as_str().clone_into(&mut result.symbol);
                if self.find(venue, &symbol).is_err() {
                    self.check_room(Some(&ChannelKey { venue: id.clone(), symbol: symbol.clone() }), world)?;
                    self.join(venue, symbol, world, joins);
                }
            }
            LookUp::Unknown => {
                return Err((ErrorCode::UnknownSymbol, format!("{id} has no such symbol")));
            }
            LookUp::NotYet => {
                result.code = Some(crate::feed::VENUE_DOWN);
                result.message =
                    Some("the venue's instruments are not known yet; the symbol is looked up then".into());
                let key = (venue, Symbol::lookup_key(name));
                if !self.waiting.contains_key(&key) {
                    self.check_room(None, world)?;
                    self.waiting.insert(key, asked.as_str().to_owned());
                    pending.push(Action::Send(protocol::venue_down(id, name)));
                }
            }
        }
        Ok(result)
    }

    fn check_room(&self, key: Option<&ChannelKey>, world: &impl World) -> Result<(), (ErrorCode, String)> {
        let max = self.limits.subscriptions_max;
        if self.subscription_count() >= max {
            return Err((ErrorCode::TooManySubscriptions, format!("at most {max} symbols at a time")));
        }
        if key.is_some_and(|key| !world.has_room(key)) {
            return Err((ErrorCode::TooManySubscriptions, "this gateway serves no more symbols".into()));
        }
        Ok(())
    }

    fn join(&mut self, venue: VenueNumber, symbol: Symbol, world: &impl World, actions: &mut Vec<Action>) {
        let Some(id) = world.venues().get(usize::from(venue)) else { return };
        let Err(place) = self.find(venue, &symbol) else { return };
        let held = Some((venue, symbol.clone()));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = held;
                slot
            }
            None => {
                self.slots.push(held);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.held.insert(place, slot);
        let key = ChannelKey { venue: id.clone(), symbol };
        actions.push(Action::Join { slot, key, away: !world.is_ready(venue) });
    }

    /// Where a channel stands among the held ones, or would stand.
    fn find(&self, venue: VenueNumber, symbol: &Symbol) -> Result<usize, usize> {
        self.held.binary_search_by(|slot| {
            let held = self.slots[*slot as usize].as_ref();
            held.map(|(venue, symbol)| (*venue, symbol)).cmp(&Some((venue, symbol)))
        })
    }

    /// Gives back the memory that lists took while they grew.
    pub fn shrink(&mut self) {
        self.slots.shrink_to_fit();
        self.held.shrink_to_fit();
        self.free.shrink_to_fit();
        self.waiting.shrink_to_fit();
    }

    fn unsubscribe(&mut self, request: &Unsubscribe, world: &impl World, actions: &mut Vec<Action>) {
        let Some((venue, id)) = venue(request.source.as_deref(), request.id.as_ref(), world, actions) else {
            return;
        };
        let mut results = Vec::with_capacity(request.symbols.len());
        for name in &request.symbols {
            results.push(match self.unsubscribe_one(venue, name, world, actions) {
                Some(symbol) => SymbolResult {
                    symbol,
                    source: id.as_str(),
                    status: "unsubscribed",
                    code: None,
                    message: None,
                    granted: None,
                    recovered: None,
                },
                None => {
                    actions.push(Action::Refused(ErrorCode::NotSubscribed));
                    failed(name, id, ErrorCode::NotSubscribed, "there is no such subscription".into())
                }
            });
        }
        let response =
            protocol::symbol_results("unsubscribeResponse", &results, request.id.as_ref(), world.now_ms());
        actions.push(Action::Send(response));
    }

    /// The name of what was unsubscribed.
    fn unsubscribe_one(
        &mut self,
        venue: VenueNumber,
        name: &str,
        world: &impl World,
        actions: &mut Vec<Action>,
    ) -> Option<String> {
        if let Some(name) = self.waiting.remove(&(venue, Symbol::lookup_key(name))) {
            return Some(name);
        }
        // What is held is found in its own spelling even where the catalogue has changed.
        let symbol = match world.look_up(venue, name) {
            LookUp::Symbol(symbol) => symbol,
            LookUp::Unknown | LookUp::NotYet => Symbol::new(name)?,
        };
        let slot = self.held.remove(self.find(venue, &symbol).ok()?);
        self.slots[slot as usize] = None;
        self.free.push(slot);
        actions.push(Action::Leave { slot });
        Some(symbol.as_str().to_owned())
    }

    fn subscriptions(&self, id: Option<&Value>, world: &impl World) -> Action {
        let name_of = |venue: VenueNumber| world.venues().get(usize::from(venue)).map_or("", VenueId::as_str);
        let held = self.slots.iter().flatten().map(|(venue, symbol)| (name_of(*venue), symbol.as_str()));
        let mut waiting: Vec<_> =
            self.waiting.iter().map(|((venue, _), name)| (name_of(*venue), name.as_str())).collect();
        waiting.sort_unstable();
        let all: Vec<_> = held.chain(waiting).collect();
        Action::Send(protocol::subscriptions(&all, id, world.now_ms()))
    }
}

/// The venue a request means; an unknown one is refused.
fn venue<'w>(
    source: Option<&str>,
    id: Option<&Value>,
    world: &'w impl World,
    actions: &mut Vec<Action>,
) -> Option<(VenueNumber, &'w VenueId)> {
    let number = match source {
        None => Some(0),
        Some(source) => world.venues().iter().position(|venue| venue.as_str() == source),
    };
    let found = number.and_then(|n| Some((VenueNumber::try_from(n).ok()?, world.venues().get(n)?)));
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

fn failed<'a>(name: &str, venue: &'a VenueId, code: ErrorCode, message: String) -> SymbolResult<'a> {
    SymbolResult {
        symbol: name.to_owned(),
        source: venue.as_str(),
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
