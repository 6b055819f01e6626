//! History: what the walks have told since the start, no further back (facts 3.8).

use crate::desk::{Desk, Refusal, read_period};
use crate::wire::{
    ProtoErrorCode, ProtoOaErrorCode, ProtoOaGetTickDataReq, ProtoOaGetTickDataRes, ProtoOaGetTrendbarsReq,
    ProtoOaGetTrendbarsRes, ProtoOaQuoteType, ProtoOaTickData,
};

/// The widest window of ticks, milliseconds: a week.
const TICK_WINDOW_MS: i64 = 604_800_000;

/// The latest end of a window, milliseconds.
const TO_MS_MAX: i64 = 2_147_483_646_000;

/// Ticks in one page.
const TICKS_MAX: usize = 200;

impl Desk<'_> {
    /// Closed bars. `count` counts back from the end of the window, and then the beginning does not bound it.
    pub(crate) fn trendbars(
        &mut self,
        request: &ProtoOaGetTrendbarsReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let symbol = self.position(account, request.symbol_id)?;
        let period = read_period(account, request.period)?;
        let to_ms = request.to_timestamp.unwrap_or(self.now.unix_ms);
        let from_ms = request.from_timestamp.unwrap_or(0);
        check_window(account, from_ms, to_ms)?;
        let mut bars = self.market.bars(symbol).closed(period, self.now.unix_ms);
        bars.retain(|bar| bar.opened * 60_000 <= to_ms);
        let known = bars.len();
        match request.count {
            Some(count) => {
                bars.drain(..known.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX)));
            }
            None => bars.retain(|bar| bar.opened * 60_000 >= from_ms),
        }
        let answer = ProtoOaGetTrendbarsRes {
            payload_type: None,
            ctid_trader_account_id: account,
            period: request.period,
            // Published clients cannot read the answer without it (facts 5.3).
            timestamp: Some(to_ms),
            trendbar: bars.iter().map(crate::bars::Bar::closed).collect(),
            symbol_id: Some(request.symbol_id),
            has_more: Some(request.count.is_some() && bars.len() < known),
        };
        self.answer(&answer, id);
        Ok(())
    }

    /// Past quotes of one side, newest first, each entry as the difference to the one before.
    pub(crate) fn tick_data(
        &mut self,
        request: &ProtoOaGetTickDataReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let symbol = self.position(account, request.symbol_id)?;
        let side = ProtoOaQuoteType::try_from(request.r#type)
            .map_err(|_| Refusal::shared(ProtoErrorCode::InvalidRequest).about(account))?;
        let to_ms = request.to_timestamp.unwrap_or(self.now.unix_ms);
        let from_ms = request.from_timestamp.unwrap_or(to_ms.saturating_sub(TICK_WINDOW_MS));
        check_window(account, from_ms, to_ms)?;
        if to_ms.saturating_sub(from_ms) > TICK_WINDOW_MS {
            return Err(Refusal::open_api(ProtoOaErrorCode::IncorrectBoundaries).about(account));
        }
        let mut ticks = self
            .market
            .past(symbol)
            .rev()
            .filter(|event| (from_ms..=to_ms).contains(&event.at_ms))
            .filter_map(|event| {
                let price = if side == ProtoOaQuoteType::Bid { event.bid? } else { event.ask? };
                Some((event.at_ms, i64::try_from(price).ok()?))
            });
        let mut tick_data: Vec<ProtoOaTickData> = Vec::new();
        let mut last = (0, 0);
        for (at_ms, price) in ticks.by_ref().take(TICKS_MAX) {
            tick_data.push(ProtoOaTickData { timestamp: at_ms - last.0, tick: price - last.1 });
            last = (at_ms, price);
        }
        let has_more = ticks.next().is_some();
        drop(ticks);
        let answer = ProtoOaGetTickDataRes {
            payload_type: None,
            ctid_trader_account_id: account,
            tick_data,
            has_more,
        };
        self.answer(&answer, id);
        Ok(())
    }
}

fn check_window(account: i64, from_ms: i64, to_ms: i64) -> Result<(), Refusal> {
    if from_ms < 0 || from_ms > to_ms || to_ms > TO_MS_MAX {
        return Err(Refusal::open_api(ProtoOaErrorCode::IncorrectBoundaries).about(account));
    }
    Ok(())
}
