//! The faults, as a table: adding one is one row and the place where it acts.

use sim_kit::fault::{FaultKind, Kind, Param, ParamRow, lasting, number, once, param};

use crate::request::METHODS;

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
    NoMode,
    NoAnswer,
    DelayedAnswer,
    SessionsLimit,
    Burst,
}

/// What is known about a fault of this venue.
pub type FaultRow = sim_kit::fault::FaultRow<Fault>;

/// Which lasting faults of this venue are on.
pub type FaultSet = sim_kit::fault::FaultSet<Fault>;

/// A fault of this venue with everything that was chosen about it.
pub type FaultSpec = sim_kit::fault::FaultSpec<Fault>;

/// The lasting faults of this venue that are on.
pub(crate) type Faults = sim_kit::fault::Faults<Fault>;

const SYMBOLS: ParamRow =
    param(Param::Symbols, Kind::Symbols, "names of the instruments concerned; none = all");
const REQUEST: ParamRow =
    param(Param::Request, Kind::Request, "the method concerned, such as quote_add_symbols; none = all");
const TIMES: ParamRow =
    param(Param::Count, number(0, 0, 1_000_000), "how many times, then it is over; 0 = no end");
/// Fields that can lose their value.
const FIELDS: &[&str] =
    &["lp", "bid", "ask", "volume", "ch", "chp", "lp_time", "bid_size", "ask_size", "prev_close_price"];

/// Phases of a day without trading (facts 4.1; the venue's list is not known whole).
const PHASES: &[&str] = &["out_of_session", "pre_market", "post_market", "holiday"];

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
    lasting(
        Fault::Weekend,
        "weekend",
        &[SYMBOLS, param(Param::Which, Kind::OneOf(PHASES), "what current_session says")],
        "current_session says so and nothing trades",
    ),
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
    lasting(Fault::NoMode, "no-mode", &[SYMBOLS], "update_mode never comes"),
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
        &[
            param(Param::Count, number(0, 0, 1_000), "sessions a connection may create in its life"),
            param(
                Param::Reason,
                Kind::OneOf(&["max sessions rate reached", "Max state sessions reached"]),
                "why",
            ),
        ],
        "creating more sessions is answered with a critical_error",
    ),
    once(
        Fault::Burst,
        "burst",
        &[param(Param::Count, number(5_000, 1, 100_000), "updates per connection"), SYMBOLS],
        "thousands of updates of what is watched, at once",
    ),
];

impl FaultKind for Fault {
    const TABLE: &'static [FaultRow] = FAULTS;
    const TEXT_BYTES_MAX: usize = 64 << 10;

    fn index(self) -> usize {
        self as usize
    }

    fn requests() -> Vec<&'static str> {
        METHODS.to_vec()
    }

    fn counts_requests(self) -> bool {
        // Limits have a count of another meaning; late events count by symbol.
        matches!(self, Self::NoAnswer | Self::DelayedAnswer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_is_whole_and_the_documentation_says_the_same() {
        let page = include_str!("../../../docs/simulator-tradingview.md");
        assert_eq!(sim_kit::fault::flaws::<Fault>(page), Vec::<String>::new());
        assert_eq!(FAULTS.len() - 1, Fault::Burst as usize);
    }

    #[test]
    fn requests_are_named_as_the_venue_names_them() {
        let spec = FaultSpec::named("no-answer", &json!({ "request": "quote_add_symbols" })).unwrap();
        assert_eq!(spec.text(Param::Request), "quote_add_symbols");
        let error = FaultSpec::named("no-answer", &json!({ "request": "qsd" })).unwrap_err();
        assert!(error.to_string().contains("quote_add_symbols"), "{error}");
        assert_eq!(FaultSpec::from(Fault::ProtocolError).text(Param::Reason), "wrong data");
        assert_eq!(FaultSpec::from(Fault::Close).text(Param::Code), "1001");
    }
}
