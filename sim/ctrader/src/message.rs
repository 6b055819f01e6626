//! Which message goes with which payload type, and the names of errors.

use crate::wire::{self, ProtoOaPayloadType as Oa, ProtoPayloadType as Common};

/// A message that travels in an envelope under a number of its own.
pub trait Payload: prost::Message + Clone {
    /// The envelope's `payloadType`.
    const TYPE: u32;
}

macro_rules! payloads {
    ($($message:ident: $kind:ident :: $variant:ident,)+) => {
        $(impl Payload for wire::$message {
            #[allow(clippy::cast_sign_loss, reason = "payload types are between 5 and 2188")]
            const TYPE: u32 = $kind::$variant as i32 as u32;
        })+

        /// Every message with its payload type, by the name it has in the schema.
        pub const PAYLOADS: &[(&str, u32)] =
            &[$((<wire::$message as prost::Name>::NAME, <wire::$message as Payload>::TYPE)),+];
    };
}

payloads! {
    ProtoErrorRes: Common::ErrorRes,
    ProtoHeartbeatEvent: Common::HeartbeatEvent,
    ProtoOaErrorRes: Oa::ProtoOaErrorRes,
    ProtoOaApplicationAuthReq: Oa::ProtoOaApplicationAuthReq,
    ProtoOaApplicationAuthRes: Oa::ProtoOaApplicationAuthRes,
    ProtoOaGetAccountListByAccessTokenReq: Oa::ProtoOaGetAccountsByAccessTokenReq,
    ProtoOaGetAccountListByAccessTokenRes: Oa::ProtoOaGetAccountsByAccessTokenRes,
    ProtoOaAccountAuthReq: Oa::ProtoOaAccountAuthReq,
    ProtoOaAccountAuthRes: Oa::ProtoOaAccountAuthRes,
    ProtoOaAccountLogoutReq: Oa::ProtoOaAccountLogoutReq,
    ProtoOaAccountLogoutRes: Oa::ProtoOaAccountLogoutRes,
    ProtoOaRefreshTokenReq: Oa::ProtoOaRefreshTokenReq,
    ProtoOaRefreshTokenRes: Oa::ProtoOaRefreshTokenRes,
    ProtoOaVersionReq: Oa::ProtoOaVersionReq,
    ProtoOaVersionRes: Oa::ProtoOaVersionRes,
    ProtoOaAccountsTokenInvalidatedEvent: Oa::ProtoOaAccountsTokenInvalidatedEvent,
    ProtoOaAccountDisconnectEvent: Oa::ProtoOaAccountDisconnectEvent,
    ProtoOaClientDisconnectEvent: Oa::ProtoOaClientDisconnectEvent,
    ProtoOaSymbolChangedEvent: Oa::ProtoOaSymbolChangedEvent,
    ProtoOaSymbolsListReq: Oa::ProtoOaSymbolsListReq,
    ProtoOaSymbolsListRes: Oa::ProtoOaSymbolsListRes,
    ProtoOaSymbolByIdReq: Oa::ProtoOaSymbolByIdReq,
    ProtoOaSymbolByIdRes: Oa::ProtoOaSymbolByIdRes,
    ProtoOaSymbolCategoryListReq: Oa::ProtoOaSymbolCategoryReq,
    ProtoOaSymbolCategoryListRes: Oa::ProtoOaSymbolCategoryRes,
    ProtoOaAssetListReq: Oa::ProtoOaAssetListReq,
    ProtoOaAssetListRes: Oa::ProtoOaAssetListRes,
    ProtoOaAssetClassListReq: Oa::ProtoOaAssetClassListReq,
    ProtoOaAssetClassListRes: Oa::ProtoOaAssetClassListRes,
    ProtoOaSubscribeSpotsReq: Oa::ProtoOaSubscribeSpotsReq,
    ProtoOaSubscribeSpotsRes: Oa::ProtoOaSubscribeSpotsRes,
    ProtoOaUnsubscribeSpotsReq: Oa::ProtoOaUnsubscribeSpotsReq,
    ProtoOaUnsubscribeSpotsRes: Oa::ProtoOaUnsubscribeSpotsRes,
    ProtoOaSpotEvent: Oa::ProtoOaSpotEvent,
    ProtoOaSubscribeLiveTrendbarReq: Oa::ProtoOaSubscribeLiveTrendbarReq,
    ProtoOaSubscribeLiveTrendbarRes: Oa::ProtoOaSubscribeLiveTrendbarRes,
    ProtoOaUnsubscribeLiveTrendbarReq: Oa::ProtoOaUnsubscribeLiveTrendbarReq,
    ProtoOaUnsubscribeLiveTrendbarRes: Oa::ProtoOaUnsubscribeLiveTrendbarRes,
    ProtoOaGetTrendbarsReq: Oa::ProtoOaGetTrendbarsReq,
    ProtoOaGetTrendbarsRes: Oa::ProtoOaGetTrendbarsRes,
    ProtoOaGetTickDataReq: Oa::ProtoOaGetTickdataReq,
    ProtoOaGetTickDataRes: Oa::ProtoOaGetTickdataRes,
    ProtoOaTraderReq: Oa::ProtoOaTraderReq,
    ProtoOaTraderRes: Oa::ProtoOaTraderRes,
}

/// The Open API payload type behind an envelope's number; `None` where it is of the common layer or unknown.
pub(crate) fn open_api_type(payload_type: u32) -> Option<Oa> {
    i32::try_from(payload_type).ok().and_then(|number| Oa::try_from(number).ok())
}

/// True for the heartbeat, the one message of the common layer a client sends.
pub(crate) fn is_heartbeat(payload_type: u32) -> bool {
    payload_type == wire::ProtoHeartbeatEvent::TYPE
}

/// True for the messages a client asks with that this venue can answer.
pub(crate) fn is_request(payload_type: u32) -> bool {
    open_api_type(payload_type).is_some_and(|oa| oa.as_str_name().ends_with("_REQ"))
}

/// The message name of a request; empty where it is unknown.
pub(crate) fn request_name(payload_type: u32) -> &'static str {
    PAYLOADS.iter().find(|(_, known)| *known == payload_type).map_or("", |(name, _)| name)
}

/// The name a payload type goes by in metrics.
pub(crate) fn name(payload_type: u32) -> &'static str {
    if is_heartbeat(payload_type) {
        return Common::HeartbeatEvent.as_str_name();
    }
    open_api_type(payload_type).map_or("unknown", |oa| oa.as_str_name())
}

/// The name an error code goes by in metrics: itself, or `other` for a text nobody knows.
pub(crate) fn error_name(code: &str) -> &'static str {
    wire::ProtoOaErrorCode::from_str_name(code)
        .map(|code| code.as_str_name())
        .or_else(|| wire::ProtoErrorCode::from_str_name(code).map(|code| code.as_str_name()))
        .unwrap_or("other")
}

/// True for the requests that count against the lower of the two request rates (facts 3.4).
pub(crate) fn is_historical(payload_type: Oa) -> bool {
    matches!(
        payload_type,
        Oa::ProtoOaGetTrendbarsReq
            | Oa::ProtoOaGetTickdataReq
            | Oa::ProtoOaDealListReq
            | Oa::ProtoOaOrderListReq
            | Oa::ProtoOaCashFlowHistoryListReq
    )
}
