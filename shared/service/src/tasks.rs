use std::future::Future;

use tokio::task::{Id, JoinSet};
use tracing::{Instrument as _, Span};

/// Tasks of a process with their names, told from each other when one ends.
#[derive(Debug)]
pub struct Tasks {
    span: Span,
    tasks: JoinSet<()>,
    names: Vec<(Id, &'static str)>,
}

impl Tasks {
    /// None yet; what they do is told within this span.
    pub fn within(span: Span) -> Self {
        Self { span, tasks: JoinSet::new(), names: Vec::new() }
    }

    /// Begins one.
    pub fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task.instrument(self.span.clone())).id();
        self.names.push((id, name));
    }

    /// Waits until one has ended, by itself or by a panic, and gives its name; for ever where there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost where it is dropped before it is ready.
    pub async fn one_ended(&mut self) -> &'static str {
        let id = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
        };
        self.names.iter().find(|(known, _)| *known == id).map_or("", |(_, name)| name)
    }

    /// Waits until none is left.
    pub async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Ends all of them where they stand.
    pub fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_one_that_ends_is_named_however_it_ended() {
        let mut tasks = Tasks::within(Span::none());
        tasks.start("patient", pending());
        tasks.start("short-lived", async {});
        assert_eq!(tasks.one_ended().await, "short-lived");
        tasks.start("clumsy", async { panic!("out of cheese") });
        assert_eq!(tasks.one_ended().await, "clumsy");
        tasks.abort();
        tasks.all_ended().await;
    }
}
