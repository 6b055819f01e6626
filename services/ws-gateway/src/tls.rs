use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::shard::Socket;

/// Encrypted bytes that may wait for the socket, for one client.
const PENDING_BYTES_MAX: usize = 32 * 1024;

/// What the gateway shows to browsers that connect with TLS.
///
/// # Errors
/// In words, what is wrong with the files; never what is in them.
pub fn server_config(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| format!("the key cannot be read: {error}"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key cannot be used together: {error}"))?;
    Ok(Arc::new(config))
}

/// A connection with TLS, past its handshake.
pub struct TlsSocket {
    pub(crate) tcp: TcpStream,
    tls: Box<ServerConnection>,
}

impl TlsSocket {
    /// Goes on where the handshake ended.
    pub fn new(tcp: TcpStream, mut tls: ServerConnection) -> Self {
        tls.set_buffer_limit(Some(PENDING_BYTES_MAX));
        Self { tcp, tls: Box::new(tls) }
    }
}

impl Socket for TlsSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without a goodbye is an end too.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            if self.tls.read_tls(&mut self.tcp)? == 0 {
                return Ok(0);
            }
            self.tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What was encrypted before goes first, so that little waits for a slow browser.
        self.flush()?;
        self.tls.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => self.tcp.shutdown(Shutdown::Write),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_files_are_named_without_their_contents() {
        let missing = Path::new("/nonexistent/file.pem");
        assert!(server_config(missing, missing).unwrap_err().contains("certificate cannot be read"));
        let file =
            std::env::temp_dir().join(format!("tickcast-{}-{}.pem", std::process::id(), fastrand::u64(..)));
        std::fs::write(&file, "secret").unwrap();
        let problem = server_config(&file, &file).unwrap_err();
        assert!(!problem.contains("secret"), "{problem}");
        std::fs::remove_file(file).unwrap();
    }
}
