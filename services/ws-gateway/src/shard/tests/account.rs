use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use tickcast_model::Position;

/// What was published of one symbol: the prices, in the last place, by position.
pub(super) type Published = HashMap<(u64, u64), i64>;

/// How far one gateway's channel got in each incarnation while it was open.
pub(super) type Heard = BTreeMap<u64, u64>;

/// A message to a client, as far as it is accounted for.
#[derive(Deserialize, Debug)]
pub(super) struct Said<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) symbol: Option<&'a str>,
    pub(super) epoch: Option<&'a str>,
    pub(super) seq: Option<u64>,
    #[serde(default)]
    pub(super) snapshot: bool,
    pub(super) merged: Option<u64>,
    pub(super) price: Option<f64>,
    pub(super) high: Option<f64>,
    pub(super) low: Option<f64>,
    pub(super) missed: Option<u64>,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) id: Option<u64>,
    #[serde(borrow, default)]
    pub(super) results: Vec<SymbolSaid<'a>>,
}

/// What became of one symbol of a request.
#[derive(Deserialize, Debug)]
pub(super) struct SymbolSaid<'a> {
    pub(super) symbol: &'a str,
    pub(super) status: &'a str,
    pub(super) recovered: Option<bool>,
}

/// What one client was told of one symbol, held against what was published: each tick once, merged or missing.
#[derive(Default, Debug)]
pub(super) struct Account {
    /// Everything up to this is accounted for; nothing yet where there was no tick.
    pub(super) at: Option<Position>,
    /// Announced as missing since.
    gaps: Vec<(u64, u64)>,
}

impl Account {
    /// A client that goes on from here.
    pub(super) fn from(at: Position) -> Self {
        Self { at: Some(at), gaps: Vec::new() }
    }

    pub(super) fn gap(&mut self, said: &Said<'_>) {
        let (from, to) = (said.from.unwrap(), said.to.unwrap());
        assert_eq!(said.missed, Some(to + 1 - from), "{said:?}");
        assert!(from >= 1 && from <= to, "{said:?}");
        self.gaps.push((from, to));
    }

    pub(super) fn tick(&mut self, said: &Said<'_>, published: &Published, heard: &Heard) {
        let position = Position { epoch: said.epoch.unwrap().parse().unwrap(), seq: said.seq.unwrap() };
        assert!(published.contains_key(&(position.epoch, position.seq)), "never published: {said:?}");
        let gaps = std::mem::take(&mut self.gaps);
        let Some(at) = self.at.replace(position) else {
            assert!(said.snapshot, "a series begins with a snapshot: {said:?}");
            return;
        };
        assert!(position > at, "twice: {said:?} behind {at:?}");
        let mut gaps = gaps.into_iter().peekable();
        let after = if position.epoch == at.epoch {
            assert!(!said.snapshot, "{said:?} behind {at:?}");
            at.seq
        } else {
            assert!(said.snapshot, "{said:?} behind {at:?}");
            // A gap does not say which incarnation it is of: the rest of the old one first, then all of those between.
            let old = heard.get(&at.epoch).map(|end| (&at.epoch, end));
            for (epoch, end) in old.into_iter().chain(heard.range(at.epoch + 1..position.epoch)) {
                let mut told = if *epoch == at.epoch { at.seq } else { 0 };
                while told < *end {
                    let gap = gaps.next_if(|(from, _)| *from == told + 1);
                    told = gap
                        .unwrap_or_else(|| {
                            panic!("{epoch} from {told} to {end} before {said:?} behind {at:?}")
                        })
                        .1;
                }
            }
            0
        };
        let lost: Vec<(u64, u64)> = gaps.collect();
        let count = said.merged.unwrap_or(1);
        assert_eq!(
            count + missed(&lost),
            position.seq - after,
            "not all accounted for: {said:?} behind {at:?} with {lost:?}"
        );
        if said.merged.is_some() {
            let is_lost = |seq: &u64| lost.iter().any(|(from, to)| (from..=to).contains(&seq));
            let told = (after + 1..=position.seq).filter(|seq| !is_lost(seq));
            let prices: Vec<i64> = told.map(|seq| published[&(position.epoch, seq)]).collect();
            let is = |said: Option<f64>, units: Option<&i64>| {
                (said.unwrap() * 1e5 - *units.unwrap() as f64).abs() < 0.01
            };
            assert!(
                is(said.high, prices.iter().max()) && is(said.low, prices.iter().min()),
                "{said:?} of {prices:?}"
            );
        }
    }

    /// Where the client would go on: what is missing further on is not behind it.
    pub(super) fn resume_from(&self) -> Option<Position> {
        let mut at = self.at?;
        for (from, to) in &self.gaps {
            if *from != at.seq + 1 {
                break;
            }
            at.seq = *to;
        }
        Some(at)
    }

    /// Nothing more will come: all the channel got is accounted for.
    pub(super) fn close(&self, heard: &Heard) {
        let newest = heard.last_key_value().map(|(epoch, seq)| Position { epoch: *epoch, seq: *seq });
        assert!(self.gaps.is_empty(), "{self:?} and no tick behind them");
        match (self.at, newest) {
            (Some(at), Some(newest)) => assert!(at >= newest, "silently lost: {at:?} of {newest:?}"),
            (None, Some(newest)) => panic!("nothing was told, and there is {newest:?}"),
            (_, None) => {}
        }
    }
}

fn missed(gaps: &[(u64, u64)]) -> u64 {
    gaps.iter().map(|(from, to)| to + 1 - from).sum()
}
