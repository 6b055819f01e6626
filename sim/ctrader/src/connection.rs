//! What the venue knows about one connection. Nothing here outlives it (facts 3.1).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;

use crate::Now;
use crate::frame::{FrameDecoder, put_frame};
use crate::limits::RequestLimits;
use crate::market::{Market, Quote, QuoteEvent};
use crate::message::Payload;
use crate::outcome::{Ending, Reason};
use crate::settings::VenueSettings;
use crate::wire::{ProtoOaSpotEvent, ProtoOaTrendbarPeriod as Period};

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) decoder: FrameDecoder,
    pub(crate) limits: RequestLimits,
    /// The application has been let in.
    pub(crate) application: bool,
    /// The account has a session.
    pub(crate) account: bool,
    /// By position of the symbol in the catalogue.
    pub(crate) subscriptions: FxHashMap<usize, Subscription>,
    /// Set once the connection is to end; nothing is read from then on.
    pub(crate) ending: Option<(Ending, Reason)>,
    pub(crate) last_in: Duration,
    pub(crate) last_out: Duration,
    /// Own silence after which the next heartbeat is sent.
    pub(crate) silence: Duration,
    /// True while the venue has this connection in its list of those with something to send.
    pub(crate) queued: bool,
    out: BytesMut,
}

/// One symbol one connection watches.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) timestamp: bool,
    pub(crate) periods: Vec<Period>,
    /// The first event is still owed.
    pub(crate) snapshot_due: bool,
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
            limits: RequestLimits::new(settings.requests_per_s, settings.historical_per_s),
            application: false,
            account: false,
            subscriptions: FxHashMap::default(),
            ending: None,
            last_in: now.elapsed,
            last_out: now.elapsed,
            silence,
            queued: false,
            out: BytesMut::new(),
        }
    }

    /// Appends a message to what is to be sent.
    pub(crate) fn send<P: Payload>(&mut self, now: Now, message: &P, client_msg_id: Option<&str>) {
        put_frame(&mut self.out, message, client_msg_id);
        self.last_out = now.elapsed;
    }

    /// Appends the first half of a message.
    pub(crate) fn send_half<P: Payload>(&mut self, message: &P) {
        let mut frame = BytesMut::new();
        put_frame(&mut frame, message, None);
        self.out.extend_from_slice(&frame[..frame.len() / 2]);
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    pub(crate) fn take_output(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// Ends the connection; a reset takes what was not sent yet with it. The first reason stands.
    pub(crate) fn end(&mut self, ending: Ending, reason: Reason) {
        if ending == Ending::Reset {
            self.out.clear();
        }
        self.ending.get_or_insert((ending, reason));
    }

    /// When the connection's own timers act next: cut-off or heartbeat.
    pub(crate) fn deadline(&self, inactivity_cutoff: Duration) -> Duration {
        (self.last_in + inactivity_cutoff).min(self.last_out + self.silence)
    }

    /// Sends the whole state of a symbol: both sides, the last session's close, the time of the last quote, and the
    /// forming bars of the periods asked for (facts 3.6).
    pub(crate) fn send_snapshot(&mut self, now: Now, account: i64, market: &Market, symbol: usize) {
        let Some(subscription) = self.subscriptions.get_mut(&symbol) else { return };
        let Quote { bid, ask, at_ms, .. } = market.quote(symbol);
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
        self.send(now, &event, None);
    }

    /// Sends one step of the market; live bars ride on events that carry a bid (facts 3.7).
    pub(crate) fn send_event(&mut self, now: Now, account: i64, market: &Market, step: QuoteEvent) {
        let Some(subscription) = self.subscriptions.get_mut(&step.symbol) else { return };
        let (mut bid, mut ask) = (step.bid, step.ask);
        if subscription.behind {
            let quote = market.quote(step.symbol);
            (bid, ask) = (Some(quote.bid), Some(quote.ask));
            subscription.behind = false;
        }
        let event = ProtoOaSpotEvent {
            payload_type: None,
            ctid_trader_account_id: account,
            symbol_id: market.catalogue().listings()[step.symbol].id,
            bid,
            ask,
            trendbar: if bid.is_some() { subscription.bars(market, step.symbol) } else { Vec::new() },
            session_close: None,
            timestamp: subscription.timestamp.then_some(step.at_ms),
        };
        subscription.note(&event, step.at_ms);
        self.send(now, &event, None);
    }

    /// Remembers that an event was not sent.
    pub(crate) fn withhold(&mut self, symbol: usize) {
        if let Some(subscription) = self.subscriptions.get_mut(&symbol) {
            subscription.behind = true;
        }
    }
}

impl Subscription {
    pub(crate) fn new(timestamp: bool) -> Self {
        Self { timestamp, periods: Vec::new(), snapshot_due: true, behind: false, sent: Sent::default() }
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
