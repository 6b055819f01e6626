use std::time::Duration;

use async_nats::Subscriber;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tickcast_service::Context;
use tickcast_session::{Leadership, LeadershipAction, LeadershipSettings, LeaseAnswer, StepDown};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::fence::Fence;
use crate::lease::{BUCKET, LeaseStore, StoreError};
use crate::metrics::LeaderMetrics;
use crate::{Clock, IngestError};

/// What this process is now, beside the others that could do its work.
#[derive(Clone, Debug, Default)]
pub(crate) enum Role {
    /// The lease was not read yet.
    #[default]
    Unknown,
    /// Another one leads, or nobody does yet: ready to take over.
    Standby {
        /// Who leads, and in which epoch.
        leader: Option<(String, u64)>,
    },
    /// This process leads.
    Leading(Term),
}

/// One term of leadership.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) epoch: u64,
    pub(crate) fence: Fence,
}

/// Competes for the lease until it was given back.
pub(crate) struct Leader {
    pub(crate) store: LeaseStore,
    /// The key of the lease, for people.
    pub(crate) key: String,
    pub(crate) ttl: Duration,
    /// Whether the bus is connected: nothing is handed to a client that would keep it and say it late.
    pub(crate) connected: watch::Receiver<bool>,
    /// Writes of anybody to the lease, which are a reason to look.
    pub(crate) hints: Subscriber,
    /// Terms that ended by themselves.
    pub(crate) abandoned: mpsc::Receiver<u64>,
    pub(crate) roles: watch::Sender<Role>,
    pub(crate) metrics: LeaderMetrics,
    pub(crate) context: Context,
}

type Operation = BoxFuture<'static, Ended>;

/// The part of `/readyz` and `/status` this is.
const PART: &str = "leader";
/// Time between two tries to open the store.
const OPEN_EVERY: Duration = Duration::from_millis(250);
/// A connected bus on which nothing answers for JetStream for so long has none: routes of a cluster may take a moment.
const NO_JETSTREAM_AFTER: Duration = Duration::from_secs(2);

impl Leader {
    /// Opens the store, then competes; ends once everything was given back after `leave`.
    ///
    /// # Errors
    /// [`IngestError::NoJetStream`] where the bus has none. A bus that is away is waited for.
    pub(crate) async fn run(mut self, leave: CancellationToken) -> Result<(), IngestError> {
        self.context.ready.set(PART, Err("the lease was not read yet".to_owned()));
        if !self.open(&leave).await? {
            return Ok(());
        }
        let clock = Clock::start();
        let settings = LeadershipSettings {
            // A process that is copied while it runs keeps its instance, so there is a number of its own beside it.
            holder: format!("{}-{:08x}", self.context.instance, fastrand::u32(..)),
            ttl: self.ttl,
        };
        let mut leadership = Leadership::new(settings, clock.elapsed());
        let mut operations: FuturesUnordered<Operation> = FuturesUnordered::new();
        let mut well_at = clock.elapsed();
        let mut is_leaving = false;
        loop {
            self.extend(&mut leadership, clock.elapsed());
            while let Some(action) = leadership.poll() {
                match action {
                    LeadershipAction::Lead { epoch } => {
                        let until = leadership.lead_until().unwrap_or_default();
                        self.lead(Term { epoch, fence: Fence::new(clock, until) });
                    }
                    LeadershipAction::StepDown(why) => self.step_down(&why),
                    operation => operations.push(self.begin(clock, operation)),
                }
            }
            self.tell(&leadership);
            let Some(deadline) = leadership.deadline() else { return Ok(()) };
            let wait = deadline.saturating_sub(clock.elapsed());
            tokio::select! {
                biased;
                () = leave.cancelled(), if !is_leaving => {
                    is_leaving = true;
                    leadership.leave(clock.elapsed());
                }
                Some(epoch) = self.abandoned.recv() => leadership.abandon(clock.elapsed(), epoch),
                Some(ended) = operations.next() => {
                    let now = clock.elapsed();
                    self.judge(&ended.result, now, &mut well_at);
                    self.metrics.operation(now.saturating_sub(ended.began), ended.result.is_ok());
                    leadership.answer(now, ended.op, ended.result.unwrap_or(LeaseAnswer::Failed));
                }
                Some(_) = self.hints.next() => leadership.hint(clock.elapsed()),
                () = tokio::time::sleep(wait) => leadership.timeout(clock.elapsed()),
            }
        }
    }

    /// Waits for the bus and opens the store; false where the process is to stop instead.
    async fn open(&mut self, leave: &CancellationToken) -> Result<bool, IngestError> {
        let mut missing_since = None;
        loop {
            let opened = async {
                // The sender lives as long as the bus client.
                let _ = self.connected.wait_for(|up| *up).await;
                self.store.open().await
            };
            let reason = tokio::select! {
                () = leave.cancelled() => return Ok(false),
                opened = opened => match opened {
                    Ok(()) => return Ok(true),
                    Err(StoreError::NoJetStream(reason)) => {
                        let since: &mut Instant = missing_since.get_or_insert_with(Instant::now);
                        if since.elapsed() >= NO_JETSTREAM_AFTER {
                            return Err(IngestError::NoJetStream(reason));
                        }
                        reason
                    }
                    Err(StoreError::Away(reason)) => {
                        missing_since = None;
                        warn!(reason, "the store of the leader lease is not usable, trying again");
                        reason
                    }
                },
            };
            self.context.ready.set(PART, Err(reason));
            tokio::time::sleep(OPEN_EVERY).await;
        }
    }

    fn begin(&self, clock: Clock, action: LeadershipAction) -> Operation {
        debug!(?action, "lease");
        let (store, began) = (self.store.clone(), clock.elapsed());
        let is_connected = *self.connected.borrow();
        async move {
            let op = operation_number(&action);
            let result = if is_connected {
                store.perform(action).await
            } else {
                Err(StoreError::Away("the bus is not connected".to_owned()))
            };
            Ended { op, began, result }
        }
        .boxed()
    }

    fn lead(&self, term: Term) {
        info!(epoch = term.epoch, key = self.key, "leading");
        self.metrics.leads(Some(term.epoch));
        self.roles.send_replace(Role::Leading(term));
    }

    fn step_down(&self, why: &StepDown) {
        let why = match why {
            StepDown::Expired => "expired",
            StepDown::Superseded => "superseded",
            StepDown::Vanished => "vanished",
        };
        self.roles.send_modify(|role| {
            if let Role::Leading(term) = role {
                term.fence.end();
                warn!(epoch = term.epoch, why, "not leading any more");
            }
            *role = Role::Standby { leader: None };
        });
        self.metrics.leads(None);
        self.metrics.step_down(why);
    }

    /// Lets the present term go on as long as it was confirmed; ends it where it was found ended before.
    fn extend(&self, leadership: &mut Leadership, now: Duration) {
        if let Role::Leading(term) = &*self.roles.borrow()
            && let Some(until) = leadership.lead_until()
            && !term.fence.extend(until)
        {
            leadership.abandon(now, term.epoch);
        }
    }

    /// Says who leads where it is another one.
    fn tell(&self, leadership: &Leadership) {
        if leadership.epoch().is_some() || !leadership.has_looked() {
            return;
        }
        let found = leadership.holder().map(|(holder, epoch)| (holder.to_owned(), epoch));
        self.roles.send_if_modified(|role| {
            if matches!(role, Role::Standby { leader } if *leader == found) {
                return false;
            }
            let epoch = found.as_ref().map(|(_, epoch)| *epoch);
            info!(leader = found.as_ref().map(|(holder, _)| holder), epoch, "standby");
            *role = Role::Standby { leader: found };
            true
        });
    }

    /// Says on `/readyz` whether the store can be used.
    fn judge(&self, result: &Result<LeaseAnswer, StoreError>, now: Duration, well_at: &mut Duration) {
        match result {
            Ok(_) => {
                *well_at = now;
                self.context.ready.set(PART, Ok(()));
            }
            Err(StoreError::NoJetStream(reason) | StoreError::Away(reason)) => {
                debug!(reason, "lease operation failed");
                if now.saturating_sub(*well_at) >= self.ttl {
                    self.context.ready.set(PART, Err(reason.clone()));
                }
            }
        }
    }
}

struct Ended {
    op: u64,
    began: Duration,
    result: Result<LeaseAnswer, StoreError>,
}

fn operation_number(action: &LeadershipAction) -> u64 {
    match action {
        LeadershipAction::Read { op }
        | LeadershipAction::Write { op, .. }
        | LeadershipAction::Delete { op, .. }
        | LeadershipAction::SkipAhead { op, .. } => *op,
        LeadershipAction::Lead { .. } | LeadershipAction::StepDown(_) => 0,
    }
}

impl Role {
    /// In words, for `/readyz`.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Unknown => "not known yet".to_owned(),
            Self::Standby { leader: None } => "standby; nobody leads".to_owned(),
            Self::Standby { leader: Some((holder, epoch)) } => {
                format!("standby; {holder} leads, epoch {epoch}")
            }
            Self::Leading(term) => format!("leading, epoch {}", term.epoch),
        }
    }

    /// For `/status`.
    pub(crate) fn page(&self, key: &str) -> Value {
        let (role, leader, epoch) = match self {
            Self::Unknown => ("unknown", None, None),
            Self::Standby { leader: None } => ("standby", None, None),
            Self::Standby { leader: Some((holder, epoch)) } => {
                ("standby", Some(holder.as_str()), Some(*epoch))
            }
            Self::Leading(term) => ("leading", None, Some(term.epoch)),
        };
        json!({
            "role": role,
            "leader": leader,
            "epoch": epoch.map(|epoch| epoch.to_string()),
            "bucket": BUCKET,
            "key": key,
        })
    }
}
