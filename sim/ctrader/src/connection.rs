//! What the venue knows about one connection. Nothing here outlives it (facts 3.1).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;
use sim_kit::{ConnectionId, Now};

use crate::frame::{FrameDecoder, put_envelope, put_frame, put_frame_with_unknown_fields};
use crate::limits::RequestLimits;
use crate::market::{Market, Quote, QuoteEvent};
use crate::message::Payload;
use crate::outcome::{Ending, Reason};
use crate::outgoing::{OUTGOING_BYTES_MAX, Outgoing};
use crate::settings::VenueSettings;
use crate::wire::{ProtoOaSpotEvent, ProtoOaTrendbarPeriod as Period};

/// Answers that may be held back on one connection; one that asks on is disconnected.
const DELAYED_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) decoder: FrameDecoder,
    pub(crate) received_bytes: u64,
    pub(crate) limits: RequestLimits,
    /// The application has been let in.
    pub(crate) application: bool,
    /// The accounts that have a session, and the grants they came with.
    pub(crate) sessions: BTreeMap<i64, usize>,
    /// The code with which the account's requests are refused while it has no session.
    pub(crate) stranger_code: StrangerCode,
    /// By account and position of the symbol in the catalogue.
    pub(crate) subscriptions: FxHashMap<(i64, usize), Subscription>,
    /// Symbols not subscribed any more that still tell so many events.
    pub(crate) late: FxHashMap<(i64, usize), (Subscription, u64)>,
    /// Set once the connection is to end; nothing is read from then on.
    pub(crate) ending: Option<(Ending, Reason)>,
    pub(crate) last_in: Duration,
    pub(crate) last_out: Duration,
    /// Own silence after which the next heartbeat is sent.
    pub(crate) silence: Duration,
    /// True while the venue has this connection in its list of those with something to send.
    pub(crate) queued: bool,
    pub(crate) quirks: Quirks,
    out: Outgoing,
    /// Answers held back, the earliest first.
    delayed: VecDeque<(Duration, Bytes)>,
}

/// How requests are refused that need an account's session where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum StrangerCode {
    /// What the real venue says (facts 3.1).
    #[default]
    InvalidRequest,
    /// What its schema says.
    AccountNotAuthorized,
}

/// What faults change about every message of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Quirks {
    pub(crate) unknown_fields: bool,
    pub(crate) foreign_event_ids: bool,
    pub(crate) clock_back_ms: i64,
}

/// What faults do to one answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) lost: bool,
    pub(crate) twice: bool,
    pub(crate) foreign_id: bool,
    pub(crate) delay: Duration,
}

/// One symbol one connection watches.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) timestamp: bool,
    pub(crate) periods: Vec<Period>,
    /// The first event is still owed.
    pub(crate) snapshot_due: bool,
    /// The venue counts it and tells nothing.
    pub(crate) dead: bool,
    /// An event was withheld: the next one names both sides, so that "absent" still means "unchanged".
    behind: bool,
    pub(crate) sent: Sent,
}

/// What a connection has been told about a symbol since it subscribed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Spot events, snapshots included.
    pub events: u64,
    /// Snapshots among them.
    pub snapshots: u64,
    /// The bid a client must hold by now, x 100000; 0 before the first event.
    pub bid: u64,
    /// The ask a client must hold by now, x 100000; 0 before the first event.
    pub ask: u64,
    /// Time of the last event, Unix milliseconds.
    pub at_ms: i64,
}

impl Connection {
    pub(crate) fn new(settings: &VenueSettings, now: Now, silence: Duration) -> Self {
        Self {
            decoder: FrameDecoder::new(settings.frame_bytes_max),
            received_bytes: 0,
            limits: RequestLimits::new(settings.requests_per_s, settings.historical_per_s),
            application: false,
            sessions: BTreeMap::new(),
            stranger_code: StrangerCode::default(),
            subscriptions: FxHashMap::default(),
            late: FxHashMap::default(),
            ending: None,
            last_in: now.elapsed,
            last_out: now.elapsed,
            silence,
            queued: false,
            quirks: Quirks::default(),
            out: Outgoing::default(),
            delayed: VecDeque::new(),
        }
    }

    /// Appends an event, which belongs to no request.
    pub(crate) fn push<P: Payload>(&mut self, now: Now, event: &P) {
        let id = self.quirks.foreign_event_ids.then_some("other-client-1");
        self.send(now, event, id);
    }

    /// Appends a message to what is to be sent.
    pub(crate) fn send<P: Payload>(&mut self, now: Now, message: &P, client_msg_id: Option<&str>) {
        let frame = self.framed(message, client_msg_id);
        self.send_raw(now, &frame);
    }

    /// Appends an answer, in the manner a fault wants it.
    pub(crate) fn answer<P: Payload>(
        &mut self,
        now: Now,
        message: &P,
        client_msg_id: Option<&str>,
        manner: Manner,
    ) {
        if manner.lost {
            return;
        }
        let id = if manner.foreign_id { Some("nobody-asked-1") } else { client_msg_id };
        let frame = self.framed(message, id).freeze();
        for _ in 0..=usize::from(manner.twice) {
            if manner.delay.is_zero() {
                self.send_raw(now, &frame);
            } else if self.delayed.len() >= DELAYED_MAX {
                self.end(Ending::Reset, Reason::SlowReader);
            } else {
                let due = now.elapsed + manner.delay;
                let at = self.delayed.partition_point(|(earlier, _)| *earlier <= due);
                self.delayed.insert(at, (due, frame.clone()));
            }
        }
    }

    /// Appends a message of any payload type.
    pub(crate) fn send_unknown(&mut self, now: Now, payload_type: u32, payload: &[u8]) {
        let mut frame = BytesMut::new();
        put_envelope(&mut frame, payload_type, payload.to_vec(), None, &[]);
        self.send_raw(now, &frame);
    }

    /// Appends bytes, whatever they are.
    pub(crate) fn send_raw(&mut self, now: Now, bytes: &[u8]) {
        self.out.append(now.elapsed, bytes);
        self.last_out = now.elapsed;
        if self.out.len() > OUTGOING_BYTES_MAX {
            self.end(Ending::Reset, Reason::SlowReader);
        }
    }

    /// Appends the first half of a message.
    pub(crate) fn send_half<P: Payload>(&mut self, now: Now, message: &P) {
        let frame = self.framed(message, None);
        self.send_raw(now, &frame[..frame.len() / 2]);
    }

    fn framed<P: Payload>(&self, message: &P, client_msg_id: Option<&str>) -> BytesMut {
        let mut frame = BytesMut::new();
        if self.quirks.unknown_fields {
            put_frame_with_unknown_fields(&mut frame, message, client_msg_id);
        } else {
            put_frame(&mut frame, message, client_msg_id);
        }
        frame
    }

    /// True where something may leave now.
    pub(crate) fn has_output(&self) -> bool {
        self.out.is_ready(self.ending.is_some())
    }

    pub(crate) fn take_output(&mut self) -> Bytes {
        self.out.take(self.ending.is_some())
    }

    pub(crate) fn pace(&mut self, now: Now, pace: crate::outgoing::Pace) {
        self.out.pace(now.elapsed, pace);
    }

    /// Lets out what was held back until now.
    pub(crate) fn release(&mut self, now: Now) {
        while let Some((_, frame)) = self.delayed.pop_front_if(|(due, _)| *due <= now.elapsed) {
            self.send_raw(now, &frame);
        }
        self.out.release(now.elapsed);
    }

    /// Ends the connection; a reset takes what was not sent yet with it. The first reason stands.
    pub(crate) fn end(&mut self, ending: Ending, reason: Reason) {
        if ending == Ending::Reset {
            self.out.clear();
        }
        self.ending.get_or_insert((ending, reason));
    }

    /// Ends an account's session, and its subscriptions with it (facts 3.1).
    pub(crate) fn end_session(&mut self, id: ConnectionId, account: i64, market: &mut Market) {
        self.sessions.remove(&account);
        let mut gone: Vec<usize> = Vec::new();
        let of = |key: &(i64, usize)| key.0 == account;
        gone.extend(self.subscriptions.extract_if(|key, _| of(key)).map(|(key, _)| key.1));
        gone.extend(self.late.extract_if(|key, _| of(key)).map(|(key, _)| key.1));
        for symbol in gone {
            market.unwatch(symbol, (id, account));
        }
    }

    /// Ends every account's session.
    pub(crate) fn end_sessions(&mut self, id: ConnectionId, market: &mut Market) {
        let accounts: Vec<i64> = self.sessions.keys().copied().collect();
        for account in accounts {
            self.end_session(id, account, market);
        }
    }

    /// What was told about a symbol, by any account that is subscribed to it.
    pub(crate) fn sent(&self, symbol: usize) -> Option<Sent> {
        self.sessions
            .keys()
            .find_map(|account| self.subscriptions.get(&(*account, symbol)))
            .map(|held| held.sent)
    }

    /// When the connection's own timers act next: cut-off, heartbeat, or something held back.
    pub(crate) fn deadline(&self, inactivity_cutoff: Duration) -> Duration {
        let timers = (self.last_in + inactivity_cutoff).min(self.last_out + self.silence);
        let held = [self.delayed.front().map(|(due, _)| *due), self.out.deadline()];
        held.into_iter().flatten().fold(timers, Duration::min)
    }

    /// Sends the whole state of a symbol: both sides, the last session's close, the time of the last quote, and the
    /// forming bars of the periods asked for (facts 3.6).
    pub(crate) fn send_snapshot(&mut self, now: Now, account: i64, market: &Market, symbol: usize) {
        let Some(subscription) = self.subscriptions.get_mut(&(account, symbol)) else { return };
        let Quote { bid, ask, at_ms, .. } = market.quote(symbol);
        let at_ms = at_ms - self.quirks.clock_back_ms;
        let listing = &market.catalogue().listings()[symbol];
        let event = ProtoOaSpotEvent {
            payload_type: None,
            ctid_trader_account_id: account,
            symbol_id: listing.id,
            bid: Some(bid),
            ask: Some(ask),
            trendbar: subscription.bars(market, symbol),
            session_close: Some(listing.start),
            timestamp: subscription.timestamp.then_some(at_ms),
        };
        subscription.snapshot_due = false;
        subscription.behind = false;
        subscription.sent.snapshots += 1;
        subscription.note(&event, at_ms);
        self.push(now, &event);
    }

    /// Sends one step of the market; live bars ride on events that carry a bid (facts 3.7). False where the
    /// connection is not told.
    pub(crate) fn send_event(&mut self, now: Now, account: i64, market: &Market, step: QuoteEvent) -> bool {
        let subscription = match self.subscriptions.get_mut(&(account, step.symbol)) {
            Some(subscription) => subscription,
            None => match self.late.get_mut(&(account, step.symbol)) {
                Some((subscription, left)) => {
                    *left = left.saturating_sub(1);
                    subscription
                }
                None => return false,
            },
        };
        if subscription.dead {
            return false;
        }
        let (mut bid, mut ask) = (step.bid, step.ask);
        if subscription.behind {
            let quote = market.quote(step.symbol);
            (bid, ask) = (Some(quote.bid), Some(quote.ask));
            subscription.behind = false;
        }
        let at_ms = step.at_ms - self.quirks.clock_back_ms;
        let event = ProtoOaSpotEvent {
            payload_type: None,
            ctid_trader_account_id: account,
            symbol_id: market.catalogue().listings()[step.symbol].id,
            bid,
            ask,
            trendbar: if bid.is_some() { subscription.bars(market, step.symbol) } else { Vec::new() },
            session_close: None,
            timestamp: subscription.timestamp.then_some(at_ms),
        };
        subscription.note(&event, at_ms);
        self.push(now, &event);
        true
    }

    /// Remembers that an event was not sent.
    pub(crate) fn withhold(&mut self, account: i64, symbol: usize) {
        if let Some(subscription) = self.subscriptions.get_mut(&(account, symbol)) {
            subscription.behind = true;
        }
    }
}

impl Subscription {
    pub(crate) fn new(timestamp: bool) -> Self {
        Self {
            timestamp,
            periods: Vec::new(),
            snapshot_due: true,
            dead: false,
            behind: false,
            sent: Sent::default(),
        }
    }

    fn bars(&self, market: &Market, symbol: usize) -> Vec<crate::wire::ProtoOaTrendbar> {
        let bars = market.bars(symbol);
        self.periods.iter().filter_map(|period| Some(bars.forming(*period)?.live(*period))).collect()
    }

    fn note(&mut self, event: &ProtoOaSpotEvent, at_ms: i64) {
        self.sent.events += 1;
        self.sent.bid = event.bid.unwrap_or(self.sent.bid);
        self.sent.ask = event.ask.unwrap_or(self.sent.ask);
        self.sent.at_ms = at_ms;
    }
}
