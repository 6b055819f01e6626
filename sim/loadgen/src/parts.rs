use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::{Servers, Window};
use crate::samples::samples_of;
use crate::tally::Tally;
use crate::{LoadError, Settings};

/// Said by a part that is connected and warm.
const READY: &str = "ready";

/// Said to a part that is to measure now.
const GO: &str = "go";

/// Where the connections of part `number` come from: an address of its own on the loopback, as one address has only some
/// 28,000 ports.
pub(crate) fn source_address(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(number + 1).unwrap_or(1)).into()
}

/// What the one who started this part has to say.
#[derive(Default)]
pub(crate) struct Gates;

impl Gates {
    /// Says that all is connected, and waits until all other parts are.
    pub(crate) fn pass(&mut self) -> Result<(), LoadError> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{READY}")?;
        out.flush()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        if line.trim_end() == GO { Ok(()) } else { Err(LoadError::Part("the run was given up".into())) }
    }
}

/// A part's result, as one line.
#[derive(Serialize, Deserialize)]
struct Outcome {
    tally: Tally,
    connecting: Duration,
    length: Duration,
    open_before: usize,
    open_after: usize,
    own_cpu: Duration,
    own_rss_bytes: u64,
}

/// Gives a part's result to the one who started it.
pub(crate) fn hand_over(tally: &Tally, window: &Window) -> Result<(), LoadError> {
    #[derive(Serialize)]
    struct Given<'a> {
        tally: &'a Tally,
        connecting: Duration,
        length: Duration,
        open_before: usize,
        open_after: usize,
        own_cpu: Duration,
        own_rss_bytes: u64,
    }
    let Window { connecting, length, open_before, open_after, own_cpu, own_rss_bytes, .. } = *window;
    let given = Given { tally, connecting, length, open_before, open_after, own_cpu, own_rss_bytes };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&given)?)?;
    Ok(())
}

/// The processes of a run; those that are left are ended with it.
struct Parts(Vec<Part>);

struct Part {
    child: Child,
    orders: ChildStdin,
    words: BufReader<ChildStdout>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        for part in &mut self.0 {
            let _ = part.child.kill();
            let _ = part.child.wait();
        }
    }
}

/// Starts the parts, lets them measure at the same time, and puts together what they saw.
pub(crate) fn conduct(settings: &Settings, names: &[String]) -> Result<(Tally, Window), LoadError> {
    let mut parts = Parts(Vec::new());
    for number in 0..settings.processes {
        parts.0.push(Part::start(settings, names, number)?);
    }
    for part in &mut parts.0 {
        if part.line()?.trim_end() != READY {
            return Err(LoadError::Part("it said something else".into()));
        }
    }
    let samples_before = samples_of(settings.metrics.as_ref());
    let servers_before = Servers::read(&settings.pids);
    for part in &mut parts.0 {
        writeln!(part.orders, "{GO}")?;
        part.orders.flush()?;
    }
    let mut tally = Tally::new(settings.slice_ms);
    let mut window = Window { samples_before, servers_before, ..Window::default() };
    for (number, part) in parts.0.iter_mut().enumerate() {
        let result: Outcome = serde_json::from_str(&part.line()?)?;
        if number == 0 {
            // They measure at the same time, so the first to be done is as late as any.
            window.servers_after = Servers::read(&settings.pids);
        }
        tally.add(&result.tally);
        window.connecting = window.connecting.max(result.connecting);
        window.length = window.length.max(result.length);
        window.open_before += result.open_before;
        window.open_after += result.open_after;
        window.own_cpu += result.own_cpu;
        window.own_rss_bytes += result.own_rss_bytes;
    }
    window.samples_after = samples_of(settings.metrics.as_ref());
    Ok((tally, window))
}

impl Part {
    /// Starts this program again with the same options, less what is not its share.
    fn start(settings: &Settings, names: &[String], number: usize) -> Result<Self, LoadError> {
        let share = |all: usize| share_of(all, settings.processes, number);
        let rate = settings.connects_per_s.map_or(0, |rate| (rate as usize / settings.processes).max(1));
        let seed = settings.seed.wrapping_add((settings.clients * number) as u64);
        let own = [
            ("--part", number.to_string()),
            ("--processes", "1".into()),
            ("--clients", share(settings.clients).to_string()),
            ("--slow", share(settings.slow).to_string()),
            ("--stalled", share(settings.stalled).to_string()),
            ("--connect-rate", rate.to_string()),
            ("--seed", seed.to_string()),
            ("--symbol-count", "0".into()),
            ("--symbols", names.join(",")),
            ("--metrics", String::new()),
            ("--pid", "0".into()),
            ("--json", String::new()),
        ];
        let mut child = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .args(own.iter().flat_map(|(name, value)| [*name, value.as_str()]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let no_pipe = || LoadError::Part("it has no pipes".into());
        let orders = child.stdin.take().ok_or_else(no_pipe)?;
        let words = BufReader::new(child.stdout.take().ok_or_else(no_pipe)?);
        Ok(Self { child, orders, words })
    }

    fn line(&mut self) -> Result<String, LoadError> {
        let mut line = String::new();
        match self.words.read_line(&mut line)? {
            0 => Err(LoadError::Part("it ended early".into())),
            _ => Ok(line),
        }
    }
}

/// One part's share of a number; all shares together are the number.
fn share_of(all: usize, parts: usize, number: usize) -> usize {
    all / parts + usize::from(number < all % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_up_the_whole() {
        for (all, parts) in [(10, 3), (2, 4), (19_001, 2), (0, 1)] {
            let shares: Vec<usize> = (0..parts).map(|number| share_of(all, parts, number)).collect();
            assert_eq!(shares.iter().sum::<usize>(), all);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
