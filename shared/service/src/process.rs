use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::admin::{self, AdminRoutes};
use crate::telemetry::{Telemetry, TelemetrySettings};
use crate::{Examiner, Finding, Metrics, Reader, Readiness, StatusPage};

/// What a program says about itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name, such as `ws-gateway`.
    pub name: &'static str,
    /// Its version, normally `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// What it is for, in a sentence, for `--help`.
    pub purpose: &'static str,
    /// Where the admin pages are served unless `ADMIN_ADDR` says otherwise, normally `127.0.0.1:0`.
    pub admin_default: &'static str,
}

/// What the process gives to the service that runs in it. Clones share everything.
#[derive(Clone)]
pub struct Context {
    /// Cancelled by the first SIGINT or SIGTERM: finish what is begun and return. A second signal ends the process.
    pub stop: CancellationToken,
    /// The process's metrics.
    pub metrics: Metrics,
    /// What `/readyz` says.
    pub ready: Readiness,
    /// What `/status` says.
    pub status: StatusPage,
    /// Routes of the service's own on the admin listener.
    pub admin: AdminRoutes,
    /// `<name>-<8 hex digits>`, unique per process run: the holder's name in leases.
    pub instance: Arc<str>,
    pub(crate) about: About,
    pub(crate) started: Instant,
}

impl Context {
    /// A context outside a process of its own, for tests: nothing is installed, no port is open, no signal is heard.
    pub fn for_test(name: &'static str) -> Self {
        Self::new(About { name, version: "0.0.0", purpose: "", admin_default: "127.0.0.1:0" })
    }

    fn new(about: About) -> Self {
        let instance: Arc<str> = format!("{}-{:08x}", about.name, fastrand::u32(..)).into();
        Self {
            stop: CancellationToken::new(),
            metrics: Metrics::new(about.name, about.version, &instance),
            ready: Readiness::default(),
            status: StatusPage::default(),
            admin: AdminRoutes::default(),
            instance,
            about,
            started: Instant::now(),
        }
    }
}

/// The whole life of a service process; call it from `main` and return what it returns.
///
/// `--help` and `--version` are answered. `read` takes the settings; any problem ends the process with 64 before a port
/// is open. Then `run` is the service: it ends when `Context::stop` is cancelled (0), or with an error (1). A service
/// that is still there 15 s (`STOP_TIMEOUT_MS`) after the stop is given up (1); a second signal ends it at once (130).
pub fn main<C, Fut>(about: About, read: fn(&mut Reader) -> C, run: impl FnOnce(C, Context) -> Fut) -> ExitCode
where
    Fut: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
{
    enter(about, read, run, None::<fn(C, Examiner) -> std::future::Ready<()>>)
}

/// The same for a service that can also examine its surroundings: `--doctor` takes the settings and calls `examine`
/// instead of `run`, with no listener, log or metric of its own.
///
/// It prints a line for each finding and ends with 0 where none was wrong, else with 1; settings that cannot be used are
/// such findings. `--doctor --force` sets [`Examiner::force`].
pub fn main_with_doctor<C, Fut, Exam>(
    about: About,
    read: fn(&mut Reader) -> C,
    run: impl FnOnce(C, Context) -> Fut,
    examine: impl FnOnce(C, Examiner) -> Exam,
) -> ExitCode
where
    Fut: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
    Exam: Future<Output = ()>,
{
    enter(about, read, run, Some(examine))
}

fn enter<C, Fut, Exam>(
    about: About,
    read: fn(&mut Reader) -> C,
    run: impl FnOnce(C, Context) -> Fut,
    examine: Option<impl FnOnce(C, Examiner) -> Exam>,
) -> ExitCode
where
    Fut: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
    Exam: Future<Output = ()>,
{
    // Before anything can use TLS; an error means that somebody was faster with the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let everything = |reader: &mut Reader| (read(reader), ProcessSettings::read(reader, about));

    let arguments: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match (&arguments[..], examine) {
        ([], _) => {}
        (["--help" | "-h"], examine) => {
            let mut reader = Reader::default();
            everything(&mut reader);
            let text = help(about, &reader, examine.is_some());
            return say(&mut std::io::stdout(), &text, ExitCode::SUCCESS);
        }
        (["--doctor", force @ ..], Some(examine)) if matches!(force, [] | ["--force"]) => {
            let mut reader = Reader::from_environment(Path::new(".env"));
            let (config, _) = everything(&mut reader);
            let examiner = Examiner::new(!force.is_empty(), std::io::stdout());
            return examined(&reader, &examiner, examine(config, examiner.clone()));
        }
        (["--version" | "-V"], _) => {
            let version = format!("{} {}\n", about.name, about.version);
            return say(&mut std::io::stdout(), &version, ExitCode::SUCCESS);
        }
        _ => {
            let text = format!(
                "{}: unknown arguments; settings are environment variables, see --help\n",
                about.name
            );
            return say(&mut std::io::stderr(), &text, ExitCode::from(UNUSABLE));
        }
    }

    let mut reader = Reader::from_environment(Path::new(".env"));
    let (config, settings) = everything(&mut reader);
    if !reader.problems().is_empty() {
        let text =
            format!("{}: the settings cannot be used\n  {}\n", about.name, reader.problems().join("\n  "));
        return say(&mut std::io::stderr(), &text, ExitCode::from(UNUSABLE));
    }
    drop(reader);

    let context = Context::new(about);
    let telemetry = match Telemetry::install(&settings.telemetry, about.name, &context.instance) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            return say(&mut std::io::stderr(), &format!("{}: {error}\n", about.name), ExitCode::FAILURE);
        }
    };
    let ended = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(live(&settings, &context, run(config, context.clone())));
            // What the service left running gets a moment, not more.
            runtime.shutdown_timeout(LEFTOVERS_WITHIN);
            ended
        }
        Err(error) => Err(error.to_string()),
    };
    let code = match ended {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(error, "failed");
            ExitCode::FAILURE
        }
    };
    telemetry.finish();
    code
}

/// Settings first, then what the service examines of its own.
fn examined(reader: &Reader, examiner: &Examiner, examination: impl Future<Output = ()>) -> ExitCode {
    for problem in reader.problems() {
        examiner.tell(&Finding::wrong("settings", problem, "see --help"));
    }
    if !examiner.found_fault() {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                runtime.block_on(examination);
                // A name that is still looked up is not waited for.
                runtime.shutdown_background();
            }
            Err(error) => examiner.tell(&Finding::wrong("settings", error.to_string(), "")),
        }
    }
    if examiner.found_fault() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Exit code where the settings or arguments cannot be used (`EX_USAGE` of sysexits).
const UNUSABLE: u8 = 64;

/// Time for tasks that are still there when the service has returned.
const LEFTOVERS_WITHIN: Duration = Duration::from_secs(1);

struct ProcessSettings {
    admin: std::net::SocketAddr,
    stop_timeout: Duration,
    telemetry: TelemetrySettings,
}

impl ProcessSettings {
    fn read(reader: &mut Reader, about: About) -> Self {
        Self {
            admin: reader.address(
                "ADMIN_ADDR",
                about.admin_default,
                "listener of /healthz, /readyz, /metrics and /status; port 0 = any free one, logged",
            ),
            stop_timeout: reader.millis(
                "STOP_TIMEOUT_MS",
                15_000,
                100..=3_600_000,
                "a service still there this long after SIGTERM is given up",
            ),
            telemetry: TelemetrySettings::read(reader),
        }
    }
}

/// From the first listener to the last: admin pages, signals, the service.
async fn live(
    settings: &ProcessSettings,
    context: &Context,
    service: impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
) -> Result<(), String> {
    let listener = TcpListener::bind(settings.admin)
        .await
        .map_err(|error| format!("cannot listen on ADMIN_ADDR {}: {error}", settings.admin))?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    info!(version = context.about.version, instance = &*context.instance, "starting");
    info!(what = "admin", %addr, "listening");
    let end_of_admin = CancellationToken::new();
    let mut admin = tokio::spawn(admin::serve(listener, context.clone(), end_of_admin.clone()));
    listen_to_signals(context.stop.clone()).map_err(|error| format!("cannot listen to signals: {error}"))?;
    // A task of its own, so that it fires even where the service blocks the thread it runs on.
    let watchdog = tokio::spawn(give_up(context.clone(), settings.stop_timeout));

    let mut service = pin!(service);
    let result = tokio::select! {
        biased;
        result = &mut service => {
            context.stop.cancel();
            end_of_admin.cancel();
            let _ = admin.await;
            result
        }
        _ = &mut admin => {
            error!(task = "admin", "a task has ended that is needed to serve, the service ends with it");
            context.stop.cancel();
            service.await.and(Err("the admin task has failed".into()))
        }
    };
    watchdog.abort();
    result.map_err(|error| chain(error.as_ref()))
}

fn listen_to_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if stop.is_cancelled() {
                error!(signal = name, "ended at once by a second signal");
                end(SECOND_SIGNAL);
            }
            info!(signal = name, "stopping");
            stop.cancel();
        }
    });
    Ok(())
}

/// Exit code after a second signal (128 + SIGINT, as shells count).
const SECOND_SIGNAL: i32 = 130;

async fn give_up(context: Context, stop_timeout: Duration) {
    context.stop.cancelled().await;
    tokio::time::sleep(stop_timeout).await;
    let tasks_alive = Handle::current().metrics().num_alive_tasks();
    let reasons = context.ready.reasons();
    let waited_ms = u64::try_from(stop_timeout.as_millis()).unwrap_or(u64::MAX);
    error!(
        service = context.about.name,
        waited_ms,
        tasks_alive,
        ?reasons,
        "the service did not stop, given up"
    );
    end(1);
}

#[expect(
    clippy::disallowed_methods,
    reason = "reached only where the orderly stop has failed or is not wanted"
)]
fn end(code: i32) -> ! {
    std::process::exit(code)
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

fn help(about: About, reader: &Reader, has_doctor: bool) -> String {
    let doctor = if has_doctor {
        "  --doctor   examines settings and surroundings, changes nothing, and says what to do; exit code 0 where all is \
         right, else 1\n             --doctor --force even opens a second connection beside a running service\n"
    } else {
        ""
    };
    format!(
        "{name} {version}\n{purpose}\n\nSettings are environment variables; a .env file in the working directory is read \
         too, the environment wins.\nName, default with unit, meaning:\n\n{variables}\n{doctor}  --help     this text\n  \
         --version  the version\n",
        name = about.name,
        version = about.version,
        purpose = about.purpose,
        variables = reader.help(),
    )
}

/// Writes to the terminal; one that is gone changes nothing.
fn say(out: &mut dyn std::io::Write, text: &str, code: ExitCode) -> ExitCode {
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes_and_none_twice() {
        #[derive(Debug)]
        struct Outer(std::io::Error, &'static str);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.1)
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let cause = || std::io::Error::other("no route");
        assert_eq!(chain(&Outer(cause(), "cannot dial")), "cannot dial: no route");
        assert_eq!(chain(&Outer(cause(), "cannot dial (no route)")), "cannot dial (no route)");
    }

    #[test]
    fn instances_of_one_name_differ() {
        let (a, b) = (Context::for_test("x"), Context::for_test("x"));
        assert_ne!(a.instance, b.instance);
        assert_eq!(a.instance.len(), "x-".len() + 8);
    }
}
