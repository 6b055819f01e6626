use std::time::Duration;

use secrecy::ExposeSecret as _;
use sim_kit::shell::{ListenerSettings, MarketSettings, file, secret};
use tickcast_service::Reader;

use crate::{
    Account, Catalogue, ExpiredAnswer, Grant, RateAnswer, Recording, SYMBOLS_MAX, Scenario, VenueSettings,
};

/// How to run the simulator as a process.
pub struct ServerSettings {
    /// Where it is reached.
    pub listener: ListenerSettings,
    /// What is to go wrong from the start.
    pub scenario: Option<Scenario>,
    /// The venue itself.
    pub venue: VenueSettings,
}

impl ServerSettings {
    /// Reads the settings of the process; problems stay with the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let usual = VenueSettings::default();
        let help = "listener of the venue (TLS); port 0 = any free one, logged";
        let listener = ListenerSettings::read(reader, "127.0.0.1:5035", help);
        let help = "recorded quotes played in place of the walks, as JSON lines (docs/simulator.md)";
        let recording = file(reader, "SIM_PLAYBACK", help, |text| {
            Recording::read(text).map_err(|error| error.to_string())
        });
        let market =
            MarketSettings { seed: usual.seed, symbols: usual.symbols, ticks_per_s: usual.ticks_per_s };
        let market = MarketSettings::read(reader, market, 1..=SYMBOLS_MAX);
        let venue = VenueSettings {
            recording,
            seed: market.seed,
            symbols: market.symbols,
            ticks_per_s: market.ticks_per_s,
            client_id: reader.text("SIM_CLIENT_ID", "sim-app", "application id let in"),
            client_secret: secret(reader, "SIM_CLIENT_SECRET", "its secret; unset = sim-secret", usual.client_secret),
            access_token: secret(reader, "SIM_ACCESS_TOKEN", "access token of the account; unset = sim-token", usual.access_token),
            refresh_token: secret(reader, "SIM_REFRESH_TOKEN", "refresh token of the account; unset = sim-refresh", usual.refresh_token),
            account_id: reader.number(
                "SIM_ACCOUNT_ID",
                usual.account_id,
                1..=i64::MAX,
                "",
                "the first account; it lives in this environment",
            ),
            more_accounts: accounts(reader),
            more_grants: grants(reader),
            is_live: reader.flag(
                "SIM_LIVE",
                false,
                "this is the live environment; accounts of the other one cannot be routed",
            ),
            token_lifetime: Duration::from_secs(reader.number(
                "SIM_TOKEN_LIFETIME_S",
                usual.token_lifetime.as_secs(),
                1..=1_000_000_000,
                "s",
                "how long an access token is good, from the start or its refresh on",
            )),
            expired_answer: match reader.choice(
                "SIM_EXPIRED_ANSWER",
                &["expired", "invalid"],
                "expired",
                "answer to an expired token: OA_AUTH_TOKEN_EXPIRED or CH_ACCESS_TOKEN_INVALID",
            ) {
                "invalid" => ExpiredAnswer::Invalid,
                _ => ExpiredAnswer::Expired,
            },
            calendar: reader.flag(
                "SIM_CALENDAR",
                false,
                "markets open and close as their schedules say; else they never close, and the schedules say so",
            ),
            heartbeat_after: reader.millis(
                "SIM_HEARTBEAT_MS",
                25_000,
                100..=3_600_000,
                "own silence after which a heartbeat is sent; up to a fifth more by chance",
            ),
            inactivity_cutoff: reader.millis(
                "SIM_INACTIVITY_MS",
                30_000,
                100..=3_600_000,
                "silence after which a client is disconnected",
            ),
            rate_answer: match reader.choice(
                "SIM_RATE_ANSWER",
                &["blocked", "frequency"],
                "blocked",
                "answer to too many requests: BLOCKED_PAYLOAD_TYPE or REQUEST_FREQUENCY_EXCEEDED",
            ) {
                "frequency" => RateAnswer::FrequencyExceeded,
                _ => RateAnswer::Blocked,
            },
            ..VenueSettings::default()
        };
        let scenario = file(
            reader,
            "SIM_SCENARIO",
            "faults and when they happen, as JSON (docs/simulator.md)",
            |text| Scenario::read(text).map_err(|error| error.to_string()),
        );
        let catalogue = Catalogue::new(venue.symbols);
        if let Some(Err(error)) = venue.recording.as_ref().map(|recording| recording.check(&catalogue)) {
            reader.problem("SIM_PLAYBACK", error.to_string());
        }
        let specs = scenario.iter().flat_map(Scenario::specs);
        let unknown: Vec<String> = specs.flat_map(|spec| spec.unknown_symbols(&catalogue)).collect();
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            reader.problem("SIM_SCENARIO", format!("the venue has no symbol {unknown}; see SIM_SYMBOLS"));
        }
        Self { listener, scenario, venue }
    }
}

fn accounts(reader: &mut Reader) -> Vec<Account> {
    let name = "SIM_ACCOUNTS";
    let text =
        reader.text(name, "", "further accounts the first token opens: 1000002,1000003:live (else demo)");
    let mut accounts = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (id, environment) = part.split_once(':').unwrap_or((part, "demo"));
        match (id.parse(), environment) {
            (Ok(id), "demo" | "live") if id > 0 => {
                accounts.push(Account { id, is_live: environment == "live" });
            }
            _ => reader.problem(name, format!("is not id, id:demo or id:live: {part:?}")),
        }
    }
    accounts
}

fn grants(reader: &mut Reader) -> Vec<Grant> {
    let name = "SIM_GRANTS";
    let help = "further tokens and the accounts they open: access:refresh:1000001+1000002, comma-separated";
    let Some(text) = reader.optional_secret(name, help) else { return Vec::new() };
    let read = |part: &str| {
        let (access_token, rest) = part.split_once(':')?;
        let (refresh_token, accounts) = rest.split_once(':')?;
        let accounts = accounts.split('+').map(str::parse).collect::<Result<_, _>>().ok()?;
        let named = !access_token.is_empty() && !refresh_token.is_empty();
        named.then(|| Grant {
            access_token: access_token.to_owned(),
            refresh_token: refresh_token.to_owned(),
            accounts,
        })
    };
    let grants: Option<Vec<Grant>> =
        text.expose_secret().split(',').map(str::trim).filter(|part| !part.is_empty()).map(read).collect();
    if grants.is_none() {
        // Not what it is: it is secret.
        reader.problem(name, "is not access:refresh:id+id, comma-separated");
    }
    grants.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_gives_the_usual_venue() {
        let mut reader = Reader::from_pairs([("", ""); 0]);
        let settings = ServerSettings::read(&mut reader);
        assert!(reader.problems().is_empty());
        assert_eq!(settings.listener.addr.to_string(), "127.0.0.1:5035");
        assert_eq!(settings.venue.client_secret, "sim-secret");
        assert_eq!((settings.venue.symbols, settings.venue.ticks_per_s), (200, 20));
        assert_eq!((settings.listener.ca_file, settings.listener.hosts), (None, Vec::<String>::new()));
    }

    #[test]
    fn every_unusable_setting_is_named() {
        let mut reader = Reader::from_pairs([
            ("SIM_SYMBOLS", "0"),
            ("SIM_ADDR", "nowhere"),
            ("SIM_RATE_ANSWER", "maybe"),
            ("SIM_HOSTS", "sim, venue.test"),
            ("SIM_ACCOUNTS", "7:moon"),
            ("SIM_GRANTS", "hush:hush2"),
            ("SIM_SCENARIO", "/nowhere/at/all.json"),
            ("SIM_PLAYBACK", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
        ]);
        let settings = ServerSettings::read(&mut reader);
        assert_eq!(settings.listener.hosts, ["sim", "venue.test"]);
        let problems = reader.problems().join("\n");
        for name in [
            "SIM_SYMBOLS",
            "SIM_ADDR",
            "SIM_RATE_ANSWER",
            "SIM_ACCOUNTS",
            "SIM_GRANTS",
            "SIM_SCENARIO: /nowhere",
            "SIM_PLAYBACK",
        ] {
            assert!(problems.contains(name), "{problems}");
        }
        assert!(!problems.contains("hush"));
    }

    #[test]
    fn accounts_and_grants_are_read() {
        let mut reader = Reader::from_pairs([
            ("SIM_ACCOUNTS", "1000002, 1000003:live"),
            ("SIM_GRANTS", "a:ar:1000002, b:br:1000001+1000003"),
            ("SIM_TOKEN_LIFETIME_S", "60"),
        ]);
        let venue = ServerSettings::read(&mut reader).venue;
        assert!(reader.problems().is_empty());
        let accounts: Vec<(i64, bool)> =
            venue.accounts().iter().map(|account| (account.id, account.is_live)).collect();
        assert_eq!(accounts, [(1_000_001, false), (1_000_002, false), (1_000_003, true)]);
        let opened: Vec<Vec<i64>> = venue.grants().into_iter().map(|grant| grant.accounts).collect();
        let all = vec![1_000_001, 1_000_002, 1_000_003];
        assert_eq!(opened, [all, vec![1_000_002], vec![1_000_001, 1_000_003]]);
        assert_eq!(venue.token_lifetime, Duration::from_secs(60));
    }
}
