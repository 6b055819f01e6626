//! The faults, as a table: adding one is one row and the place where it acts.

use crate::param::{Kind, Param, ParamRow};

/// Something the venue can do wrong on demand. What each does stands in [`FAULTS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the table says it, in words")]
pub enum Fault {
    Cut,
    CutInsideFrame,
    Stall,
    Mute,
    HangTls,
    HangHandshake,
    ResetHandshake,
    HandshakeStatus,
    Refuse,
    ConnectionsLimit,
    NoGreeting,
    RejectCredentials,
    Close,
    ProtocolError,
    CriticalError,
    HeartbeatInterval,
    NoHeartbeats,
    CoalesceHeartbeats,
    RepeatHeartbeat,
    ManyFramesPerMessage,
    Fragments,
    OneByteWrites,
    OversizedMessage,
    WrongLength,
    GarbageBetweenFrames,
    EmptyPayload,
    Raw,
    StrangeText,
    NoValue,
    NullValue,
    NoisyNumbers,
    MissingV,
    MissingErrmsg,
    Delayed,
    OnlyFields,
    RepeatedTicks,
    OutOfOrder,
    PriceJump,
    ClockBackwards,
    Weekend,
    UnknownMessage,
    UnknownMembers,
    LateEvents,
    ForeignSession,
    BadSymbol,
    SubscriptionLost,
    NoSnapshot,
    NoCompleted,
    NoBook,
    NoAnswer,
    DelayedAnswer,
    SessionsLimit,
    Burst,
}

/// How long a fault lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// Happens when asked for and is over.
    Once,
    /// Stays until switched off, or until its `for_ms` have passed or its `count` is used up.
    UntilSwitchedOff,
}

/// What is known about a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultRow {
    /// The fault.
    pub fault: Fault,
    /// Its name on the admin port and in scenarios.
    pub name: &'static str,
    /// How long it lasts.
    pub lasting: Lasting,
    /// What it does, in a sentence.
    pub effect: &'static str,
    /// What can be chosen about it. A lasting fault takes `for_ms` besides.
    pub params: &'static [ParamRow],
}

const fn once(
    fault: Fault,
    name: &'static str,
    params: &'static [ParamRow],
    effect: &'static str,
) -> FaultRow {
    FaultRow { fault, name, lasting: Lasting::Once, effect, params }
}

const fn lasting(
    fault: Fault,
    name: &'static str,
    params: &'static [ParamRow],
    effect: &'static str,
) -> FaultRow {
    FaultRow { fault, name, lasting: Lasting::UntilSwitchedOff, effect, params }
}

const fn param(param: Param, kind: Kind, meaning: &'static str) -> ParamRow {
    ParamRow { param, kind, meaning }
}

const fn number(default: u64, min: u64, max: u64) -> Kind {
    Kind::Number { default, min, max }
}

const SYMBOLS: ParamRow =
    param(Param::Symbols, Kind::Symbols, "names of the instruments concerned; none = all");
const REQUEST: ParamRow =
    param(Param::Request, Kind::Request, "the method concerned, such as quote_add_symbols; none = all");
const TIMES: ParamRow =
    param(Param::Count, number(0, 0, 1_000_000), "how many times, then it is over; 0 = no end");
/// Fields that can lose their value.
const FIELDS: &[&str] =
    &["lp", "bid", "ask", "volume", "ch", "chp", "lp_time", "bid_size", "ask_size", "prev_close_price"];

/// Every fault there is.
pub const FAULTS: &[FaultRow] = &[
    once(Fault::Cut, "cut", &[], "every connection is reset"),
    once(
        Fault::CutInsideFrame,
        "cut-inside-frame",
        &[],
        "every connection gets half a message, then a reset",
    ),
    lasting(
        Fault::Stall,
        "stall",
        &[],
        "sockets stay open, nothing is read or written, on new connections neither",
    ),
    lasting(
        Fault::Mute,
        "mute",
        &[SYMBOLS],
        "no updates of what is subscribed; answers and heartbeats go on",
    ),
    lasting(
        Fault::HangTls,
        "hang-tls",
        &[],
        "new connections are accepted, their first byte is never answered",
    ),
    lasting(
        Fault::HangHandshake,
        "hang-handshake",
        &[],
        "the WebSocket handshake is read and never answered",
    ),
    lasting(
        Fault::ResetHandshake,
        "reset-handshake",
        &[],
        "new connections are accepted and reset during their handshake",
    ),
    lasting(
        Fault::HandshakeStatus,
        "handshake-status",
        &[
            param(Param::Code, Kind::OneOf(&["403", "429", "503", "404"]), "HTTP status"),
            param(Param::RetryAfterS, number(0, 0, 86_400), "Retry-After in seconds; 0 = not said"),
        ],
        "the WebSocket handshake is refused",
    ),
    lasting(Fault::Refuse, "refuse", &[], "the listener is closed; what is connected stays"),
    lasting(
        Fault::ConnectionsLimit,
        "connections-limit",
        &[
            param(Param::Count, number(0, 0, 1_000), "connections let in"),
            param(Param::RetryAfterS, number(0, 0, 86_400), "Retry-After in seconds; 0 = not said"),
        ],
        "connections beyond so many are refused with 429",
    ),
    lasting(Fault::NoGreeting, "no-greeting", &[], "new connections are not greeted; everything else works"),
    lasting(
        Fault::RejectCredentials,
        "reject-credentials",
        &[],
        "every token is answered with protocol_error bad auth token, and the connection is closed",
    ),
    once(
        Fault::Close,
        "close",
        &[param(
            Param::Code,
            Kind::OneOf(&["1001", "1000", "1005", "1006", "1011"]),
            "how: with this code, with none (1005), or TCP alone (1006)",
        )],
        "every connection is closed",
    ),
    once(
        Fault::ProtocolError,
        "protocol-error",
        &[param(Param::Reason, Kind::Text("wrong data"), "its text")],
        "every connection is told a protocol_error and closed",
    ),
    once(
        Fault::CriticalError,
        "critical-error",
        &[
            param(Param::Reason, Kind::Text("invalid_parameters"), "why"),
            param(Param::Info, Kind::Text("quote_add_symbols"), "about what"),
            param(Param::Closes, Kind::Flag(false), "the connection is closed, too"),
        ],
        "every session is told a critical_error and is gone",
    ),
    lasting(
        Fault::HeartbeatInterval,
        "heartbeat-interval",
        &[param(Param::EveryMs, number(2_000, 50, 3_600_000), "time between two, in ms")],
        "heartbeats come at another interval",
    ),
    lasting(Fault::NoHeartbeats, "no-heartbeats", &[], "no heartbeats; data goes on"),
    lasting(
        Fault::CoalesceHeartbeats,
        "coalesce-heartbeats",
        &[param(Param::Which, Kind::OneOf(&["before", "after"]), "where it stands in the message")],
        "heartbeats share a message with data",
    ),
    lasting(
        Fault::RepeatHeartbeat,
        "repeat-heartbeat",
        &[],
        "every heartbeat comes twice with the same number",
    ),
    lasting(
        Fault::ManyFramesPerMessage,
        "many-frames-per-message",
        &[param(Param::DelayMs, number(250, 1, 60_000), "how long frames are gathered, in ms")],
        "frames are gathered and leave in one message",
    ),
    lasting(
        Fault::Fragments,
        "fragments",
        &[],
        "every message is cut into three WebSocket fragments, inside letters too",
    ),
    lasting(Fault::OneByteWrites, "one-byte-writes", &[], "each byte is written by itself"),
    once(
        Fault::OversizedMessage,
        "oversized-message",
        &[param(Param::Bytes, number(2_000_000, 1_000, 16_000_000), "length of its payload")],
        "every connection gets one very long message",
    ),
    once(
        Fault::WrongLength,
        "wrong-length",
        &[param(Param::Which, Kind::OneOf(&["too-long", "too-short"]), "what is declared")],
        "every connection gets a frame that declares another length than it has",
    ),
    lasting(
        Fault::GarbageBetweenFrames,
        "garbage-between-frames",
        &[],
        "letters that belong to no frame follow the first frame of each message",
    ),
    once(Fault::EmptyPayload, "empty-payload", &[], "every connection gets a frame of no letters"),
    once(
        Fault::Raw,
        "raw",
        &[param(Param::Payload, Kind::Text("~j~{}"), "the payload")],
        "every connection gets a frame with this payload",
    ),
    lasting(
        Fault::StrangeText,
        "strange-text",
        &[SYMBOLS],
        "descriptions hold letters beyond ASCII and beyond UTF-16 units, and look like frames and heartbeats",
    ),
    lasting(
        Fault::NoValue,
        "no-value",
        &[SYMBOLS, param(Param::Which, Kind::OneOf(FIELDS), "the field")],
        "a field is 1e+100, which means no value",
    ),
    lasting(
        Fault::NullValue,
        "null-value",
        &[SYMBOLS, param(Param::Which, Kind::OneOf(FIELDS), "the field")],
        "a field is null, which means cleared",
    ),
    lasting(
        Fault::NoisyNumbers,
        "noisy-numbers",
        &[param(Param::Which, Kind::OneOf(&["noisy", "exponent"]), "how they are written")],
        "numbers have the noise of binary fractions, or exponents",
    ),
    lasting(Fault::MissingV, "missing-v", &[SYMBOLS], "qsd messages have no v"),
    lasting(
        Fault::MissingErrmsg,
        "missing-errmsg",
        &[],
        "qsd messages of refused symbols have no errmsg and no v",
    ),
    lasting(
        Fault::Delayed,
        "delayed",
        &[SYMBOLS, param(Param::DelayS, number(900, 0, 86_400), "by how much; 0 = endofday")],
        "update_mode changes to delayed, and back when it is over; times are as late",
    ),
    lasting(
        Fault::OnlyFields,
        "only-fields",
        &[SYMBOLS, param(Param::Which, Kind::OneOf(&["book", "volume", "time"]), "what updates hold")],
        "updates hold only bid and ask, only volume, or only lp_time",
    ),
    lasting(Fault::RepeatedTicks, "repeated-ticks", &[], "every update comes twice"),
    lasting(Fault::OutOfOrder, "out-of-order", &[], "updates leave in pairs, the later one first"),
    once(
        Fault::PriceJump,
        "price-jump",
        &[
            SYMBOLS,
            param(Param::Percent, number(30, 1, 90), "how far"),
            param(Param::Down, Kind::Flag(false), "down, not up"),
        ],
        "prices of what is watched jump",
    ),
    lasting(
        Fault::ClockBackwards,
        "clock-backwards",
        &[param(Param::ByMs, number(60_000, 1_000, 86_400_000), "how far, in ms")],
        "lp_time is from before the ones already told",
    ),
    lasting(Fault::Weekend, "weekend", &[SYMBOLS], "current_session is out_of_session and nothing trades"),
    once(
        Fault::UnknownMessage,
        "unknown-message",
        &[param(Param::Count, number(1, 1, 1_000), "how many")],
        "every connection gets messages of a name nobody knows",
    ),
    lasting(
        Fault::UnknownMembers,
        "unknown-members",
        &[],
        "every message has members nobody knows, and more parameters",
    ),
    lasting(
        Fault::LateEvents,
        "late-events",
        &[param(Param::Count, number(5, 1, 1_000), "updates per symbol")],
        "updates still come after a symbol was removed",
    ),
    once(
        Fault::ForeignSession,
        "foreign-session",
        &[],
        "every connection gets a qsd of a session it does not have",
    ),
    lasting(
        Fault::BadSymbol,
        "bad-symbol",
        &[SYMBOLS, param(Param::Reason, Kind::Text("invalid symbol"), "errmsg")],
        "adding these symbols is answered with an error, the others of the request are served",
    ),
    once(
        Fault::SubscriptionLost,
        "subscription-lost",
        &[
            SYMBOLS,
            param(
                Param::Held,
                Kind::Flag(false),
                "the venue counts them as added all the same; else they may be added again",
            ),
        ],
        "subscriptions end without a word; heartbeats go on",
    ),
    lasting(
        Fault::NoSnapshot,
        "no-snapshot",
        &[
            SYMBOLS,
            param(
                Param::Held,
                Kind::Flag(true),
                "the venue counts them as added all the same; else they may be added again",
            ),
        ],
        "adding a symbol is not answered and has no effect",
    ),
    lasting(Fault::NoCompleted, "no-completed", &[SYMBOLS], "quote_completed never comes"),
    lasting(Fault::NoBook, "no-book", &[SYMBOLS], "bid and ask never come"),
    lasting(Fault::NoAnswer, "no-answer", &[REQUEST, TIMES], "requests are lost"),
    lasting(
        Fault::DelayedAnswer,
        "delayed-answer",
        &[REQUEST, TIMES, param(Param::DelayMs, number(3_000, 1, 600_000), "how late, in ms")],
        "requests are carried out at once and answered late; updates do not wait",
    ),
    lasting(
        Fault::SessionsLimit,
        "sessions-limit",
        &[param(Param::Count, number(0, 0, 1_000), "sessions a connection may create in its life")],
        "creating more sessions is answered with critical_error max sessions rate reached",
    ),
    once(
        Fault::Burst,
        "burst",
        &[param(Param::Count, number(5_000, 1, 100_000), "updates per connection"), SYMBOLS],
        "thousands of updates of what is watched, at once",
    ),
];

impl Fault {
    /// The fault of this name.
    pub fn named(name: &str) -> Option<&'static FaultRow> {
        FAULTS.iter().find(|row| row.name == name)
    }

    /// What is known about this fault.
    pub fn row(self) -> &'static FaultRow {
        // The table has a row for each fault, in their order; a test holds it.
        &FAULTS[self as usize]
    }
}

impl FaultRow {
    /// What can be chosen about a parameter; `None` where this fault does not have it.
    pub fn param(&self, param: Param) -> Option<&'static ParamRow> {
        if param == Param::ForMs && self.lasting == Lasting::UntilSwitchedOff {
            return Some(&FOR_MS);
        }
        self.params.iter().find(|row| row.param == param)
    }
}

static FOR_MS: ParamRow = param(
    Param::ForMs,
    number(0, 0, 604_800_000),
    "how long until it is over by itself, in ms; 0 = until switched off",
);

/// Which lasting faults are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultSet(u64);

impl FaultSet {
    /// True while the fault is on.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & bit(fault) != 0
    }

    pub(crate) fn set(&mut self, fault: Fault, on: bool) {
        if on {
            self.0 |= bit(fault);
        } else {
            self.0 &= !bit(fault);
        }
    }
}

fn bit(fault: Fault) -> u64 {
    1 << (fault as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_fault_has_one_row_and_one_name() {
        let names: BTreeSet<&str> = FAULTS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), FAULTS.len());
        assert_eq!(FAULTS.len() - 1, Fault::Burst as usize);
        for row in FAULTS {
            assert_eq!(Fault::named(row.name), Some(row));
            assert_eq!(row.fault.row(), row);
        }
        assert_eq!(Fault::named("no-such"), None);
    }

    #[test]
    fn the_documentation_has_every_fault() {
        let page = include_str!("../../../docs/simulator-tradingview.md");
        for row in FAULTS {
            assert!(
                page.contains(&format!("| `{}` |", row.name)),
                "docs/simulator-tradingview.md has no {}",
                row.name
            );
            assert!(
                page.contains(&format!("| {} |", row.effect)),
                "docs/simulator-tradingview.md says else of {}",
                row.name
            );
        }
    }

    #[test]
    fn a_parameter_stands_once_in_a_row_and_for_ms_in_every_lasting_one() {
        for row in FAULTS {
            let names: BTreeSet<&str> = row.params.iter().map(|row| row.param.name()).collect();
            assert_eq!(names.len(), row.params.len(), "{}", row.name);
            assert_eq!(row.param(Param::ForMs).is_some(), row.lasting == Lasting::UntilSwitchedOff);
        }
    }

    #[test]
    fn faults_are_switched_one_by_one() {
        let mut set = FaultSet::default();
        set.set(Fault::Mute, true);
        set.set(Fault::ClockBackwards, true);
        set.set(Fault::Mute, false);
        assert!(set.has(Fault::ClockBackwards) && !set.has(Fault::Mute) && !set.has(Fault::Stall));
    }
}
