//! What there is: the account, assets, categories and symbols.

use crate::desk::{Desk, Refusal};
use crate::wire::{
    ProtoOaAssetClassListReq, ProtoOaAssetClassListRes, ProtoOaAssetListReq, ProtoOaAssetListRes,
    ProtoOaSymbolByIdReq, ProtoOaSymbolByIdRes, ProtoOaSymbolCategoryListReq, ProtoOaSymbolCategoryListRes,
    ProtoOaSymbolsListReq, ProtoOaSymbolsListRes, ProtoOaTrader, ProtoOaTraderReq, ProtoOaTraderRes,
};

impl Desk<'_> {
    pub(crate) fn trader(&mut self, request: &ProtoOaTraderReq, id: Option<&str>) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let trader = ProtoOaTrader {
            ctid_trader_account_id: account,
            balance: 10_000_000,
            deposit_asset_id: self.market.catalogue().deposit_asset_id(),
            trader_login: Some(account % 100_000),
            money_digits: Some(2),
            broker_name: Some("simulated".to_owned()),
            leverage_in_cents: Some(10_000),
            ..ProtoOaTrader::default()
        };
        self.answer(&ProtoOaTraderRes { payload_type: None, ctid_trader_account_id: account, trader }, id);
        Ok(())
    }

    pub(crate) fn asset_list(
        &mut self,
        request: &ProtoOaAssetListReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let ctid_trader_account_id = self.check_account(request.ctid_trader_account_id)?;
        let asset = self.market.catalogue().assets();
        self.answer(&ProtoOaAssetListRes { payload_type: None, ctid_trader_account_id, asset }, id);
        Ok(())
    }

    pub(crate) fn asset_class_list(
        &mut self,
        request: &ProtoOaAssetClassListReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let ctid_trader_account_id = self.check_account(request.ctid_trader_account_id)?;
        let asset_class = self.market.catalogue().asset_classes();
        self.answer(
            &ProtoOaAssetClassListRes { payload_type: None, ctid_trader_account_id, asset_class },
            id,
        );
        Ok(())
    }

    pub(crate) fn symbol_categories(
        &mut self,
        request: &ProtoOaSymbolCategoryListReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let ctid_trader_account_id = self.check_account(request.ctid_trader_account_id)?;
        let symbol_category = self.market.catalogue().categories();
        let answer =
            ProtoOaSymbolCategoryListRes { payload_type: None, ctid_trader_account_id, symbol_category };
        self.answer(&answer, id);
        Ok(())
    }

    pub(crate) fn symbols_list(
        &mut self,
        request: &ProtoOaSymbolsListReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let catalogue = self.market.catalogue();
        let retired = request.include_archived_symbols().then(|| catalogue.archived_symbol());
        let answer = ProtoOaSymbolsListRes {
            payload_type: None,
            ctid_trader_account_id: self.check_account(request.ctid_trader_account_id)?,
            symbol: catalogue.light_symbols(),
            archived_symbol: retired.into_iter().collect(),
        };
        self.answer(&answer, id);
        Ok(())
    }

    pub(crate) fn symbol_by_id(
        &mut self,
        request: &ProtoOaSymbolByIdReq,
        id: Option<&str>,
    ) -> Result<(), Refusal> {
        let account = self.check_account(request.ctid_trader_account_id)?;
        let catalogue = self.market.catalogue();
        let mut wanted = request.symbol_id.clone();
        wanted.sort_unstable();
        wanted.dedup();
        let retired = wanted.iter().any(|key| catalogue.is_archived(*key));
        wanted.retain(|key| !catalogue.is_archived(*key));
        let symbol =
            self.positions(account, &wanted)?.into_iter().filter_map(|at| catalogue.symbol(at)).collect();
        let answer = ProtoOaSymbolByIdRes {
            payload_type: None,
            ctid_trader_account_id: account,
            symbol,
            archived_symbol: retired.then(|| catalogue.archived_symbol()).into_iter().collect(),
        };
        self.answer(&answer, id);
        Ok(())
    }
}
