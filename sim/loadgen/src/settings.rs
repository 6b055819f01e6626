use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;

use crate::{LoadError, Target};

/// The most clients of one process. Start several processes for more.
pub const CLIENTS_MAX: usize = 19_000;

/// The most processes of one run.
const PROCESSES_MAX: usize = 16;

/// The longest measuring window, seconds.
pub const SECONDS_MAX: u64 = 600;

/// The most symbols one client subscribes (the gateway's own default limit).
const SYMBOLS_MAX: usize = 1000;

/// Opens many WebSocket connections to a gateway, subscribes, and reports latency, sequence audit and server cost.
///
/// Every option can be given as an environment variable too. Values are texts here and read by [`Settings::read`], which
/// names all that cannot be used at once.
#[derive(Parser, Debug)]
#[command(
    name = "loadgen",
    version,
    about = "Opens many WebSocket connections to a gateway and reports latency, sequence audit and server cost.",
    long_about = None,
    args_override_self = true
)]
pub struct Arguments {
    /// Where to connect
    #[arg(long, env = "LOADGEN_URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub url: String,
    /// Connections, 1 to 19000 for each process
    #[arg(long, env = "LOADGEN_CLIENTS", default_value = "100")]
    pub clients: String,
    /// Symbols to subscribe, separated by commas
    #[arg(long, env = "LOADGEN_SYMBOLS", default_value = "", hide_default_value = true)]
    pub symbols: String,
    /// Instead of --symbols: take this many of those the venue offers, 1 to 1000
    #[arg(long, env = "LOADGEN_SYMBOL_COUNT", default_value = "0")]
    pub symbol_count: String,
    /// Each client subscribes this many of the symbols, drawn at random; 0 = all of them
    #[arg(long, env = "LOADGEN_RANDOM_PER_CLIENT", default_value = "0")]
    pub random_per_client: String,
    /// Venue of the symbols; empty = the gateway's default
    #[arg(long, env = "LOADGEN_SOURCE", default_value = "", hide_default_value = true)]
    pub source: String,
    /// Measuring time in seconds, 1 to 600
    #[arg(long, env = "LOADGEN_SECONDS", default_value = "10")]
    pub seconds: String,
    /// Time between the last connection and the measuring, seconds, 0 to 600
    #[arg(long, env = "LOADGEN_WARMUP", default_value = "2")]
    pub warmup: String,
    /// New connections per second, 1 to 20000; 0 = all at once
    #[arg(long, env = "LOADGEN_CONNECT_RATE", default_value = "1000/s")]
    pub connect_rate: String,
    /// Only connect: subscribe nothing
    #[arg(long, env = "LOADGEN_IDLE")]
    pub idle: bool,
    /// Time a connection may take until its upgrade, seconds, 1 to 120
    #[arg(long, env = "LOADGEN_CONNECT_TIMEOUT", default_value = "10")]
    pub connect_timeout: String,
    /// Where clients go at once whose connection the server ends; empty = nowhere
    #[arg(long, env = "LOADGEN_RECONNECT_TO", default_value = "", hide_default_value = true)]
    pub reconnect_to: String,
    /// There they go on from the last tick they had (`resume`), and what comes is audited as if nothing had happened
    #[arg(long, env = "LOADGEN_RESUME")]
    pub resume: bool,
    /// What the server speaks: tickcast, nats (nats-server's WebSocket listener, subjects `json.SOURCE.SYMBOL`), or pusher
    /// (a channel for each symbol)
    #[arg(long, env = "LOADGEN_PROTOCOL", default_value = "tickcast")]
    pub protocol: String,
    /// `mode` of the subscriptions: every or latest; empty = not said
    #[arg(long, env = "LOADGEN_MODE", default_value = "", hide_default_value = true)]
    pub mode: String,
    /// `minIntervalMs` of the subscriptions, 0 to 60000; empty = not said
    #[arg(long, env = "LOADGEN_MIN_INTERVAL_MS", default_value = "", hide_default_value = true)]
    pub min_interval_ms: String,
    /// `onSlow` of the subscriptions: gap or merge; empty = not said
    #[arg(long, env = "LOADGEN_ON_SLOW", default_value = "", hide_default_value = true)]
    pub on_slow: String,
    /// Of the clients, so many read slowly
    #[arg(long, env = "LOADGEN_SLOW", default_value = "0")]
    pub slow: String,
    /// What each slow client reads, bytes per second, 100 to 100000000
    #[arg(long, env = "LOADGEN_SLOW_BYTES_PER_S", default_value = "10000")]
    pub slow_bytes_per_s: String,
    /// Of the clients, so many subscribe and then read nothing
    #[arg(long, env = "LOADGEN_STALLED", default_value = "0")]
    pub stalled: String,
    /// Look at every tick of each Nth client, and only count those of the others, 1 to 1000000
    #[arg(long, env = "LOADGEN_AUDIT_EVERY", default_value = "1")]
    pub audit_every: String,
    /// The last three decimals of `bid` are the microseconds of `timestamp` (as loadgen-feed writes them)
    #[arg(long, env = "LOADGEN_FINE_STAMPS")]
    pub fine_stamps: bool,
    /// Report latency in slices of so many milliseconds too, 10 to 10000; 0 = no slices
    #[arg(long, env = "LOADGEN_SLICE_MS", default_value = "0")]
    pub slice_ms: String,
    /// Trust the certificates in this PEM file, and no others, for wss://
    #[arg(long, env = "LOADGEN_CA_FILE", default_value = "", hide_default_value = true)]
    pub ca_file: String,
    /// The server's metrics page (http://host:port/metrics), to report what grew in the window; empty = none
    #[arg(long, env = "LOADGEN_METRICS", default_value = "", hide_default_value = true)]
    pub metrics: String,
    /// Process ids of servers on this machine whose memory and CPU time are to be read, separated by commas; 0 = none
    #[arg(long, env = "LOADGEN_PID", default_value = "0")]
    pub pid: String,
    /// Processes that share the clients, 1 to 16, each with up to 19000
    #[arg(long, env = "LOADGEN_PROCESSES", default_value = "1")]
    pub processes: String,
    /// Be part N of a run of several processes (the tool starts its parts itself)
    #[arg(long, hide = true, default_value = "", hide_default_value = true)]
    pub part: String,
    /// Write the report to this file as JSON too
    #[arg(long, env = "LOADGEN_JSON", default_value = "", hide_default_value = true)]
    pub json: String,
    /// Threads that carry the connections, 1 to 64
    #[arg(long, env = "LOADGEN_THREADS", default_value = "1")]
    pub threads: String,
    /// Seed of the random draws
    #[arg(long, env = "LOADGEN_SEED", default_value = "1")]
    pub seed: String,
}

/// What the server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// The gateway's protocol for browsers.
    Tickcast,
    /// NATS over WebSocket.
    Nats,
    /// The Pusher protocol.
    Pusher,
}

/// What the clients subscribe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Nothing: connections only.
    Nothing,
    /// These symbols.
    Symbols(Vec<String>),
    /// The first this many of what the venue offers.
    FirstOf(usize),
}

/// A run's settings, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where to connect.
    pub target: Target,
    /// How many connections.
    pub clients: usize,
    /// What they subscribe.
    pub wanted: Wanted,
    /// How many of the symbols each client draws; `None` for all.
    pub random_per_client: Option<usize>,
    /// The venue; `None` for the gateway's default.
    pub source: Option<String>,
    /// Measuring time.
    pub measure: Duration,
    /// Time between the last connection and the measuring.
    pub warmup: Duration,
    /// New connections per second; `None` for all at once.
    pub connects_per_s: Option<u32>,
    /// Time a connection may take until its upgrade.
    pub connect_timeout: Duration,
    /// Where clients go whose connection the server ends.
    pub reconnect_to: Option<Target>,
    /// Whether they go on there from the last tick they had.
    pub resume: bool,
    /// What the server speaks.
    pub protocol: Protocol,
    /// `mode` of the subscriptions.
    pub mode: Option<String>,
    /// `minIntervalMs` of the subscriptions.
    pub min_interval_ms: Option<u64>,
    /// `onSlow` of the subscriptions.
    pub on_slow: Option<String>,
    /// How many clients read slowly.
    pub slow: usize,
    /// What each of them reads, bytes per second.
    pub slow_bytes_per_s: usize,
    /// How many clients read nothing.
    pub stalled: usize,
    /// Each how-manyth client looks at every tick.
    pub audit_every: usize,
    /// Whether the price carries the microseconds of the stamp.
    pub fine_stamps: bool,
    /// Length of a slice, milliseconds; 0 = no slices.
    pub slice_ms: u64,
    /// Trust anchors for `wss`.
    pub ca_file: Option<PathBuf>,
    /// The server's metrics page.
    pub metrics: Option<Target>,
    /// Process ids of the servers.
    pub pids: Vec<u32>,
    /// Processes that share the clients.
    pub processes: usize,
    /// Which part of a run of several processes this is.
    pub part: Option<usize>,
    /// File for the report as JSON.
    pub json: Option<PathBuf>,
    /// Threads that carry the connections.
    pub threads: usize,
    /// Seed of the random draws.
    pub seed: u64,
}

impl Settings {
    /// Checks the arguments.
    ///
    /// # Errors
    /// [`LoadError::Settings`] with one line for each that cannot be used, naming option and variable.
    pub fn read(arguments: &Arguments) -> Result<Self, LoadError> {
        let mut problems = Vec::new();
        let target = Target::parse(&arguments.url);
        if let Err(error) = &target {
            problems.push(format!("--url (LOADGEN_URL): {error}"));
        }
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let mut other_target = |option: &str, variable: &str, value: Option<String>| {
            let parsed = Target::parse(&value?);
            parsed.map_err(|error| problems.push(format!("--{option} ({variable}): {error}"))).ok()
        };
        let reconnect_to =
            other_target("reconnect-to", "LOADGEN_RECONNECT_TO", text(&arguments.reconnect_to));
        let metrics = text(&arguments.metrics).map(|url| url.replacen("http://", "ws://", 1));
        let metrics = other_target("metrics", "LOADGEN_METRICS", metrics);

        let rate = arguments.connect_rate.trim_end_matches("/s");
        let mut check = Check(&mut problems);
        let processes =
            check.number("processes", "LOADGEN_PROCESSES", &arguments.processes, 1..=PROCESSES_MAX);
        let most = CLIENTS_MAX * processes;
        let clients = check.number("clients", "LOADGEN_CLIENTS", &arguments.clients, 1..=most);
        let count =
            check.number("symbol-count", "LOADGEN_SYMBOL_COUNT", &arguments.symbol_count, 0..=SYMBOLS_MAX);
        let random = check.number(
            "random-per-client",
            "LOADGEN_RANDOM_PER_CLIENT",
            &arguments.random_per_client,
            0..=SYMBOLS_MAX,
        );
        let measure_s = check.number("seconds", "LOADGEN_SECONDS", &arguments.seconds, 1..=SECONDS_MAX);
        let warmup_s = check.number("warmup", "LOADGEN_WARMUP", &arguments.warmup, 0..=SECONDS_MAX);
        let connects_per_s = check.number("connect-rate", "LOADGEN_CONNECT_RATE", rate, 0..=20_000);
        let timeout_s =
            check.number("connect-timeout", "LOADGEN_CONNECT_TIMEOUT", &arguments.connect_timeout, 1..=120);
        let slow = check.number("slow", "LOADGEN_SLOW", &arguments.slow, 0..=clients);
        let slow_bytes_per_s = check.number(
            "slow-bytes-per-s",
            "LOADGEN_SLOW_BYTES_PER_S",
            &arguments.slow_bytes_per_s,
            100..=100_000_000,
        );
        let stalled = check.number("stalled", "LOADGEN_STALLED", &arguments.stalled, 0..=clients - slow);
        let audit_every =
            check.number("audit-every", "LOADGEN_AUDIT_EVERY", &arguments.audit_every, 1..=1_000_000);
        let slice_ms = check.number("slice-ms", "LOADGEN_SLICE_MS", &arguments.slice_ms, 0..=10_000);
        let slice_ms = if slice_ms == 0 { 0 } else { slice_ms.max(10) };
        let min_interval_ms = text(&arguments.min_interval_ms)
            .map(|ms| check.number("min-interval-ms", "LOADGEN_MIN_INTERVAL_MS", &ms, 0..=60_000));
        let pids: Vec<u32> = arguments
            .pid
            .split(',')
            .map(|pid| check.number("pid", "LOADGEN_PID", pid, 0..=u32::MAX))
            .filter(|pid| *pid > 0)
            .collect();
        let threads = check.number("threads", "LOADGEN_THREADS", &arguments.threads, 1..=64);
        let seed = check.number("seed", "LOADGEN_SEED", &arguments.seed, 0..=u64::MAX);
        let part = text(&arguments.part).map(|part| check.number("part", "-", &part, 0..=PROCESSES_MAX));
        let protocol =
            check.word("protocol", "LOADGEN_PROTOCOL", &arguments.protocol, &["tickcast", "nats", "pusher"]);
        let protocol = match protocol.as_str() {
            "nats" => Protocol::Nats,
            "pusher" => Protocol::Pusher,
            _ => Protocol::Tickcast,
        };
        let mut word = |option: &str, variable: &str, value: &str, words: &[&str]| {
            text(value).map(|value| check.word(option, variable, &value, words))
        };
        let mode = word("mode", "LOADGEN_MODE", &arguments.mode, &["every", "latest"]);
        let on_slow = word("on-slow", "LOADGEN_ON_SLOW", &arguments.on_slow, &["gap", "merge"]);

        let symbols: Vec<String> =
            arguments.symbols.split(',').map(str::trim).filter(|s| !s.is_empty()).map(Into::into).collect();
        if symbols.len() > SYMBOLS_MAX {
            problems.push(format!("--symbols (LOADGEN_SYMBOLS): at most {SYMBOLS_MAX}"));
        }
        let wanted = match (arguments.idle, symbols.is_empty(), count) {
            (true, ..) => Wanted::Nothing,
            (false, false, 0) => Wanted::Symbols(symbols),
            (false, true, 1..) => Wanted::FirstOf(count),
            (false, false, _) => {
                problems.push(
                    "--symbols (LOADGEN_SYMBOLS) and --symbol-count (LOADGEN_SYMBOL_COUNT): give one".into(),
                );
                Wanted::Nothing
            }
            (false, true, 0) => {
                problems.push(
                    "--symbols (LOADGEN_SYMBOLS), --symbol-count (LOADGEN_SYMBOL_COUNT) or --idle (LOADGEN_IDLE): \
                     one is needed"
                        .into(),
                );
                Wanted::Nothing
            }
        };
        match target {
            Ok(target) if problems.is_empty() => Ok(Self {
                target,
                clients,
                wanted,
                random_per_client: (random > 0).then_some(random),
                source: text(&arguments.source),
                measure: Duration::from_secs(measure_s),
                warmup: Duration::from_secs(warmup_s),
                connects_per_s: (connects_per_s > 0).then_some(connects_per_s),
                connect_timeout: Duration::from_secs(timeout_s),
                reconnect_to,
                resume: arguments.resume,
                protocol,
                mode,
                min_interval_ms,
                on_slow,
                slow,
                slow_bytes_per_s,
                stalled,
                audit_every,
                fine_stamps: arguments.fine_stamps,
                slice_ms,
                ca_file: text(&arguments.ca_file).map(Into::into),
                metrics,
                pids,
                processes,
                part,
                json: text(&arguments.json).map(Into::into),
                threads,
                seed,
            }),
            _ => Err(LoadError::Settings(problems)),
        }
    }
}

struct Check<'a>(&'a mut Vec<String>);

impl Check<'_> {
    /// One of the words, or the first and a problem.
    fn word(&mut self, option: &str, variable: &str, value: &str, words: &[&str]) -> String {
        if words.contains(&value) {
            return value.to_owned();
        }
        self.0.push(format!("--{option} ({variable}): {value:?} is none of {}", words.join(", ")));
        words.first().copied().unwrap_or_default().to_owned()
    }

    /// The number in range, or the range's start and a problem.
    fn number<T>(&mut self, option: &str, variable: &str, value: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        match value.trim().parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.0.push(format!(
                    "--{option} ({variable}): {value:?} is not a whole number from {} to {}",
                    range.start(),
                    range.end()
                ));
                *range.start()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Settings, LoadError> {
        Settings::read(&Arguments::try_parse_from([&["loadgen"], arguments].concat()).unwrap())
    }

    #[test]
    fn options_become_settings() {
        let settings = read(&[
            "--url",
            "ws://127.0.0.1:9000/ws",
            "--clients",
            "1000",
            "--symbols",
            "EURUSD, GBPUSD",
            "--random-per-client",
            "1",
            "--seconds",
            "5",
            "--warmup",
            "0",
            "--connect-rate",
            "500/s",
            "--pid",
            "7",
            "--json",
            "out.json",
            "--source",
            "ctrader",
            "--threads",
            "2",
            "--seed",
            "9",
        ])
        .unwrap();
        assert_eq!(settings.target, Target::parse("ws://127.0.0.1:9000/ws").unwrap());
        assert_eq!((settings.clients, settings.threads, settings.seed), (1000, 2, 9));
        assert_eq!(settings.wanted, Wanted::Symbols(vec!["EURUSD".into(), "GBPUSD".into()]));
        assert_eq!((settings.random_per_client, settings.source.as_deref()), (Some(1), Some("ctrader")));
        assert_eq!((settings.measure, settings.warmup), (Duration::from_secs(5), Duration::ZERO));
        assert_eq!((settings.connects_per_s, settings.pids), (Some(500), vec![7]));
        assert_eq!(settings.json, Some("out.json".into()));
        assert_eq!((settings.slow, settings.stalled, settings.audit_every), (0, 0, 1));
        assert_eq!((settings.protocol, settings.mode, settings.slice_ms), (Protocol::Tickcast, None, 0));

        let other = [
            "--idle",
            "--clients",
            "30000",
            "--processes",
            "2",
            "--connect-rate",
            "0",
            "--protocol",
            "nats",
            "--mode",
            "latest",
            "--min-interval-ms",
            "100",
            "--on-slow",
            "merge",
            "--slow",
            "5",
            "--stalled",
            "6",
            "--pid",
            "1,2",
            "--metrics",
            "http://127.0.0.1:1/metrics",
            "--reconnect-to",
            "ws://127.0.0.1:2/ws",
        ];
        let settings = read(&other).unwrap();
        assert_eq!((settings.clients, settings.processes, settings.connects_per_s), (30_000, 2, None));
        assert_eq!((settings.protocol, settings.mode.as_deref()), (Protocol::Nats, Some("latest")));
        assert_eq!((settings.min_interval_ms, settings.on_slow.as_deref()), (Some(100), Some("merge")));
        assert_eq!((settings.slow, settings.stalled, settings.pids), (5, 6, vec![1, 2]));
        assert_eq!(settings.metrics.unwrap().path, "/metrics");
        assert_eq!(settings.reconnect_to.unwrap().authority, "127.0.0.1:2");
        assert_eq!(read(&["--idle"]).unwrap().wanted, Wanted::Nothing);
        assert_eq!(read(&["--symbol-count", "20"]).unwrap().wanted, Wanted::FirstOf(20));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let error = read(&[
            "--url",
            "http://x",
            "--clients",
            "19001",
            "--seconds",
            "601",
            "--connect-rate",
            "fast",
            "--symbols",
            "A",
            "--symbol-count",
            "2",
        ])
        .unwrap_err()
        .to_string();
        for variable in [
            "LOADGEN_URL",
            "LOADGEN_CLIENTS",
            "LOADGEN_SECONDS",
            "LOADGEN_CONNECT_RATE",
            "LOADGEN_SYMBOL_COUNT",
        ] {
            assert!(error.contains(variable), "{variable} is not in: {error}");
        }
        assert!(read(&[]).unwrap_err().to_string().contains("--idle"));
    }
}
