use std::collections::{BTreeMap, HashMap};

use tickcast_model::{Catalogue, Instrument, Symbol};

use crate::messages::wire;

/// Instruments kept at most; a broker lists thousands.
const INSTRUMENTS_MAX: usize = 100_000;

/// Decimals a price at a scale of 1/100000 can carry (facts 3.6).
const DIGITS_MAX: i32 = 5;

/// What the account's broker offers: names, the ids behind them, and details of those somebody wanted.
///
/// Ids belong to one server environment, so all of it is read anew on each connection (facts 3.10).
#[derive(Default)]
pub(crate) struct Instruments {
    ids: BTreeMap<Symbol, i64>,
    listed: HashMap<i64, Listed>,
}

struct Listed {
    symbol: Symbol,
    description: String,
    details: Option<Details>,
}

/// What has to be known of an instrument before its quotes can be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Details {
    pub(crate) digits: u8,
    pub(crate) pip_position: i8,
}

impl Instruments {
    /// Takes the venue's list; hidden and nameless entries are left out.
    pub(crate) fn read(list: wire::ProtoOaSymbolsListRes) -> Self {
        let mut instruments = Self::default();
        for entry in list.symbol.into_iter().take(INSTRUMENTS_MAX) {
            let name = entry.symbol_name.as_deref().and_then(Symbol::new);
            let Some(symbol) = name.filter(|_| entry.enabled != Some(false)) else { continue };
            let description = entry.description.unwrap_or_default();
            instruments.ids.insert(symbol.clone(), entry.symbol_id);
            instruments.listed.insert(entry.symbol_id, Listed { symbol, description, details: None });
        }
        instruments
    }

    /// The id behind a name in the venue's own spelling.
    pub(crate) fn id(&self, symbol: &Symbol) -> Option<i64> {
        self.ids.get(symbol).copied()
    }

    /// The details of an instrument, where they were asked for.
    pub(crate) fn details(&self, id: i64) -> Option<Details> {
        self.listed.get(&id)?.details
    }

    /// Notes an instrument's details.
    ///
    /// # Errors
    /// Says why an instrument cannot be served: its prices do not fit the wire's scale.
    pub(crate) fn describe(&mut self, symbol: &wire::ProtoOaSymbol) -> Result<(), String> {
        let Some(digits) = u8::try_from(symbol.digits).ok().filter(|_| symbol.digits <= DIGITS_MAX) else {
            return Err(format!("{} digits do not fit the venue's scale of 1/100000", symbol.digits));
        };
        let pip_position =
            i8::try_from(symbol.pip_position).map_err(|_| "impossible pip position".to_owned())?;
        if let Some(listed) = self.listed.get_mut(&symbol.symbol_id) {
            listed.details = Some(Details { digits, pip_position });
        }
        Ok(())
    }

    /// Forgets details that changed, so that they are asked for again.
    pub(crate) fn forget_details(&mut self, id: i64) {
        if let Some(listed) = self.listed.get_mut(&id) {
            listed.details = None;
        }
    }

    /// The list as others see it. The supervisor gives it its version.
    pub(crate) fn catalogue(&self) -> Catalogue {
        let instrument = |id: &i64| {
            self.listed.get(id).map(|listed| Instrument {
                symbol: listed.symbol.clone(),
                description: listed.description.clone(),
                digits: listed.details.map(|details| details.digits),
                pip_position: listed.details.map(|details| details.pip_position),
            })
        };
        Catalogue { version: 0, open: false, instruments: self.ids.values().filter_map(instrument).collect() }
    }
}
