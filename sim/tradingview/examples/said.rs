//! Writes what the venue says, with and without faults, as JSON lines: a WebSocket message, and our own cut of it.
//!
//! `{"message":"...","payloads":["...",...],"whole":true}`; where `whole` is false, what follows the payloads is no frame.
//! A published client's parser compares (facts 6).

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use sim_tradingview::{
    ANONYMOUS_TOKEN, ConnectionId, FaultSpec, Now, Output, SimulatedVenue as _, Venue, VenueSettings,
    payloads, put_frame,
};

/// Every form of a key, letters beyond ASCII among them.
const KEYS: [&str; 8] = [
    "OANDA:EURUSD",
    "KRX:005930",
    "BIST:ŞİŞE",
    "BITSTAMP:BTCUSD*1000",
    "1/XAUUSD",
    "TVC:DXY",
    r#"={"session":"regular","symbol":"OANDA:EURUSD"}"#,
    "OANDA:NOSUCH",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut said = Said::new();
    let id = said.venue.open(said.now);
    said.ask(id, "set_auth_token", &json!([ANONYMOUS_TOKEN]));
    said.ask(id, "quote_create_session", &json!(["qs_1"]));
    let params: Vec<&str> = ["qs_1"].into_iter().chain(KEYS).collect();
    said.ask(id, "quote_add_symbols", &json!(params));
    said.ask(id, "chart_create_session", &json!(["cs_1", ""]));
    said.ask(id, "resolve_symbol", &json!(["cs_1", "sds_sym_1", "KRX:005930"]));
    said.ask(id, "create_series", &json!(["cs_1", "sds_1", "s1", "sds_sym_1", "1", 30, ""]));
    said.pass(20_000)?;
    for (fault, params) in [
        ("strange-text", json!({})),
        ("coalesce-heartbeats", json!({ "which": "before" })),
        ("coalesce-heartbeats", json!({ "which": "after" })),
        ("repeat-heartbeat", json!({})),
        ("many-frames-per-message", json!({ "delay_ms": 2_000 })),
        ("no-value", json!({ "which": "volume" })),
        ("null-value", json!({ "which": "bid" })),
        ("noisy-numbers", json!({ "which": "noisy" })),
        ("noisy-numbers", json!({ "which": "exponent" })),
        ("unknown-members", json!({})),
        ("unknown-message", json!({ "count": 3 })),
        ("foreign-session", json!({})),
        ("empty-payload", json!({})),
        ("oversized-message", json!({})),
        ("raw", json!({ "payload": "{\"m\":\"𝒳\",\"p\":[\"~m~12~m~\",\"~h~1\",\"샘🍾\"]}" })),
        ("garbage-between-frames", json!({})),
        ("wrong-length", json!({ "which": "too-long" })),
        ("wrong-length", json!({ "which": "too-short" })),
        ("critical-error", json!({})),
        ("protocol-error", json!({})),
    ] {
        said.venue.fault(said.now, FaultSpec::named(fault, &params)?.lasting(Duration::from_secs(12)), true);
        said.pass(15_000)?;
    }
    Ok(())
}

/// A venue whose clock goes as fast as it is written down.
struct Said {
    venue: Venue,
    now: Now,
}

impl Said {
    fn new() -> Self {
        let settings = VenueSettings { symbols: 30, ..VenueSettings::default() };
        let now = Now { elapsed: Duration::ZERO, unix_ms: 1_767_225_600_123 };
        Self { venue: Venue::new(settings), now }
    }

    fn ask(&mut self, id: ConnectionId, method: &str, params: &Value) {
        let mut message = String::new();
        put_frame(&mut message, &json!({ "m": method, "p": params }).to_string());
        self.venue.receive(id, self.now, &message);
    }

    /// Lets time pass, and writes what is said meanwhile.
    fn pass(&mut self, ms: u64) -> std::io::Result<()> {
        let end = self.now.elapsed + Duration::from_millis(ms);
        loop {
            self.write()?;
            let due = self.venue.deadline().filter(|due| *due < end).unwrap_or(end).max(self.now.elapsed);
            let passed = due - self.now.elapsed;
            self.now.elapsed = due;
            self.now.unix_ms += i64::try_from(passed.as_millis()).unwrap_or_default();
            self.venue.timeout(self.now);
            if due == end {
                return self.write();
            }
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        while let Some(output) = self.venue.poll() {
            let Output::Send { id, message } = output else { continue };
            let message = message.text();
            let cut: Vec<&str> = payloads(message).map_while(Result::ok).collect();
            let whole = payloads(message).all(|payload| payload.is_ok());
            writeln!(out, "{}", json!({ "message": message, "payloads": cut, "whole": whole }))?;
            for beat in cut.iter().filter(|payload| payload.starts_with("~h~")) {
                let mut echo = String::new();
                put_frame(&mut echo, beat);
                self.venue.receive(id, self.now, &echo);
            }
        }
        Ok(())
    }
}
