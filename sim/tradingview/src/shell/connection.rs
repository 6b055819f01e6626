use std::net::SocketAddr;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::header;
use sim_kit::shell::{FAREWELL_WITHIN, HANDSHAKE_WITHIN, Outbox, begins, left, none_of};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message as WsMessage, Utf8Bytes};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span};

use super::one_byte::{OneByte, Socket};
use super::{Shared, Unwritten};
use crate::websocket::{config, frames, refused};
use crate::{ConnectionId, Ending, Fault, FaultSet, Venue};

/// The first byte of TLS; no HTTP request begins with it.
const TLS_RECORD: u8 = 0x16;

type Link<S> = WebSocketStream<OneByte<S>>;

/// The life of one socket, from accept to close. This task is the only one that touches it.
pub(super) async fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    shared: &Shared,
    stop: &CancellationToken,
) {
    let mut faults = shared.faults();
    let begin = async {
        if !begins::<Venue>(&stream, &mut faults).await {
            return None;
        }
        let mut first = [0];
        let count = timeout(HANDSHAKE_WITHIN, stream.peek(&mut first)).await.ok()?.ok()?;
        (count == 1).then_some(first[0])
    };
    let first = tokio::select! {
        first = begin => first,
        () = stop.cancelled() => return,
    };
    match first {
        Some(TLS_RECORD) => {
            let accepted = tokio::select! {
                accepted = timeout(HANDSHAKE_WITHIN, tls.accept(stream)) => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok(Ok(stream)) => upgrade(stream, shared, stop).await,
                _ => debug!("no TLS handshake"),
            }
        }
        // What leaves the machine is encrypted.
        Some(_) if peer.ip().is_loopback() => upgrade(stream, shared, stop).await,
        _ => debug!("no handshake"),
    }
}

/// The WebSocket handshake, and the life after it.
async fn upgrade<S: Socket>(stream: S, shared: &Shared, stop: &CancellationToken) {
    let mut faults = shared.faults();
    let hangs = async {
        tokio::select! {
            () = none_of(&mut faults, &[Fault::HangHandshake]) => true,
            () = left(stream.tcp()) => false,
        }
    };
    let stays = tokio::select! {
        stays = hangs => stays,
        () = stop.cancelled() => false,
    };
    if !stays {
        return;
    }
    #[allow(clippy::result_large_err, reason = "the library's own type")]
    let admit = |request: &Request, response: Response| {
        let origins =
            request.headers().get_all(header::ORIGIN).iter().filter_map(|origin| origin.to_str().ok());
        shared.act(|venue, _| venue.admit(origins)).map_err(|refusal| refused(&refusal))?;
        Ok(response)
    };
    let socket = OneByte { inner: stream, faults: shared.faults() };
    let accept = tokio_tungstenite::accept_hdr_async_with_config(socket, admit, Some(config()));
    let accepted = tokio::select! {
        accepted = timeout(HANDSHAKE_WITHIN, accept) => accepted,
        () = stop.cancelled() => return,
    };
    match accepted {
        Ok(Ok(link)) => live(link, shared, stop).await,
        Ok(Err(error)) => debug!(%error, "no WebSocket handshake"),
        Err(_) => debug!("no WebSocket handshake in time"),
    }
}

async fn live<S: Socket>(link: Link<S>, shared: &Shared, stop: &CancellationToken) {
    let (id, outbox) = shared.open();
    let span = info_span!("connection", id = id.number());
    span.in_scope(|| info!("connection opened"));
    let (mut write, mut read) = link.split();
    let ending = async {
        tokio::select! {
            biased;
            () = outbox.reset.cancelled() => Ending::Reset,
            ending = write_all(&mut write, &outbox, shared.faults()) => ending,
            () = read_all(&mut read, id, shared, shared.faults()) => Ending::Abrupt,
            () = stop.cancelled() => Ending::Close(Some(1001)),
        }
    }
    .instrument(span)
    .await;
    shared.closed(id);

    let Ok(mut link) = write.reunite(read) else { return };
    match ending {
        Ending::Close(code) => {
            let frame =
                code.map(|code| CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::default() });
            let farewell = async {
                link.close(frame).await?;
                // The client's answer to the close.
                while let Some(Ok(_)) = link.next().await {}
                Ok::<(), tokio_tungstenite::tungstenite::Error>(())
            };
            let _ = timeout(FAREWELL_WITHIN, farewell).await;
        }
        Ending::Abrupt => {}
        Ending::SendThenReset | Ending::Reset => {
            let _ = link.get_ref().inner.tcp().set_zero_linger();
        }
    }
}

/// Hands in what the client sends, until it sends no more. While stalled nothing is read.
async fn read_all<S: Socket>(
    read: &mut SplitStream<Link<S>>,
    id: ConnectionId,
    shared: &Shared,
    mut faults: watch::Receiver<FaultSet>,
) {
    loop {
        none_of(&mut faults, &[Fault::Stall]).await;
        tokio::select! {
            // Looks again at the faults, in case reading has to stop.
            _ = faults.changed() => {}
            message = read.next() => match message {
                Some(Ok(WsMessage::Text(text))) => shared.receive(id, &text),
                // Some clients send their text so and are served (facts 2.1).
                Some(Ok(WsMessage::Binary(bytes))) => shared.receive(id, &String::from_utf8_lossy(&bytes)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// Writes what the venue has for the client until the connection is to end. While stalled nothing is written.
async fn write_all<S: Socket>(
    write: &mut SplitSink<Link<S>, WsMessage>,
    outbox: &Outbox<Unwritten, Ending>,
    mut faults: watch::Receiver<FaultSet>,
) -> Ending {
    loop {
        let (message, end) = outbox.take().await;
        let Some(message) = message else { return end.unwrap_or(Ending::Abrupt) };
        none_of(&mut faults, &[Fault::Stall]).await;
        let fragments = faults.borrow().has(Fault::Fragments);
        for frame in frames(message, fragments) {
            if write.send(frame).await.is_err() {
                return Ending::Abrupt;
            }
        }
        if let Some(ending) = end {
            return ending;
        }
    }
}
