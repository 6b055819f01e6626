use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ask::offered_symbols;
use crate::link::Route;
use crate::parts;
use crate::progress::Progress;
use crate::report::{Servers, Window};
use crate::samples::samples_of;
use crate::symbols::SymbolTable;
use crate::tally::Tally;
use crate::worker::Worker;
use crate::{LoadError, Report, ServerUse, Settings, Wanted};

/// Open files beside the connections.
const OTHER_FILES: u64 = 100;

/// How often the run looks whether all connections are made.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Does one run and blocks until its end: connects all clients, warms up, measures, closes.
///
/// # Errors
/// Where the venue's symbols cannot be learned, the system does not allow so many open files, or a thread or process
/// cannot be started. Connections that fail or end are no error: they are in the report.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    let before = Servers::read(&settings.pids);
    let names = match &settings.wanted {
        Wanted::Nothing => Vec::new(),
        Wanted::Symbols(symbols) => symbols.clone(),
        Wanted::FirstOf(count) => offered_symbols(&settings.target, settings.source.as_deref(), *count)?,
    };
    let (tally, window) = if settings.processes > 1 {
        parts::conduct(settings, &names)?
    } else {
        let mut conductor = Conductor { settings, gates: None };
        carry_out(&mut conductor, &names)?
    };
    Ok(Report::new(settings, &names, &tally, &before, &window))
}

/// One part of a run of several processes: waits at the gates and gives its tally to the process that started it.
///
/// # Errors
/// Like [`run`].
pub fn run_part(settings: &Settings) -> Result<(), LoadError> {
    let names = match &settings.wanted {
        Wanted::Symbols(symbols) => symbols.clone(),
        _ => Vec::new(),
    };
    let mut conductor = Conductor { settings, gates: Some(parts::Gates) };
    let (tally, window) = carry_out(&mut conductor, &names)?;
    parts::hand_over(&tally, &window)
}

/// What times the phases of one process.
struct Conductor<'a> {
    settings: &'a Settings,
    gates: Option<parts::Gates>,
}

fn carry_out(conductor: &mut Conductor<'_>, names: &[String]) -> Result<(Tally, Window), LoadError> {
    let settings = conductor.settings;
    allow_open_files(settings.clients as u64 + OTHER_FILES)?;
    let symbols = Arc::new(SymbolTable::new(names.to_vec()));
    let shared = Arc::new(settings.clone());
    let from = settings.part.map(parts::source_address);
    let ca_file = settings.ca_file.as_deref();
    let route = Route::new(&settings.target, ca_file, from)?;
    let fallback = settings.reconnect_to.as_ref();
    let fallback = fallback.map(|target| Route::new(target, ca_file, from)).transpose()?;

    let progress = Arc::new(Progress::default());
    let mut threads = Vec::new();
    for thread in 0..settings.threads {
        let (shared, symbols, progress) = (shared.clone(), symbols.clone(), progress.clone());
        let (route, fallback) = (route.clone(), fallback.clone());
        let carry = move || Worker::new(shared, symbols, progress, route, fallback, thread)?.carry();
        threads.push(std::thread::Builder::new().name(format!("clients-{thread}")).spawn(carry)?);
    }
    let window = conductor.watch(&progress);
    progress.stopped.store(true, Ordering::Relaxed);

    let mut tally = Tally::new(settings.slice_ms);
    for thread in threads {
        let part = thread.join().map_err(|_| std::io::Error::other("a client thread panicked"))?;
        tally.add(&part?);
    }
    Ok((tally, window?))
}

impl Conductor<'_> {
    /// Follows the run through its phases.
    fn watch(&mut self, progress: &Progress) -> Result<Window, LoadError> {
        let settings = self.settings;
        let begun = Instant::now();
        // Each attempt ends by its own timeout, so this loop does too.
        while progress.settled() < settings.clients {
            progress.pause(LOOK_INTERVAL);
        }
        let connecting = begun.elapsed();
        progress.pause(settings.warmup);
        if let Some(gates) = &mut self.gates {
            gates.pass()?;
        }

        let open_before = progress.open.load(Ordering::Relaxed);
        let samples_before = samples_of(settings.metrics.as_ref());
        let servers_before = Servers::read(&settings.pids);
        let own_before = ServerUse::read(std::process::id()).unwrap_or_default();
        progress.measuring.store(true, Ordering::Relaxed);
        let window_begun = Instant::now();
        progress.pause(settings.measure);
        progress.measuring.store(false, Ordering::Relaxed);
        let length = window_begun.elapsed();
        let own_after = ServerUse::read(std::process::id()).unwrap_or_default();
        let servers_after = Servers::read(&settings.pids);
        Ok(Window {
            connecting,
            length,
            open_before,
            open_after: progress.open.load(Ordering::Relaxed),
            servers_before,
            servers_after,
            own_cpu: own_after.cpu.saturating_sub(own_before.cpu),
            own_rss_bytes: own_after.rss_bytes,
            samples_before,
            samples_after: samples_of(settings.metrics.as_ref()),
        })
    }
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
             share them with --processes (LOADGEN_PROCESSES)",
            limit.maximum.unwrap_or_default()
        )]));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .map_err(std::io::Error::from)?;
    Ok(())
}
