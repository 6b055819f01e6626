//! Every row of the table of known failures (facts 5.6), in its order; those about prices are in `quotes`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tickcast_model::{AuthState, CauseKind, LinkState, SymbolState, VenueId};
use tickcast_session::{
    Action, DemandLimits, DialPace, Ending, Now, Retry, Session as _, Supervisor, SupervisorSettings,
};
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Message, WebSocket};

use super::{Peer, settings};
use crate::frame::{Frames, Payload};
use crate::socket::Pipe;
use crate::{Memory, SessionSettings, TradingViewSession};

/// All of the first data.
fn whole() -> Value {
    json!({"lp": 1.5, "bid": 1, "ask": 2, "update_mode": "streaming"})
}

const SECOND: Duration = Duration::from_secs(1);

fn answered(response: &str, chunk: usize) -> Ending {
    let now = Now { elapsed: SECOND, unix_us: 0 };
    let mut session = TradingViewSession::new(settings());
    session.start(now);
    let ended = response.as_bytes().chunks(chunk).find_map(|bytes| session.receive(now, bytes).err());
    ended.expect("an ending")
}

#[test]
fn an_upgrade_that_is_refused_ends_with_what_it_means() {
    let slow = Retry::Slowly;
    for (status, headers, kind, retry) in [
        ("403 Forbidden", "", CauseKind::VenueError, slow),
        ("429 Too Many Requests", "Retry-After: 7\r\n", CauseKind::RateLimited, Retry::After(7 * SECOND)),
        ("429 Too Many Requests", "Retry-After: 9999\r\n", CauseKind::RateLimited, Retry::After(60 * SECOND)),
        ("429 Too Many Requests", "Retry-After: soon\r\n", CauseKind::RateLimited, Retry::After(60 * SECOND)),
        ("429 Too Many Requests", "", CauseKind::RateLimited, Retry::After(60 * SECOND)),
        ("401 Unauthorized", "", CauseKind::AuthRefused, slow),
        ("404 Not Found", "", CauseKind::BadRequest, slow),
        ("301 Moved Permanently", "Location: /\r\n", CauseKind::BadRequest, slow),
        ("503 Service Unavailable", "", CauseKind::VenueAway, Retry::Backoff),
        ("503 Service Unavailable", "Retry-After: 3\r\n", CauseKind::VenueAway, Retry::After(3 * SECOND)),
    ] {
        for chunk in [usize::MAX, 1, 10] {
            let ending = answered(&format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n"), chunk);
            assert_eq!((ending.cause.kind, ending.retry), (kind, retry), "{status} {headers}");
            assert!(ending.cause.detail.contains(&status[..3]), "{}", ending.cause);
        }
    }
}

#[test]
fn an_answer_that_is_no_upgrade_ends_without_a_panic() {
    for response in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm8=\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
    ] {
        assert_eq!(answered(response, 1).cause.kind, CauseKind::Protocol, "{response}");
    }
}

/// A supervisor that has just been told to dial.
fn supervised() -> (Supervisor<TradingViewSession>, Now) {
    let settings = settings();
    supervised_by(move || TradingViewSession::with_seed(settings.clone(), 7))
}

fn supervised_by(
    new_session: impl FnMut() -> TradingViewSession + Send + 'static,
) -> (Supervisor<TradingViewSession>, Now) {
    let settings_of_supervisor = SupervisorSettings {
        venue: VenueId::new("tradingview").unwrap(),
        epoch: 1,
        connect_timeout: 15 * SECOND,
        silence_timeout: 60 * SECOND,
        stale_after: 30 * SECOND,
        symbol_stale_min: 5 * SECOND,
        symbol_stale_max: 300 * SECOND,
        backoff_min: SECOND,
        backoff_max: 30 * SECOND,
        auth_retry: 180 * SECOND,
        dials: DialPace::unlimited(),
        stable_after: 30 * SECOND,
        linger: 5 * SECOND,
        demand: DemandLimits::default(),
        channels_max: 100,
        seed: 1,
    };
    let now = Now { elapsed: SECOND, unix_us: 1_767_225_600_000_000 };
    let mut supervisor = Supervisor::new(settings_of_supervisor, now, new_session);
    supervisor.timeout(now);
    assert!(done(&mut supervisor).contains(&Action::Dial));
    (supervisor, now)
}

/// The answer that agrees to a request.
fn upgraded(request: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// A short text as the venue sends it.
fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, u8::try_from(text.len()).unwrap()];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Everything that is to be written.
fn sent(supervisor: &mut Supervisor<TradingViewSession>) -> Vec<u8> {
    let sent = done(supervisor).into_iter().filter_map(|action| match action {
        Action::Send(bytes) => Some(bytes),
        _ => None,
    });
    sent.flatten().collect()
}

/// The messages in what is written on an open WebSocket.
fn client_commands(bytes: &[u8]) -> Vec<Value> {
    let mut pipe = Pipe::default();
    pipe.incoming.extend_from_slice(bytes);
    let mut socket = WebSocket::from_raw_socket(pipe, Role::Server, None);
    let mut commands = Vec::new();
    while let Ok(message) = socket.read() {
        for payload in Frames::new(message.to_text().unwrap()) {
            let Payload::Json(json) = payload.unwrap() else { continue };
            commands.push(serde_json::from_str(json).unwrap());
        }
    }
    commands
}

fn done(supervisor: &mut Supervisor<TradingViewSession>) -> Vec<Action> {
    std::iter::from_fn(|| supervisor.poll()).collect()
}

/// Lets time pass with every deadline kept, up to the first end of the connection.
fn end_within(
    supervisor: &mut Supervisor<TradingViewSession>,
    mut now: Now,
    time: Duration,
) -> Option<CauseKind> {
    let until = now.elapsed + time;
    while let Some(at) = supervisor.deadline().filter(|at| *at <= until) {
        now.unix_us += i64::try_from(at.saturating_sub(now.elapsed).as_micros()).unwrap();
        now.elapsed = at.max(now.elapsed);
        supervisor.timeout(now);
        for action in done(supervisor) {
            if let Action::Close(cause) = action {
                return Some(cause.kind);
            }
        }
    }
    None
}

#[test]
fn a_handshake_that_hangs_has_an_end() {
    let (mut supervisor, now) = supervised();
    assert_eq!(
        end_within(&mut supervisor, now, 20 * SECOND),
        Some(CauseKind::ConnectTimeout),
        "while dialling"
    );
    let (mut supervisor, now) = supervised();
    supervisor.dialled(now);
    assert_eq!(
        end_within(&mut supervisor, now, 20 * SECOND),
        Some(CauseKind::ConnectTimeout),
        "in the upgrade"
    );
}

#[test]
fn a_link_that_fell_silent_is_closed_even_though_nothing_is_wanted() {
    let (mut supervisor, now) = supervised();
    supervisor.dialled(now);
    let request = done(&mut supervisor).into_iter().find_map(|action| match action {
        Action::Send(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
        _ => None,
    });
    let request = request.unwrap();
    assert!(request.starts_with("GET /socket.io/websocket?type=chart HTTP/1.1\r\n"), "{request}");
    for header in [
        "Origin: https://www.tradingview.com",
        "User-Agent: tickcast/",
        "Host: 127.0.0.1:9",
        "Sec-WebSocket-Version: 13",
    ] {
        assert!(request.to_lowercase().contains(&header.to_lowercase()), "{header} in {request}");
    }
    for header in ["cookie", "sec-websocket-protocol", "sec-websocket-extensions"] {
        assert!(!request.to_lowercase().contains(header), "{header} in {request}");
    }
    supervisor.received(now, upgraded(&request).as_bytes());
    supervisor.received(now, &text_frame("~m~18~m~{\"session_id\":\"x\"}"));
    let health = supervisor.health(now);
    assert_eq!((health.link, health.auth), (LinkState::Up, AuthState::Ok));
    assert_eq!(end_within(&mut supervisor, now, 59 * SECOND), None);
    assert_eq!(end_within(&mut supervisor, now, 60 * SECOND), Some(CauseKind::Silence));
}

#[test]
fn a_greeting_that_never_comes_ends_the_connection_after_ten_seconds() {
    let mut peer = Peer::upgraded(settings());
    peer.want(&["A:A"]);
    // Heartbeats and other messages are no greeting.
    peer.say(&json!({"m": "qsd", "p": ["qs_x", {"n": "A:A", "s": "ok", "v": {"lp": 1}}]}));
    peer.try_pass(Duration::from_millis(9_999)).unwrap();
    assert_eq!(peer.commands(), Vec::<Value>::new());
    let ending = peer.try_pass(Duration::from_millis(1)).unwrap_err();
    assert_eq!(ending.cause.kind, CauseKind::RequestTimeout, "{}", ending.cause);
}

#[test]
fn the_one_bad_key_of_a_batch_is_found_and_the_others_stream() {
    for bad in [vec!["X:00"], vec!["X:17", "X:49", "X:50"], vec!["X:59"]] {
        let names: Vec<String> = (0..60).map(|number| format!("X:{number:02}")).collect();
        let mut peer = Peer::upgraded(settings());
        peer.is_mute = false;
        peer.poison = bad.iter().map(|name| (*name).to_owned()).collect();
        peer.want(&names);
        peer.greet();
        peer.pass(30 * SECOND);
        let refused: Vec<_> =
            peer.states().into_iter().filter(|(_, change)| change.state == SymbolState::Refused).collect();
        let refused_names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(refused_names, bad);
        assert!(refused.iter().all(|(_, change)| change.message.as_deref() == Some("invalid_parameters: quote_add_symbols")));
        assert_eq!(peer.held().len(), 60 - bad.len());
        // Not asked for again before ten minutes are over, however often somebody wants it.
        peer.commands();
        peer.want(&names[1..]);
        peer.want(&names);
        peer.pass(500 * SECOND);
        let asked = |commands: Vec<Value>| {
            commands.iter().any(|it| it["p"].as_array().unwrap().iter().any(|key| *key == bad[0]))
        };
        assert!(!asked(peer.commands()));
        peer.pass(200 * SECOND);
        assert!(asked(peer.commands()));
    }
}

#[test]
fn a_key_is_not_refused_for_a_session_that_broke_by_accident() {
    let mut peer = Peer::upgraded(settings());
    peer.want(&["A:A"]);
    peer.greet();
    let id = peer.session_of("A:A");
    peer.break_session(&id, "invalid_parameters", "quote_add_symbols");
    assert_eq!(peer.states(), []);
    peer.completed("A:A");
    assert_eq!(peer.held().len(), 1, "asked for once more, alone");
    // And it counts from the beginning again.
    let id = peer.session_of("A:A");
    peer.ask_again(&["A:A"]);
    peer.break_session(&id, "invalid_parameters", "quote_add_symbols");
    peer.pass(2 * SECOND);
    assert_eq!((peer.states(), peer.held().len()), (vec![], 1));
}

#[test]
fn a_session_that_breaks_is_replaced_and_the_others_are_left_alone() {
    let names: Vec<String> = (0..120).map(|number| format!("X:{number:03}")).collect();
    let mut peer = Peer::upgraded(settings());
    peer.is_mute = false;
    peer.want(&names);
    peer.greet();
    peer.pass(5 * SECOND);
    let (broken, other) = (peer.session_of("X:000"), peer.session_of("X:060"));
    assert_ne!(broken, other);
    peer.commands();
    peer.ticks();
    peer.break_session(&broken, "invalid timezone", "method: quote_switch_timezone");
    peer.pass(5 * SECOND);
    assert_eq!(peer.held().len(), 120);
    assert_eq!(peer.session_of("X:060"), other);
    assert!(!peer.sessions.contains_key(&broken));
    // The same prices again are no ticks; another price is one.
    assert_eq!(peer.ticks(), Vec::new());
    peer.qsd("X:000", &json!({"lp": 1.7}));
    assert_eq!(peer.ticks().len(), 1);
}

#[test]
fn a_venue_that_breaks_every_session_is_asked_ever_more_rarely() {
    let mut peer = Peer::upgraded(settings());
    peer.is_mute = false;
    peer.want(&["A:A"]);
    peer.greet();
    let mut opened = Vec::new();
    for _ in 0..600 {
        if let Some(id) = peer.sessions.keys().next().cloned() {
            opened.push(peer.now.elapsed);
            peer.break_session(&id, "unsupported method", "quote_create_session");
        }
        peer.pass(Duration::from_millis(100));
    }
    assert!((3..=8).contains(&opened.len()), "{opened:?}");
    peer.pass(40 * SECOND);
    assert_eq!(peer.held().len(), 1, "and goes on when it stops");
}

#[test]
fn an_error_about_another_method_is_no_keys_fault() {
    for info in ["quote_set_fields", "quote_create_session", "method: quote_set_fields. args: \"[x]\""] {
        let mut peer = Peer::greeted(settings(), &["A:A", "A:B"]);
        for _ in 0..3 {
            let id = peer.session_of("A:A");
            peer.break_session(&id, "invalid_parameters", info);
            peer.pass(3 * SECOND);
        }
        // Both together again, and nobody is refused.
        assert_eq!(peer.session_of("A:A"), peer.session_of("A:B"), "{info}");
        assert_eq!(peer.states(), [], "{info}");
    }
}

#[test]
fn an_unknown_symbol_is_said_at_once_with_the_venues_reason_and_the_others_stream() {
    let mut peer = Peer::greeted(settings(), &["OANDA:EURUSD", "OANDA:NOSUCH"]);
    peer.commands();
    let id = peer.session_of("OANDA:NOSUCH");
    peer.completed("OANDA:EURUSD");
    let error = json!({"n": "OANDA:NOSUCH", "s": "error", "errmsg": "invalid symbol", "v": {}});
    peer.say(&json!({"m": "qsd", "p": [id, error]}));
    let states = peer.states();
    assert_eq!(
        (states.len(), states[0].0.as_str(), states[0].1.state),
        (1, "OANDA:NOSUCH", SymbolState::Refused)
    );
    assert_eq!(states[0].1.code.as_deref(), Some("SYMBOL_REFUSED"));
    assert_eq!(states[0].1.message.as_deref(), Some("invalid symbol"));
    assert_eq!(peer.commands(), [json!({"m": "quote_remove_symbols", "p": [id, "OANDA:NOSUCH"]})]);
    peer.qsd("OANDA:EURUSD", &whole());
    assert_eq!(peer.ticks().len(), 1);
    peer.pass(599 * SECOND);
    assert_eq!(peer.commands(), Vec::<Value>::new());
    peer.pass(SECOND);
    assert_eq!(peer.commands(), [json!({"m": "quote_add_symbols", "p": [id, "OANDA:NOSUCH"]})]);
}

#[test]
fn a_symbol_that_is_not_answered_says_so_and_holds_up_nobody() {
    let mut peer = Peer::greeted(settings(), &["A:MUTE", "A:B"]);
    peer.qsd("A:B", &whole());
    peer.completed("A:B");
    assert_eq!(peer.ticks().len(), 1);
    peer.pass(10 * SECOND);
    let states = peer.states();
    assert_eq!(
        (states.len(), states[0].0.as_str(), states[0].1.code.as_deref()),
        (1, "A:MUTE", Some("NO_ANSWER"))
    );
    peer.qsd("A:MUTE", &whole());
    assert_eq!(peer.ticks().len(), 1, "late is better than never");
}

#[test]
fn a_bad_token_is_a_refused_login_and_a_good_one_is_known_by_silence() {
    let token = SessionSettings { auth_token: Some("ey.secret".to_owned().into()), ..settings() };
    let mut peer = Peer::greeted::<&str>(token.clone(), &[]);
    assert_eq!(peer.commands()[0], json!({"m": "set_auth_token", "p": ["ey.secret"]}));
    assert_eq!(peer.logins(), [AuthState::Pending]);
    let ending = peer.try_text(r#"~m~45~m~{"m":"protocol_error","p":["bad auth token"]}"#).unwrap_err();
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::AuthRefused, Retry::Slowly));
    assert!(!ending.cause.to_string().contains("secret"));
    assert_eq!(peer.logins(), Vec::new());

    let token = token.with_memory(Memory::default());
    let mut peer = Peer::greeted::<&str>(token.clone(), &[]);
    peer.pass(SECOND);
    assert_eq!(peer.logins(), [AuthState::Pending, AuthState::Ok]);
    // Data are as good as silence.
    let mut peer = Peer::greeted(token, &["A:A"]);
    peer.completed("A:A");
    assert_eq!(peer.logins(), [AuthState::Pending, AuthState::Ok]);
}

/// The last row: automated sign-in is how accounts are locked. There is none, and a token that was refused is not shown again.
#[test]
fn nobody_is_signed_in_and_a_refused_token_is_shown_once_until_there_is_another() {
    let token = Arc::new(Mutex::new("ey.secret"));
    let settings = settings();
    let new_session = {
        let token = Arc::clone(&token);
        move || {
            let token = (*token.lock().unwrap()).to_owned();
            TradingViewSession::with_seed(settings.clone().with_token(token.into()), 7)
        }
    };
    let (mut supervisor, mut now) = supervised_by(new_session);
    let begin = now.elapsed;
    let (mut shown, mut dials, mut is_dialled) = (Vec::new(), 0, true);
    while now.elapsed < begin + 3600 * SECOND {
        if std::mem::take(&mut is_dialled) {
            dials += 1;
            if now.elapsed > begin + 1800 * SECOND {
                *token.lock().unwrap() = "ey.other";
            }
            supervisor.dialled(now);
            let request = String::from_utf8(sent(&mut supervisor)).unwrap();
            for header in ["Cookie", "Authorization", "ey."] {
                assert!(!request.contains(header), "{request}");
            }
            if !request.is_empty() {
                supervisor.received(now, upgraded(&request).as_bytes());
                supervisor.received(now, &text_frame("~m~18~m~{\"session_id\":\"x\"}"));
                let commands = client_commands(&sent(&mut supervisor));
                let (first, others) = commands.split_first().unwrap();
                shown.push((now.elapsed, first["p"][0].as_str().unwrap().to_owned()));
                assert!(others.iter().all(|command| command["m"] == "set_locale"), "{others:?}");
                let error = text_frame(r#"~m~45~m~{"m":"protocol_error","p":["bad auth token"]}"#);
                supervisor.received(now, &error);
            }
        }
        let at = supervisor.deadline().unwrap().max(now.elapsed);
        now.unix_us += i64::try_from((at - now.elapsed).as_micros()).unwrap();
        now.elapsed = at;
        supervisor.timeout(now);
        let health = supervisor.health(now);
        assert_eq!(health.auth, AuthState::Refused);
        let cause = health.cause.unwrap();
        assert!(
            cause.detail.contains("TRADINGVIEW_AUTH_TOKEN_FILE") && !cause.detail.contains("ey."),
            "{cause}"
        );
        is_dialled = done(&mut supervisor).contains(&Action::Dial);
    }
    let tokens: Vec<&str> = shown.iter().map(|(_, token)| token.as_str()).collect();
    assert_eq!(tokens, ["ey.secret", "ey.other"]);
    assert!(shown[1].0 < begin + 2000 * SECOND, "a new one is found soon: {shown:?}");
    // Between half of AUTH_RETRY_MS, 180 s here, and all of it.
    assert!((20..=40).contains(&dials), "{dials}");
}

#[test]
fn what_was_refused_is_not_asked_for_again_on_the_next_connection() {
    let settings = settings();
    let mut peer = Peer::greeted(settings.clone(), &["OANDA:EURUSD", "OANDA:NOSUCH"]);
    let id = peer.session_of("OANDA:NOSUCH");
    let error = json!({"n": "OANDA:NOSUCH", "s": "error", "errmsg": "invalid symbol"});
    peer.say(&json!({"m": "qsd", "p": [id, error]}));
    assert_eq!(peer.states().len(), 1);
    let mut next = Peer::greeted(settings, &["OANDA:EURUSD", "OANDA:NOSUCH"]);
    let states = next.states();
    assert_eq!((states.len(), states[0].1.message.as_deref()), (1, Some("invalid symbol")));
    assert_eq!(next.held(), ["OANDA:EURUSD".to_owned()].into());
    next.completed("OANDA:EURUSD");
    next.pass(600 * SECOND);
    assert!(next.held().contains("OANDA:NOSUCH"), "and is after ten minutes");
    // Another process has to learn it by itself.
    assert_eq!(Peer::greeted(super::settings(), &["OANDA:NOSUCH"]).held().len(), 1);
}

#[test]
fn other_protocol_errors_end_the_connection_with_their_words() {
    let unknown = r#"{unknown_session_id,<<"quote_add_symbols">>,<<"qs_x">>,[]}"#;
    for (words, kind, retry) in [
        (unknown, CauseKind::Protocol, Retry::Backoff),
        ("wrong data", CauseKind::VenueError, Retry::Backoff),
        ("you are banned", CauseKind::RateLimited, Retry::After(3600 * SECOND)),
    ] {
        let mut peer = Peer::greeted(settings(), &["A:A"]);
        let ending = peer.try_say(&json!({"m": "protocol_error", "p": [words]})).unwrap_err();
        assert_eq!((ending.cause.kind, ending.retry), (kind, retry), "{words}");
        assert!(ending.cause.detail.contains(words));
    }
}

#[test]
fn a_silent_symbol_is_added_again_where_it_is_and_then_in_a_newer_session() {
    let mut peer = Peer::greeted(settings(), &["A:A", "A:B"]);
    for key in ["A:A", "A:B"] {
        peer.qsd(key, &whole());
        peer.completed(key);
    }
    let id = peer.session_of("A:A");
    peer.ticks();
    peer.commands();
    peer.ask_again(&["A:A"]);
    assert_eq!(
        peer.commands(),
        [
            json!({"m": "quote_remove_symbols", "p": [id, "A:A"]}),
            json!({"m": "quote_add_symbols", "p": [id, "A:A"]})
        ]
    );
    // What the venue says of it first is what was told already.
    peer.qsd("A:A", &whole());
    assert_eq!(peer.ticks(), Vec::new());
    peer.ask_again(&["A:A"]);
    peer.pass(SECOND);
    assert_ne!(peer.session_of("A:A"), id);
    assert_eq!(peer.session_of("A:B"), id, "who streams stays");
    peer.qsd("A:A", &whole());
    peer.qsd("A:A", &json!({"lp": 1.6}));
    assert_eq!(peer.ticks().len(), 1);
    // A new quote ends the row of failures, and does not bring it back to where it was silent.
    peer.ask_again(&["A:A"]);
    peer.pass(SECOND);
    assert_ne!(peer.session_of("A:A"), id);
}

#[test]
fn data_of_what_was_let_go_and_of_unknown_sessions_are_ignored() {
    let mut peer = Peer::greeted(settings(), &["A:A"]);
    let id = peer.session_of("A:A");
    peer.completed("A:A");
    peer.want(&["A:B"]);
    peer.ticks();
    let quote = |id: &str, key: &str| json!({"m": "qsd", "p": [id, {"n": key, "s": "ok", "v": whole()}]});
    peer.say(&quote(&id, "A:A"));
    peer.say(&quote("qs_000000000000", "A:B"));
    peer.say(&json!({"m": "quote_completed", "p": [id, "A:A"]}));
    peer.say(&json!({"m": "critical_error", "p": ["cs_000000000000", "invalid timezone", "x"]}));
    assert_eq!(peer.ticks(), Vec::new());
    assert_eq!(peer.session_of("A:B"), id);
}

#[test]
fn what_cannot_be_understood_is_passed_over() {
    let mut peer = Peer::greeted(settings(), &["A:A"]);
    for text in ["", "noise", "~m~9~m~{}", "~m~3~m~{x}", "~m~2~m~[]", "~m~12~m~{\"m\":\"dd\"}x", "~m~0~m~"] {
        peer.try_text(text).unwrap();
    }
    peer.try_message(Message::Ping("x".into())).unwrap();
    peer.try_message(Message::binary(b"~m~4~m~~h~5".to_vec())).unwrap();
    assert_eq!(peer.beats, ["~h~5"]);
    peer.qsd("A:A", &whole());
    assert_eq!(peer.ticks().len(), 1);
}

#[test]
fn a_close_says_its_code_and_a_message_beyond_the_limit_ends_the_connection() {
    let mut peer = Peer::greeted::<&str>(settings(), &[]);
    let frame = CloseFrame { code: 1001.into(), reason: "release".into() };
    let ending = peer.try_message(Message::Close(Some(frame))).unwrap_err();
    assert_eq!((ending.cause.kind, ending.retry), (CauseKind::PeerClosed, Retry::Backoff));
    assert_eq!(ending.cause.detail, "code 1001 release");
    let mut peer = Peer::greeted::<&str>(settings(), &[]);
    assert_eq!(peer.try_message(Message::Close(None)).unwrap_err().cause.kind, CauseKind::PeerClosed);
    let mut peer = Peer::greeted(settings(), &["A:A"]);
    peer.try_text(&format!("~m~8388600~m~{}", "x".repeat(8_388_600))).unwrap();
    let ending = peer.try_text(&"x".repeat(17 << 20)).unwrap_err();
    assert_eq!(ending.cause.kind, CauseKind::Protocol, "{}", ending.cause);
}
