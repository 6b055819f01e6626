use std::time::Duration;

use tickcast_model::{Price, Symbol, Tick};
use tickcast_session::{Now, Standing};

use crate::instruments::Details;
use crate::messages::wire;

/// Prices travel as integers of 1/100000, whatever an instrument's digits are (facts 3.6).
const PRICE_SCALE: u8 = 5;
/// Time for a price after the venue took a subscription, and later ever longer (facts 3.5).
const SNAPSHOT_WITHIN: [u64; 6] = [5, 5, 15, 30, 60, 120];
/// First wait after a request about the symbol failed; it doubles.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(20);
/// From so many failures on they are told, not only mended.
const TOLD_FROM: u32 = 2;

/// One symbol on one connection: what is asked of the venue about it, what it is known to stream, and its quote.
pub(crate) struct Entry {
    pub(crate) symbol: Symbol,
    pub(crate) wanted: bool,
    /// Why the venue's symbol cannot be served, while that holds.
    pub(crate) refused: Option<String>,
    pub(crate) details: Option<Details>,
    pub(crate) describing: Describing,
    pub(crate) step: Step,
    /// Since when it is at this step.
    pub(crate) since: Duration,
    /// Nothing is asked about it before this time.
    pub(crate) rest_until: Duration,
    /// Requests about it that failed in a row.
    pub(crate) failures: u32,
    /// Subscriptions in a row that showed no price.
    pub(crate) silences: usize,
    /// Asked for alone since a batch with it failed.
    pub(crate) alone: bool,
    /// What was last told of its waiting.
    pub(crate) told: Option<String>,
    quote: Quote,
}

/// Whether its details are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Describing {
    Needed,
    Asked,
    Known,
}

/// How far its subscription is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Not subscribed.
    Out,
    /// The subscription is asked for; true once a price came all the same.
    Asked(bool),
    /// The venue took it; a price must come by then.
    Unproved(Duration),
    /// A price came: it is held.
    Held,
    /// To be let go, or to be let go and asked for again.
    NeedsRelease,
    /// Being let go.
    AskedRelease,
}

/// Both sides of a symbol, put together from one-sided events (facts 3.6).
#[derive(Default)]
struct Quote {
    bid: Option<Price>,
    ask: Option<Price>,
    /// True once the first whole quote after the subscription was published: that one is a snapshot.
    begun: bool,
}

impl Entry {
    pub(crate) fn new(now: Duration, symbol: Symbol) -> Self {
        Self {
            symbol,
            wanted: true,
            refused: None,
            details: None,
            describing: Describing::Needed,
            step: Step::Out,
            since: now,
            rest_until: Duration::ZERO,
            failures: 0,
            silences: 0,
            alone: false,
            told: None,
            quote: Quote::default(),
        }
    }

    /// True where the venue should be streaming it.
    pub(crate) fn is_desired(&self) -> bool {
        self.wanted && self.refused.is_none()
    }

    pub(crate) fn is_resting(&self, now: Duration) -> bool {
        self.rest_until > now
    }

    pub(crate) fn go(&mut self, now: Duration, step: Step) {
        if self.step != step {
            self.since = now;
        }
        self.step = step;
        if step == Step::Out {
            // A price from before is never paired with one from after (facts 3.6).
            self.quote = Quote::default();
        }
    }

    /// The venue took the subscription, or had it already; it is held once a price shows it.
    pub(crate) fn accepted(&mut self, now: Duration) {
        match self.step {
            Step::Asked(true) => self.go(now, Step::Held),
            Step::Asked(false) => {
                let within = SNAPSHOT_WITHIN[self.silences.min(SNAPSHOT_WITHIN.len() - 1)];
                self.go(now, Step::Unproved(now + Duration::from_secs(within)));
            }
            _ => {}
        }
    }

    /// No price came in time: it is let go and asked for again, alone. Says it in words from the second time on.
    pub(crate) fn stayed_silent(&mut self, now: Duration) -> Option<String> {
        let within = SNAPSHOT_WITHIN[self.silences.min(SNAPSHOT_WITHIN.len() - 1)];
        self.silences = self.silences.saturating_add(1);
        self.alone = true;
        self.go(now, Step::NeedsRelease);
        let times = self.silences;
        (times > 1).then(|| {
            format!("subscribed {times} times and no price came, last for {within} s; asked for again")
        })
    }

    /// A request about it failed: it rests a little, and is asked for alone. Says whether that is worth telling.
    pub(crate) fn failed(&mut self, now: Duration) -> bool {
        let wait = RETRY.saturating_mul(1 << self.failures.min(8)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.rest_until = now + wait;
        self.alone = true;
        self.failures >= TOLD_FROM
    }

    /// The account's session is gone, and all subscriptions with it.
    pub(crate) fn logged_out(&mut self, now: Duration) {
        self.go(now, Step::Out);
        self.rest_until = Duration::ZERO;
        self.failures = 0;
        self.silences = 0;
        self.alone = false;
        self.told = None;
        if self.describing == Describing::Asked {
            self.describing = Describing::Needed;
        }
    }

    /// Merges an event into the quote; a tick once both sides are known.
    ///
    /// # Errors
    /// Names what is wrong with an event that is passed over.
    pub(crate) fn spot(
        &mut self,
        now: Now,
        event: &wire::ProtoOaSpotEvent,
    ) -> Result<Option<Tick>, &'static str> {
        let Some(details) = &self.details else { return Err("late_spot") };
        if matches!(self.step, Step::Out | Step::NeedsRelease | Step::AskedRelease) {
            return Err("late_spot");
        }
        // A side that is there and says nothing is no price (facts 4, row 8).
        let units = |units: u64| i64::try_from(units).ok().filter(|units| *units > 0);
        let price = |value: u64| units(value).and_then(|units| Price::new(units, PRICE_SCALE));
        let (bid, ask) = (event.bid.map(price), event.ask.map(price));
        if bid == Some(None) || ask == Some(None) {
            return Err("impossible_price");
        }
        let digits = details.digits;
        match self.step {
            Step::Asked(_) => self.step = Step::Asked(true),
            Step::Unproved(_) => self.go(now.elapsed, Step::Held),
            _ => {}
        }
        if self.failures > 0 || self.silences > 0 {
            (self.failures, self.silences, self.alone) = (0, 0, false);
        }
        self.told = None;
        let quote = &mut self.quote;
        quote.bid = bid.flatten().or(quote.bid);
        quote.ask = ask.flatten().or(quote.ask);
        if quote.bid.is_none() || quote.ask.is_none() {
            return Ok(None);
        }
        let snapshot = !quote.begun || event.session_close.is_some();
        quote.begun = true;
        Ok(Some(Tick {
            bid: quote.bid,
            ask: quote.ask,
            last: None,
            digits,
            // The venue's clock is passed on as it is and decides nothing here: it may even go backwards.
            venue_time_ms: event.timestamp,
            received_us: now.unix_us,
            snapshot,
            delayed_s: None,
            details: None,
        }))
    }

    /// How it stands, in words.
    pub(crate) fn standing(&self, now: Duration) -> Standing {
        let ok = matches!(self.step, Step::Held | Step::Asked(true)) && self.is_desired();
        let rest = self.rest_until.saturating_sub(now);
        let slot = || match rest {
            Duration::ZERO => "asked for as soon as the venue's request limit allows".to_owned(),
            rest => format!("asked for again in {} ms", rest.as_millis()),
        };
        let answer = || "the venue's answer, else asked for again".to_owned();
        let (detail, next) = match (&self.refused, self.describing, self.step) {
            (Some(reason), ..) => (
                format!("refused: {reason}"),
                "asked for again when the venue says that it changed".to_owned(),
            ),
            (None, Describing::Needed, Step::Out) => ("its details are not known yet".to_owned(), slot()),
            (None, Describing::Asked, Step::Out) => ("its details are asked for".to_owned(), answer()),
            (None, Describing::Known, Step::Out) => ("not subscribed yet".to_owned(), slot()),
            (None, _, Step::Asked(false)) => ("its subscription is asked for".to_owned(), answer()),
            (None, _, Step::Unproved(until)) => {
                let left = until.saturating_sub(now).as_millis();
                (
                    format!(
                        "subscribed, and no price came yet; {} subscriptions before this one",
                        self.silences
                    ),
                    format!("without a price asked for again in {left} ms"),
                )
            }
            (None, _, Step::Asked(true) | Step::Held) => {
                ("subscribed, and prices came".to_owned(), String::new())
            }
            (None, _, Step::NeedsRelease) => ("to be let go and asked for again".to_owned(), slot()),
            (None, _, Step::AskedRelease) => {
                ("being let go before it is asked for again".to_owned(), answer())
            }
        };
        let detail = match &self.told {
            Some(told) if !ok => format!("{detail}; {told}"),
            _ => detail,
        };
        Standing { ok, since: Some(self.since), detail, next }
    }
}
