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
    Refuse,
    RejectCredentials,
    ResetHandshake,
    Close,
    CloseWithoutNotify,
    ClientDisconnect,
    AccountDisconnect,
    TokenInvalidated,
    SessionLost,
    NotAuthorized,
    ForgetApplication,
    ExpireToken,
    ReplayedRefreshToken,
    RefreshSparesSession,
    Maintenance,
    CantRoute,
    Error,
    RateLimit,
    ConnectionsLimit,
    OversizedLength,
    ZeroLength,
    GarbageEnvelope,
    UnknownPayloadType,
    UnknownField,
    ForeignId,
    ForeignEventId,
    AnswerTwice,
    NoAnswer,
    DelayedAnswer,
    OneByteWrites,
    ManyFramesPerWrite,
    Trickle,
    Burst,
    LateEvents,
    Weekend,
    NoSnapshot,
    PartialBatch,
    SymbolChanged,
    ClockBackwards,
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

/// Which of the two layers answers with an error: the first word is the default.
const LAYERS: Kind = Kind::OneOf(&["open-api", "common"]);
const SYMBOLS: ParamRow = param(Param::Symbols, Kind::Symbols, "names of the symbols concerned; none = all");
const REQUEST: ParamRow = param(
    Param::Request,
    Kind::Request,
    "the request concerned, such as ProtoOASubscribeSpotsReq; none = all",
);
const TIMES: ParamRow =
    param(Param::Count, number(0, 0, 1_000_000), "how many times, then it is over; 0 = no end");
const LAYER: ParamRow = param(Param::Layer, LAYERS, "ProtoOAErrorRes (open-api) or ProtoErrorRes (common)");
const REASON: ParamRow = param(Param::Reason, Kind::Text(""), "free text that goes with it");

/// Every fault there is.
pub const FAULTS: &[FaultRow] = &[
    once(Fault::Cut, "cut", &[], "every connection is reset"),
    once(Fault::CutInsideFrame, "cut-inside-frame", &[], "every connection gets half a frame, then its end"),
    lasting(
        Fault::Stall,
        "stall",
        &[],
        "sockets stay open, nothing is read or written, on new connections neither",
    ),
    lasting(Fault::Mute, "mute", &[SYMBOLS], "no spot events; answers and heartbeats go on"),
    lasting(
        Fault::HangTls,
        "hang-tls",
        &[],
        "new connections are accepted, their TLS handshake is never answered",
    ),
    lasting(Fault::Refuse, "refuse", &[], "the listener is closed; what is connected stays"),
    lasting(
        Fault::RejectCredentials,
        "reject-credentials",
        &[param(
            Param::Code,
            Kind::OneOf(&["CH_CLIENT_AUTH_FAILURE", "CH_OA_CLIENT_NOT_FOUND"]),
            "the code of the answer",
        )],
        "application auth is refused with CH_CLIENT_AUTH_FAILURE and the connection closed",
    ),
    lasting(
        Fault::ResetHandshake,
        "reset-handshake",
        &[],
        "new connections are accepted and reset during their TLS handshake",
    ),
    once(Fault::Close, "close", &[], "every connection is closed as it should be, TLS first"),
    once(
        Fault::CloseWithoutNotify,
        "close-without-notify",
        &[],
        "every connection is closed between two frames, without a close of TLS",
    ),
    once(
        Fault::ClientDisconnect,
        "client-disconnect",
        &[
            REASON,
            param(
                Param::Closes,
                Kind::Flag(false),
                "also close the socket; else it stays and answers as a new one",
            ),
        ],
        "2148: every application connection ends, with a reason",
    ),
    once(
        Fault::AccountDisconnect,
        "account-disconnect",
        &[],
        "2164: every account loses its session, the socket stays",
    ),
    once(
        Fault::TokenInvalidated,
        "token-invalidated",
        &[
            REASON,
            param(Param::EmptyList, Kind::Flag(false), "the event names no accounts"),
            param(Param::EndsSession, Kind::Flag(true), "the sessions really end; else they go on answering"),
        ],
        "2147: the tokens of every account that is logged in are said to be void; they stay good",
    ),
    once(
        Fault::SessionLost,
        "session-lost",
        &[REASON],
        "2147 and 2164 together, as after a refresh: every account loses its session",
    ),
    once(
        Fault::NotAuthorized,
        "not-authorized",
        &[param(
            Param::Code,
            Kind::OneOf(&["INVALID_REQUEST", "ACCOUNT_NOT_AUTHORIZED"]),
            "what the next request of the account is answered with",
        )],
        "every account loses its session and its quotes, and no event says so",
    ),
    once(
        Fault::ForgetApplication,
        "forget-application",
        &[],
        "no event says so: from now on every request is answered with CH_CLIENT_NOT_AUTHENTICATED",
    ),
    once(
        Fault::ExpireToken,
        "expire-token",
        &[
            param(
                Param::Code,
                Kind::OneOf(&["OA_AUTH_TOKEN_EXPIRED", "CH_ACCESS_TOKEN_INVALID"]),
                "what a login with it is answered with",
            ),
            param(Param::EndsSession, Kind::Flag(true), "sessions that came with it end, with 2147"),
        ],
        "the access tokens of all grants have expired; their refresh tokens are good",
    ),
    lasting(
        Fault::ReplayedRefreshToken,
        "replayed-refresh-token",
        &[],
        "refresh tokens are taken for used ones and refused with CH_ACCESS_TOKEN_INVALID",
    ),
    lasting(
        Fault::RefreshSparesSession,
        "refresh-spares-session",
        &[],
        "a refresh sends 2147 and 2164 as ever, but the sessions go on answering",
    ),
    lasting(
        Fault::Maintenance,
        "maintenance",
        &[
            LAYER,
            REQUEST,
            param(
                Param::EndInMs,
                number(60_000, 0, 604_800_000),
                "how far away the end is said to be where for_ms does not say it",
            ),
            param(Param::Disconnects, Kind::Flag(true), "sessions end with 2164 when it begins"),
        ],
        "requests are refused with SERVER_IS_UNDER_MAINTENANCE and its end, in seconds or (common) milliseconds",
    ),
    lasting(
        Fault::CantRoute,
        "cant-route",
        &[
            param(Param::Request, Kind::Request, "the request refused; none = account auth"),
            LAYER,
            param(Param::Disconnects, Kind::Flag(false), "sessions end with 2164 when it begins"),
        ],
        "logging an account in is refused with CANT_ROUTE_REQUEST",
    ),
    lasting(
        Fault::Error,
        "error",
        &[
            param(Param::Code, Kind::Text("TIMEOUT_ERROR"), "the code, any text"),
            REASON,
            REQUEST,
            LAYER,
            param(Param::RetryAfterS, number(0, 0, 3_600), "retryAfter in seconds; 0 = not said"),
            TIMES,
        ],
        "requests are answered with an error of choice and not carried out",
    ),
    lasting(
        Fault::RateLimit,
        "rate-limit",
        &[
            param(
                Param::Code,
                Kind::OneOf(&["REQUEST_FREQUENCY_EXCEEDED", "BLOCKED_PAYLOAD_TYPE"]),
                "what too many requests are answered with",
            ),
            param(Param::PerS, number(50, 1, 1_000), "requests per second and connection"),
            param(Param::RetryAfterS, number(1, 1, 3_600), "how long BLOCKED_PAYLOAD_TYPE lasts, in seconds"),
        ],
        "the request limit is another one, or answers in its other way",
    ),
    lasting(
        Fault::ConnectionsLimit,
        "connections-limit",
        &[param(Param::Count, number(0, 0, 1_000), "connections let in")],
        "application auth beyond so many connections is refused with CONNECTIONS_LIMIT_EXCEEDED",
    ),
    once(
        Fault::OversizedLength,
        "oversized-length",
        &[param(Param::Bytes, number(4_294_967_295, 15_000_001, 4_294_967_295), "the length announced")],
        "every connection is told of a frame nobody can send, and gets its beginning",
    ),
    once(Fault::ZeroLength, "zero-length", &[], "every connection gets a frame of no bytes"),
    once(
        Fault::GarbageEnvelope,
        "garbage-envelope",
        &[],
        "every connection gets a frame that is no envelope",
    ),
    once(
        Fault::UnknownPayloadType,
        "unknown-payload-type",
        &[param(Param::Count, number(1, 1, 1_000), "how many")],
        "every connection gets messages of a payload type nobody knows",
    ),
    lasting(
        Fault::UnknownField,
        "unknown-field",
        &[],
        "every message carries fields nobody knows, in the envelope and inside",
    ),
    lasting(
        Fault::ForeignId,
        "foreign-id",
        &[REQUEST, TIMES],
        "answers carry a clientMsgId nobody asked with in place of their own",
    ),
    lasting(
        Fault::ForeignEventId,
        "foreign-event-id",
        &[],
        "events carry the clientMsgId of another client of the account",
    ),
    lasting(Fault::AnswerTwice, "answer-twice", &[REQUEST, TIMES], "answers come twice"),
    lasting(
        Fault::NoAnswer,
        "no-answer",
        &[
            REQUEST,
            TIMES,
            param(
                Param::CarriedOut,
                Kind::Flag(false),
                "the request is carried out and only its answer is lost",
            ),
        ],
        "requests are lost",
    ),
    lasting(
        Fault::DelayedAnswer,
        "delayed-answer",
        &[REQUEST, TIMES, param(Param::DelayMs, number(3_000, 1, 600_000), "how late, in ms")],
        "requests are carried out at once and answered late; the events they cause do not wait",
    ),
    lasting(Fault::OneByteWrites, "one-byte-writes", &[], "each byte is written by itself"),
    lasting(
        Fault::ManyFramesPerWrite,
        "many-frames-per-write",
        &[param(Param::DelayMs, number(250, 1, 60_000), "how long frames are gathered, in ms")],
        "frames are gathered and leave in one write",
    ),
    lasting(
        Fault::Trickle,
        "trickle",
        &[param(Param::BytesPerS, number(200, 1, 1_000_000), "bytes per second and connection")],
        "bytes leave slowly, whatever frames they belong to",
    ),
    once(
        Fault::Burst,
        "burst",
        &[param(Param::Count, number(5_000, 1, 100_000), "events per connection"), SYMBOLS],
        "thousands of spot events of what is watched, at once",
    ),
    lasting(
        Fault::LateEvents,
        "late-events",
        &[param(Param::Count, number(5, 1, 1_000), "events per symbol")],
        "spot events still come after an unsubscribe",
    ),
    lasting(
        Fault::Weekend,
        "weekend",
        &[SYMBOLS],
        "subscribing brings a snapshot and then nothing: no quotes, whatever the schedule says",
    ),
    lasting(
        Fault::NoSnapshot,
        "no-snapshot",
        &[
            SYMBOLS,
            param(
                Param::Held,
                Kind::Flag(false),
                "the venue counts it as subscribed all the same; else it may be asked for again",
            ),
        ],
        "subscribing is answered and has no effect: no snapshot, no events",
    ),
    lasting(
        Fault::PartialBatch,
        "partial-batch",
        &[param(
            Param::Effect,
            Kind::OneOf(&["others", "before"]),
            "which symbols of a refused request are subscribed: all others, or those named before the bad one",
        )],
        "a subscribe request that is refused takes effect in part; without this fault it has none",
    ),
    lasting(
        Fault::SymbolChanged,
        "symbol-changed",
        &[
            SYMBOLS,
            param(Param::Change, Kind::OneOf(&["details", "renamed", "removed"]), "what has changed"),
            param(Param::Name, Kind::Text(""), "the new name; none = the old one with .new"),
            param(
                Param::Code,
                Kind::OneOf(&["SYMBOL_NOT_FOUND", "UNKNOWN_SYMBOL"]),
                "answer for a removed symbol",
            ),
        ],
        "symbols get a digit less, another name, or are gone; 2120 says which, and again when it is over",
    ),
    lasting(
        Fault::ClockBackwards,
        "clock-backwards",
        &[param(Param::ByMs, number(60_000, 1, 86_400_000), "how far, in ms")],
        "quotes are stamped with times from before the ones already told",
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
        assert_eq!(FAULTS.len() - 1, Fault::ClockBackwards as usize);
        for row in FAULTS {
            assert_eq!(Fault::named(row.name), Some(row));
            assert_eq!(row.fault.row(), row);
        }
        assert_eq!(Fault::named("no-such"), None);
    }

    #[test]
    fn the_documentation_has_every_fault() {
        let page = include_str!("../../../docs/simulator.md");
        for row in FAULTS {
            assert!(page.contains(&format!("| `{}` |", row.name)), "docs/simulator.md has no {}", row.name);
            assert!(
                page.contains(&format!("| {} |", row.effect)),
                "docs/simulator.md says else of {}",
                row.name
            );
        }
    }

    #[test]
    fn the_scenario_in_the_documentation_can_be_read() {
        let page = include_str!("../../../docs/simulator.md");
        let scenario = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(crate::Scenario::read(scenario).unwrap().name, "a bad hour");
        let recording = page.split("```json\n").nth(2).unwrap().split("```").next().unwrap();
        assert!(crate::Recording::read(recording).is_ok());
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
