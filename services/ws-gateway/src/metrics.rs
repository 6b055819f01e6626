use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tickcast_model::{AuthState, DataState, LinkState, VenueId};

use crate::protocol::{ErrorCode, StatusView};
use crate::why::{Answer, Asked};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// What the gateway counts. What happens often holds its own counter; the rest is looked up by its labels.
pub struct GatewayMetrics {
    /// Clients now.
    pub connections: Gauge,
    /// Connections being served over HTTP now: handshakes of clients to be, and requests.
    pub http_connections: Gauge,
    /// Clients there ever were.
    pub opened: Counter,
    /// How long clients stayed.
    pub duration: Histogram,
    /// Ticks handed to clients' sockets.
    pub delivered: Counter,
    /// Ticks merged into later ones.
    pub merged: Counter,
    /// Times when a client was too slow and what was pending was passed over.
    pub passed_over: Counter,
    /// Ticks announced to clients as missing.
    pub missed: Counter,
    /// Writes to clients' sockets.
    pub writes: Counter,
    /// Bytes clients' sockets took.
    pub written_bytes: Counter,
    /// From this gateway's hub into the client's socket; a sample of the writes.
    pub to_socket: Histogram,
    /// Symbols clients are subscribed to now, over all clients.
    pub subscriptions: Gauge,
    /// Channels with a bus subscription now.
    pub channels: Gauge,
    /// Ticks written as JSON.
    pub encodes: Counter,
    /// Bus subscriptions that were full.
    pub slow_consumer: Counter,
    /// Events on the bus that could not be read or did not belong where they were.
    pub bad_events: Counter,
    /// Questions "why" that were answered by one already on its way.
    pub why_shared: Counter,
    /// Questions "why" that were refused, as too many were on their way.
    pub why_refused: Counter,
    why_asked: Counters,
    why_answers: Counters,
    closed: Counters,
    drops: Counters,
    depths: Family<Labels, Gauge>,
    errors: Counters,
    received: Counters,
    ignored: Counters,
    leases: Counters,
    latency: Histograms,
    health: Family<Labels, Gauge>,
    bus_up: Gauge,
    refused: Counters,
    history_reads: Counters,
    history: HistoryMetrics,
}

/// The counters of the reads of channels' histories.
#[derive(Clone)]
pub struct HistoryMetrics {
    /// Done.
    pub read: Counter,
    /// Not done, for there is no history.
    pub absent: Counter,
    /// Not done, for something went wrong.
    pub failed: Counter,
    /// Not tried, as one had just got no answer.
    pub spared: Counter,
    /// Not finished, as nobody wants it any more.
    pub let_go: Counter,
    /// Those for many channels at once, each of which counts as one of the above too.
    pub together: Counter,
    /// Done a second time, as ticks were missing between history and what came live.
    pub again: Counter,
    /// Ticks found.
    pub filled: Counter,
    /// How long they took.
    pub duration: Histogram,
}

/// The counters of one venue's ticks.
pub struct TickMetrics {
    /// Ticks taken from the bus.
    pub received: Counter,
    /// Ticks and states that were there before.
    pub repeated: Counter,
    /// Events of a replaced incarnation.
    pub old_epoch: Counter,
    /// From the venue's clock to ingest.
    pub venue_to_ingest: Histogram,
    /// From ingest to this gateway.
    pub ingest_to_gateway: Histogram,
}

/// The hops that have a label of their own.
const WHY_HOPS: [&str; 11] = [
    "none",
    "client",
    "gateway",
    "bus",
    "leader",
    "link",
    "login",
    "demand",
    "subscription",
    "schedule",
    "ticks",
];

/// From 100 µs to 5 s.
const LATENCY_S: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// From a second to a day.
const DURATION_S: [f64; 9] = [1.0, 5.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 28_800.0, 86_400.0];

fn latency() -> Histogram {
    Histogram::new(LATENCY_S)
}

impl GatewayMetrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let latency_family = Histograms::new_with_constructor(latency);
        let to_socket = vec![("stage", "gateway_to_socket".to_owned())];
        let to_socket = latency_family.get_or_create(&to_socket).clone();
        let history_reads = Counters::default();
        let reads = |result: &str| history_reads.get_or_create(&vec![("result", result.to_owned())]).clone();
        let history = HistoryMetrics {
            read: reads("read"),
            absent: reads("absent"),
            failed: reads("failed"),
            spared: reads("spared"),
            let_go: reads("let_go"),
            together: Counter::default(),
            again: Counter::default(),
            filled: Counter::default(),
            duration: latency(),
        };
        let metrics = Self {
            connections: Gauge::default(),
            http_connections: Gauge::default(),
            opened: Counter::default(),
            duration: Histogram::new(DURATION_S),
            delivered: Counter::default(),
            merged: Counter::default(),
            passed_over: Counter::default(),
            missed: Counter::default(),
            writes: Counter::default(),
            written_bytes: Counter::default(),
            to_socket,
            subscriptions: Gauge::default(),
            channels: Gauge::default(),
            encodes: Counter::default(),
            slow_consumer: Counter::default(),
            bad_events: Counter::default(),
            why_shared: Counter::default(),
            why_refused: Counter::default(),
            why_asked: Counters::default(),
            why_answers: Counters::default(),
            closed: Counters::default(),
            drops: Counters::default(),
            depths: Family::default(),
            errors: Counters::default(),
            received: Counters::default(),
            ignored: Counters::default(),
            leases: Counters::default(),
            latency: latency_family,
            health: Family::default(),
            bus_up: Gauge::default(),
            refused: Counters::default(),
            history_reads,
            history,
        };
        let r = registry;
        r.register("connections", "Clients connected now", metrics.connections.clone());
        let http = metrics.http_connections.clone();
        r.register("http_connections", "Connections served over HTTP now, handshakes included", http);
        r.register("connections_opened", "Clients that ever connected", metrics.opened.clone());
        r.register("connections_closed", "Clients gone, by close code", metrics.closed.clone());
        r.register("connections_refused", "Handshakes refused, by reason", metrics.refused.clone());
        let duration = metrics.duration.clone();
        r.register_with_unit("connection_duration", "How long clients stayed", Unit::Seconds, duration);
        r.register("ticks_received", "Ticks taken from the bus", metrics.received.clone());
        r.register("ticks_delivered", "Ticks written to clients", metrics.delivered.clone());
        r.register("ticks_merged", "Ticks merged into later ones for clients", metrics.merged.clone());
        let passed_over = metrics.passed_over.clone();
        r.register(
            "clients_passed_over",
            "Times a client too slow for every tick went on with the newest",
            passed_over,
        );
        r.register("ticks_missed", "Ticks announced to clients as missing", metrics.missed.clone());
        r.register("socket_writes", "Writes to clients' sockets", metrics.writes.clone());
        let written = metrics.written_bytes.clone();
        r.register_with_unit("socket_written", "What clients' sockets took", Unit::Bytes, written);
        r.register("ticks_encoded", "Ticks written as JSON", metrics.encodes.clone());
        r.register("events_ignored", "Bus events without effect, by reason", metrics.ignored.clone());
        r.register("events_unreadable", "Bus events that make no sense", metrics.bad_events.clone());
        let latency = metrics.latency.clone();
        r.register_with_unit("delivery_latency", "Time a tick needs, by stage", Unit::Seconds, latency);
        r.register("subscriptions", "Symbols subscribed to, over all clients", metrics.subscriptions.clone());
        r.register("channels", "Channels subscribed to on the bus", metrics.channels.clone());
        r.register("queue_drops", "What was dropped at a full queue, by queue", metrics.drops.clone());
        r.register("queue_depth", "What waits in a bounded queue now, by queue", metrics.depths.clone());
        r.register("leases_published", "Demand leases published", metrics.leases.clone());
        r.register("errors", "Requests refused, by code", metrics.errors.clone());
        r.register("venue_health", "1 for the state each axis of a venue has", metrics.health.clone());
        r.register("bus_up", "Whether the bus is connected", metrics.bus_up.clone());
        r.register("bus_slow_consumer", "Times a bus subscription was full", metrics.slow_consumer.clone());
        let asked = metrics.why_asked.clone();
        r.register(
            "why_questions",
            "Questions about a symbol put to its ingest, by what became of them",
            asked,
        );
        r.register("why_questions_shared", "Those who got another's answer", metrics.why_shared.clone());
        r.register("why_questions_refused", "Those too many", metrics.why_refused.clone());
        let answers = metrics.why_answers.clone();
        r.register("why_answers", "Answers to why a symbol is quiet, by the first wrong hop", answers);
        r.register("history_reads", "Reads of channels' histories, by result", metrics.history_reads.clone());
        r.register(
            "history_reads_together",
            "Reads for many channels of a venue at once",
            metrics.history.together.clone(),
        );
        r.register(
            "history_reads_again",
            "Second reads, as ticks were missing between history and what came live",
            metrics.history.again.clone(),
        );
        r.register("history_ticks_filled", "Ticks taken from history", metrics.history.filled.clone());
        let reading = metrics.history.duration.clone();
        r.register_with_unit(
            "history_read",
            "How long a read of a channel's history took",
            Unit::Seconds,
            reading,
        );
        metrics
    }

    /// The counters of the reads of channels' histories.
    pub fn history(&self) -> HistoryMetrics {
        self.history.clone()
    }

    /// The counters of a venue's ticks.
    pub fn ticks(&self, venue: &VenueId) -> Arc<TickMetrics> {
        let of = |reason: &str| {
            let labels = vec![("venue", venue.to_string()), ("reason", reason.to_owned())];
            self.ignored.get_or_create(&labels).clone()
        };
        let stage = |stage: &str| {
            let labels = vec![("stage", stage.to_owned()), ("venue", venue.to_string())];
            self.latency.get_or_create(&labels).clone()
        };
        Arc::new(TickMetrics {
            received: self.received.get_or_create(&vec![("venue", venue.to_string())]).clone(),
            repeated: of("repeated"),
            old_epoch: of("old_epoch"),
            venue_to_ingest: stage("venue_to_ingest"),
            ingest_to_gateway: stage("ingest_to_gateway"),
        })
    }

    /// A client is gone. Codes of its own choice count together.
    pub fn closed(&self, code: u16) {
        let is_known = matches!(code, 1000..=1015 | 4001..=4004 | 4408);
        let code = if is_known { code.to_string() } else { "other".to_owned() };
        self.closed.get_or_create(&vec![("code", code)]).inc();
    }

    /// A handshake was refused.
    pub fn refused(&self, reason: &str) {
        self.refused.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// A queue was full.
    pub fn dropped(&self, queue: &str) {
        self.drops.get_or_create(&vec![("queue", queue.to_owned())]).inc();
    }

    /// How much waits in a queue now.
    pub fn depth(&self, queue: &str) -> Gauge {
        self.depths.get_or_create(&vec![("queue", queue.to_owned())]).clone()
    }

    /// A request was refused.
    pub fn error(&self, code: ErrorCode) {
        self.errors.get_or_create(&vec![("code", code.as_str().to_owned())]).inc();
    }

    /// A lease was published.
    pub fn lease(&self, venue: &VenueId) {
        self.leases.get_or_create(&vec![("venue", venue.to_string())]).inc();
    }

    /// A question about a symbol was put to its venue's ingest.
    pub fn why_asked(&self, venue: &VenueId, asked: &Asked) {
        let result = match asked {
            Asked::No => return,
            Asked::Answered(_) => "answered",
            Asked::NobodyThere => "nobody_there",
            Asked::NoAnswer(_) => "no_answer",
            Asked::Unreadable(_) => "unreadable",
        };
        let labels = vec![("venue", venue.to_string()), ("result", result.to_owned())];
        self.why_asked.get_or_create(&labels).inc();
    }

    /// Somebody was told why a symbol is quiet. What a venue's ingest calls its hops is no limit, this is.
    pub fn why_answered(&self, answer: &Answer) {
        let wrong = answer.wrong.as_ref().map_or("none", |hop| hop.name.as_str());
        let hop = WHY_HOPS.iter().find(|known| **known == wrong).unwrap_or(&"other");
        let labels = vec![("venue", answer.source.clone()), ("hop", (*hop).to_owned())];
        self.why_answers.get_or_create(&labels).inc();
    }

    /// The bus connection came or went.
    pub fn bus(&self, is_up: bool) {
        self.bus_up.set(is_up.into());
    }

    /// The axes of a venue.
    pub fn health(&self, view: &StatusView) {
        let links = LinkState::ALL.map(LinkState::as_str).map(|state| ("link", state, view.health.link));
        let auths = AuthState::ALL.map(AuthState::as_str).map(|state| ("auth", state, view.health.auth));
        let datas = DataState::ALL.map(DataState::as_str).map(|state| ("data", state, view.health.data));
        for (axis, state, now) in links.into_iter().chain(auths).chain(datas) {
            let labels =
                vec![("venue", view.source.clone()), ("axis", axis.to_owned()), ("state", state.to_owned())];
            self.health.get_or_create(&labels).set(i64::from(state == now));
        }
    }
}

/// Seconds between two instants in Unix microseconds; clocks that disagree count as no time.
pub fn seconds_between(from_us: i64, to_us: i64) -> f64 {
    let us = u64::try_from(to_us.saturating_sub(from_us)).unwrap_or(0);
    std::time::Duration::from_micros(us).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::health::{Now, VenueTracker};

    #[test]
    fn what_the_contract_asks_of_a_gateway_is_there() {
        let mut registry = Registry::default();
        let m = GatewayMetrics::register(&mut registry);
        let venue = VenueId::new("here").unwrap();
        let ticks = m.ticks(&venue);
        m.connections.set(2);
        m.http_connections.inc();
        m.opened.inc_by(5);
        m.closed(1001);
        m.duration.observe(4.0);
        m.refused("origin");
        ticks.received.inc_by(6);
        m.delivered.inc_by(7);
        m.merged.inc_by(8);
        m.missed.inc_by(9);
        ticks.venue_to_ingest.observe(0.01);
        ticks.ingest_to_gateway.observe(0.02);
        m.to_socket.observe(0.03);
        m.dropped("client_replies");
        m.depth("client_replies").set(4);
        m.slow_consumer.inc();
        m.lease(&venue);
        m.error(ErrorCode::BadJson);
        m.bus(true);
        let now = Now { at: Instant::now(), unix_ms: 0 };
        m.health(&VenueTracker::new(venue, now).view(now));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "connections 2",
            "http_connections 1",
            "connections_opened_total 5",
            r#"connections_closed_total{code="1001"} 1"#,
            "connection_duration_seconds_count 1",
            r#"connections_refused_total{reason="origin"} 1"#,
            r#"ticks_received_total{venue="here"} 6"#,
            "ticks_delivered_total 7",
            "ticks_merged_total 8",
            "ticks_missed_total 9",
            r#"delivery_latency_seconds_count{stage="venue_to_ingest",venue="here"} 1"#,
            r#"delivery_latency_seconds_count{stage="ingest_to_gateway",venue="here"} 1"#,
            r#"delivery_latency_seconds_count{stage="gateway_to_socket"} 1"#,
            r#"queue_drops_total{queue="client_replies"} 1"#,
            r#"queue_depth{queue="client_replies"} 4"#,
            "bus_slow_consumer_total 1",
            r#"leases_published_total{venue="here"} 1"#,
            r#"errors_total{code="BAD_JSON"} 1"#,
            "bus_up 1",
            r#"venue_health{venue="here",axis="link",state="down"} 1"#,
            r#"venue_health{venue="here",axis="link",state="up"} 0"#,
            r#"venue_health{venue="here",axis="auth",state="none"} 1"#,
            r#"venue_health{venue="here",axis="data",state="idle"} 1"#,
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in {text}");
        }
    }
}
