use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::Client;
use crate::http::{fetch, fetch_json};
use crate::nats::Nats;
use crate::place::{Place, binary};
use crate::process::Process;
use crate::wait::eventually;

/// Secrets of the test's own; no log may show them.
pub const SECRETS: [(&str, &str); 2] =
    [("CLIENT_SECRET", "s3cret-of-the-app-71c2"), ("ACCESS_TOKEN", "t0ken-of-the-trader-9b4e")];

type Variables = &'static [(&'static str, &'static str)];

/// What a test wants to be different; everything else is as [`Spine`] says.
#[derive(Clone, Copy)]
pub struct Setup {
    /// How many gateways; one by default.
    pub gateways: usize,
    /// Settings of the simulator.
    pub sim: Variables,
    /// Settings of the ingest.
    pub ingest: Variables,
    /// Settings of the gateways.
    pub gateway: Variables,
    /// Settings of all services.
    pub all: Variables,
}

impl Default for Setup {
    fn default() -> Self {
        Self { gateways: 1, sim: &[], ingest: &[], gateway: &[], all: &[] }
    }
}

/// The whole system: bus, venue, ingest and gateways, with times short enough for tests.
///
/// Its parts are in the order in which they are dropped: who depends on another goes first.
pub struct Spine {
    /// The gateways.
    pub gateways: Vec<Gateway>,
    /// The venue's ingest.
    pub ingest: Ingest,
    /// The venue.
    pub sim: Sim,
    /// The bus.
    pub nats: Nats,
    setup: Setup,
    place: Place,
}

impl Spine {
    /// Starts everything and waits until all say they are ready and every gateway knows what the venue offers.
    pub async fn start(setup: Setup) -> Self {
        let place = Place::new();
        let nats = Nats::start(place.path()).await;
        let sim = Sim::start(&place, &setup).await;
        let ingest = Ingest::start(&place, &setup, &nats, &sim).await;
        let mut gateways = Vec::new();
        for index in 0..setup.gateways {
            gateways.push(Gateway::start(&place, &setup, &nats, index).await);
        }
        let spine = Self { gateways, ingest, sim, nats, setup, place };
        spine.ingest.ready().await;
        spine.ingest.logged_in().await;
        for gateway in &spine.gateways {
            gateway.ready().await;
            gateway.knows_the_venue().await;
        }
        spine
    }

    /// Where its programs run and write.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Starts an ingest at a bus that has no JetStream, and waits until it has ended: its exit code and log.
    pub async fn ingest_without_jetstream() -> (Option<i32>, String) {
        let place = Place::new();
        let setup = Setup::default();
        let nats = Nats::start_without_jetstream(place.path()).await;
        let sim = Sim::start(&place, &setup).await;
        let mut ingest = Ingest::start(&place, &setup, &nats, &sim).await;
        ingest.process.allow_error("no JetStream");
        let status = ingest.process.ended().await;
        (status.code(), ingest.process.log_text())
    }

    /// Starts the ingest once more, after it was ended.
    pub async fn restart_ingest(&mut self) {
        self.ingest = Ingest::start(&self.place, &self.setup, &self.nats, &self.sim).await;
    }

    /// Starts one more ingest for the same account, which stands by, and waits until it says so.
    pub async fn standby(&self) -> Ingest {
        let standby = Ingest::start(&self.place, &self.setup, &self.nats, &self.sim).await;
        eventually("the second ingest to stand by", async || {
            let role = standby.role().await?;
            if role["role"] == "standby" && role["leader"].is_string() {
                Ok(())
            } else {
                Err(role.to_string())
            }
        })
        .await;
        standby.ready().await;
        standby
    }

    /// A client of the first gateway.
    pub async fn client(&self) -> Client {
        self.gateways[0].client().await
    }
}

/// The venue in a box.
pub struct Sim {
    /// The process.
    pub process: Process,
    /// Its admin pages.
    pub admin: SocketAddr,
    venue: SocketAddr,
    ca_file: PathBuf,
}

impl Sim {
    /// Starts one alone; [`Spine::start`] starts it with everything else.
    pub async fn start(place: &Place, setup: &Setup) -> Self {
        let ca_file = place.path().join("sim-ca.pem");
        let mut environment = variables(&[
            ("SIM_ADDR", "127.0.0.1:0"),
            ("ADMIN_ADDR", "127.0.0.1:0"),
            ("SIM_CA_FILE", ca_file.to_str().unwrap()),
            ("SIM_SYMBOLS", "50"),
            ("SIM_TICKS_PER_S", "20"),
            ("SIM_SEED", "1"),
            ("SIM_CLIENT_SECRET", SECRETS[0].1),
            ("SIM_ACCESS_TOKEN", SECRETS[1].1),
        ]);
        environment.extend(variables(setup.all));
        environment.extend(variables(setup.sim));
        let mut process =
            Process::start(place.path(), "sim-ctrader", &binary("sim-ctrader"), &[], &environment);
        let admin = process.listening("admin").await;
        let venue = process.listening("venue").await;
        Self { process, admin, venue, ca_file }
    }

    /// The settings with which an ingest reaches it.
    pub fn ingest_environment(&self, nats_url: &str) -> Vec<(String, String)> {
        variables(&[
            ("NATS_URL", nats_url),
            ("CTRADER_HOST", "localhost"),
            ("CTRADER_PORT", &self.venue.port().to_string()),
            ("CTRADER_CA_FILE", self.ca_file.to_str().unwrap()),
            ("CTRADER_CLIENT_ID", "sim-app"),
            ("CTRADER_CLIENT_SECRET", SECRETS[0].1),
            ("CTRADER_ACCESS_TOKEN", SECRETS[1].1),
            ("CTRADER_ACCOUNT_ID", "1000001"),
            ("BACKOFF_MIN_MS", "100"),
            ("BACKOFF_MAX_MS", "500"),
            ("CONNECT_TIMEOUT_MS", "2000"),
            ("LINGER_MS", "500"),
        ])
    }

    /// Switches a fault on, or lets it happen once.
    pub async fn fault(&self, name: &str) {
        self.ask("POST", &format!("/faults/{name}")).await;
    }

    /// Switches a fault off.
    pub async fn heal(&self, name: &str) {
        self.ask("DELETE", &format!("/faults/{name}")).await;
    }

    async fn ask(&self, method: &str, path: &str) {
        let (status, body) = fetch(self.admin, method, path).await.unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
    }

    /// Its `/status` page.
    pub async fn status(&self) -> Value {
        fetch_json(self.admin, "/status").await.unwrap()
    }

    /// Connections open now, with the symbols each has subscribed.
    pub async fn connections(&self) -> Vec<BTreeSet<String>> {
        let status = self.status().await;
        let connections = status["venue"]["connections"].as_array();
        let connections = connections.unwrap_or_else(|| panic!("no connections in {status}"));
        let symbols_of = |connection: &Value| {
            let symbols = connection["symbols"].as_array().into_iter().flatten();
            symbols.map(|symbol| symbol.as_str().unwrap().to_owned()).collect()
        };
        connections.iter().map(symbols_of).collect()
    }

    /// Connections ever opened.
    pub async fn opened(&self) -> u64 {
        let status = self.status().await;
        status["venue"]["connections_opened"]
            .as_u64()
            .unwrap_or_else(|| panic!("no count of connections in {status}"))
    }

    /// Waits until there is one connection and it has subscribed exactly these symbols.
    pub async fn holds(&self, symbols: &[&str]) {
        let wanted = vec![symbols.iter().map(|symbol| (*symbol).to_owned()).collect::<BTreeSet<_>>()];
        eventually(&format!("the venue to have one connection with {symbols:?}"), async || {
            let held = self.connections().await;
            if held == wanted { Ok(()) } else { Err(format!("{held:?}")) }
        })
        .await;
    }
}

/// The venue's ingest.
pub struct Ingest {
    /// The process.
    pub process: Process,
    /// Its admin pages.
    pub admin: SocketAddr,
}

impl Ingest {
    async fn start(place: &Place, setup: &Setup, nats: &Nats, sim: &Sim) -> Self {
        let mut environment = sim.ingest_environment(&nats.url());
        environment.extend(variables(setup.all));
        environment.extend(variables(setup.ingest));
        let program = binary("ingest-ctrader");
        let mut process = Process::start(place.path(), "ingest-ctrader", &program, &[], &environment);
        let admin = process.listening("admin").await;
        Self { process, admin }
    }

    /// Waits until it says it is ready.
    pub async fn ready(&self) {
        ready(self.admin, "ingest-ctrader").await;
    }

    /// Waits until it is logged in at the venue and knows what the venue offers.
    async fn logged_in(&self) {
        eventually("the ingest to be logged in", async || {
            let venue = fetch_json(self.admin, "/status").await?["venue"].take();
            let knows = venue["catalogueVersion"].as_u64().is_some_and(|version| version > 0);
            if venue["auth"] == "ok" && knows { Ok(()) } else { Err(venue.to_string()) }
        })
        .await;
    }

    /// What it says on `/status` of its part among several: `role`, `leader`, `epoch`.
    ///
    /// # Errors
    /// In words, where there is no answer.
    pub async fn role(&self) -> Result<Value, String> {
        Ok(fetch_json(self.admin, "/status").await?["leader"].take())
    }

    /// Waits until it leads: the epoch.
    pub async fn leads(&self) -> u64 {
        eventually("the ingest to lead", async || {
            let role = self.role().await?;
            let epoch = role["epoch"].as_str().and_then(|epoch| epoch.parse().ok());
            epoch.filter(|_| role["role"] == "leading").ok_or(role.to_string())
        })
        .await
    }
}

/// One gateway.
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// Its admin pages.
    pub admin: SocketAddr,
    /// Its public listener.
    pub addr: SocketAddr,
}

impl Gateway {
    async fn start(place: &Place, setup: &Setup, nats: &Nats, index: usize) -> Self {
        let mut environment = variables(&[
            ("NATS_URL", &nats.url()),
            ("WS_ADDR", "127.0.0.1"),
            ("WS_PORT", "0"),
            ("GATEWAY_VENUES", "ctrader"),
            ("LEASE_TTL_MS", "3000"),
            ("INTEREST_LINGER_MS", "500"),
            ("DRAIN_MS", "500"),
        ]);
        environment.extend(variables(setup.all));
        environment.extend(variables(setup.gateway));
        let name = format!("ws-gateway-{index}");
        let mut process = Process::start(place.path(), &name, &binary("ws-gateway"), &[], &environment);
        let admin = process.listening("admin").await;
        let addr = process.listening("websocket").await;
        Self { process, admin, addr }
    }

    /// Waits until it says it is ready.
    pub async fn ready(&self) {
        ready(self.admin, "ws-gateway").await;
    }

    /// Waits until the venue is connected and its symbols are known here.
    async fn knows_the_venue(&self) {
        let mut client = self.client().await;
        client.send(json!({"type": "connect"})).await;
        client
            .expect("the venue connected, with its symbols", |message| {
                message["status"] == "connected" && message["availableSymbols"].is_array()
            })
            .await;
    }

    /// A client of its own.
    pub async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }
}

async fn ready(admin: SocketAddr, name: &str) {
    eventually(&format!("{name} to be ready"), async || match fetch(admin, "GET", "/readyz").await? {
        (200, _) => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    })
    .await;
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let json = ("LOG_FORMAT".to_owned(), "json".to_owned());
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    std::iter::once(json).chain(pairs).collect()
}
