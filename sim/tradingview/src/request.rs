//! What a client sends, read out of a frame's payload (facts 2.2, 3).

use serde_json::Value;

/// Every method the venue knows.
pub const METHODS: &[&str] = &[
    "set_auth_token",
    "set_locale",
    "set_data_quality",
    "set_broker",
    "switch_protocol",
    "quote_create_session",
    "quote_set_fields",
    "quote_add_symbols",
    "quote_remove_symbols",
    "quote_fast_symbols",
    "quote_hibernate_all",
    "quote_switch_timezone",
    "quote_delete_session",
    "chart_create_session",
    "chart_delete_session",
    "switch_timezone",
    "resolve_symbol",
    "create_series",
    "modify_series",
    "remove_series",
    "request_more_data",
    "request_more_tickmarks",
    "get_first_bar_time",
    "create_study",
    "modify_study",
    "remove_study",
];

/// One frame of a client.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Request {
    /// `~h~N` come back.
    Echo(u64),
    /// A method the venue knows, with its parameters.
    Call(&'static str, Vec<Value>),
    /// A method it does not know.
    Unknown(String),
    /// A payload of no letters.
    Empty,
    /// No heartbeat and no `{"m": ..., "p": [...]}`.
    Wrong,
}

impl Request {
    pub(crate) fn read(payload: &str) -> Self {
        if payload.is_empty() {
            return Self::Empty;
        }
        if let Some(number) = payload.strip_prefix("~h~") {
            return number.parse().map_or(Self::Wrong, Self::Echo);
        }
        let json = payload.strip_prefix("~j~").unwrap_or(payload);
        let Ok(Value::Object(mut members)) = serde_json::from_str(json) else { return Self::Wrong };
        let (Some(Value::String(method)), Some(Value::Array(params))) =
            (members.remove("m"), members.remove("p"))
        else {
            return Self::Wrong;
        };
        match METHODS.iter().find(|known| **known == method) {
            Some(known) => Self::Call(known, params),
            None => Self::Unknown(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn payloads_are_read_as_what_they_are() {
        for (payload, request) in [
            ("", Request::Empty),
            ("~h~12", Request::Echo(12)),
            ("~h~", Request::Wrong),
            ("~h~-1", Request::Wrong),
            (
                r#"{"m":"set_locale","p":["en","US"]}"#,
                Request::Call("set_locale", vec![json!("en"), json!("US")]),
            ),
            (r#"~j~{"m":"set_broker","p":[]}"#, Request::Call("set_broker", vec![])),
            (r#"{"m":"dance","p":[]}"#, Request::Unknown("dance".into())),
            (r#"{"m":"set_locale"}"#, Request::Wrong),
            (r#"{"m":7,"p":[]}"#, Request::Wrong),
            ("[1]", Request::Wrong),
            ("nonsense", Request::Wrong),
        ] {
            assert_eq!(Request::read(payload), request, "{payload}");
        }
    }
}
