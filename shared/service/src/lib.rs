//! What every process of Tickcast has: settings, logs and traces, metrics, admin pages, signals and an orderly stop.
//!
//! Floor 1: knows neither a venue nor the bus nor a browser. A service's `main` is one call of [`main`]:
//!
//! ```no_run
//! use tickcast_service::{About, Context, Reader};
//!
//! fn main() -> std::process::ExitCode {
//!     let about = About {
//!         name: "clock",
//!         version: env!("CARGO_PKG_VERSION"),
//!         purpose: "Says the time.",
//!         admin_default: "127.0.0.1:0",
//!     };
//!     tickcast_service::main(about, |reader| reader.flag("LOUD", false, "say it aloud"), run)
//! }
//!
//! async fn run(loud: bool, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     tracing::info!(loud, "ticking");
//!     context.stop.cancelled().await;
//!     Ok(())
//! }
//! ```
//!
//! Logs go to standard error. With `LOG_FORMAT=json` each line is one object with the fields of the event at its top
//! level, such as `{"timestamp":…,"level":"INFO","message":"listening","what":"admin","addr":"127.0.0.1:40123",…}`.

mod admin;
mod doctor;
mod health;
mod metrics;
mod process;
mod settings;
mod tasks;
mod telemetry;
pub mod trace;

pub use admin::{AdminRoutes, router};
pub use doctor::{Examiner, Finding, Verdict};
pub use health::{Readiness, StatusPage};
pub use metrics::Metrics;
pub use process::{About, Context, main, main_with_doctor};
pub use settings::Reader;
pub use tasks::Tasks;
