//! What people write first: axum's own WebSocket, a task and a channel for each client, a flush for each tick. It takes
//! its ticks from the same bus as the gateway.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use clap::Parser;
use futures_util::{SinkExt as _, StreamExt as _};
use loadgen::feed::tick_json;
use serde_json::{Value, json};
use tickcast_bus::{BusSettings, decode_channel_event};
use tickcast_model::{Body, VenueId};
use tokio::sync::mpsc;

/// Ticks waiting for one client; more are dropped.
const QUEUE: usize = 4_096;

/// Serves a venue's ticks at ws://127.0.0.1:PORT/ws.
#[derive(Parser, Debug)]
#[command(name = "axum-plain", version)]
struct Arguments {
    /// The bus
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats_url: String,
    /// The venue
    #[arg(long, default_value = "bench")]
    venue: String,
}

type Problem = Box<dyn std::error::Error>;
type Clients = Arc<Mutex<HashMap<String, Vec<mpsc::Sender<Utf8Bytes>>>>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // As many workers as cores it may use: one where it is pinned.
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Problem::from)
        .and_then(|runtime| runtime.block_on(serve(&arguments)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments) -> Result<(), Problem> {
    let venue = VenueId::new(&arguments.venue).ok_or("not the name of a venue")?;
    let settings = BusSettings { url: arguments.nats_url.clone(), ..BusSettings::default() };
    let bus = tickcast_bus::connect(&settings, "axum-plain", 4_096, |_| ()).await?;
    let mut ticks = bus.subscribe(format!("tick.{venue}.*")).await?;
    let clients = Clients::default();
    let router = Router::new()
        .route("/ws", get(upgrade))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(clients.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?.to_string();
    writeln!(std::io::stdout(), "{}", json!({"what": "websocket", "addr": addr}))?;
    tokio::spawn(async move {
        while let Some(message) = ticks.next().await {
            let Ok(event) = decode_channel_event(&message.payload) else { continue };
            if !matches!(event.body, Body::Tick(_)) {
                continue;
            }
            let text = Utf8Bytes::from(tick_json(&venue, &event));
            let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(readers) = clients.get_mut(event.symbol.as_str()) {
                readers.retain(|reader| {
                    !matches!(reader.try_send(text.clone()), Err(mpsc::error::TrySendError::Closed(_)))
                });
            }
        }
    });
    // As the gateway and the calibrator do; otherwise the kernel holds small writes back and joins them.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn upgrade(State(clients): State<Clients>, upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(move |socket| client(socket, clients))
}

async fn client(socket: WebSocket, clients: Clients) {
    let (mut sink, mut stream) = socket.split();
    let (queue, mut queued) = mpsc::channel::<Utf8Bytes>(QUEUE);
    let writing = tokio::spawn(async move {
        while let Some(text) = queued.recv().await {
            if sink.send(Message::Text(text)).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = message else { continue };
        let Ok(request) = serde_json::from_str::<Value>(&text) else { continue };
        let symbols: Vec<&str> =
            request["symbols"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        for symbol in symbols {
            clients.entry(symbol.to_owned()).or_default().push(queue.clone());
        }
    }
    writing.abort();
}
