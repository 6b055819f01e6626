use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tickcast_model::{AuthState, CauseKind, DataState, LinkState, VenueHealth};

/// The metrics of an ingest (contract, section 5). All of them carry the venue, so several can share a dashboard.
#[derive(Clone)]
pub(crate) struct IngestMetrics {
    attempts: Counter,
    failures: Family<Failure, Counter>,
    recovery_seconds: Histogram,
    ticks_received: Counter,
    events_published: Counter,
    publish_failures: Counter,
    outbox_events: Gauge,
    outbox_dropped: Counter,
    orders_waiting: Gauge,
    intake_dropped: Counter,
    intake_unreadable: Family<Unreadable, Counter>,
    leases: Gauge,
    demand_refused: Counter,
    wanted: Gauge,
    requests: Family<Request, Counter>,
    pacing_seconds: Family<Request, Histogram, fn() -> Histogram>,
    odd: Family<Odd, Counter>,
    symbol_states: Family<State, Counter>,
    axis: Family<Axis, Gauge>,
    venue_latency_seconds: Histogram,
    bus_connected: Gauge,
    slow_consumer: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Unreadable {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    request: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Odd {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Axis {
    axis: &'static str,
    state: &'static str,
}

/// What is registered with it carries the venue.
fn of_venue<'a>(registry: &'a mut Registry, venue: &str) -> &'a mut Registry {
    registry.sub_registry_with_label(("venue".into(), venue.to_owned().into()))
}

/// Upper bounds from half a millisecond to half a minute.
const LATENCY_SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Upper bounds from a tenth of a second to a day.
const RECOVERY_SECONDS: [f64; 10] = [0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 86_400.0];

/// Upper bounds from a hundredth of a second to five minutes, the longest pause a venue may ask for.
const PACING_SECONDS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

impl IngestMetrics {
    pub(crate) fn register(registry: &mut Registry, venue: &str) -> Self {
        let registry = of_venue(registry, venue);
        let m = Self {
            attempts: Counter::default(),
            failures: Family::default(),
            recovery_seconds: Histogram::new(RECOVERY_SECONDS),
            ticks_received: Counter::default(),
            events_published: Counter::default(),
            publish_failures: Counter::default(),
            outbox_events: Gauge::default(),
            outbox_dropped: Counter::default(),
            orders_waiting: Gauge::default(),
            intake_dropped: Counter::default(),
            intake_unreadable: Family::default(),
            leases: Gauge::default(),
            demand_refused: Counter::default(),
            wanted: Gauge::default(),
            requests: Family::default(),
            pacing_seconds: Family::new_with_constructor(|| Histogram::new(PACING_SECONDS)),
            odd: Family::default(),
            symbol_states: Family::default(),
            axis: Family::default(),
            venue_latency_seconds: Histogram::new(LATENCY_SECONDS),
            bus_connected: Gauge::default(),
            slow_consumer: Counter::default(),
        };
        macro_rules! metric {
            ($name:literal, $help:literal, $field:ident) => {
                registry.register($name, $help, m.$field.clone());
            };
        }
        metric!("upstream_connection_attempts", "Connections to the venue begun", attempts);
        metric!(
            "upstream_connection_failures",
            "Connections to the venue that failed or ended, by cause",
            failures
        );
        metric!("ticks_received", "Quotes read from the venue", ticks_received);
        metric!("events_published", "Channel events handed to the bus", events_published);
        metric!("publish_failures", "Messages the bus client did not take", publish_failures);
        metric!("outbox_events", "Channel events waiting for the bus", outbox_events);
        metric!(
            "outbox_dropped",
            "Channel events given up because the outbox was full or the bus away",
            outbox_dropped
        );
        metric!("orders_waiting", "Leases and questions waiting for the venue loop", orders_waiting);
        metric!(
            "intake_dropped",
            "Leases and questions passed over because the venue loop was behind",
            intake_dropped
        );
        metric!("intake_unreadable", "Messages on the bus that make no sense, by kind", intake_unreadable);
        metric!("leases", "Demand leases running", leases);
        metric!(
            "demand_refused",
            "Leases refused by a limit, and symbols left out of leases, each once",
            demand_refused
        );
        metric!("wanted_symbols", "Symbols wanted, lingering ones included", wanted);
        metric!("upstream_requests", "Requests sent to the venue, by kind", requests);
        metric!("upstream_oddities", "Unexpected things the venue did that were passed over, by kind", odd);
        metric!("symbol_states", "States said of symbols, by state", symbol_states);
        metric!("venue_health", "1 for the state an axis is in (link, auth, data), else 0", axis);
        metric!("bus_connected", "1 while the bus is connected", bus_connected);
        metric!("bus_slow_consumer", "Times a bus subscription was full", slow_consumer);
        registry.register_with_unit(
            "upstream_pacing_delay",
            "How long a request was held back for the venue's rate limit, each time it was, by kind",
            Unit::Seconds,
            m.pacing_seconds.clone(),
        );
        registry.register_with_unit(
            "recovery",
            "From a lost connection (or the start) to a login",
            Unit::Seconds,
            m.recovery_seconds.clone(),
        );
        registry.register_with_unit(
            "venue_to_ingest_latency",
            "From the venue's time of a quote to its arrival, as far as the clocks agree",
            Unit::Seconds,
            m.venue_latency_seconds.clone(),
        );
        m
    }

    pub(crate) fn attempt(&self) {
        self.attempts.inc();
    }

    pub(crate) fn failure(&self, cause: CauseKind) {
        self.failures.get_or_create(&Failure { cause: cause.code() }).inc();
    }

    pub(crate) fn recovered(&self, after: Duration) {
        self.recovery_seconds.observe(after.as_secs_f64());
    }

    pub(crate) fn tick(&self, latency: Option<f64>) {
        self.ticks_received.inc();
        if let Some(latency) = latency {
            self.venue_latency_seconds.observe(latency);
        }
    }

    pub(crate) fn published(&self, events: u64) {
        self.events_published.inc_by(events);
    }

    pub(crate) fn publish_failed(&self) {
        self.publish_failures.inc();
    }

    pub(crate) fn orders(&self, waiting: usize) {
        self.orders_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    pub(crate) fn intake_dropped(&self) {
        self.intake_dropped.inc();
    }

    pub(crate) fn intake_unreadable(&self, kind: &'static str) {
        self.intake_unreadable.get_or_create(&Unreadable { kind }).inc();
    }

    pub(crate) fn outbox(&self, waiting: usize, dropped: u64) {
        self.outbox_events.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.outbox_dropped.inc_by(dropped);
    }

    pub(crate) fn demand(&self, leases: usize, refused: u64, wanted: usize) {
        self.leases.set(i64::try_from(leases).unwrap_or(i64::MAX));
        self.demand_refused.inc_by(refused);
        self.wanted.set(i64::try_from(wanted).unwrap_or(i64::MAX));
    }

    pub(crate) fn request(&self, request: &'static str) {
        self.requests.get_or_create(&Request { request }).inc();
    }

    pub(crate) fn paced(&self, request: &'static str, delay: Duration) {
        self.pacing_seconds.get_or_create(&Request { request }).observe(delay.as_secs_f64());
    }

    pub(crate) fn symbol_state(&self, state: &'static str) {
        self.symbol_states.get_or_create(&State { state }).inc();
    }

    pub(crate) fn odd(&self, kind: &'static str) {
        self.odd.get_or_create(&Odd { kind }).inc();
    }

    pub(crate) fn bus(&self, connected: bool) {
        self.bus_connected.set(connected.into());
    }

    pub(crate) fn slow_consumer(&self) {
        self.slow_consumer.inc();
    }

    pub(crate) fn health(&self, health: &VenueHealth) {
        for state in LinkState::ALL {
            self.axis("link", state.as_str(), state == health.link);
        }
        for state in AuthState::ALL {
            self.axis("auth", state.as_str(), state == health.auth);
        }
        for state in DataState::ALL {
            self.axis("data", state.as_str(), state == health.data);
        }
    }

    fn axis(&self, axis: &'static str, state: &'static str, is: bool) {
        self.axis.get_or_create(&Axis { axis, state }).set(is.into());
    }
}

/// The metrics of the leader lease.
#[derive(Clone)]
pub(crate) struct LeaderMetrics {
    leader: Gauge,
    epoch: Gauge,
    terms: Counter,
    step_downs: Family<StepDown, Counter>,
    failures: Counter,
    operation_seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepDown {
    cause: &'static str,
}

impl LeaderMetrics {
    pub(crate) fn register(registry: &mut Registry, venue: &str) -> Self {
        let registry = of_venue(registry, venue);
        let m = Self {
            leader: Gauge::default(),
            epoch: Gauge::default(),
            terms: Counter::default(),
            step_downs: Family::default(),
            failures: Counter::default(),
            operation_seconds: Histogram::new(LATENCY_SECONDS),
        };
        registry.register("leader", "1 while this process holds the venue account's lease", m.leader.clone());
        registry.register("leader_epoch", "Epoch of the present term, 0 while standing by", m.epoch.clone());
        registry.register("leader_terms", "Terms begun by this process", m.terms.clone());
        registry.register(
            "leader_step_downs",
            "Terms that ended without being given back, by cause",
            m.step_downs.clone(),
        );
        registry.register(
            "leader_operation_failures",
            "Operations on the leader lease whose outcome is not known",
            m.failures.clone(),
        );
        registry.register_with_unit(
            "leader_operation",
            "Time for an operation on the leader lease",
            Unit::Seconds,
            m.operation_seconds.clone(),
        );
        m.leads(None);
        m
    }

    /// Leading in this epoch, or standing by.
    pub(crate) fn leads(&self, epoch: Option<u64>) {
        self.leader.set(epoch.is_some().into());
        self.epoch.set(i64::try_from(epoch.unwrap_or(0)).unwrap_or(i64::MAX));
        if epoch.is_some() {
            self.terms.inc();
        }
    }

    pub(crate) fn step_down(&self, cause: &'static str) {
        self.step_downs.get_or_create(&StepDown { cause }).inc();
    }

    pub(crate) fn operation(&self, took: Duration, is_known: bool) {
        self.operation_seconds.observe(took.as_secs_f64());
        if !is_known {
            self.failures.inc();
        }
    }
}

/// The metrics of the history.
#[derive(Clone)]
pub(crate) struct HistoryMetrics {
    kept: Gauge,
    failures: Counter,
}

impl HistoryMetrics {
    pub(crate) fn register(registry: &mut Registry, venue: &str) -> Self {
        let registry = of_venue(registry, venue);
        let m = Self { kept: Gauge::default(), failures: Counter::default() };
        registry.register(
            "history_kept",
            "1 while the bus was last seen keeping the history",
            m.kept.clone(),
        );
        registry.register(
            "history_failures",
            "Times the stream of the history was not there and could not be made, or could not be set right",
            m.failures.clone(),
        );
        m
    }

    pub(crate) fn kept(&self, is_kept: bool) {
        self.kept.set(is_kept.into());
        if !is_kept {
            self.failures.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn what_the_contract_asks_of_an_ingest_is_there_and_every_line_carries_the_venue() {
        let mut registry = Registry::default();
        let m = IngestMetrics::register(&mut registry, "here");
        let leader = LeaderMetrics::register(&mut registry, "here");
        HistoryMetrics::register(&mut registry, "here").kept(true);
        m.attempt();
        m.failure(CauseKind::Refused);
        m.recovered(Duration::from_secs(2));
        m.tick(Some(0.02));
        m.published(3);
        m.publish_failed();
        m.outbox(4, 5);
        m.orders(6);
        m.intake_dropped();
        m.intake_unreadable("lease");
        m.demand(7, 8, 9);
        m.request("subscribe");
        m.paced("subscribe", Duration::from_millis(40));
        m.paced("subscribe", Duration::from_millis(20));
        m.odd("answer_to_nothing");
        m.symbol_state("live");
        m.bus(true);
        m.slow_consumer();
        leader.leads(Some(17));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"upstream_connection_attempts_total{venue="here"} 1"#,
            r#"upstream_connection_failures_total{venue="here",cause="refused"} 1"#,
            r#"recovery_seconds_sum{venue="here"} 2.0"#,
            r#"ticks_received_total{venue="here"} 1"#,
            r#"venue_to_ingest_latency_seconds_count{venue="here"} 1"#,
            r#"events_published_total{venue="here"} 3"#,
            r#"publish_failures_total{venue="here"} 1"#,
            r#"outbox_events{venue="here"} 4"#,
            r#"outbox_dropped_total{venue="here"} 5"#,
            r#"orders_waiting{venue="here"} 6"#,
            r#"intake_dropped_total{venue="here"} 1"#,
            r#"intake_unreadable_total{venue="here",kind="lease"} 1"#,
            r#"leases{venue="here"} 7"#,
            r#"demand_refused_total{venue="here"} 8"#,
            r#"wanted_symbols{venue="here"} 9"#,
            r#"upstream_requests_total{venue="here",request="subscribe"} 1"#,
            r#"upstream_pacing_delay_seconds_count{venue="here",request="subscribe"} 2"#,
            r#"upstream_oddities_total{venue="here",kind="answer_to_nothing"} 1"#,
            r#"symbol_states_total{venue="here",state="live"} 1"#,
            r#"bus_connected{venue="here"} 1"#,
            r#"bus_slow_consumer_total{venue="here"} 1"#,
            r#"history_kept{venue="here"} 1"#,
            r#"leader{venue="here"} 1"#,
            r#"leader_epoch{venue="here"} 17"#,
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in {text}");
        }
        let elsewhere = text.lines().find(|line| !line.starts_with('#') && !line.contains(r#"venue="here""#));
        assert_eq!(elsewhere, None);
    }
}
