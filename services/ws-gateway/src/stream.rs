use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use http::{HeaderMap, HeaderName, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use socket2::SockRef;
use tracing::debug;

use crate::form::{EventsForm, Form};
use crate::gateway::Gateway;
use crate::handover::Handover;
use crate::limits::Place;
use crate::places::Places;
use crate::protocol::{self, ErrorCode, Failure};
use crate::session::VenueNumber;
use crate::shard::Arrival;
use crate::upgrade::peer_of;
use crate::writer::{Wire, Writers};

/// Symbols of one stream of events: each event's id says how far its client is in all of them.
pub const EVENTS_SYMBOLS_MAX: usize = 100;

/// A client whose stream ended is to come back after a time between these, in milliseconds, so that not all come at once.
const RETRY_MS: std::ops::Range<u64> = 1_000..3_000;

/// What a client wants, as it stands behind the `?` of an address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    source: Option<String>,
    symbols: Option<String>,
    mode: Option<String>,
    min_interval_ms: Option<u64>,
    on_slow: Option<String>,
    last_event_id: Option<String>,
    after: Option<String>,
    wait_ms: Option<u64>,
}

/// What was made of it: a subscribe, and where the client stands.
pub struct Understood {
    /// The venue.
    pub venue: VenueNumber,
    /// The request as any client makes it.
    pub subscribe: protocol::Subscribe,
    /// Its symbols as it wrote them.
    pub names: Vec<String>,
    /// How far the client has got in each of its symbols.
    pub places: Places,
}

impl Wanted {
    /// The venue's name, where one is said.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Whether there is a list of names at all.
    pub fn has_symbols(&self) -> bool {
        self.symbols.is_some()
    }

    /// The position of a client that polls; an empty one is that of its first time.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// How long a poll may wait where nothing is there.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.unwrap_or(0))
    }

    /// The names in the list, each once.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.symbols.iter().flat_map(|list| list.split(',')).map(str::trim) {
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// Reads it as a subscribe of at most `symbols_max` symbols that goes on from `token`, where there is one.
    ///
    /// # Errors
    /// Code and words for the client.
    pub fn understand(
        &self,
        gateway: &Gateway,
        token: Option<&str>,
        symbols_max: usize,
    ) -> Result<Understood, (ErrorCode, String)> {
        let found = self.source.as_deref().map_or(Some(0), |source| gateway.venues.number(source));
        let Some(venue) = found else {
            return Err((ErrorCode::UnknownSource, "there is no such venue here".to_owned()));
        };
        let names = self.names();
        if names.is_empty() {
            return Err((ErrorCode::BadMessage, "\"symbols\" is a comma-separated list of names".to_owned()));
        }
        if names.len() > symbols_max {
            return Err((ErrorCode::TooManySubscriptions, format!("at most {symbols_max} symbols here")));
        }
        // In the words of the protocol, so that they are read and refused as any client's are.
        let mut fields =
            Map::from_iter([("type".to_owned(), json!("subscribe")), ("symbols".to_owned(), json!(names))]);
        let texts = [("mode", &self.mode), ("onSlow", &self.on_slow), ("source", &self.source)];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, Value::from(text.as_deref()?))));
        let interval = self.min_interval_ms.map(|ms| ("minIntervalMs", Value::from(ms)));
        fields.extend(texts.chain(interval).map(|(name, value)| (name.to_owned(), value)));
        let message = Value::Object(fields).to_string();
        let mut subscribe = match protocol::read(&message, symbols_max) {
            Ok(protocol::Request::Subscribe(subscribe)) => subscribe,
            Ok(_) => return Err((ErrorCode::BadMessage, "not a subscribe".to_owned())),
            Err(Failure { code, message, .. }) => return Err((code, message)),
        };
        let mut places = Places::new(gateway.venues.id(venue).as_str(), names.clone());
        if let Some(token) = token {
            places.read(token);
        }
        subscribe.resume = places.resume();
        Ok(Understood { venue, subscribe, names, places })
    }
}

/// Why a request does not become a stream.
pub enum Refused {
    /// The page may not read it.
    Origin,
    /// There are as many clients as there may be.
    Full,
    /// What is wrong with the request.
    Wrong(ErrorCode, String),
}

/// A stream that may begin.
pub struct Stream {
    wanted: Understood,
    place: Place,
    head: String,
    peer: SocketAddr,
}

impl Stream {
    /// Looks whether a request may become a stream, and takes its place among the clients.
    ///
    /// # Errors
    /// Why not.
    pub fn prepare(gateway: &Gateway, request: &Request, wanted: &Wanted) -> Result<Self, Refused> {
        let headers = request.headers();
        check_origin(gateway, headers)?;
        let token =
            text(headers, LAST_EVENT_ID).or(wanted.last_event_id.as_deref()).filter(|id| !id.is_empty());
        let wanted = wanted.understand(gateway, token, EVENTS_SYMBOLS_MAX);
        let wanted = wanted.map_err(|(code, message)| Refused::Wrong(code, message))?;
        let peer = peer_of(request);
        let place = enter(gateway, peer)?;
        let origin = origin_of(headers).filter(|origin| gateway.origins.allow(origin));
        Ok(Self { wanted, place, head: head(origin), peer })
    }

    /// Makes the connection a client of the gateway; the answer is the stream.
    pub async fn begin(self, gateway: Arc<Gateway>, writers: Arc<Writers>, handover: Handover) -> Infallible {
        let Self { wanted, place, head, peer } = self;
        let taker = move |socket: io::Result<Wire>, early| match socket {
            Ok(mut socket) => {
                watch(&mut socket, &gateway);
                let form = Form::Events(Box::new(EventsForm::new(head.into_bytes().into(), wanted.places)));
                let first = Some(protocol::Request::Subscribe(wanted.subscribe));
                writers.give(Arrival { socket, form, early, first, peer, place: Some(place) });
            }
            Err(error) => debug!(%peer, %error, "no stream on this connection"),
        };
        handover.take(Box::new(taker)).await
    }
}

/// Lets in pages of the origins that are allowed, and whoever is no page.
///
/// # Errors
/// [`Refused::Origin`]
pub fn check_origin(gateway: &Gateway, headers: &HeaderMap) -> Result<(), Refused> {
    if gateway.origins.allow_request(origin_of(headers), text(headers, header::HOST)) {
        return Ok(());
    }
    gateway.metrics.refused("origin");
    Err(Refused::Origin)
}

/// Where a page says it is from; one that cannot be read is of nobody.
fn origin_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or(""))
}

/// Takes a place among the clients for a request.
///
/// # Errors
/// [`Refused::Full`]
pub fn enter(gateway: &Gateway, peer: SocketAddr) -> Result<Place, Refused> {
    gateway.doors.enter(peer.ip()).map_err(|full| {
        gateway.metrics.refused("full");
        debug!(%peer, ?full, "request refused");
        Refused::Full
    })
}

/// The position a client that comes back has.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The head of the answer. It has no length and ends with the connection, which is the one way that HTTP/1.0 and every proxy
/// know, and leaves each event as it is.
fn head(origin: Option<&str>) -> String {
    // What was read as text above has no line ends in it.
    let origin = origin.map_or(String::new(), |origin| format!("Access-Control-Allow-Origin: {origin}\r\n"));
    let fields: String = HEAD.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "HTTP/1.1 200 OK\r\n{fields}{origin}Vary: Origin\r\nConnection: close\r\n\r\nretry: {}\n\n",
        fastrand::u64(RETRY_MS)
    )
}

/// What the answer says of itself, also to `HEAD`.
pub const HEAD: [(&str, &str); 3] = [
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache, no-transform"),
    // Proxies that follow nginx would hold events back.
    ("X-Accel-Buffering", "no"),
];

/// Lets the system end the connection to a client that is gone: it never speaks, so only what it does not acknowledge can tell.
fn watch(socket: &mut Wire, gateway: &Gateway) {
    if let Err(error) = SockRef::from(&*socket.tcp()).set_tcp_user_timeout(Some(2 * gateway.ping)) {
        debug!(%error, "a client that is gone will be noticed late");
    }
}
