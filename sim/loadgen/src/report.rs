use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::samples::{Samples, growth};
use crate::tally::{Slice, Span, Tally};
use crate::{Findings, ServerCost, ServerUse, Settings};

/// What a run found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where the clients connected.
    pub url: String,
    /// Connections asked for.
    pub clients: usize,
    /// Connections made.
    pub connected: u64,
    /// Connections open at the end of the measuring window.
    pub open_at_end: usize,
    /// Connections not made, by kind.
    pub connect_failures: BTreeMap<String, u64>,
    /// From the first connection's start to the last one made, seconds.
    pub connecting_s: f64,
    /// Time to connect and upgrade.
    pub connect: Latency,
    /// Symbols each client subscribed.
    pub symbols_per_client: usize,
    /// Length of the measuring window, seconds.
    pub window_s: f64,
    /// Ticks that arrived in the window, snapshots not included.
    pub ticks: u64,
    /// The same per second.
    pub ticks_per_s: f64,
    /// Bytes that arrived in the window, WebSocket headers included.
    pub bytes: u64,
    /// What the latencies below mean.
    pub latency_note: String,
    /// From the tick's `timestamp` to its arrival.
    pub latency_from_venue: Latency,
    /// From the tick's `receivedAt` to its arrival.
    pub latency_from_ingest: Latency,
    /// From the tick's `timestamp` to its arrival, of the clients that read slowly (they are not in the two above).
    pub latency_of_slow: Latency,
    /// Ticks whose stamp lies after their arrival, counted as 0: clocks that differ.
    pub stamps_ahead: u64,
    /// The sequence audit of the whole run, warm-up included.
    pub audit: Findings,
    /// Messages that are not ticks, by type.
    pub messages: BTreeMap<String, u64>,
    /// Errors the server reported, by code.
    pub errors: BTreeMap<String, u64>,
    /// Messages that could not be read.
    pub unreadable: u64,
    /// Pings answered.
    pub pings: u64,
    /// Connections the server ended before the run did, by close code or kind of error.
    pub closes: BTreeMap<String, u64>,
    /// Ticks of clients that only count theirs (`--audit-every`), over the whole run.
    pub counted_only: u64,
    /// When the first connection was begun and the last one opened.
    pub opened: Span,
    /// When the first connection ended and the last replacement was open (`--reconnect-to`).
    pub replaced: Span,
    /// Time to connect and upgrade a replacement.
    pub reconnect: Latency,
    /// Time from the first packet of a replacement to the answer to its `resume` (`--resume`).
    pub resume: Latency,
    /// Symbols that went on where they stopped.
    pub recovered: u64,
    /// Symbols that were not recovered, and began anew.
    pub begun_anew: u64,
    /// What it cost the server, where its process id was given and could be read.
    pub server: Option<ServerCost>,
    /// What it cost the other processes given.
    pub other_servers: Vec<ServerCost>,
    /// What it cost this tool.
    pub own: OwnCost,
    /// What grew on the server's metrics page during the window, by how much; histograms as sum and count.
    pub metrics: Samples,
    /// The window in slices, where they were asked for.
    pub slices: Vec<SliceReport>,
}

/// What a run cost the tool itself: it shares the machine with what it measures.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct OwnCost {
    /// CPU time in the measuring window, seconds.
    pub cpu_s: f64,
    /// The same for each tick received, nanoseconds.
    pub ns_per_tick: f64,
    /// Reads from sockets in the window.
    pub reads: u64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
}

/// A slice of the measuring window.
#[derive(Debug, Serialize)]
pub struct SliceReport {
    /// Its beginning, Unix milliseconds.
    pub at_ms: u64,
    /// From the tick's `timestamp` to its arrival.
    pub latency_from_venue: Latency,
    /// The same in full: values in microseconds and how often each came.
    pub values: Vec<(u64, u64)>,
}

/// A distribution of times, microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Latency {
    /// Values in it.
    pub count: u64,
    /// Half are at most this long.
    pub p50_us: u64,
    /// Nine of ten are at most this long.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1000.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

/// What several processes use.
#[derive(Default)]
pub(crate) struct Servers(Vec<(u32, Option<ServerUse>)>);

impl Servers {
    pub(crate) fn read(pids: &[u32]) -> Self {
        Self(pids.iter().map(|pid| (*pid, ServerUse::read(*pid))).collect())
    }

    fn of(&self, pid: u32) -> Option<ServerUse> {
        self.0.iter().find(|(known, _)| *known == pid)?.1
    }
}

/// Times and the servers' state around the measuring window.
#[derive(Default)]
pub(crate) struct Window {
    pub(crate) connecting: Duration,
    pub(crate) length: Duration,
    pub(crate) open_before: usize,
    pub(crate) open_after: usize,
    pub(crate) servers_before: Servers,
    pub(crate) servers_after: Servers,
    pub(crate) own_cpu: Duration,
    pub(crate) own_rss_bytes: u64,
    pub(crate) samples_before: Samples,
    pub(crate) samples_after: Samples,
}

const WHOLE_STAMPS: &str =
    "stamps in the ticks are whole milliseconds cut off, so each value is up to 1 ms too long";
const FINE_STAMPS: &str = "the price carries the microseconds of the stamp, which is the time at which the tick was due, so \
                           a feed that is late makes its ticks later and not fewer; from ingest: whole milliseconds cut \
                           off, up to 1 ms too long";

impl Report {
    pub(crate) fn new(
        settings: &Settings,
        symbols: &[String],
        tally: &Tally,
        before: &Servers,
        window: &Window,
    ) -> Self {
        let window_s = window.length.as_secs_f64();
        let stamps = if settings.fine_stamps { FINE_STAMPS } else { WHOLE_STAMPS };
        let mut servers = settings
            .pids
            .iter()
            .map(|pid| server_cost(*pid, before, window, tally.window_ticks))
            .collect::<Vec<_>>();
        let others = servers.split_off(servers.len().min(1));
        Self {
            url: settings.target.to_string(),
            clients: settings.clients,
            connected: tally.connect_us.len(),
            open_at_end: window.open_after,
            connect_failures: tally.failures.clone(),
            connecting_s: window.connecting.as_secs_f64(),
            connect: Latency::of(&tally.connect_us),
            symbols_per_client: settings.random_per_client.unwrap_or(symbols.len()).min(symbols.len()),
            window_s,
            ticks: tally.window_ticks,
            ticks_per_s: rate(tally.window_ticks, window_s),
            bytes: tally.window_bytes,
            latency_note: format!("{stamps}; sender and receiver must share a clock"),
            latency_from_venue: Latency::of(&tally.venue_us),
            latency_from_ingest: Latency::of(&tally.ingest_us),
            latency_of_slow: Latency::of(&tally.slow_us),
            stamps_ahead: tally.stamps_ahead,
            audit: tally.audit,
            messages: tally.messages.clone(),
            errors: tally.errors.clone(),
            unreadable: tally.unreadable,
            pings: tally.pings,
            closes: tally.closes.clone(),
            counted_only: tally.counted_only,
            opened: tally.opened,
            replaced: tally.replaced,
            reconnect: Latency::of(&tally.reconnect_us),
            resume: Latency::of(&tally.resume_us),
            recovered: tally.recovered,
            begun_anew: tally.begun_anew,
            server: servers.pop().flatten(),
            other_servers: others.into_iter().flatten().collect(),
            own: OwnCost {
                cpu_s: window.own_cpu.as_secs_f64(),
                ns_per_tick: window.own_cpu.as_secs_f64() * 1e9 / rate(tally.window_ticks.max(1), 1.0),
                reads: tally.window_reads,
                rss_bytes: window.own_rss_bytes,
            },
            metrics: growth(&window.samples_before, &window.samples_after),
            slices: tally.slices.iter().map(|slice| SliceReport::of(slice, tally.slice_us())).collect(),
        }
    }

    /// True where every connection was made and kept and every promise about the ticks was kept.
    pub fn is_clean(&self) -> bool {
        self.connect_failures.is_empty()
            && self.closes.is_empty()
            && self.errors.is_empty()
            && self.unreadable == 0
            && self.audit.is_clean()
    }
}

impl SliceReport {
    fn of(slice: &Slice, slice_us: u64) -> Self {
        let values = slice.venue_us.iter_recorded();
        Self {
            at_ms: slice.number * slice_us / 1000,
            latency_from_venue: Latency::of(&slice.venue_us),
            values: values.map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
        }
    }
}

fn server_cost(pid: u32, before: &Servers, window: &Window, ticks: u64) -> Option<ServerCost> {
    let (before, connected) = (before.of(pid)?, window.servers_before.of(pid)?);
    let after = window.servers_after.of(pid)?;
    let cpu_s = after.cpu.saturating_sub(connected.cpu).as_secs_f64();
    let growth_per_connection = |bytes: u64, open: usize| {
        let growth =
            i64::try_from(bytes).unwrap_or(i64::MAX) - i64::try_from(before.rss_bytes).unwrap_or(i64::MAX);
        growth / i64::try_from(open.max(1)).unwrap_or(i64::MAX)
    };
    Some(ServerCost {
        pid,
        rss_before_bytes: before.rss_bytes,
        rss_connected_bytes: connected.rss_bytes,
        rss_after_bytes: after.rss_bytes,
        rss_per_connection_bytes: growth_per_connection(connected.rss_bytes, window.open_before),
        rss_per_connection_after_bytes: growth_per_connection(after.rss_bytes, window.open_after),
        cpu_s,
        user_s: after.user.saturating_sub(connected.user).as_secs_f64(),
        ticks_per_cpu_s: rate(ticks, cpu_s),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run stay far below 2^53")]
fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: u64 = self.connect_failures.values().sum();
        writeln!(f, "{}", self.url)?;
        writeln!(
            f,
            "connections    {} asked, {} made in {:.2} s, {failed} failed{}, {} open at the end",
            self.clients,
            self.connected,
            self.connecting_s,
            Names(&self.connect_failures),
            self.open_at_end
        )?;
        writeln!(f, "symbols        {} for each client", self.symbols_per_client)?;
        writeln!(
            f,
            "ticks          {} in {:.2} s = {:.0}/s, {} bytes",
            self.ticks, self.window_s, self.ticks_per_s, self.bytes
        )?;
        writeln!(
            f,
            "\n{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}",
            "time in ms", "p50", "p90", "p99", "p99.9", "max", "values"
        )?;
        for (name, latency) in [
            ("connect and upgrade", &self.connect),
            ("connect again", &self.reconnect),
            ("answer to resume", &self.resume),
            ("venue to client", &self.latency_from_venue),
            ("ingest to client", &self.latency_from_ingest),
            ("venue to slow client", &self.latency_of_slow),
        ] {
            if latency.count == 0 {
                continue;
            }
            write!(f, "{name:<22}")?;
            for us in [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us] {
                write!(f, "{:>10}", format!("{}.{:02}", us / 1000, us % 1000 / 10))?;
            }
            writeln!(f, "{:>12}", latency.count)?;
        }
        writeln!(f, "({})", self.latency_note)?;
        if self.stamps_ahead > 0 {
            writeln!(f, "{} stamps lie after the arrival: the clocks differ", self.stamps_ahead)?;
        }
        let audit = &self.audit;
        writeln!(
            f,
            "\nsequence       {} ticks ({} snapshots), {} gaps announced ({} missed), {} holes not announced ({} lost), \
             {} gaps overstated, {} twice, {} out of order, {} unasked, {} changes of epoch",
            audit.ticks,
            audit.snapshots,
            audit.gaps,
            audit.missed,
            audit.holes,
            audit.lost,
            audit.overstated,
            audit.duplicates,
            audit.disordered,
            audit.unasked,
            audit.epoch_changes
        )?;
        let other: u64 = self.messages.values().sum();
        writeln!(
            f,
            "messages       {other} other{}, {} unreadable, {} pings",
            Names(&self.messages),
            self.unreadable,
            self.pings
        )?;
        writeln!(f, "errors         {}{}", self.errors.values().sum::<u64>(), Names(&self.errors))?;
        writeln!(f, "closed early   {}{}", self.closes.values().sum::<u64>(), Names(&self.closes))?;
        if self.replaced.to_us > 0 {
            let took_ms = self.replaced.length_us() / 1000;
            writeln!(f, "replaced       {} connections within {took_ms} ms", self.reconnect.count)?;
        }
        if self.resume.count > 0 {
            let (recovered, anew) = (self.recovered, self.begun_anew);
            writeln!(f, "resumed        {recovered} symbols went on where they stopped, {anew} began anew")?;
        }
        for server in self.server.iter().chain(&self.other_servers) {
            writeln!(
                f,
                "server {:<8}memory {} before, {} connected ({} B each), {} after ({} B each); CPU {:.2} s ({:.2} s \
                 user), {:.0} ticks per CPU second",
                server.pid,
                Mebibytes(server.rss_before_bytes),
                Mebibytes(server.rss_connected_bytes),
                server.rss_per_connection_bytes,
                Mebibytes(server.rss_after_bytes),
                server.rss_per_connection_after_bytes,
                server.cpu_s,
                server.user_s,
                server.ticks_per_cpu_s
            )?;
        }
        let stages = self.metrics.iter().filter(|(name, _)| name.contains("_latency_seconds_sum"));
        for (name, sum) in stages {
            let count = self.metrics.get(&name.replacen("_seconds_sum", "_seconds_count", 1));
            if let Some(count) = count.filter(|count| **count > 0.0) {
                let labels = name.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
                writeln!(f, "stage          {:.3} ms on average, {labels}", sum * 1000.0 / count)?;
            }
        }
        let own = &self.own;
        writeln!(
            f,
            "this tool      CPU {:.2} s, {:.0} ns for each tick, {} reads, memory {}",
            own.cpu_s,
            own.ns_per_tick,
            own.reads,
            Mebibytes(own.rss_bytes)
        )?;
        Ok(())
    }
}

/// Names with their counts in brackets; nothing where there are none.
struct Names<'a>(&'a BTreeMap<String, u64>);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join(", ")) }
    }
}

struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} MiB", self.0 >> 20, ((self.0 & 0xF_FFFF) * 10) >> 20)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{Arguments, TickFields};

    fn usage(rss_mib: u64, cpu_ms: u64) -> Servers {
        let cpu = Duration::from_millis(cpu_ms);
        Servers(vec![(5, Some(ServerUse { rss_bytes: rss_mib << 20, cpu, user: cpu / 2 }))])
    }

    fn report() -> Report {
        let arguments =
            ["loadgen", "--clients", "1024", "--symbols", "A,B,C", "--random-per-client", "2", "--pid", "5"];
        let settings = Settings::read(&Arguments::try_parse_from(arguments).unwrap()).unwrap();
        let mut tally = Tally::new(0);
        for index in 0..1000 {
            tally.tick(index * 10, &TickFields::default(), false, false);
        }
        let window = Window {
            connecting: Duration::from_secs(1),
            length: Duration::from_secs(2),
            open_before: 1024,
            open_after: 512,
            servers_before: usage(11, 500),
            servers_after: usage(12, 1500),
            own_cpu: Duration::from_millis(100),
            ..Window::default()
        };
        Report::new(&settings, &["A".into(), "B".into(), "C".into()], &tally, &usage(10, 400), &window)
    }

    #[test]
    fn rates_and_costs_are_of_the_window() {
        let report = report();
        let server = report.server.unwrap();
        assert_eq!((report.ticks, report.symbols_per_client), (1000, 2));
        assert!((report.ticks_per_s - 500.0).abs() < 1e-9);
        assert_eq!((server.rss_per_connection_bytes, server.rss_per_connection_after_bytes), (1024, 4096));
        assert!((report.own.ns_per_tick - 100_000.0).abs() < 1e-6);
        assert!((server.cpu_s - 1.0).abs() < 1e-9 && (server.ticks_per_cpu_s - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn the_table_and_the_json_say_the_same_and_name_the_stamps_unit() {
        let mut report = report();
        assert!(report.is_clean());
        report.closes.insert("1008".into(), 3);
        report.audit.holes = 2;
        assert!(!report.is_clean());
        let table = report.to_string();
        for part in
            ["1024 asked", "3 (1008 3)", "2 holes not announced", "whole milliseconds", "12.0 MiB after"]
        {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["closes"]["1008"], 3);
        assert_eq!(json["audit"]["holes"], 2);
        assert_eq!(json["latency_from_venue"]["count"], 1000);
    }
}
