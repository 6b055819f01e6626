use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;

use crate::{LoadError, Target};

/// The most clients of one process. Start several processes for more.
pub const CLIENTS_MAX: usize = 19_000;

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
    long_about = None
)]
pub struct Arguments {
    /// Where to connect
    #[arg(long, env = "LOADGEN_URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub url: String,
    /// Connections, 1 to 19000
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
    /// New connections per second, 1 to 20000
    #[arg(long, env = "LOADGEN_CONNECT_RATE", default_value = "1000/s")]
    pub connect_rate: String,
    /// Only connect: subscribe nothing
    #[arg(long, env = "LOADGEN_IDLE")]
    pub idle: bool,
    /// Process id of the server, on this machine, whose memory and CPU time are to be read; 0 = none
    #[arg(long, env = "LOADGEN_PID", default_value = "0")]
    pub pid: String,
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
    /// New connections per second.
    pub connects_per_s: u32,
    /// Process id of the server.
    pub pid: Option<u32>,
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
        let rate = arguments.connect_rate.trim_end_matches("/s");
        let mut check = Check(&mut problems);
        let clients = check.number("clients", "LOADGEN_CLIENTS", &arguments.clients, 1..=CLIENTS_MAX);
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
        let connects_per_s = check.number("connect-rate", "LOADGEN_CONNECT_RATE", rate, 1..=20_000);
        let pid = check.number("pid", "LOADGEN_PID", &arguments.pid, 0..=u32::MAX);
        let threads = check.number("threads", "LOADGEN_THREADS", &arguments.threads, 1..=64);
        let seed = check.number("seed", "LOADGEN_SEED", &arguments.seed, 0..=u64::MAX);

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
                source: Some(arguments.source.clone()).filter(|source| !source.is_empty()),
                measure: Duration::from_secs(measure_s),
                warmup: Duration::from_secs(warmup_s),
                connects_per_s,
                pid: (pid > 0).then_some(pid),
                json: Some(PathBuf::from(&arguments.json)).filter(|file| !file.as_os_str().is_empty()),
                threads,
                seed,
            }),
            _ => Err(LoadError::Settings(problems)),
        }
    }
}

struct Check<'a>(&'a mut Vec<String>);

impl Check<'_> {
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
        assert_eq!(
            settings,
            Settings {
                target: Target::parse("ws://127.0.0.1:9000/ws").unwrap(),
                clients: 1000,
                wanted: Wanted::Symbols(vec!["EURUSD".into(), "GBPUSD".into()]),
                random_per_client: Some(1),
                source: Some("ctrader".into()),
                measure: Duration::from_secs(5),
                warmup: Duration::ZERO,
                connects_per_s: 500,
                pid: Some(7),
                json: Some("out.json".into()),
                threads: 2,
                seed: 9,
            }
        );
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
