use std::fmt::Write as _;

use sim_tradingview::put_frame;

use crate::input::Input;

/// Values a field may have, and those it should not.
const VALUES: [&str; 20] = [
    "1.5",
    "1.08421",
    "0",
    "-3",
    "null",
    "1e+100",
    "-1e100",
    "5e-05",
    "1.0842100000000001",
    "99999999999999999999999999",
    "0.00000000000000000000000001",
    "9223372036854775807",
    "\"streaming\"",
    "\"delayed_streaming_900\"",
    "\"out_of_session\"",
    "\"market\"",
    "\"~m~5~m~~h~1 삼🎯\"",
    "[1,{\"lp\":2}]",
    "true",
    "100000",
];

/// Fields that are asked for, and one that is not.
const FIELDS: [&str; 14] = [
    "lp",
    "lp_time",
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "volume",
    "ch",
    "chp",
    "current_session",
    "update_mode",
    "pricescale",
    "minmov",
    "logoid",
];

/// Words of errors, known and unknown.
const WORDS: [&str; 9] = [
    "invalid_parameters",
    "max sessions rate reached",
    "invalid symbol",
    "bad auth token",
    "wrong data",
    "you are banned",
    "{unknown_session_id,<<\\\"quote_add_symbols\\\">>}",
    "",
    "Max state sessions reached",
];

/// The payload of one frame. What it is about is one of these keys, in a quote session of this name.
pub(super) fn payload(input: &mut Input<'_>, keys: &[&str], session: &str) -> String {
    let key = keys[input.below(keys.len())];
    match input.below(12) {
        0..=3 => {
            let mut values = String::new();
            for index in 0..input.below(6) {
                let comma = if index > 0 { "," } else { "" };
                let (field, value) = (FIELDS[input.below(FIELDS.len())], VALUES[input.below(VALUES.len())]);
                let _ = write!(values, "{comma}\"{field}\":{value}");
            }
            format!(r#"{{"m":"qsd","p":["{session}",{{"n":"{key}","s":"ok","v":{{{values}}}}}]}}"#)
        }
        4 => format!(r#"{{"m":"quote_completed","p":["{session}","{key}"]}}"#),
        5 => {
            let words = WORDS[input.below(WORDS.len())];
            let status = ["error", "permission", ""][input.below(3)];
            format!(r#"{{"m":"qsd","p":["{session}",{{"n":"{key}","s":"{status}","errmsg":"{words}"}}]}}"#)
        }
        6 => {
            let words = WORDS[input.below(WORDS.len())];
            format!(r#"{{"m":"critical_error","p":["{session}","{words}","quote_add_symbols"]}}"#)
        }
        7 if input.below(4) == 0 => {
            format!(r#"{{"m":"protocol_error","p":["{}"]}}"#, WORDS[input.below(WORDS.len())])
        }
        7 => r#"{"m":"du","p":[],"t":1}"#.to_owned(),
        8 => format!("~h~{}", input.number()),
        9 => r#"{"session_id":"0.1.2_sim","timestamp":1767225600}"#.to_owned(),
        10 => String::from_utf8_lossy(input.run()).into_owned(),
        _ => format!("{{\"m\":\"qsd\",\"p\":{}}}", VALUES[input.below(VALUES.len())]),
    }
}

/// A message of some frames, one of which may not be one.
pub(super) fn message(input: &mut Input<'_>, keys: &[&str], session: &str) -> String {
    let mut message = String::new();
    for _ in 0..=input.below(3) {
        match input.below(8) {
            0 => message.push_str(&String::from_utf8_lossy(input.run())),
            1 => {
                let payload = payload(input, keys, session);
                let _ = write!(message, "~m~{}~m~{payload}", input.number());
            }
            _ => put_frame(&mut message, &payload(input, keys, session)),
        }
    }
    message
}

/// A WebSocket frame of a server, as it should be or not.
pub(super) fn put_websocket(out: &mut Vec<u8>, input: &mut Input<'_>, payload: &[u8]) {
    const HEADS: [u8; 16] =
        [0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x82, 0x01, 0x80, 0x00, 0x89, 0x8a, 0x88, 0x83, 0xc1, 0x8f];
    let head = HEADS[input.below(HEADS.len())];
    // Frames of control are short.
    let payload = if head & 0x08 != 0 { &payload[..payload.len().min(100)] } else { payload };
    out.push(head);
    match payload.len() {
        short @ ..126 => out.push(u8::try_from(short).unwrap()),
        length => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(length.min(65_535)).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(&payload[..payload.len().min(65_535)]);
}
