//! A simulator as a process, for its own tests: started on free ports, killed with its test, and looked at from outside.

#![allow(clippy::unwrap_used, reason = "a harness of tests: it fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Nothing in a test takes this long unless it is broken.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How long something is watched that must not happen.
pub const NEVER: Duration = Duration::from_millis(300);

/// A simulator that runs.
#[derive(Debug)]
pub struct Process {
    /// Where its admin port is.
    pub admin: SocketAddr,
    /// Where its clients connect.
    pub venue: SocketAddr,
    child: Child,
    folder: PathBuf,
}

impl Process {
    /// Starts a program with these settings and no others, in a folder named after the test, and waits until it listens.
    pub async fn start(program: &str, test: &str, settings: &[(&str, &str)]) -> Self {
        let own = program.rsplit('/').next().unwrap();
        let folder = std::env::temp_dir().join(format!("{own}-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut child = Command::new(program)
            .current_dir(&folder)
            .env_clear()
            .env("SIM_ADDR", "127.0.0.1:0")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("SIM_CA_FILE", folder.join("ca.pem"))
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut admin, mut venue) = (None, None);
        while admin.is_none() || venue.is_none() {
            let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            let addr = line["addr"].as_str().and_then(|addr| addr.parse().ok());
            match line["what"].as_str() {
                Some("admin") => admin = addr,
                Some("venue") => venue = addr,
                _ => {}
            }
        }
        // Read on, so that the process never waits for its log.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { admin: admin.unwrap(), venue: venue.unwrap(), child, folder }
    }

    /// Connects with TLS, checking the certificate the simulator has left.
    ///
    /// # Errors
    /// What the connection or the handshake fails with.
    pub async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.venue).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await
    }

    /// Status code and body of a request to the admin port; null where the body is no JSON.
    pub async fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap_or_default())
    }

    /// Asks it to stop.
    pub async fn ask_to_stop(&self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
