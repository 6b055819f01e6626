use std::fs;
use std::time::Duration;

use serde::Serialize;

/// What a process uses, read from /proc.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ServerUse {
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// CPU time of its threads so far, user and system together.
    pub cpu: Duration,
    /// The user part, in whole clock ticks of the system.
    pub user: Duration,
}

impl ServerUse {
    /// What process `pid` uses now; `None` where there is no such process or /proc cannot be read.
    ///
    /// The CPU time is the sum over the threads there are (nanoseconds); where the kernel does not tell it, the whole
    /// process's (clock ticks).
    pub fn read(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (user, system) = cpu_time(&stat, rustix::param::clock_ticks_per_second())?;
        let cpu = threads_time(pid).unwrap_or(user + system);
        Some(Self { rss_bytes: resident_bytes(&status)?, cpu, user })
    }
}

/// What the run cost the server.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct ServerCost {
    /// Its process id.
    pub pid: u32,
    /// Resident memory before the first connection, bytes.
    pub rss_before_bytes: u64,
    /// Resident memory with all connections open, before measuring, bytes.
    pub rss_connected_bytes: u64,
    /// Resident memory at the end of the measuring, bytes.
    pub rss_after_bytes: u64,
    /// Growth per open connection until the measuring began, bytes.
    pub rss_per_connection_bytes: i64,
    /// Growth per open connection until the measuring ended, bytes.
    pub rss_per_connection_after_bytes: i64,
    /// CPU time in the measuring window, seconds.
    pub cpu_s: f64,
    /// The user part of it, seconds, in whole clock ticks.
    pub user_s: f64,
    /// Ticks delivered for each second of CPU time.
    pub ticks_per_cpu_s: f64,
}

/// Field 1 of /proc/PID/task/*/schedstat, summed.
fn threads_time(pid: u32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        sum += run_time(&text)?;
    }
    (!sum.is_zero()).then_some(sum)
}

/// The first field of a schedstat: time on a CPU, nanoseconds.
fn run_time(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// `VmRSS` of /proc/PID/status.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Fields 14 and 15 of /proc/PID/stat, user and system. The second field, the program's name, may hold spaces and
/// brackets.
fn cpu_time(stat: &str, clock_ticks_per_second: u64) -> Option<(Duration, Duration)> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let fields = after_name.split_whitespace().skip(11);
    let mut times = fields.map_while(|field| {
        let ticks: u64 = field.parse().ok()?;
        Some(Duration::from_millis(ticks * 1000 / clock_ticks_per_second.max(1)))
    });
    Some((times.next()?, times.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_cpu_are_found_in_proc_texts() {
        assert_eq!(resident_bytes("Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        let stat = "42 (a )b c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 200";
        assert_eq!(cpu_time(stat, 100), Some((Duration::from_millis(2_500), Duration::from_millis(500))));
        assert_eq!(cpu_time("nothing", 100), None);
        assert_eq!(run_time("1500 20 3\n"), Some(Duration::from_nanos(1_500)));
        assert_eq!(run_time(""), None);
    }

    #[test]
    fn this_process_can_be_read_and_one_that_is_not_cannot() {
        let used = ServerUse::read(std::process::id()).unwrap();
        assert!(used.rss_bytes > 100_000 && used.cpu > Duration::ZERO);
        assert_eq!(ServerUse::read(u32::MAX), None);
    }
}
