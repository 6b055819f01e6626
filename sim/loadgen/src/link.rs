use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{LoadError, Target};

/// Reads in a row before other connections get their turn.
const READS_MAX: usize = 16;

/// How to reach a server: resolved once, so that ten thousand connections ask no name server.
#[derive(Clone)]
pub(crate) struct Route {
    addr: SocketAddr,
    /// Where connections come from, for more of them than one address has ports.
    from: Option<IpAddr>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Route {
    pub(crate) fn new(
        target: &Target,
        ca_file: Option<&std::path::Path>,
        from: Option<IpAddr>,
    ) -> Result<Self, LoadError> {
        let addr = target.resolve()?;
        let tls = match (target.is_tls, ca_file) {
            (false, _) => None,
            (true, None) => return Err(LoadError::Tls("wss:// needs --ca-file (LOADGEN_CA_FILE)".into())),
            (true, Some(file)) => Some((client_config(file)?, server_name(target)?)),
        };
        Ok(Self { addr, from, tls })
    }

    /// Begins a connection. `receive_bytes` bounds what the kernel takes for a client that does not read.
    pub(crate) fn dial(&self, receive_bytes: Option<usize>) -> io::Result<Link> {
        let socket = Socket::new(
            Domain::for_address(self.addr),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = self.from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        match socket.connect(&SockAddr::from(self.addr)) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let tls = match &self.tls {
            None => None,
            Some((config, name)) => {
                let tls = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                Some(Box::new(tls))
            }
        };
        Ok(Link { stream: TcpStream::from_std(socket.into()), tls, unsent: Vec::new(), is_ending: false })
    }
}

/// Trusts only what the file holds.
fn client_config(ca_file: &std::path::Path) -> Result<Arc<ClientConfig>, LoadError> {
    let bad = |error: &dyn std::fmt::Display| LoadError::Tls(format!("{}: {error}", ca_file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(|error| bad(&error))? {
        roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn server_name(target: &Target) -> Result<ServerName<'static>, LoadError> {
    ServerName::try_from(target.host().to_owned()).map_err(|error| LoadError::Tls(error.to_string()))
}

/// One connection, plain or TLS, which never waits.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
    /// Whether the server's end has come: it stands behind the last bytes and makes no event of its own.
    pub(crate) is_ending: bool,
}

impl Link {
    /// Whether the connection is made; an error where it failed.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Queues bytes and sends what the socket takes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None => self.unsent.extend_from_slice(bytes),
        }
        self.flush()
    }

    /// Sends what is left of earlier sends.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => _ = self.unsent.drain(..sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(())
    }

    /// Reads up to `limit` bytes of what has come and gives them to `each` in pieces; true where more may be waiting.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        mut limit: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), LoadError>,
    ) -> Result<bool, LoadError> {
        for _ in 0..READS_MAX {
            let room = limit.min(buffer.len());
            if room == 0 {
                return Ok(true);
            }
            let (count, is_drained) = match &mut self.tls {
                None => match self.stream.read(&mut buffer[..room]) {
                    // A short read has emptied the socket: what comes later makes an event of its own.
                    Ok(count) => (count, count < room && !self.is_ending),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error.into()),
                },
                Some(tls) => match read_tls(tls, &mut self.stream, &mut buffer[..room]) {
                    Ok(count) => (count, false),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.flush()?;
                        return Ok(false);
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            if count == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            each(&buffer[..count])?;
            limit -= count;
            if is_drained {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The next clear text, reading as many records as it takes.
fn read_tls(tls: &mut ClientConnection, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
        if tls.read_tls(stream)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
    }
}
