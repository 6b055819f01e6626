use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use loadgen::{Audit, CompactReader, Findings};
use serde_json::{Value, json};
use tickcast_model::Position;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::wait::DEADLINE;

type Socket = WebSocketStream<TcpStream>;

/// The most messages remembered; a test that makes more is too long.
const MESSAGES_MAX: usize = 200_000;

/// The most lines shown where a test fails.
const LINES_SHOWN: usize = 150;

/// A browser's part: it remembers every message and checks the order and completeness of every channel's ticks.
pub struct Client {
    sink: SplitSink<Socket, Message>,
    shared: Arc<Shared>,
    reading: JoinHandle<()>,
    paused: watch::Sender<bool>,
    next: usize,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Notify,
}

struct Seen {
    messages: Vec<Value>,
    audit: Audit,
    /// The close code, 1005 where none was given, 1006 where the connection just ended.
    closed: Option<u16>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { messages: Vec::new(), audit: Audit::new(10_000), closed: None }
    }
}

impl Client {
    /// Connects to a gateway.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::upgrade(addr, TcpSocket::new_v4().unwrap(), None).await
    }

    /// Connects for binary ticks, which are remembered as the messages they stand for.
    pub async fn connect_binary(addr: SocketAddr) -> Self {
        Self::upgrade(addr, TcpSocket::new_v4().unwrap(), Some("tickcast.v1.bin")).await
    }

    /// Connects with a receive buffer of a few KB, so that the gateway soon notices when it is not read.
    pub async fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::upgrade(addr, socket, None).await
    }

    async fn upgrade(addr: SocketAddr, socket: TcpSocket, protocol: Option<&'static str>) -> Self {
        let mut request = format!("ws://{addr}/ws").into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        }
        let connecting = async {
            let stream = socket.connect(addr).await.unwrap();
            let (stream, response) = client_async(request, stream).await.unwrap();
            let agreed =
                response.headers().get("sec-websocket-protocol").map(|agreed| agreed.to_str().unwrap());
            assert_eq!(agreed, protocol);
            stream
        };
        let (sink, stream) = timeout(DEADLINE, connecting).await.unwrap().split();
        let shared = Arc::new(Shared::default());
        let (paused, while_paused) = watch::channel(false);
        let reading = tokio::spawn(read(stream, shared.clone(), while_paused));
        Self { sink, shared, reading, paused, next: 0 }
    }

    /// Reads nothing any more, until told otherwise.
    pub fn pause(&mut self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// Sends a JSON message.
    pub async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    /// Sends anything.
    pub async fn send_raw(&mut self, message: Message) {
        timeout(DEADLINE, self.sink.send(message)).await.unwrap().unwrap();
    }

    /// Subscribes these symbols of the default source and gives the answer.
    pub async fn subscribe(&mut self, symbols: &[&str]) -> Value {
        self.ask_for(json!({"type": "subscribe", "symbols": symbols})).await
    }

    /// Subscribes these symbols of a source and gives the answer.
    pub async fn subscribe_at(&mut self, source: &str, symbols: &[&str]) -> Value {
        self.ask_for(json!({"type": "subscribe", "source": source, "symbols": symbols})).await
    }

    async fn ask_for(&mut self, mut request: Value) -> Value {
        let id = self.next;
        request["id"] = id.into();
        self.send(request).await;
        self.expect("the answer to subscribe", |message| {
            message["type"] == "subscribeResponse" && message["id"] == id
        })
        .await
    }

    /// Waits for the next message `wanted` is true for, counted from the last one a wait found.
    ///
    /// # Panics
    /// After [`DEADLINE`], or where the connection ends, with everything seen.
    pub async fn expect(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.expect_within(DEADLINE, what, wanted).await
    }

    /// The same with a limit of its own.
    pub async fn expect_within(
        &mut self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + limit;
        let from = self.next;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let closed = {
                let seen = self.shared.lock();
                if let Some(at) = seen.messages[self.next..].iter().position(&wanted) {
                    self.next += at + 1;
                    return seen.messages[self.next - 1].clone();
                }
                self.next = seen.messages.len();
                seen.closed
            };
            let waited = timeout_at(end, changed).await;
            if let (Err(_), _) | (_, Some(_)) = (&waited, closed) {
                let why =
                    closed.map_or(format!("not within {limit:?}"), |code| format!("closed with {code}"));
                panic!("{what}: {why}; looked from message {from} on:\n{}", self.transcript());
            }
        }
    }

    /// Waits for the next tick of a symbol.
    pub async fn tick(&mut self, symbol: &str) -> Value {
        self.expect(&format!("a tick of {symbol}"), |message| {
            message["type"] == "tick" && message["symbol"] == symbol
        })
        .await
    }

    /// Waits for a status with this word.
    pub async fn status(&mut self, word: &str) -> Value {
        self.expect(&format!("status {word}"), |message| {
            message["type"] == "status" && message["status"] == word
        })
        .await
    }

    /// Waits until the server has closed the connection: the close code.
    pub async fn closed(&mut self) -> u16 {
        let end = Instant::now() + DEADLINE;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(code) = self.shared.lock().closed {
                return code;
            }
            assert!(timeout_at(end, changed).await.is_ok(), "no close:\n{}", self.transcript());
        }
    }

    /// True while the connection is there.
    pub fn is_open(&self) -> bool {
        self.shared.lock().closed.is_none()
    }

    /// Where the waits have got to; see [`Client::back_to`].
    pub fn mark(&self) -> usize {
        self.next
    }

    /// Makes the next wait look from `mark` on: for messages whose order is not promised.
    pub fn back_to(&mut self, mark: usize) {
        self.next = mark;
    }

    /// Every message since `mark`.
    pub fn seen_since(&self, mark: usize) -> Vec<Value> {
        self.shared.lock().messages[mark..].to_vec()
    }

    /// What the check of order and completeness found so far.
    pub fn findings(&self) -> Findings {
        *self.shared.lock().audit.findings()
    }

    /// # Panics
    /// Where a tick came twice, out of order or after a hole nobody announced.
    pub fn assert_unbroken(&self) {
        let findings = self.findings();
        assert!(findings.is_clean(), "{findings:?}\n{}", self.transcript());
    }

    /// Everything seen, rows of ticks folded.
    pub fn transcript(&self) -> String {
        let seen = self.shared.lock();
        let mut lines: Vec<String> = Vec::new();
        let mut ticks: Option<(usize, u64)> = None;
        for (index, message) in seen.messages.iter().enumerate() {
            if message["type"] == "tick" && message.get("snapshot").is_none() {
                let count = ticks.map_or(0, |(_, count)| count) + 1;
                if ticks.is_some() {
                    lines.pop();
                }
                lines.push(format!("{index}: {count} ticks, the last {message}"));
                ticks = Some((index, count));
            } else {
                ticks = None;
                let mut line = format!("{index}: {message}");
                if line.len() > 600 {
                    line = line.chars().take(600).chain("…".chars()).collect();
                }
                lines.push(line);
            }
        }
        let skipped = lines.len().saturating_sub(LINES_SHOWN);
        format!("({skipped} lines before)\n{}\nclosed: {:?}", lines[skipped..].join("\n"), seen.closed)
    }
}

/// Epoch and seq of a tick.
pub fn tick_numbers(tick: &Value) -> (u64, u64) {
    let position = position(tick).unwrap_or_else(|| panic!("no position in {tick}"));
    (position.epoch, position.seq)
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reading.abort();
        if !std::thread::panicking() {
            self.assert_unbroken();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(mut stream: SplitStream<Socket>, shared: Arc<Shared>, mut paused: watch::Receiver<bool>) {
    let mut compact = CompactReader::default();
    loop {
        if paused.wait_for(|paused| !paused).await.is_err() {
            return;
        }
        let next = stream.next().await;
        let mut seen = shared.lock();
        match next {
            Some(Ok(Message::Text(text))) => {
                let message =
                    serde_json::from_str(&text).unwrap_or_else(|_| json!({"not JSON": text.as_str()}));
                seen.take(message);
            }
            Some(Ok(Message::Binary(payload))) => {
                let read = compact.read(&payload, |tick| seen.take(tick.message()));
                read.unwrap_or_else(|error| seen.take(json!({"not the binary form": error.to_string()})));
            }
            Some(Ok(Message::Close(frame))) => {
                seen.closed.get_or_insert(frame.map_or(1005, |frame| frame.code.into()));
            }
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => {
                seen.closed.get_or_insert(1006);
            }
        }
        let ended = seen.closed.is_some();
        drop(seen);
        shared.changed.notify_waiters();
        if ended {
            return;
        }
    }
}

impl Seen {
    fn take(&mut self, message: Value) {
        assert!(self.messages.len() < MESSAGES_MAX, "too many messages for a test");
        let channel = channel_of(&message);
        match message["type"].as_str() {
            Some("tick") => {
                if let Some(position) = position(&message) {
                    self.audit.tick(&channel, position, message["snapshot"] == true);
                }
            }
            Some("gap") => self.audit.gap(&channel, message["missed"].as_u64().unwrap_or_default()),
            Some("unsubscribeResponse") => {
                for result in message["results"].as_array().into_iter().flatten() {
                    self.audit.forget(&channel_of(result));
                }
            }
            _ => {}
        }
        self.messages.push(message);
    }
}

/// What tells the channel of a message or a result from all others.
fn channel_of(message: &Value) -> Vec<u8> {
    let [source, symbol] = ["source", "symbol"].map(|name| message[name].as_str().unwrap_or_default());
    format!("{source} {symbol}").into_bytes()
}

fn position(tick: &Value) -> Option<Position> {
    Some(Position { epoch: tick["epoch"].as_str()?.parse().ok()?, seq: tick["seq"].as_u64()? })
}
