//! Where a connection's requests are handled: what concerns all of it. Quotes and charts are next door.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sim_kit::fault::Param;
use sim_kit::{ConnectionId, Now};

use crate::connection::{Connection, QuoteSession};
use crate::fault::{Fault, Faults};
use crate::market::{Market, Watcher};
use crate::outcome::{Counters, Ending, Reason};
use crate::request::Request;
use crate::say;
use crate::settings::{ANONYMOUS_TOKEN, VenueSettings};

/// One request, and everything it can reach.
pub(crate) struct Desk<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) now: Now,
    pub(crate) connection: &'a mut Connection,
    pub(crate) market: &'a mut Market,
    pub(crate) settings: &'a VenueSettings,
    pub(crate) faults: &'a mut Faults,
    pub(crate) counters: &'a mut Counters,
    /// How late the answers to this request leave.
    pub(crate) late: Option<Duration>,
}

impl Desk<'_> {
    pub(crate) fn handle(&mut self, request: Request) {
        let (method, params) = match request {
            Request::Echo(number) => {
                *self.counters.requests.entry("heartbeat").or_default() += 1;
                if !self.connection.echoed(number) {
                    self.counters.breaches += 1;
                }
                return;
            }
            Request::Empty => return,
            Request::Unknown(method) => {
                *self.counters.requests.entry("unknown").or_default() += 1;
                if self.settings.strict {
                    self.critical("", "unsupported method", &format!("method: {method}"));
                }
                return;
            }
            Request::Wrong => return self.protocol("wrong data"),
            Request::Call(method, params) => (method, params),
        };
        *self.counters.requests.entry(method).or_default() += 1;
        if self.faults.take(Fault::NoAnswer, method).is_some() {
            return;
        }
        self.late = self.faults.take(Fault::DelayedAnswer, method).map(|spec| spec.millis(Param::DelayMs));
        self.call(method, &params);
    }

    fn call(&mut self, method: &'static str, params: &[Value]) {
        match method {
            "set_auth_token" => return self.set_auth_token(params),
            "set_locale" | "set_data_quality" | "set_broker" => return,
            // The other protocol is not spoken here, and asking for this one changes nothing (facts 2.1).
            "switch_protocol" => return,
            "quote_create_session" | "chart_create_session" => return self.create_session(method, params),
            _ => {}
        }
        let Some(session) = params.first().and_then(Value::as_str) else {
            return self.protocol("wrong data");
        };
        let session: Arc<str> = session.into();
        let quotes = method.starts_with("quote_");
        let known = if quotes {
            self.connection.quotes.contains_key(&session)
        } else {
            self.connection.charts.contains_key(&session)
        };
        if !known {
            self.counters.breaches += 1;
            let text = format!(
                "{{unknown_session_id,<<\"{method}\">>,<<\"{session}\">>,{}}}",
                Value::from(params.get(1..).unwrap_or_default().to_vec())
            );
            return self.protocol(&text);
        }
        let rest = &params[1..];
        match method {
            "quote_set_fields" => self.quote_set_fields(&session, rest),
            "quote_add_symbols" => self.quote_add_symbols(&session, rest),
            "quote_remove_symbols" => self.quote_remove_symbols(&session, rest),
            "quote_fast_symbols" => self.quote_fast_symbols(&session, rest),
            "quote_hibernate_all" => self.quote_hibernate_all(&session),
            "quote_delete_session" | "chart_delete_session" => {
                self.connection.forget(self.id, &session, self.market);
            }
            "switch_timezone" => self.switch_timezone(&session, rest),
            "resolve_symbol" => self.resolve_symbol(&session, rest),
            "create_series" => self.create_series(&session, rest),
            "modify_series" => self.modify_series(&session, rest),
            "remove_series" => self.remove_series(&session, rest),
            "request_more_data" => self.request_more_data(&session, rest),
            "create_study" => self.create_study(&session, rest),
            // Nothing of a quote depends on the zone; first bars and tick marks are not told.
            _ => {}
        }
    }

    /// A good token gets no answer, a bad one an error and the end (facts 5.3).
    fn set_auth_token(&mut self, params: &[Value]) {
        let token = params.first().and_then(Value::as_str).unwrap_or_default();
        let rest = token.strip_prefix(&self.settings.auth_token);
        let own = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if self.faults.has(Fault::RejectCredentials) || !(own || token == ANONYMOUS_TOKEN) {
            return self.protocol("bad auth token");
        }
        let changed = self.connection.entitled != own;
        self.connection.entitled = own;
        if changed {
            self.refresh();
        }
    }

    fn create_session(&mut self, method: &str, params: &[Value]) {
        let Some(name) = params.first().and_then(Value::as_str) else { return self.protocol("wrong data") };
        let name: Arc<str> = name.into();
        if self.connection.quotes.contains_key(&name) || self.connection.charts.contains_key(&name) {
            self.counters.breaches += 1;
            return self.critical(&name, "invalid_parameters", method);
        }
        let (limit, words) = match self.faults.get(Fault::SessionsLimit) {
            Some(active) => (active.spec.count(), active.spec.text(Param::Reason).to_owned()),
            None => (self.settings.sessions_max, "max sessions rate reached".to_owned()),
        };
        if self.connection.sessions_made >= limit {
            self.counters.breaches += 1;
            return self.critical(&name, &words, method);
        }
        self.connection.sessions_made += 1;
        if method == "quote_create_session" {
            self.play(&name);
            self.connection.quotes.insert(name, QuoteSession::default());
        } else {
            self.connection.charts.insert(name, crate::chart_session::ChartSession::default());
        }
    }

    /// The script begins with the first quote session.
    fn play(&mut self, session: &str) {
        let Some(script) = &self.settings.script else { return };
        if std::mem::replace(&mut self.connection.scripted, true) {
            return;
        }
        for (after, payloads) in script.for_session(session) {
            self.connection.put_late(self.now.elapsed + after, payloads);
        }
        self.connection.release(self.now, self.faults);
    }

    /// Frames for the client, in one message.
    pub(crate) fn answer(&mut self, payloads: Vec<String>) {
        match self.late {
            Some(delay) => self.connection.put_late(self.now.elapsed + delay, payloads),
            None => self.connection.put(self.now, self.faults, &payloads),
        }
    }

    /// Ends a session: nothing of it is known afterwards (facts 4.3).
    pub(crate) fn critical(&mut self, session: &str, reason: &str, info: &str) {
        *self.counters.errors.entry("critical_error").or_default() += 1;
        self.connection.forget(self.id, &session.into(), self.market);
        self.answer(vec![say::critical_error(session, reason, info)]);
    }

    /// Ends the connection (facts 4.3).
    pub(crate) fn protocol(&mut self, text: &str) {
        *self.counters.errors.entry("protocol_error").or_default() += 1;
        self.late = None;
        self.answer(vec![say::protocol_error(text)]);
        self.connection.end(Ending::Close(None), Reason::Protocol);
    }

    pub(crate) fn watcher(&self, session: &Arc<str>, what: &Arc<str>) -> Watcher {
        Watcher { id: self.id, session: session.clone(), what: what.clone() }
    }
}
