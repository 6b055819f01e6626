//! What faults do at the moment they happen, begin and end. What a lasting one does meanwhile stands where it acts.

use std::sync::Arc;

use sim_kit::fault::{FaultEffects, Param, SymbolNames, Which};
use sim_kit::{ConnectionId, Now};

use crate::fault::{Fault, FaultSpec, Faults};
use crate::fields::{Fields, MOVES};
use crate::frame::{put_frame, put_frame_of, utf16_len};
use crate::market::Watcher;
use crate::outcome::{Ending, Message, Reason};
use crate::say;
use crate::value::{Style, Value};
use crate::venue::Venue;

impl FaultEffects for Venue {
    type Fault = Fault;

    fn switched(&self) -> &Faults {
        &self.faults
    }

    fn switched_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    fn symbols(&self) -> &dyn SymbolNames {
        self.market.catalogue()
    }

    fn begin_fault(&mut self, now: Now, fault: Fault) {
        match fault {
            Fault::Weekend => {
                let which = self.faults.get(fault).map(|active| active.which.clone());
                self.market.close(which);
                self.refresh(now);
            }
            Fault::StrangeText | Fault::NoValue | Fault::NullValue | Fault::Delayed => self.refresh(now),
            _ => {}
        }
    }

    fn end_fault(&mut self, now: Now, fault: Fault) {
        if self.faults.stop(fault).is_none() {
            return;
        }
        match fault {
            Fault::Weekend => {
                self.market.close(None);
                self.refresh(now);
            }
            Fault::StrangeText
            | Fault::NoValue
            | Fault::NullValue
            | Fault::Delayed
            | Fault::NoBook
            | Fault::NoMode => self.refresh(now),
            // Who was told the older price last is told what is true.
            Fault::OutOfOrder => {
                for connection in self.connections.values_mut() {
                    for quotes in connection.quotes.values_mut() {
                        for subscription in quotes.keys.values_mut() {
                            subscription.sent.retain(|name, _| !MOVES.contains(name));
                        }
                    }
                }
                self.refresh(now);
            }
            Fault::Stall => {
                for id in self.ids() {
                    self.work(id, now);
                    self.queue(id);
                }
            }
            // What they held back leaves at the next look.
            Fault::ManyFramesPerMessage | Fault::CoalesceHeartbeats => {
                for id in self.ids() {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.release(now, &self.faults);
                    }
                    self.queue(id);
                }
            }
            _ => {}
        }
    }

    fn happen(&mut self, now: Now, spec: &FaultSpec) {
        let which = Which::read(spec, self.market.catalogue());
        match spec.fault() {
            Fault::Cut => self.end_all(Ending::Reset),
            Fault::CutInsideFrame => {
                let half = Message::Half(framed(&unknown_message()));
                self.tell_all(&half, Some(Ending::SendThenReset));
            }
            Fault::Close => self.end_all(match spec.text(Param::Code) {
                "1000" => Ending::Close(Some(1000)),
                "1005" => Ending::Close(None),
                "1006" => Ending::Abrupt,
                "1011" => Ending::Close(Some(1011)),
                _ => Ending::Close(Some(1001)),
            }),
            Fault::ProtocolError => {
                let text = Message::Text(framed(&say::protocol_error(spec.text(Param::Reason))));
                *self.counters.errors.entry("protocol_error").or_default() += 1;
                self.tell_all(&text, Some(Ending::Close(None)));
            }
            Fault::CriticalError => self.end_sessions(now, spec),
            Fault::OversizedMessage => {
                let bytes = usize::try_from(spec.number(Param::Bytes)).unwrap_or(0);
                let long = say::plain("oversized", &[format!("\"{}\"", "x".repeat(bytes))]);
                self.tell_all(&Message::Text(framed(&long)), None);
            }
            Fault::WrongLength => {
                let payload = unknown_message();
                let length = utf16_len(&payload);
                let declared = if spec.text(Param::Which) == "too-short" { length - 7 } else { length + 7 };
                let mut message = String::new();
                put_frame_of(&mut message, &payload, declared);
                self.tell_all(&Message::Text(message), None);
            }
            Fault::EmptyPayload => self.tell_all(&Message::Text(framed("")), None),
            Fault::Raw => self.tell_all(&Message::Text(framed(spec.text(Param::Payload))), None),
            Fault::UnknownMessage => {
                for _ in 0..spec.count() {
                    self.tell_all(&Message::Text(framed(&unknown_message())), None);
                }
            }
            Fault::ForeignSession => {
                let values = Fields::from([("lp", Value::Number(1.5)), ("lp_time", Value::Whole(1))]);
                let qsd = say::qsd("qs_of_nobody", "OANDA:EURUSD", Some(&values), Style::Plain);
                self.tell_all(&Message::Text(framed(&qsd)), None);
            }
            Fault::PriceJump => {
                let percent = i64::try_from(spec.number(Param::Percent)).unwrap_or(0);
                let percent = if spec.flag(Param::Down) { -percent } else { percent };
                for at in self.watched(&which) {
                    self.market.jump(at, percent, now);
                }
                self.refresh(now);
            }
            Fault::SubscriptionLost => self.lose_subscriptions(&which, spec.flag(Param::Held)),
            Fault::Burst => {
                let watched = self.watched(&which);
                for turn in 0..if watched.is_empty() { 0 } else { spec.count() } {
                    let step = self.market.jolt(watched[turn % watched.len()], now);
                    self.deliver(now, step);
                }
            }
            _ => {}
        }
    }
}

impl Venue {
    /// Every session gets a `critical_error` and is gone.
    fn end_sessions(&mut self, now: Now, spec: &FaultSpec) {
        for id in self.ids() {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let names: Vec<Arc<str>> =
                connection.quotes.keys().chain(connection.charts.keys()).cloned().collect();
            for name in names {
                connection.forget(id, &name, &mut self.market);
                let error = say::critical_error(&name, spec.text(Param::Reason), spec.text(Param::Info));
                connection.put(now, &self.faults, &[error]);
                *self.counters.errors.entry("critical_error").or_default() += 1;
            }
            if spec.flag(Param::Closes) {
                connection.end(Ending::Close(None), Reason::Fault);
            }
            self.queue(id);
        }
    }

    /// Nobody is told of these any more, and nobody is told so.
    fn lose_subscriptions(&mut self, which: &Which, held: bool) {
        for at in self.watched(which) {
            for watcher in self.market.watchers(at).to_vec() {
                let Watcher { id, session, what } = &watcher;
                let Some(connection) = self.connections.get_mut(id) else { continue };
                let Some(quotes) = connection.quotes.get_mut(session) else { continue };
                if held && let Some(subscription) = quotes.keys.get_mut(what) {
                    subscription.sent.clear();
                } else {
                    quotes.keys.remove(what);
                    quotes.leaving.remove(what);
                }
                self.market.unwatch(at, &watcher);
            }
        }
    }

    fn end_all(&mut self, ending: Ending) {
        for id in self.ids() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.end(ending, Reason::Fault);
            }
            self.queue(id);
        }
    }

    /// Instruments somebody watches.
    fn watched(&self, which: &Which) -> Vec<usize> {
        let count = self.market.catalogue().instruments().len();
        (0..count).filter(|at| which.has(*at) && !self.market.watchers(*at).is_empty()).collect()
    }

    fn ids(&self) -> Vec<ConnectionId> {
        self.connections.keys().copied().collect()
    }
}

/// A message of a name nobody knows (facts 4: never fail on one).
fn unknown_message() -> String {
    say::plain("hint_of_the_day", &["\"qs_x\"".to_owned(), r#"{"n":1,"v":[null,"~m~3~m~"]}"#.to_owned()])
}

fn framed(payload: &str) -> String {
    let mut message = String::new();
    put_frame(&mut message, payload);
    message
}
