use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use secrecy::{ExposeSecret as _, SecretString};

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
    /// User.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
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
        let password = read("NATS_PASSWORD", "", "password of NATS_USER (secret)").map(SecretString::from);
        let ca_file = read("NATS_CA_FILE", "", "extra PEM trust anchor for NATS over TLS").map(PathBuf::from);
        Self { url, creds, user, password, ca_file }
    }

    /// Everything that keeps these settings from being used: the variable, and what is wrong with it. Never a secret.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(error) = self.servers() {
            problems.push(("NATS_URL", error.to_string()));
        }
        if self.password.is_some() && self.user.is_none() {
            problems.push(("NATS_PASSWORD", "is set and NATS_USER is not".to_owned()));
        }
        let mut look = |name, file: &Option<PathBuf>, check: fn(&Path) -> Result<(), String>| {
            if let Some(file) = file
                && let Err(problem) = check(file)
            {
                problems.push((name, format!("{}: {problem}", file.display())));
            }
        };
        look("NATS_CREDS", &self.creds, |file| credentials(ConnectOptions::new(), file).map(drop));
        look("NATS_CA_FILE", &self.ca_file, has_certificates);
        problems
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
    if let Some(user) = &settings.user {
        let password = settings.password.as_ref().map_or("", |password| password.expose_secret());
        options = options.user_and_password(user.clone(), password.to_owned());
    }
    if let Some(file) = &settings.creds {
        options = credentials(options, file)
            .map_err(|error| BusError::Settings(format!("credentials file: {error}")))?;
    }
    if let Some(file) = &settings.ca_file {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    Ok(options.connect(settings.servers()?).await?)
}

/// The options with what a credentials file holds.
fn credentials(options: ConnectOptions, file: &Path) -> Result<ConnectOptions, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    // What is wrong with a seed is not said: the words could hold a part of it.
    options.credentials(&text).map_err(|_| "holds no JWT with its seed".to_owned())
}

fn has_certificates(file: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(found) if found.is_empty() => Err("holds no certificate".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(pairs: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let value_of = |variable: Variable| {
            let set = pairs.iter().find(|(name, _)| *name == variable.name).map(|(_, value)| *value);
            Some(set.unwrap_or(variable.default).to_owned()).filter(|value| !value.is_empty())
        };
        BusSettings::read(value_of).problems()
    }

    #[test]
    fn nothing_set_is_a_bus_on_this_machine() {
        assert_eq!(problems(&[]), []);
        assert_eq!(problems(&[("NATS_USER", "me"), ("NATS_PASSWORD", "hush")]), []);
    }

    #[test]
    fn everything_that_cannot_be_used_is_named_and_no_secret_is_shown() {
        let garbage = std::env::temp_dir().join(format!("tickcast-bus-{}", fastrand::u64(..)));
        let text = "-----BEGIN NATS USER JWT-----\nhush-jwt\n------END NATS USER JWT------\n";
        std::fs::write(&garbage, text).unwrap();
        let name = garbage.to_str().unwrap();
        let found = problems(&[
            ("NATS_URL", "nats://me:hush@[x"),
            ("NATS_PASSWORD", "hush"),
            ("NATS_CREDS", name),
            ("NATS_CA_FILE", name),
        ]);
        std::fs::remove_file(&garbage).unwrap();
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["NATS_URL", "NATS_PASSWORD", "NATS_CREDS", "NATS_CA_FILE"]);
        assert!(found.iter().all(|(_, problem)| !problem.contains("hush")), "{found:?}");

        let found = problems(&[("NATS_CREDS", name), ("NATS_CA_FILE", name)]);
        assert_eq!(found.len(), 2, "files that are not there: {found:?}");
        assert!(found.iter().all(|(_, problem)| problem.contains(name)), "{found:?}");
    }
}
