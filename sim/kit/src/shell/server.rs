use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tickcast_service::Context;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::certificate::Certificate;
use super::metrics::VenueMetrics;
use super::{ListenerSettings, ServedVenue, Shared, ShellError, admin, none_of};

/// Connections served at a time; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 64;

/// Pause before another attempt where the system refuses a connection or the port.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Runs the venue until the process is to stop: the port, the status, the metrics, and the admin pages of the faults
/// with `more` beside them.
///
/// # Errors
/// [`ShellError`] where it cannot begin.
pub async fn serve<V: ServedVenue>(
    settings: ListenerSettings,
    shared: Arc<Shared<V>>,
    more: Router,
    context: Context,
) -> Result<(), ShellError> {
    context.ready.declare("venue");
    let certificate = Certificate::generate(&settings.hosts)?;
    if let Some(path) = &settings.ca_file {
        certificate.write(path)?;
    }
    context.metrics.register(|registry| registry.register_collector(Box::new(VenueMetrics(shared.clone()))));
    let status = shared.clone();
    context.status.provide("venue", move || -> Value { status.status() });
    context.admin.add(admin::routes(shared.clone()).merge(more));

    let (listener, addr) = listen(settings.addr).await?;
    info!(what = "venue", %addr, "listening");
    context.ready.set("venue", Ok(()));
    let tls = TlsAcceptor::from(certificate.tls.clone());
    tokio::join!(shared.drive(&context.stop), accept(listener, addr, &tls, &shared, &context));
    Ok(())
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), ShellError> {
    let failed = |source| ShellError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// Accepts until the process is to stop, then waits for the connections to end.
async fn accept<V: ServedVenue>(
    listener: TcpListener,
    addr: SocketAddr,
    tls: &TlsAcceptor,
    shared: &Arc<Shared<V>>,
    context: &Context,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let mut faults = shared.faults();
    let mut listener = Some(listener);
    let refuse = [V::REFUSE];
    loop {
        if faults.borrow_and_update().has(V::REFUSE) {
            // Really closed: what waits in its queue is reset, what comes is refused.
            listener = None;
        }
        let open = match &listener {
            Some(open) => open,
            None => {
                tokio::select! {
                    () = context.stop.cancelled() => break,
                    () = none_of(&mut faults, &refuse) => {}
                }
                match TcpListener::bind(addr).await {
                    Ok(open) => listener.insert(open),
                    Err(error) => {
                        warn!(%error, %addr, "cannot open the venue's port again yet");
                        tokio::time::sleep(RETRY_AFTER).await;
                        continue;
                    }
                }
            }
        };
        let next = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, open.accept().await))
        };
        let next = tokio::select! {
            () = context.stop.cancelled() => break,
            _ = faults.changed() => continue,
            next = next => next,
        };
        match next {
            Some((place, Ok((stream, peer)))) => {
                let (tls, shared, stop) = (tls.clone(), shared.clone(), context.stop.clone());
                connections.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    V::attend(stream, peer, tls, &shared, &stop).await;
                    drop(place);
                });
            }
            Some((_, Err(error))) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            None => break,
        }
    }
    connections.close();
    connections.wait().await;
}
