use std::ops::Range;
use std::time::Duration;

use sim_kit::fault::{FaultKind, FaultRow, Lasting};

use crate::Tuning;

/// Something that goes wrong in a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The venue misbehaves: a fault of this name.
    Venue(&'static str),
    /// The network forgets the connection without telling either side.
    LinkLost,
    /// Everything on the way to the venue takes seconds instead of milliseconds.
    SlowNetwork,
    /// The process that leads stands still (SIGSTOP, a swapping machine), and goes on.
    Paused,
    /// Both processes stand still at once: the machine sleeps.
    Suspended,
    /// The process that leads is killed, and started again later.
    Killed,
    /// The process that leads is asked to stop, and started again later.
    Stopped,
    /// The wall clock of the ingests' machine jumps.
    ClockStep,
    /// Nobody can reach the bus, nor the store on it.
    BusAway,
    /// What is published arrives seconds late.
    SlowBus,
    /// The store of the lease does not answer.
    StoreAway,
    /// A quarter of the questions to the store and of its answers are lost, and the others are late.
    StoreLossy,
    /// The store is lost and made anew, counting from the beginning.
    StoreWiped,
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
    /// It strikes only a feed that is well, with its usual parameters, and for so long nothing else may go wrong.
    pub alone_for: Option<Duration>,
    /// It heals while it lasts: another process takes over.
    pub taken_over: bool,
    /// By when receivers were told of a state with a cause; `None` where nothing is lost that they could be told of.
    pub named_within: Option<Bound>,
    /// By when everything wanted and tradable is live: after its end, or after its beginning where it has no end.
    pub healed_within: Bound,
}

/// A time that depends on the settings.
pub type Bound = fn(&Tuning) -> Duration;

/// What a connection that ended costs: the longest backoff, a dial and a login, and the snapshots.
pub(crate) const RECONNECT: Bound = |_| Duration::from_secs(30);
/// The attempt under way has to run out first, or the request that was not answered.
pub(crate) const ATTEMPT: Bound = |tuning| tuning.connect_timeout + RECONNECT(tuning);
/// As soon as it arrives, behind what a slow network still carries.
pub(crate) const AT_ONCE: Bound = |_| Duration::from_secs(5);
pub(crate) const STALE: Bound = |tuning| tuning.stale_after + Duration::from_secs(3);
/// No event says so: it shows when data goes stale and everything is asked for again.
pub(crate) const STALE_AND_LOGIN: Bound = |tuning| STALE(tuning) + RECONNECT(tuning);
/// A half-open link is given up by silence alone, and dialled again after that.
const SILENCE: Bound = |tuning| tuning.silence_timeout + RECONNECT(tuning);
/// Refused credentials are tried again slowly, jitter included.
pub(crate) const SLOW_RETRY: Bound = |tuning| tuning.auth_retry.mul_f64(1.5) + RECONNECT(tuning);
/// What stayed silent however often it was asked for is asked for after twice the time each, ten minutes at most.
pub(crate) const ASK_AGAIN: Bound = |tuning| Duration::from_secs(660) + RECONNECT(tuning);
/// Receivers miss three beats and wait for somebody else to lead.
const TAKEOVER: Bound = |tuning| tuning.leader_ttl * 2 + RECONNECT(tuning);
/// An absent lease is marked and outwaited.
const STORE: Bound = |tuning| tuning.leader_ttl * 4 + RECONNECT(tuning);

/// What has to be said and done about a fault of the venue.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) cuts: bool,
    pub(crate) named_within: Option<Bound>,
    pub(crate) healed_within: Bound,
}

impl Case {
    /// A fault of the venue.
    pub(crate) fn at_the_venue<F: FaultKind>(row: &FaultRow<F>, expected: Expected) -> Self {
        let Expected { cuts, named_within, healed_within } = expected;
        let lasts_s = if row.lasting == Lasting::Once { 0..0 } else { 1..200 };
        Self {
            name: row.name,
            trouble: Trouble::Venue(row.name),
            lasts_s,
            cuts,
            alone_for: None,
            taken_over: false,
            named_within,
            healed_within,
        }
    }
}

/// Every trouble that has nothing to do with the venue.
pub(crate) fn around() -> impl Iterator<Item = Case> {
    let case = |name, trouble, lasts_s, named_within, healed_within| Case {
        name,
        trouble,
        lasts_s,
        cuts: false,
        alone_for: None,
        taken_over: matches!(
            trouble,
            Trouble::Killed | Trouble::Paused | Trouble::Stopped | Trouble::StoreWiped
        ),
        named_within,
        healed_within,
    };
    [
        case("link-lost", Trouble::LinkLost, 0..0, Some(STALE), SILENCE),
        case("slow-network", Trouble::SlowNetwork, 1..100, None, ATTEMPT),
        case("process-paused", Trouble::Paused, 1..200, None, TAKEOVER),
        case("machine-suspended", Trouble::Suspended, 1..20_000, None, TAKEOVER),
        case("process-killed", Trouble::Killed, 1..200, None, TAKEOVER),
        case("process-stopped", Trouble::Stopped, 1..200, Some(AT_ONCE), TAKEOVER),
        case("clock-step", Trouble::ClockStep, 0..0, None, RECONNECT),
        case("bus-away", Trouble::BusAway, 1..200, None, STORE),
        case("slow-bus", Trouble::SlowBus, 1..100, None, RECONNECT),
        case("store-away", Trouble::StoreAway, 1..200, None, STORE),
        case("store-lossy", Trouble::StoreLossy, 1..200, None, STORE),
        case("store-wiped", Trouble::StoreWiped, 200..201, None, STORE),
    ]
    .into_iter()
}
