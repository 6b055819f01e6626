//! Plays an ingest on the bus, for loads beyond what a venue gives.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Client, Event};
use clap::Parser;
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use loadgen::feed::{FeedPlan, tick_json};
use serde_json::json;
use tickcast_bus::{
    BusSettings, History, HistoryBounds, HistoryStorage, catalogue_subject, decode_lease, encode_catalogue,
    encode_channel_event, encode_health, health_subject, lease_subject, tick_subject,
};
use tickcast_model::{Symbol, VenueId};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Ticks made in one go before others get their turn.
const BURST: u64 = 2_000;

/// Between two rounds of ticks: finer than this the timer would cost more than the ticks.
const ROUND_MIN: Duration = Duration::from_micros(200);

/// Plays an ingest on the bus: health beats, a catalogue, and ticks stamped with the time at which they were due.
#[derive(Parser, Debug)]
#[command(name = "loadgen-feed", version)]
struct Arguments {
    /// The bus
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats_url: String,
    /// The venue to play
    #[arg(long, default_value = "bench")]
    venue: String,
    /// How many symbols (S00, S01, ...)
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    symbols: u32,
    /// Ticks of each symbol in a second; 0 = only what a lease asks to be repeated
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    ticks_per_s: u32,
    /// Everything takes so many times as long, for less than a tick a second
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    slowdown: u32,
    /// Publish each tick as JSON too, on `json.VENUE.SYMBOL`
    #[arg(long)]
    json: bool,
    /// Publish as JSON alone
    #[arg(long)]
    json_only: bool,
    /// Have the bus keep so many ticks of each symbol, as an ingest does; 0 = none
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    history: u32,
    /// End after so many seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

type Problem = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Problem::from)
        .and_then(|runtime| runtime.block_on(feed(arguments)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn feed(arguments: Arguments) -> Result<(), Problem> {
    let venue = VenueId::new(&arguments.venue).ok_or("not the name of a venue")?;
    let epoch = 1;
    let plan = FeedPlan {
        venue,
        epoch,
        symbols: arguments.symbols,
        ticks_per_s: arguments.ticks_per_s,
        slowdown: arguments.slowdown,
    };
    let settings = BusSettings { url: arguments.nats_url.clone(), ..BusSettings::default() };
    let (up, mut connected) = tokio::sync::mpsc::channel(1);
    let bus = tickcast_bus::connect(&settings, "loadgen-feed", 4096, move |event| {
        if matches!(event, Event::Connected) {
            let _ = up.try_send(());
        }
    })
    .await?;
    connected.recv().await.ok_or("no bus")?;
    if arguments.history > 0 {
        let bounds = HistoryBounds {
            storage: HistoryStorage::Memory,
            replicas: 1,
            age_max: Duration::from_secs(3_600),
            events_per_channel_max: arguments.history,
            bytes_max: 256 << 20,
        };
        History::new(bus.clone(), Duration::from_secs(5)).ensure(&bounds, true).await?;
    }
    let mut feed = Feed::new(plan, bus, &arguments)?;
    writeln!(std::io::stdout(), "{}", json!({"what": "feed", "venue": arguments.venue}))?;
    feed.run(Duration::from_secs(arguments.seconds)).await?;
    writeln!(std::io::stdout(), "{}", feed.summary())?;
    Ok(())
}

struct Feed {
    plan: FeedPlan,
    bus: Client,
    symbols: Vec<Symbol>,
    /// Subjects for protobuf and for JSON, by symbol.
    subjects: Vec<(String, String)>,
    writes_json: bool,
    writes_bus: bool,
    /// Number of the next tick.
    next: u64,
    start_us: i64,
    /// How much later than due ticks were published, microseconds.
    late_us: Histogram<u64>,
}

impl Feed {
    fn new(plan: FeedPlan, bus: Client, arguments: &Arguments) -> Result<Self, Problem> {
        let symbols: Vec<Symbol> = plan.catalogue().instruments.into_iter().map(|one| one.symbol).collect();
        let subjects = symbols
            .iter()
            .map(|symbol| {
                let subject = tick_subject(&plan.venue, symbol);
                let plain = subject.replacen("tick.", "json.", 1);
                (subject, plain)
            })
            .collect();
        Ok(Self {
            plan,
            bus,
            symbols,
            subjects,
            writes_json: arguments.json || arguments.json_only,
            writes_bus: !arguments.json_only,
            next: 0,
            start_us: 0,
            late_us: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        })
    }

    async fn run(&mut self, time: Duration) -> Result<(), Problem> {
        let mut asked = self.bus.subscribe(catalogue_subject(&self.plan.venue)).await?;
        let mut leases = self.bus.subscribe(lease_subject(&self.plan.venue)).await?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        let end = tokio::time::sleep_until(Instant::now() + time);
        tokio::pin!(end);
        let rounds = self.rounds()?;
        self.start_us = now_us();
        loop {
            tokio::select! {
                biased;
                () = &mut end => break,
                _ = terminated.recv() => break,
                _ = interrupted.recv() => break,
                _ = beat.tick() => self.beat().await?,
                Some(message) = asked.next() => if let Some(reply) = message.reply {
                    let catalogue = encode_catalogue(&self.plan.venue, self.plan.epoch, &self.plan.catalogue());
                    self.bus.publish(reply, catalogue.into()).await?;
                },
                Some(message) = leases.next() => self.repeat(&message.payload).await?,
                () = rounds.notified() => self.round().await?,
            }
        }
        #[expect(clippy::disallowed_methods, reason = "the process ends here")]
        self.bus.flush().await?;
        Ok(())
    }

    /// What wakes the feed for each round. A thread of its own, as the runtime's timer is only exact to a millisecond.
    fn rounds(&self) -> Result<Arc<Notify>, Problem> {
        let rounds = Arc::new(Notify::new());
        let per_s = self.plan.all_per_s();
        if per_s == 0 {
            return Ok(rounds);
        }
        let interval = (Duration::from_secs(1) * self.plan.slowdown / u32::try_from(per_s)?).max(ROUND_MIN);
        let listener = Arc::downgrade(&rounds);
        let start = std::time::Instant::now();
        std::thread::Builder::new().name("rounds".into()).spawn(move || {
            let mut due = Duration::ZERO;
            while let Some(rounds) = listener.upgrade() {
                rounds.notify_one();
                // Rounds that were missed are left out: the feed publishes all that is due in any case.
                due = (due + interval).max(start.elapsed().saturating_sub(interval));
                #[expect(clippy::disallowed_methods, reason = "a thread that does nothing else")]
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
        })?;
        Ok(rounds)
    }

    /// Publishes what is due.
    async fn round(&mut self) -> Result<(), Problem> {
        for _ in 0..BURST {
            let due_us = self.start_us + i64::try_from(self.plan.due_us(self.next))?;
            let sent_us = now_us();
            if due_us > sent_us {
                break;
            }
            let (number, seq) = self.plan.turn(self.next);
            self.next += 1;
            self.late_us.saturating_record(u64::try_from(sent_us - due_us)?);
            self.publish(number as usize, seq, due_us, sent_us, false).await?;
        }
        Ok(())
    }

    async fn publish(
        &self,
        number: usize,
        seq: u64,
        due_us: i64,
        sent_us: i64,
        snapshot: bool,
    ) -> Result<(), Problem> {
        let (Some(symbol), Some((subject, plain))) = (self.symbols.get(number), self.subjects.get(number))
        else {
            return Ok(());
        };
        let event = self.plan.event(symbol, seq, due_us, sent_us, snapshot);
        if self.writes_bus {
            self.bus.publish(subject.clone(), encode_channel_event(&event).into()).await?;
        }
        if self.writes_json && !snapshot {
            self.bus.publish(plain.clone(), tick_json(&self.plan.venue, &event).into()).await?;
        }
        Ok(())
    }

    async fn beat(&self) -> Result<(), Problem> {
        let health = encode_health(&self.plan.health(now_us() / 1000));
        Ok(self.bus.publish(health_subject(&self.plan.venue), health.into()).await?)
    }

    /// Says the last tick of every symbol of a lease that asks for it, or that may be new.
    async fn repeat(&self, lease: &[u8]) -> Result<(), Problem> {
        let lease = decode_lease(lease)?;
        let mut wanted: Vec<usize> = lease
            .symbols
            .iter()
            .filter_map(|symbol| symbol.as_str().strip_prefix('S')?.parse().ok())
            .filter(|number| *number < self.symbols.len())
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        for number in wanted {
            let symbols = self.symbols.len() as u64;
            // Ticks published so far of this symbol; before its first one there is a quote of yesterday.
            let seq = (self.next + symbols - 1 - number as u64) / symbols;
            if seq == 0 && self.plan.ticks_per_s > 0 {
                continue;
            }
            let now_us = now_us();
            self.publish(number, seq.max(1), now_us, now_us, true).await?;
        }
        Ok(())
    }

    fn summary(&self) -> serde_json::Value {
        json!({
            "published": self.next,
            "late_p50_us": self.late_us.value_at_quantile(0.5),
            "late_p99_us": self.late_us.value_at_quantile(0.99),
            "late_max_us": self.late_us.max(),
        })
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
