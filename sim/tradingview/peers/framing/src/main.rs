//! Reads what `said` writes (the simulator's messages and our own cut of each) and compares it with what the published
//! crate `tradingview-rs` makes of the same: where frames begin and end, what is in them, and, the other way round, the
//! frame it would write for each payload, letter by letter.
//!
//! Says how much was compared; ends with 1 at the first difference.

use std::io::BufRead as _;
use std::process::ExitCode;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tradingview::utils::{format_packet, parse_packet};
use tradingview::{SocketMessage, SocketMessageDe};

fn main() -> ExitCode {
    match compare() {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<String, Box<dyn std::error::Error>> {
    let (mut messages, mut frames, mut beats, mut beyond_ascii, mut broken) = (0, 0, 0, 0, 0);
    for line in std::io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let message = line["message"].as_str().ok_or("a line without a message")?;
        let ours: Vec<&str> =
            line["payloads"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let whole = line["whole"] == true;
        let theirs = parse_packet(message);
        // A frame of no letters is passed over there.
        let filled = || ours.iter().filter(|payload| !payload.is_empty());
        if filled().count() > theirs.len() || (whole && filled().count() != theirs.len()) {
            return Err(format!("{} frames here, {} there: {message}", ours.len(), theirs.len()).into());
        }
        let mut again = String::new();
        for payload in &ours {
            match framed(payload)? {
                Some(frame) => again += &frame,
                None if whole => return Err(format!("no JSON: {payload}").into()),
                // Cut where a wrong length says so; what is before it was compared.
                None => break,
            }
        }
        if !message.starts_with(&again) || (whole && message != again) {
            return Err(format!("framed as {again}, not as {message}").into());
        }
        for (payload, theirs) in filled().zip(&theirs) {
            same(payload, theirs)?;
            beats += usize::from(matches!(theirs, SocketMessage::Heartbeat(_)));
            beyond_ascii += usize::from(!payload.is_ascii());
        }
        messages += 1;
        frames += ours.len();
        broken += usize::from(!whole);
    }
    if messages == 0 || beats == 0 || beyond_ascii == 0 || broken == 0 {
        return Err(
            format!("too little: {messages} messages, {beats} heartbeats, {beyond_ascii} not ASCII").into()
        );
    }
    Ok(format!(
        "ok, {messages} messages, {frames} frames ({beats} heartbeats, {beyond_ascii} beyond ASCII), {broken} with rubbish"
    ))
}

/// The frame the crate writes for a payload; none where it is neither JSON nor a heartbeat.
fn framed(payload: &str) -> Result<Option<String>, Box<dyn std::error::Error>> {
    if payload.is_empty() {
        return Ok(Some("~m~0~m~".into()));
    }
    if let Some(beat) = payload.strip_prefix("~h~") {
        return Ok(SocketMessage::<()>::Heartbeat(beat.parse()?).heartbeat_echo());
    }
    // As it is: no number is written otherwise, no member changes its place.
    let Ok(raw) = serde_json::from_str::<Box<RawValue>>(payload) else { return Ok(None) };
    Ok(Some(format_packet(&raw)?.into_text()?.to_string()))
}

/// Fails where the crate has read something else out of a frame than is in the payload.
fn same(payload: &str, theirs: &SocketMessage<SocketMessageDe>) -> Result<(), Box<dyn std::error::Error>> {
    let ours: Value = match payload.strip_prefix("~h~") {
        Some(beat) => json!({ "heartbeat": beat.parse::<u64>()? }),
        None => serde_json::from_str(payload).unwrap_or(Value::Null),
    };
    let same = match theirs {
        SocketMessage::Heartbeat(count) => ours == json!({ "heartbeat": count }),
        SocketMessage::SocketMessage(message) => {
            ours["m"] == message.m.as_str() && ours["p"].as_array() == Some(&message.p)
        }
        SocketMessage::SocketServerInfo(info) => ours["session_id"] == info.session_id.as_str(),
        SocketMessage::Other(value) => ours == *value,
        SocketMessage::Unknown(text) => text == payload && ours.is_null(),
    };
    if same { Ok(()) } else { Err(format!("{payload} was read as {theirs:?}").into()) }
}
