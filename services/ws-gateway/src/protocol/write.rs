use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use tickcast_model::{
    Details, Position, Price, StateChange, Symbol, SymbolState, Tick, VenueHealth, VenueId,
};

use super::ErrorCode;
use crate::fold::Merged;
use crate::frame::Gap;
use crate::rate::{Mode, Rate};

/// Writes the messages of one channel; what is the same in all of them is written once.
#[derive(Clone, Debug)]
pub struct ChannelWriter {
    venue: VenueId,
    symbol: Symbol,
    /// `"source":"…","symbol":"…"`
    names: Box<str>,
}

/// What is put before the names in a tick.
const TICK: &[u8] = b"{\"type\":\"tick\",";
/// The longest rest of a tick after its names and without its details: four prices, four numbers of up to 20 digits, one of
/// up to 10, and their keys.
const NUMBERS_BYTES_MAX: usize = 288;

/// A short text in the making that needs no allocation.
pub struct Text {
    bytes: [u8; NUMBERS_BYTES_MAX],
    len: usize,
}

impl Text {
    /// What was put in.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn new() -> Self {
        Self { bytes: [0; NUMBERS_BYTES_MAX], len: 0 }
    }

    fn put(&mut self, text: &str) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
    }

    fn put_price(&mut self, key: &str, price: Option<Price>, digits: u8) {
        if let Some(price) = price {
            self.put(key);
            self.put(price.text(digits, &mut [0; Price::TEXT_BYTES_MAX]));
        }
    }

    fn put_number(&mut self, key: &str, number: impl itoa::Integer) {
        self.put(key);
        self.put(itoa::Buffer::new().format(number));
    }
}

/// What stands at the end of a merged tick, in place of the last brace of the tick itself.
pub fn merged_end(merged: &Merged<'_>) -> Text {
    let mut end = Text::new();
    end.put_number(",\"merged\":", merged.count);
    end.put_price(",\"high\":", merged.high, merged.frame.tick.digits);
    end.put_price(",\"low\":", merged.low, merged.frame.tick.digits);
    end.put("}");
    end
}

impl ChannelWriter {
    /// The writer of a venue's symbol.
    pub fn new(venue: &VenueId, symbol: &Symbol) -> Self {
        Self { venue: venue.clone(), symbol: symbol.clone(), names: names(venue, symbol.as_str()) }
    }

    /// The venue.
    pub fn venue(&self) -> &VenueId {
        &self.venue
    }

    /// The symbol in the venue's spelling.
    pub fn symbol(&self) -> &Symbol {
        &self.symbol
    }

    /// `tick`: prices are exact decimals with the instrument's digits. One allocation, of exactly the right size, where there
    /// are no details.
    pub fn tick(&self, tick: &Tick, position: Position) -> Bytes {
        let mut rest = Text::new();
        rest.put_price(",\"bid\":", tick.bid, tick.digits);
        rest.put_price(",\"ask\":", tick.ask, tick.digits);
        rest.put_price(",\"last\":", tick.last, tick.digits);
        rest.put_price(",\"price\":", tick.price(), tick.digits);
        let received_ms = tick.received_us.div_euclid(1000);
        rest.put_number(",\"timestamp\":", tick.venue_time_ms.unwrap_or(received_ms));
        rest.put_number(",\"receivedAt\":", received_ms);
        rest.put_number(",\"epoch\":\"", position.epoch);
        rest.put_number("\",\"seq\":", position.seq);
        if let Some(delayed_s) = tick.delayed_s {
            rest.put_number(",\"delayedS\":", delayed_s);
        }
        let end = if tick.snapshot { ",\"snapshot\":true}" } else { "}" };
        let (rest, details) = (rest.as_bytes(), tick.details.as_deref().map(details));
        let details = details.as_deref().unwrap_or_default();
        let length = TICK.len() + self.names.len() + rest.len() + details.len() + end.len();
        let mut json = Vec::with_capacity(length);
        for part in [TICK, self.names.as_bytes(), rest, details.as_bytes(), end.as_bytes()] {
            json.extend_from_slice(part);
        }
        json.into()
    }

    /// `gap`
    pub fn gap(&self, gap: &Gap) -> Bytes {
        let (missed, Gap { epoch, from, to }) = (gap.missed(), gap);
        let names = &self.names;
        format!(
            "{{\"type\":\"gap\",{names},\"epoch\":\"{epoch}\",\"missed\":{missed},\"from\":{from},\"to\":{to}}}"
        )
        .into()
    }

    /// `symbolState`
    pub fn state(&self, change: &StateChange) -> Bytes {
        symbol_state(&self.names, change)
    }
}

/// What a venue tells beside prices, as members of a tick.
fn details(details: &Details) -> String {
    const KEYS: [&str; 5] = ["bidSize", "askSize", "volume", "change", "changePercent"];
    let mut members = String::with_capacity(NUMBERS_BYTES_MAX);
    for (key, number) in KEYS.into_iter().zip(details.numbers()) {
        if let Some(number) = number {
            let _ = write!(members, ",\"{key}\":{}", number.with_digits(0));
        }
    }
    if let Some(session) = &details.session {
        let _ = write!(members, ",\"session\":{}", Value::from(session.as_str()));
    }
    members
}

/// What is the same in all messages of a channel.
fn names(venue: &VenueId, symbol: &str) -> Box<str> {
    format!("\"source\":\"{venue}\",\"symbol\":{}", Value::from(symbol)).into()
}

fn symbol_state(names: &str, change: &StateChange) -> Bytes {
    let mut json = format!("{{\"type\":\"symbolState\",{names}");
    let _ = write!(json, ",\"state\":\"{}\"", change.state.as_str());
    for (name, text) in [("code", &change.code), ("message", &change.message)] {
        if let Some(text) = text {
            let _ = write!(json, ",\"{name}\":{}", Value::from(text.as_str()));
        }
    }
    if let Some(until_ms) = change.until_ms {
        let _ = write!(json, ",\"until\":{until_ms}");
    }
    json.push('}');
    json.into()
}

fn channel_state(venue: &VenueId, name: &str, state: SymbolState, code: &str, message: &str) -> Bytes {
    let change =
        StateChange { state, code: Some(code.to_owned()), message: Some(message.to_owned()), until_ms: None };
    symbol_state(&names(venue, name), &change)
}

/// `symbolState` `pending` of a name that waits for the venue's catalogue.
pub fn venue_down(venue: &VenueId, name: &str) -> Bytes {
    let message = "the venue's instruments are not known yet; the symbol is looked up as soon as they are";
    channel_state(venue, name, SymbolState::Pending, crate::feed::VENUE_DOWN, message)
}

/// `symbolState` `refused` of a name that waited for the venue's catalogue in vain.
pub fn symbol_refused(venue: &VenueId, name: &str, code: ErrorCode, message: &str) -> Bytes {
    channel_state(venue, name, SymbolState::Refused, code.as_str(), message)
}

/// What became of one symbol of a subscribe or unsubscribe.
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct SymbolResult {
    /// In the venue's spelling where that is known, else as asked.
    pub symbol: String,
    /// The venue.
    #[serde(serialize_with = "venue_name")]
    pub source: VenueId,
    /// `subscribed`, `unsubscribed` or `error`.
    pub status: &'static str,
    /// Why not, or under which reserve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The code in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The rate granted.
    #[serde(flatten)]
    pub granted: Option<Granted>,
    /// Whether the client goes on where it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
}

fn venue_name<S: Serializer>(venue: &VenueId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(venue.as_str())
}

/// The rate at which a symbol is delivered.
#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    /// `every`: each tick is delivered; `latest`: the newest, with the others merged into it.
    pub mode: &'static str,
    /// Least time between two ticks of the symbol, milliseconds.
    pub min_interval_ms: u64,
}

impl Granted {
    /// What a client is told of a rate.
    pub fn of(rate: Rate) -> Self {
        match rate.mode {
            Mode::Every => Self { mode: "every", min_interval_ms: 0 },
            Mode::Latest { min_interval_ms } => {
                Self { mode: "latest", min_interval_ms: min_interval_ms.into() }
            }
        }
    }
}

/// `subscribeResponse` or `unsubscribeResponse`
pub fn symbol_results(
    kind: &'static str,
    results: &[SymbolResult],
    id: Option<&Value>,
    now_ms: i64,
) -> Bytes {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        results: &'a [SymbolResult],
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        timestamp: i64,
    }
    json(&Message { r#type: kind, results, id, timestamp: now_ms })
}

/// `subscriptions`: the symbols with their venues and rates.
pub fn subscriptions(held: &[(&str, &str, Rate)], id: Option<&Value>, now_ms: i64) -> Bytes {
    #[derive(Serialize)]
    struct One<'a> {
        symbol: &'a str,
        source: &'a str,
        #[serde(flatten)]
        granted: Granted,
    }
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        symbols: Vec<&'a str>,
        subscriptions: Vec<One<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        timestamp: i64,
    }
    json(&Message {
        r#type: "subscriptions",
        symbols: held.iter().map(|(_, symbol, _)| *symbol).collect(),
        subscriptions: held
            .iter()
            .map(|(source, symbol, rate)| One { symbol, source, granted: Granted::of(*rate) })
            .collect(),
        id,
        timestamp: now_ms,
    })
}

/// `pong`
pub fn pong(id: Option<&Value>, now_ms: i64) -> Bytes {
    match id {
        Some(id) => format!("{{\"type\":\"pong\",\"id\":{id},\"timestamp\":{now_ms}}}").into(),
        None => format!("{{\"type\":\"pong\",\"timestamp\":{now_ms}}}").into(),
    }
}

/// `heartbeat`
pub fn heartbeat(now_ms: i64) -> Bytes {
    format!("{{\"type\":\"heartbeat\",\"timestamp\":{now_ms}}}").into()
}

/// `goaway`
pub fn goaway(reconnect_in_ms: u64) -> Bytes {
    format!("{{\"type\":\"goaway\",\"reconnectInMs\":{reconnect_in_ms}}}").into()
}

/// `error`
pub fn error(code: ErrorCode, message: &str, id: Option<&Value>, source: Option<&str>) -> Bytes {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'static str,
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<&'a str>,
    }
    json(&Message { r#type: "error", code: code.as_str(), message, id, source })
}

/// A venue's status as browsers see it.
#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// The venue.
    pub source: String,
    /// One word.
    pub status: String,
    /// A sentence.
    pub message: String,
    /// When this is said, Unix milliseconds.
    pub timestamp: i64,
    /// Failed attempts, while reconnecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Time until the next attempt, milliseconds, while reconnecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<u64>,
    /// The three axes.
    pub health: HealthView,
}

/// A venue's health as browsers see it.
#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct HealthView {
    /// Connection.
    pub link: &'static str,
    /// Login.
    pub auth: &'static str,
    /// Freshness.
    pub data: &'static str,
    /// Last change of any of them, Unix milliseconds.
    pub since: i64,
    /// Last change of `link`, Unix milliseconds.
    pub link_since: i64,
    /// Last change of `auth`, Unix milliseconds.
    pub auth_since: i64,
    /// Last change of `data`, Unix milliseconds.
    pub data_since: i64,
    /// Why the venue is not well, in words.
    pub cause: Option<String>,
    /// The same for programs.
    pub cause_code: Option<&'static str>,
    /// Attempts to connect since the last stable session.
    pub attempt: u32,
    /// Time until the next attempt, milliseconds.
    pub retry_in_ms: Option<u64>,
    /// Age of the newest tick of any symbol, milliseconds.
    pub last_tick_age_ms: Option<u64>,
}

impl HealthView {
    /// What an ingest said, `age_ms` ago.
    pub fn of(health: &VenueHealth, age_ms: u64) -> Self {
        Self {
            link: health.link.as_str(),
            auth: health.auth.as_str(),
            data: health.data.as_str(),
            since: health.since_ms(),
            link_since: health.link_since_ms,
            auth_since: health.auth_since_ms,
            data_since: health.data_since_ms,
            cause: health.cause.as_ref().map(ToString::to_string),
            cause_code: health.cause.as_ref().map(|cause| cause.kind.code()),
            attempt: health.attempt,
            retry_in_ms: health.retry_in_ms.map(|ms| ms.saturating_sub(age_ms)),
            last_tick_age_ms: health.last_tick_age_ms.map(|ms| ms.saturating_add(age_ms)),
        }
    }
}

/// What goes with a status: the names the venue offers, as a JSON list written before.
pub struct Offer<'a> {
    /// The list.
    pub names: &'a RawValue,
    /// True where the venue has no list and takes any name.
    pub open: bool,
}

/// `status`, with the venue's symbols where they belong to it.
pub fn status(view: &StatusView, offer: Option<Offer<'_>>) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a> {
        r#type: &'static str,
        #[serde(flatten)]
        view: &'a StatusView,
        #[serde(skip_serializing_if = "Option::is_none")]
        open: Option<bool>,
    }
    let open = offer.as_ref().filter(|offer| offer.open).map(|_| true);
    let message = json(&Message { r#type: "status", view, open });
    let Some(offer) = offer else { return message };
    // The names are long and the same for everybody, so they are copied in, not written anew.
    let body = message.strip_suffix(b"}").unwrap_or(&message);
    [body, b",\"availableSymbols\":", offer.names.get().as_bytes(), b"}"].concat().into()
}

fn json(message: &impl Serialize) -> Bytes {
    // Our own types have string keys and no failing parts, so writing them cannot fail.
    serde_json::to_vec(message).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tickcast_model::{Decimal, Phase};

    use super::*;

    fn writer() -> ChannelWriter {
        ChannelWriter::new(&VenueId::new("ctrader").unwrap(), &Symbol::new("EUR\"USD").unwrap())
    }

    fn tick() -> Tick {
        Tick {
            bid: Price::new(114_810, 5),
            ask: Price::new(114_821, 5),
            last: None,
            digits: 5,
            venue_time_ms: Some(1_700_000_000_123),
            received_us: 1_700_000_000_200_999,
            snapshot: false,
            delayed_s: None,
            details: None,
        }
    }

    #[test]
    fn a_tick_is_written_with_exact_prices() {
        let json = writer().tick(&tick(), Position { epoch: u64::MAX, seq: 7 });
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            r#"{"type":"tick","source":"ctrader","symbol":"EUR\"USD","bid":1.14810,"ask":1.14821,"price":1.148155,"timestamp":1700000000123,"receivedAt":1700000000200,"epoch":"18446744073709551615","seq":7}"#
        );
    }

    #[test]
    fn the_longest_tick_has_room() {
        let least = Price::new(i64::MIN / 2, 18);
        let tick = Tick {
            bid: least,
            ask: least,
            last: least,
            digits: u8::MAX,
            venue_time_ms: Some(i64::MIN),
            received_us: i64::MIN,
            snapshot: true,
            delayed_s: Some(u32::MAX),
            details: Some(Arc::new(Details {
                bid_size: least,
                ask_size: least,
                volume: least,
                change: least,
                change_percent: least,
                session: Phase::new(&"\"".repeat(Phase::BYTES_MAX)),
            })),
        };
        let json = writer().tick(&tick, Position { epoch: u64::MAX, seq: u64::MAX });
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["seq"], u64::MAX);
        assert_eq!(json["timestamp"], i64::MIN);
        assert_eq!(json["delayedS"], u32::MAX);
        assert_eq!(json["session"].as_str().unwrap().len(), Phase::BYTES_MAX);
    }

    #[test]
    fn what_a_venue_tells_beside_prices_is_exact_too_and_only_there_where_it_is_told() {
        let mut details = Details { volume: Decimal::new(1_234_500, 2), ..Details::default() };
        let text = |details: &Details| {
            let tick = Tick { details: Some(Arc::new(details.clone())), snapshot: true, ..tick() };
            let json = writer().tick(&tick, Position { epoch: 1, seq: 7 });
            std::str::from_utf8(&json).unwrap().split_once(",\"seq\":7").unwrap().1.to_owned()
        };
        assert_eq!(text(&Details::default()), r#","snapshot":true}"#);
        assert_eq!(text(&details), r#","volume":12345,"snapshot":true}"#);
        details.change = Decimal::new(-35, 2);
        details.change_percent = Decimal::new(-19, 2);
        details.bid_size = Decimal::new(0, 0);
        details.ask_size = Decimal::new(1, 9);
        details.session = Phase::new("pre_market");
        assert_eq!(
            text(&details),
            r#","bidSize":0,"askSize":0.000000001,"volume":12345,"change":-0.35,"changePercent":-0.19,"session":"pre_market","snapshot":true}"#
        );
    }

    #[test]
    fn a_tick_in_real_time_says_nothing_of_a_delay() {
        for (delayed_s, said) in [(None, Value::Null), (Some(0), json!(0)), (Some(900), json!(900))] {
            let json = writer().tick(&Tick { delayed_s, ..tick() }, Position { epoch: 1, seq: 1 });
            let json: Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(json["delayedS"], said);
        }
    }

    #[test]
    fn a_tick_of_one_side_has_that_side_as_price_and_the_receive_time() {
        let tick = Tick { ask: None, venue_time_ms: None, snapshot: true, ..tick() };
        let json: Value =
            serde_json::from_slice(&writer().tick(&tick, Position { epoch: 1, seq: 1 })).unwrap();
        assert_eq!(json["price"], json["bid"]);
        assert_eq!(json["ask"], Value::Null);
        assert_eq!(json["timestamp"], 1_700_000_000_200i64);
        assert_eq!(json["snapshot"], true);
    }

    #[test]
    fn gaps_and_states_are_written_as_in_the_contract() {
        let gap: Value = serde_json::from_slice(&writer().gap(&Gap { epoch: 1, from: 3, to: 7 })).unwrap();
        assert_eq!(
            gap,
            json!({"type":"gap","source":"ctrader","symbol":"EUR\"USD","epoch":"1","missed":5,"from":3,"to":7})
        );
        let change = StateChange {
            state: SymbolState::Closed,
            code: Some("X".into()),
            message: Some("a \"b\"".into()),
            until_ms: Some(9),
        };
        let state: Value = serde_json::from_slice(&writer().state(&change)).unwrap();
        assert_eq!(
            state,
            json!({"type":"symbolState","source":"ctrader","symbol":"EUR\"USD","state":"closed","code":"X",
                   "message":"a \"b\"","until":9})
        );
    }

    #[test]
    fn a_result_shows_what_was_granted() {
        let result = SymbolResult {
            symbol: "EURUSD".into(),
            source: VenueId::new("ctrader").unwrap(),
            status: "subscribed",
            code: None,
            message: None,
            granted: Some(Granted::of(Rate::default())),
            recovered: None,
        };
        let id = json!({"n": 1});
        let json: Value =
            serde_json::from_slice(&symbol_results("subscribeResponse", &[result], Some(&id), 5)).unwrap();
        assert_eq!(
            json,
            json!({"type":"subscribeResponse","id":{"n":1},"timestamp":5,"results":[
                {"symbol":"EURUSD","source":"ctrader","status":"subscribed","mode":"every","minIntervalMs":0}]})
        );
    }

    #[test]
    fn an_error_carries_what_is_known() {
        let json: Value =
            serde_json::from_slice(&error(ErrorCode::UnknownSource, "no", Some(&json!(1)), Some("x")))
                .unwrap();
        assert_eq!(json, json!({"type":"error","code":"UNKNOWN_SOURCE","message":"no","id":1,"source":"x"}));
    }
}
