//! The ceiling: bare non-blocking sends of finished WebSocket frames to every client, one thread, nothing else.
//!
//! It upgrades the load tool's clients (whose key is known), reads nothing after that, and sends to all of them the same
//! bytes a gateway would. A client that takes nothing is skipped and counted. Its figures go to standard output as one
//! JSON line a second.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use baseline::rounds::Rounds;
use baseline::wire::put_text;
use clap::Parser;
use hdrhistogram::Histogram;
use loadgen::feed::{FeedPlan, tick_json};
use loadgen::{ServerUse, upgrade_answer};
use serde_json::json;
use tickcast_model::{Symbol, VenueId};

/// A client has this long for its part of the upgrade.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);

/// The longest request read, bytes.
const REQUEST_BYTES_MAX: usize = 8192;

/// Sends finished frames to so many clients at a rate, as fast as the kernel takes them.
#[derive(Parser, Debug)]
#[command(name = "calibrator", version)]
struct Arguments {
    /// Clients to wait for
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    clients: u32,
    /// Symbols (S00, S01, ...), all sent to every client
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    symbols: u32,
    /// Ticks of each symbol in a second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ticks_per_s: u32,
    /// All ticks of so many milliseconds in one send; 0 = a send for each tick
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    window_ms: u64,
    /// End after so many seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

fn main() -> ExitCode {
    match calibrate(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn calibrate(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let venue = VenueId::new("bench").ok_or("venue")?;
    let plan = FeedPlan {
        venue,
        epoch: 1,
        symbols: arguments.symbols,
        ticks_per_s: arguments.ticks_per_s,
        slowdown: 1,
    };
    let symbols: Vec<Symbol> = plan.catalogue().instruments.into_iter().map(|one| one.symbol).collect();

    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&json!({"what": "websocket", "addr": listener.local_addr()?.to_string()}))?;
    let mut clients = Vec::new();
    for _ in 0..arguments.clients {
        clients.push(upgrade(&listener)?);
    }

    let mut rounds = Rounds::new(plan, arguments.window_ms * 1000);
    let mut bytes = Vec::new();
    let (mut sends, mut ticks, mut skipped) = (0_u64, 0_u64, 0_u64);
    let mut pass_us = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let (start, start_us) = (Instant::now(), now_us());
    let mut told = start;
    while Instant::now() < end {
        let due = Duration::from_micros(rounds.due_us());
        if let Some(left) = due.checked_sub(start.elapsed()) {
            #[expect(clippy::disallowed_methods, reason = "one thread that owns everything, and no runtime")]
            std::thread::sleep(left);
        }
        let passed_us = u64::try_from(start.elapsed().as_micros())?;
        bytes.clear();
        let due = rounds.take(passed_us);
        let in_round = due.end - due.start;
        for index in due {
            let (number, seq) = rounds.plan.turn(index);
            let due_us = start_us + i64::try_from(rounds.plan.due_us(index))?;
            let symbol = symbols.get(number as usize).ok_or("symbol")?;
            let event = rounds.plan.event(symbol, seq, due_us, now_us(), false);
            put_text(&mut bytes, &tick_json(&rounds.plan.venue, &event));
        }
        let pass = Instant::now();
        for client in &mut clients {
            // Half a frame may have been taken: then its rest has to go first, and this client is behind for good.
            if !client.unsent.is_empty() {
                client.send_rest()?;
            }
            if !client.unsent.is_empty() {
                skipped += in_round;
                continue;
            }
            sends += 1;
            match client.stream.write(&bytes) {
                Ok(sent) if sent < bytes.len() => client.unsent = bytes[sent..].to_vec(),
                Ok(_) => ticks += in_round,
                Err(error) if error.kind() == ErrorKind::WouldBlock => skipped += in_round,
                Err(_) => return Ok(()), // the run is over
            }
        }
        pass_us.saturating_record(u64::try_from(pass.elapsed().as_micros())?);
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            let cpu = ServerUse::read(std::process::id()).ok_or("/proc")?.cpu.as_secs_f64();
            say(&json!({
                "sends": sends, "ticks": ticks, "skipped": skipped, "cpu_s": cpu,
                "pass_p50_us": pass_us.value_at_quantile(0.5), "pass_p99_us": pass_us.value_at_quantile(0.99),
            }))?;
        }
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Client {
    fn send_rest(&mut self) -> std::io::Result<()> {
        match self.stream.write(&self.unsent) {
            Ok(sent) => _ = self.unsent.drain(..sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Takes the next client through its upgrade.
fn upgrade(listener: &TcpListener) -> std::io::Result<Client> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(UPGRADE_WITHIN))?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut buffer)?;
        if read == 0 || request.len() > REQUEST_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        request.extend_from_slice(&buffer[..read]);
    }
    stream.write_all(upgrade_answer().as_bytes())?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(Client { stream, unsent: Vec::new() })
}

fn say(line: &serde_json::Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
