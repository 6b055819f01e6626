//! What the venue knows about one connection. Nothing here outlives it (facts 5.5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sim_kit::fault::Param;
use sim_kit::{ConnectionId, Now};

use crate::catalogue::Named;
use crate::chart_session::ChartSession;
use crate::fault::{Fault, Faults};
use crate::fields::Fields;
use crate::frame::put_frame;
use crate::market::{Market, Watcher};
use crate::outcome::{Ending, Message, Reason};
use crate::say;
use crate::script::SCRIPT_LINES_MAX;

/// Messages of a client that wait while the venue is stalled; one that sends more is disconnected.
const INBOX_MAX: usize = 4_096;

/// Answers held back for a client, more than the longest script; one that causes more is disconnected.
const LATE_MAX: usize = 2 * SCRIPT_LINES_MAX;

/// Letters that belong to no frame.
const GARBAGE: &str = "\u{fffd}#!?";

#[derive(Debug)]
pub(crate) struct Connection {
    /// A good token was sent: delayed instruments stream.
    pub(crate) entitled: bool,
    pub(crate) quotes: BTreeMap<Arc<str>, QuoteSession>,
    pub(crate) charts: BTreeMap<Arc<str>, ChartSession>,
    /// Sessions ever created here.
    pub(crate) sessions_made: usize,
    /// The script has begun.
    pub(crate) scripted: bool,
    /// Messages that came while the venue was stalled.
    pub(crate) inbox: VecDeque<String>,
    pub(crate) ending: Option<(Ending, Reason)>,
    /// In the list of those the venue looks at next.
    pub(crate) queued: bool,
    beats: u64,
    pub(crate) last_beat: Duration,
    /// Heartbeats not echoed yet.
    unanswered: VecDeque<(u64, Duration)>,
    out: VecDeque<Message>,
    /// Frames gathered into one message, and when it leaves.
    gathered: Option<(Duration, String)>,
    /// A heartbeat that waits for data to share a message with.
    held_beat: Option<String>,
    /// Answers that leave late.
    late: VecDeque<(Duration, Vec<String>)>,
}

/// A quote session (facts 3.3).
#[derive(Debug, Default)]
pub(crate) struct QuoteSession {
    /// The fields asked for; `None` = the venue's own set.
    pub(crate) fields: Option<BTreeSet<String>>,
    pub(crate) keys: BTreeMap<Arc<str>, Subscription>,
    /// Removed keys that are told of all the same, and how many times more.
    pub(crate) leaving: BTreeMap<Arc<str>, (Subscription, u64)>,
    pub(crate) hibernates: bool,
    /// Keys at full rate while the rest hibernates.
    pub(crate) fast: BTreeSet<String>,
}

/// A key of a quote session.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) named: Named,
    /// What the client was told last.
    pub(crate) sent: Fields,
    pub(crate) last: Duration,
    /// An update that waits for the next one, to leave after it.
    pub(crate) held: Option<String>,
}

impl Connection {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            entitled: false,
            quotes: BTreeMap::new(),
            charts: BTreeMap::new(),
            sessions_made: 0,
            scripted: false,
            inbox: VecDeque::new(),
            ending: None,
            queued: false,
            beats: 0,
            last_beat: now.elapsed,
            unanswered: VecDeque::new(),
            out: VecDeque::new(),
            gathered: None,
            held_beat: None,
            late: VecDeque::new(),
        }
    }

    /// Frames that leave together, in one message, as the faults that are on want it.
    pub(crate) fn put(&mut self, now: Now, faults: &Faults, payloads: &[String]) {
        let mut message = String::new();
        let after = faults
            .get(Fault::CoalesceHeartbeats)
            .is_some_and(|active| active.spec.text(Param::Which) == "after");
        let beat = self.held_beat.take();
        if let Some(beat) = beat.as_ref().filter(|_| !after) {
            put_frame(&mut message, beat);
        }
        for (at, payload) in payloads.iter().enumerate() {
            if faults.has(Fault::UnknownMembers) && payload.starts_with('{') {
                put_frame(&mut message, &with_unknown(payload));
            } else {
                put_frame(&mut message, payload);
            }
            if at == 0 && faults.has(Fault::GarbageBetweenFrames) {
                message.push_str(GARBAGE);
            }
        }
        if let Some(beat) = beat.as_ref().filter(|_| after) {
            put_frame(&mut message, beat);
        }
        match (&mut self.gathered, faults.get(Fault::ManyFramesPerMessage)) {
            (Some((_, gathered)), _) => gathered.push_str(&message),
            (None, Some(active)) => {
                self.gathered = Some((now.elapsed + active.spec.millis(Param::DelayMs), message));
            }
            (None, None) => self.out.push_back(Message::Text(message)),
        }
    }

    /// A message that leaves as it is.
    pub(crate) fn put_raw(&mut self, message: Message) {
        self.out.push_back(message);
    }

    /// Frames that leave at a time of their own.
    pub(crate) fn put_late(&mut self, due: Duration, payloads: Vec<String>) {
        if self.late.len() == LATE_MAX {
            return self.end(Ending::Reset, Reason::Flood);
        }
        self.late.push_back((due, payloads));
    }

    /// A message that waits until the venue looks at it.
    pub(crate) fn heard(&mut self, message: &str) {
        if self.inbox.len() == INBOX_MAX {
            return self.end(Ending::Reset, Reason::Flood);
        }
        self.inbox.push_back(message.to_owned());
    }

    /// The next heartbeat is due.
    pub(crate) fn beat(&mut self, now: Now, faults: &Faults) {
        // One that found no data to go with goes alone.
        if self.held_beat.is_some() {
            self.put(now, faults, &[]);
        }
        self.beats += 1;
        self.last_beat = now.elapsed;
        self.unanswered.push_back((self.beats, now.elapsed));
        let payload = say::heartbeat(self.beats);
        if faults.has(Fault::CoalesceHeartbeats) {
            self.held_beat = Some(payload);
            return;
        }
        if faults.has(Fault::RepeatHeartbeat) {
            self.put(now, faults, std::slice::from_ref(&payload));
        }
        self.put(now, faults, &[payload]);
    }

    /// A heartbeat came back; false where nobody had sent it.
    pub(crate) fn echoed(&mut self, number: u64) -> bool {
        self.unanswered.retain(|(waiting, _)| *waiting != number);
        (1..=self.beats).contains(&number)
    }

    /// Since when a heartbeat waits for its echo.
    pub(crate) fn waits_since(&self) -> Option<Duration> {
        self.unanswered.front().map(|(_, at)| *at)
    }

    /// Lets go what is due by now, or all of it where its fault is over.
    pub(crate) fn release(&mut self, now: Now, faults: &Faults) {
        if self
            .gathered
            .as_ref()
            .is_some_and(|(due, _)| *due <= now.elapsed || !faults.has(Fault::ManyFramesPerMessage))
            && let Some((_, message)) = self.gathered.take()
        {
            self.out.push_back(Message::Text(message));
        }
        if self.held_beat.is_some() && !faults.has(Fault::CoalesceHeartbeats) {
            self.put(now, faults, &[]);
        }
        while let Some(at) = self.late.iter().position(|(due, _)| *due <= now.elapsed) {
            if let Some((_, payloads)) = self.late.remove(at) {
                self.put(now, faults, &payloads);
            }
        }
    }

    /// When something held back is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let gathered = self.gathered.as_ref().map(|(due, _)| *due);
        self.late.iter().map(|(due, _)| *due).chain(gathered).min()
    }

    pub(crate) fn end(&mut self, ending: Ending, reason: Reason) {
        self.ending.get_or_insert((ending, reason));
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    pub(crate) fn take_output(&mut self) -> Option<Message> {
        self.out.pop_front()
    }

    /// Forgets every session, and that it watched anything.
    pub(crate) fn forget_all(&mut self, id: ConnectionId, market: &mut Market) {
        let names: Vec<Arc<str>> = self.quotes.keys().chain(self.charts.keys()).cloned().collect();
        for name in names {
            self.forget(id, &name, market);
        }
    }

    /// Forgets a session of either kind.
    pub(crate) fn forget(&mut self, id: ConnectionId, session: &Arc<str>, market: &mut Market) {
        let watcher = |what: &Arc<str>| Watcher { id, session: session.clone(), what: what.clone() };
        if let Some(quotes) = self.quotes.remove(session) {
            for (key, subscription) in &quotes.keys {
                market.unwatch(subscription.named.at, &watcher(key));
            }
            for (key, (subscription, _)) in &quotes.leaving {
                market.unwatch(subscription.named.at, &watcher(key));
            }
        }
        if let Some(chart) = self.charts.remove(session) {
            for (name, series) in &chart.series {
                market.unwatch(series.named.at, &watcher(name));
            }
        }
    }
}

/// A message with a member and parameters nobody knows.
fn with_unknown(payload: &str) -> String {
    let more = payload.replacen('{', r#"{"x_new":{"a":[1,{"m":"qsd"}]},"#, 1);
    let Some(from) = more.find(r#""p":["#) else { return more };
    let list = from + r#""p":"#.len();
    match end_of_list(&more[list..]) {
        Some(end) => format!(r#"{},"x_new",{{"n":[7]}}{}"#, &more[..list + end], &more[list + end..]),
        None => more,
    }
}

/// Where the list at the beginning of this JSON ends: the position of its last bracket.
fn end_of_list(json: &str) -> Option<usize> {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 1 => return Some(at),
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_message_gets_more_members_and_more_parameters() {
        let parameters = |payload: &str| -> Value {
            let message: Value = serde_json::from_str(&with_unknown(payload)).unwrap();
            assert!(message["x_new"].is_object(), "{message}");
            message["p"].clone()
        };
        let payload = r#"{"m":"qsd","p":["a]\\\"[",{"n":"={\"x\":[1]}","v":{"y":[2]}}],"t":1}"#;
        let expected = json!(["a]\\\"[", {"n": "={\"x\":[1]}", "v": {"y": [2]}}, "x_new", {"n": [7]}]);
        assert_eq!(parameters(payload), expected);
        assert_eq!(parameters(r#"{"session_id":"0.4321","javastudies":["3.66"]}"#), Value::Null);
    }
}
