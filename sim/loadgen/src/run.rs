use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Progress, Worker, offered_symbols};
use crate::report::Window;
use crate::tally::Tally;
use crate::{LoadError, Report, ServerUse, Settings, Wanted};

/// Open files beside the connections.
const OTHER_FILES: u64 = 100;

/// How often the run looks whether all connections are made.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Does one run and blocks until its end: connects all clients, warms up, measures, closes.
///
/// # Errors
/// Where the venue's symbols cannot be learned, the system does not allow so many open files, or a thread cannot be
/// started. Connections that fail or end are no error: they are in the report.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    allow_open_files(settings.clients as u64 + OTHER_FILES)?;
    let runtime = runtime()?;
    let symbols: Arc<[String]> = match &settings.wanted {
        Wanted::Nothing => Arc::default(),
        Wanted::Symbols(symbols) => symbols.as_slice().into(),
        Wanted::FirstOf(count) => {
            let source = settings.source.as_deref();
            runtime.block_on(offered_symbols(&settings.target, source, *count))?.into()
        }
    };
    let shared = Arc::new(settings.clone());
    let progress = Arc::new(Progress::default());
    let before = server_use(settings);

    let mut threads = Vec::new();
    for thread in 0..settings.threads {
        let (shared, symbols, progress) = (shared.clone(), symbols.clone(), progress.clone());
        let carry = move || carry(shared, symbols, &progress, thread);
        threads.push(std::thread::Builder::new().name(format!("clients-{thread}")).spawn(carry)?);
    }
    let window = runtime.block_on(watch(settings, &progress));
    progress.stop.cancel();

    let mut tally = Tally::new();
    for thread in threads {
        let part = thread.join().map_err(|_| std::io::Error::other("a client thread panicked"))?;
        tally.add(&part?);
    }
    Ok(Report::new(settings, &symbols, &tally, before, &window))
}

/// One thread's clients: every `threads`th one, each started when its turn comes.
fn carry(
    settings: Arc<Settings>,
    symbols: Arc<[String]>,
    progress: &Arc<Progress>,
    thread: usize,
) -> Result<Tally, LoadError> {
    let interval = Duration::from_secs(1) / settings.connects_per_s;
    let turns = (thread..settings.clients).step_by(settings.threads);
    let worker = Rc::new(Worker::new(settings, symbols, progress.clone()));
    LocalSet::new().block_on(&runtime()?, async {
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for index in turns {
            let turn = begun + interval * u32::try_from(index).unwrap_or(u32::MAX);
            tokio::select! {
                () = sleep_until(turn) => {
                    let worker = worker.clone();
                    clients.spawn_local(async move { worker.client(index).await });
                }
                () = progress.stop.cancelled() => break,
            }
        }
        while clients.join_next().await.is_some() {}
    });
    Ok(worker.tally.replace(Tally::new()))
}

/// Follows the run through its phases.
async fn watch(settings: &Settings, progress: &Progress) -> Window {
    let begun = Instant::now();
    // Each attempt ends by its own timeout, so this loop does too.
    loop {
        let settled = [&progress.open, &progress.failed, &progress.ended];
        if settled.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>() >= settings.clients {
            break;
        }
        sleep(LOOK_INTERVAL).await;
    }
    let connecting = begun.elapsed();
    sleep(settings.warmup).await;

    let open_before = progress.open.load(Ordering::Relaxed);
    let server_before = server_use(settings);
    progress.measuring.store(true, Ordering::Relaxed);
    let window_begun = Instant::now();
    sleep(settings.measure).await;
    progress.measuring.store(false, Ordering::Relaxed);
    Window {
        connecting,
        length: window_begun.elapsed(),
        open_before,
        open_after: progress.open.load(Ordering::Relaxed),
        server_before,
        server_after: server_use(settings),
    }
}

fn server_use(settings: &Settings) -> Option<ServerUse> {
    settings.pid.and_then(ServerUse::read)
}

fn runtime() -> Result<Runtime, LoadError> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Raises this process's limit of open files as far as needed and allowed.
fn allow_open_files(needed: u64) -> Result<(), LoadError> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(LoadError::Settings(vec![format!(
            "--clients (LOADGEN_CLIENTS): needs {needed} open files, the system allows {} (see ulimit -n); \
             start several processes with fewer clients",
            limit.maximum.unwrap_or_default()
        )]));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .map_err(std::io::Error::from)?;
    Ok(())
}
