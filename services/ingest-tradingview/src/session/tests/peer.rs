//! The far end of a session in tests: a WebSocket server over the same kind of buffers, and a model of the venue's quote
//! sessions that is as strict as the real one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tickcast_model::{AuthState, StateChange, Symbol, Tick};
use tickcast_session::{Ending, Now, Session as _, SessionOutput};
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::server::{NoCallback, ServerHandshake};
use tungstenite::{HandshakeError, Message, WebSocket, accept};

use crate::frame::{Frames, Payload, wrap};
use crate::socket::{Pipe, Upgrade};
use crate::{Limits, Memory, SessionSettings, TradingViewSession};

fn symbol(name: &str) -> Symbol {
    Symbol::new(name).unwrap()
}

pub(super) fn settings() -> SessionSettings {
    let uri = "ws://127.0.0.1:9/socket.io/websocket?type=chart".parse().unwrap();
    SessionSettings {
        upgrade: Upgrade { uri, origin: "https://www.tradingview.com".into() },
        auth_token: None,
        limits: Limits { messages_per_s: 10, symbols_per_session: 100, symbols_max: 1_000 },
        memory: Memory::default(),
    }
}

enum Server {
    Shaking(MidHandshake<ServerHandshake<Pipe, NoCallback>>),
    Open(WebSocket<Pipe>),
    None,
}

/// A session, its far end, and everything either said.
pub(super) struct Peer {
    pub(super) session: TradingViewSession,
    pub(super) now: Now,
    /// Bytes the session gets at once.
    pub(super) chunk: usize,
    server: Server,
    /// What the session sent and when.
    pub(super) sent: Vec<(Duration, Value)>,
    pub(super) beats: Vec<String>,
    outputs: VecDeque<SessionOutput>,
    /// The venue's quote sessions and their keys.
    pub(super) sessions: BTreeMap<String, BTreeSet<String>>,
    /// Keys that break a session when they are added.
    pub(super) poison: BTreeSet<String>,
    /// The venue answers each key with a quote and its completion, unless it is mute.
    pub(super) is_mute: bool,
}

impl Peer {
    /// A session whose WebSocket is open and whose greeting has not come.
    pub(super) fn upgraded(settings: SessionSettings) -> Self {
        let mut peer = Self {
            session: TradingViewSession::with_seed(settings, 7),
            now: Now { elapsed: Duration::from_secs(100), unix_us: 1_767_225_600_000_000 },
            chunk: usize::MAX,
            server: Server::None,
            sent: Vec::new(),
            beats: Vec::new(),
            outputs: VecDeque::new(),
            sessions: BTreeMap::new(),
            poison: BTreeSet::new(),
            is_mute: true,
        };
        peer.session.start(peer.now);
        let mut pipe = Pipe::default();
        pipe.incoming.extend_from_slice(&peer.drain());
        peer.server = match accept(pipe) {
            Ok(socket) => Server::Open(socket),
            Err(HandshakeError::Interrupted(shaking)) => Server::Shaking(shaking),
            Err(HandshakeError::Failure(error)) => panic!("{error}"),
        };
        peer.exchange().unwrap();
        peer
    }

    /// A session that the venue has greeted, with these symbols wanted.
    pub(super) fn greeted<S: AsRef<str>>(settings: SessionSettings, wanted: &[S]) -> Self {
        let mut peer = Self::upgraded(settings);
        peer.want(wanted);
        peer.greet();
        peer
    }

    pub(super) fn greet(&mut self) {
        self.say(&json!({"session_id": "0.4321.987_sim1", "timestamp": 1_767_225_600, "protocol": "json"}));
    }

    pub(super) fn want<S: AsRef<str>>(&mut self, wanted: &[S]) {
        let wanted = Arc::new(wanted.iter().map(|name| symbol(name.as_ref())).collect::<BTreeSet<_>>());
        self.session.want(self.now, &wanted);
        self.exchange().unwrap();
    }

    pub(super) fn ask_again<S: AsRef<str>>(&mut self, silent: &[S]) {
        let silent = silent.iter().map(|name| symbol(name.as_ref())).collect();
        self.session.ask_again(self.now, &silent);
        self.exchange().unwrap();
    }

    /// The venue says this.
    pub(super) fn say(&mut self, message: &Value) {
        self.try_say(message).unwrap();
    }

    pub(super) fn try_say(&mut self, message: &Value) -> Result<(), Ending> {
        let json = message.to_string();
        self.try_text(&format!("~m~{}~m~{json}", json.encode_utf16().count()))
    }

    /// The venue sends this WebSocket message.
    pub(super) fn try_text(&mut self, text: &str) -> Result<(), Ending> {
        self.try_message(Message::text(text))
    }

    pub(super) fn try_message(&mut self, message: Message) -> Result<(), Ending> {
        if let Server::Open(server) = &mut self.server {
            server.send(message).unwrap();
        }
        self.exchange()
    }

    pub(super) fn qsd(&mut self, key: &str, values: &Value) {
        let id = self.session_of(key);
        self.say(&json!({"m": "qsd", "p": [id, {"n": key, "s": "ok", "v": values}]}));
    }

    pub(super) fn completed(&mut self, key: &str) {
        let id = self.session_of(key);
        self.say(&json!({"m": "quote_completed", "p": [id, key]}));
    }

    pub(super) fn session_of(&self, key: &str) -> String {
        let mut holding = self.sessions.iter().filter(|(_, keys)| keys.contains(key));
        let (id, _) = holding.next().unwrap_or_else(|| panic!("{key} is in no session"));
        id.clone()
    }

    pub(super) fn break_session(&mut self, id: &str, reason: &str, info: &str) {
        self.sessions.remove(id);
        self.say(&json!({"m": "critical_error", "p": [id, reason, info]}));
    }

    /// Lets time pass, with every deadline kept.
    pub(super) fn pass(&mut self, time: Duration) {
        self.try_pass(time).unwrap();
    }

    pub(super) fn try_pass(&mut self, time: Duration) -> Result<(), Ending> {
        let until = self.now.elapsed + time;
        let mut rounds = 0;
        while let Some(at) = self.session.deadline().filter(|at| *at <= until) {
            rounds += 1;
            assert!(rounds < 100_000, "the session turns in a circle");
            self.go_to(at.max(self.now.elapsed));
            self.session.timeout(self.now)?;
            self.exchange()?;
        }
        self.go_to(until);
        Ok(())
    }

    fn go_to(&mut self, at: Duration) {
        self.now.unix_us += i64::try_from((at - self.now.elapsed).as_micros()).unwrap();
        self.now.elapsed = at;
    }

    /// Everything said since the last look.
    pub(super) fn told(&mut self) -> Vec<SessionOutput> {
        self.outputs.drain(..).collect()
    }

    pub(super) fn ticks(&mut self) -> Vec<(String, Tick)> {
        let ticks = self.told().into_iter().filter_map(|output| match output {
            SessionOutput::Tick(symbol, tick) => Some((symbol.to_string(), tick)),
            _ => None,
        });
        ticks.collect()
    }

    pub(super) fn states(&mut self) -> Vec<(String, StateChange)> {
        let states = self.told().into_iter().filter_map(|output| match output {
            SessionOutput::State(symbol, state) => Some((symbol.to_string(), state)),
            _ => None,
        });
        states.collect()
    }

    pub(super) fn logins(&mut self) -> Vec<AuthState> {
        let logins = self.told().into_iter().filter_map(|output| match output {
            SessionOutput::Auth(auth, _) => Some(auth),
            _ => None,
        });
        logins.collect()
    }

    /// The messages sent since the last look.
    pub(super) fn commands(&mut self) -> Vec<Value> {
        self.sent.drain(..).map(|(_, message)| message).collect()
    }

    /// Every key the venue holds for us.
    pub(super) fn held(&self) -> BTreeSet<String> {
        self.sessions.values().flatten().cloned().collect()
    }

    /// Bytes go both ways until neither has any.
    fn exchange(&mut self) -> Result<(), Ending> {
        loop {
            let ours = self.drain();
            self.serve(&ours);
            let theirs = match &mut self.server {
                Server::Shaking(shaking) => shaking.get_mut().get_mut().outgoing.split(),
                Server::Open(server) => server.get_mut().outgoing.split(),
                Server::None => return Ok(()),
            };
            if ours.is_empty() && theirs.is_empty() {
                return Ok(());
            }
            for bytes in theirs.chunks(self.chunk) {
                self.session.receive(self.now, bytes)?;
            }
        }
    }

    fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(output) = self.session.poll() {
            match output {
                SessionOutput::Send(sent) => bytes.extend_from_slice(&sent),
                output => self.outputs.push_back(output),
            }
        }
        bytes
    }

    fn serve(&mut self, bytes: &[u8]) {
        self.server = match std::mem::replace(&mut self.server, Server::None) {
            Server::Shaking(mut shaking) => {
                shaking.get_mut().get_mut().incoming.extend_from_slice(bytes);
                match shaking.handshake() {
                    Ok(socket) => Server::Open(socket),
                    Err(HandshakeError::Interrupted(shaking)) => Server::Shaking(shaking),
                    Err(HandshakeError::Failure(error)) => panic!("{error}"),
                }
            }
            Server::Open(mut socket) => {
                socket.get_mut().incoming.extend_from_slice(bytes);
                let mut answers = Vec::new();
                while let Ok(message) = socket.read() {
                    if message.is_text() {
                        self.heard(message.to_text().unwrap(), &mut answers);
                    }
                }
                for answer in answers {
                    socket.send(Message::text(wrap(&answer))).unwrap();
                }
                Server::Open(socket)
            }
            Server::None => Server::None,
        };
    }

    /// The venue reads a message of ours.
    fn heard(&mut self, text: &str, answers: &mut Vec<String>) {
        for payload in Frames::new(text) {
            match payload.unwrap() {
                Payload::Heartbeat(beat) => self.beats.push(beat.to_owned()),
                Payload::Json(json) => {
                    let message: Value = serde_json::from_str(json).unwrap();
                    self.obey(&message, answers);
                    self.sent.push((self.now.elapsed, message));
                }
            }
        }
    }

    fn obey(&mut self, message: &Value, answers: &mut Vec<String>) {
        let texts: Vec<&str> =
            message["p"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let (id, keys) = texts.split_first().unwrap();
        let name = message["m"].as_str().unwrap();
        if name == "quote_create_session" {
            assert!(id.starts_with("qs_") && id.len() == 15, "{id}");
            assert!(
                self.sessions.insert((*id).to_owned(), BTreeSet::new()).is_none(),
                "{id} was used before"
            );
            return;
        }
        if !name.starts_with("quote_") {
            return;
        }
        let Some(held) = self.sessions.get_mut(*id) else { panic!("{name} to the dead session {id}") };
        match name {
            "quote_set_fields" => assert!(keys.contains(&"lp") && keys.contains(&"bid")),
            "quote_add_symbols" => {
                assert!(keys.len() <= 50, "{} keys at once", keys.len());
                for key in keys {
                    assert!(held.insert((*key).to_owned()), "{key} twice in {id}");
                }
                if keys.iter().any(|key| self.poison.contains(*key)) {
                    self.sessions.remove(*id);
                    let error =
                        json!({"m": "critical_error", "p": [id, "invalid_parameters", "quote_add_symbols"]});
                    answers.push(error.to_string());
                } else if !self.is_mute {
                    for key in keys {
                        let values = json!({"lp": 1.5, "bid": 1.4, "ask": 1.6, "update_mode": "streaming"});
                        let quote = json!({"m": "qsd", "p": [id, {"n": key, "s": "ok", "v": values}]});
                        answers.push(quote.to_string());
                        answers.push(json!({"m": "quote_completed", "p": [id, key]}).to_string());
                    }
                }
            }
            "quote_remove_symbols" => {
                for key in keys {
                    assert!(held.remove(*key), "{key} was not in {id}");
                }
            }
            "quote_delete_session" => {
                assert!(self.sessions.remove(*id).unwrap().is_empty(), "{id} was in use");
            }
            other => panic!("{other}"),
        }
    }
}
