use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::{Context, Metrics};

/// The pages every process has: `/healthz`, `/readyz`, `/metrics` and `/status`.
pub fn router(context: &Context) -> axum::Router {
    axum::Router::new()
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(context.clone())
}

async fn readyz(State(context): State<Context>) -> Response {
    let mut reasons = context.ready.reasons();
    if context.stop.is_cancelled() {
        reasons.push("stopping".to_owned());
    }
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut page = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    let notes = context.ready.notes();
    if !notes.is_empty() {
        page["notes"] = json!(notes);
    }
    (code, Json(page)).into_response()
}

async fn metrics(State(context): State<Context>) -> Response {
    ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], context.metrics.encode()).into_response()
}

async fn status(State(context): State<Context>) -> Response {
    let mut page = context.status.parts();
    page.insert("name".into(), json!(context.about.name));
    page.insert("version".into(), json!(context.about.version));
    page.insert("instance".into(), json!(&*context.instance));
    page.insert("uptime_s".into(), json!(context.started.elapsed().as_secs()));
    let reasons = context.ready.reasons();
    page.insert("ready".into(), json!(reasons.is_empty() && !context.stop.is_cancelled()));
    page.insert("reasons".into(), json!(reasons));
    Json(page).into_response()
}

/// The routes of the admin listener, to which a service may add its own.
#[derive(Clone, Default)]
pub struct AdminRoutes {
    own: Arc<Mutex<axum::Router>>,
}

impl AdminRoutes {
    /// Adds routes beside `/healthz`, `/readyz`, `/metrics` and `/status`. They hold from the next connection on.
    ///
    /// # Panics
    /// Where a route exists already; that is a mistake in the program.
    pub fn add(&self, routes: axum::Router) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        *own = std::mem::take(&mut *own).merge(routes);
    }

    fn all(&self, context: &Context) -> axum::Router {
        router(context).merge(self.own.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Connections served at a time; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 64;

/// Time for a request's head to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Time after which a connection is closed whatever it does, so that stuck ones cannot hold all the places.
const CONNECTION_WITHIN: Duration = Duration::from_secs(60);

/// Pause after the system refused a connection (out of descriptors), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves the admin pages until `stop`.
pub(crate) async fn serve(listener: TcpListener, context: Context, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let (place, accepted) = tokio::select! {
            next = next => match next {
                Some(next) => next,
                None => break,
            },
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let service = context
            .admin
            .all(&context)
            .map_request(|request: Request<hyper::body::Incoming>| request.map(Body::new));
        let stop = stop.clone();
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            tokio::select! {
                result = tokio::time::timeout(CONNECTION_WITHIN, connection) => {
                    debug!(?result, "admin connection ended");
                }
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn idle_connections_give_their_places_back_and_the_end_waits_for_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Context::for_test("probe"), stop.clone()));
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 5 {
            idle.push(TcpStream::connect(addr).await.unwrap());
        }
        drop(idle);

        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");

        stop.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_stopping_process_is_not_ready() {
        let context = Context::for_test("probe");
        assert_eq!(readyz(State(context.clone())).await.status(), StatusCode::OK);
        context.stop.cancel();
        assert_eq!(readyz(State(context)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
