use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{ServedVenue, Shared};
use crate::fault::{FaultKind, FaultSet};

/// A total since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Total {
    /// Name of the metric.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How many.
    pub total: u64,
}

/// Totals since the start, by a label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Family {
    /// Name of the metric.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Name of the label.
    pub label: &'static str,
    /// How many, by the label's value.
    pub totals: Vec<(Cow<'static, str>, u64)>,
}

impl Family {
    /// Totals as a venue keeps them.
    pub fn new<L: Into<Cow<'static, str>>>(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        totals: impl IntoIterator<Item = (L, u64)>,
    ) -> Self {
        Self {
            name,
            help,
            label,
            totals: totals.into_iter().map(|(value, total)| (value.into(), total)).collect(),
        }
    }
}

/// The venue's totals as metrics, read when somebody asks.
pub(super) struct VenueMetrics<V: ServedVenue>(pub(super) Arc<Shared<V>>);

impl<V: ServedVenue> fmt::Debug for VenueMetrics<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VenueMetrics")
    }
}

impl<V: ServedVenue> Collector for VenueMetrics<V> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (current, totals, families, faults) = self
            .0
            .look(|venue| (venue.connections_current(), venue.totals(), venue.families(), venue.faults()));
        gauge(&mut encoder, "sim_connections_current", "Connections now", current as u64)?;
        for Total { name, help, total } in totals {
            ConstCounter::new(total).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        for one in families {
            family(&mut encoder, &one)?;
        }
        fault_gauges(&mut encoder, faults)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn family(encoder: &mut DescriptorEncoder<'_>, family: &Family) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(family.name, family.help, None, MetricType::Counter)?;
    for (value, total) in &family.totals {
        ConstCounter::new(*total).encode(metric.encode_family(&[(family.label, value.as_ref())])?)?;
    }
    Ok(())
}

fn fault_gauges<F: FaultKind>(encoder: &mut DescriptorEncoder<'_>, faults: FaultSet<F>) -> fmt::Result {
    let mut metric =
        encoder.encode_descriptor("sim_fault", "1 while a fault is on", None, MetricType::Gauge)?;
    for row in F::TABLE {
        let on = u64::from(faults.has(row.fault));
        ConstGauge::new(on).encode(metric.encode_family(&[("name", row.name)])?)?;
    }
    Ok(())
}
