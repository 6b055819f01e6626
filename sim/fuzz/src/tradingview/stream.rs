use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ingest_tradingview::TradingViewSession;
use sim_tradingview::client_texts;
use tickcast_model::{AuthState, StateChange, Symbol, Tick};
use tickcast_session::{Now, Session as _, SessionOutput};
use tungstenite::handshake::derive_accept_key;

use super::{forge, new_session};
use crate::input::Input;

const KEYS: [&str; 4] = ["A:A", "A:B", "BITSTAMP:BTCUSD*1000", "삼:성"];

/// A stream of WebSocket frames, of `~m~` frames in them and of messages in those, right and wrong, cut anywhere: a session
/// says and tells the same however the stream is cut, and stops for good at the same place.
pub(crate) fn stream(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    // The greeting lets it ask, so that there is a session to speak of.
    let mut stream = b"\x81\x1a~m~18~m~{\"session_id\":\"x\"}".to_vec();
    let mut cuts = Vec::new();
    let session = name_of_first_session();
    while !input.is_empty() {
        if input.below(8) == 0 {
            stream.extend_from_slice(input.run());
        } else {
            let message = forge::message(&mut input, &KEYS, &session);
            forge::put_websocket(&mut stream, &mut input, message.as_bytes());
        }
        cuts.push(usize::from(input.byte()));
    }
    let whole = read(&stream, &[]);
    assert_eq!(whole, read(&stream, &cuts), "cut in pieces");
    assert_eq!(whole, read(&stream, &[1]), "one byte at a time");
}

/// What a session makes of a stream.
#[derive(PartialEq, Default, Debug)]
struct Trace {
    sent: Vec<String>,
    ticks: Vec<(Symbol, Tick)>,
    states: Vec<(Symbol, StateChange)>,
    logins: Vec<AuthState>,
    notes: Vec<String>,
    ended: Option<String>,
}

const NOW: Now = Now { elapsed: Duration::from_secs(100), unix_us: 1_767_225_600_000_000 };

fn read(stream: &[u8], cuts: &[usize]) -> Trace {
    let mut trace = Trace::default();
    let mut session = new_session(None);
    let wanted: BTreeSet<Symbol> = KEYS.iter().filter_map(|key| Symbol::new(key)).collect();
    session.want(NOW, &Arc::new(wanted));
    session.start(NOW);
    let answer = upgrade(&mut session);
    session.receive(NOW, answer.as_bytes()).expect("the upgrade is answered");
    trace.take(&mut session);
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() && trace.ended.is_none() {
        let at = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(at);
        rest = after;
        trace.ended = session.receive(NOW, piece).err().map(|ending| format!("{ending:?}"));
        trace.take(&mut session);
    }
    // Where they stand among the others depends on how much was read at once.
    trace.notes.sort_unstable();
    trace.sent.sort_by_key(|text| !text.contains("~h~"));
    if trace.ended.is_some() {
        // Nobody hears it any more.
        trace.sent.clear();
    }
    trace
}

impl Trace {
    fn take(&mut self, session: &mut TradingViewSession) {
        while let Some(output) = session.poll() {
            match output {
                SessionOutput::Send(bytes) => self.sent.extend(client_texts(&bytes).expect("frames of ours")),
                SessionOutput::Tick(symbol, tick) => self.ticks.push((symbol, tick)),
                SessionOutput::State(symbol, state) => self.states.push((symbol, state)),
                SessionOutput::Auth(auth, _) => self.logins.push(auth),
                SessionOutput::Note(note) => self.notes.push(format!("{note:?}")),
                SessionOutput::Catalogue(_) | SessionOutput::Hours(..) | SessionOutput::Keep(_) => {}
            }
        }
    }
}

/// The answer to the request a session begins with.
fn upgrade(session: &mut TradingViewSession) -> String {
    let mut request = Vec::new();
    while let Some(output) = session.poll() {
        if let SessionOutput::Send(bytes) = output {
            request.extend_from_slice(&bytes);
        }
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// What the first quote session of a session is called, which its seed decides.
fn name_of_first_session() -> String {
    let sent = read(b"\x81\x1a~m~18~m~{\"session_id\":\"x\"}", &[]).sent;
    let created = sent.iter().find(|text| text.contains("quote_create_session")).expect("a quote session");
    let from = created.find("qs_").unwrap();
    created[from..from + 15].to_owned()
}
