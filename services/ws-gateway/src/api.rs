use std::sync::Arc;
use std::time::Duration;

use async_nats::RequestErrorKind;
use async_nats::{HeaderMap, Request as BusRequest};
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tickcast_model::{Symbol, VenueId};
use tickcast_service::Context;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::{Instrument as _, info, info_span};

use crate::ask::Asker;
use crate::gateway::Gateway;
use crate::handover::Handover;
use crate::hub::{Channel, ChannelKey};
use crate::poll::Polls;
use crate::protocol::ErrorCode;
use crate::session::{LookUp, VenueNumber, World as _};
use crate::stream::{Refused, Stream, Wanted};
use crate::venues::now;
use crate::why::{self, Held, Here};
use crate::wire::payload_of;
use crate::writer::Writers;
use crate::{console, poll, stream, upgrade};

/// What administrators may do.
#[derive(Clone)]
pub struct Admin {
    /// Where requests go.
    pub bus: async_nats::Client,
    /// Whether anybody is one.
    pub anonymous: bool,
}

/// Everything the listener for browsers serves.
pub fn router(
    gateway: Arc<Gateway>,
    writers: Arc<Writers>,
    admin: Admin,
    asker: Arc<Asker>,
    polls: Arc<Polls>,
    context: &Context,
) -> Router {
    let origins = gateway.origins.clone();
    let allowed =
        AllowOrigin::predicate(move |origin, _| origin.to_str().is_ok_and(|text| origins.allow(text)));
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE, stream::LAST_EVENT_ID]);
    let api = Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/symbols", get(symbols))
        .route("/api/v1/ticks", get(ticks))
        .route("/api/v1/stream", get(events))
        .route("/api/v1/why", get(why))
        .route("/api/v1/reconnect", post(reconnect))
        .route("/api", any(unknown))
        .route("/api/", any(unknown))
        .route("/api/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(admin))
        .layer(Extension(asker))
        .layer(Extension(polls))
        .layer(cors);
    Router::new()
        .route("/ws", any(websocket))
        .route("/", any(front))
        .route("/console/{name}", get(console::part))
        .route("/tickcast.js", get(console::client))
        .route("/tickcast-http.js", get(console::client_http))
        .route("/tickcast-bin.js", get(console::client_bin))
        .merge(api)
        .layer(Extension(writers))
        .with_state(gateway)
        .merge(tickcast_service::router(context))
}

async fn websocket(
    State(gateway): State<Arc<Gateway>>,
    Extension(writers): Extension<Arc<Writers>>,
    request: Request,
) -> Response {
    upgrade::upgrade(&gateway, &writers, upgrade::peer_of(&request), request)
}

/// The console page, or a WebSocket where one is asked for.
async fn front(
    State(gateway): State<Arc<Gateway>>,
    Extension(writers): Extension<Arc<Writers>>,
    request: Request,
) -> Response {
    if upgrade::is_wanted(request.headers()) {
        return upgrade::upgrade(&gateway, &writers, upgrade::peer_of(&request), request);
    }
    match *request.method() {
        Method::GET | Method::HEAD => console::page(),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// An answer in the form all of `/api` has.
#[derive(Serialize)]
struct Wrapped<T> {
    success: bool,
    data: Option<T>,
    error: Option<Problem>,
}

#[derive(Serialize)]
struct Problem {
    code: &'static str,
    message: String,
    details: Value,
}

fn good(data: impl Serialize) -> Response {
    Json(Wrapped { success: true, data: Some(data), error: None }).into_response()
}

fn failed(status: StatusCode, code: &'static str, message: impl Into<String>, details: Value) -> Response {
    let error = Some(Problem { code, message: message.into(), details });
    (status, Json(Wrapped::<()> { success: false, data: None, error })).into_response()
}

async fn unknown() -> Response {
    failed(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this address", Value::Null)
}

async fn wrong_method() -> Response {
    failed(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "not with this method", Value::Null)
}

#[derive(Deserialize)]
struct Asked {
    source: Option<String>,
    q: Option<String>,
    symbol: Option<String>,
}

/// What stands behind the `?` of the address.
struct Parameters<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Response> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejected) => {
                let words = rejected.body_text();
                Err(failed(StatusCode::BAD_REQUEST, "BAD_MESSAGE", words, Value::Null))
            }
        }
    }
}

/// The venue asked for, or the default one.
fn venue_of(gateway: &Gateway, source: Option<&str>) -> Result<(VenueNumber, VenueId), Box<Response>> {
    let number = match source {
        None => Some(0),
        Some(source) => gateway.venues.number(source),
    };
    number.map(|number| (number, gateway.venues.id(number).clone())).ok_or_else(|| {
        let offered: Vec<_> = gateway.venues.venues().iter().map(VenueId::as_str).collect();
        let details = json!({ "source": source, "sources": offered });
        Box::new(failed(StatusCode::NOT_FOUND, "UNKNOWN_SOURCE", "there is no such venue here", details))
    })
}

/// Every venue's status, and how much this gateway carries.
async fn status(State(gateway): State<Arc<Gateway>>) -> Response {
    let venues: Vec<_> =
        gateway.venues.numbers().map(|venue| gateway.venues.tracker(venue).view(now())).collect();
    good(json!({
        "venues": venues,
        "connections": gateway.doors.count(),
        "channels": gateway.hub.channels().len(),
        "stopping": gateway.stop.is_cancelled(),
    }))
}

/// Instruments in one answer.
const SYMBOLS_MAX: usize = 500;

/// Instruments whose name or description contains `q`, the first [`SYMBOLS_MAX`] of them.
async fn symbols(State(gateway): State<Arc<Gateway>>, Parameters(asked): Parameters<Asked>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Instrument<'a> {
        symbol: &'a str,
        description: &'a str,
        digits: Option<u8>,
        pip_position: Option<i8>,
    }
    let (venue, id) = match venue_of(&gateway, asked.source.as_deref()) {
        Ok(venue) => venue,
        Err(answer) => return *answer,
    };
    let Some(book) = gateway.venues.book(venue) else {
        return good(
            json!({"source": id.as_str(), "known": false, "open": false, "total": 0, "symbols": []}),
        );
    };
    let (found, total) = book.search(asked.q.as_deref().unwrap_or(""), SYMBOLS_MAX);
    let symbols: Vec<_> = found
        .iter()
        .map(|instrument| Instrument {
            symbol: instrument.symbol.as_str(),
            description: &instrument.description,
            digits: instrument.digits,
            pip_position: instrument.pip_position,
        })
        .collect();
    good(json!({
        "source": id.as_str(), "known": true, "open": book.is_open(), "total": total, "symbols": symbols,
    }))
}

/// Ticks in one answer.
const TICKS_MAX: usize = 1_000;

/// The last known ticks: of the symbols asked for (comma-separated), or of all channels this gateway holds.
///
/// Asking for symbols makes demand for them like any client's subscribe, which lasts until some seconds after the last request. The
/// answer's `position`, given back as `after`, gets every message since as a client of a WebSocket would have got it; an
/// empty one begins. Without `after` there are only the ticks, and in `missing` the names without one.
async fn ticks(
    State(gateway): State<Arc<Gateway>>,
    Extension(polls): Extension<Arc<Polls>>,
    Parameters(wanted): Parameters<Wanted>,
    request: Request,
) -> Response {
    if !wanted.has_symbols() {
        return all_ticks(&gateway, wanted.source());
    }
    // Not only its answer is not for everybody: it makes demand.
    if let Err(refused) = stream::check_origin(&gateway, request.headers()) {
        return refusal(refused);
    }
    let symbols_max = gateway.limits.subscriptions_max.min(TICKS_MAX);
    let token = wanted.after().filter(|token| !token.is_empty());
    let understood = wanted.understand(&gateway, token, symbols_max);
    let entered = understood
        .map_err(|(code, message)| Refused::Wrong(code, message))
        .and_then(|understood| Ok((understood, stream::enter(&gateway, upgrade::peer_of(&request))?)));
    let (understood, _place) = match entered {
        Ok(entered) => entered,
        Err(refused) => return refusal(refused),
    };
    let source = gateway.venues.id(understood.venue).clone();
    let until = std::time::Instant::now() + wanted.wait().min(poll::WAIT_MAX);
    let polled = poll::poll(&gateway, &polls, understood, until).await;
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        source: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        messages: Option<Vec<Box<RawValue>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ticks: Option<Vec<Box<RawValue>>>,
        missing: Vec<String>,
        position: String,
        has_more: bool,
    }
    let is_asked_after = wanted.after().is_some();
    let raw = |messages: Vec<Bytes>| messages.iter().filter_map(|json| raw(json)).collect();
    good(Answer {
        source: source.as_str(),
        messages: is_asked_after.then(|| raw(polled.messages)),
        ticks: (!is_asked_after).then(|| raw(polled.ticks)),
        missing: polled.missing,
        position: polled.places.to_string(),
        has_more: polled.has_more,
    })
}

/// The last known ticks of all channels of a venue.
fn all_ticks(gateway: &Gateway, source: Option<&str>) -> Response {
    let (_, id) = match venue_of(gateway, source) {
        Ok(venue) => venue,
        Err(answer) => return *answer,
    };
    let mut channels = gateway.hub.channels();
    channels.retain(|channel| channel.key().venue == id);
    channels.sort_by(|a, b| a.key().symbol.cmp(&b.key().symbol));
    let ticks: Vec<_> = channels.iter().filter_map(|channel| last_tick(channel)).take(TICKS_MAX).collect();
    good(json!({"source": id.as_str(), "ticks": ticks, "missing": []}))
}

fn last_tick(channel: &Channel) -> Option<Box<RawValue>> {
    raw(&channel.with_feed(|feed| feed.last().map(|frame| payload_of(frame.snapshot())))?)
}

/// A message as a part of an answer.
fn raw(json: &[u8]) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(json.to_vec()).ok()?).ok()
}

/// Server-sent events of the symbols asked for.
async fn events(
    State(gateway): State<Arc<Gateway>>,
    Extension(writers): Extension<Arc<Writers>>,
    Extension(handover): Extension<Handover>,
    Parameters(wanted): Parameters<Wanted>,
    request: Request,
) -> Response {
    let stream = match Stream::prepare(&gateway, &request, &wanted) {
        Ok(stream) => stream,
        Err(refused) => return refusal(refused),
    };
    if request.method() == Method::HEAD {
        return stream::HEAD.into_response();
    }
    match stream.begin(gateway, writers, handover).await {}
}

fn refusal(refused: Refused) -> Response {
    match refused {
        Refused::Origin => {
            failed(StatusCode::FORBIDDEN, "FORBIDDEN", "pages of this origin may not read this", Value::Null)
        }
        Refused::Full => {
            let message = "connection limit reached";
            let answer = failed(StatusCode::SERVICE_UNAVAILABLE, "CONNECTION_LIMIT", message, Value::Null);
            ([(header::RETRY_AFTER, FULL_RETRY_S)], answer).into_response()
        }
        Refused::Wrong(code, message) => {
            let status = match code {
                ErrorCode::UnknownSource => StatusCode::NOT_FOUND,
                _ => StatusCode::BAD_REQUEST,
            };
            failed(status, code.as_str(), message, Value::Null)
        }
    }
}

/// Seconds after which a client that found no place may try again.
const FULL_RETRY_S: &str = "10";

/// Why a symbol is quiet: every hop of its way, and the first that is not right.
async fn why(
    State(gateway): State<Arc<Gateway>>,
    Extension(asker): Extension<Arc<Asker>>,
    Parameters(asked): Parameters<Asked>,
) -> Response {
    let (number, venue) = match venue_of(&gateway, asked.source.as_deref()) {
        Ok(venue) => venue,
        Err(answer) => return *answer,
    };
    let bad = |message| failed(StatusCode::BAD_REQUEST, "BAD_MESSAGE", message, Value::Null);
    let Some(name) = asked.symbol.filter(|name| !name.is_empty()) else {
        return bad("symbol= is missing");
    };
    let look_up = gateway.venues.look_up(number, &name);
    let symbol = match &look_up {
        LookUp::Symbol(symbol) => symbol.clone(),
        LookUp::Unknown | LookUp::NotYet => match Symbol::new(&name) {
            Some(symbol) => symbol,
            None => return bad("symbol= cannot be the name of a symbol"),
        },
    };
    let key = ChannelKey { venue: venue.clone(), symbol };
    let clock = now();
    let held = |channel: Arc<Channel>| Held {
        is_read: channel.reader_count() > 0,
        last: channel
            .with_feed(|feed| feed.last().map(|frame| (frame.position, frame.arrived_us.div_euclid(1_000)))),
    };
    let here = Here {
        venue,
        name: key.symbol.as_str().to_owned(),
        look_up,
        channel: gateway.hub.channel(&key).map(held),
        has_room: gateway.hub.has_room(&key, 0),
        word: gateway.venues.tracker(number).word(clock),
        now_ms: clock.unix_ms,
    };
    let said = if !why::should_ask(&here) {
        why::Asked::No
    } else if let Ok(said) = asker.ask(&key).await {
        said
    } else {
        let message = "too many ask at the moment, try again in a second";
        return failed(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message, Value::Null);
    };
    let answer = why::answer(&here, &said);
    gateway.metrics.why_answered(&answer);
    good(answer)
}

/// Time for the ingest to say that it has heard.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Makes the venue's ingest connect anew.
async fn reconnect(
    State(gateway): State<Arc<Gateway>>,
    Extension(admin): Extension<Admin>,
    Parameters(asked): Parameters<Asked>,
) -> Response {
    if !admin.anonymous {
        let message = "reconnecting a venue is off unless ALLOW_ANONYMOUS_ADMIN=true";
        return failed(StatusCode::FORBIDDEN, "FORBIDDEN", message, Value::Null);
    }
    let (_, venue) = match venue_of(&gateway, asked.source.as_deref()) {
        Ok(venue) => venue,
        Err(answer) => return *answer,
    };
    info!(%venue, "reconnect asked for");
    let request = async {
        let mut headers = HeaderMap::new();
        tickcast_service::trace::inject(|name, value| headers.insert(name, value));
        let mut request = BusRequest::new().timeout(Some(ANSWER_WITHIN));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        admin.bus.send_request(tickcast_bus::reconnect_subject(&venue), request).await
    };
    // The request itself may wait for a bus that is away.
    let answer =
        tokio::time::timeout(ANSWER_WITHIN, request.instrument(info_span!("reconnect", %venue))).await;
    match answer {
        Ok(Ok(_)) => good(json!({ "source": venue.as_str() })),
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            let message = "nothing is there that connects to this venue";
            failed(StatusCode::SERVICE_UNAVAILABLE, "VENUE_DOWN", message, Value::Null)
        }
        Ok(Err(_)) | Err(_) => {
            let message = "the service that connects to this venue does not answer";
            failed(StatusCode::GATEWAY_TIMEOUT, "VENUE_DOWN", message, Value::Null)
        }
    }
}
