use std::collections::HashMap;

use serde_json::{Map, Value};
use tickcast_model::{Position, Symbol};

use super::ErrorCode;
use crate::rate::{INTERVAL_MS_MAX, Mode, OnSlow, Rate};

/// A client's message.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Wants the status of every venue.
    Connect,
    /// Wants symbols.
    Subscribe(Subscribe),
    /// Wants symbols no longer.
    Unsubscribe(Unsubscribe),
    /// Wants to know what it is subscribed to.
    Subscriptions {
        /// To be echoed.
        id: Option<Value>,
    },
    /// Wants an answer.
    Ping {
        /// To be echoed.
        id: Option<Value>,
    },
}

/// What a client wants.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Subscribe {
    /// Names as the client writes them.
    pub symbols: Vec<String>,
    /// The venue; the default one where absent.
    pub source: Option<String>,
    /// How they are to be delivered.
    pub rate: Rate,
    /// Where the client stopped.
    pub resume: Resume,
    /// To be echoed.
    pub id: Option<Value>,
}

/// The positions of the last ticks a client got, by symbol as it was written.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Resume {
    positions: HashMap<String, Option<Position>>,
    /// One of the names for each look-up key.
    spellings: HashMap<String, String>,
}

impl Resume {
    /// Notes a position; `None` is one that cannot be read, from which nobody can go on.
    pub fn insert(&mut self, name: &str, position: Option<Position>) {
        self.positions.insert(name.to_owned(), position);
        self.spellings.entry(Symbol::lookup_key(name)).or_insert_with(|| name.to_owned());
    }

    /// What was said of a name, or of another spelling of it that means the same at the venue, if anything.
    pub fn of(&self, name: &str, means_the_same: impl FnOnce(&str) -> bool) -> Option<Option<Position>> {
        // Most clients resume nothing.
        if self.positions.is_empty() {
            return None;
        }
        let position = self.positions.get(name).or_else(|| {
            let spelling = self.spellings.get(&Symbol::lookup_key(name))?;
            self.positions.get(spelling).filter(|_| means_the_same(spelling))
        });
        position.copied()
    }
}

/// What a client does not want any more.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Unsubscribe {
    /// Names as the client writes them.
    pub symbols: Vec<String>,
    /// The venue; the default one where absent.
    pub source: Option<String>,
    /// To be echoed.
    pub id: Option<Value>,
}

/// Why a message could not be read.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The message's `id`, where it could be read.
    pub id: Option<Value>,
}

/// Reads one text message. At most `symbols_max` symbols may be in it.
///
/// # Errors
/// A [`Failure`] with the code and words the client is to be told.
pub fn read(text: &str, symbols_max: usize) -> Result<Request, Failure> {
    let value: Value = serde_json::from_str(text).map_err(|error| Failure {
        code: ErrorCode::BadJson,
        message: format!("not JSON: {error}"),
        id: None,
    })?;
    let Value::Object(mut fields) = value else {
        return Err(Failure {
            code: ErrorCode::BadMessage,
            message: "a message is a JSON object with a \"type\"".into(),
            id: None,
        });
    };
    let id = fields.remove("id");
    read_fields(&fields, id.clone(), symbols_max).map_err(|(code, message)| Failure { code, message, id })
}

type Reason = (ErrorCode, String);

fn read_fields(
    fields: &Map<String, Value>,
    id: Option<Value>,
    symbols_max: usize,
) -> Result<Request, Reason> {
    let kind = match fields.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(_) => return Err(bad("\"type\" is a string")),
        None => return Err(bad("\"type\" is missing")),
    };
    match kind {
        "connect" => Ok(Request::Connect),
        "subscribe" => Ok(Request::Subscribe(Subscribe {
            symbols: symbols(fields, symbols_max)?,
            source: source(fields)?,
            rate: rate(fields)?,
            resume: resume(fields, symbols_max)?,
            id,
        })),
        "unsubscribe" => Ok(Request::Unsubscribe(Unsubscribe {
            symbols: symbols(fields, symbols_max)?,
            source: source(fields)?,
            id,
        })),
        "getSubscriptions" => Ok(Request::Subscriptions { id }),
        "ping" => Ok(Request::Ping { id }),
        other => {
            let shown: String = other.chars().take(40).collect();
            Err((ErrorCode::UnknownType, format!("there is no message of type \"{shown}\"")))
        }
    }
}

fn bad(message: impl Into<String>) -> Reason {
    (ErrorCode::BadMessage, message.into())
}

/// A field that is there; `null` counts as absent.
fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn symbols(fields: &Map<String, Value>, symbols_max: usize) -> Result<Vec<String>, Reason> {
    let expected = || bad("\"symbols\" is a name or a list of names");
    match present(fields, "symbols") {
        Some(Value::String(name)) => Ok(vec![name.clone()]),
        Some(Value::Array(names)) if names.len() > symbols_max => {
            Err(bad(format!("at most {symbols_max} symbols in one message")))
        }
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned).ok_or_else(expected))
            .collect::<Result<_, _>>(),
        _ => Err(expected()),
    }
}

fn source(fields: &Map<String, Value>) -> Result<Option<String>, Reason> {
    match present(fields, "source") {
        None => Ok(None),
        Some(Value::String(source)) => Ok(Some(source.clone())),
        Some(_) => Err(bad("\"source\" is the name of a venue")),
    }
}

/// True where the field says `other`, false where it says `usual` or nothing.
fn choice(fields: &Map<String, Value>, name: &str, usual: &str, other: &str) -> Result<bool, Reason> {
    match present(fields, name) {
        None => Ok(false),
        Some(Value::String(value)) if value == usual => Ok(false),
        Some(Value::String(value)) if value == other => Ok(true),
        Some(_) => Err(bad(format!("\"{name}\" is \"{usual}\" or \"{other}\""))),
    }
}

fn rate(fields: &Map<String, Value>) -> Result<Rate, Reason> {
    let interval = present(fields, "minIntervalMs").map(|value| {
        value.as_u64().ok_or_else(|| bad("\"minIntervalMs\" is a whole number of milliseconds"))
    });
    let interval = interval.transpose()?.unwrap_or(0);
    // More than is granted is not refused: the answer says what is.
    let min_interval_ms = u16::try_from(interval).map_or(INTERVAL_MS_MAX, |ms| ms.min(INTERVAL_MS_MAX));
    let is_latest = choice(fields, "mode", "every", "latest")?;
    let merges = choice(fields, "onSlow", "gap", "merge")?;
    Ok(Rate {
        mode: if is_latest { Mode::Latest { min_interval_ms } } else { Mode::Every },
        on_slow: if merges { OnSlow::Merge } else { OnSlow::Gap },
    })
}

fn resume(fields: &Map<String, Value>, symbols_max: usize) -> Result<Resume, Reason> {
    let mut resume = Resume::default();
    match present(fields, "resume") {
        None => {}
        Some(Value::Object(positions)) if positions.len() <= symbols_max => {
            positions.iter().for_each(|(name, value)| resume.insert(name, position(value)));
        }
        Some(_) => return Err(bad("\"resume\" maps symbols to {\"epoch\":\"…\",\"seq\":n}")),
    }
    Ok(resume)
}

/// A position, where it is one. Any other is as good as one that is too old: no reason to refuse the symbol.
fn position(value: &Value) -> Option<Position> {
    let epoch = value.get("epoch")?.as_str()?.parse().ok()?;
    Some(Position { epoch, seq: value.get("seq")?.as_u64()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn code(text: &str) -> ErrorCode {
        read(text, 3).unwrap_err().code
    }

    #[test]
    fn messages_of_the_contract_are_read() {
        assert_eq!(read(r#"{"type":"connect"}"#, 3), Ok(Request::Connect));
        assert_eq!(read(r#"{"type":"ping","id":[1]}"#, 3), Ok(Request::Ping { id: Some(json!([1])) }));
        let subscribe = |text| match read(text, 3).unwrap() {
            Request::Subscribe(subscribe) => subscribe,
            other => panic!("{other:?}"),
        };
        assert_eq!(subscribe(r#"{"type":"subscribe","symbols":"EURUSD"}"#).symbols, ["EURUSD"]);
        let full = subscribe(
            r#"{"type":"subscribe","symbols":["A","B"],"source":"ib","mode":"latest","minIntervalMs":250,
                "onSlow":"merge","resume":{"A":{"epoch":"17","seq":4}},"id":"x","future":true}"#,
        );
        assert_eq!(
            full,
            Subscribe {
                symbols: vec!["A".into(), "B".into()],
                source: Some("ib".into()),
                rate: Rate { mode: Mode::Latest { min_interval_ms: 250 }, on_slow: OnSlow::Merge },
                resume: {
                    let mut resume = Resume::default();
                    resume.insert("A", Some(Position { epoch: 17, seq: 4 }));
                    resume
                },
                id: Some(json!("x")),
            }
        );
    }

    #[test]
    fn each_kind_of_bad_message_has_its_code() {
        for text in ["", "{", "nonsense", "{\"type\":\"ping\"} x", &"[".repeat(1000)] {
            assert_eq!(code(text), ErrorCode::BadJson, "{text}");
        }
        for text in [
            "1",
            "null",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","symbols":null}"#,
            r#"{"type":"subscribe","symbols":7}"#,
            r#"{"type":"subscribe","symbols":["A",7]}"#,
            r#"{"type":"subscribe","symbols":["A","B","C","D"]}"#,
            r#"{"type":"subscribe","symbols":"A","source":1}"#,
            r#"{"type":"subscribe","symbols":"A","mode":"sometimes"}"#,
            r#"{"type":"subscribe","symbols":"A","minIntervalMs":-1}"#,
            r#"{"type":"subscribe","symbols":"A","onSlow":true}"#,
            r#"{"type":"subscribe","symbols":"A","resume":[]}"#,
            r#"{"type":"unsubscribe","symbols":{}}"#,
        ] {
            assert_eq!(code(text), ErrorCode::BadMessage, "{text}");
        }
        assert_eq!(code(r#"{"type":"Subscribe"}"#), ErrorCode::UnknownType);
    }

    #[test]
    fn an_interval_is_granted_up_to_a_minute_and_means_nothing_where_every_tick_is_wanted() {
        for (fields, mode) in [
            ("", Mode::Every),
            (r#","minIntervalMs":5"#, Mode::Every),
            (r#","mode":"latest""#, Mode::Latest { min_interval_ms: 0 }),
            (r#","mode":"latest","minIntervalMs":59999"#, Mode::Latest { min_interval_ms: 59_999 }),
            (r#","mode":"latest","minIntervalMs":60001"#, Mode::Latest { min_interval_ms: 60_000 }),
            (
                r#","mode":"latest","minIntervalMs":18446744073709551615"#,
                Mode::Latest { min_interval_ms: 60_000 },
            ),
        ] {
            let text = format!(r#"{{"type":"subscribe","symbols":"A"{fields}}}"#);
            let Ok(Request::Subscribe(request)) = read(&text, 3) else { panic!("{text}") };
            assert_eq!(request.rate, Rate { mode, on_slow: OnSlow::Gap }, "{text}");
        }
    }

    #[test]
    fn a_position_that_makes_no_sense_is_one_nobody_can_go_on_from() {
        for value in [
            "7",
            "null",
            "{}",
            r#"{"epoch":1,"seq":1}"#,
            r#"{"epoch":"x","seq":1}"#,
            r#"{"epoch":"1","seq":-1}"#,
        ] {
            let text = format!(
                "{{\"type\":\"subscribe\",\"symbols\":\"eur/usd\",\"resume\":{{\"EURUSD\":{value}}}}}"
            );
            let Ok(Request::Subscribe(request)) = read(&text, 3) else { panic!("{text}") };
            assert_eq!(request.resume.of("eur/usd", |other| other == "EURUSD"), Some(None), "{text}");
            assert_eq!(request.resume.of("eur/usd", |_| false), None, "{text}");
            assert_eq!(request.resume.of("GBPUSD", |_| true), None);
        }
    }

    #[test]
    fn the_id_of_a_bad_message_is_kept_where_it_could_be_read() {
        assert_eq!(read(r#"{"type":"what","id":7}"#, 3).unwrap_err().id, Some(json!(7)));
        assert_eq!(read(r#"{"type":"what","id":7"#, 3).unwrap_err().id, None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = read(&text, 3);
        }
    }
}
