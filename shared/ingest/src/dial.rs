use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tickcast_model::{Cause, CauseKind};
use tickcast_service::Reader;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fence::Fenced;
use crate::{Fence, IngestError};

/// A byte stream to a venue.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Opens connections to one venue.
pub trait Dial: Clone + Send + Sync + 'static {
    /// Opens one connection; how long that may take is the caller's matter. Not a byte may leave on it once the fence
    /// has ended.
    ///
    /// # Errors
    /// The cause for which there is none.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt and leaves nothing open.
    fn dial(&self, fence: Fence) -> impl Future<Output = Result<Box<dyn Transport>, Cause>> + Send;
}

/// Dials TCP with keepalive, then TLS against the web's trust anchors and any given ones. Checks are never off; only to
/// this very machine there may be no TLS.
#[derive(Clone)]
pub struct TlsDialler {
    host: String,
    port: u16,
    security: Security,
}

#[derive(Clone)]
enum Security {
    Tls { name: ServerName<'static>, ca_file: Option<PathBuf> },
    Loopback,
}

/// A dead path shows at the socket after about this long without an answer, below the protocol's own watchdogs.
const KEEPALIVE: Duration = Duration::from_secs(10);

impl TlsDialler {
    /// A dialler for one host; `ca_file` holds extra trust anchors as PEM. It is read at each dialling, so a venue whose
    /// certificate was exchanged is trusted again without a restart.
    ///
    /// # Errors
    /// [`IngestError::Host`] and [`IngestError::TrustAnchors`] where the settings cannot be used.
    pub fn new(host: &str, port: u16, ca_file: Option<&Path>) -> Result<Self, IngestError> {
        let name = server_name(host)?;
        connector(ca_file)?;
        let security = Security::Tls { name, ca_file: ca_file.map(Path::to_owned) };
        Ok(Self { host: host.to_owned(), port, security })
    }

    /// Notes in `reader` what [`TlsDialler::new`] would refuse: the host under the name of its variable, `host_name`, the
    /// trust anchors under theirs, `ca_file_name`. An empty host was found wrong before.
    pub fn check(
        reader: &mut Reader,
        (host_name, host): (&str, &str),
        (ca_file_name, ca_file): (&str, Option<&Path>),
    ) {
        if !host.is_empty()
            && let Err(error) = server_name(host)
        {
            reader.problem(host_name, error.to_string());
        }
        if let Err(error) = connector(ca_file) {
            reader.problem(ca_file_name, error.to_string());
        }
    }

    /// A dialler without TLS, which reaches loopback addresses and no others.
    pub fn plain_to_loopback(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, security: Security::Loopback }
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, IngestError> {
    ServerName::try_from(host.to_owned()).map_err(|_| IngestError::Host(host.to_owned()))
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, IngestError> {
    let mut anchors = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = ca_file {
        let unusable = |error: &dyn fmt::Display| IngestError::TrustAnchors {
            file: file.display().to_string(),
            reason: error.to_string(),
        };
        let before = anchors.len();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))? {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            anchors.add(certificate).map_err(|error| unusable(&error))?;
        }
        if anchors.len() == before {
            return Err(unusable(&"no certificate is in it"));
        }
    }
    let config = ClientConfig::builder().with_root_certificates(anchors).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl TlsDialler {
    /// Where it dials, for people: host and port.
    pub(crate) fn target(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The first step of dialling: the host's addresses, at least one.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, Cause> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| Cause::new(CauseKind::Dns, format!("{}: {error}", self.host)))?;
        let may_reach = |address: &SocketAddr| match self.security {
            Security::Tls { .. } => true,
            Security::Loopback => address.ip().is_loopback(),
        };
        let addresses: Vec<SocketAddr> = addresses.filter(may_reach).collect();
        if addresses.is_empty() {
            let kind = if self.is_plain() { "loopback address" } else { "address" };
            return Err(Cause::new(CauseKind::Dns, format!("{} has no {kind}", self.host)));
        }
        Ok(addresses)
    }

    /// The second step: a connection to the first address that takes one.
    pub(crate) async fn connect(&self, addresses: &[SocketAddr]) -> Result<(SocketAddr, TcpStream), Cause> {
        let mut failure = Cause::new(CauseKind::Dns, format!("{} has no address", self.host));
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    prepare(&stream)
                        .map_err(|error| Cause::new(CauseKind::Unreachable, error.to_string()))?;
                    return Ok((*address, stream));
                }
                Err(error) => failure = Cause::new(connect_kind(&error), format!("{address}: {error}")),
            }
        }
        Err(failure)
    }

    /// True where there is no TLS.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.security, Security::Loopback)
    }

    /// The last step: TLS, where there is to be any.
    pub(crate) async fn secure(&self, stream: impl Transport + 'static) -> Result<Box<dyn Transport>, Cause> {
        let Security::Tls { name, ca_file } = &self.security else { return Ok(Box::new(stream)) };
        let connector =
            connector(ca_file.as_deref()).map_err(|error| Cause::new(CauseKind::Tls, error.to_string()))?;
        let tls = connector.connect(name.clone(), stream).await.map_err(|error| tls_cause(&error))?;
        Ok(Box::new(tls))
    }
}

impl Dial for TlsDialler {
    async fn dial(&self, fence: Fence) -> Result<Box<dyn Transport>, Cause> {
        let (_, stream) = self.connect(&self.resolve().await?).await?;
        self.secure(Fenced::new(stream, fence)).await
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn connect_kind(error: &io::Error) -> CauseKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CauseKind::Refused,
        _ => CauseKind::Unreachable,
    }
}

/// A handshake that a proxy cuts is one more way not to be reachable (cTrader facts 4, row 18); bad certificates are not.
fn tls_cause(error: &io::Error) -> Cause {
    let kind = match error.kind() {
        io::ErrorKind::InvalidData => CauseKind::Tls,
        io::ErrorKind::UnexpectedEof => CauseKind::PeerClosed,
        _ => CauseKind::Reset,
    };
    Cause::new(kind, format!("during the TLS handshake: {error}"))
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// A certificate for localhost, its acceptor, and a file that holds it as trust anchor.
    fn certificate() -> (TlsAcceptor, PathBuf) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let file = std::env::temp_dir().join(format!(
            "tickcast-anchor-{}-{}.pem",
            std::process::id(),
            fastrand::u64(..)
        ));
        std::fs::write(&file, issued.cert.pem()).unwrap();
        (TlsAcceptor::from(Arc::new(config)), file)
    }

    #[tokio::test]
    async fn a_trusted_host_is_reached_and_bytes_pass_both_ways() {
        let (acceptor, file) = certificate();
        let (listener, port) = listener().await;
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut tls = acceptor.accept(stream).await.unwrap();
            let mut bytes = [0; 4];
            tls.read_exact(&mut bytes).await.unwrap();
            tls.write_all(&bytes).await.unwrap();
            tls.flush().await.unwrap();
        });
        let dialler = TlsDialler::new("localhost", port, Some(&file)).unwrap();
        let mut stream = dialler.dial(Fence::open()).await.map_err(|cause| cause.to_string()).unwrap();
        stream.write_all(b"ping").await.unwrap();
        stream.flush().await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
        server.await.unwrap();
        std::fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn an_exchanged_certificate_is_trusted_at_the_next_dialling() {
        let (_, file) = certificate();
        let (acceptor, exchanged) = certificate();
        let (listener, port) = listener().await;
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = acceptor.accept(stream).await;
            }
        });
        let dialler = TlsDialler::new("localhost", port, Some(&file)).unwrap();
        assert_eq!(dialler.dial(Fence::open()).await.err().expect("an old anchor").kind, CauseKind::Tls);
        std::fs::rename(exchanged, &file).unwrap();
        assert!(dialler.dial(Fence::open()).await.is_ok());
        server.await.unwrap();
        std::fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn without_tls_only_this_machine_is_reached() {
        let (listener, port) = listener().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"plain").await.unwrap();
        });
        let mut stream = TlsDialler::plain_to_loopback("127.0.0.1", port)
            .dial(Fence::open())
            .await
            .map_err(|cause| cause.to_string())
            .unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"plain");
        server.await.unwrap();
        let elsewhere = TlsDialler::plain_to_loopback("192.0.2.1", port).dial(Fence::open()).await;
        assert_eq!(elsewhere.err().expect("no connection").kind, CauseKind::Dns);
    }

    #[tokio::test]
    async fn an_untrusted_certificate_is_refused() {
        let (acceptor, file) = certificate();
        std::fs::remove_file(file).unwrap();
        let (listener, port) = listener().await;
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        });
        let cause = TlsDialler::new("localhost", port, None)
            .unwrap()
            .dial(Fence::open())
            .await
            .err()
            .expect("no connection");
        assert_eq!(cause.kind, CauseKind::Tls, "{cause}");
    }

    #[tokio::test]
    async fn a_closed_port_and_a_cut_handshake_have_their_own_causes() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (listener, port) = listener().await;
        let dialler = TlsDialler::new("127.0.0.1", port, None).unwrap();
        let (cut, dialled) = tokio::join!(
            async {
                let (stream, _) = listener.accept().await.unwrap();
                drop(stream);
            },
            dialler.dial(Fence::open())
        );
        let () = cut;
        let kind = dialled.err().expect("no connection").kind;
        assert!(matches!(kind, CauseKind::PeerClosed | CauseKind::Reset), "{kind:?}");
        drop(listener);
        assert_eq!(dialler.dial(Fence::open()).await.err().expect("no connection").kind, CauseKind::Refused);
    }

    #[test]
    fn unusable_settings_are_named() {
        assert!(matches!(TlsDialler::new("not a host", 1, None), Err(IngestError::Host(_))));
        let missing = Path::new("/nonexistent/anchors.pem");
        assert!(matches!(
            TlsDialler::new("localhost", 1, Some(missing)),
            Err(IngestError::TrustAnchors { .. })
        ));
        let empty = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(TlsDialler::new("localhost", 1, Some(empty)).is_err(), "anchors that anchor nothing");

        let mut reader = Reader::from_pairs([("", ""); 0]);
        TlsDialler::check(&mut reader, ("HOST", "not a host"), ("CA_FILE", Some(missing)));
        let problems = reader.problems();
        assert!(problems[0].starts_with("HOST: ") && problems[1].starts_with("CA_FILE: "), "{problems:?}");
        assert_eq!(problems.len(), 2);
    }
}
