use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tickcast_model::{Decimal, Details, Phase, Price, Tick};
use tickcast_session::Now;

use crate::message::{Fields, text_of};
use crate::number::{Number, read_number, tick_places, with_scale};

/// All that is known of a symbol, put together from messages that say only what changed (facts 4.1).
#[derive(Clone, Default, Debug)]
pub(crate) struct Quote {
    market: Market,
    /// Decimals the venue's tick size needs.
    places: Option<u8>,
    /// Most decimals seen in a price; worth showing where the tick size is not known.
    places_seen: u8,
    pricescale: Option<u64>,
    minmov: Option<u64>,
    delay: Delay,
    change: Option<Decimal>,
    change_percent: Option<Decimal>,
    session: Option<Phase>,
    is_open: Option<bool>,
    /// Most decimals seen in each number of [`Details`]: told with as many, it has the same from tick to tick.
    details_places: [u8; 5],
    /// When the last trade that was taken over came.
    traded_at: Duration,
}

/// How late prices are; what is not said is not real time (facts 5.2).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Delay {
    /// The venue has not said it yet.
    #[default]
    Untold,
    /// Not at all.
    None,
    /// By so many seconds; 0 where it does not say how many.
    Seconds(u32),
}

impl Delay {
    /// Reads an `update_mode`: every mode that is not known to be real time is none.
    fn of(mode: Option<&str>) -> Self {
        if mode == Some("streaming") {
            return Self::None;
        }
        let seconds = mode.and_then(|mode| mode.strip_prefix("delayed_streaming_")?.parse().ok());
        Self::Seconds(seconds.unwrap_or(0))
    }

    fn seconds(self) -> Option<u32> {
        match self {
            Self::Untold => Some(0),
            Self::None => None,
            Self::Seconds(seconds) => Some(seconds),
        }
    }
}

/// What makes a tick when it changes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Market {
    last: Option<Price>,
    last_time_s: Option<i64>,
    bid: Option<Price>,
    ask: Option<Price>,
    bid_size: Option<Decimal>,
    ask_size: Option<Decimal>,
    volume: Option<Decimal>,
}

/// What came of merging one message.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Merged {
    /// Something that makes a tick changed.
    pub(crate) moved: bool,
    /// The venue's time of this change, Unix milliseconds.
    pub(crate) venue_time_ms: Option<i64>,
    /// What had to be passed over.
    pub(crate) odd: Option<&'static str>,
}

/// A trade stamped later than our clock by more than this says nothing about the order of those that follow.
const AHEAD_MS: i64 = 60_000;
/// What overtakes another is close to it: a trade with an older stamp that comes later than this after the last one is
/// from a venue whose clock was set back.
const OVERTAKES_WITHIN: Duration = Duration::from_secs(10);

impl Quote {
    /// Takes over what a message changes.
    pub(crate) fn merge(&mut self, now: Now, fields: &Fields<'_>) -> Merged {
        let before = self.market;
        let delay = self.delay;
        let (mut merged, mut is_odd) = (Merged::default(), false);
        self.describe(fields);
        // With another delay the stamps begin anew, and so they do with a clock that was set back.
        let keeps_order = self.delay == delay && now.elapsed < self.traded_at + OVERTAKES_WITHIN;
        let mut read = |field: Option<&RawValue>, places, into: &mut Option<Decimal>| match field
            .map(|field| read_number(field.get(), places))
        {
            None => {}
            Some(Some(Number::Value(value))) => *into = Some(value),
            Some(Some(Number::Nothing)) => *into = None,
            Some(None) => is_odd = true,
        };
        // What has nothing to do with the instrument's tick size has decimals of its own.
        read(fields.bid_size, None, &mut self.market.bid_size);
        read(fields.ask_size, None, &mut self.market.ask_size);
        read(fields.volume, None, &mut self.market.volume);
        read(fields.chp, None, &mut self.change_percent);
        let places = self.places;
        let mut number = |field, into: &mut Option<Price>| read(field, places, into);
        number(fields.ch, &mut self.change);
        let market = &mut self.market;
        let mut time = None;
        number(fields.lp_time, &mut time);
        let time_s = time.filter(|time| time.scale() == 0).map(Price::units);
        let is_cleared = fields.lp_time.is_some() && time.is_none();
        if keeps_order && is_older(now, market.last_time_s, time_s) {
            merged.odd = Some("older_trade");
        } else {
            number(fields.lp, &mut market.last);
            match time_s {
                Some(time_s) => {
                    market.last_time_s = Some(time_s);
                    self.traded_at = now.elapsed;
                }
                None if is_cleared => market.last_time_s = None,
                None => {}
            }
        }
        number(fields.bid, &mut market.bid);
        number(fields.ask, &mut market.ask);
        if is_odd {
            merged.odd = Some("number");
        }
        for price in [market.last, market.bid, market.ask].into_iter().flatten() {
            self.places_seen = self.places_seen.max(price.scale());
        }
        merged.moved = *market != before;
        let stamped =
            time_s.is_some() && (market.last, market.last_time_s) != (before.last, before.last_time_s);
        merged.venue_time_ms = time_s.filter(|_| stamped).and_then(|time_s| time_s.checked_mul(1000));
        let numbers = self.numbers();
        for (seen, number) in self.details_places.iter_mut().zip(numbers) {
            *seen = number.map_or(*seen, |number| number.scale().max(*seen));
        }
        merged
    }

    fn describe(&mut self, fields: &Fields<'_>) {
        let whole = |field: Option<&RawValue>, into: &mut Option<u64>| {
            if let Some(field) = field {
                *into = field.get().parse().ok();
            }
        };
        whole(fields.pricescale, &mut self.pricescale);
        whole(fields.minmov, &mut self.minmov);
        self.places = self.pricescale.and_then(|scale| tick_places(scale, self.minmov.unwrap_or(1)));
        if let Some(mode) = fields.update_mode {
            self.delay = Delay::of(text_of(mode).as_deref());
        }
        if let Some(session) = fields.current_session {
            let word = text_of(session);
            // Before and after it some trade and some do not (facts 2.3); who does is believed more than this.
            self.is_open = word.as_deref().map(|word| word == "market");
            self.session = word.as_deref().and_then(Phase::new);
        }
    }

    /// The numbers of [`Details`], as the venue wrote them.
    fn numbers(&self) -> [Option<Decimal>; 5] {
        let Market { bid_size, ask_size, volume, .. } = self.market;
        [bid_size, ask_size, volume, self.change, self.change_percent]
    }

    fn details(&self) -> Option<Arc<Details>> {
        let mut numbers = self.numbers();
        for (number, places) in numbers.iter_mut().zip(self.details_places) {
            *number = number.map(|number| with_scale(number, places).unwrap_or(number));
        }
        let [bid_size, ask_size, volume, change, change_percent] = numbers;
        let session = self.session.clone();
        let details = Details { bid_size, ask_size, volume, change, change_percent, session };
        (details != Details::default()).then(|| Arc::new(details))
    }

    /// Both a trade and a book are known, and how late they are.
    pub(crate) fn is_whole(&self) -> bool {
        let Market { last, bid, ask, .. } = self.market;
        self.delay != Delay::Untold && last.is_some() && bid.is_some() && ask.is_some()
    }

    /// What would make a tick.
    pub(crate) fn market(&self) -> Market {
        self.market
    }

    /// Whether its market trades, as far as the venue says.
    pub(crate) fn is_open(&self) -> Option<bool> {
        self.is_open
    }

    /// When the last trade was, Unix milliseconds.
    pub(crate) fn traded_ms(&self) -> Option<i64> {
        self.market.last_time_s?.checked_mul(1000)
    }

    /// The tick of this moment; `None` where neither a trade nor both sides of the book are known, or the prices do not fit
    /// one scale.
    pub(crate) fn tick(&self, now: Now, venue_time_ms: Option<i64>, snapshot: bool) -> Option<Tick> {
        let Market { last, bid, ask, .. } = self.market;
        if last.is_none() && (bid.is_none() || ask.is_none()) {
            return None;
        }
        let scale = [last, bid, ask].into_iter().flatten().map(Price::scale).max()?;
        let scaled = |price: Option<Price>| match price {
            Some(price) => with_scale(price, scale).map(Some),
            None => Some(None),
        };
        Some(Tick {
            bid: scaled(bid)?,
            ask: scaled(ask)?,
            last: scaled(last)?,
            digits: self.places.unwrap_or(self.places_seen),
            venue_time_ms,
            received_us: now.unix_us,
            snapshot,
            delayed_s: self.delay.seconds(),
            details: self.details(),
        })
    }
}

/// True for a trade that comes after a later one; a later one from the future has no say.
fn is_older(now: Now, known_s: Option<i64>, new_s: Option<i64>) -> bool {
    let (Some(known_s), Some(new_s)) = (known_s, new_s) else { return false };
    new_s < known_s && known_s.saturating_mul(1000) <= now.unix_ms().saturating_add(AHEAD_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { elapsed: Duration::from_secs(7), unix_us: 1_767_225_600_500_000 };

    fn merge(quote: &mut Quote, fields: &str) -> Merged {
        let fields: Fields<'_> = serde_json::from_str(fields).unwrap();
        quote.merge(NOW, &fields)
    }

    fn shown(quote: &Quote) -> String {
        let Some(tick) = quote.tick(NOW, None, false) else { return "none".into() };
        let price = |price: Option<Price>| {
            price.map_or("-".into(), |price| price.with_digits(tick.digits).to_string())
        };
        format!("{} {} {}", price(tick.last), price(tick.bid), price(tick.ask))
    }

    #[test]
    fn what_a_message_does_not_name_stays_and_null_clears() {
        let mut quote = Quote::default();
        merge(&mut quote, r#"{"lp":1.08421,"lp_time":1767225599,"pricescale":100000,"minmov":1}"#);
        assert_eq!(shown(&quote), "1.08421 - -");
        merge(&mut quote, r#"{"bid":1.0842,"ask":1.08434}"#);
        assert_eq!(shown(&quote), "1.08421 1.08420 1.08434");
        assert!(!quote.is_whole(), "nobody said how late it is");
        merge(&mut quote, r#"{"update_mode":"streaming"}"#);
        assert!(quote.is_whole());
        merge(&mut quote, r#"{"ask":1.085}"#);
        assert_eq!(shown(&quote), "1.08421 1.08420 1.08500");
        merge(&mut quote, r#"{"bid":null,"ask":1e+100}"#);
        assert_eq!(shown(&quote), "1.08421 - -");
        merge(&mut quote, r#"{"lp":null}"#);
        assert_eq!(shown(&quote), "none");
    }

    #[test]
    fn one_side_of_a_book_alone_is_no_price() {
        let mut quote = Quote::default();
        assert!(merge(&mut quote, r#"{"bid":1.5}"#).moved);
        assert_eq!(shown(&quote), "none");
        merge(&mut quote, r#"{"ask":2}"#);
        assert_eq!(shown(&quote), "- 1.5 2.0");
    }

    #[test]
    fn a_repeated_message_moves_nothing_and_each_change_does() {
        let mut quote = Quote::default();
        let first = r#"{"lp":1.5,"lp_time":1767225599,"bid":1,"ask":2,"volume":7,"bid_size":3,"ask_size":4}"#;
        let merged = merge(&mut quote, first);
        assert_eq!((merged.moved, merged.venue_time_ms), (true, Some(1_767_225_599_000)));
        assert_eq!(merge(&mut quote, first), Merged::default());
        assert!(!merge(&mut quote, r#"{"ch":0.1,"description":"é"}"#).moved);
        for change in
            [r#"{"volume":8}"#, r#"{"bid_size":5}"#, r#"{"ask_size":5}"#, r#"{"bid":1.1}"#, r#"{"lp":1.6}"#]
        {
            let merged = merge(&mut quote, change);
            assert_eq!((merged.moved, merged.venue_time_ms), (true, None), "{change}");
        }
        let merged = merge(&mut quote, r#"{"lp_time":1767225600}"#);
        assert_eq!((merged.moved, merged.venue_time_ms), (true, Some(1_767_225_600_000)));
    }

    #[test]
    fn a_trade_that_comes_after_a_later_one_is_passed_over() {
        let mut quote = Quote::default();
        merge(&mut quote, r#"{"lp":1.5,"lp_time":1767225599}"#);
        let merged = merge(&mut quote, r#"{"lp":9,"lp_time":1767225590,"bid":1,"ask":2}"#);
        assert_eq!((merged.odd, merged.moved, merged.venue_time_ms), (Some("older_trade"), true, None));
        assert_eq!(shown(&quote), "1.5 1.0 2.0");
        // A stamp from the future must not silence what follows.
        merge(&mut quote, r#"{"lp":1.6,"lp_time":1999999999}"#);
        merge(&mut quote, r#"{"lp":1.7,"lp_time":1767225600}"#);
        assert_eq!(shown(&quote), "1.7 1.0 2.0");
    }

    #[test]
    fn stamps_that_go_back_with_another_delay_or_for_good_do_not_silence_trades() {
        let mut quote = Quote::default();
        merge(&mut quote, r#"{"lp":1.5,"lp_time":1767225599,"update_mode":"streaming"}"#);
        let delayed = r#"{"lp":1.4,"lp_time":1767224699,"update_mode":"delayed_streaming_900"}"#;
        assert_eq!(merge(&mut quote, delayed).odd, None);
        assert_eq!(shown(&quote), "1.4 - -");
        let mut at = |seconds: u64, fields: &str| {
            let now = Now { elapsed: NOW.elapsed + Duration::from_secs(seconds), ..NOW };
            let merged = quote.merge(now, &serde_json::from_str(fields).unwrap());
            (merged.odd, shown(&quote))
        };
        assert_eq!(at(9, r#"{"lp":1.3,"lp_time":1767224600}"#), (Some("older_trade"), "1.4 - -".into()));
        assert_eq!(at(10, r#"{"lp":1.2,"lp_time":1767224610}"#), (None, "1.2 - -".into()));
        assert_eq!(at(11, r#"{"lp":1.1,"lp_time":1767224611}"#), (None, "1.1 - -".into()));
    }

    #[test]
    fn what_is_no_number_is_passed_over_and_counted() {
        let mut quote = Quote::default();
        merge(&mut quote, r#"{"lp":1.5}"#);
        let merged = merge(&mut quote, r#"{"lp":"n/a","bid":[1],"lp_time":"soon"}"#);
        assert_eq!(merged.odd, Some("number"));
        assert_eq!(shown(&quote), "1.5 - -");
    }

    #[test]
    fn the_mode_of_the_data_goes_with_each_tick() {
        let mut quote = Quote::default();
        merge(&mut quote, r#"{"lp":1.5}"#);
        assert_eq!(quote.tick(NOW, None, false).unwrap().delayed_s, Some(0), "what is not said is not live");
        for (mode, delayed_s) in [
            (r#""streaming""#, None),
            (r#""delayed_streaming_900""#, Some(900)),
            (r#""endofday""#, Some(0)),
            (r#""delayed_streaming_x""#, Some(0)),
            ("null", Some(0)),
            (r#""streaming""#, None),
        ] {
            merge(&mut quote, &format!(r#"{{"update_mode":{mode}}}"#));
            assert_eq!(quote.tick(NOW, None, false).unwrap().delayed_s, delayed_s, "{mode}");
        }
    }

    #[test]
    fn sizes_volume_change_and_session_go_with_each_tick_with_decimals_of_their_own() {
        let mut quote = Quote::default();
        let details = |quote: &Quote| {
            let details = quote.tick(NOW, None, false).unwrap().details?;
            let shown =
                |number: Option<Decimal>| number.map_or("-".into(), |it| it.with_digits(0).to_string());
            let session = details.session.as_ref().map_or("-", Phase::as_str);
            Some(format!("{} {session}", details.numbers().map(shown).join(" ")))
        };
        merge(&mut quote, r#"{"lp":182.5,"pricescale":100,"minmov":1}"#);
        assert_eq!(details(&quote), None);
        merge(&mut quote, r#"{"bid_size":3,"ask_size":0.12345,"volume":1.0345678912345678e+07,"ch":-0.35}"#);
        assert_eq!(details(&quote).unwrap(), "3 0.12345 10345678.9123457 -0.35 - -");
        merge(
            &mut quote,
            r#"{"chp":-0.19000000000000003,"ch":-0.3499999999999943,"current_session":"market"}"#,
        );
        assert_eq!(details(&quote).unwrap(), "3 0.12345 10345678.9123457 -0.35 -0.19 market");
        merge(
            &mut quote,
            r#"{"volume":1e+100,"bid_size":null,"ask_size":0.5,"current_session":"pre_market"}"#,
        );
        assert_eq!(details(&quote).unwrap(), "- 0.5 - -0.35 -0.19 pre_market");
        // A number keeps the decimals it had, so that steps between ticks stay short.
        let kept = quote.tick(NOW, None, false).unwrap().details.unwrap().ask_size.unwrap();
        assert_eq!((kept.units(), kept.scale()), (50_000, 5));
        merge(&mut quote, &format!(r#"{{"current_session":"{}"}}"#, "x".repeat(33)));
        assert_eq!(details(&quote).unwrap(), "- 0.5 - -0.35 -0.19 -");
    }

    #[test]
    fn the_session_says_whether_the_market_is_open() {
        let mut quote = Quote::default();
        assert_eq!(quote.is_open(), None);
        for (session, is_open) in [
            (r#""market""#, Some(true)),
            (r#""out_of_session""#, Some(false)),
            (r#""market""#, Some(true)),
            (r#""pre_market""#, Some(false)),
            (r#""post_market""#, Some(false)),
            (r#""holiday""#, Some(false)),
            ("null", None),
        ] {
            merge(&mut quote, &format!(r#"{{"current_session":{session}}}"#));
            assert_eq!(quote.is_open(), is_open, "{session}");
        }
    }

    #[test]
    fn prices_of_a_tick_share_a_scale_or_there_is_no_tick() {
        let mut quote = Quote::default();
        merge(&mut quote, r#"{"lp":9000000000000000000,"bid":1,"ask":2}"#);
        assert_eq!(shown(&quote), "9000000000000000000 1 2");
        merge(&mut quote, r#"{"ask":2.5}"#);
        assert_eq!(shown(&quote), "none");
    }
}
