use crate::{Cause, VenueId};

/// Whether there is a connection to the venue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LinkState {
    /// No connection; the next attempt is planned.
    Down,
    /// Dialling.
    Connecting,
    /// Connected.
    Up,
}

/// Whether the venue accepts us.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AuthState {
    /// Nothing asked: no connection, or a venue without login.
    None,
    /// Login is under way.
    Pending,
    /// Logged in.
    Ok,
    /// The credentials were refused.
    Refused,
}

/// Whether data flows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DataState {
    /// Nothing is wanted, or everything wanted is closed; then a cause says until when.
    Idle,
    /// What is wanted ticks.
    Live,
    /// Something is wanted, its market is open, and nothing ticks.
    Stale,
}

impl LinkState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Down, Self::Connecting, Self::Up];

    /// The word browsers, metrics and logs see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Connecting => "connecting",
            Self::Up => "up",
        }
    }
}

impl AuthState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::None, Self::Pending, Self::Ok, Self::Refused];

    /// The word browsers, metrics and logs see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pending => "pending",
            Self::Ok => "ok",
            Self::Refused => "refused",
        }
    }
}

impl DataState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Idle, Self::Live, Self::Stale];

    /// The word browsers, metrics and logs see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Live => "live",
            Self::Stale => "stale",
        }
    }
}

/// A venue's health on three axes that never hide one another, with times and reasons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VenueHealth {
    /// Whose health this is.
    pub venue: VenueId,
    /// The incarnation of the ingest that says so.
    pub epoch: u64,
    /// Connection.
    pub link: LinkState,
    /// Login.
    pub auth: AuthState,
    /// Freshness.
    pub data: DataState,
    /// Last change of `link`, Unix milliseconds.
    pub link_since_ms: i64,
    /// Last change of `auth`, Unix milliseconds.
    pub auth_since_ms: i64,
    /// Last change of `data`, Unix milliseconds.
    pub data_since_ms: i64,
    /// Why the venue is not well, or the last reason it was not while it recovers.
    pub cause: Option<Cause>,
    /// Attempts to connect since the last stable session; 0 where none failed.
    pub attempt: u32,
    /// Time until the next attempt, milliseconds, where one is planned.
    pub retry_in_ms: Option<u64>,
    /// Age of the newest tick of any symbol, milliseconds.
    pub last_tick_age_ms: Option<u64>,
    /// Grows when the catalogue changes; 0 while it is not known.
    pub catalogue_version: u64,
    /// When this was said, Unix milliseconds.
    pub at_ms: i64,
}

impl VenueHealth {
    /// The last change of any axis, Unix milliseconds.
    pub fn since_ms(&self) -> i64 {
        self.link_since_ms.max(self.auth_since_ms).max(self.data_since_ms)
    }

    /// True where wanted symbols can be expected to tick.
    pub fn is_ready(&self) -> bool {
        self.link == LinkState::Up && matches!(self.auth, AuthState::Ok | AuthState::None)
    }
}
