//! What the tests of the forms share.

use std::sync::Arc;

use proptest::prelude::*;
use tickcast_model::{Decimal, Details, Phase};

/// Details as venues tell them: mostly none, else numbers that change by little, and now and then anything.
pub(crate) fn any_details() -> impl Strategy<Value = Option<Arc<Details>>> {
    let units = prop_oneof![9 => 1_000i64..1_100, 1 => any::<i64>()];
    let places = prop_oneof![9 => Just(2u8), 1 => 0u8..=18];
    let number = (units, places).prop_map(|(units, places)| Decimal::new(units, places).unwrap());
    let numbers = prop::array::uniform5(prop::option::weighted(0.9, number));
    let session = prop::option::weighted(0.9, prop_oneof![4 => Just("market"), 1 => Just("pré\"market")]);
    let details = (numbers, session).prop_map(|(numbers, session)| {
        let [bid_size, ask_size, volume, change, change_percent] = numbers;
        let session = session.and_then(Phase::new);
        Arc::new(Details { bid_size, ask_size, volume, change, change_percent, session })
    });
    prop_oneof![3 => Just(None), 2 => details.prop_map(Some)]
}
