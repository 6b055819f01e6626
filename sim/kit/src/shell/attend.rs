//! What the life of a socket begins with, whatever is spoken on it.

use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ServedVenue;
use crate::fault::{FaultKind, FaultSet};

/// Time for a client to finish a handshake. One withheld by a fault is not bounded.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Time for the last bytes to a client, and for the close of what it speaks.
pub const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// How often a held-up handshake looks whether its client is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Waits until the first byte of a client may be answered; false where it never will be: a fault resets the connection,
/// or the client has gone meanwhile.
pub async fn begins<V: ServedVenue>(
    stream: &TcpStream,
    faults: &mut watch::Receiver<FaultSet<V::Fault>>,
) -> bool {
    if faults.borrow_and_update().has(V::RESET_HANDSHAKE) {
        // After the client's first bytes: in the middle of its handshake, not before.
        let _ = timeout(HANDSHAKE_WITHIN, stream.readable()).await;
        let _ = stream.set_zero_linger();
        return false;
    }
    tokio::select! {
        () = none_of(faults, V::HANG) => true,
        () = left(stream) => false,
    }
}

/// Waits until none of these faults is on.
pub async fn none_of<F: FaultKind>(faults: &mut watch::Receiver<FaultSet<F>>, which: &[F]) {
    // An error means that the venue is gone, and its connections with it.
    let _ = faults.wait_for(|on| which.iter().all(|fault| !on.has(*fault))).await;
}

/// Waits until a client that is not being read has gone.
pub async fn left(stream: &TcpStream) {
    loop {
        match stream.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(LOOK_EVERY).await,
            _ => return,
        }
    }
}
