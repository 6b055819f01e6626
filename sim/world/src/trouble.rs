use std::ops::Range;
use std::time::Duration;

use sim_ctrader::Fault;

use crate::Tuning;

/// Something that goes wrong in a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The venue misbehaves.
    Venue(Fault),
    /// The network forgets the connection without telling either side.
    LinkLost,
    /// Everything takes seconds instead of milliseconds.
    SlowNetwork,
    /// The process that leads stands still (SIGSTOP, a swapping machine), and goes on.
    Paused,
    /// The process that leads is killed, and started again later.
    Killed,
    /// The wall clock of the ingest's machine jumps.
    ClockStep,
    /// Nobody can reach the bus.
    BusAway,
}

/// A row of the catalogue: one trouble, how long it lasts, and what has to be said and done about it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, as printed.
    pub name: &'static str,
    /// What goes wrong.
    pub trouble: Trouble,
    /// For how many seconds; empty for what happens once.
    pub lasts_s: Range<u64>,
    /// The present connection is cut with it: it is about the next one.
    pub cuts: bool,
    /// By when receivers were told of a state with a cause; `None` where nothing is lost that they could be told of.
    pub named_within: Option<fn(&Tuning) -> Duration>,
    /// By when, after its end, everything wanted and tradable is live.
    pub healed_within: fn(&Tuning) -> Duration,
}

const NOTHING: Range<u64> = 0..0;

/// What a connection that ended costs: the longest backoff, a dial and a login, and the snapshots.
fn reconnect(_: &Tuning) -> Duration {
    Duration::from_secs(30)
}

/// A half-open link is given up by silence alone, and dialled again after that.
fn silence_and_reconnect(tuning: &Tuning) -> Duration {
    tuning.silence_timeout + reconnect(tuning)
}

/// Refused credentials are tried again slowly, a quarter of jitter included.
fn slow_retry(tuning: &Tuning) -> Duration {
    tuning.auth_retry.mul_f64(1.25) + reconnect(tuning)
}

/// As soon as it arrives, behind what a slow network still carries.
fn at_once(_: &Tuning) -> Duration {
    Duration::from_secs(5)
}

/// The present attempt has to run out first.
fn attempt(tuning: &Tuning) -> Duration {
    tuning.connect_timeout + Duration::from_secs(1)
}

fn stale(tuning: &Tuning) -> Duration {
    tuning.stale_after + Duration::from_secs(3)
}

/// Every trouble there is.
pub const CASES: &[Case] = &[
    Case {
        name: "cut",
        trouble: Trouble::Venue(Fault::Cut),
        lasts_s: NOTHING,
        cuts: false,
        named_within: Some(at_once),
        healed_within: reconnect,
    },
    Case {
        name: "cut-inside-frame",
        trouble: Trouble::Venue(Fault::CutInsideFrame),
        lasts_s: NOTHING,
        cuts: false,
        named_within: Some(at_once),
        healed_within: reconnect,
    },
    Case {
        name: "stall",
        trouble: Trouble::Venue(Fault::Stall),
        lasts_s: 1..200,
        cuts: false,
        named_within: Some(stale),
        healed_within: reconnect,
    },
    Case {
        name: "mute",
        trouble: Trouble::Venue(Fault::Mute),
        lasts_s: 1..200,
        cuts: false,
        named_within: Some(stale),
        healed_within: reconnect,
    },
    Case {
        name: "hang-tls",
        trouble: Trouble::Venue(Fault::HangTls),
        lasts_s: 1..200,
        cuts: true,
        named_within: Some(at_once),
        healed_within: reconnect,
    },
    Case {
        name: "refuse",
        trouble: Trouble::Venue(Fault::Refuse),
        lasts_s: 1..200,
        cuts: true,
        named_within: Some(at_once),
        healed_within: reconnect,
    },
    Case {
        name: "reject-credentials",
        trouble: Trouble::Venue(Fault::RejectCredentials),
        lasts_s: 1..200,
        cuts: true,
        named_within: Some(at_once),
        healed_within: slow_retry,
    },
    Case {
        name: "link-lost",
        trouble: Trouble::LinkLost,
        lasts_s: NOTHING,
        cuts: false,
        named_within: Some(stale),
        healed_within: silence_and_reconnect,
    },
    Case {
        name: "slow-network",
        trouble: Trouble::SlowNetwork,
        lasts_s: 1..100,
        cuts: false,
        named_within: None,
        healed_within: attempt_and_reconnect,
    },
    Case {
        name: "paused",
        trouble: Trouble::Paused,
        lasts_s: 1..200,
        cuts: false,
        named_within: None,
        healed_within: reconnect,
    },
    Case {
        name: "killed",
        trouble: Trouble::Killed,
        lasts_s: 1..60,
        cuts: false,
        named_within: None,
        healed_within: reconnect,
    },
    Case {
        name: "clock-step",
        trouble: Trouble::ClockStep,
        lasts_s: NOTHING,
        cuts: false,
        named_within: None,
        healed_within: at_once,
    },
    Case {
        name: "bus-away",
        trouble: Trouble::BusAway,
        lasts_s: 1..100,
        cuts: false,
        named_within: None,
        healed_within: reconnect,
    },
];

fn attempt_and_reconnect(tuning: &Tuning) -> Duration {
    attempt(tuning) + reconnect(tuning)
}
