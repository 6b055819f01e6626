use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tokio::net::TcpListener;

use crate::spine::Variables;

/// An OpenTelemetry collector that keeps what it is sent over HTTP.
pub struct Collector {
    settings: Variables,
    bodies: Bodies,
}

/// A span as a service exported it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedSpan {
    /// `service.name` of who exported it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The trace it is part of.
    pub trace: Vec<u8>,
    /// Its own id.
    pub id: Vec<u8>,
    /// The id of its parent; empty where it begins the trace.
    pub parent: Vec<u8>,
}

type Bodies = Arc<Mutex<Vec<Bytes>>>;

impl Collector {
    /// Listens on a free port of this machine, until the test is over.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint: &'static str = format!("http://{}", listener.local_addr().unwrap()).leak();
        let bodies = Bodies::default();
        let keep = async |State(bodies): State<Bodies>, body: Bytes| bodies.lock().unwrap().push(body);
        let pages = axum::Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&bodies));
        tokio::spawn(async { axum::serve(listener, pages).await });
        let settings = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            // The library's own setting, in milliseconds: a test does not wait five seconds for a batch.
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ];
        Self { settings: settings.to_vec().leak(), bodies }
    }

    /// The settings with which a service exports to it.
    pub fn settings(&self) -> Variables {
        self.settings
    }

    /// Every export so far, as it came.
    pub fn exports(&self) -> Vec<Bytes> {
        self.bodies.lock().unwrap().clone()
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<ExportedSpan> {
        let mut spans = Vec::new();
        for body in self.exports() {
            for exported in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
                let attributes = exported.resource.unwrap().attributes;
                let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
                let Some(Value::StringValue(service)) = name.unwrap().value.unwrap().value else {
                    panic!("the service has no name")
                };
                spans.extend(exported.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| {
                    ExportedSpan {
                        service: service.clone(),
                        name: span.name,
                        trace: span.trace_id,
                        id: span.span_id,
                        parent: span.parent_span_id,
                    }
                }));
            }
        }
        spans
    }
}
