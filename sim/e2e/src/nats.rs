use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Process, Signal};
use crate::wait::eventually;

/// The leader leases of the simulators' accounts: venue, account and a hash of the application's id.
pub const LEASE_KEYS: [&str; 2] = ["ctrader.1000001.5d3850ce", "tradingview.quotes.cbf29ce4"];

/// A bus server of the test's own.
pub struct Nats {
    process: Option<Process>,
    place: PathBuf,
    addr: SocketAddr,
    arguments: Vec<String>,
}

impl Nats {
    /// Starts one on a free port.
    pub async fn start(place: &Path) -> Self {
        let nats = Self::start_with(place, &["-js", "-sd", place.join("nats").to_str().unwrap()]).await;
        nats.nobody_leads().await;
        nats
    }

    /// Starts one without JetStream.
    pub(crate) async fn start_without_jetstream(place: &Path) -> Self {
        Self::start_with(place, &[]).await
    }

    async fn start_with(place: &Path, arguments: &[&str]) -> Self {
        let process = serve(place, "-1", arguments);
        let file = place.join(format!("nats-server_{}.ports", process.pid()));
        let addr = eventually("nats-server to tell its port", async || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let ports: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let addr = ports["nats"][0].as_str().and_then(|url| url.strip_prefix("nats://")?.parse().ok());
            addr.ok_or(text)
        })
        .await;
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { process: Some(process), place: place.to_owned(), addr, arguments }
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
        let leaders = jetstream.get_key_value("LEADERS").await.unwrap();
        for key in LEASE_KEYS {
            leaders.delete(key).await.unwrap();
        }
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
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.process = Some(serve(&self.place, &self.addr.port().to_string(), &arguments));
    }

    /// Loses everything it has stored.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "nats-server runs");
        fs::remove_dir_all(self.place.join("nats")).unwrap();
    }
}

fn serve(place: &Path, port: &str, more: &[&str]) -> Process {
    let mut arguments = vec!["-a", "127.0.0.1", "-p", port, "--ports_file_dir", place.to_str().unwrap()];
    arguments.extend(more);
    Process::start(place, "nats-server", Path::new("nats-server"), &arguments, &[])
}
