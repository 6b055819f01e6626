//! What the venue knows of a symbol at this moment, field by field (facts 4.1).

use std::collections::BTreeMap;

use sim_kit::fault::Param;

use crate::catalogue::{Formula, Instrument, Named};
use crate::fault::{Fault, Faults};
use crate::market::{Market, Quote};
use crate::value::{Style, Value};

/// Values by field.
pub(crate) type Fields = BTreeMap<&'static str, Value>;

/// Fields that come in a message of their own (facts 0.9).
pub(crate) const BOOK: &[&str] = &["ask", "ask_size", "bid", "bid_size", "trade_loaded"];

/// Fields that change with each update.
pub(crate) const MOVES: &[&str] =
    &["ask", "ask_size", "bid", "bid_size", "ch", "chp", "lp", "lp_time", "volume"];

/// Holds what readers of these messages stumble over: another plane, frame marks, a heartbeat.
const STRANGE: &str = "삼성 😀𝒳 ~m~12~m~ {\"m\":\"~h~1\"} Ελλάδα";

/// Everything there is to say of a symbol, faults included.
pub(crate) fn fields(market: &Market, faults: &Faults, entitled: bool, named: Named) -> Fields {
    let instrument = market.instrument(named.at);
    let quote = market.quote(named.at);
    let mut fields = described(instrument);
    let delay = delay_s(instrument, faults, entitled, named.at);
    let phase = match faults.get(Fault::Weekend) {
        Some(active) if market.is_halted(named.at) => active.spec.text(Param::Which),
        _ => market.phase(named.at),
    };
    fields.insert("update_mode", Value::text(&update_mode(delay)));
    fields.insert("current_session", Value::text(phase));
    prices(&mut fields, instrument, quote, named.formula);
    let mut time_ms = quote.at_ms - i64::from(delay.unwrap_or(0)) * 1_000;
    if let Some(active) = faults.get(Fault::ClockBackwards) {
        time_ms -= i64::try_from(active.spec.number(Param::ByMs)).unwrap_or(0);
    }
    fields.insert("lp_time", Value::Whole(time_ms.div_euclid(1_000)));
    if named.formula == Formula::Itself && instrument.spread > 0 && !faults.concerns(Fault::NoBook, named.at)
    {
        fields.insert("bid", Value::Number(instrument.price(quote.bid)));
        fields.insert("ask", Value::Number(instrument.price(quote.ask)));
        fields.insert("bid_size", Value::Whole(quote.bid_size));
        fields.insert("ask_size", Value::Whole(quote.ask_size));
        fields.insert("trade_loaded", Value::Flag(true));
    }
    bend(&mut fields, faults, named.at);
    fields
}

/// `update_mode` for a delay in seconds; `None` = end of day.
pub(crate) fn update_mode(delay_s: Option<u32>) -> String {
    match delay_s {
        Some(0) => "streaming".to_owned(),
        Some(delay_s) => format!("delayed_streaming_{delay_s}"),
        None => "endofday".to_owned(),
    }
}

/// How late the prices of an instrument are, seconds; a good token makes them stream (facts 5.2).
pub(crate) fn delay_s(instrument: &Instrument, faults: &Faults, entitled: bool, at: usize) -> Option<u32> {
    if faults.concerns(Fault::Delayed, at)
        && let Some(active) = faults.get(Fault::Delayed)
    {
        let delay = u32::try_from(active.spec.number(Param::DelayS)).unwrap_or(u32::MAX);
        return (delay > 0).then_some(delay);
    }
    Some(if entitled { 0 } else { instrument.delay_s })
}

/// How numbers are written at the moment.
pub(crate) fn style(faults: &Faults) -> Style {
    match faults.get(Fault::NoisyNumbers) {
        None => Style::Plain,
        Some(active) if active.spec.text(Param::Which) == "exponent" => Style::Exponent,
        Some(_) => Style::Noisy,
    }
}

fn described(instrument: &Instrument) -> Fields {
    let text = Value::text;
    let mut fields = Fields::from([
        ("currency_code", text(instrument.currency)),
        ("currency_id", text(instrument.currency)),
        ("description", text(&instrument.description)),
        ("exchange", text(instrument.exchange)),
        ("format", text("price")),
        ("fractional", Value::Flag(instrument.fractional.is_some())),
        ("is_tradable", Value::Flag(instrument.kind != "index")),
        ("language", text(instrument.local.map_or("en", |(_, language)| language))),
        ("listed_exchange", text(instrument.listed_exchange())),
        ("minmov", Value::Whole(instrument.minmov.into())),
        ("minmove2", Value::Whole(instrument.fractional.unwrap_or(0).into())),
        ("original_name", text(instrument.feed.unwrap_or(&instrument.name))),
        ("pricescale", Value::Whole(instrument.pricescale.into())),
        ("pro_name", text(&instrument.name)),
        ("provider_id", text("sim")),
        ("short_name", text(instrument.short_name())),
        ("timezone", text(instrument.timezone)),
        ("type", text(instrument.kind)),
        ("typespecs", Value::Texts([].into())),
        // No extended hours: cleared (facts 0.11).
        ("rtc", Value::Null),
        ("rtc_time", Value::Null),
        ("rch", Value::Null),
        ("rchp", Value::Null),
    ]);
    if let Some((local, _)) = instrument.local {
        fields.insert("local_description", text(local));
    }
    fields
}

fn prices(fields: &mut Fields, instrument: &Instrument, quote: Quote, formula: Formula) {
    let price = |ticks| formula.apply(instrument.price(ticks));
    let (last, close) = (price(quote.last), price(quote.prev_close));
    // The venue rounds the change to the instrument's digits.
    let change = match formula {
        Formula::Itself => instrument.price(quote.last - quote.prev_close),
        _ => ((last - close) * 1e5).round() / 1e5,
    };
    fields.insert("lp", Value::Number(last));
    fields.insert("ch", Value::Number(change));
    fields.insert("chp", Value::Number((change / close * 1e4).round() / 1e2));
    fields.insert("open_price", Value::Number(price(quote.open)));
    fields.insert("prev_close_price", Value::Number(close));
    let (high, low) = match formula {
        Formula::Inverse(_) => (quote.low, quote.high),
        _ => (quote.high, quote.low),
    };
    fields.insert("high_price", Value::Number(price(high)));
    fields.insert("low_price", Value::Number(price(low)));
    fields.insert("volume", if instrument.volume { Value::Whole(quote.volume) } else { Value::Absent });
}

/// What faults make of the values.
fn bend(fields: &mut Fields, faults: &Faults, at: usize) {
    if faults.concerns(Fault::NoMode, at) {
        fields.remove("update_mode");
    }
    for (fault, value) in [(Fault::NoValue, Value::Absent), (Fault::NullValue, Value::Null)] {
        if faults.concerns(fault, at)
            && let Some(active) = faults.get(fault)
            && let Some(held) = fields.get_mut(active.spec.text(Param::Which))
        {
            *held = value;
        }
    }
    if faults.concerns(Fault::StrangeText, at) {
        fields.insert("description", Value::text(STRANGE));
        fields.insert("local_description", Value::text(STRANGE));
    }
    if faults.concerns(Fault::OnlyFields, at)
        && let Some(active) = faults.get(Fault::OnlyFields)
    {
        let keep: &[&str] = match active.spec.text(Param::Which) {
            "volume" => &["volume"],
            "time" => &["lp_time"],
            _ => BOOK,
        };
        fields.retain(|name, _| keep.contains(name));
    }
}
