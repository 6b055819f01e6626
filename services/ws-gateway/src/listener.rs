use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::handover::{Handover, IntoWire};
use crate::limits::TokenBucket;

/// HTTP connections at a time that are not (yet) WebSockets; more wait in the listen queue.
const HTTP_CONNECTIONS_MAX: usize = 4_096;

/// Time for a request's head to arrive, and for a connection to stay without one.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Time after which an HTTP connection finishes its request and ends, so that idle ones cannot hold all the places.
const HTTP_WITHIN: Duration = Duration::from_secs(60);

/// Time for the requests under way when the gateway stops.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Pause after the system refused a connection (out of descriptors), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a socket buffers of data its client does not read: the default would be megabytes of stale ticks.
const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// Of that, what was never put on the line may be so much before the socket counts as full: what waits there is old when a
/// slow client gets it, and a quick client's never waits.
const UNSENT_BYTES: u32 = 8 * 1024;

/// In how many pieces the connections of a second may come in.
const ACCEPT_BURSTS_PER_S: u32 = 50;

/// Connections that may wait to be accepted: everybody reconnects at once when another gateway dies.
const BACKLOG: u32 = 4_096;

/// Opens the listener for browsers.
///
/// # Errors
/// What the system says.
pub fn open(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until `stop`, at most `accepts_per_s` in a second, then waits shortly for the requests under way.
/// WebSockets live on by themselves.
///
/// A handshake costs as much as a thousand deliveries. When everybody comes at once, those who are here keep getting their
/// prices, and the others come in in the order in which they knocked. `busy` shows how many are being served over HTTP.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    accepts_per_s: u32,
    router: Router,
    busy: Gauge,
    stop: CancellationToken,
) {
    let mut pace = TokenBucket::with_burst(
        accepts_per_s,
        accepts_per_s / ACCEPT_BURSTS_PER_S,
        Instant::now().into_std(),
    );
    let tls = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok()?;
            while !pace.take(Instant::now().into_std()) {
                tokio::time::sleep(Duration::from_secs(1) / accepts_per_s.max(1)).await;
            }
            Some((place, listener.accept().await))
        };
        let (place, accepted) = tokio::select! {
            Some(next) = next => next,
            () = stop.cancelled() => break,
            else => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                prepare(&socket, peer);
                let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                let busy = busy.clone();
                busy.inc();
                connections.spawn(async move {
                    match tls {
                        None => serve_connection(socket, peer, router, stop).await,
                        Some(tls) => match tokio::time::timeout(HEAD_WITHIN, tls.accept(socket)).await {
                            Ok(Ok(socket)) => serve_connection(socket, peer, router, stop).await,
                            Ok(Err(error)) => debug!(%peer, %error, "TLS handshake failed"),
                            Err(_) => debug!(%peer, "TLS handshake took too long"),
                        },
                    }
                    busy.dec();
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(STOP_WITHIN, connections.wait()).await;
}

fn prepare(socket: &TcpStream, peer: SocketAddr) {
    let options = socket2::SockRef::from(socket);
    // Without them the connection works too, only worse.
    if let Err(error) = options
        .set_tcp_nodelay(true)
        .and_then(|()| options.set_send_buffer_size(SEND_BUFFER_BYTES))
        .and_then(|()| options.set_tcp_notsent_lowat(UNSENT_BYTES))
    {
        debug!(%peer, %error, "socket options not set");
    }
}

async fn serve_connection<S>(socket: S, peer: SocketAddr, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + IntoWire + Send + Unpin + 'static,
{
    let router = TowerToHyperService::new(router);
    let handover = Handover::default();
    let offered = handover.clone();
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(offered.clone());
        router.call(request)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut until = Instant::now() + HTTP_WITHIN;
    let mut is_ending = false;
    let taker = loop {
        tokio::select! {
            result = &mut connection => return ended(peer, result),
            taker = handover.taken() => break taker,
            () = tokio::time::sleep_until(until) => {}
            () = stop.cancelled(), if !is_ending => {}
        }
        if is_ending {
            return debug!(%peer, "http connection cut");
        }
        is_ending = true;
        until = Instant::now() + HEAD_WITHIN;
        Pin::new(&mut connection).graceful_shutdown();
    };
    if let Some(parts) = connection.into_parts() {
        taker(parts.io.into_wire(), parts.read_buf.to_vec());
    }
}

fn ended(peer: SocketAddr, result: hyper::Result<()>) {
    if let Err(error) = result {
        debug!(%peer, %error, "http connection broke");
    }
}
