use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::Client;
use crate::http::{fetch, fetch_json, send};
use crate::nats::Nats;
use crate::place::{Place, binary};
use crate::process::Process;
use crate::venue::Venue;
use crate::wait::eventually;

/// Names and values of settings.
pub type Variables = &'static [(&'static str, &'static str)];

/// What a test wants to be different; everything else is as [`Spine`] says.
#[derive(Clone, Copy)]
pub struct Setup {
    /// The venues, at most two; cTrader alone by default. The first is the default source, [`Spine::sim`] and
    /// [`Spine::ingest`], the second is [`Spine::other`].
    pub venues: &'static [Venue],
    /// How many gateways; one by default.
    pub gateways: usize,
    /// Settings of the first venue's simulator.
    pub sim: Variables,
    /// Settings of the first venue's ingest.
    pub ingest: Variables,
    /// Settings of the gateways.
    pub gateway: Variables,
    /// Settings of all services.
    pub all: Variables,
}

impl Setup {
    /// Everything as it is by default, with this venue alone.
    pub fn of(venue: Venue) -> Self {
        let venues: &'static [Venue] = match venue {
            Venue::CTrader => &[Venue::CTrader],
            Venue::TradingView => &[Venue::TradingView],
        };
        Self { venues, ..Self::default() }
    }

    /// The same for a venue beside the first: what a test wants to be different is meant for the first.
    fn beside(&self) -> Self {
        Self { sim: &[], ingest: &[], ..*self }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self { venues: &[Venue::CTrader], gateways: 1, sim: &[], ingest: &[], gateway: &[], all: &[] }
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
    /// The venue beside it, where [`Setup::venues`] has a second.
    pub other: Option<Feed>,
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
        let venue = setup.venues[0];
        let sim = Sim::start_venue(&place, &setup, venue, None).await;
        let ingest = Ingest::start(&place, &setup, &nats, &sim).await;
        let mut other = None;
        if let Some(venue) = setup.venues.get(1) {
            let setup = setup.beside();
            let sim = Sim::start_venue(&place, &setup, *venue, None).await;
            other = Some(Feed { ingest: Ingest::start(&place, &setup, &nats, &sim).await, sim });
        }
        let mut gateways = Vec::new();
        for index in 0..setup.gateways {
            gateways.push(Gateway::start(&place, &setup, &nats, index).await);
        }
        let spine = Self { gateways, ingest, sim, other, nats, setup, place };
        for ingest in std::iter::once(&spine.ingest).chain(spine.other.as_ref().map(|other| &other.ingest)) {
            ingest.ready().await;
            ingest.logged_in().await;
        }
        for gateway in &spine.gateways {
            gateway.ready().await;
            for venue in setup.venues {
                gateway.knows(*venue).await;
            }
        }
        spine
    }

    /// The first venue.
    pub fn venue(&self) -> Venue {
        self.sim.venue
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

    /// Starts the first venue's simulator once more, after it was ended, where it was before.
    pub async fn restart_sim(&mut self) {
        let at = Some(self.sim.addr);
        self.sim = Sim::start_venue(&self.place, &self.setup, self.venue(), at).await;
    }

    /// Starts the ingest once more, after it was ended.
    pub async fn restart_ingest(&mut self) {
        self.ingest = Ingest::start(&self.place, &self.setup, &self.nats, &self.sim).await;
    }

    /// The same with these settings of the ingest from now on.
    pub async fn restart_ingest_with(&mut self, ingest: Variables) {
        self.setup.ingest = ingest;
        self.restart_ingest().await;
    }

    /// Starts a gateway once more, after it was ended, and waits until it knows the venues.
    pub async fn restart_gateway(&mut self, index: usize) {
        let gateway = Gateway::start(&self.place, &self.setup, &self.nats, index).await;
        gateway.ready().await;
        for venue in self.setup.venues {
            gateway.knows(*venue).await;
        }
        self.gateways[index] = gateway;
    }

    /// Starts one more ingest for the same account, which stands by, and waits until it says so.
    pub async fn standby(&self) -> Ingest {
        self.standby_with(self.setup.ingest).await
    }

    /// The same with settings of its own.
    pub async fn standby_with(&self, settings: Variables) -> Ingest {
        let setup = Setup { ingest: settings, ..self.setup };
        let standby = Ingest::start(&self.place, &setup, &self.nats, &self.sim).await;
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

/// A venue and its ingest.
pub struct Feed {
    /// The ingest.
    pub ingest: Ingest,
    /// The venue.
    pub sim: Sim,
}

/// The venue in a box.
pub struct Sim {
    /// Which.
    pub venue: Venue,
    /// The process.
    pub process: Process,
    /// Its admin pages.
    pub admin: SocketAddr,
    addr: SocketAddr,
    ca_file: PathBuf,
}

impl Sim {
    /// Starts the first venue alone; [`Spine::start`] starts it with everything else.
    pub async fn start(place: &Place, setup: &Setup) -> Self {
        Self::start_venue(place, setup, setup.venues[0], None).await
    }

    /// Starts a venue, on a port of its own or where another one was.
    async fn start_venue(place: &Place, setup: &Setup, venue: Venue, at: Option<SocketAddr>) -> Self {
        let name = venue.simulator();
        let ca_file = place.path().join(format!("{name}-ca.pem"));
        let mut environment = variables(&[
            ("SIM_ADDR", "127.0.0.1:0"),
            ("ADMIN_ADDR", "127.0.0.1:0"),
            ("SIM_CA_FILE", ca_file.to_str().unwrap()),
            ("SIM_SYMBOLS", "50"),
            ("SIM_TICKS_PER_S", "20"),
            ("SIM_SEED", "1"),
        ]);
        environment.extend(variables(venue.simulator_settings()));
        environment.extend(variables(setup.all));
        environment.extend(variables(setup.sim));
        environment.extend(at.map(|at| ("SIM_ADDR".to_owned(), at.to_string())));
        let mut process = Process::start(place.path(), &name, &binary(&name), &[], &environment);
        let admin = process.listening("admin").await;
        let addr = process.listening("venue").await;
        Self { venue, process, admin, addr, ca_file }
    }

    /// The settings with which an ingest reaches it.
    pub fn ingest_environment(&self, nats_url: &str) -> Vec<(String, String)> {
        let own = self.venue.ingest_settings(self.addr, &self.ca_file);
        let mut environment = variables(&[
            ("NATS_URL", nats_url),
            ("BACKOFF_MIN_MS", "100"),
            ("BACKOFF_MAX_MS", "500"),
            ("CONNECT_TIMEOUT_MS", "2000"),
            ("LINGER_MS", "500"),
        ]);
        environment.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        environment
    }

    /// Switches a fault on, or lets it happen once.
    pub async fn fault(&self, name: &str) {
        self.ask("POST", &format!("/faults/{name}"), String::new()).await;
    }

    /// The same with what can be chosen.
    pub async fn fault_with(&self, name: &str, params: &Value) {
        self.ask("POST", &format!("/faults/{name}"), params.to_string()).await;
    }

    /// Switches a fault off.
    pub async fn heal(&self, name: &str) {
        self.ask("DELETE", &format!("/faults/{name}"), String::new()).await;
    }

    /// Switches all faults off.
    pub async fn heal_all(&self) {
        self.ask("DELETE", "/faults", String::new()).await;
    }

    async fn ask(&self, method: &str, path: &str, body: String) {
        let (status, body) = send(self.admin, method, path, body).await.unwrap();
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

    /// Requests of this type ever heard.
    pub async fn requests(&self, name: &str) -> u64 {
        let (_, metrics) = fetch(self.admin, "GET", "/metrics").await.unwrap();
        let line = format!("tickcast_sim_requests_total{{type=\"{name}\"}} ");
        metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
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
    venue: Venue,
}

impl Ingest {
    async fn start(place: &Place, setup: &Setup, nats: &Nats, sim: &Sim) -> Self {
        let mut environment = sim.ingest_environment(&nats.url());
        environment.extend(variables(setup.all));
        environment.extend(variables(setup.ingest));
        let name = sim.venue.ingest();
        let mut process = Process::start(place.path(), &name, &binary(&name), &[], &environment);
        let admin = process.listening("admin").await;
        Self { process, admin, venue: sim.venue }
    }

    /// Waits until it says it is ready.
    pub async fn ready(&self) {
        ready(self.admin, &self.venue.ingest()).await;
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
        let venues: Vec<_> = setup.venues.iter().map(|venue| venue.name()).collect();
        let mut environment = variables(&[
            ("NATS_URL", &nats.url()),
            ("WS_ADDR", "127.0.0.1"),
            ("WS_PORT", "0"),
            ("GATEWAY_VENUES", &venues.join(",")),
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
    async fn knows(&self, venue: Venue) {
        let mut client = self.client().await;
        client.send(json!({"type": "connect"})).await;
        client
            .expect("the venue connected, with its symbols", |message| {
                let connected = message["source"] == venue.name() && message["status"] == "connected";
                connected && message["availableSymbols"].is_array()
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
