use bytes::Bytes;
use prost::Message;
use secrecy::SecretString;
use tickcast_model::{Cause, CauseKind};

use crate::frame::frame;
use crate::tokens::NewPair;

/// The venue's messages as generated from `proto/ctrader`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub(crate) mod wire {
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
}

pub(crate) use wire::ProtoOaPayloadType as Kind;

/// Payload type of a heartbeat (facts 2.11).
pub(crate) const HEARTBEAT: u32 = wire::ProtoPayloadType::HeartbeatEvent as u32;
const COMMON_ERROR: u32 = wire::ProtoPayloadType::ErrorRes as u32;

/// What the venue can tell us that we act on. It can hold tokens, so it has no readable form.
pub(crate) enum Incoming {
    Heartbeat,
    ApplicationAuth,
    AccountAuth,
    Refreshed(NewPair),
    /// The accounts a token opens; the token that comes back with them is dropped here.
    Accounts(Vec<Granted>),
    Symbols(wire::ProtoOaSymbolsListRes),
    Details(wire::ProtoOaSymbolByIdRes),
    Subscribed,
    Unsubscribed,
    Spot(wire::ProtoOaSpotEvent),
    SymbolChanged(wire::ProtoOaSymbolChangedEvent),
    /// The venue ends the application's connection, with its reason.
    ClientDisconnect(String),
    /// The venue ended the login of this account.
    AccountDisconnect(i64),
    /// The venue ended the login of these accounts, for their token was replaced; an empty list means every account.
    TokenInvalidated(Vec<i64>, String),
    Error(Refusal),
    /// A type we do not know: new ones appear with server releases (facts 1.1).
    Unknown,
}

/// An error answer, from either of the two error messages.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) description: String,
    /// Seconds until this payload type is accepted again.
    pub(crate) retry_after_s: Option<u64>,
    /// End of maintenance, Unix milliseconds.
    pub(crate) maintenance_end_ms: Option<u64>,
}

/// An account a token opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Granted {
    pub(crate) account_id: i64,
    /// Whether it is served by the live host, where that is said.
    pub(crate) live: Option<bool>,
}

/// Accounts of one token at most.
const GRANTED_MAX: usize = 1_000;
/// A time stamp above this counts milliseconds, whatever the message's definition says (facts 3.13).
const SECONDS_MAX: u64 = 100_000_000_000;

/// One message with the id it answers.
pub(crate) struct Envelope {
    pub(crate) answers: Option<String>,
    pub(crate) message: Incoming,
}

/// Reads one frame.
///
/// # Errors
/// [`CauseKind::Protocol`] where it is not an envelope, or a known message inside is broken.
pub(crate) fn decode(body: &[u8]) -> Result<Envelope, Cause> {
    if let Some(spot) = decode_spot(body) {
        return Ok(Envelope { answers: None, message: Incoming::Spot(spot) });
    }
    let broken = |what: &'static str| move |_| Cause::new(CauseKind::Protocol, format!("undecodable {what}"));
    let envelope = wire::ProtoMessage::decode(body).map_err(broken("envelope"))?;
    let payload = envelope.payload.unwrap_or_default();
    let answers = envelope.client_msg_id;
    if envelope.payload_type == HEARTBEAT {
        return Ok(Envelope { answers, message: Incoming::Heartbeat });
    }
    if envelope.payload_type == COMMON_ERROR {
        let error = wire::ProtoErrorRes::decode(payload).map_err(broken("error"))?;
        let description = error.description.unwrap_or_default();
        let message = Incoming::Error(Refusal {
            code: error.error_code,
            description,
            retry_after_s: None,
            maintenance_end_ms: error
                .maintenance_end_timestamp
                .and_then(|stamp| milliseconds(i64::try_from(stamp).ok()?)),
        });
        return Ok(Envelope { answers, message });
    }
    let kind = i32::try_from(envelope.payload_type).ok().and_then(|number| Kind::try_from(number).ok());
    let message = match kind {
        Some(Kind::ProtoOaSpotEvent) => {
            Incoming::Spot(wire::ProtoOaSpotEvent::decode(payload).map_err(broken("spot event"))?)
        }
        Some(Kind::ProtoOaApplicationAuthRes) => Incoming::ApplicationAuth,
        Some(Kind::ProtoOaAccountAuthRes) => Incoming::AccountAuth,
        Some(Kind::ProtoOaRefreshTokenRes) => {
            let answer = wire::ProtoOaRefreshTokenRes::decode(payload).map_err(broken("tokens"))?;
            Incoming::Refreshed(NewPair {
                access: SecretString::from(answer.access_token),
                refresh: SecretString::from(answer.refresh_token),
                expires_in_s: answer.expires_in,
            })
        }
        Some(Kind::ProtoOaGetAccountsByAccessTokenRes) => {
            let answer = wire::ProtoOaGetAccountListByAccessTokenRes::decode(payload)
                .map_err(broken("account list"))?;
            let granted = |account: wire::ProtoOaCtidTraderAccount| Granted {
                account_id: i64::try_from(account.ctid_trader_account_id).unwrap_or(0),
                live: account.is_live,
            };
            Incoming::Accounts(
                answer.ctid_trader_account.into_iter().take(GRANTED_MAX).map(granted).collect(),
            )
        }
        Some(Kind::ProtoOaSymbolsListRes) => {
            Incoming::Symbols(wire::ProtoOaSymbolsListRes::decode(payload).map_err(broken("symbol list"))?)
        }
        Some(Kind::ProtoOaSymbolByIdRes) => {
            Incoming::Details(wire::ProtoOaSymbolByIdRes::decode(payload).map_err(broken("symbol details"))?)
        }
        Some(Kind::ProtoOaSubscribeSpotsRes) => Incoming::Subscribed,
        Some(Kind::ProtoOaUnsubscribeSpotsRes) => Incoming::Unsubscribed,
        Some(Kind::ProtoOaSymbolChangedEvent) => Incoming::SymbolChanged(
            wire::ProtoOaSymbolChangedEvent::decode(payload).map_err(broken("symbol change"))?,
        ),
        Some(Kind::ProtoOaClientDisconnectEvent) => {
            let event = wire::ProtoOaClientDisconnectEvent::decode(payload).map_err(broken("disconnect"))?;
            Incoming::ClientDisconnect(event.reason.unwrap_or_default())
        }
        Some(Kind::ProtoOaAccountDisconnectEvent) => {
            let event = wire::ProtoOaAccountDisconnectEvent::decode(payload).map_err(broken("disconnect"))?;
            Incoming::AccountDisconnect(event.ctid_trader_account_id)
        }
        Some(Kind::ProtoOaAccountsTokenInvalidatedEvent) => {
            let event =
                wire::ProtoOaAccountsTokenInvalidatedEvent::decode(payload).map_err(broken("token event"))?;
            Incoming::TokenInvalidated(event.ctid_trader_account_ids, event.reason.unwrap_or_default())
        }
        Some(Kind::ProtoOaErrorRes) => {
            let error = wire::ProtoOaErrorRes::decode(payload).map_err(broken("error"))?;
            Incoming::Error(Refusal {
                code: error.error_code,
                description: error.description.unwrap_or_default(),
                retry_after_s: error.retry_after,
                maintenance_end_ms: error.maintenance_end_timestamp.and_then(milliseconds),
            })
        }
        _ => Incoming::Unknown,
    };
    Ok(Envelope { answers, message })
}

/// A time stamp defined in seconds as Unix milliseconds; some senders put milliseconds there.
fn milliseconds(stamp: i64) -> Option<u64> {
    let stamp = u64::try_from(stamp).ok()?;
    Some(if stamp > SECONDS_MAX { stamp } else { stamp * 1000 })
}

/// A spot event in the only shape it was ever seen in: type, payload, nothing else. Nearly all frames are one, and are
/// read from where they lie; `None` for everything else, which is for the generated envelope to judge.
fn decode_spot(body: &[u8]) -> Option<wire::ProtoOaSpotEvent> {
    let mut rest = body.strip_prefix(&SPOT_PREFIX)?;
    let length = prost::decode_length_delimiter(&mut rest).ok()?;
    if rest.len() != length {
        return None;
    }
    wire::ProtoOaSpotEvent::decode(rest).ok()
}

/// Field 1 with a spot event's type as varint, and the key of field 2, the payload.
const SPOT_PREFIX: [u8; 4] = [0x08, 0xd3, 0x10, 0x12];
const _: () = assert!(Kind::ProtoOaSpotEvent as u32 == 0x53 | 0x10 << 7);

/// Writes one message as a frame. The envelope's payload field is always there, even empty (facts 5.3).
pub(crate) fn encode(payload_type: u32, message: &impl Message, id: Option<u64>) -> Bytes {
    let envelope = wire::ProtoMessage {
        payload_type,
        payload: Some(message.encode_to_vec().into()),
        client_msg_id: id.map(|id| id.to_string()),
    };
    frame(&envelope.encode_to_vec())
}

/// A heartbeat as a frame.
pub(crate) fn heartbeat() -> Bytes {
    encode(HEARTBEAT, &wire::ProtoHeartbeatEvent::default(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameReader;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn read(text: &str) -> Envelope {
        let mut reader = FrameReader::default();
        reader.push(&hex(text));
        decode(reader.next_frame().unwrap().expect("a whole frame")).unwrap()
    }

    /// Facts 1.2: bytes made with the venue's own descriptors.
    #[test]
    fn requests_are_the_golden_bytes() {
        assert_eq!(heartbeat(), hex("00 00 00 04 08 33 12 00"));
        let request = wire::ProtoOaApplicationAuthReq {
            client_id: "app".into(),
            client_secret: "sec".into(),
            ..Default::default()
        };
        assert_eq!(
            encode(Kind::ProtoOaApplicationAuthReq as u32, &request, Some(1)),
            hex("00 00 00 12 08 b4 10 12 0a 12 03 61 70 70 1a 03 73 65 63 1a 01 31")
        );
        let request = wire::ProtoOaAccountAuthReq {
            ctid_trader_account_id: 7,
            access_token: "tok".into(),
            ..Default::default()
        };
        assert_eq!(
            encode(Kind::ProtoOaAccountAuthReq as u32, &request, Some(2)),
            hex("00 00 00 0f 08 b6 10 12 07 10 07 1a 03 74 6f 6b 1a 01 32")
        );
        let request = wire::ProtoOaSubscribeSpotsReq {
            ctid_trader_account_id: 7,
            symbol_id: vec![1, 41],
            subscribe_to_spot_timestamp: Some(true),
            ..Default::default()
        };
        assert_eq!(
            encode(Kind::ProtoOaSubscribeSpotsReq as u32, &request, Some(3)),
            hex("00 00 00 10 08 cf 10 12 08 10 07 18 01 18 29 20 01 1a 01 33")
        );
    }

    /// Facts 1.2, the other direction.
    #[test]
    fn answers_and_events_are_read_from_the_golden_bytes() {
        assert!(matches!(read("00 00 00 02 08 33").message, Incoming::Heartbeat));
        let answer = read("00 00 00 08 08 b5 10 12 00 1a 01 31");
        assert!(matches!(answer.message, Incoming::ApplicationAuth));
        assert_eq!(answer.answers.as_deref(), Some("1"));

        let both = read(
            "00 00 00 1c 08 d3 10 12 17 10 07 18 01 20 fb 80 07 28 fd 80 07 38 c9 80 07 40 dd a4 d7 ae 8b 34",
        );
        let Incoming::Spot(spot) = both.message else { panic!() };
        assert_eq!((spot.ctid_trader_account_id, spot.symbol_id), (7, 1));
        assert_eq!((spot.bid, spot.ask, spot.session_close), (Some(114_811), Some(114_813), Some(114_761)));
        assert_eq!(spot.timestamp, Some(1_789_757_084_253));

        let one_sided = read("00 00 00 14 08 d3 10 12 0f 10 07 18 01 28 fd 80 07 40 ff ba d7 ae 8b 34");
        let Incoming::Spot(spot) = one_sided.message else { panic!() };
        assert_eq!((spot.bid, spot.ask, spot.session_close), (None, Some(114_813), None));

        let error = read(
            "00 00 00 1e 08 de 10 12 16 10 07 1a 12 41 4c 52 45 41 44 59 5f 53 55 42 53 43 52 49 42 45 44 1a 01 33",
        );
        let Incoming::Error(refusal) = error.message else { panic!() };
        assert_eq!((refusal.code.as_str(), error.answers.as_deref()), ("ALREADY_SUBSCRIBED", Some("3")));
    }

    /// A spot event in another order, with an id, or with an unknown field is the same event.
    #[test]
    fn a_spot_event_is_read_in_every_shape() {
        let plain = "00 00 00 14 08 d3 10 12 0f 10 07 18 01 28 fd 80 07 40 ff ba d7 ae 8b 34";
        let Incoming::Spot(expected) = read(plain).message else { panic!() };
        for (shape, answers) in [
            ("00 00 00 17 08 d3 10 12 0f 10 07 18 01 28 fd 80 07 40 ff ba d7 ae 8b 34 1a 01 33", Some("3")),
            ("00 00 00 14 12 0f 10 07 18 01 28 fd 80 07 40 ff ba d7 ae 8b 34 08 d3 10", None),
            ("00 00 00 16 08 d3 10 12 0f 10 07 18 01 28 fd 80 07 40 ff ba d7 ae 8b 34 78 01", None),
        ] {
            let envelope = read(shape);
            let Incoming::Spot(spot) = envelope.message else { panic!("{shape}") };
            assert_eq!((spot, envelope.answers.as_deref()), (expected.clone(), answers), "{shape}");
        }
        let broken = "08 d3 10 12 0f 10 07 18 01 28 fd 80 07 40 ff ba d7 ae 8b";
        assert_eq!(refused(&hex(broken)), CauseKind::Protocol);
    }

    fn refused(body: &[u8]) -> CauseKind {
        decode(body).err().expect("no message").kind
    }

    fn maintenance_end(message: &[u8]) -> Option<u64> {
        match decode(&message[4..]).ok().unwrap().message {
            Incoming::Error(refusal) => refusal.maintenance_end_ms,
            _ => panic!("an error"),
        }
    }

    /// Row 27, facts 3.13: seconds in one message, milliseconds in the other, and a guard for the wrong one.
    #[test]
    fn the_end_of_maintenance_is_read_in_both_units() {
        let common = |stamp| {
            let error = wire::ProtoErrorRes {
                error_code: "SERVER_IS_UNDER_MAINTENANCE".into(),
                maintenance_end_timestamp: Some(stamp),
                ..Default::default()
            };
            maintenance_end(&encode(COMMON_ERROR, &error, None))
        };
        let own = |stamp| {
            let error = wire::ProtoOaErrorRes {
                error_code: "SERVER_IS_UNDER_MAINTENANCE".into(),
                maintenance_end_timestamp: Some(stamp),
                ..Default::default()
            };
            maintenance_end(&encode(Kind::ProtoOaErrorRes as u32, &error, None))
        };
        assert_eq!(common(1_795_132_800_000), Some(1_795_132_800_000));
        assert_eq!(own(1_795_132_800), Some(1_795_132_800_000));
        assert_eq!(own(1_795_132_800_000), Some(1_795_132_800_000), "milliseconds where seconds belong");
        assert_eq!(own(-1), None);
    }

    /// Row 23.
    #[test]
    fn an_unknown_type_is_no_error_and_garbage_is() {
        let unknown = encode(2999, &wire::ProtoHeartbeatEvent::default(), None);
        assert!(matches!(decode(&unknown[4..]).unwrap().message, Incoming::Unknown));
        assert_eq!(refused(b"\xff\xff\xff"), CauseKind::Protocol);
    }
}
