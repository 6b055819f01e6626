//! The venue as connections of bytes: the WebSocket handshake and its frames around [`Venue`], still without a socket, a
//! clock or a task. For worlds in virtual time and for whoever drives a client by bytes.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{
    self, Message as WsMessage, Utf8Bytes, WebSocket, accept_hdr_with_config,
};

use sim_kit::{ConnectionId, Now, ReasonKind as _, SimulatedVenue as _};

use crate::fault::{Fault, FaultSet, FaultSpec};
use crate::outcome::{Ending, Output, Reason};
use crate::settings::VenueSettings;
use crate::venue::Venue;
use crate::websocket::{config, frames, refused};

/// Ends the head of a client's request.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The venue behind its WebSocket, a stream of bytes in each direction per connection.
///
/// Give it bytes and time; take outputs with [`Wired::poll`] after each call until there are none; call [`Wired::timeout`]
/// when [`Wired::deadline`] is reached.
pub struct Wired {
    venue: Venue,
    lines: BTreeMap<LineId, Line>,
    opened: u64,
    out: VecDeque<WiredOutput>,
}

/// Names a connection from its first byte on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LineId(u64);

/// What has to be done on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WiredOutput {
    /// Write these bytes.
    Send {
        /// Where.
        line: LineId,
        /// What.
        bytes: Bytes,
    },
    /// End it; it is forgotten.
    End {
        /// Which one.
        line: LineId,
        /// True where it is reset, false where it is closed in order.
        reset: bool,
        /// Why, as a label.
        reason: &'static str,
    },
}

enum Line {
    /// The upgrade was not answered yet.
    Asking(Pipe),
    Open {
        id: ConnectionId,
        socket: Box<WebSocket<Pipe>>,
    },
}

/// Stands in for the stream.
#[derive(Default)]
struct Pipe {
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Wired {
    /// A venue nobody is connected to.
    pub fn new(settings: VenueSettings) -> Self {
        Self { venue: Venue::new(settings), lines: BTreeMap::new(), opened: 0, out: VecDeque::new() }
    }

    /// What is behind the WebSocket.
    pub fn venue(&self) -> &Venue {
        &self.venue
    }

    /// The lasting faults that are on.
    pub fn faults(&self) -> FaultSet {
        self.venue.faults()
    }

    /// Switches a fault as [`Venue::fault`] does.
    pub fn fault(&mut self, now: Now, fault: impl Into<FaultSpec>, on: bool) {
        self.venue.fault(now, fault, on);
        self.answer_all(now);
    }

    /// Ends every lasting fault.
    pub fn heal(&mut self, now: Now) {
        self.venue.heal(now);
        self.answer_all(now);
    }

    /// A client has connected; its request for a WebSocket is next.
    pub fn open(&mut self) -> LineId {
        self.opened += 1;
        let line = LineId(self.opened);
        self.lines.insert(line, Line::Asking(Pipe::default()));
        line
    }

    /// Bytes of a client, cut anywhere. Unknown names are ignored.
    pub fn receive(&mut self, line: LineId, now: Now, bytes: &[u8]) {
        match self.lines.get_mut(&line) {
            Some(Line::Asking(pipe)) => {
                pipe.incoming.extend_from_slice(bytes);
                self.answer(line, now);
            }
            Some(Line::Open { socket, .. }) => {
                socket.get_mut().incoming.extend_from_slice(bytes);
                self.read(line, now);
            }
            None => {}
        }
    }

    /// The client went away.
    pub fn closed(&mut self, line: LineId) {
        if let Some(Line::Open { id, .. }) = self.lines.remove(&line) {
            self.venue.closed(id, Reason::Peer);
        }
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Now) {
        self.venue.timeout(now);
        self.answer_all(now);
    }

    /// When [`Wired::timeout`] is due, in time elapsed.
    pub fn deadline(&self) -> Option<Duration> {
        self.venue.deadline()
    }

    /// The next thing to do, or `None` until something happens.
    pub fn poll(&mut self) -> Option<WiredOutput> {
        loop {
            if let Some(output) = self.out.pop_front() {
                return Some(output);
            }
            match self.venue.poll()? {
                Output::Send { id, message } => {
                    let in_fragments = self.faults().has(Fault::Fragments);
                    let Some((line, socket)) = self.line_of(id) else { continue };
                    for frame in frames(message, in_fragments) {
                        // What cannot be written ends with its line.
                        let _ = socket.send(frame);
                    }
                    self.drain(line);
                }
                Output::Close { id, ending, reason } => {
                    let Some((line, socket)) = self.line_of(id) else { continue };
                    if let Ending::Close(code) = ending {
                        let _ = socket.close(
                            code.map(|code| CloseFrame { code: code.into(), reason: Utf8Bytes::default() }),
                        );
                        let _ = socket.flush();
                    }
                    self.drain(line);
                    self.lines.remove(&line);
                    let reset = matches!(ending, Ending::SendThenReset | Ending::Reset);
                    self.out.push_back(WiredOutput::End { line, reset, reason: reason.as_str() });
                }
            }
        }
    }

    /// The connection of the venue behind a line, once its WebSocket is open.
    pub fn connection(&self, line: LineId) -> Option<ConnectionId> {
        match self.lines.get(&line)? {
            Line::Open { id, .. } => Some(*id),
            Line::Asking(_) => None,
        }
    }

    /// How many connections there are, those without a WebSocket yet included.
    pub fn connections(&self) -> usize {
        self.lines.len()
    }

    fn line_of(&mut self, wanted: ConnectionId) -> Option<(LineId, &mut WebSocket<Pipe>)> {
        self.lines.iter_mut().find_map(|(line, state)| match state {
            Line::Open { id, socket } if *id == wanted => Some((*line, socket.as_mut())),
            _ => None,
        })
    }

    fn answer_all(&mut self, now: Now) {
        let asking = |(line, state): (&LineId, &Line)| matches!(state, Line::Asking(_)).then_some(*line);
        let lines: Vec<LineId> = self.lines.iter().filter_map(asking).collect();
        lines.into_iter().for_each(|line| self.answer(line, now));
    }

    /// Answers a request that is complete, unless a fault keeps the venue from it.
    fn answer(&mut self, line: LineId, now: Now) {
        let faults = self.faults();
        let Some(Line::Asking(pipe)) = self.lines.get_mut(&line) else { return };
        let is_whole = pipe.incoming.windows(HEAD_END.len()).any(|bytes| bytes == HEAD_END);
        if faults.has(Fault::ResetHandshake) && !pipe.incoming.is_empty()
            || !is_whole && pipe.incoming.len() > HEAD_BYTES_MAX
        {
            return self.end(line, true, "handshake");
        }
        let holds = [Fault::Stall, Fault::HangTls, Fault::HangHandshake];
        if !is_whole || holds.into_iter().any(|fault| faults.has(fault)) {
            return;
        }
        let mut pipe = std::mem::take(pipe);
        let venue = &mut self.venue;
        #[allow(clippy::result_large_err, reason = "the library's own type")]
        let admit = |request: &Request, response: Response| {
            let origins = request.headers().get_all(header::ORIGIN).iter();
            let origins = origins.filter_map(|origin| origin.to_str().ok());
            venue.admit(origins).map_err(|refusal| refused(&refusal))?;
            Ok(response)
        };
        let is_open = accept_hdr_with_config(&mut pipe, admit, Some(config())).is_ok();
        let answer = pipe.outgoing.split().freeze();
        if !answer.is_empty() {
            self.out.push_back(WiredOutput::Send { line, bytes: answer });
        }
        if !is_open {
            return self.end(line, false, "handshake");
        }
        let socket = Box::new(WebSocket::from_raw_socket(pipe, Role::Server, Some(config())));
        let id = self.venue.open(now);
        self.lines.insert(line, Line::Open { id, socket });
    }

    fn read(&mut self, line: LineId, now: Now) {
        while let Some(Line::Open { id, socket }) = self.lines.get_mut(&line) {
            let (id, message) = (*id, socket.read());
            match message {
                Ok(WsMessage::Text(text)) => self.venue.receive(id, now, &text),
                Ok(WsMessage::Binary(bytes)) => {
                    self.venue.receive(id, now, &String::from_utf8_lossy(&bytes));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.drain(line);
                    self.venue.closed(id, Reason::Peer);
                    return self.end(line, false, Reason::Peer.as_str());
                }
            }
        }
        self.drain(line);
    }

    /// Takes what the WebSocket wants written.
    fn drain(&mut self, line: LineId) {
        if let Some(Line::Open { socket, .. }) = self.lines.get_mut(&line) {
            let bytes = socket.get_mut().outgoing.split().freeze();
            if !bytes.is_empty() {
                self.out.push_back(WiredOutput::Send { line, bytes });
            }
        }
    }

    fn end(&mut self, line: LineId, reset: bool, reason: &'static str) {
        self.lines.remove(&line);
        self.out.push_back(WiredOutput::End { line, reset, reason });
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = self.incoming.len().min(buffer.len());
        self.incoming.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::frame::put_frame;

    const REQUEST: &str = "GET /socket.io/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    fn now(ms: u64) -> Now {
        Now { elapsed: Duration::from_millis(ms), unix_ms: 1_789_757_000_000 + i64::try_from(ms).unwrap() }
    }

    fn said(wired: &mut Wired) -> (String, Vec<WiredOutput>) {
        let mut text = String::new();
        let mut ends = Vec::new();
        while let Some(output) = wired.poll() {
            match output {
                WiredOutput::Send { bytes, .. } => text.push_str(&String::from_utf8_lossy(&bytes)),
                end @ WiredOutput::End { .. } => ends.push(end),
            }
        }
        (text, ends)
    }

    #[test]
    fn a_request_in_single_bytes_is_answered_and_greeted_and_a_masked_message_is_heard() {
        let mut wired = Wired::new(VenueSettings::default());
        let line = wired.open();
        for byte in REQUEST.as_bytes() {
            wired.receive(line, now(0), &[*byte]);
        }
        let (text, ends) = said(&mut wired);
        assert!(text.starts_with("HTTP/1.1 101") && text.contains("session_id"), "{text}");
        assert_eq!(ends, []);
        let id = wired.connection(line).unwrap();
        let mut payload = String::new();
        put_frame(&mut payload, r#"{"m":"quote_create_session","p":["qs_1"]}"#);
        let mut frame = vec![0x81, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(payload.as_bytes());
        for byte in frame {
            wired.receive(line, now(1), &[byte]);
        }
        assert_eq!(wired.venue().sessions(id), 1);
        wired.receive(line, now(2), &[0x88, 0x80, 0, 0, 0, 0]);
        let (_, ends) = said(&mut wired);
        assert_eq!((ends.len(), wired.connections(), wired.venue().connections().count()), (1, 0, 0));
    }

    #[test]
    fn a_refused_request_gets_its_status_and_one_that_hangs_is_answered_when_that_is_over() {
        let mut wired = Wired::new(VenueSettings::default());
        let refusal = FaultSpec::named("handshake-status", &json!({ "code": "429", "retry_after_s": 7 }));
        wired.fault(now(0), refusal.unwrap(), true);
        let line = wired.open();
        wired.receive(line, now(0), REQUEST.as_bytes());
        let (text, ends) = said(&mut wired);
        assert!(text.starts_with("HTTP/1.1 429") && text.contains("retry-after: 7"), "{text}");
        assert_eq!(ends, [WiredOutput::End { line, reset: false, reason: "handshake" }]);
        wired.heal(now(1));
        wired.fault(now(1), Fault::HangHandshake, true);
        let line = wired.open();
        wired.receive(line, now(1), REQUEST.as_bytes());
        assert_eq!(said(&mut wired).0, "");
        wired.heal(now(2));
        assert!(said(&mut wired).0.starts_with("HTTP/1.1 101"));
        wired.fault(now(3), Fault::Cut, true);
        assert_eq!(said(&mut wired).1, [WiredOutput::End { line, reset: true, reason: "fault" }]);
    }
}
