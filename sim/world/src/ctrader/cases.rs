use std::sync::LazyLock;
use std::time::Duration;

use sim_ctrader::{FAULTS, Fault};

use crate::trouble::{
    ASK_AGAIN, AT_ONCE, ATTEMPT, Bound, Case, Expected, RECONNECT, SLOW_RETRY, STALE, STALE_AND_LOGIN, around,
};

/// A refresh is not repeated sooner, whatever happens (facts 3.2).
const REFRESH: Bound = |tuning| Duration::from_secs(330) + SLOW_RETRY(tuning);
/// The venue said when; with jitter.
const MAINTENANCE: Bound = |tuning| Duration::from_secs(240) + RECONNECT(tuning);
/// A refresh is asked for and answered within this.
const REFRESH_WITHIN: Duration = Duration::from_secs(10);

/// Every trouble there is.
pub(super) static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let venue = FAULTS.iter().map(|row| {
        let case = Case::at_the_venue(row, expected(row.fault));
        // A refresh token works once: an answer that is lost takes it with it (facts 3.2). And tokens that expire unseen
        // are renewed at any later time.
        let alone_for = (row.fault == Fault::ExpireToken).then_some(REFRESH_WITHIN);
        Case { alone_for, ..case }
    });
    venue.chain(around()).collect()
});

fn expected(fault: Fault) -> Expected {
    let (cuts, named_within, healed_within) = match fault {
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
    };
    Expected { cuts, named_within, healed_within }
}
