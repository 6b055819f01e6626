use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Process, Signal};
use crate::wait::eventually;

/// A bus server of the test's own.
pub struct Nats {
    process: Option<Process>,
    place: PathBuf,
    addr: SocketAddr,
}

impl Nats {
    /// Starts one on a free port.
    pub async fn start(place: &Path) -> Self {
        let process = serve(place, "-1");
        let file = place.join(format!("nats-server_{}.ports", process.pid()));
        let addr = eventually("nats-server to tell its port", async || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let ports: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let addr = ports["nats"][0].as_str().and_then(|url| url.strip_prefix("nats://")?.parse().ok());
            addr.ok_or(text)
        })
        .await;
        Self { process: Some(process), place: place.to_owned(), addr }
    }

    /// Its address, for `NATS_URL`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Ends it without warning.
    pub fn kill_9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill_9();
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn signal(&mut self, signal: Signal) {
        self.process.as_mut().expect("nats-server runs").signal(signal);
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "nats-server runs");
        self.process = Some(serve(&self.place, &self.addr.port().to_string()));
    }
}

fn serve(place: &Path, port: &str) -> Process {
    let data = place.join("nats");
    let arguments = [
        "-a",
        "127.0.0.1",
        "-p",
        port,
        "-js",
        "-sd",
        data.to_str().unwrap(),
        "--ports_file_dir",
        place.to_str().unwrap(),
    ];
    Process::start(place, "nats-server", Path::new("nats-server"), &arguments, &[])
}
