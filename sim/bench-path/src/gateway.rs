use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use futures_util::{SinkExt as _, StreamExt as _};
use tickcast_bus::{
    catalogue_subject, encode_catalogue, encode_channel_event, encode_health, health_subject, tick_subject,
};
use tickcast_model::{
    AuthState, Body, Catalogue, ChannelEvent, DataState, Instrument, LinkState, Position, Price, Symbol,
    Tick, VenueHealth, VenueId,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::bus::{Bus, Publisher};
use crate::error::BenchError;
use crate::ingest::{Reading, sample};
use crate::pace::Pace;
use crate::program::{Place, Program, eventually, metric, page};
use crate::report::Measure;
use crate::{Plan, venue};

const EPOCH: u64 = 1_795_132_800_000;
const CATALOGUE_VERSION: u64 = 1;

/// Bus messages from a real nats-server through a real ws-gateway into its hub.
///
/// One client subscribes to every symbol and goes; the gateway keeps the channels for ten minutes more, so what is
/// measured is everything up to the hub and nothing of a client.
pub(crate) async fn run(plan: &Plan) -> Result<Measure, BenchError> {
    let place = Place::new("gateway")?;
    let bus = Bus::start(&place).await?;
    let venue = VenueId::new("ctrader").ok_or_else(|| BenchError::Bus("no venue".into()))?;
    let symbols: Vec<Symbol> =
        venue::names(plan.symbols).iter().filter_map(|name| Symbol::new(name)).collect();
    let client = async_nats::connect(bus.url()).await.map_err(|error| BenchError::bus(&error))?;
    tokio::spawn(stand_in(client, venue.clone(), symbols.clone()));

    let environment = [
        ("LOG_FORMAT", "json".to_owned()),
        ("NATS_URL", bus.url()),
        ("WS_ADDR", "127.0.0.1".to_owned()),
        ("WS_PORT", "0".to_owned()),
        ("GATEWAY_VENUES", venue.to_string()),
        ("INTEREST_LINGER_MS", "600000".to_owned()),
    ];
    let gateway = Program::of_workspace(&place, "ws-gateway", &environment)?;
    let admin = gateway.listening("admin").await?;
    let listener = gateway.listening("websocket").await?;

    let pace = Pace::default();
    let flood = {
        let (pace, mut flood) = (pace.clone(), Flood::new(bus.publisher()?, &venue, &symbols));
        std::thread::spawn(move || pace.run(|events| flood.send(events)))
    };
    let mut socket = subscribe(listener, &symbols).await?;
    let reading =
        tokio::spawn(async move { while socket.next().await.is_some_and(|message| message.is_ok()) {} });
    eventually("the gateway to take up every channel", async || {
        let text = page(admin, "/metrics").ok()?;
        (metric(&text, "tickcast_channels") == symbols.len() as u64).then_some(())
    })
    .await?;
    // Its connection ends with it.
    reading.abort();

    let mut measure = Measure::new("bus to hub", "ws-gateway", plan);
    for rate in plan.turns() {
        let read = || -> Result<Reading, BenchError> {
            let text = page(admin, "/metrics")?;
            let ignored = metric(&text, "tickcast_events_ignored_total");
            let events = metric(&text, "tickcast_ticks_received_total");
            Ok(Reading {
                events: events + ignored,
                done: metric(&text, "tickcast_ticks_encoded_total"),
                arrived: bus.received()?,
                lost: metric(&text, "tickcast_bus_slow_consumer_total"),
            })
        };
        measure.samples.push(sample(plan, rate, &pace, &gateway, &bus, read).await?);
    }
    pace.end();
    if let Ok(Err(error)) = flood.join() {
        return Err(error.into());
    }
    Ok(measure)
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A client that waits for the venue and then subscribes to every symbol.
async fn subscribe(listener: SocketAddr, symbols: &[Symbol]) -> Result<Socket, BenchError> {
    let names: Vec<&str> = symbols.iter().map(Symbol::as_str).collect();
    let request = serde_json::json!({"type": "subscribe", "symbols": names, "id": 1}).to_string();
    let words = |error| BenchError::WebSocket(Box::new(error));
    let url = format!("ws://{listener}/ws");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.map_err(words)?;
    socket.send(Message::text(r#"{"type":"connect"}"#)).await.map_err(words)?;
    let known = async {
        while let Some(message) = socket.next().await {
            if message.map_err(words)?.to_text().is_ok_and(|text| text.contains("\"status\":\"connected\"")) {
                break;
            }
        }
        Ok::<(), BenchError>(())
    };
    let late = |_| BenchError::Late("the gateway to know the venue".into());
    tokio::time::timeout(Duration::from_secs(10), known).await.map_err(late)??;
    socket.send(Message::text(request)).await.map_err(words)?;
    Ok(socket)
}

/// Stands in for the venue's ingest, as far as the gateway listens to it apart from ticks: a beat and the catalogue.
async fn stand_in(client: Client, venue: VenueId, symbols: Vec<Symbol>) -> Result<(), BenchError> {
    let instrument = |symbol: &Symbol| Instrument {
        symbol: symbol.clone(),
        description: String::new(),
        digits: Some(5),
        pip_position: Some(4),
    };
    let instruments = symbols.iter().map(instrument).collect();
    let catalogue = Catalogue { version: CATALOGUE_VERSION, open: false, instruments };
    let mut asks =
        client.subscribe(catalogue_subject(&venue)).await.map_err(|error| BenchError::bus(&error))?;
    let mut beat = tokio::time::interval(Duration::from_millis(500));
    loop {
        let (subject, payload) = tokio::select! {
            _ = beat.tick() => (health_subject(&venue).into(), encode_health(&health(&venue))),
            Some(ask) = asks.next() => match ask.reply {
                Some(reply) => (reply, encode_catalogue(&venue, EPOCH, &catalogue)),
                None => continue,
            },
        };
        client.publish(subject, payload.into()).await.map_err(|error| BenchError::bus(&error))?;
    }
}

fn health(venue: &VenueId) -> VenueHealth {
    let at_ms = unix_us() / 1_000;
    VenueHealth {
        venue: venue.clone(),
        epoch: EPOCH,
        link: LinkState::Up,
        auth: AuthState::Ok,
        data: DataState::Live,
        link_since_ms: at_ms,
        auth_since_ms: at_ms,
        data_since_ms: at_ms,
        cause: None,
        attempt: 0,
        retry_in_ms: None,
        last_tick_age_ms: Some(0),
        catalogue_version: CATALOGUE_VERSION,
        at_ms,
    }
}

fn unix_us() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(unix.as_micros()).unwrap_or(i64::MAX)
}

/// Ticks of all channels in turn, numbered and stamped as an ingest does it.
struct Flood {
    publisher: Publisher,
    channels: Vec<(Arc<str>, ChannelEvent)>,
    next: usize,
}

impl Flood {
    fn new(publisher: Publisher, venue: &VenueId, symbols: &[Symbol]) -> Self {
        let event = |symbol: &Symbol| ChannelEvent {
            symbol: symbol.clone(),
            position: Position { epoch: EPOCH, seq: 0 },
            body: Body::Tick(Tick {
                bid: Price::new(114_811, 5),
                ask: Price::new(114_814, 5),
                last: None,
                digits: 5,
                venue_time_ms: Some(0),
                received_us: 0,
                snapshot: false,
                delayed_s: None,
                details: None,
            }),
        };
        let channels =
            symbols.iter().map(|symbol| (tick_subject(venue, symbol).into(), event(symbol))).collect();
        Self { publisher, channels, next: 0 }
    }

    fn send(&mut self, events: usize) -> io::Result<()> {
        let stamp_us = unix_us();
        for _ in 0..events {
            self.next = (self.next + 1) % self.channels.len();
            let (subject, event) = &mut self.channels[self.next];
            event.position.seq += 1;
            if let Body::Tick(tick) = &mut event.body {
                tick.venue_time_ms = Some(stamp_us / 1_000);
                tick.received_us = stamp_us;
            }
            self.publisher.put(subject, &encode_channel_event(event))?;
        }
        self.publisher.flush()
    }
}
