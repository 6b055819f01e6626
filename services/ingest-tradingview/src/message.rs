use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A message of the venue's, as far as quotes are concerned (facts 4).
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// The first frame: the far end speaks this protocol.
    Greeting,
    /// `qsd`: what changed of a symbol.
    Quote {
        /// The quote session.
        session: Cow<'a, str>,
        /// The key as we wrote it.
        key: Cow<'a, str>,
        /// The fields that changed, or why there are none.
        outcome: Result<Box<Fields<'a>>, String>,
    },
    /// `quote_completed`: the first data of a symbol were sent.
    Completed {
        /// The quote session.
        session: Cow<'a, str>,
        /// The key as we wrote it.
        key: Cow<'a, str>,
    },
    /// `critical_error`: this session is unusable, the others are not.
    CriticalError {
        /// The session.
        session: Cow<'a, str>,
        /// Why.
        reason: String,
        /// About what, such as the method; may be empty.
        info: String,
    },
    /// `protocol_error`: the connection is about to be closed.
    ProtocolError(String),
    /// Something else, which is nobody's mistake.
    Other,
}

/// The changed fields of a quote: absent means unchanged, `null` means cleared.
#[derive(Deserialize, Default, Debug)]
pub(crate) struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) lp: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) lp_time: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) bid: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) ask: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) bid_size: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) ask_size: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) volume: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) ch: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) chp: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) current_session: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) update_mode: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) pricescale: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) minmov: Option<&'a RawValue>,
}

/// The fields asked for: those of [`Fields`].
pub(crate) const FIELDS: [&str; 13] = [
    "lp",
    "lp_time",
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "volume",
    "ch",
    "chp",
    "current_session",
    "update_mode",
    "pricescale",
    "minmov",
];

/// A `null` is something that is there, other than for `Option`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    m: Cow<'a, str>,
    #[serde(borrow, default)]
    p: Option<&'a RawValue>,
    #[serde(default)]
    session_id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Quote<'a> {
    #[serde(borrow)]
    n: Cow<'a, str>,
    #[serde(borrow, default)]
    s: Cow<'a, str>,
    #[serde(borrow, default)]
    errmsg: Option<&'a RawValue>,
    #[serde(borrow, default)]
    v: Option<&'a RawValue>,
}

/// A message that cannot be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreadable;

impl From<serde_json::Error> for Unreadable {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// Reads one payload. Unknown members, unknown messages and more parameters than expected are all well (facts 4).
pub(crate) fn decode(json: &str) -> Result<Incoming<'_>, Unreadable> {
    let Envelope { m, p, session_id } = serde_json::from_str(json)?;
    if m.is_empty() {
        return Ok(if session_id.is_some() { Incoming::Greeting } else { Incoming::Other });
    }
    let parameters =
        || -> Result<Vec<&RawValue>, Unreadable> { Ok(serde_json::from_str(p.ok_or(Unreadable)?.get())?) };
    Ok(match m.as_ref() {
        "qsd" => {
            let parameters = parameters()?;
            let session = text_of(parameters.first().ok_or(Unreadable)?).ok_or(Unreadable)?;
            let quote: Quote<'_> = serde_json::from_str(parameters.get(1).ok_or(Unreadable)?.get())?;
            let outcome = if quote.s == "ok" {
                let fields = quote.v.map(|fields| serde_json::from_str(fields.get())).transpose()?;
                Ok(Box::new(fields.unwrap_or_default()))
            } else {
                let words = quote.errmsg.map(words_of).filter(|words| !words.is_empty());
                Err(words.unwrap_or_else(|| "the venue gives no reason".into()))
            };
            Incoming::Quote { session, key: quote.n, outcome }
        }
        "quote_completed" => {
            let parameters = parameters()?;
            let session = text_of(parameters.first().ok_or(Unreadable)?).ok_or(Unreadable)?;
            let key = text_of(parameters.get(1).ok_or(Unreadable)?).ok_or(Unreadable)?;
            Incoming::Completed { session, key }
        }
        "critical_error" => {
            let parameters = parameters()?;
            let words = |at: usize| parameters.get(at).map(|value| words_of(value)).unwrap_or_default();
            let session = text_of(parameters.first().ok_or(Unreadable)?).ok_or(Unreadable)?;
            Incoming::CriticalError { session, reason: words(1), info: words(2) }
        }
        "protocol_error" => {
            let words: Vec<String> = parameters()?.iter().take(3).map(|value| words_of(value)).collect();
            Incoming::ProtocolError(clean(&words.join(": ")))
        }
        _ => Incoming::Other,
    })
}

/// The text a JSON string stands for; `None` where it is not a string.
pub(crate) fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    let plain = json.strip_prefix('"')?.strip_suffix('"')?;
    if plain.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(plain))
    }
}

/// What a value says to people.
fn words_of(value: &RawValue) -> String {
    clean(&text_of(value).unwrap_or(Cow::Borrowed(value.get())))
}

/// The venue's words, without what could garble a line, and not endless.
fn clean(words: &str) -> String {
    words.chars().filter(|character| !character.is_control()).take(300).collect()
}

/// A message of ours: `{"m":name,"p":[..]}` in ASCII.
pub(crate) fn encode<'a>(name: &str, parameters: impl IntoIterator<Item = &'a str>) -> String {
    let mut json = String::from("{\"m\":");
    put_text(&mut json, name);
    json.push_str(",\"p\":[");
    for (index, parameter) in parameters.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        put_text(&mut json, parameter);
    }
    json.push_str("]}");
    json
}

fn put_text(json: &mut String, text: &str) {
    use std::fmt::Write as _;
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            ' '..='~' => json.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_facts_own_messages_are_read() {
        let greeting = r#"{"session_id":"0.4321.987_sim1-charts-free-1-tvbs-aaaaa-1","timestamp":1767225600,"javastudies":"3.66"}"#;
        assert!(matches!(decode(greeting), Ok(Incoming::Greeting)));
        let quote = r#"{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"OANDA:EURUSD","s":"ok","v":{"volume":81234,"update_mode":"streaming","lp":1.08421,"bid":null}}]}"#;
        let Ok(Incoming::Quote { session, key, outcome: Ok(fields) }) = decode(quote) else {
            panic!("{quote}")
        };
        assert_eq!((session.as_ref(), key.as_ref()), ("qs_A1b2C3d4E5f6", "OANDA:EURUSD"));
        assert_eq!(fields.lp.map(RawValue::get), Some("1.08421"));
        assert_eq!(fields.bid.map(RawValue::get), Some("null"));
        assert!(fields.ask.is_none());
        let completed = r#"{"m":"quote_completed","p":["qs_1","={\"session\":\"regular\",\"symbol\":\"OANDA:EURUSD\"}"]}"#;
        let Ok(Incoming::Completed { key, .. }) = decode(completed) else { panic!("{completed}") };
        assert_eq!(key, r#"={"session":"regular","symbol":"OANDA:EURUSD"}"#);
        let critical = r#"{"m":"critical_error","p":["qs_1","invalid_parameters","quote_add_symbols"]}"#;
        let Ok(Incoming::CriticalError { session, reason, info }) = decode(critical) else {
            panic!("{critical}")
        };
        assert_eq!(
            (session.as_ref(), reason.as_str(), info.as_str()),
            ("qs_1", "invalid_parameters", "quote_add_symbols")
        );
        let bare = r#"{"m":"critical_error","p":["qs_1"]}"#;
        let Ok(Incoming::CriticalError { reason, info, .. }) = decode(bare) else { panic!("{bare}") };
        assert_eq!((reason, info), (String::new(), String::new()));
        let protocol = r#"{"m":"protocol_error","p":["bad auth token"]}"#;
        assert!(matches!(decode(protocol), Ok(Incoming::ProtocolError(words)) if words == "bad auth token"));
    }

    #[test]
    fn an_error_of_a_symbol_needs_neither_words_nor_values() {
        for (quote, expected) in [
            (
                r#"{"m":"qsd","p":["q",{"n":"X","s":"error","errmsg":"invalid symbol","v":{}}]}"#,
                "invalid symbol",
            ),
            (r#"{"m":"qsd","p":["q",{"n":"X","s":"error"}]}"#, "the venue gives no reason"),
            (r#"{"m":"qsd","p":["q",{"n":"X","s":"error","errmsg":{"code":7}}]}"#, r#"{"code":7}"#),
        ] {
            let Ok(Incoming::Quote { outcome: Err(words), .. }) = decode(quote) else { panic!("{quote}") };
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn more_than_expected_is_all_well_and_less_is_not() {
        let more =
            r#"{"t":1,"p":["q",{"x":[1,{}],"v":{"lp":1,"новое":[]},"s":"ok","n":"X"},7],"m":"qsd","t_ms":2}"#;
        assert!(matches!(decode(more), Ok(Incoming::Quote { outcome: Ok(_), .. })));
        assert!(matches!(
            decode(r#"{"m":"qsd","p":["q",{"n":"X","s":"ok"}]}"#),
            Ok(Incoming::Quote { outcome: Ok(_), .. })
        ));
        assert!(matches!(decode(r#"{"m":"du","p":[{}]}"#), Ok(Incoming::Other)));
        for unreadable in [
            "",
            "{",
            "7",
            r#"{"m":7}"#,
            r#"{"m":"qsd"}"#,
            r#"{"m":"qsd","p":{}}"#,
            r#"{"m":"qsd","p":["q"]}"#,
            r#"{"m":"qsd","p":[1,{"n":"X"}]}"#,
            r#"{"m":"qsd","p":["q",{"s":"ok"}]}"#,
            r#"{"m":"quote_completed","p":["q"]}"#,
            r#"{"m":"critical_error","p":[]}"#,
        ] {
            assert!(decode(unreadable).is_err(), "{unreadable}");
        }
    }

    #[test]
    fn our_messages_are_ascii_and_say_what_was_meant() {
        assert_eq!(encode("set_locale", ["en", "US"]), r#"{"m":"set_locale","p":["en","US"]}"#);
        let names = ["BITSTAMP:BTCUSD*1000", "1/XAUUSD", "삼성전자🎯", "={\"symbol\":\"A\\B\"}", "a\u{7f}b"];
        let json = encode("quote_add_symbols", names);
        assert!(json.is_ascii());
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(back["p"], serde_json::json!(names));
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(json in "(\\{|\\}|\\[|\\]|\"(m|p|qsd|n|s|v|ok|lp|\\\\u00e9)\"|:|,|[0-9]|\\PC){0,30}") {
            let _ = decode(&json);
        }
    }
}
