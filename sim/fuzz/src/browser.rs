use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tickcast_model::{Symbol, VenueId};
use ws_gateway::hub::ChannelKey;
use ws_gateway::limits::ClientLimits;
use ws_gateway::rate::Rate;
use ws_gateway::session::{Action, ClientSession, Held, LookUp, VenueNumber, World};
use ws_gateway::wire::{Broken, FrameReader, Received};

use crate::input::Input;

/// Longest message the reader takes here.
const MESSAGE_BYTES_MAX: usize = 300;

/// A browser's frames, good and bad, cut anywhere: the same messages and the same end however they are cut, no message
/// longer than allowed, and a well-made message comes out as it went in.
pub(crate) fn frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut stream = Vec::new();
    let mut cuts = Vec::new();
    let mut sent = Vec::new();
    let mut well_made = true;
    while !input.is_empty() {
        match input.below(8) {
            0..3 => {
                let payload = input.run();
                let text: String = payload.iter().map(|byte| char::from(byte & 0x7f)).collect();
                let parts = input.below(4);
                put_message(&mut stream, text.as_bytes(), parts, &mut input);
                sent.push(Received::Text(text));
            }
            3 => {
                let payload = {
                    let length = input.below(126);
                    input.take(length)
                };
                put_frame(&mut stream, true, 0x9, payload, &mut input);
                sent.push(Received::Ping(payload.to_vec()));
            }
            4 => {
                put_frame(&mut stream, true, 0xA, b"x", &mut input);
                sent.push(Received::Pong);
            }
            5 => {
                let payload = input.run();
                put_frame(&mut stream, true, 0x2, payload, &mut input);
                sent.push(Received::Binary);
            }
            // Any frame.
            6 => {
                well_made = false;
                let (is_last, opcode) = (input.bit(), input.byte());
                let payload = input.run();
                put_frame(&mut stream, is_last, opcode, payload, &mut input);
            }
            _ => {
                well_made = false;
                stream.extend_from_slice(input.run());
            }
        }
        cuts.push(usize::from(input.byte()));
    }
    let whole = read(&stream, &[]);
    assert_eq!(whole, read(&stream, &cuts), "cut in pieces");
    assert_eq!(whole, read(&stream, &[1]), "one byte at a time");
    for message in &whole.0 {
        if let Received::Text(text) = message {
            assert!(text.len() <= MESSAGE_BYTES_MAX);
        }
    }
    if well_made {
        assert_eq!(whole, (sent, None), "what is well made is read");
    }
}

fn put_message(stream: &mut Vec<u8>, payload: &[u8], parts: usize, input: &mut Input<'_>) {
    let mut rest = payload;
    for part in 0..=parts {
        let is_last = part == parts;
        let length = if is_last { rest.len() } else { input.below(256).min(rest.len()) };
        let (piece, after) = rest.split_at(length);
        rest = after;
        put_frame(stream, is_last, if part == 0 { 0x1 } else { 0x0 }, piece, input);
        // Control frames may stand between the parts of a message; a pong changes nothing that is compared.
    }
}

fn put_frame(stream: &mut Vec<u8>, is_last: bool, opcode: u8, payload: &[u8], input: &mut Input<'_>) {
    stream.push(u8::from(is_last) << 7 | opcode);
    match u8::try_from(payload.len()) {
        Ok(short @ ..126) => stream.push(0x80 | short),
        _ => {
            stream.push(0x80 | 126);
            stream.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    let mask = [input.byte(), 0x5a, 0, 0xff];
    stream.extend_from_slice(&mask);
    stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn read(stream: &[u8], cuts: &[usize]) -> (Vec<Received>, Option<Broken>) {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut messages = Vec::new();
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let at = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(at);
        rest = after;
        if let Err(broken) = reader.read(piece, |message| messages.push(message)) {
            return (messages, Some(broken));
        }
    }
    (messages, None)
}

/// The gateway around a session: a venue that is known or not, and one that never is.
struct Around {
    venues: Vec<VenueId>,
    is_known: bool,
    is_ready: bool,
    has_room: bool,
}

impl World for Around {
    fn venues(&self) -> &[VenueId] {
        &self.venues
    }

    fn look_up(&self, venue: VenueNumber, name: &str) -> LookUp {
        if venue != 0 || !self.is_known {
            return LookUp::NotYet;
        }
        // Names that begin with a letter are known.
        let known = name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
        Symbol::new(&name.to_ascii_uppercase()).filter(|_| known).map_or(LookUp::Unknown, LookUp::Symbol)
    }

    fn is_ready(&self, venue: VenueNumber) -> bool {
        self.is_ready && venue == 0
    }

    fn has_room(&self, _: &ChannelKey, _: usize) -> bool {
        self.has_room
    }

    fn status(&self, _: VenueNumber) -> Bytes {
        Bytes::from_static(b"{}")
    }

    fn now_ms(&self) -> i64 {
        5
    }
}

/// The channels the client holds, as its writer keeps them.
struct Channels(Vec<(ChannelKey, Rate)>);

impl Held for Channels {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn rate(&self, key: &ChannelKey) -> Option<Rate> {
        self.0.iter().find(|(held, _)| held == key).map(|(_, rate)| *rate)
    }

    fn all(&self) -> Vec<(ChannelKey, Rate)> {
        self.0.clone()
    }
}

/// What a browser says, message by message, while what the gateway knows changes: never more subscriptions than
/// allowed, joins and leaves that match, and exactly what it holds is joined.
pub(crate) fn session(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits =
        Arc::new(ClientLimits { subscriptions_max: 6, message_bytes_max: 4_096, messages_per_s: 20 });
    let mut now = Instant::now();
    let mut around = Around {
        venues: ["ctrader", "ib"].iter().filter_map(|name| VenueId::new(name)).collect(),
        is_known: true,
        is_ready: true,
        has_room: true,
    };
    let mut session = ClientSession::new(limits.clone(), now);
    let mut held = Channels(Vec::new());
    while !input.is_empty() {
        let mut actions = Vec::new();
        match input.below(12) {
            0 => now += input.spell().min(Duration::from_secs(60)),
            1 => {
                (around.is_known, around.is_ready, around.has_room) = (input.bit(), input.bit(), input.bit());
            }
            2 => session.receive_binary(now, &mut actions),
            3 => session.resolve(&around, &held, &mut actions),
            4 => session.receive(&String::from_utf8_lossy(input.run()), now, &around, &held, &mut actions),
            kind => session.receive(&request(kind, &mut input), now, &around, &held, &mut actions),
        }
        let mut refusals = 0;
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Join { key, rate, .. } => {
                    assert!(held.rate(&key).is_none(), "a channel is joined once");
                    held.0.push((key, rate));
                }
                Action::Tune(key, rate) => {
                    assert!(held.rate(&key).is_some_and(|known| known != rate), "a rate is changed");
                    held.0.iter_mut().filter(|(known, _)| *known == key).for_each(|held| held.1 = rate);
                }
                Action::Leave(key) => {
                    assert!(held.rate(&key).is_some(), "what is left was joined");
                    held.0.retain(|(known, _)| *known != key);
                }
                Action::Send(message) => assert!(!message.is_empty()),
                Action::Answer(answer) => assert!(!answer.message(5).is_empty()),
                Action::Defer(request) => {
                    let mut more = Vec::new();
                    session.subscribe(&request, false, &around, &held, &mut more);
                    actions.extend(more);
                }
                Action::Refused(_) => refusals += 1,
            }
        }
        assert!(refusals <= limits.symbols_per_message_max() + 1);
        assert!(held.count() <= limits.subscriptions_max, "more than may be");
    }
}

/// A request that is nearly right.
fn request(kind: usize, input: &mut Input<'_>) -> String {
    const NAMES: [&str; 10] = [
        "\"EURUSD\"",
        "\"eurusd\"",
        "\"GBPUSD\"",
        "\"X\"",
        "\"1\"",
        "\"\"",
        "3",
        "null",
        "[\"A\"]",
        "\"A/B\"",
    ];
    const SOURCES: [&str; 8] = [
        "",
        ",\"source\":\"ctrader\"",
        ",\"source\":\"ib\"",
        ",\"source\":\"none\"",
        ",\"source\":7",
        ",\"id\":{\"a\":[1]}",
        ",\"mode\":\"latest\",\"minIntervalMs\":250",
        ",\"onSlow\":\"merge\"",
    ];
    let count = input.below(9);
    let names: Vec<&str> = (0..count).map(|_| NAMES[input.below(NAMES.len())]).collect();
    let source = SOURCES[input.below(SOURCES.len())];
    let names = names.join(",");
    match kind {
        5 | 6 => format!("{{\"type\":\"subscribe\",\"symbols\":[{names}]{source}}}"),
        7 | 8 => format!("{{\"type\":\"unsubscribe\",\"symbols\":[{names}]{source}}}"),
        9 => format!("{{\"type\":\"getSubscriptions\"{source}}}"),
        10 => format!(
            "{{\"type\":\"subscribe\",\"symbols\":[{names}],\"resume\":{{\"EURUSD\":{{\"epoch\":\"1\",\"seq\":{count}}},\"X\":{{}}}}{source}}}"
        ),
        _ => format!("{{\"type\":\"ping\"{source}}}"),
    }
}
