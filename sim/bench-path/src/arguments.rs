use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::stages::StageName;

/// What a tick costs before it reaches a browser's socket: the real programs between their sockets, in CPU time.
///
/// The programs must be built in the same profile: `cargo build --release -p ingest-ctrader -p ws-gateway -p bench-path`.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    /// What to measure.
    #[command(subcommand)]
    pub what: What,
    /// Events per second offered, comma-separated; 0 is as many as go.
    #[arg(long, value_delimiter = ',', default_values_t = [20_000, 50_000, 100_000, 200_000, 300_000], global = true)]
    pub rates: Vec<u64>,
    /// Runs of each rate, alternating; the table shows medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100), global = true)]
    pub runs: u32,
    /// Length of the window of one run, milliseconds.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=60_000), global = true)]
    pub window_ms: u64,
    /// Symbols the events are spread over.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000), global = true)]
    pub symbols: u32,
    /// Quotes in one TLS record of the venue; a real one says each by itself.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=400), global = true)]
    pub quotes_per_record: u32,
    /// Also writes the result to this file as JSON.
    #[arg(long, global = true)]
    pub json: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, Subcommand)]
pub enum What {
    /// Venue bytes to bus: ingest-ctrader between a venue that floods it over TLS and a nats-server.
    Ingest,
    /// Bus to hub: ws-gateway behind a nats-server, with channels that nobody reads any more.
    Gateway,
    /// Both of these.
    Both,
    /// The pure code alone, without sockets and processes: nanoseconds per event, and what to give to callgrind.
    Stages {
        /// Events for each stage.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
        events: u64,
        /// Only this stage.
        #[arg(long)]
        only: Option<StageName>,
    },
}

/// What is asked for, for one measured program.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Events per second offered; 0 is as many as go.
    pub rates: Vec<u64>,
    /// Runs of each rate.
    pub runs: u32,
    /// Length of one run's window.
    pub window: Duration,
    /// Symbols the events are spread over.
    pub symbols: usize,
    /// Quotes in one TLS record of the venue.
    pub quotes_per_record: usize,
}

impl Arguments {
    /// The part that says how the programs are measured.
    pub fn plan(&self) -> Plan {
        Plan {
            rates: self.rates.clone(),
            runs: self.runs,
            window: Duration::from_millis(self.window_ms),
            symbols: usize::try_from(self.symbols).unwrap_or(1),
            quotes_per_record: usize::try_from(self.quotes_per_record).unwrap_or(1),
        }
    }
}

impl Plan {
    /// The rates in the order of the runs: all of them, then all of them again.
    pub(crate) fn turns(&self) -> impl Iterator<Item = u64> {
        (0..self.runs).flat_map(|_| self.rates.iter().copied())
    }
}
