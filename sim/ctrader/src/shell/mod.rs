//! The thin shell: TLS on the venue's port, settings and the scenario's pages around the pure [`crate::Venue`].

mod backlog;
mod connection;
mod scenario;
mod settings;
mod totals;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use sim_kit::shell::{Family, ServedVenue, Total};
use tickcast_service::Context;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use backlog::Unwritten;
pub use settings::ServerSettings;

use crate::{ConnectionId, Fault, Venue};

type Shared = sim_kit::shell::Shared<Venue>;

/// What keeps the simulator from running.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The port or the certificate cannot be had.
    #[error(transparent)]
    Shell(#[from] sim_kit::shell::ShellError),
    /// The scenario names what the venue does not have.
    #[error("cannot play SIM_SCENARIO: {0}")]
    Scenario(#[from] crate::SpecError),
}

/// Runs the venue until the process is to stop.
///
/// # Errors
/// [`ShellError`] where it cannot begin.
pub async fn serve(settings: ServerSettings, context: Context) -> Result<(), ShellError> {
    let shared = Arc::new(Shared::new(Venue::new(settings.venue)));
    if let Some(scenario) = settings.scenario {
        scenario::play(&shared, scenario)?;
    }
    let pages = scenario::routes(shared.clone());
    Ok(sim_kit::shell::serve(settings.listener, shared, pages, context).await?)
}

impl ServedVenue for Venue {
    type Backlog = Unwritten;

    const REFUSE: Fault = Fault::Refuse;
    const RESET_HANDSHAKE: Fault = Fault::ResetHandshake;
    const HANG: &'static [Fault] = &[Fault::Stall, Fault::HangTls];

    async fn attend(
        stream: TcpStream,
        _peer: SocketAddr,
        tls: TlsAcceptor,
        shared: &Shared,
        stop: &CancellationToken,
    ) {
        connection::attend(stream, tls, shared, stop).await;
    }

    fn connections_current(&self) -> usize {
        self.connections().count()
    }

    fn status(&self) -> Value {
        let listings = self.catalogue().listings();
        let name = |id: i64| self.catalogue().position(id).map(|at| listings[at].name.as_str());
        let connection = |id: ConnectionId| {
            let accounts: Vec<i64> = self.logged_in(id).collect();
            let symbols: Vec<&str> = self.subscribed(id).into_iter().filter_map(name).collect();
            json!({
                "id": id.number(),
                "accounts": accounts,
                "symbols": symbols,
                "received_bytes": self.received_bytes(id),
            })
        };
        let connections: Vec<Value> = self.connections().map(connection).collect();
        let counters = self.counters();
        json!({
            "connections_opened": counters.opened,
            "connections_current": connections.len(),
            "received_bytes": counters.received_bytes,
            "connections": connections,
            "symbols_offered": listings.len(),
            "ticks_per_s": self.settings().ticks_per_s,
            "spot_events_sent": counters.spot_events,
        })
    }

    fn totals(&self) -> Vec<Total> {
        totals::totals(self.counters())
    }

    fn families(&self) -> Vec<Family> {
        totals::families(self.counters())
    }
}

#[cfg(test)]
mod tests {
    use sim_kit::shell::Backlog as _;

    use super::*;
    use crate::wire::ProtoOaVersionReq;
    use crate::{Reason, VenueSettings, put_frame};

    #[test]
    fn a_client_that_does_not_read_is_disconnected_and_counted() {
        let shared = Shared::new(Venue::new(VenueSettings::default()));
        let (slow, outbox) = shared.open();
        let (quick, other) = shared.open();
        assert!(outbox.put(vec![0; Unwritten::BYTES_MAX].into()));
        let mut frame = bytes::BytesMut::new();
        put_frame(&mut frame, &ProtoOaVersionReq { payload_type: None }, None);
        shared.receive(slow, &frame);
        shared.receive(quick, &frame);
        assert!(outbox.reset.is_cancelled() && !other.reset.is_cancelled());
        shared.look(|venue| {
            assert_eq!(venue.connections().collect::<Vec<_>>(), [quick]);
            assert_eq!(venue.counters().closed[&Reason::SlowReader], 1);
        });
        shared.closed(slow);
        assert_eq!(shared.look(|venue| venue.counters().closed.len()), 1);
    }
}
