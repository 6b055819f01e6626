use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::Value;

use crate::wait::eventually;

/// Lines of a log shown where a test fails.
const LINES_SHOWN: usize = 60;

/// A program under test. It is killed when this is dropped, and the test fails if it logged an ERROR nobody allowed or
/// ended by itself.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    allowed_errors: Vec<String>,
    end_expected: bool,
}

impl Process {
    /// Starts `program` in `place` with exactly this environment; what it writes goes to `<name>.log` there.
    pub fn start(
        place: &Path,
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let log = (0..).map(|run| place.join(format!("{name}.{run}.log"))).find(|log| !log.exists()).unwrap();
        let out = File::create(&log).unwrap();
        // The program must not outlive a test process that is killed itself: the kernel then kills it too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(place).stdin(Stdio::null());
        command.stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.into(), child, log, allowed_errors: Vec::new(), end_expected: false }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address it listens on for `what` (`admin`, `venue` or `websocket`), once it has logged it.
    pub async fn listening(&mut self, what: &str) -> SocketAddr {
        let waiting_for = format!("{} to log what it listens on for {what}", self.name);
        eventually(&waiting_for, async || {
            assert!(self.child.try_wait().unwrap().is_none(), "{} ended:\n{}", self.name, self.log_text());
            let lines = self.log_lines();
            let line = lines.iter().find(|line| {
                field(line, "message") == Some("listening") && field(line, "what") == Some(what)
            });
            line.and_then(|line| field(line, "addr")?.parse().ok()).ok_or("no such line yet")
        })
        .await
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it without a chance to tidy up.
    pub fn kill_9(&mut self) {
        self.end_expected = true;
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        self.end_expected = true;
        let waiting_for = format!("{} to end", self.name);
        eventually(&waiting_for, async || self.child.try_wait().unwrap().ok_or("it runs")).await
    }

    /// Lets the test pass with ERROR lines that contain `part`.
    pub fn allow_error(&mut self, part: &str) {
        self.allowed_errors.push(part.into());
    }

    /// Everything it wrote.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// The log lines that are JSON.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log_text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn errors(&self) -> Vec<String> {
        let text = self.log_text();
        let lines = text.lines().filter(|line| {
            let level = serde_json::from_str::<Value>(line)
                .ok()
                .and_then(|line| field(&line, "level").map(Into::into));
            level.is_some_and(|level: String| level == "ERROR") || line.starts_with("thread '")
        });
        let allowed = |line: &&str| self.allowed_errors.iter().any(|part| line.contains(part));
        lines.filter(|line| !allowed(line)).map(Into::into).collect()
    }
}

/// A text field of a log line, whether the fields stand in the line or in an object of their own.
fn field<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str()
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = self.log_text();
            let lines: Vec<&str> = text.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!(
                "--- {} ({} lines, the last {}):\n{}",
                self.name,
                lines.len(),
                shown.len(),
                shown.join("\n")
            );
            return;
        }
        let errors = self.errors();
        assert!(errors.is_empty(), "{} logged errors:\n{}", self.name, errors.join("\n"));
        if let (Some(status), false) = (ended, self.end_expected) {
            panic!("{} ended by itself: {status}\n{}", self.name, self.log_text());
        }
    }
}
