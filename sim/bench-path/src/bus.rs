use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use serde_json::Value;

use crate::error::BenchError;
use crate::program::{Place, Program, eventually, page};

/// A nats-server of its own.
pub(crate) struct Bus {
    pub(crate) program: Program,
    addr: SocketAddr,
    monitor: SocketAddr,
}

impl Bus {
    pub(crate) async fn start(place: &Place) -> Result<Self, BenchError> {
        let directory = place.path().to_string_lossy().into_owned();
        // The ingest keeps its leader lease in JetStream; no tick goes through it.
        let store = place.path().join("nats").to_string_lossy().into_owned();
        let arguments =
            ["-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-js", "-sd", &store, "--ports_file_dir", &directory];
        let program = Program::start(place, Path::new("nats-server"), &arguments, &[])?;
        let file = place.path().join(format!("nats-server_{}.ports", program.pid()));
        let (addr, monitor) = eventually("nats-server to say where it listens", async || {
            let ports: Value = serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()?;
            let port = |name: &str, scheme: &str| {
                ports[name][0].as_str()?.strip_prefix(scheme)?.trim_end_matches('/').parse().ok()
            };
            Some((port("nats", "nats://")?, port("monitoring", "http://")?))
        })
        .await?;
        Ok(Self { program, addr, monitor })
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Messages it received from all its clients so far.
    pub(crate) fn received(&self) -> Result<u64, BenchError> {
        let text = page(self.monitor, "/varz")?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let pages: Value = serde_json::from_str(body)?;
        Ok(pages["in_msgs"].as_u64().unwrap_or(0))
    }

    /// A bare connection for publishing as fast as the server takes it.
    pub(crate) fn publisher(&self) -> io::Result<Publisher> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"bench-path\"}\r\n")?;
        stream.set_nodelay(true)?;
        Ok(Publisher { stream, out: Vec::new() })
    }
}

/// A publisher without a client library: what is measured is somebody else.
pub(crate) struct Publisher {
    stream: TcpStream,
    out: Vec<u8>,
}

impl Publisher {
    pub(crate) fn put(&mut self, subject: &str, payload: &[u8]) -> io::Result<()> {
        write!(self.out, "PUB {subject} {}\r\n", payload.len())?;
        self.out.extend_from_slice(payload);
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Writes everything put so far, and answers a question for a sign of life.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut said = [0; 4096];
        self.stream.set_nonblocking(true)?;
        let count = self.stream.read(&mut said);
        self.stream.set_nonblocking(false)?;
        match count {
            Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(count) if said[..count].windows(6).any(|line| line == b"PING\r\n") => {
                self.out.extend_from_slice(b"PONG\r\n");
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }
}
