//! Reads lines `<message name> <hex>` and writes each back as our definitions read and write it.
//!
//! A published client with the official definitions compares what comes back with what it sent (facts 5.4, test C).

use std::io::{BufRead as _, Write as _};

use prost::{Message, Name};
use sim_ctrader::wire::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (name, hex) = line.split_once(' ').ok_or("a line without a message")?;
        let bytes = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16))
            .collect::<Result<Vec<u8>, _>>()?;
        let again = recode(name, &bytes)?;
        write!(out, "{name} ")?;
        for byte in again {
            write!(out, "{byte:02x}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

macro_rules! messages {
    ($($message:ident)+) => {
        fn recode(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
            $(if name == <$message as Name>::NAME {
                return Ok($message::decode(bytes)?.encode_to_vec());
            })+
            Err(format!("{name} is not declared").into())
        }
    };
}

messages! {
    ProtoErrorRes
    ProtoHeartbeatEvent
    ProtoMessage
    ProtoOaAccountAuthReq
    ProtoOaAccountAuthRes
    ProtoOaAccountDisconnectEvent
    ProtoOaAccountLogoutReq
    ProtoOaAccountLogoutRes
    ProtoOaAccountsTokenInvalidatedEvent
    ProtoOaApplicationAuthReq
    ProtoOaApplicationAuthRes
    ProtoOaArchivedSymbol
    ProtoOaAsset
    ProtoOaAssetClass
    ProtoOaAssetClassListReq
    ProtoOaAssetClassListRes
    ProtoOaAssetListReq
    ProtoOaAssetListRes
    ProtoOaClientDisconnectEvent
    ProtoOaCtidTraderAccount
    ProtoOaDepthEvent
    ProtoOaDepthQuote
    ProtoOaErrorRes
    ProtoOaGetAccountListByAccessTokenReq
    ProtoOaGetAccountListByAccessTokenRes
    ProtoOaGetTickDataReq
    ProtoOaGetTickDataRes
    ProtoOaGetTrendbarsReq
    ProtoOaGetTrendbarsRes
    ProtoOaHoliday
    ProtoOaInterval
    ProtoOaLightSymbol
    ProtoOaRefreshTokenReq
    ProtoOaRefreshTokenRes
    ProtoOaSpotEvent
    ProtoOaSubscribeDepthQuotesReq
    ProtoOaSubscribeDepthQuotesRes
    ProtoOaSubscribeLiveTrendbarReq
    ProtoOaSubscribeLiveTrendbarRes
    ProtoOaSubscribeSpotsReq
    ProtoOaSubscribeSpotsRes
    ProtoOaSymbol
    ProtoOaSymbolByIdReq
    ProtoOaSymbolByIdRes
    ProtoOaSymbolCategory
    ProtoOaSymbolCategoryListReq
    ProtoOaSymbolCategoryListRes
    ProtoOaSymbolChangedEvent
    ProtoOaSymbolsForConversionReq
    ProtoOaSymbolsForConversionRes
    ProtoOaSymbolsListReq
    ProtoOaSymbolsListRes
    ProtoOaTickData
    ProtoOaTrader
    ProtoOaTraderReq
    ProtoOaTraderRes
    ProtoOaTraderUpdatedEvent
    ProtoOaTrendbar
    ProtoOaUnsubscribeDepthQuotesReq
    ProtoOaUnsubscribeDepthQuotesRes
    ProtoOaUnsubscribeLiveTrendbarReq
    ProtoOaUnsubscribeLiveTrendbarRes
    ProtoOaUnsubscribeSpotsReq
    ProtoOaUnsubscribeSpotsRes
    ProtoOaVersionReq
    ProtoOaVersionRes
}
