use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bulletin::Bulletin;
use crate::hub::Hub;
use crate::limits::{ClientLimits, Doors};
use crate::metrics::GatewayMetrics;
use crate::origins::Origins;
use crate::venues::Venues;

/// What the parts of a running gateway share.
pub struct Gateway {
    /// What is known of the venues.
    pub venues: Arc<Venues>,
    /// The channels.
    pub hub: Arc<Hub>,
    /// What is said to every client.
    pub bulletin: Arc<Bulletin>,
    /// What is counted.
    pub metrics: Arc<GatewayMetrics>,
    /// Who may come in.
    pub doors: Arc<Doors>,
    /// What one client may do.
    pub limits: Arc<ClientLimits>,
    /// Which web pages may connect.
    pub origins: Origins,
    /// Time between two WebSocket pings of one client.
    pub ping: Duration,
    /// Time in which a stopping gateway spreads its clients' moves.
    pub drain: Duration,
    /// Cancelled when clients are to be sent elsewhere.
    pub stop: CancellationToken,
    /// A busy client is written to no sooner than this after its last write.
    pub flush: Duration,
    /// A client whose socket has not taken everything for this long goes on with the newest ticks.
    pub slow_after: Duration,
}
