//! W3C trace context across the bus: who sends writes it into the message's headers, who receives adopts it.
//!
//! Where no export is configured both do nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Set once spans are exported; until then there is no context to carry.
pub(crate) static EXPORTING: AtomicBool = AtomicBool::new(false);

/// Hands the current span's context to `put` as header names and values (`traceparent`, `tracestate`).
pub fn inject(put: impl FnMut(&str, &str)) {
    if !EXPORTING.load(Ordering::Relaxed) {
        return;
    }
    let context = Span::current().context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut Headers(put));
    }
}

/// Whether a message's headers hold a context, and there is an export to make use of it.
pub fn is_carried(get: impl Fn(&str) -> Option<String>) -> bool {
    EXPORTING.load(Ordering::Relaxed) && get(PARENT).is_some()
}

/// Makes `span` a child of the context found in a message's headers; a context that is none is ignored.
///
/// Call it before the span is entered for the first time. The span must be of level INFO or above, as only those are
/// exported.
pub fn adopt(span: &Span, get: impl Fn(&str) -> Option<String>) {
    if !EXPORTING.load(Ordering::Relaxed) {
        return;
    }
    let found = Found { parent: get(PARENT), state: get(STATE) };
    if found.parent.is_some() {
        let context = TraceContextPropagator::new().extract(&found);
        if context.span().span_context().is_valid() {
            // Fails only for a span that is not exported (filtered out): then there is nothing to attach to.
            let _ = span.set_parent(context);
        }
    }
}

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

struct Headers<F>(F);

impl<F: FnMut(&str, &str)> Injector for Headers<F> {
    fn set(&mut self, name: &str, value: String) {
        // An empty tracestate is the same as none and is not worth a header.
        if !value.is_empty() {
            (self.0)(name, &value);
        }
    }
}

struct Found {
    parent: Option<String>,
    state: Option<String>,
}

impl Extractor for Found {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            PARENT => self.parent.as_deref(),
            STATE => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT, STATE]
    }
}
