use std::time::Duration;

use tickcast_model::{AuthState, Cause, CauseKind, DataState, LinkState, VenueHealth};

use super::symbols::closed_cause;
use super::{Action, Phase, Supervisor, millis};
use crate::{Now, Session};

/// Where the venue stands, and since when.
pub(super) struct Axes {
    pub(super) link: LinkState,
    pub(super) auth: AuthState,
    pub(super) data: DataState,
    pub(super) link_since_ms: i64,
    pub(super) auth_since_ms: i64,
    pub(super) data_since_ms: i64,
}

impl Axes {
    pub(super) fn new(now: Now) -> Self {
        let at = now.unix_ms();
        Self {
            link: LinkState::Down,
            auth: AuthState::None,
            data: DataState::Idle,
            link_since_ms: at,
            auth_since_ms: at,
            data_since_ms: at,
        }
    }
}

/// The part of the health whose change is told at once; ages and countdowns change all the time.
#[derive(PartialEq)]
pub(super) struct Told {
    link: LinkState,
    auth: AuthState,
    data: DataState,
    cause: Option<Cause>,
    attempt: u32,
    waiting_until: Option<Duration>,
    catalogue_version: u64,
}

impl<S: Session> Supervisor<S> {
    /// The venue's health now.
    pub fn health(&self, now: Now) -> VenueHealth {
        let waiting = self.waiting_until().map(|until| until.saturating_sub(now.elapsed));
        let age = self.freshness.last_tick().map(|tick| now.elapsed.saturating_sub(tick));
        VenueHealth {
            venue: self.settings.venue.clone(),
            epoch: self.ledger.epoch(),
            link: self.axes.link,
            auth: self.axes.auth,
            data: self.axes.data,
            link_since_ms: self.axes.link_since_ms,
            auth_since_ms: self.axes.auth_since_ms,
            data_since_ms: self.axes.data_since_ms,
            cause: self.cause(),
            attempt: self.backoff.attempt(),
            retry_in_ms: waiting.map(millis),
            last_tick_age_ms: age.map(millis),
            catalogue_version: self.catalogue_version(),
            at_ms: now.unix_ms(),
        }
    }

    /// Why the venue is not well, or quiet with good reason: the link's cause, then the data's.
    fn cause(&self) -> Option<Cause> {
        let of_data = || match self.axes.data {
            DataState::Stale => {
                let after = self.settings.stale_after.as_millis();
                Some(Cause::new(CauseKind::Stale, format!("none for more than {after} ms")))
            }
            DataState::Idle if self.expected.closed => Some(closed_cause(self.expected.opens_ms)),
            DataState::Idle | DataState::Live => None,
        };
        self.link_cause.clone().or_else(of_data)
    }

    /// Brings the data axis up to date, asks for what is silent, and tells the health where it changed.
    pub(super) fn settle(&mut self, now: Now) {
        self.count_expected(now);
        if self.freshness.state() == DataState::Stale && self.axes.data != DataState::Stale {
            self.close_quiet(now);
            self.count_expected(now);
        }
        let data = self.freshness.state();
        if data != self.axes.data {
            self.axes.data = data;
            self.axes.data_since_ms = now.unix_ms();
            if data == DataState::Stale {
                self.went_stale(now);
            }
        }
        self.ask_for_silent(now);
        self.tell(now);
    }

    /// Tells the health where it changed.
    pub(super) fn tell(&mut self, now: Now) {
        let told = Told {
            link: self.axes.link,
            auth: self.axes.auth,
            data: self.axes.data,
            cause: self.cause(),
            attempt: self.backoff.attempt(),
            waiting_until: self.waiting_until(),
            catalogue_version: self.catalogue_version(),
        };
        if self.told.as_ref() != Some(&told) {
            self.told = Some(told);
            let health = self.health(now);
            self.actions.push_back(Action::Health(health));
        }
    }

    pub(super) fn set_link(&mut self, now: Now, link: LinkState) {
        if self.axes.link != link {
            self.axes.link = link;
            self.axes.link_since_ms = now.unix_ms();
        }
    }

    pub(super) fn set_auth(&mut self, now: Now, auth: AuthState) {
        if self.axes.auth != auth {
            self.axes.auth = auth;
            self.axes.auth_since_ms = now.unix_ms();
        }
    }

    fn waiting_until(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        }
    }
}
