//! A real bus, an ingest made of messages, a gateway in this process, and browsers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a harness of tests: it fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tickcast_bus::{
    BusSettings, Ensured, Explanation, History, HistoryBounds, HistoryStorage, Lease, catalogue_subject,
    decode_lease, decode_why, demand_subject, encode_catalogue, encode_channel_event, encode_explanation,
    encode_health, health_subject, lease_subject, reconnect_subject, tick_subject, why_subject,
};
use tickcast_model::{
    AuthState, Body, Catalogue, ChannelEvent, DataState, Hop, Instrument, LinkState, Position, Price,
    StateChange, Symbol, SymbolState, Tick, VenueHealth, VenueId,
};
use tickcast_service::{Context, Reader};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            pause.tick().await;
        }
    })
    .await
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A nats-server of its own.
pub(crate) struct Nats {
    pub(crate) port: u16,
    process: Option<Child>,
    /// Where JetStream keeps its things, where there is one.
    store: Option<PathBuf>,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let mut nats = Self { port: free_port(), process: None, store: None };
        nats.begin().await;
        nats
    }

    /// Starts one with JetStream.
    pub(crate) async fn start_with_jetstream() -> Self {
        let port = free_port();
        let store = std::env::temp_dir().join(format!("tickcast-gateway-{}-{port}", std::process::id()));
        let mut nats = Self { port, process: None, store: Some(store) };
        nats.begin().await;
        nats
    }

    /// Creates the stream of all ticks, as an ingest would.
    pub(crate) async fn record(&self) -> History {
        let history = History::new(self.client().await, DEADLINE);
        let bounds = HistoryBounds {
            storage: HistoryStorage::Memory,
            replicas: 1,
            age_max: Duration::from_secs(3_600),
            events_per_channel_max: 256,
            bytes_max: 16 << 20,
        };
        assert_eq!(history.ensure(&bounds, true).await.unwrap(), Ensured::Created);
        history
    }

    /// Starts it (again) on its port.
    pub(crate) async fn begin(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &port]).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(store) = &self.store {
            command.arg("-js").arg("-sd").arg(store);
        }
        self.process = Some(command.spawn().expect("nats-server is installed"));
        eventually("nats-server", async || TcpStream::connect(("127.0.0.1", self.port)).await.ok()).await;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn client(&self) -> Client {
        let settings = BusSettings { url: self.url(), ..BusSettings::default() };
        let client = tickcast_bus::connect(&settings, "test", 65_536, |_| {}).await.unwrap();
        eventually("the test's bus connection", async || {
            (client.connection_state() == async_nats::connection::State::Connected).then_some(())
        })
        .await;
        client
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
        if let Some(store) = &self.store {
            let _ = std::fs::remove_dir_all(store);
        }
    }
}

/// The way to a nats-server, which can be cut.
pub(crate) struct Cable {
    addr: SocketAddr,
    whole: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Cable {
    pub(crate) async fn lay(nats: &Nats) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (whole, is_whole) = watch::channel(true);
        let port = nats.port;
        let task = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut is_whole = is_whole.clone();
                tokio::spawn(async move {
                    if !*is_whole.borrow_and_update() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_whole.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { addr, whole, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How the fake ingest answers "why".
#[derive(Default)]
pub(crate) struct Why {
    /// The hops it says; `None` while it does not answer.
    pub(crate) hops: Option<Vec<Hop>>,
    /// How often it was asked, by symbol.
    pub(crate) asked: Vec<Symbol>,
    /// Answers are held back while this is.
    pub(crate) gate: Arc<tokio::sync::Mutex<()>>,
}

/// What an ingest looks like from the bus: beats, answers, and what a test tells it to publish.
pub(crate) struct FakeIngest {
    pub(crate) venue: VenueId,
    pub(crate) client: Client,
    said: Arc<Mutex<VenueHealth>>,
    leases: Arc<Mutex<Vec<Lease>>>,
    reconnects: Arc<Mutex<u32>>,
    why: Arc<Mutex<Why>>,
    lease_count: watch::Receiver<usize>,
    tasks: Vec<JoinHandle<()>>,
}

pub(crate) fn hop(name: &str, ok: bool) -> Hop {
    let next = if ok { "" } else { "it is tried again" };
    Hop { name: name.into(), ok, since_ms: Some(4), detail: format!("how the {name} is"), next: next.into() }
}

pub(crate) fn symbol(name: &str) -> Symbol {
    Symbol::new(name).unwrap()
}

impl FakeIngest {
    /// A healthy one that offers these symbols.
    pub(crate) async fn start(nats: &Nats, venue: &str, epoch: u64, symbols: &[&str]) -> Self {
        let venue = VenueId::new(venue).unwrap();
        let client = nats.client().await;
        let said = Arc::new(Mutex::new(VenueHealth {
            venue: venue.clone(),
            epoch,
            link: LinkState::Up,
            auth: AuthState::Ok,
            data: DataState::Live,
            link_since_ms: 1,
            auth_since_ms: 2,
            data_since_ms: 3,
            cause: None,
            attempt: 0,
            retry_in_ms: None,
            last_tick_age_ms: None,
            catalogue_version: 1,
            at_ms: 0,
        }));
        let instruments = symbols.iter().map(|name| Instrument {
            symbol: symbol(name),
            description: format!("about {name}"),
            digits: Some(5),
            pip_position: Some(4),
        });
        let catalogue = Catalogue { version: 1, open: false, instruments: instruments.collect() };
        let leases = Arc::new(Mutex::new(Vec::new()));
        let (count, lease_count) = watch::channel(0);
        let reconnects = Arc::new(Mutex::new(0));
        let hops = Some(vec![hop("login", true), hop("ticks", true)]);
        let why = Arc::new(Mutex::new(Why { hops, ..Why::default() }));
        let mut ingest =
            Self { venue, client, said, leases, reconnects, why, lease_count, tasks: Vec::new() };
        ingest.listen(count, catalogue, epoch).await;
        ingest
    }

    async fn listen(&mut self, count: watch::Sender<usize>, catalogue: Catalogue, epoch: u64) {
        let mut asked = self.client.subscribe(catalogue_subject(&self.venue)).await.unwrap();
        let answer = encode_catalogue(&self.venue, epoch, &catalogue);
        let client = self.client.clone();
        self.tasks.push(tokio::spawn(async move {
            while let Some(request) = asked.next().await {
                client.publish(request.reply.unwrap(), answer.clone().into()).await.unwrap();
            }
        }));
        let mut asked = self.client.subscribe(reconnect_subject(&self.venue)).await.unwrap();
        let (client, reconnects) = (self.client.clone(), self.reconnects.clone());
        self.tasks.push(tokio::spawn(async move {
            while let Some(request) = asked.next().await {
                *reconnects.lock().unwrap() += 1;
                client.publish(request.reply.unwrap(), "".into()).await.unwrap();
            }
        }));
        self.answer_why(epoch).await;
        let mut heard = self.client.subscribe(lease_subject(&self.venue)).await.unwrap();
        let leases = self.leases.clone();
        self.tasks.push(tokio::spawn(async move {
            while let Some(message) = heard.next().await {
                leases.lock().unwrap().push(decode_lease(&message.payload).unwrap());
                count.send_modify(|count| *count += 1);
            }
        }));
        let (client, said, subject) = (self.client.clone(), self.said.clone(), health_subject(&self.venue));
        self.tasks.push(tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(200));
            loop {
                beat.tick().await;
                let health = encode_health(&said.lock().unwrap());
                client.publish(subject.clone(), health.into()).await.unwrap();
            }
        }));
        self.client.publish(demand_subject(&self.venue), "".into()).await.unwrap();
    }

    async fn answer_why(&mut self, epoch: u64) {
        let mut asked = self.client.subscribe(why_subject(&self.venue)).await.unwrap();
        let (client, why, venue) = (self.client.clone(), self.why.clone(), self.venue.clone());
        self.tasks.push(tokio::spawn(async move {
            while let Some(request) = asked.next().await {
                let symbol = decode_why(&request.payload).unwrap();
                let (hops, gate) = {
                    let mut why = why.lock().unwrap();
                    why.asked.push(symbol.clone());
                    (why.hops.clone(), why.gate.clone())
                };
                let Some(hops) = hops else { continue };
                let (client, venue) = (client.clone(), venue.clone());
                // Others are answered while one waits.
                tokio::spawn(async move {
                    let _open = gate.lock().await;
                    let said = Explanation { venue, epoch, symbol, hops, at_ms: 1 };
                    let said = encode_explanation(&said);
                    client.publish(request.reply.unwrap(), said.into()).await.unwrap();
                });
            }
        }));
    }

    /// How it answers "why", and what it was asked.
    pub(crate) fn why(&self) -> std::sync::MutexGuard<'_, Why> {
        self.why.lock().unwrap()
    }

    /// Says this of the venue from now on.
    pub(crate) async fn say(&self, change: impl FnOnce(&mut VenueHealth)) {
        let health = {
            let mut said = self.said.lock().unwrap();
            change(&mut said);
            encode_health(&said)
        };
        self.client.publish(health_subject(&self.venue), health.into()).await.unwrap();
    }

    pub(crate) async fn publish(&self, name: &str, epoch: u64, seq: u64, body: Body) {
        let event = ChannelEvent { symbol: symbol(name), position: Position { epoch, seq }, body };
        let subject = tick_subject(&self.venue, &event.symbol);
        self.client.publish(subject, encode_channel_event(&event).into()).await.unwrap();
    }

    pub(crate) async fn tick(&self, name: &str, epoch: u64, seq: u64) {
        self.publish(name, epoch, seq, Body::Tick(tick(seq, false))).await;
    }

    pub(crate) async fn snapshot(&self, name: &str, epoch: u64, seq: u64) {
        self.publish(name, epoch, seq, Body::Tick(tick(seq, true))).await;
    }

    pub(crate) async fn state(&self, name: &str, epoch: u64, seq: u64, state: SymbolState) {
        self.publish(name, epoch, seq, Body::State(StateChange::plain(state))).await;
    }

    /// Waits for a lease like this, from the `from`th on.
    pub(crate) async fn lease(&mut self, what: &str, from: usize, wanted: impl Fn(&Lease) -> bool) -> Lease {
        within(what, async {
            loop {
                let found = self.leases.lock().unwrap()[from..].iter().find(|lease| wanted(lease)).cloned();
                if let Some(lease) = found {
                    return lease;
                }
                self.lease_count.changed().await.unwrap();
            }
        })
        .await
    }

    /// Waits for a lease with exactly these symbols.
    pub(crate) async fn wanted(&mut self, names: &[&str]) -> Lease {
        let names: Vec<Symbol> = names.iter().map(|name| symbol(name)).collect();
        self.lease(&format!("a lease of {names:?}"), 0, |lease| lease.symbols == names).await
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.leases.lock().unwrap().clone()
    }

    pub(crate) fn reconnects(&self) -> u32 {
        *self.reconnects.lock().unwrap()
    }

    /// Falls silent, as if killed.
    pub(crate) fn kill(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

impl Drop for FakeIngest {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn tick(seq: u64, snapshot: bool) -> Tick {
    let bid = 110_000 + i64::try_from(seq % 1_000).unwrap();
    Tick {
        bid: Price::new(bid, 5),
        ask: Price::new(bid + 11, 5),
        last: None,
        digits: 5,
        venue_time_ms: Some(1_700_000_000_000),
        received_us: 1_700_000_000_000_500,
        snapshot,
        delayed_s: None,
        details: None,
    }
}

/// A gateway in this process.
pub(crate) struct Gateway {
    pub(crate) addr: SocketAddr,
    pub(crate) context: Context,
    run: JoinHandle<Result<(), Box<dyn std::error::Error + Send + Sync>>>,
}

impl Gateway {
    /// Starts it with short times and these settings, and waits until it is ready.
    pub(crate) async fn start(nats: &Nats, settings: &[(&str, &str)]) -> Self {
        Self::start_at(nats.url(), settings).await
    }

    /// The same, with its bus at this address.
    pub(crate) async fn start_at(bus: String, settings: &[(&str, &str)]) -> Self {
        let gateway = Self::begin_at(bus, settings).await;
        eventually("a ready gateway", async || gateway.context.ready.reasons().is_empty().then_some(()))
            .await;
        gateway
    }

    /// Starts it, and waits only for its listener.
    pub(crate) async fn begin(nats: &Nats, settings: &[(&str, &str)]) -> Self {
        Self::begin_at(nats.url(), settings).await
    }

    async fn begin_at(url: String, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let port_text = port.to_string();
        let mut pairs = vec![
            ("NATS_URL", url.as_str()),
            ("WS_ADDR", "127.0.0.1"),
            ("PORT", port_text.as_str()),
            ("GATEWAY_VENUES", "ctrader,ib"),
            ("LEASE_TTL_MS", "3000"),
            ("INTEREST_LINGER_MS", "100"),
            ("DRAIN_MS", "200"),
        ];
        pairs.extend(settings);
        let mut reader = Reader::from_pairs(pairs);
        let config = ws_gateway::Config::read(&mut reader);
        assert_eq!(reader.problems(), [] as [&str; 0]);
        let context = Context::for_test("ws-gateway");
        let run = tokio::spawn(ws_gateway::run(config, context.clone()));
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("the gateway's listener", async || TcpStream::connect(addr).await.ok()).await;
        Self { addr, context, run }
    }

    /// Stops it and waits until it has.
    pub(crate) async fn stop(self) {
        self.context.stop.cancel();
        within("the gateway's end", self.run).await.unwrap().unwrap();
    }

    pub(crate) async fn browser(&self) -> Browser {
        Browser::open(self.addr, "/ws", &[]).await.unwrap()
    }

    /// A metric's value; 0 where it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.context.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// An HTTP request: status, headers and body.
    pub(crate) async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, String, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("an HTTP answer", socket.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (_, _, body) = self.http("GET", path, &[]).await;
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"))
    }
}

/// A connection of whatever kind.
pub(crate) trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// A browser.
pub(crate) struct Browser {
    pub(crate) socket: WebSocketStream<Box<dyn Pipe>>,
}

impl Browser {
    pub(crate) async fn open(
        addr: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let socket = TcpStream::connect(addr).await.unwrap();
        Self::over(socket, addr, path, headers).await
    }

    pub(crate) async fn over(
        socket: impl Pipe + 'static,
        addr: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let mut request = format!("ws://{addr}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let socket: Box<dyn Pipe> = Box::new(socket);
        let (socket, _) = client_async(request, socket).await?;
        Ok(Self { socket })
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next frame apart from pings.
    pub(crate) async fn frame(&mut self) -> Message {
        within("a message", async {
            loop {
                match self.socket.next().await.expect("the connection is open").unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return message,
                }
            }
        })
        .await
    }

    /// The next message.
    pub(crate) async fn hear(&mut self) -> Value {
        match self.frame().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The next message that is no status: statuses may come at any time.
    pub(crate) async fn hear_data(&mut self) -> Value {
        self.until(|message| message["type"] != "status").await
    }

    /// The first message like this; what comes before is passed over.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut passed = Vec::new();
        let waiting = async {
            loop {
                let message = self.hear().await;
                if wanted(&message) {
                    return message;
                }
                passed.push(message);
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(message) => message,
            Err(_) => panic!("waited in vain, heard {passed:#?}"),
        }
    }

    pub(crate) async fn until_type(&mut self, kind: &str) -> Value {
        self.until(|message| message["type"] == kind).await
    }

    /// Waits until the venue has this status.
    pub(crate) async fn until_status(&mut self, venue: &str, status: &str) -> Value {
        self.until(|m| m["type"] == "status" && m["source"] == venue && m["status"] == status).await
    }

    /// Asks for the statuses, and waits until the venue has this one, now or by a change. What else was said up to then is
    /// passed over.
    pub(crate) async fn see_status(&mut self, venue: &str, status: &str) -> Value {
        self.say(json!({"type":"connect"})).await;
        let seen = self.until_status(venue, status).await;
        self.settle().await;
        seen
    }

    /// Subscribes and gives the results.
    pub(crate) async fn subscribe(&mut self, symbols: &[&str]) -> Vec<Value> {
        self.say(json!({"type":"subscribe","symbols":symbols})).await;
        let response = self.until_type("subscribeResponse").await;
        response["results"].as_array().unwrap().clone()
    }

    /// A round trip: what the gateway had to say before it is passed over and given back.
    pub(crate) async fn settle(&mut self) -> Vec<Value> {
        self.say(json!({"type":"ping","id":"settle"})).await;
        let mut passed = Vec::new();
        loop {
            let message = self.hear().await;
            if message["type"] == "pong" && message["id"] == "settle" {
                return passed;
            }
            passed.push(message);
        }
    }

    pub(crate) async fn closed_with(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.frame().await {
                return frame.expect("a code").code.into();
            }
        }
    }
}
