use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Answer, FrameReader, LoadError, Message, Target, text_frame};

/// The venue has this long to say what it offers.
const SYMBOLS_TIMEOUT: Duration = Duration::from_secs(15);

/// Time to connect, and between two reads.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes read of one HTTP answer.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The first `count` symbols the venue offers, learned from its status.
pub(crate) fn offered_symbols(
    target: &Target,
    source: Option<&str>,
    count: usize,
) -> Result<Vec<String>, LoadError> {
    if target.is_tls {
        return Err(LoadError::Symbols("with wss:// name them with --symbols (LOADGEN_SYMBOLS)".into()));
    }
    let deadline = Instant::now() + SYMBOLS_TIMEOUT;
    let mut stream = dial(target)?;
    stream.write_all(target.request().as_bytes())?;
    let mut answer = Answer::default();
    let mut reader = FrameReader::default();
    let mut buffer = vec![0; 64 * 1024];
    let mut is_upgraded = false;
    let mut symbols: Vec<String> = Vec::new();
    while symbols.is_empty() {
        if Instant::now() > deadline {
            return Err(LoadError::Symbols("no status with availableSymbols came in 15 s".into()));
        }
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(read) => &buffer[..read],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        };
        let frames = if is_upgraded {
            read.to_vec()
        } else {
            let Some(early) = answer.feed(read)? else { continue };
            is_upgraded = true;
            stream.write_all(&text_frame(r#"{"type":"connect"}"#))?;
            early
        };
        let mut closed = None;
        reader.feed(&frames, |message| match message {
            Message::Text(text) if symbols.is_empty() => symbols = offer(text, source, count),
            Message::Close(code) => closed = Some(code.unwrap_or(1005)),
            _ => {}
        })?;
        if let Some(code) = closed {
            return Err(LoadError::Closed(code));
        }
    }
    if symbols.len() < count {
        return Err(LoadError::Symbols(format!(
            "the venue offers {}, {count} were asked for",
            symbols.len()
        )));
    }
    Ok(symbols)
}

fn offer(text: &[u8], source: Option<&str>, count: usize) -> Vec<String> {
    let Ok(message) = serde_json::from_slice::<Value>(text) else { return Vec::new() };
    let of_source = source.is_none_or(|source| message["source"] == source);
    if !of_source || message["type"] != "status" {
        return Vec::new();
    }
    let offered = message["availableSymbols"].as_array().into_iter().flatten();
    offered.filter_map(Value::as_str).take(count).map(Into::into).collect()
}

/// A page of the server, `http://` or not: the text of a 200.
pub(crate) fn page(target: &Target) -> Option<String> {
    let mut stream = dial(target).ok()?;
    let Target { authority, path, .. } = target;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

fn dial(target: &Target) -> Result<TcpStream, LoadError> {
    let stream = TcpStream::connect_timeout(&target.resolve()?, READ_TIMEOUT)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.set_write_timeout(Some(READ_TIMEOUT))?;
    Ok(stream)
}
