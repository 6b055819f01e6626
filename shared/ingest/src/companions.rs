use std::future::Future;
use std::time::Duration;

use tickcast_service::Tasks;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, error};

use crate::{Fence, IngestError};

/// What lives beside the venue loop for one term and is to end after it: an ingest that leads and is not heard is worse
/// than one that has ended, for nobody takes over from it.
pub(crate) struct Companions(Tasks);

impl Companions {
    /// None yet; what they do is told within this span.
    pub(crate) fn within(span: Span) -> Self {
        Self(Tasks::within(span))
    }

    pub(crate) fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.start(name, task);
    }

    /// Waits until the venue loop has ended. Where a companion ends first, the loop is stopped by `halt` and closes its
    /// link, and the companion's name is the error.
    ///
    /// # Errors
    /// [`IngestError::Ended`] with who ended that should not have.
    pub(crate) async fn watch_over(
        &mut self,
        mut driving: JoinHandle<()>,
        halt: &CancellationToken,
        fence: &Fence,
    ) -> Result<(), IngestError> {
        let venue = |_| IngestError::Ended("venue");
        let name = tokio::select! {
            biased;
            driven = &mut driving => return driven.map_err(venue),
            name = self.0.one_ended() => name,
        };
        // A term that is over ends all of them, in any order; so does a venue loop that has failed.
        let is_over = halt.is_cancelled() || !fence.holds();
        halt.cancel();
        driving.await.map_err(venue)?;
        if is_over {
            return Ok(());
        }
        error!(task = name, "a task has ended that is needed to serve, the term ends with it");
        Err(IngestError::Ended(name))
    }

    /// Waits until none is left.
    pub(crate) async fn all_ended(&mut self) {
        self.0.all_ended().await;
    }

    pub(crate) fn abort(&mut self) {
        self.0.abort();
    }
}

/// Time before something that has failed begins anew.
const ANEW_AFTER: Duration = Duration::from_secs(1);

/// Lets something live until the stop that the feed goes on without: where it fails, that is said, and it begins anew.
pub(crate) async fn begin_anew<F>(name: &'static str, stop: CancellationToken, mut begin: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let ended = tokio::spawn(begin().instrument(Span::current())).await;
        if stop.is_cancelled() {
            return;
        }
        error!(task = name, panicked = ended.is_err(), "a task has ended that should not, it begins anew");
        tokio::select! {
            () = tokio::time::sleep(ANEW_AFTER) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A venue loop that ends when it is told to and then says that its link is closed.
    fn driving(halt: &CancellationToken) -> (JoinHandle<()>, Arc<AtomicU32>) {
        let closed = Arc::new(AtomicU32::new(0));
        let (halted, count) = (halt.clone(), Arc::clone(&closed));
        let loops = async move {
            halted.cancelled().await;
            count.fetch_add(1, Ordering::Relaxed);
        };
        (tokio::spawn(loops), closed)
    }

    /// The end of a term in which these companions live, and how often the link was closed.
    async fn term(end: impl Future<Output = ()> + Send + 'static) -> (Result<(), IngestError>, u32) {
        let halt = CancellationToken::new();
        let (driving, closed) = driving(&halt);
        let mut companions = Companions::within(Span::none());
        companions.start("patient", pending());
        companions.start("short-lived", end);
        let result = companions.watch_over(driving, &halt, &Fence::open()).await;
        (result, closed.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_companion_that_ends_ends_the_term_with_its_name_and_the_link_is_closed() {
        let (result, closed) = term(async {}).await;
        assert_eq!(result.unwrap_err().to_string(), "the short-lived task has failed");
        assert_eq!(closed, 1);
    }

    #[tokio::test]
    async fn a_companion_that_panics_ends_the_term_in_the_same_way() {
        let (result, closed) = term(async { panic!("out of cheese") }).await;
        assert_eq!(result.unwrap_err().to_string(), "the short-lived task has failed");
        assert_eq!(closed, 1);
    }

    #[tokio::test]
    async fn the_end_of_a_term_or_a_stop_is_no_failure_of_who_ends_before_the_venue_loop() {
        for is_stopped in [true, false] {
            let (halt, fence) = (CancellationToken::new(), Fence::open());
            let (driving, _) = driving(&halt);
            let mut companions = Companions::within(Span::none());
            let (stopped, ended) = (halt.clone(), fence.clone());
            companions.start("short-lived", async move {
                if is_stopped {
                    stopped.cancel();
                } else {
                    ended.end();
                }
            });
            assert!(companions.watch_over(driving, &halt, &fence).await.is_ok());
            companions.all_ended().await;
        }
    }

    #[tokio::test]
    async fn a_venue_loop_that_panics_is_named_whoever_ends_with_it() {
        let mut companions = Companions::within(Span::none());
        companions.start("short-lived", async {});
        let driving = tokio::spawn(async {
            tokio::task::yield_now().await;
            panic!("out of cheese");
        });
        let result = companions.watch_over(driving, &CancellationToken::new(), &Fence::open()).await;
        assert_eq!(result.unwrap_err().to_string(), "the venue task has failed");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_feed_goes_on_without_begins_anew_until_the_stop() {
        let (stop, begun) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let (stopping, count) = (stop.clone(), Arc::clone(&begun));
        begin_anew("short-lived", stop, move || {
            let (stopping, count) = (stopping.clone(), Arc::clone(&count));
            async move {
                match count.fetch_add(1, Ordering::Relaxed) {
                    0 => {}
                    1 => panic!("out of cheese"),
                    _ => stopping.cancel(),
                }
            }
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
