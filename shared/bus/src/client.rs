use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};

use crate::BusError;

/// How to reach the bus.
///
/// Holds secrets, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct BusSettings {
    /// Comma-separated server addresses, such as `nats://127.0.0.1:4222`.
    pub url: String,
    /// File with a JWT and its seed.
    pub creds: Option<PathBuf>,
    /// User and password.
    pub login: Option<(String, String)>,
    /// Extra PEM trust anchor for TLS.
    pub ca_file: Option<PathBuf>,
}

/// One environment variable of the bus settings.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its value where it is not set; empty for none.
    pub default: &'static str,
    /// What it means, for `--help`.
    pub help: &'static str,
}

impl BusSettings {
    /// Reads the settings through `value_of`, which looks one variable up (and remembers it for `--help`).
    pub fn read(mut value_of: impl FnMut(Variable) -> Option<String>) -> Self {
        let mut read = |name, default, help| value_of(Variable { name, default, help });
        let url =
            read("NATS_URL", "nats://127.0.0.1:4222", "comma-separated NATS servers").unwrap_or_default();
        let creds = read("NATS_CREDS", "", "file with NATS credentials (JWT and seed)").map(PathBuf::from);
        let user = read("NATS_USER", "", "NATS user");
        let password = read("NATS_PASSWORD", "", "password of NATS_USER (secret)");
        let ca_file = read("NATS_CA_FILE", "", "extra PEM trust anchor for NATS over TLS").map(PathBuf::from);
        Self { url, creds, login: user.map(|user| (user, password.unwrap_or_default())), ca_file }
    }

    /// The server addresses.
    ///
    /// # Errors
    /// [`BusError::Settings`] where one is not an address.
    pub fn servers(&self) -> Result<Vec<ServerAddr>, BusError> {
        let servers = self.url.split(',').map(str::trim).filter(|server| !server.is_empty());
        let servers: Vec<ServerAddr> = servers
            .map(|server| {
                server.parse().map_err(|_| BusError::Settings("a server address is not one".into()))
            })
            .collect::<Result<_, _>>()?;
        if servers.is_empty() { Err(BusError::Settings("no server address".into())) } else { Ok(servers) }
    }
}

/// Opens the connection to the bus, which from then on reconnects by itself for ever.
///
/// It returns before the first connection is made: a service starts while the bus is away, and says so on `/readyz`.
/// `notice` hears of every change (connected, disconnected, slow consumer) from the client's own task and must not wait.
/// A subscription holds at most `subscription_capacity` messages; a full one drops the newest and raises
/// [`Event::SlowConsumer`].
///
/// # Errors
/// [`BusError::Settings`] where an address or a credentials file cannot be used.
pub async fn connect(
    settings: &BusSettings,
    name: &str,
    subscription_capacity: usize,
    notice: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Client, BusError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .subscription_capacity(subscription_capacity)
        .ping_interval(Duration::from_secs(5))
        .connection_timeout(Duration::from_secs(5))
        .reconnect_delay_callback(|attempt| {
            // 50 ms doubling to 1.6 s: a bus that restarts is found again within a beat or two.
            Duration::from_millis(50 << u32::try_from(attempt).unwrap_or(u32::MAX).min(5))
        })
        .event_callback(move |event| {
            notice(event);
            async {}
        });
    if let Some((user, password)) = &settings.login {
        options = options.user_and_password(user.clone(), password.clone());
    }
    if let Some(file) = &settings.creds {
        options = options
            .credentials_file(file)
            .await
            .map_err(|error| BusError::Settings(format!("credentials file: {error}")))?;
    }
    if let Some(file) = &settings.ca_file {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    Ok(options.connect(settings.servers()?).await?)
}
