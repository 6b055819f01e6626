//! Subscriptions to spots and to live bars (facts 3.5 to 3.7).

use crate::connection::Subscription;
use crate::desk::{Desk, Refusal, read_period};
use crate::fault::Fault;
use crate::wire::{
    ProtoErrorCode, ProtoOaErrorCode, ProtoOaSubscribeLiveTrendbarReq, ProtoOaSubscribeLiveTrendbarRes,
    ProtoOaSubscribeSpotsReq, ProtoOaSubscribeSpotsRes, ProtoOaUnsubscribeLiveTrendbarReq,
    ProtoOaUnsubscribeLiveTrendbarRes, ProtoOaUnsubscribeSpotsReq, ProtoOaUnsubscribeSpotsRes,
};

impl Desk<'_> {
    /// All or nothing: whether the real venue subscribes the others is not known (facts 3.5).
    pub(crate) fn subscribe_spots(
        &mut self,
        request: &ProtoOaSubscribeSpotsReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let symbols = self.positions(account, &request.symbol_id)?;
        if symbols.iter().any(|symbol| self.connection.subscriptions.contains_key(symbol)) {
            return Err(Refusal::open_api(ProtoOaErrorCode::AlreadySubscribed).about(account));
        }
        self.answer(&ProtoOaSubscribeSpotsRes { payload_type: None, ctid_trader_account_id: account }, id);
        for symbol in symbols {
            let subscription = Subscription::new(request.subscribe_to_spot_timestamp());
            if self.connection.subscriptions.insert(symbol, subscription).is_none() {
                self.market.watch(symbol, self.id, self.now);
                self.send_snapshot(symbol);
            }
        }
        Ok(())
    }

    pub(crate) fn unsubscribe_spots(
        &mut self,
        request: &ProtoOaUnsubscribeSpotsReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let mut unknown = false;
        for symbol in self.positions(account, &request.symbol_id)? {
            if self.connection.subscriptions.remove(&symbol).is_some() {
                self.market.unwatch(symbol, self.id);
            } else {
                unknown = true;
            }
        }
        if unknown {
            return Err(Refusal::open_api(ProtoOaErrorCode::NotSubscribedToSpots).about(account));
        }
        self.answer(&ProtoOaUnsubscribeSpotsRes { payload_type: None, ctid_trader_account_id: account }, id);
        Ok(())
    }

    pub(crate) fn subscribe_bars(
        &mut self,
        request: &ProtoOaSubscribeLiveTrendbarReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let symbol = self.position(account, request.symbol_id)?;
        let period = read_period(account, request.period)?;
        // Not NOT_SUBSCRIBED_TO_SPOTS: this is what the real venue says (facts 3.7).
        let subscription = self.connection.subscriptions.get_mut(&symbol).ok_or_else(|| {
            Refusal::shared(ProtoErrorCode::InvalidRequest).saying("No spot subscription").about(account)
        })?;
        if subscription.periods.contains(&period) {
            return Err(Refusal::open_api(ProtoOaErrorCode::AlreadySubscribed).about(account));
        }
        subscription.periods.push(period);
        self.market.follow(symbol, period, self.now);
        let answer = ProtoOaSubscribeLiveTrendbarRes { payload_type: None, ctid_trader_account_id: account };
        self.answer(&answer, id);
        self.send_snapshot(symbol);
        Ok(())
    }

    pub(crate) fn unsubscribe_bars(
        &mut self,
        request: &ProtoOaUnsubscribeLiveTrendbarReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let symbol = self.position(account, request.symbol_id)?;
        let period = read_period(account, request.period)?;
        let held = self.connection.subscriptions.get_mut(&symbol);
        let at = held.as_ref().and_then(|held| held.periods.iter().position(|kept| *kept == period));
        let (Some(subscription), Some(at)) = (held, at) else {
            return Err(Refusal::shared(ProtoErrorCode::InvalidRequest).about(account));
        };
        subscription.periods.remove(at);
        let answer =
            ProtoOaUnsubscribeLiveTrendbarRes { payload_type: None, ctid_trader_account_id: account };
        self.answer(&answer, id);
        Ok(())
    }

    fn send_snapshot(&mut self, symbol: usize) {
        if self.faults.has(Fault::Mute) {
            if let Some(subscription) = self.connection.subscriptions.get_mut(&symbol) {
                subscription.snapshot_due = true;
            }
            self.counters.withheld += 1;
            return;
        }
        self.connection.send_snapshot(self.now, self.settings.account_id, self.market, symbol);
        self.counters.spot_events += 1;
    }
}
