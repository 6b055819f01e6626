//! Subscriptions to spots and to live bars (facts 3.5 to 3.7).

use sim_kit::fault::Param;

use crate::connection::Subscription;
use crate::desk::{Desk, Refusal, read_period};
use crate::fault::Fault;
use crate::wire::{
    ProtoErrorCode, ProtoOaErrorCode, ProtoOaSubscribeLiveTrendbarReq, ProtoOaSubscribeLiveTrendbarRes,
    ProtoOaSubscribeSpotsReq, ProtoOaSubscribeSpotsRes, ProtoOaUnsubscribeLiveTrendbarReq,
    ProtoOaUnsubscribeLiveTrendbarRes, ProtoOaUnsubscribeSpotsReq, ProtoOaUnsubscribeSpotsRes,
};

impl Desk<'_> {
    /// All or nothing, unless a fault wants a part of a refused request to take effect: what the real venue does is
    /// not known (facts 3.5).
    pub(crate) fn subscribe_spots(
        &mut self,
        request: &ProtoOaSubscribeSpotsReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let timestamp = request.subscribe_to_spot_timestamp();
        let (mut good, mut refusal) = (Vec::new(), None);
        let before_only = match self.faults.get(Fault::PartialBatch) {
            Some(active) => active.spec.text(Param::Effect) == "before",
            None => false,
        };
        for key in &request.symbol_id {
            let judged = self.position(account, *key).and_then(|symbol| {
                if self.connection.subscriptions.contains_key(&(account, symbol)) {
                    return Err(Refusal::open_api(ProtoOaErrorCode::AlreadySubscribed).about(account));
                }
                Ok(symbol)
            });
            match judged {
                Ok(symbol) if refusal.is_none() || !before_only => good.push(symbol),
                Ok(_) => {}
                Err(why) => {
                    refusal.get_or_insert(why);
                }
            }
        }
        match refusal {
            Some(refusal) if self.faults.has(Fault::PartialBatch) => self.refuse(&refusal, id),
            Some(refusal) => return Err(refusal),
            None => {
                let answer = ProtoOaSubscribeSpotsRes { payload_type: None, ctid_trader_account_id: account };
                self.answer(&answer, id);
            }
        }
        good.sort_unstable();
        good.dedup();
        for symbol in good {
            self.begin_spots(account, symbol, timestamp);
        }
        Ok(())
    }

    fn begin_spots(&mut self, account: i64, symbol: usize, timestamp: bool) {
        let mut subscription = Subscription::new(timestamp);
        if let Some(active) = self.faults.get(Fault::NoSnapshot).filter(|active| active.which.has(symbol)) {
            self.counters.withheld += 1;
            if !active.spec.flag(Param::Held) {
                return;
            }
            subscription.dead = true;
            subscription.snapshot_due = false;
        }
        let dead = subscription.dead;
        self.connection.subscriptions.insert((account, symbol), subscription);
        // One that is still telling late events is watched already.
        if self.connection.late.remove(&(account, symbol)).is_none() {
            self.market.watch(symbol, (self.id, account), self.now);
        }
        if !dead {
            self.send_snapshot(account, symbol);
        }
    }

    pub(crate) fn unsubscribe_spots(
        &mut self,
        request: &ProtoOaUnsubscribeSpotsReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let mut unknown = false;
        for symbol in self.positions(account, &request.symbol_id)? {
            match (
                self.connection.subscriptions.remove(&(account, symbol)),
                self.faults.get(Fault::LateEvents),
            ) {
                (Some(subscription), Some(late)) => {
                    let left = late.spec.number(Param::Count);
                    self.connection.late.insert((account, symbol), (subscription, left));
                }
                (Some(_), None) => self.market.unwatch(symbol, (self.id, account)),
                (None, _) => unknown = true,
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
        let subscription = self.connection.subscriptions.get_mut(&(account, symbol)).ok_or_else(|| {
            Refusal::shared(ProtoErrorCode::InvalidRequest).saying("No spot subscription").about(account)
        })?;
        if subscription.periods.contains(&period) {
            return Err(Refusal::open_api(ProtoOaErrorCode::AlreadySubscribed).about(account));
        }
        subscription.periods.push(period);
        self.market.follow(symbol, period, self.now);
        let answer = ProtoOaSubscribeLiveTrendbarRes { payload_type: None, ctid_trader_account_id: account };
        self.answer(&answer, id);
        self.send_snapshot(account, symbol);
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
        let held = self.connection.subscriptions.get_mut(&(account, symbol));
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

    fn send_snapshot(&mut self, account: i64, symbol: usize) {
        if self.faults.concerns(Fault::Mute, symbol) {
            if let Some(subscription) = self.connection.subscriptions.get_mut(&(account, symbol)) {
                subscription.snapshot_due = true;
            }
            self.counters.withheld += 1;
            return;
        }
        self.connection.send_snapshot(self.now, account, self.market, symbol);
        self.counters.spot_events += 1;
    }
}
