use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The process's metrics. Names start with `tickcast_` and end with the base unit.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// What [`Metrics::encode`] writes: the text format that Prometheus and OpenMetrics readers share.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    pub(crate) fn new(service: &str, version: &str, instance: &str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::now()));
        let labels = [("service", service), ("version", version), ("instance", instance)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let build = Info::new(labels.to_vec());
        registry.sub_registry_with_prefix(PREFIX).register("build", "What runs here", build);
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Registers metrics under the prefix `tickcast`.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        register(registry.sub_registry_with_prefix(PREFIX))
    }

    /// All metrics as text.
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a String cannot fail; a collector that does leaves what was written before it.
        let _ = encode(&mut text, &registry);
        text
    }
}

const PREFIX: &str = "tickcast";

/// The customary metrics of a process, under their customary names.
struct Process {
    started_s: f64,
}

impl Process {
    fn now() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_s: started.as_secs_f64() }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let started = ConstGauge::new(self.started_s);
        started.encode(encoder.encode_descriptor(
            "process_start_time",
            "When the process started, Unix time",
            Some(&Unit::Seconds),
            prometheus_client::metrics::MetricType::Gauge,
        )?)?;
        // Without /proc (not Linux) the metric is absent rather than wrong.
        if let Some(resident) =
            std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes)
        {
            ConstGauge::new(resident).encode(encoder.encode_descriptor(
                "process_resident_memory",
                "Resident memory",
                Some(&Unit::Bytes),
                prometheus_client::metrics::MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

/// The resident memory in the text of `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn metrics_carry_the_prefix_and_the_build() {
        let metrics = Metrics::new("ws-gateway", "1.2.3", "ws-gateway-00000001");
        let ticks = metrics.register(|registry| {
            let ticks = Counter::<u64>::default();
            registry.register("ticks_received", "Ticks received", ticks.clone());
            ticks
        });
        ticks.inc_by(7);
        let text = metrics.encode();
        assert!(text.contains("\ntickcast_ticks_received_total 7\n"), "{text}");
        let build = "tickcast_build_info{service=\"ws-gateway\",version=\"1.2.3\",instance=\"ws-gateway-00000001\"} 1";
        assert!(text.contains(build), "{text}");
        assert!(text.contains("\nprocess_start_time_seconds "), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmPeak:\t   99 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(resident_bytes(status), Some(2_097_152));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        assert_eq!(resident_bytes("VmRSS:\tmany\n"), None);
    }
}
