//! What a gateway and an ingest export of the same request is one trace.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, though not one that clippy recognises")]

use sim_e2e::{Collector, ExportedSpan, Setup, Spine, eventually, fetch, fetch_json};

/// Waits for a span of this name of the gateway that one of the same name of the ingest continues: the latter.
async fn continued(collector: &Collector, name: &str) -> ExportedSpan {
    eventually(&format!("a {name} span to be continued by the ingest"), async || {
        let spans = collector.spans();
        let of = |service: &'static str| {
            spans.iter().filter(move |span| span.service == service && span.name == name)
        };
        let is_one_trace = |there: &&ExportedSpan| {
            of("ws-gateway").any(|here| here.trace == there.trace && here.id == there.parent)
        };
        of("ingest-ctrader").find(is_one_trace).cloned().ok_or(format!("{spans:?}"))
    })
    .await
}

#[tokio::test]
async fn a_request_and_a_lease_are_one_trace_over_two_services_and_each_has_its_own() {
    let collector = Collector::start().await;
    let setup = Setup {
        all: collector.settings(),
        gateway: &[("ALLOW_ANONYMOUS_ADMIN", "true")],
        ..Setup::default()
    };
    let (spine, _client, _) = Spine::ticking(setup).await;
    let mut traces =
        vec![continued(&collector, "lease").await.trace, continued(&collector, "catalogue").await.trace];

    let (gateway, symbol) = (spine.gateways[0].addr, spine.venue().symbols()[0]);
    let answer = fetch_json(gateway, &format!("/api/v1/why?source=ctrader&symbol={symbol}")).await.unwrap();
    assert_eq!(answer["data"]["ok"], true, "{answer}");
    traces.push(continued(&collector, "why").await.trace);

    let (status, body) = fetch(gateway, "POST", "/api/v1/reconnect?source=ctrader").await.unwrap();
    assert_eq!(status, 200, "{body}");
    traces.push(continued(&collector, "reconnect").await.trace);

    let count = traces.len();
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), count, "two requests share a trace");
}

#[tokio::test]
async fn a_lease_without_a_context_leaves_no_span_and_ticks_leave_none_at_all() {
    let collector = Collector::start().await;
    // Only the ingest exports: no gateway sends a context.
    let (spine, mut client, _) =
        Spine::ticking(Setup { ingest: collector.settings(), ..Setup::default() }).await;
    let (gateway, symbol) = (spine.gateways[0].addr, spine.venue().symbols()[0]);
    for _ in 0..20 {
        client.tick(symbol).await;
    }
    fetch_json(gateway, &format!("/api/v1/why?source=ctrader&symbol={symbol}")).await.unwrap();
    let spans = eventually("the question to be exported", async || {
        let spans = collector.spans();
        let is_there = spans.iter().any(|span| span.name == "why");
        if is_there { Ok(spans) } else { Err(format!("{spans:?}")) }
    })
    .await;
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        let told = ["catalogue", "demand", "health", "why"].contains(name);
        assert!(told, "{name} is a span of its own");
    }
    // The first of each begins its trace: that of the whole term would never end.
    assert!(spans.iter().all(|span| span.parent.is_empty()), "{spans:?}");
}
