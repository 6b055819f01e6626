use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use sim_ctrader::{FAULTS, Fault, Lasting};

use crate::Tuning;

/// Something that goes wrong in a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The venue misbehaves.
    Venue(Fault),
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
const ATTEMPT: Bound = |tuning| tuning.connect_timeout + RECONNECT(tuning);
/// As soon as it arrives, behind what a slow network still carries.
const AT_ONCE: Bound = |_| Duration::from_secs(5);
const STALE: Bound = |tuning| tuning.stale_after + Duration::from_secs(3);
/// No event says so: it shows when data goes stale and everything is asked for again.
const STALE_AND_LOGIN: Bound = |tuning| STALE(tuning) + RECONNECT(tuning);
/// A half-open link is given up by silence alone, and dialled again after that.
const SILENCE: Bound = |tuning| tuning.silence_timeout + RECONNECT(tuning);
/// Refused credentials are tried again slowly, jitter included.
const SLOW_RETRY: Bound = |tuning| tuning.auth_retry.mul_f64(1.5) + RECONNECT(tuning);
/// A refresh is not repeated sooner, whatever happens (facts 3.2).
const REFRESH: Bound = |tuning| Duration::from_secs(330) + SLOW_RETRY(tuning);
/// The venue said when; with jitter.
const MAINTENANCE: Bound = |tuning| Duration::from_secs(240) + RECONNECT(tuning);
/// What stayed silent however often it was asked for is asked for after twice the time each, ten minutes at most.
const ASK_AGAIN: Bound = |tuning| Duration::from_secs(660) + RECONNECT(tuning);
/// Receivers miss three beats and wait for somebody else to lead.
const TAKEOVER: Bound = |tuning| tuning.leader_ttl * 2 + RECONNECT(tuning);
/// An absent lease is marked and outwaited.
const STORE: Bound = |tuning| tuning.leader_ttl * 4 + RECONNECT(tuning);

/// Every trouble there is.
pub static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let venue = FAULTS.iter().map(|row| {
        let lasts_s = if row.lasting == Lasting::Once { 0..0 } else { 1..200 };
        let (cuts, named_within, healed_within) = at_the_venue(row.fault);
        let trouble = Trouble::Venue(row.fault);
        Case { name: row.name, trouble, lasts_s, cuts, taken_over: false, named_within, healed_within }
    });
    let around = |name, trouble, lasts_s, named_within, healed_within| Case {
        name,
        trouble,
        lasts_s,
        cuts: false,
        taken_over: matches!(
            trouble,
            Trouble::Killed | Trouble::Paused | Trouble::Stopped | Trouble::StoreWiped
        ),
        named_within,
        healed_within,
    };
    venue
        .chain([
            around("link-lost", Trouble::LinkLost, 0..0, Some(STALE), SILENCE),
            around("slow-network", Trouble::SlowNetwork, 1..100, None, ATTEMPT),
            around("process-paused", Trouble::Paused, 1..200, None, TAKEOVER),
            around("machine-suspended", Trouble::Suspended, 1..20_000, None, TAKEOVER),
            around("process-killed", Trouble::Killed, 1..200, None, TAKEOVER),
            around("process-stopped", Trouble::Stopped, 1..200, Some(AT_ONCE), TAKEOVER),
            around("clock-step", Trouble::ClockStep, 0..0, None, RECONNECT),
            around("bus-away", Trouble::BusAway, 1..200, None, STORE),
            around("slow-bus", Trouble::SlowBus, 1..100, None, RECONNECT),
            around("store-away", Trouble::StoreAway, 1..200, None, STORE),
            around("store-lossy", Trouble::StoreLossy, 1..200, None, STORE),
            around("store-wiped", Trouble::StoreWiped, 200..201, None, STORE),
        ])
        .collect()
});

/// Whether the connection is cut with it, by when it is named, and by when it is healed.
fn at_the_venue(fault: Fault) -> (bool, Option<Bound>, Bound) {
    match fault {
        Fault::Cut
        | Fault::CutInsideFrame
        | Fault::Close
        | Fault::CloseWithoutNotify
        | Fault::OversizedLength
        | Fault::ZeroLength
        | Fault::GarbageEnvelope => (false, Some(AT_ONCE), RECONNECT),
        // Repeated at once, it slows us down to minutes: somebody may have blocked us (facts 3.11).
        Fault::ClientDisconnect => (false, Some(AT_ONCE), SLOW_RETRY),
        Fault::AccountDisconnect | Fault::TokenInvalidated | Fault::SessionLost => {
            (false, Some(AT_ONCE), SLOW_RETRY)
        }
        Fault::NotAuthorized | Fault::ForgetApplication => (false, Some(STALE), STALE_AND_LOGIN),
        Fault::ExpireToken | Fault::ReplayedRefreshToken => (false, None, REFRESH),
        Fault::Stall => (false, Some(STALE), ATTEMPT),
        Fault::Mute | Fault::Weekend => (false, Some(STALE), RECONNECT),
        Fault::HangTls | Fault::Refuse | Fault::ResetHandshake => (true, Some(AT_ONCE), ATTEMPT),
        Fault::RejectCredentials | Fault::CantRoute => (true, Some(AT_ONCE), SLOW_RETRY),
        Fault::Maintenance => (false, Some(AT_ONCE), MAINTENANCE),
        Fault::Error | Fault::ConnectionsLimit => (true, Some(AT_ONCE), SLOW_RETRY),
        Fault::ForeignId | Fault::NoAnswer | Fault::DelayedAnswer | Fault::Trickle | Fault::AnswerTwice => {
            (true, Some(AT_ONCE), ATTEMPT)
        }
        Fault::NoSnapshot => (true, Some(AT_ONCE), ASK_AGAIN),
        Fault::SymbolChanged | Fault::RateLimit | Fault::PartialBatch => (false, None, ASK_AGAIN),
        Fault::UnknownPayloadType
        | Fault::UnknownField
        | Fault::ForeignEventId
        | Fault::OneByteWrites
        | Fault::ManyFramesPerWrite
        | Fault::Burst
        | Fault::LateEvents
        | Fault::ClockBackwards
        | Fault::RefreshSparesSession => (false, None, RECONNECT),
    }
}
