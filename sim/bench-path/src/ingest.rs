use std::time::Duration;

use tickcast_bus::{encode_lease, lease_subject};
use tickcast_model::{Lease, Symbol, VenueId};

use crate::Plan;
use crate::bus::Bus;
use crate::error::BenchError;
use crate::pace::Pace;
use crate::program::{Place, Program, eventually, metric, page};
use crate::report::{Measure, Sample, Window};
use crate::venue::{FloodVenue, names};

/// The longest an ingest lets a lease run; it is renewed before each run.
const LEASE_TTL_MS: u64 = 300_000;

/// Venue bytes on a TLS socket, through a real ingest-ctrader, to a real nats-server.
pub(crate) async fn run(plan: &Plan) -> Result<Measure, BenchError> {
    let place = Place::new("ingest")?;
    let ca_file = place.path().join("venue.pem");
    let venue = FloodVenue::start(plan.symbols, plan.quotes_per_record, &ca_file)?;
    let bus = Bus::start(&place).await?;
    let settings = sim_ctrader::VenueSettings::default();
    let environment = [
        ("LOG_FORMAT", "json".to_owned()),
        ("NATS_URL", bus.url()),
        ("CTRADER_HOST", "localhost".to_owned()),
        ("CTRADER_PORT", venue.addr.port().to_string()),
        ("CTRADER_CA_FILE", ca_file.to_string_lossy().into_owned()),
        ("CTRADER_CLIENT_ID", settings.client_id),
        ("CTRADER_CLIENT_SECRET", settings.client_secret),
        ("CTRADER_ACCESS_TOKEN", settings.access_token),
        ("CTRADER_ACCOUNT_ID", settings.account_id.to_string()),
    ];
    let ingest = Program::of_workspace(&place, "ingest-ctrader", &environment)?;
    let admin = ingest.listening("admin").await?;

    let client = async_nats::connect(bus.url()).await.map_err(|error| BenchError::bus(&error))?;
    let id = VenueId::new("ctrader").ok_or_else(|| BenchError::Bus("no venue".into()))?;
    let lease = Lease {
        holder: "bench-path".into(),
        generation: 1,
        ttl_ms: LEASE_TTL_MS,
        symbols: names(plan.symbols).iter().filter_map(|name| Symbol::new(name)).collect(),
        repeat_last: false,
    };
    let want = async || {
        let said = client.publish(lease_subject(&id), encode_lease(&lease).into()).await;
        said.map_err(|error| BenchError::bus(&error))
    };
    eventually("ingest-ctrader to subscribe to all symbols", async || {
        want().await.ok()?;
        venue.is_subscribed().then_some(())
    })
    .await?;

    let mut measure = Measure::new("venue bytes to bus", "ingest-ctrader", plan);
    for rate in plan.turns() {
        want().await?;
        let read = || -> Result<Reading, BenchError> {
            let text = page(admin, "/metrics")?;
            Ok(Reading {
                events: metric(&text, "tickcast_ticks_received_total"),
                done: metric(&text, "tickcast_events_published_total"),
                arrived: bus.received()?,
                lost: metric(&text, "tickcast_outbox_dropped_total"),
            })
        };
        measure.samples.push(sample(plan, rate, &venue.pace, &ingest, &bus, read).await?);
    }
    Ok(measure)
}

/// What a program has done so far.
pub(crate) struct Reading {
    /// Events taken in.
    pub(crate) events: u64,
    /// Events through to the end.
    pub(crate) done: u64,
    /// Messages the bus received.
    pub(crate) arrived: u64,
    /// Events lost on the way, as far as the program counts them.
    pub(crate) lost: u64,
}

/// One run: some time for the flow to become even, then the window.
pub(crate) async fn sample(
    plan: &Plan,
    rate: u64,
    pace: &Pace,
    program: &Program,
    bus: &Bus,
    read: impl Fn() -> Result<Reading, BenchError>,
) -> Result<Sample, BenchError> {
    pace.send(rate);
    tokio::time::sleep(plan.window / 4).await;
    let (sent, before, cpu, bus_cpu) = (pace.sent(), read()?, program.cpu()?, bus.program.cpu()?);
    let began = tokio::time::Instant::now();
    tokio::time::sleep(plan.window).await;
    let (sent_after, cpu_after, bus_cpu_after) = (pace.sent(), program.cpu()?, bus.program.cpu()?);
    let (after, took) = (read()?, began.elapsed());
    pace.pause();
    // What is on its way arrives before the next run begins, and what was lost is counted with the next beat.
    tokio::time::sleep(if rate == 0 { Duration::from_millis(1_500) } else { Duration::from_millis(200) })
        .await;
    let window = Window {
        took,
        sent: sent_after - sent,
        taken: after.events - before.events,
        done: after.done - before.done,
        arrived: after.arrived - before.arrived,
        lost: after.lost - before.lost,
        cpu: cpu_after.saturating_sub(cpu),
        bus_cpu: bus_cpu_after.saturating_sub(bus_cpu),
    };
    Ok(Sample::new(rate, &window))
}
