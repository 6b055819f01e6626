//! Applications, tokens and accounts (facts 3.1, 3.2).

use sim_kit::fault::Param;

use crate::connection::StrangerCode;
use crate::desk::{Desk, Refusal};
use crate::fault::Fault;
use crate::outcome::{Ending, Reason};
use crate::settings::Account;
use crate::wire::{
    ProtoErrorCode, ProtoOaAccountAuthReq, ProtoOaAccountAuthRes, ProtoOaAccountDisconnectEvent,
    ProtoOaAccountLogoutReq, ProtoOaAccountLogoutRes, ProtoOaApplicationAuthReq, ProtoOaApplicationAuthRes,
    ProtoOaClientPermissionScope, ProtoOaCtidTraderAccount, ProtoOaErrorCode,
    ProtoOaGetAccountListByAccessTokenReq, ProtoOaGetAccountListByAccessTokenRes, ProtoOaRefreshTokenReq,
    ProtoOaRefreshTokenRes,
};

impl Desk<'_> {
    pub(crate) fn application_auth(
        &mut self,
        request: &ProtoOaApplicationAuthReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        if self.connection.application {
            return Err(Refusal::open_api(ProtoOaErrorCode::ChClientAlreadyAuthenticated));
        }
        let known = request.client_id == self.settings.client_id
            && request.client_secret == self.settings.client_secret;
        let rejected = self.faults.get(Fault::RejectCredentials).map(|active| active.spec.text(Param::Code));
        if !known || rejected.is_some() {
            self.connection.end(Ending::Orderly, Reason::Credentials);
            return Err(match rejected {
                Some("CH_OA_CLIENT_NOT_FOUND") => Refusal::open_api(ProtoOaErrorCode::ChOaClientNotFound),
                _ => Refusal::open_api(ProtoOaErrorCode::ChClientAuthFailure)
                    .saying("clientId or clientSecret is incorrect"),
            });
        }
        let connections_max = match self.faults.get(Fault::ConnectionsLimit) {
            Some(active) => active.spec.count(),
            None => self.settings.connections_max,
        };
        if self.applications >= connections_max {
            return Err(Refusal::open_api(ProtoOaErrorCode::ConnectionsLimitExceeded));
        }
        self.connection.application = true;
        self.answer(&ProtoOaApplicationAuthRes { payload_type: None }, id);
        Ok(())
    }

    pub(crate) fn account_list(
        &mut self,
        request: ProtoOaGetAccountListByAccessTokenReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let grant = self.check_token(&request.access_token)?;
        let account = |account: Account| ProtoOaCtidTraderAccount {
            ctid_trader_account_id: account.id.unsigned_abs(),
            is_live: Some(account.is_live),
            trader_login: Some(account.id % 100_000),
            broker_title_short: Some("Simulated".to_owned()),
            ..ProtoOaCtidTraderAccount::default()
        };
        let answer = ProtoOaGetAccountListByAccessTokenRes {
            payload_type: None,
            access_token: request.access_token,
            permission_scope: Some(ProtoOaClientPermissionScope::ScopeView.into()),
            ctid_trader_account: self.grants.accounts(grant).map(account).collect(),
        };
        self.answer(&answer, id);
        Ok(())
    }

    /// Trades a refresh token for a new pair; the grant whose tokens are void now.
    pub(crate) fn refresh_token(
        &mut self,
        request: &ProtoOaRefreshTokenReq,
        id: Option<&str>,
    ) -> Result<usize, Refusal> {
        if self.faults.has(Fault::ReplayedRefreshToken) {
            return Err(Refusal::open_api(ProtoOaErrorCode::ChAccessTokenInvalid));
        }
        let pair = self.grants.refresh(self.now, &request.refresh_token).map_err(Refusal::open_api)?;
        let answer = ProtoOaRefreshTokenRes {
            payload_type: None,
            access_token: pair.access,
            token_type: "bearer".to_owned(),
            expires_in: pair.expires_in_s,
            refresh_token: pair.refresh,
        };
        self.answer(&answer, id);
        Ok(pair.grant)
    }

    pub(crate) fn account_auth(
        &mut self,
        request: &ProtoOaAccountAuthReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = request.ctid_trader_account_id;
        let grant = self.check_token(&request.access_token)?;
        let opened = self.grants.accounts(grant).find(|opened| opened.id == account);
        let opened = opened
            .ok_or_else(|| Refusal::open_api(ProtoOaErrorCode::ChCtidTraderAccountNotFound).about(account))?;
        if opened.is_live != self.settings.is_live {
            // The account lives on the other host (facts 3.1).
            return Err(Refusal::shared(ProtoErrorCode::CantRouteRequest).about(account));
        }
        if self.connection.sessions.contains_key(&account) {
            return Err(Refusal::open_api(ProtoOaErrorCode::AlreadyLoggedIn)
                .saying("Trading account is already authorized in this channel")
                .about(account));
        }
        self.connection.sessions.insert(account, grant);
        self.connection.stranger_code = StrangerCode::default();
        self.answer(&ProtoOaAccountAuthRes { payload_type: None, ctid_trader_account_id: account }, id);
        Ok(())
    }

    pub(crate) fn account_logout(
        &mut self,
        request: &ProtoOaAccountLogoutReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        self.connection.end_session(self.id, account, self.market);
        self.answer(&ProtoOaAccountLogoutRes { payload_type: None, ctid_trader_account_id: account }, id);
        let gone = ProtoOaAccountDisconnectEvent { payload_type: None, ctid_trader_account_id: account };
        self.connection.push(self.now, &gone);
        Ok(())
    }

    fn check_token(&self, access_token: &str) -> Result<usize, Refusal> {
        self.grants.find(access_token).map_err(Refusal::open_api)
    }
}
