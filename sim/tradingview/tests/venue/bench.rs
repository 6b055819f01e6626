//! A venue with clients, in one thread and with a clock that only the test moves.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sim_tradingview::{
    ANONYMOUS_TOKEN, ConnectionId, Ending, Fault, FaultSpec, Message, Now, Output, Reason,
    SimulatedVenue as _, Venue, VenueSettings, payloads, put_frame,
};

pub(crate) const QS: &str = "qs_A1b2C3d4E5f6";
pub(crate) const CS: &str = "cs_A1b2C3d4E5f6";
pub(crate) const UNIX_MS: i64 = 1_767_225_600_123;
pub(crate) const EUR: &str = "OANDA:EURUSD";

pub(crate) struct Bench {
    pub(crate) venue: Venue,
    pub(crate) now: Now,
    /// What each connection was told, message by message.
    pub(crate) told: BTreeMap<ConnectionId, Vec<Message>>,
    pub(crate) ended: BTreeMap<ConnectionId, (Ending, Reason)>,
    /// Answers heartbeats, as every client has to.
    pub(crate) echoes: bool,
}

impl Bench {
    pub(crate) fn new(settings: VenueSettings) -> Self {
        Self {
            venue: Venue::new(settings),
            now: Now { elapsed: Duration::ZERO, unix_ms: UNIX_MS },
            told: BTreeMap::new(),
            ended: BTreeMap::new(),
            echoes: true,
        }
    }

    pub(crate) fn usual() -> Self {
        Self::new(VenueSettings { symbols: 30, ..VenueSettings::default() })
    }

    pub(crate) fn open(&mut self) -> ConnectionId {
        let id = self.venue.open(self.now);
        self.drain();
        id
    }

    #[allow(clippy::needless_pass_by_value, reason = "literals read best by value")]
    pub(crate) fn send(&mut self, id: ConnectionId, method: &str, params: Value) {
        self.send_payload(id, &json!({ "m": method, "p": params }).to_string());
    }

    pub(crate) fn send_payload(&mut self, id: ConnectionId, payload: &str) {
        let mut message = String::new();
        put_frame(&mut message, payload);
        self.venue.receive(id, self.now, &message);
        self.drain();
    }

    /// A connection that watches some keys.
    pub(crate) fn watching(&mut self, keys: &[&str]) -> ConnectionId {
        let id = self.open();
        self.send(id, "set_auth_token", json!([ANONYMOUS_TOKEN]));
        self.send(id, "quote_create_session", json!([QS]));
        self.add(id, keys);
        id
    }

    pub(crate) fn add(&mut self, id: ConnectionId, keys: &[&str]) {
        let params: Vec<&str> = [QS].into_iter().chain(keys.iter().copied()).collect();
        self.send(id, "quote_add_symbols", json!(params));
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.venue.poll() {
            match output {
                Output::Send { id, message } => {
                    let echoes: Vec<String> = payloads(message.text())
                        .flatten()
                        .filter(|payload| payload.starts_with("~h~") && self.echoes)
                        .map(str::to_owned)
                        .collect();
                    self.told.entry(id).or_default().push(message);
                    for payload in echoes {
                        let mut message = String::new();
                        put_frame(&mut message, &payload);
                        self.venue.receive(id, self.now, &message);
                    }
                }
                Output::Close { id, ending, reason } => {
                    self.ended.insert(id, (ending, reason));
                }
            }
        }
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now.elapsed + Duration::from_millis(ms);
        loop {
            let due = self.venue.deadline().filter(|due| *due <= end).unwrap_or(end).max(self.now.elapsed);
            let passed = due - self.now.elapsed;
            self.now.elapsed = due;
            self.now.unix_ms += i64::try_from(passed.as_millis()).unwrap();
            self.venue.timeout(self.now);
            self.drain();
            if due == end {
                return;
            }
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "literals read best by value")]
    pub(crate) fn on(&mut self, fault: &str, params: Value) {
        let spec = FaultSpec::named(fault, &params).unwrap();
        self.venue.check(&spec).unwrap();
        self.venue.fault(self.now, spec, true);
        self.drain();
    }

    pub(crate) fn off(&mut self, fault: Fault) {
        self.venue.fault(self.now, fault, false);
        self.drain();
    }

    /// Takes what a connection was told since the last time, message by message.
    pub(crate) fn messages(&mut self, id: ConnectionId) -> Vec<String> {
        self.told
            .remove(&id)
            .unwrap_or_default()
            .into_iter()
            .map(|message| message.text().to_owned())
            .collect()
    }

    /// The payloads of it; every message has to be made of whole frames.
    pub(crate) fn payloads(&mut self, id: ConnectionId) -> Vec<String> {
        let messages = self.messages(id);
        messages
            .iter()
            .flat_map(|message| payloads(message))
            .map(|payload| payload.unwrap().to_owned())
            .collect()
    }

    /// What is JSON of it, without the greeting.
    pub(crate) fn said(&mut self, id: ConnectionId) -> Vec<(String, Value)> {
        self.payloads(id)
            .iter()
            .filter_map(|payload| serde_json::from_str::<Value>(payload).ok())
            .filter_map(|json| Some((json["m"].as_str()?.to_owned(), json["p"].clone())))
            .collect()
    }

    /// The values of the `qsd` messages about a key.
    pub(crate) fn quotes(&mut self, id: ConnectionId, key: &str) -> Vec<Value> {
        self.said(id)
            .into_iter()
            .filter(|(name, p)| name == "qsd" && p[0] == QS && p[1]["n"] == key)
            .map(|(_, p)| p[1]["v"].clone())
            .collect()
    }
}

pub(crate) fn names(said: &[(String, Value)]) -> Vec<&str> {
    said.iter().map(|(name, _)| name.as_str()).collect()
}

pub(crate) fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some()
}
