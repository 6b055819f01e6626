//! Measures the path of a tick in front of the browser's socket: venue bytes to bus, and bus to hub.
//!
//! Floor 5: it runs the real programs, built in the same profile as itself, and reads what they cost from `/proc` and
//! what they did from `/metrics`. A venue of its own sends quotes over TLS; a publisher of its own fills a real
//! nats-server. Nothing here is part of what is measured.

mod arguments;
mod bus;
mod error;
mod gateway;
mod ingest;
mod pace;
mod program;
mod report;
mod stages;
mod upstream;
mod venue;

pub use arguments::{Arguments, Plan, What};
pub use error::BenchError;
pub use report::{Measure, Report, Sample};
pub use stages::{Stage, stages};
pub use upstream::Upstream;

/// Measures the real programs between their sockets.
///
/// # Errors
/// [`BenchError`] where one of them could not be run or measured.
pub fn measure(plan: &Plan, ingest: bool, gateway: bool) -> Result<Report, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut report = Report::default();
    if ingest {
        report.measures.push(runtime.block_on(ingest::run(plan))?);
    }
    if gateway {
        report.measures.push(runtime.block_on(gateway::run(plan))?);
    }
    Ok(report)
}
