use std::sync::Arc;

use crate::{Details, Price, Symbol};

/// Where an event stands in its channel: the publishing ingest's incarnation and a number that grows by one per tick.
///
/// A later incarnation has a greater `epoch`; within one epoch the first tick of a channel has `seq` 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// Incarnation of the ingest that numbered the tick.
    pub epoch: u64,
    /// Number of the tick in its channel, from 1; 0 stands before the first tick.
    pub seq: u64,
}

/// A quote as it left the venue, both sides merged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tick {
    /// Best price somebody buys at.
    pub bid: Option<Price>,
    /// Best price somebody sells at.
    pub ask: Option<Price>,
    /// Last traded price, where the venue has no quotes.
    pub last: Option<Price>,
    /// Decimals worth showing for this instrument.
    pub digits: u8,
    /// The venue's own time of the quote, Unix milliseconds; absent where the venue gives none.
    pub venue_time_ms: Option<i64>,
    /// When ingest read the quote, Unix microseconds.
    pub received_us: i64,
    /// True where this is the state the venue reported on subscribing, not a new quote.
    pub snapshot: bool,
    /// How old the venue's data is by intention, in seconds: 0 where it is not real time and the venue does not say by how
    /// much; absent where it is real time.
    pub delayed_s: Option<u32>,
    /// What else the venue tells of the market; absent where it tells none of it.
    pub details: Option<Arc<Details>>,
}

impl Tick {
    /// The one price people chart: the middle of bid and ask, else the last trade, else the side that is there.
    pub fn price(&self) -> Option<Price> {
        match (self.bid, self.ask) {
            (Some(bid), Some(ask)) => bid.mid(ask),
            (bid, ask) => self.last.or(bid).or(ask),
        }
    }
}

/// What can be said of one symbol apart from its prices.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SymbolState {
    /// Wanted, and not yet seen to tick.
    Pending,
    /// Ticking.
    Live,
    /// Silent for longer than it should be while its market is open.
    Stale,
    /// Its market is closed.
    Closed,
    /// The venue will not stream it.
    Refused,
}

impl SymbolState {
    /// The word browsers and logs see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Closed => "closed",
            Self::Refused => "refused",
        }
    }
}

/// A symbol's state with its reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateChange {
    /// The state from now on.
    pub state: SymbolState,
    /// Short upper-case code for programs, such as `SYMBOL_REFUSED` or `VENUE_DOWN`.
    pub code: Option<String>,
    /// The reason in words.
    pub message: Option<String>,
    /// When the state is expected to end (next opening), Unix milliseconds.
    pub until_ms: Option<i64>,
}

impl StateChange {
    /// A state that needs no reason.
    pub fn plain(state: SymbolState) -> Self {
        Self { state, code: None, message: None, until_ms: None }
    }
}

/// What a channel event carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A quote.
    Tick(Tick),
    /// A change of the symbol's state.
    State(StateChange),
}

/// One event of one channel (a venue's symbol).
///
/// A tick's position is its own; a state's position is that of the last tick before it, so states never make a
/// hole in the numbering.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelEvent {
    /// The channel's symbol in the venue's spelling.
    pub symbol: Symbol,
    /// Where the event stands in the channel.
    pub position: Position,
    /// What happened.
    pub body: Body,
}
