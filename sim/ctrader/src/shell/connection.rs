use bytes::BytesMut;
use sim_kit::shell::{FAREWELL_WITHIN, HANDSHAKE_WITHIN, Outbox, begins, none_of};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span};

use super::{Shared, Unwritten};
use crate::{ConnectionId, Ending, Fault, FaultSet, Venue};

const READ_BYTES: usize = 16 << 10;

/// The life of one socket, from accept to close. This task is the only one that touches it.
pub(super) async fn attend(stream: TcpStream, tls: TlsAcceptor, shared: &Shared, stop: &CancellationToken) {
    let mut faults = shared.faults();
    let handshake = async {
        if !begins::<Venue>(&stream, &mut faults).await {
            return None;
        }
        // An answer late by choice of the client is bounded; one withheld by a fault is not.
        timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await.ok()?.ok()
    };
    let accepted = tokio::select! {
        accepted = handshake => accepted,
        () = stop.cancelled() => return,
    };
    let Some(stream) = accepted else {
        debug!("no TLS handshake");
        return;
    };

    let (id, outbox) = shared.open();
    let span = info_span!("connection", id = id.number());
    span.in_scope(|| info!("connection opened"));
    let (mut read, mut write) = tokio::io::split(stream);
    let ending = async {
        tokio::select! {
            biased;
            () = outbox.reset.cancelled() => Ending::Reset,
            ending = write_all(&mut write, &outbox, shared.faults()) => ending,
            () = read_all(&mut read, id, shared, faults) => Ending::Abrupt,
            () = stop.cancelled() => Ending::Orderly,
        }
    }
    .instrument(span)
    .await;
    shared.closed(id);

    let mut stream = read.unsplit(write);
    match ending {
        Ending::Orderly => {
            let _ = timeout(FAREWELL_WITHIN, stream.shutdown()).await;
        }
        Ending::Abrupt => {}
        Ending::Reset => {
            let _ = stream.get_ref().0.set_zero_linger();
        }
    }
}

/// Hands in what the client sends, until it sends no more. While stalled nothing is read.
async fn read_all(
    read: &mut (impl AsyncRead + Unpin),
    id: ConnectionId,
    shared: &Shared,
    mut faults: watch::Receiver<FaultSet>,
) {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        none_of(&mut faults, &[Fault::Stall]).await;
        tokio::select! {
            // Looks again at the faults, in case reading has to stop.
            _ = faults.changed() => {}
            count = read.read_buf(&mut buffer) => match count {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    shared.receive(id, &buffer);
                    buffer.clear();
                }
            },
        }
    }
}

/// Writes what the venue has for the client until the connection is to end. While stalled nothing is written.
async fn write_all(
    write: &mut (impl AsyncWrite + Unpin),
    outbox: &Outbox<Unwritten, Ending>,
    mut faults: watch::Receiver<FaultSet>,
) -> Ending {
    loop {
        let (bytes, ending) = outbox.take().await;
        let bytes = bytes.unwrap_or_default();
        let one_byte = faults.borrow().has(Fault::OneByteWrites);
        let send = async {
            let len = if one_byte { 1 } else { bytes.len().max(1) };
            for part in bytes.chunks(len) {
                write.write_all(part).await?;
                write.flush().await?;
            }
            Ok::<(), std::io::Error>(())
        };
        if let Some(ending) = ending {
            // A client that does not take its last bytes is left without them.
            let sent = timeout(FAREWELL_WITHIN, send).await;
            debug!(ok = matches!(sent, Ok(Ok(()))), "last bytes");
            return ending;
        }
        none_of(&mut faults, &[Fault::Stall]).await;
        if send.await.is_err() {
            return Ending::Abrupt;
        }
    }
}
