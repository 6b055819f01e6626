use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tickcast_model::Position;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, READ_BYTES};
use crate::tally::{Tally, count_name};
use crate::{Audit, LoadError, Scanned, Settings, Target, close_frame, scan, text_frame};

/// Symbols in one `subscribe` message, so that it stays far below the gateway's message limit.
const SYMBOLS_PER_MESSAGE: usize = 200;

/// The venue has this long to say what it offers.
const SYMBOLS_TIMEOUT: Duration = Duration::from_secs(15);

/// A server has this long to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the run stands; shared by all threads.
#[derive(Default)]
pub(crate) struct Progress {
    /// Connections open now.
    pub(crate) open: AtomicUsize,
    /// Connections not made.
    pub(crate) failed: AtomicUsize,
    /// Connections made and ended by the server.
    pub(crate) ended: AtomicUsize,
    /// True inside the measuring window.
    pub(crate) measuring: AtomicBool,
    /// Cancelled at the end of the run.
    pub(crate) stop: CancellationToken,
}

/// What the clients of one thread share.
pub(crate) struct Worker {
    settings: Arc<Settings>,
    symbols: Arc<[String]>,
    progress: Arc<Progress>,
    pub(crate) tally: RefCell<Tally>,
    buffer: RefCell<Vec<u8>>,
}

impl Worker {
    pub(crate) fn new(settings: Arc<Settings>, symbols: Arc<[String]>, progress: Arc<Progress>) -> Self {
        Self {
            settings,
            symbols,
            progress,
            tally: RefCell::new(Tally::new()),
            buffer: RefCell::new(vec![0; READ_BYTES]),
        }
    }

    /// One client's life: connect, subscribe, take what comes until the run or the server ends it.
    pub(crate) async fn client(&self, index: usize) {
        let begun = Instant::now();
        let mut connection = match Connection::open(&self.settings.target).await {
            Ok(connection) => connection,
            Err(error) => {
                count_name(&mut self.tally.borrow_mut().failures, &error.kind(), 1);
                self.progress.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tally.borrow_mut().connect_us.saturating_record(took_us);
        self.progress.open.fetch_add(1, Ordering::Relaxed);

        let symbols = self.symbols_of(index);
        let mut audit = Audit::new(symbols.len());
        let end = self.drive(&mut connection, &symbols, &mut audit).await;
        self.progress.open.fetch_sub(1, Ordering::Relaxed);
        let mut tally = self.tally.borrow_mut();
        tally.audit.add(audit.findings());
        if let Err(error) = end {
            self.progress.ended.fetch_add(1, Ordering::Relaxed);
            let name = match error {
                LoadError::Closed(code) => code.to_string(),
                other => other.kind(),
            };
            count_name(&mut tally.closes, &name, 1);
        }
    }

    /// The client's own choice of symbols, the same in every run with the same seed.
    fn symbols_of(&self, index: usize) -> Vec<&str> {
        let mut symbols: Vec<&str> = self.symbols.iter().map(String::as_str).collect();
        if let Some(count) = self.settings.random_per_client {
            let mut draw = fastrand::Rng::with_seed(self.settings.seed.wrapping_add(index as u64));
            draw.shuffle(&mut symbols);
            symbols.truncate(count);
        }
        symbols
    }

    async fn drive(
        &self,
        connection: &mut Connection,
        symbols: &[&str],
        audit: &mut Audit,
    ) -> Result<(), LoadError> {
        for part in symbols.chunks(SYMBOLS_PER_MESSAGE) {
            let subscribe = subscribe_message(part, self.settings.source.as_deref());
            connection.send(&text_frame(&subscribe)).await?;
        }
        let stopped = self.progress.stop.cancelled();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => break,
                readable = connection.readable() => readable?,
            }
            self.take(connection, audit).await?;
        }
        self.close(connection).await
    }

    /// Reads once. The buffer is the thread's: it is not held across a wait, because a read only waits to answer a ping.
    async fn take(&self, connection: &mut Connection, audit: &mut Audit) -> Result<(), LoadError> {
        let mut buffer = self.buffer.take();
        if buffer.is_empty() {
            // Another client of this thread is just answering a ping with the buffer in its hands.
            buffer = vec![0; READ_BYTES];
        }
        let arrived_us = now_us();
        let measuring = self.progress.measuring.load(Ordering::Relaxed);
        let read = connection
            .read(&mut buffer, |text| {
                self.message(&mut self.tally.borrow_mut(), audit, text, measuring.then_some(arrived_us));
            })
            .await;
        self.buffer.replace(buffer);
        let read = read?;
        let mut tally = self.tally.borrow_mut();
        tally.pings += read.pings;
        if measuring {
            tally.window_bytes += read.bytes as u64;
        }
        match read.closed {
            Some(code) => Err(LoadError::Closed(code)),
            None => Ok(()),
        }
    }

    /// Takes one message; `arrived_us` only inside the measuring window.
    fn message(&self, tally: &mut Tally, audit: &mut Audit, text: &[u8], arrived_us: Option<i64>) {
        match scan(text) {
            Some(Scanned::Tick(tick)) => {
                audit.tick(tick.symbol, Position { epoch: tick.epoch, seq: tick.seq }, tick.snapshot);
                // A snapshot is as old as the symbol's last move, which says nothing of the way it took.
                if let (false, Some(arrived_us)) = (tick.snapshot, arrived_us) {
                    tally.tick(arrived_us, tick.timestamp_ms, tick.received_at_ms);
                }
            }
            Some(Scanned::Other(kind)) => {
                count_name(&mut tally.messages, &String::from_utf8_lossy(kind), 1);
                match kind {
                    b"gap" | b"error" | b"subscribeResponse" => rare_message(tally, audit, text),
                    _ => {}
                }
            }
            None => tally.unreadable += 1,
        }
    }

    async fn close(&self, connection: &mut Connection) -> Result<(), LoadError> {
        connection.send(&close_frame(1000)).await?;
        let answered = async {
            let mut buffer = [0; 4096];
            loop {
                connection.readable().await?;
                if connection.read(&mut buffer, |_| ()).await?.closed.is_some() {
                    return Ok::<_, LoadError>(());
                }
            }
        };
        // The run is over: how the server takes its leave is not part of the figures.
        let _ = timeout(CLOSE_TIMEOUT, answered).await;
        Ok(())
    }
}

/// Takes a message that is rare enough for a full JSON reader.
fn rare_message(tally: &mut Tally, audit: &mut Audit, text: &[u8]) {
    let Ok(message) = serde_json::from_slice::<Value>(text) else {
        tally.unreadable += 1;
        return;
    };
    match message["type"].as_str() {
        Some("gap") => match (message["symbol"].as_str(), message["missed"].as_u64()) {
            (Some(symbol), Some(missed)) => audit.gap(symbol.as_bytes(), missed),
            _ => tally.unreadable += 1,
        },
        Some("error") => {
            count_name(&mut tally.errors, message["code"].as_str().unwrap_or("no code"), 1);
        }
        _ => {
            for result in message["results"].as_array().into_iter().flatten() {
                if result["status"] == "error" {
                    count_name(&mut tally.errors, result["code"].as_str().unwrap_or("no code"), 1);
                }
            }
        }
    }
}

fn subscribe_message(symbols: &[&str], source: Option<&str>) -> String {
    let mut message = json!({"type": "subscribe", "symbols": symbols});
    if let Some(source) = source {
        message["source"] = source.into();
    }
    message.to_string()
}

/// The first `count` symbols the venue offers, learned from its status.
pub(crate) async fn offered_symbols(
    target: &Target,
    source: Option<&str>,
    count: usize,
) -> Result<Vec<String>, LoadError> {
    let asking = async {
        let mut connection = Connection::open(target).await?;
        connection.send(&text_frame(r#"{"type":"connect"}"#)).await?;
        let mut buffer = vec![0; READ_BYTES];
        let mut symbols = Vec::new();
        while symbols.is_empty() {
            connection.readable().await?;
            let read = connection
                .read(&mut buffer, |text| {
                    let Ok(message) = serde_json::from_slice::<Value>(text) else { return };
                    let of_source = source.is_none_or(|source| message["source"] == source);
                    if symbols.is_empty() && of_source && message["type"] == "status" {
                        let offered = message["availableSymbols"].as_array().into_iter().flatten();
                        symbols = offered.filter_map(Value::as_str).take(count).map(Into::into).collect();
                    }
                })
                .await?;
            if let Some(code) = read.closed {
                return Err(LoadError::Closed(code));
            }
        }
        Ok(symbols)
    };
    let symbols: Vec<String> = timeout(SYMBOLS_TIMEOUT, asking)
        .await
        .map_err(|_| LoadError::Symbols("no status with availableSymbols came in 15 s".into()))??;
    if symbols.len() < count {
        return Err(LoadError::Symbols(format!(
            "the venue offers {}, {count} were asked for",
            symbols.len()
        )));
    }
    Ok(symbols)
}

/// The wall clock, Unix microseconds: the stamps in the ticks are wall-clock times too.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
