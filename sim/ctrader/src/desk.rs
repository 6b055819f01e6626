//! Requests and their answers.

use std::borrow::Cow;

use prost::Message;
use sim_kit::fault::Param;
use sim_kit::{ConnectionId, Now};

use crate::connection::{Connection, Manner, StrangerCode};
use crate::fault::{Fault, FaultSpec, Faults};
use crate::grants::Grants;
use crate::market::Market;
use crate::message::{self, Payload};
use crate::outcome::Counters;
use crate::settings::{RateAnswer, VenueSettings};
use crate::wire::{
    ProtoErrorCode, ProtoErrorRes, ProtoMessage, ProtoOaErrorCode, ProtoOaErrorRes, ProtoOaPayloadType as Oa,
    ProtoOaTrendbarPeriod, ProtoOaVersionRes,
};

/// What a request means for other connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aftermath {
    Nothing,
    /// The tokens of this grant were replaced.
    TokensReplaced(usize),
}

/// Where one request is worked on: its connection and what all connections share.
pub(crate) struct Desk<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) now: Now,
    pub(crate) connection: &'a mut Connection,
    pub(crate) market: &'a mut Market,
    pub(crate) grants: &'a mut Grants,
    pub(crate) settings: &'a VenueSettings,
    pub(crate) faults: &'a mut Faults,
    pub(crate) counters: &'a mut Counters,
    /// Connections whose application is let in.
    pub(crate) applications: usize,
    /// What faults do to the answer of the request at hand.
    pub(crate) manner: Manner,
}

/// Why a request is not carried out.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: Cow<'static, str>,
    description: Option<Cow<'static, str>>,
    account: Option<i64>,
    retry_after_s: Option<u64>,
    /// Unix milliseconds.
    maintenance_end_ms: Option<i64>,
    /// Answered by the common layer instead of the Open API.
    common: bool,
}

impl Refusal {
    pub(crate) fn open_api(code: ProtoOaErrorCode) -> Self {
        Self {
            code: code.as_str_name().into(),
            description: None,
            account: None,
            retry_after_s: None,
            maintenance_end_ms: None,
            common: false,
        }
    }

    /// A code of the common list inside an Open API answer, as the real venue does.
    pub(crate) fn shared(code: ProtoErrorCode) -> Self {
        Self { code: code.as_str_name().into(), ..Self::open_api(ProtoOaErrorCode::UnknownSymbol) }
    }

    /// What a fault says that chooses its own code, text and layer.
    fn chosen(code: &str, spec: &FaultSpec) -> Self {
        let reason = Some(spec.text(Param::Reason)).filter(|reason| !reason.is_empty());
        Self {
            code: code.to_owned().into(),
            description: reason.map(|reason| reason.to_owned().into()),
            retry_after_s: Some(spec.number(Param::RetryAfterS)).filter(|wait| *wait > 0),
            common: spec.text(Param::Layer) == "common",
            ..Self::open_api(ProtoOaErrorCode::UnknownSymbol)
        }
    }

    pub(crate) fn saying(self, description: &'static str) -> Self {
        Self { description: Some(description.into()), ..self }
    }

    pub(crate) fn about(self, account: i64) -> Self {
        Self { account: Some(account), ..self }
    }

    fn unsupported() -> Self {
        Self { common: true, ..Self::shared(ProtoErrorCode::UnsupportedMessage) }
    }
}

impl Desk<'_> {
    /// Answers one message, with its answer or an error that carries the same `clientMsgId`.
    pub(crate) fn handle(&mut self, envelope: &ProtoMessage) -> Aftermath {
        *self.counters.requests.entry(message::name(envelope.payload_type)).or_default() += 1;
        // Never answered: a peer that echoes heartbeats would do so without end (facts 3.3).
        if message::is_heartbeat(envelope.payload_type) {
            return Aftermath::Nothing;
        }
        let id = envelope.client_msg_id.as_deref();
        let kind = message::open_api_type(envelope.payload_type);
        let name = message::request_name(envelope.payload_type);
        let admitted = self.admit(kind);
        if let Some(lost) = self.faults.take(Fault::NoAnswer, name) {
            if !lost.flag(Param::CarriedOut) {
                return Aftermath::Nothing;
            }
            self.manner.lost = true;
        }
        self.manner.twice = self.faults.take(Fault::AnswerTwice, name).is_some();
        self.manner.foreign_id = self.faults.take(Fault::ForeignId, name).is_some();
        if let Some(late) = self.faults.take(Fault::DelayedAnswer, name) {
            self.manner.delay = late.millis(Param::DelayMs);
        }
        let done =
            admitted.and_then(|()| self.disturb(name)).and_then(|()| self.dispatch(envelope, kind, id));
        match done {
            Ok(aftermath) => aftermath,
            Err(refusal) => {
                self.refuse(&refusal, id);
                Aftermath::Nothing
            }
        }
    }

    /// The refusals that faults make up.
    fn disturb(&mut self, request: &str) -> Result<(), Refusal> {
        if let Some(spec) = self.faults.take(Fault::Error, request) {
            return Err(Refusal::chosen(spec.text(Param::Code), &spec));
        }
        if let Some(active) = self.faults.get(Fault::Maintenance) {
            let concerned = match active.spec.text(Param::Request) {
                "" => !matches!(request, "ProtoOAApplicationAuthReq" | "ProtoOAVersionReq"),
                wanted => wanted == request,
            };
            let left = match active.until {
                Some(until) => until.saturating_sub(self.now.elapsed),
                None => active.spec.millis(Param::EndInMs),
            };
            if concerned {
                let code = ProtoOaErrorCode::ServerIsUnderMaintenance.as_str_name();
                let end_ms = self.now.unix_ms + i64::try_from(left.as_millis()).unwrap_or_default();
                return Err(Refusal {
                    maintenance_end_ms: Some(end_ms),
                    ..Refusal::chosen(code, &active.spec)
                });
            }
        }
        if let Some(active) = self.faults.get(Fault::CantRoute) {
            let wanted = match active.spec.text(Param::Request) {
                "" => "ProtoOAAccountAuthReq",
                wanted => wanted,
            };
            if wanted == request {
                return Err(Refusal::chosen(ProtoErrorCode::CantRouteRequest.as_str_name(), &active.spec));
            }
        }
        Ok(())
    }

    fn dispatch(
        &mut self,
        envelope: &ProtoMessage,
        kind: Option<Oa>,
        id: Option<&str>,
    ) -> Result<Aftermath, Refusal> {
        let kind = kind.ok_or_else(Refusal::unsupported)?;
        if kind != Oa::ProtoOaApplicationAuthReq && !self.connection.application {
            return Err(Refusal::open_api(ProtoOaErrorCode::ChClientNotAuthenticated));
        }
        let payload = envelope.payload.as_deref().unwrap_or_default();
        match kind {
            Oa::ProtoOaApplicationAuthReq => self.application_auth(&read(payload)?, id)?,
            Oa::ProtoOaVersionReq => {
                let version = ProtoOaVersionRes { payload_type: None, version: "91".to_owned() };
                self.answer(&version, id);
            }
            Oa::ProtoOaGetAccountsByAccessTokenReq => self.account_list(read(payload)?, id)?,
            Oa::ProtoOaRefreshTokenReq => {
                return Ok(Aftermath::TokensReplaced(self.refresh_token(&read(payload)?, id)?));
            }
            Oa::ProtoOaAccountAuthReq => self.account_auth(&read(payload)?, id)?,
            Oa::ProtoOaAccountLogoutReq => self.account_logout(&read(payload)?, id)?,
            Oa::ProtoOaTraderReq => self.trader(&read(payload)?, id)?,
            Oa::ProtoOaAssetListReq => self.asset_list(&read(payload)?, id)?,
            Oa::ProtoOaAssetClassListReq => self.asset_class_list(&read(payload)?, id)?,
            Oa::ProtoOaSymbolCategoryReq => self.symbol_categories(&read(payload)?, id)?,
            Oa::ProtoOaSymbolsListReq => self.symbols_list(&read(payload)?, id)?,
            Oa::ProtoOaSymbolByIdReq => self.symbol_by_id(&read(payload)?, id)?,
            Oa::ProtoOaSubscribeSpotsReq => self.subscribe_spots(&read(payload)?, id)?,
            Oa::ProtoOaUnsubscribeSpotsReq => self.unsubscribe_spots(&read(payload)?, id)?,
            Oa::ProtoOaSubscribeLiveTrendbarReq => self.subscribe_bars(&read(payload)?, id)?,
            Oa::ProtoOaUnsubscribeLiveTrendbarReq => self.unsubscribe_bars(&read(payload)?, id)?,
            Oa::ProtoOaGetTrendbarsReq => self.trendbars(&read(payload)?, id)?,
            Oa::ProtoOaGetTickdataReq => self.tick_data(&read(payload)?, id)?,
            // Depth, conversion chains and everything about trading.
            _ => return Err(Refusal::unsupported()),
        }
        Ok(Aftermath::Nothing)
    }

    fn admit(&mut self, kind: Option<Oa>) -> Result<(), Refusal> {
        let key = kind.and_then(|kind| u32::try_from(kind as i32).ok()).unwrap_or(0);
        let historical = kind.is_some_and(message::is_historical);
        let Err(retry_after_s) = self.connection.limits.admit(key, historical, self.now.elapsed) else {
            return Ok(());
        };
        let answer = match self.faults.get(Fault::RateLimit) {
            Some(chosen) if chosen.spec.text(Param::Code) == "BLOCKED_PAYLOAD_TYPE" => RateAnswer::Blocked,
            Some(_) => RateAnswer::FrequencyExceeded,
            None => {
                self.counters.breaches += 1;
                self.settings.rate_answer
            }
        };
        Err(match answer {
            RateAnswer::Blocked => Refusal {
                retry_after_s: Some(retry_after_s),
                ..Refusal::shared(ProtoErrorCode::BlockedPayloadType)
            },
            RateAnswer::FrequencyExceeded => Refusal::open_api(ProtoOaErrorCode::RequestFrequencyExceeded)
                .saying("You have reached the rate limit of requests")
                .about(0),
        })
    }

    pub(crate) fn answer<P: Payload>(&mut self, message: &P, id: Option<&str>) {
        self.connection.answer(self.now, message, id, self.manner);
    }

    pub(crate) fn refuse(&mut self, refusal: &Refusal, id: Option<&str>) {
        *self.counters.errors.entry(message::error_name(&refusal.code)).or_default() += 1;
        let description = refusal.description.as_deref().map(str::to_owned);
        if refusal.common {
            let answer = ProtoErrorRes {
                payload_type: None,
                error_code: refusal.code.to_string(),
                description,
                maintenance_end_timestamp: refusal.maintenance_end_ms.map(i64::unsigned_abs),
            };
            return self.answer(&answer, id);
        }
        let answer = ProtoOaErrorRes {
            payload_type: None,
            ctid_trader_account_id: refusal.account,
            error_code: refusal.code.to_string(),
            description,
            // Seconds here, milliseconds above (facts 3.13); never before the end.
            maintenance_end_timestamp: refusal.maintenance_end_ms.map(|ms| (ms + 999).div_euclid(1_000)),
            retry_after: refusal.retry_after_s,
        };
        self.answer(&answer, id);
    }

    /// The account, where it has a session here; the refusal is the real venue's (facts 3.1, 3.12).
    pub(crate) fn check_account(&self, account: i64) -> Result<i64, Refusal> {
        if self.connection.sessions.contains_key(&account) {
            return Ok(account);
        }
        let refusal = match self.connection.stranger_code {
            StrangerCode::InvalidRequest => Refusal::shared(ProtoErrorCode::InvalidRequest),
            StrangerCode::AccountNotAuthorized => Refusal::open_api(ProtoOaErrorCode::AccountNotAuthorized),
        };
        Err(refusal.saying("Trading account is not authorized").about(account))
    }

    pub(crate) fn position(&self, account: i64, symbol_id: i64) -> Result<usize, Refusal> {
        let unknown = || {
            let code = match self.faults.get(Fault::SymbolChanged).map(|active| active.spec.text(Param::Code))
            {
                Some("UNKNOWN_SYMBOL") => ProtoOaErrorCode::UnknownSymbol,
                _ => ProtoOaErrorCode::SymbolNotFound,
            };
            Refusal::open_api(code).about(account)
        };
        self.market.catalogue().position(symbol_id).ok_or_else(unknown)
    }

    pub(crate) fn positions(&self, account: i64, symbol_ids: &[i64]) -> Result<Vec<usize>, Refusal> {
        let mut symbols =
            symbol_ids.iter().map(|key| self.position(account, *key)).collect::<Result<Vec<_>, _>>()?;
        symbols.sort_unstable();
        symbols.dedup();
        Ok(symbols)
    }
}

pub(crate) fn read_period(account: i64, period: i32) -> Result<ProtoOaTrendbarPeriod, Refusal> {
    ProtoOaTrendbarPeriod::try_from(period)
        .map_err(|_| Refusal::shared(ProtoErrorCode::InvalidRequest).about(account))
}

fn read<M: Message + Default>(payload: &[u8]) -> Result<M, Refusal> {
    M::decode(payload).map_err(|_| Refusal::shared(ProtoErrorCode::InvalidRequest))
}
