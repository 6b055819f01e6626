use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::shared::Shared;
use crate::{Counters, FAULTS, FaultSet};

/// The venue's totals as metrics, read when somebody asks.
pub(super) struct VenueMetrics(pub(super) Arc<Shared>);

impl fmt::Debug for VenueMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VenueMetrics")
    }
}

impl Collector for VenueMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (counters, current, faults) =
            self.0.look(|venue| (venue.counters().clone(), venue.connections().count(), venue.faults()));
        gauge(&mut encoder, "sim_connections_current", "Connections now", current as u64)?;
        for (name, help, total) in totals(&counters) {
            ConstCounter::new(total).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let closed: Vec<(&str, u64)> =
            counters.closed.iter().map(|(reason, total)| (reason.as_str(), *total)).collect();
        let by = |map: &std::collections::BTreeMap<&'static str, u64>| -> Vec<(&'static str, u64)> {
            map.iter().map(|(name, total)| (*name, *total)).collect()
        };
        family(&mut encoder, "sim_connections_closed", "Connections closed", "reason", &closed)?;
        family(&mut encoder, "sim_requests", "Messages received", "type", &by(&counters.requests))?;
        family(&mut encoder, "sim_errors", "Error answers", "code", &by(&counters.errors))?;
        family(&mut encoder, "sim_faults", "Faults switched on", "name", &by(&counters.faults))?;
        fault_gauges(&mut encoder, faults)
    }
}

fn totals(counters: &Counters) -> [(&'static str, &'static str, u64); 5] {
    [
        ("sim_connections_opened", "Connections ever opened", counters.opened),
        ("sim_spot_events", "Spot events sent, snapshots included", counters.spot_events),
        ("sim_spot_events_withheld", "Spot events a fault withheld", counters.withheld),
        ("sim_requests_beyond_limit", "Requests beyond the venue's own limits", counters.breaches),
        ("sim_heartbeats", "Heartbeats sent", counters.heartbeats),
    ]
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: &[(&str, u64)],
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, total) in values {
        ConstCounter::new(*total).encode(metric.encode_family(&[(label, *value)])?)?;
    }
    Ok(())
}

fn fault_gauges(encoder: &mut DescriptorEncoder<'_>, faults: FaultSet) -> fmt::Result {
    let mut metric =
        encoder.encode_descriptor("sim_fault", "1 while a fault is on", None, MetricType::Gauge)?;
    for row in FAULTS {
        let on = u64::from(faults.has(row.fault));
        ConstGauge::new(on).encode(metric.encode_family(&[("name", row.name)])?)?;
    }
    Ok(())
}
