use std::time::{Duration, Instant};

use tickcast_model::{AuthState, Cause, CauseKind, DataState, LinkState, VenueHealth, VenueId};

use crate::protocol::{HealthView, StatusView};

/// A reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For durations.
    pub at: Instant,
    /// For people, Unix milliseconds.
    pub unix_ms: i64,
}

/// A beat missing this long means that the venue's ingest is gone (contract section 4).
pub const BEAT_WITHIN: Duration = Duration::from_secs(3);

/// What a gateway makes of one venue: what its ingest says, and what follows where it says nothing.
pub struct VenueTracker {
    venue: VenueId,
    started: Now,
    /// Since when the bus is away or there, with what `is_up` says.
    bus_since: Now,
    bus_is_up: bool,
    heard: Option<(VenueHealth, Now)>,
    /// True once the venue's instruments are known.
    has_catalogue: bool,
    /// When the incarnation that was heard last was heard first, or anew after the bus was away.
    speaks_since: Option<Now>,
    announced: Option<Key>,
    /// True once `connected` was announced for the connection there is: then prices that move again are `tick_resumed`.
    said_connected: bool,
}

/// What a client notices of a status; ages and countdowns are not in it.
#[derive(Clone, PartialEq, Debug)]
struct Key {
    status: String,
    axes: [&'static str; 3],
    cause: Option<String>,
    attempt: u32,
    has_retry: bool,
}

impl Key {
    fn of(view: &StatusView) -> Self {
        let health = &view.health;
        Self {
            status: view.status.clone(),
            axes: [health.link, health.auth, health.data],
            cause: health.cause.clone(),
            attempt: health.attempt,
            has_retry: health.retry_in_ms.is_some(),
        }
    }
}

/// What is heard of a venue's ingest, and of the bus it speaks on.
#[derive(Clone, Debug)]
pub struct Word {
    /// Whether the bus is connected.
    pub bus_is_up: bool,
    /// Since when, Unix milliseconds.
    pub bus_since_ms: i64,
    /// True where its beats come.
    pub is_heard: bool,
    /// True where the bus is connected for so short a time that no beat need have come.
    pub is_early: bool,
    /// When its present incarnation was heard first, Unix milliseconds.
    pub speaks_since_ms: Option<i64>,
    /// When its last beat came, else when this gateway began to listen, Unix milliseconds.
    pub last_beat_ms: i64,
    /// How long ago that beat came; `None` where there was none.
    pub beat_age: Option<Duration>,
    /// What it said.
    pub health: Option<VenueHealth>,
}

/// How the venue can be reached from here.
enum Reach<'a> {
    /// The gateway has just started.
    JustStarted,
    /// The bus is away, or was and nothing was heard since.
    NoBus,
    /// No beat.
    NoIngest,
    /// Its ingest says this, some time ago.
    Said(&'a VenueHealth, Duration),
}

impl VenueTracker {
    /// A tracker that has heard nothing and has no bus yet.
    pub fn new(venue: VenueId, now: Now) -> Self {
        Self {
            venue,
            started: now,
            bus_since: now,
            bus_is_up: false,
            heard: None,
            has_catalogue: false,
            speaks_since: None,
            announced: None,
            said_connected: false,
        }
    }

    /// Takes what an ingest says of the venue. An older incarnation is not believed while a newer one lives.
    /// True where this is another incarnation than before, or the first word since the bus came back.
    pub fn hear(&mut self, health: VenueHealth, now: Now) -> bool {
        if let Some((known, at)) = &self.heard
            && health.epoch < known.epoch
            && now.at.saturating_duration_since(at.at) < BEAT_WITHIN
        {
            return false;
        }
        let is_news = !self.heard_on_this_bus()
            || self.heard.as_ref().is_none_or(|(known, _)| known.epoch != health.epoch);
        if is_news {
            self.speaks_since = Some(now);
        }
        self.heard = Some((health, now));
        is_news
    }

    /// The incarnation that was believed last.
    pub fn epoch(&self) -> u64 {
        self.heard.as_ref().map_or(0, |(health, _)| health.epoch)
    }

    /// Takes the state of the bus connection.
    pub fn bus(&mut self, is_up: bool, now: Now) {
        if self.bus_is_up != is_up {
            self.bus_is_up = is_up;
            self.bus_since = now;
        }
    }

    /// Takes whether the venue's instruments are known.
    pub fn catalogue(&mut self, is_known: bool) {
        self.has_catalogue = is_known;
    }

    /// True where something was heard since the bus was reached (again).
    pub fn heard_on_this_bus(&self) -> bool {
        self.bus_is_up && self.heard.as_ref().is_some_and(|(_, at)| at.at >= self.bus_since.at)
    }

    /// The catalogue the ingest has: incarnation and version; `None` where it has none or is not there.
    pub fn edition(&self, now: Now) -> Option<(u64, u64)> {
        match self.reach(now) {
            Reach::Said(health, _) if health.catalogue_version > 0 => {
                Some((health.epoch, health.catalogue_version))
            }
            _ => None,
        }
    }

    /// True where symbols can be subscribed and will tick.
    pub fn is_ready(&self, now: Now) -> bool {
        matches!(self.reach(now), Reach::Said(health, _) if health.is_ready() && self.has_catalogue)
    }

    /// The status to be announced to everybody, where it has changed in what people notice.
    pub fn announce(&mut self, now: Now) -> Option<StatusView> {
        let mut view = self.view(now);
        let key = Key::of(&view);
        if self.announced.as_ref() == Some(&key) {
            return None;
        }
        let was_stale = self.announced.as_ref().is_some_and(|before| before.status == STALE);
        let resumes = was_stale && self.said_connected && view.health.data == DataState::Live.as_str();
        self.said_connected = view.status == CONNECTED || (view.status == STALE && self.said_connected);
        if view.status == CONNECTED && resumes {
            view.status = "tick_resumed".into();
            view.message = format!("{}: prices move again", self.venue);
        }
        self.announced = Some(key);
        Some(view)
    }

    /// What is heard of the venue's ingest and of the bus.
    pub fn word(&self, now: Now) -> Word {
        let since = |then: &Now| now.at.saturating_duration_since(then.at);
        let heard = self.heard.as_ref();
        Word {
            bus_is_up: self.bus_is_up,
            bus_since_ms: self.bus_since.unix_ms,
            is_heard: matches!(self.reach(now), Reach::Said(..)),
            is_early: since(&self.bus_since) < BEAT_WITHIN,
            speaks_since_ms: self.speaks_since.map(|then| then.unix_ms),
            last_beat_ms: heard.map_or(self.started, |(_, at)| *at).unix_ms,
            beat_age: heard.map(|(_, at)| since(at)),
            health: heard.map(|(health, _)| health.clone()),
        }
    }

    /// Makes the next [`VenueTracker::announce`] speak even where the status is the same (its symbols are not).
    pub fn announce_again(&mut self) {
        self.announced = None;
    }

    /// The status now.
    pub fn view(&self, now: Now) -> StatusView {
        let venue = &self.venue;
        match self.reach(now) {
            Reach::JustStarted => self.unheard(
                "ws-open",
                None,
                self.started,
                format!("{venue}: the gateway has just started and has not heard of it yet"),
                now,
            ),
            Reach::NoBus => self.unheard(
                "disconnected",
                Some(CauseKind::BusDown),
                self.bus_since,
                format!("{venue}: the message bus is not reachable, prices stand still"),
                now,
            ),
            Reach::NoIngest => self.unheard(
                "disconnected",
                Some(CauseKind::IngestGone),
                self.heard.as_ref().map_or(self.started, |(_, at)| *at),
                format!("{venue}: nothing is heard from the service that connects to it"),
                now,
            ),
            Reach::Said(health, age) => self.said(health, age, now),
        }
    }

    fn reach(&self, now: Now) -> Reach<'_> {
        let since = |then: Now| now.at.saturating_duration_since(then.at);
        match &self.heard {
            None if since(self.started) < BEAT_WITHIN => Reach::JustStarted,
            _ if !self.bus_is_up => Reach::NoBus,
            Some((health, at)) if self.heard_on_this_bus() && since(*at) < BEAT_WITHIN => {
                Reach::Said(health, since(*at))
            }
            // The bus has just come back: the first beat is on its way.
            Some(_) if !self.heard_on_this_bus() && since(self.bus_since) < BEAT_WITHIN => Reach::NoBus,
            _ => Reach::NoIngest,
        }
    }

    /// The status while nothing is heard. What an ingest said last of its own connection holds while only the bus is
    /// away; nothing is fresh in any case.
    fn unheard(
        &self,
        status: &str,
        cause: Option<CauseKind>,
        since: Now,
        message: String,
        now: Now,
    ) -> StatusView {
        let heard = self.heard.as_ref().map(|(health, at)| (health, now.at.saturating_duration_since(at.at)));
        let mut health = match (heard, cause) {
            (Some((health, age)), Some(CauseKind::BusDown)) => HealthView::of(health, millis(age)),
            _ => HealthView {
                link: LinkState::Down.as_str(),
                auth: AuthState::None.as_str(),
                data: DataState::Idle.as_str(),
                since: since.unix_ms,
                link_since: since.unix_ms,
                auth_since: since.unix_ms,
                data_since: since.unix_ms,
                cause: None,
                cause_code: None,
                attempt: 0,
                retry_in_ms: None,
                last_tick_age_ms: heard.and_then(|(health, age)| {
                    health.last_tick_age_ms.map(|ms| ms.saturating_add(millis(age)))
                }),
            },
        };
        if heard.is_some_and(|(health, _)| health.data != DataState::Idle) {
            health.data = DataState::Stale.as_str();
            health.data_since = since.unix_ms;
        }
        health.since = health.since.max(since.unix_ms);
        health.cause = cause.map(|kind| Cause::new(kind, "").to_string());
        health.cause_code = cause.map(CauseKind::code);
        health.attempt = 0;
        health.retry_in_ms = None;
        StatusView {
            source: self.venue.as_str().to_owned(),
            status: status.to_owned(),
            message,
            timestamp: now.unix_ms,
            attempt: None,
            delay: None,
            health,
        }
    }

    fn said(&self, health: &VenueHealth, age: Duration, now: Now) -> StatusView {
        let venue = &self.venue;
        let view = HealthView::of(health, millis(age));
        let because = health.cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        let is_stopping = health.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::Stopping);
        let (mut attempt, mut delay) = (None, None);
        let (status, message) = if health.auth == AuthState::Refused {
            ("error".to_owned(), format!("{venue} does not accept the credentials{because}"))
        } else if !health.is_ready() && is_stopping {
            ("disconnected".to_owned(), format!("the connection to {venue} was closed{because}"))
        } else if !health.is_ready() && health.attempt == 0 {
            (format!("{venue}-connecting"), format!("connecting to {venue}{because}"))
        } else if !health.is_ready() {
            (attempt, delay) = (Some(health.attempt), Some(view.retry_in_ms.unwrap_or(0)));
            let next = match view.retry_in_ms {
                Some(ms) => format!("attempt {} in {:.1} s", health.attempt, seconds(ms)),
                None => format!("attempt {}", health.attempt),
            };
            ("reconnecting".to_owned(), format!("reconnecting to {venue}: {next}{because}"))
        } else if !self.has_catalogue {
            (format!("{venue}-connecting"), format!("{venue}: waiting for the list of instruments"))
        } else if health.data == DataState::Stale {
            (STALE.to_owned(), format!("{venue} is connected and sends no prices"))
        } else if health.cause.as_ref().is_some_and(|cause| cause.kind == CauseKind::MarketClosed) {
            // No failure: nothing that is wanted trades now, and the cause says until when.
            (CONNECTED.to_owned(), format!("{venue} is connected{because}"))
        } else {
            (CONNECTED.to_owned(), format!("{venue} is connected"))
        };
        StatusView {
            source: venue.as_str().to_owned(),
            status,
            message,
            timestamp: now.unix_ms,
            attempt,
            delay,
            health: view,
        }
    }
}

/// The word of a venue that is well.
pub const CONNECTED: &str = "connected";
const STALE: &str = "stale";

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
