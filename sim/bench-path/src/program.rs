use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::BenchError;

/// Nothing here takes longer.
const WITHIN: Duration = Duration::from_secs(15);

/// A directory for the logs of one measurement, removed at the end unless somebody panicked.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let path = directory()?.join("bench-path-logs").join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A running program; killed when dropped, and by the kernel should this process be killed.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program of this workspace.
    pub(crate) fn of_workspace(
        place: &Place,
        name: &str,
        environment: &[(&str, String)],
    ) -> Result<Self, BenchError> {
        let path = directory()?.join(name);
        if !path.is_file() {
            return Err(BenchError::NotBuilt(path.display().to_string()));
        }
        Self::start(place, &path, &[], environment)
    }

    /// Starts a program with exactly this environment; what it writes goes to a log in `place`.
    pub(crate) fn start(
        place: &Place,
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, String)],
    ) -> Result<Self, BenchError> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let log = place.path().join(format!("{name}.log"));
        let out = File::create(&log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(place.path()).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(out);
        Ok(Self { child: command.spawn()?, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address it listens on for `what`, once it has logged it.
    pub(crate) async fn listening(&self, what: &str) -> Result<SocketAddr, BenchError> {
        eventually(&format!("{} to say where its {what} listens", self.log.display()), async || {
            let text = fs::read_to_string(&self.log).ok()?;
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let fields = lines.map(|line| line.get("fields").cloned().unwrap_or(line));
            let mut here = fields.filter(|line| line["message"] == "listening" && line["what"] == what);
            here.find_map(|line| line["addr"].as_str()?.parse().ok())
        })
        .await
    }

    /// CPU time of all its threads so far, user and system together, as the scheduler counts it.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // A thread may end in between.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanos += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directory of this program and of those it measures.
fn directory() -> io::Result<PathBuf> {
    let executable = std::env::current_exe()?;
    Ok(executable.parent().map(Path::to_owned).unwrap_or_default())
}

/// Waits until `look` finds something.
pub(crate) async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Result<T, BenchError> {
    let until = Instant::now() + WITHIN;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() > until {
            return Err(BenchError::Late(what.to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The body of a page.
pub(crate) fn page(addr: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(WITHIN))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The sum of a metric over its labels.
pub(crate) fn metric(page: &str, name: &str) -> u64 {
    let values = page.lines().filter_map(|line| line.strip_prefix(name)).filter_map(|rest| {
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.trim().parse::<u64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_mistaken_for_a_longer_name() {
        let page = "a_total{v=\"x y\"} 3\na_total{v=\"z\"} 4\na_total_more 100\n# HELP a_total 9\nb 1\n";
        assert_eq!((metric(page, "a_total"), metric(page, "b"), metric(page, "c")), (7, 1, 0));
    }

    #[test]
    fn the_cpu_time_of_a_busy_process_grows() {
        let place = Place::new("test-cpu").unwrap();
        let program = Program::start(&place, Path::new("yes"), &[], &[]).unwrap();
        let until = Instant::now() + WITHIN;
        while program.cpu().unwrap() == Duration::ZERO {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
    }
}
