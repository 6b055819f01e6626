//! The thin shell: TLS and WebSockets on the venue's port and the settings around the pure [`crate::Venue`].

mod backlog;
mod connection;
mod one_byte;
mod settings;
mod totals;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use serde_json::{Value, json};
use sim_kit::shell::{Family, ServedVenue, Total};
use tickcast_service::Context;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use backlog::Unwritten;
pub use settings::ServerSettings;
pub use sim_kit::shell::ShellError;

use crate::{ConnectionId, Fault, Venue};

type Shared = sim_kit::shell::Shared<Venue>;

/// Runs the venue until the process is to stop.
///
/// # Errors
/// [`ShellError`] where it cannot begin.
pub async fn serve(settings: ServerSettings, context: Context) -> Result<(), ShellError> {
    let shared = Arc::new(Shared::new(Venue::new(settings.venue)));
    sim_kit::shell::serve(settings.listener, shared, Router::new(), context).await
}

impl ServedVenue for Venue {
    type Backlog = Unwritten;

    const REFUSE: Fault = Fault::Refuse;
    const RESET_HANDSHAKE: Fault = Fault::ResetHandshake;
    const HANG: &'static [Fault] = &[Fault::Stall, Fault::HangTls];

    async fn attend(
        stream: TcpStream,
        peer: SocketAddr,
        tls: TlsAcceptor,
        shared: &Shared,
        stop: &CancellationToken,
    ) {
        connection::attend(stream, peer, tls, shared, stop).await;
    }

    fn connections_current(&self) -> usize {
        self.connections().count()
    }

    fn status(&self) -> Value {
        let connection = |id: ConnectionId| {
            json!({
                "id": id.number(),
                "entitled": self.is_entitled(id),
                "sessions": self.sessions(id),
                "symbols": self.keys(id),
            })
        };
        let connections: Vec<Value> = self.connections().map(connection).collect();
        let counters = self.counters();
        json!({
            "connections_opened": counters.opened,
            "connections_current": connections.len(),
            "connections": connections,
            "symbols_offered": self.catalogue().instruments().len(),
            "ticks_per_s": self.settings().ticks_per_s,
            "quotes_sent": counters.quotes,
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
    use crate::{Message, Reason, VenueSettings, put_frame};

    #[test]
    fn a_client_that_does_not_read_is_disconnected_and_counted() {
        let shared = Shared::new(Venue::new(VenueSettings::default()));
        let (slow, outbox) = shared.open();
        let (quick, other) = shared.open();
        assert!(outbox.put(Message::Text("x".repeat(Unwritten::BYTES_MAX / 2))));
        assert!(outbox.put(Message::Text("x".repeat(Unwritten::BYTES_MAX / 2 - 500))));
        let (mut message, mut add) = (String::new(), String::new());
        put_frame(&mut message, r#"{"m":"quote_create_session","p":["q"]}"#);
        put_frame(&mut add, r#"{"m":"quote_add_symbols","p":["q","OANDA:EURUSD"]}"#);
        for id in [slow, quick] {
            shared.receive(id, &message);
            shared.receive(id, &add);
        }
        assert!(outbox.reset.is_cancelled() && !other.reset.is_cancelled());
        shared.look(|venue| {
            assert_eq!(venue.connections().collect::<Vec<_>>(), [quick]);
            assert_eq!(venue.counters().closed[&Reason::SlowReader], 1);
        });
        shared.closed(slow);
        assert_eq!(shared.look(|venue| venue.counters().closed.len()), 1);
    }
}
