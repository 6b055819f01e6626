use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

use crate::tls::TlsSocket;
use crate::writer::Wire;

/// What becomes of a socket that leaves HTTP; it comes with what was read from it beyond the request.
pub type Taker = Box<dyn FnOnce(io::Result<Wire>, Vec<u8>) + Send>;

/// By this a request takes the socket from the HTTP connection it came on, without an answer of HTTP's own: the upgrade of
/// hyper is only for answers that switch protocols. Each connection has one, in the extensions of its requests.
#[derive(Clone, Default)]
pub struct Handover(Arc<Inner>);

#[derive(Default)]
struct Inner {
    taker: Mutex<Option<Taker>>,
    is_there: Notify,
}

impl Handover {
    /// Takes the socket; the request's future is dropped then.
    ///
    /// An earlier answer on the connection was taken by its client before, unless it sends requests ahead of their answers:
    /// of such a client, the rest of the answer may be lost.
    pub async fn take(&self, taker: Taker) -> std::convert::Infallible {
        *self.0.taker.lock().unwrap_or_else(PoisonError::into_inner) = Some(taker);
        self.0.is_there.notify_one();
        std::future::pending().await
    }

    /// Waits until somebody takes the socket.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub async fn taken(&self) -> Taker {
        loop {
            if let Some(taker) = self.0.taker.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return taker;
            }
            self.0.is_there.notified().await;
        }
    }
}

/// A connection of the listener, taken out of HTTP for a writer.
pub trait IntoWire {
    /// The socket as writers have it.
    ///
    /// # Errors
    /// What the system says.
    fn into_wire(self) -> io::Result<Wire>;
}

impl IntoWire for TcpStream {
    fn into_wire(self) -> io::Result<Wire> {
        Ok(Wire::Plain(mio::net::TcpStream::from_std(self.into_std()?)))
    }
}

impl IntoWire for TlsStream<TcpStream> {
    fn into_wire(self) -> io::Result<Wire> {
        let (tcp, tls) = self.into_inner();
        Ok(Wire::Tls(TlsSocket::new(mio::net::TcpStream::from_std(tcp.into_std()?), tls)))
    }
}

impl<S: IntoWire> IntoWire for TokioIo<S> {
    fn into_wire(self) -> io::Result<Wire> {
        self.into_inner().into_wire()
    }
}
