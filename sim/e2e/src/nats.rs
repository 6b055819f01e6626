use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Process, Signal};
use crate::wait::eventually;

/// The leader lease of the simulator's account: venue, account and a hash of the application's id.
pub const LEASE_KEY: &str = "ctrader.1000001.5d3850ce";

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
        let nats = Self { process: Some(process), place: place.to_owned(), addr };
        nats.nobody_leads().await;
        nats
    }

    /// Says what only somebody who knows all ingests can say: nobody leads (docs/bus.md). Without it the first ingest at a
    /// bus without any lease waits a TTL for a leader that might be out there.
    async fn nobody_leads(&self) {
        let jetstream = async_nats::jetstream::new(async_nats::connect(self.url()).await.unwrap());
        let bucket = async_nats::jetstream::stream::Config {
            name: "KV_LEADERS".into(),
            subjects: vec!["$KV.LEADERS.>".into()],
            max_messages_per_subject: 1,
            ..Default::default()
        };
        jetstream.create_stream(bucket).await.unwrap();
        jetstream.get_key_value("LEADERS").await.unwrap().delete(LEASE_KEY).await.unwrap();
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
