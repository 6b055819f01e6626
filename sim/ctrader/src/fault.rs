//! The faults, as a table: adding one is one row and the place where it acts.

use sim_kit::fault::{Drawn, FaultKind, Kind, Param, ParamRow, lasting, number, once, param};

use crate::message::{PAYLOADS, is_request};

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

/// What is known about a fault of this venue.
pub type FaultRow = sim_kit::fault::FaultRow<Fault>;

/// Which lasting faults of this venue are on.
pub type FaultSet = sim_kit::fault::FaultSet<Fault>;

/// A fault of this venue with everything that was chosen about it.
pub type FaultSpec = sim_kit::fault::FaultSpec<Fault>;

/// The lasting faults of this venue that are on.
pub(crate) type Faults = sim_kit::fault::Faults<Fault>;

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

impl FaultKind for Fault {
    const TABLE: &'static [FaultRow] = FAULTS;
    const TEXT_BYTES_MAX: usize = 256;

    fn index(self) -> usize {
        self as usize
    }

    fn requests() -> Vec<&'static str> {
        PAYLOADS.iter().filter(|(_, payload_type)| is_request(*payload_type)).map(|(name, _)| *name).collect()
    }

    fn counts_requests(self) -> bool {
        // The limit on connections has a count of another meaning; late events count by symbol.
        matches!(
            self,
            Self::Error | Self::ForeignId | Self::AnswerTwice | Self::NoAnswer | Self::DelayedAnswer
        )
    }

    fn drawn(self, param: Param) -> Drawn {
        match (self, param) {
            // A change of every symbol at once leaves nothing to be asked for.
            (Self::SymbolChanged, Param::Symbols) => Drawn::Always,
            // A request that is carried out unheard can burn a refresh token: nobody recovers from that alone.
            (_, Param::CarriedOut) => Drawn::Never,
            _ => Drawn::ByChance,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_is_whole_and_the_documentation_says_the_same() {
        let page = include_str!("../../../docs/simulator.md");
        assert_eq!(sim_kit::fault::flaws::<Fault>(page), Vec::<String>::new());
        assert_eq!(FAULTS.len() - 1, Fault::ClockBackwards as usize);
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
    fn requests_are_named_as_the_venue_names_them() {
        let spec = FaultSpec::named("no-answer", &json!({ "request": "ProtoOAVersionReq" })).unwrap();
        assert_eq!(spec.text(Param::Request), "ProtoOAVersionReq");
        let error = FaultSpec::named("no-answer", &json!({ "request": "ProtoOASpotEvent" })).unwrap_err();
        assert!(error.to_string().contains("ProtoOASubscribeSpotsReq"), "{error}");
        assert_eq!(FaultSpec::from(Fault::Error).text(Param::Code), "TIMEOUT_ERROR");
        assert_eq!(FaultSpec::from(Fault::ExpireToken).text(Param::Code), "OA_AUTH_TOKEN_EXPIRED");
    }

    #[test]
    fn a_draw_spares_clients_what_they_cannot_recover_from() {
        let catalogue = crate::Catalogue::new(10);
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..2_000 {
            let spec = FaultSpec::draw(&mut rng, &catalogue);
            assert!(spec.unknown_symbols(&catalogue).is_empty());
            assert!(spec.fault() != Fault::SymbolChanged || !spec.texts(Param::Symbols).is_empty());
            assert!(!spec.flag(Param::CarriedOut));
        }
    }
}
