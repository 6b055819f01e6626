use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;

use crate::form::Form;
use crate::gateway::Gateway;
use crate::handover::IntoWire as _;
use crate::shard::Arrival;
use crate::writer::{Wire, Writers};

/// The subprotocol of JSON text, which is also spoken where none is asked for.
const JSON: &str = "tickcast.v1.json";

/// The subprotocol of binary ticks.
const BINARY: &str = "tickcast.v1.bin";

/// Whether a request wants to become a WebSocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
}

/// Turns a request into a client of the gateway (RFC 6455 section 4.2).
pub fn upgrade(
    gateway: &Arc<Gateway>,
    writers: &Arc<Writers>,
    peer: SocketAddr,
    mut request: Request,
) -> Response {
    let key = match check(gateway, &request) {
        Ok(key) => key,
        Err((status, reason, words)) => {
            gateway.metrics.refused(reason);
            debug!(%peer, reason, "handshake refused");
            let version = [(header::SEC_WEBSOCKET_VERSION, "13")];
            return (status, version, format!("{words}\n")).into_response();
        }
    };
    let protocol = spoken(request.headers());
    let form = match protocol {
        Some(BINARY) => Form::Binary(Box::default()),
        _ => Form::Text,
    };
    let upgrading = hyper::upgrade::on(&mut request);
    let (gateway, writers) = (gateway.clone(), writers.clone());
    tokio::spawn(async move {
        if let Err(reason) = hand_over(upgrading, form, peer, &gateway, &writers).await {
            debug!(%peer, reason, "gone during the handshake");
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, http::HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, http::HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, http::HeaderValue::from_static(protocol));
    }
    response
}

/// Takes the bare socket out of the HTTP connection and gives it to a writer. Nothing of the HTTP side is kept: its
/// buffers would be 8 KiB a client for nothing.
async fn hand_over(
    upgrading: OnUpgrade,
    form: Form,
    peer: SocketAddr,
    gateway: &Gateway,
    writers: &Writers,
) -> Result<(), String> {
    let upgraded = upgrading.await.map_err(|error| error.to_string())?;
    let (socket, early) = bare(upgraded).ok_or("not a connection of this listener")?;
    let socket = socket.map_err(|error| error.to_string())?;
    let place = gateway.doors.enter(peer.ip());
    if let Err(full) = &place {
        debug!(%peer, ?full, "client sent away");
    }
    writers.give(Arrival { socket, form, early, first: None, peer, place: place.ok() });
    Ok(())
}

/// The socket behind an HTTP connection, and what was read from it beyond the request.
fn bare(upgraded: Upgraded) -> Option<(io::Result<Wire>, Vec<u8>)> {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => Some((parts.io.into_wire(), parts.read_buf.to_vec())),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
            Some((parts.io.into_wire(), parts.read_buf.to_vec()))
        }
    }
}

/// The address of the client, which the listener puts into each request.
pub fn peer_of(request: &Request) -> SocketAddr {
    let found = request.extensions().get::<ConnectInfo<SocketAddr>>();
    found.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |info| info.0)
}

/// The answer to the client's key, or why there is none.
fn check(
    gateway: &Gateway,
    request: &Request,
) -> Result<http::HeaderValue, (StatusCode, &'static str, &'static str)> {
    let headers = request.headers();
    let bad = |words| (StatusCode::BAD_REQUEST, "bad_request", words);
    if request.method() != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "bad_request", "a WebSocket begins with a GET"));
    }
    if !is_wanted(headers) || !has_token(headers, header::CONNECTION, "upgrade") {
        return Err((StatusCode::UPGRADE_REQUIRED, "bad_request", "here is a WebSocket"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "version", "only version 13 of the protocol is spoken"));
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // An Origin that is no text is nobody's.
    let origin = headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or(""));
    if !gateway.origins.allow_request(origin, text(header::HOST)) {
        return Err((StatusCode::FORBIDDEN, "origin", "pages of this origin may not connect"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| bad("Sec-WebSocket-Key is missing"))?;
    http::HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| bad("bad key"))
}

/// The first of the subprotocols a client offers that is spoken here (RFC 6455 section 4.2.2).
fn spoken(headers: &HeaderMap) -> Option<&'static str> {
    let offered = words(headers, header::SEC_WEBSOCKET_PROTOCOL);
    offered.filter_map(|offer| [JSON, BINARY].into_iter().find(|ours| offer == *ours)).next()
}

/// Whether a list header has this word.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    words(headers, name).any(|word| word.eq_ignore_ascii_case(token))
}

/// The words of a list header.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
