use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for what must come. Generous, because the machine may be busy with other tests and builds.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `look` gives `Ok` and returns what it gives.
///
/// # Panics
/// After [`DEADLINE`], with `what` and the last `Err`.
pub async fn eventually<T, E: Display>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(DEADLINE, what, look).await
}

/// Waits until `look` gives `Ok` and returns what it gives.
///
/// # Panics
/// After `limit`, with `what` and the last `Err`.
pub async fn within<T, E: Display>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + limit;
    let mut last = "the first look did not come back".to_owned();
    loop {
        match timeout(end.saturating_duration_since(Instant::now()), look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(instead)) => last = instead.to_string(),
            Err(_) => {}
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}; last seen: {last}");
        sleep(LOOK_INTERVAL).await;
    }
}
