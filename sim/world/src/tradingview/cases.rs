use std::sync::LazyLock;
use std::time::Duration;

use sim_tradingview::{FAULTS, Fault};

use super::TradingView;
use crate::trouble::{
    ASK_AGAIN, AT_ONCE, ATTEMPT, Bound, Case, Expected, RECONNECT, SLOW_RETRY, STALE, around,
};
use crate::venue::Venue as _;

/// While it lasts every attempt fails, and the dials of a minute are used up.
const DIALLED_OFTEN: Bound = |tuning| TradingView::DIALS_WITHIN + ATTEMPT(tuning);
/// Quote sessions that break one after the other are replaced ever more slowly.
const HEALING: Bound = |tuning| Duration::from_secs(30) + RECONNECT(tuning);

/// The venue says so, and a quote a little later still belongs to the session.
const CLOSING: Bound = |_| Duration::from_secs(10);

/// Every trouble there is.
pub(super) static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let venue = FAULTS.iter().map(|row| Case::at_the_venue(row, expected(row.fault)));
    venue.chain(around()).collect()
});

fn expected(fault: Fault) -> Expected {
    let (cuts, named_within, healed_within) = match fault {
        Fault::Cut | Fault::CutInsideFrame | Fault::Close | Fault::ProtocolError => {
            (false, Some(AT_ONCE), RECONNECT)
        }
        Fault::Stall => (false, Some(STALE), DIALLED_OFTEN),
        Fault::Mute | Fault::MissingV => (false, Some(STALE), RECONNECT),
        Fault::Weekend => (false, Some(CLOSING), RECONNECT),
        Fault::HangTls | Fault::HangHandshake | Fault::ResetHandshake | Fault::Refuse | Fault::NoGreeting => {
            (true, Some(AT_ONCE), DIALLED_OFTEN)
        }
        // A status that waiting will hardly mend, a wait the venue asks for, a token that is not good.
        Fault::HandshakeStatus | Fault::ConnectionsLimit | Fault::RejectCredentials => {
            (true, Some(AT_ONCE), SLOW_RETRY)
        }
        // Where its market closed meanwhile, its silence says nothing.
        Fault::SubscriptionLost => (false, Some(STALE), ASK_AGAIN),
        Fault::BadSymbol | Fault::NoSnapshot | Fault::NoAnswer => (true, Some(AT_ONCE), ASK_AGAIN),
        Fault::NoCompleted | Fault::DelayedAnswer => (true, Some(AT_ONCE), ATTEMPT),
        // No session at all: it is not the socket that they are counted by.
        Fault::SessionsLimit => (true, Some(AT_ONCE), SLOW_RETRY),
        Fault::CriticalError => (false, None, HEALING),
        Fault::HeartbeatInterval
        | Fault::NoHeartbeats
        | Fault::CoalesceHeartbeats
        | Fault::RepeatHeartbeat
        | Fault::ManyFramesPerMessage
        | Fault::Fragments
        | Fault::OneByteWrites
        | Fault::OversizedMessage
        | Fault::WrongLength
        | Fault::GarbageBetweenFrames
        | Fault::EmptyPayload
        | Fault::Raw
        | Fault::StrangeText
        | Fault::NoValue
        | Fault::NullValue
        | Fault::NoisyNumbers
        | Fault::MissingErrmsg
        | Fault::Delayed
        | Fault::OnlyFields
        | Fault::RepeatedTicks
        | Fault::OutOfOrder
        | Fault::PriceJump
        | Fault::ClockBackwards
        | Fault::UnknownMessage
        | Fault::UnknownMembers
        | Fault::LateEvents
        | Fault::ForeignSession
        | Fault::NoBook
        | Fault::NoMode
        | Fault::Burst => (false, None, RECONNECT),
    };
    Expected { cuts, named_within, healed_within }
}
