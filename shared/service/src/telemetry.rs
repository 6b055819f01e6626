use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::{error, info, warn};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::{Reader, trace};

/// What is logged and where spans go. Holds secrets, so it has no `Debug`.
pub(crate) struct TelemetrySettings {
    filter: String,
    json: bool,
    endpoint: Option<String>,
    headers: Option<SecretString>,
}

impl TelemetrySettings {
    pub(crate) fn read(reader: &mut Reader) -> Self {
        let mut filter = reader.text("LOG", "info", "tracing filter, such as debug or info,ws_gateway=trace");
        if EnvFilter::builder().parse(&filter).is_err() {
            reader.problem("LOG", "is not a tracing filter");
        }
        if !filter.contains("async_nats") {
            // The bus client says every reconnect at INFO; services say what matters of it themselves.
            filter.push_str(",async_nats=warn");
        }
        let json = reader.choice("LOG_FORMAT", &["text", "json"], "text", "form of the log lines") == "json";
        let base = reader.optional(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "",
            "OpenTelemetry collector, such as http://127.0.0.1:4318; unset = no export",
        );
        let traces = reader.optional(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "",
            "the same for traces only, with its full path",
        );
        let headers = reader.optional_secret("OTEL_EXPORTER_OTLP_HEADERS", "headers of the export, a=b,c=d");
        for (name, address) in
            [("OTEL_EXPORTER_OTLP_ENDPOINT", &base), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces)]
        {
            if address.as_deref().is_some_and(|address| !address.starts_with("http://")) {
                reader.problem(name, "only http:// is spoken: use a collector nearby");
            }
        }
        let endpoint =
            traces.or_else(|| base.map(|base| format!("{}/v1/traces", base.trim_end_matches('/'))));
        Self { filter, json, endpoint, headers }
    }
}

/// Logging and, where configured, export of spans; lives as long as the process.
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs logging for the whole process. Call it once, outside the runtime.
    pub(crate) fn install(
        settings: &TelemetrySettings,
        service: &str,
        instance: &str,
    ) -> Result<Self, String> {
        let provider = match &settings.endpoint {
            Some(endpoint) => {
                Some(exporting_provider(endpoint, settings.headers.as_ref(), service, instance)?)
            }
            None => None,
        };
        let export = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(service.to_owned()))
                .with_location(false)
                .with_threads(false)
                .with_filter(exported())
        });
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
        let lines = if settings.json {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        } else {
            lines.with_ansi(std::io::stderr().is_terminal()).boxed()
        };
        let filter = EnvFilter::builder().parse_lossy(&settings.filter);
        let subscriber = tracing_subscriber::registry().with(export).with(lines.with_filter(filter));
        tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
        trace::EXPORTING.store(provider.is_some(), Ordering::Relaxed);
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let payload = panic.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let message =
                text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
            error!(place, text = message, "panicked");
        }));
        Ok(Self { provider })
    }

    /// Sends what is left of the spans. Waits at most [`FLUSH_WITHIN`]; call it outside the runtime.
    pub(crate) fn finish(self) {
        if let Some(provider) = self.provider {
            // A collector that is away at the end has been warned about while it was away.
            let _ = provider.shutdown_with_timeout(FLUSH_WITHIN);
        }
    }
}

/// How long the end of the process waits for a slow collector.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// How long one export may take.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

fn exporting_provider(
    endpoint: &str,
    headers: Option<&SecretString>,
    service: &str,
    instance: &str,
) -> Result<SdkTracerProvider, String> {
    let mut builder = SpanExporter::builder().with_http().with_endpoint(endpoint).with_timeout(EXPORT_WITHIN);
    if let Some(headers) = headers {
        let pairs = headers.expose_secret().split(',').filter_map(|pair| pair.split_once('='));
        builder = builder.with_headers(
            pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect(),
        );
    }
    let exporter = builder.build().map_err(|error| format!("cannot set up the export of spans: {error}"))?;
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.name", service.to_owned()))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .build();
    let exporter = Watched { exporter, failing: AtomicBool::new(false) };
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// Spans that are exported: ours and our libraries', but not those of the exporter's own HTTP client, which would
/// make each export the cause of the next.
fn exported() -> Targets {
    [
        "hyper",
        "hyper_util",
        "reqwest",
        "opentelemetry",
        "opentelemetry_sdk",
        "opentelemetry_otlp",
        "opentelemetry_http",
    ]
    .into_iter()
    .fold(Targets::new().with_default(LevelFilter::INFO), |targets, name| {
        targets.with_target(name, LevelFilter::OFF)
    })
    .with_target("async_nats", LevelFilter::WARN)
}

/// An exporter that says once when it begins to fail and once when it works again.
#[derive(Debug)]
struct Watched {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        match (&result, self.failing.swap(result.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => warn!(%error, "spans cannot be exported, they are dropped"),
            (Ok(()), true) => info!("spans are exported again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_client_is_quiet_unless_it_is_named() {
        let quiet = TelemetrySettings::read(&mut Reader::from_pairs([("LOG", "debug")]));
        assert_eq!(quiet.filter, "debug,async_nats=warn");
        let loud = TelemetrySettings::read(&mut Reader::from_pairs([("LOG", "info,async_nats=debug")]));
        assert_eq!(loud.filter, "info,async_nats=debug");
    }

    #[test]
    fn the_collector_is_found_at_its_standard_path() {
        let endpoint = |pairs: &[(&str, &str)]| {
            let mut reader = Reader::from_pairs(pairs.iter().copied());
            let settings = TelemetrySettings::read(&mut reader);
            assert_eq!(reader.problems(), [] as [&str; 0]);
            settings.endpoint
        };
        assert_eq!(endpoint(&[]), None);
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");
        assert_eq!(endpoint(&[base]), Some("http://127.0.0.1:4318/v1/traces".into()));
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/x");
        assert_eq!(endpoint(&[base, traces]), Some("http://127.0.0.1:9/x".into()));
    }

    #[test]
    fn a_collector_that_cannot_be_spoken_to_is_told_of_the_variable_that_names_it() {
        let (base, traces) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        for (set, blamed) in [
            (&[(base, "https://collector")][..], &[base][..]),
            (&[(traces, "https://collector")], &[traces]),
            (&[(base, "http://collector"), (traces, "collector:4318")], &[traces]),
            (&[(base, "collector"), (traces, "collector")], &[base, traces]),
        ] {
            let mut reader = Reader::from_pairs(set.iter().copied());
            TelemetrySettings::read(&mut reader);
            let names: Vec<_> = reader.problems().iter().filter_map(|text| text.split(':').next()).collect();
            assert_eq!(names, blamed);
        }
    }

    #[test]
    fn a_filter_that_is_none_is_a_problem() {
        let mut reader = Reader::from_pairs([("LOG", "info,x=louder")]);
        TelemetrySettings::read(&mut reader);
        assert_eq!(reader.problems(), ["LOG: is not a tracing filter"]);
    }
}
