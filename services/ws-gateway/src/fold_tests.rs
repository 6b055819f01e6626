use proptest::prelude::*;
use tickcast_model::{Position, Tick};

use super::*;

fn frame(epoch: u64, seq: u64, units: Option<i64>) -> Arc<Frame> {
    let tick = Tick {
        bid: None,
        ask: None,
        last: units.and_then(|units| Price::new(units, 2)),
        digits: 2,
        venue_time_ms: None,
        received_us: 0,
        snapshot: false,
        delayed_s: None,
        details: None,
    };
    Arc::new(Frame::new(Position { epoch, seq }, tick, 0, b"{}"))
}

fn folds(frames: &[Arc<Frame>]) -> Folds {
    let mut folds = Folds::default();
    folds.take(frames);
    folds
}

/// Count, high and low.
type Told = (u64, Option<i64>, Option<i64>);

/// Gaps as text, and what comes behind them.
fn merged(folds: &Folds, epoch: u64, after: u64) -> (Vec<String>, Option<Told>) {
    let mut gaps = Vec::new();
    let merged = folds.merge(epoch, after, |gap| gaps.push(format!("{}-{}", gap.from, gap.to)));
    (gaps, merged.map(|one| (one.count, one.high.map(Price::units), one.low.map(Price::units))))
}

#[test]
fn pending_ticks_come_to_their_number_and_their_extremes() {
    let prices = [5, 9, 2, 7, 7, 3];
    let frames: Vec<_> = (1..).zip(prices).map(|(seq, price)| frame(1, seq, Some(price))).collect();
    let folds = folds(&frames);
    assert_eq!(merged(&folds, 1, 0), (vec![], Some((6, Some(9), Some(2)))));
    assert_eq!(merged(&folds, 1, 2), (vec![], Some((4, Some(7), Some(2)))));
    assert_eq!(merged(&folds, 1, 5), (vec![], Some((1, Some(3), Some(3)))));
    assert_eq!(merged(&folds, 1, 6), (vec![], None));
    assert_eq!(merged(&folds, 2, 0), (vec![], None));
}

#[test]
fn ticks_without_a_price_count_and_have_no_extremes() {
    let folds = folds(&[frame(1, 1, Some(4)), frame(1, 2, None), frame(1, 3, None)]);
    assert_eq!(merged(&folds, 1, 0), (vec![], Some((3, Some(4), Some(4)))));
    assert_eq!(merged(&folds, 1, 1), (vec![], Some((2, None, None))));
}

#[test]
fn holes_are_told_first_and_not_counted() {
    let folds = folds(&[frame(1, 1, Some(4)), frame(1, 4, Some(8)), frame(1, 6, Some(1))]);
    assert_eq!(merged(&folds, 1, 0), (vec!["2-3".into(), "5-5".into()], Some((3, Some(8), Some(1)))));
    assert_eq!(merged(&folds, 1, 2), (vec!["3-3".into(), "5-5".into()], Some((2, Some(8), Some(1)))));
}

#[test]
fn who_is_further_back_than_is_known_is_told_what_cannot_be_merged() {
    let frames: Vec<_> = (11..2_000).map(|seq| frame(1, seq, Some(-i64::try_from(seq).unwrap()))).collect();
    let folds = folds(&frames);
    let floor = 1_999 - PEAKS_MAX as u64;
    let expected = Some((PEAKS_MAX as u64, Some(-(i64::try_from(floor).unwrap() + 1)), Some(-1_999)));
    assert_eq!(merged(&folds, 1, 3), (vec![format!("4-{floor}")], expected));
    assert_eq!(merged(&folds, 1, floor), (vec![], expected));
}

#[test]
fn the_end_of_the_incarnation_before_is_still_known() {
    let folds =
        folds(&[frame(1, 7, Some(1)), frame(1, 8, Some(2)), frame(2, 3, Some(3)), frame(2, 4, Some(4))]);
    assert_eq!(merged(&folds, 1, 6), (vec![], Some((2, Some(2), Some(1)))));
    assert_eq!(merged(&folds, 2, 0), (vec!["1-2".into()], Some((2, Some(4), Some(3)))));
}

proptest! {
    /// Whatever came, and wherever the ring was filled meanwhile: the same as adding it up.
    #[test]
    fn a_fold_is_what_adding_up_gives(
        steps in proptest::collection::vec((0u64..4, proptest::option::weighted(0.9, -20i64..20)), 1..120),
        fills in proptest::collection::vec((0usize..120, 1u64..4), 0..4),
    ) {
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        let mut folds = Folds::default();
        let mut seq = 0;
        for (number, (skip, price)) in steps.into_iter().enumerate() {
            seq += 1 + skip.saturating_sub(2);
            frames.push(frame(1, seq, price));
            folds.take([&frames[frames.len() - 1]]);
            // Some of what was missing comes from elsewhere.
            if let Some((_, every)) = fills.iter().find(|(at, _)| *at == number) {
                // The ring has only the last of them; the rest is known from before.
                let from = frames.len().saturating_sub(frames.len() / 2 + 1);
                let oldest = frames[from].position.seq;
                let missing: Vec<u64> = (oldest..seq).filter(|seq| seq % every == 0).collect();
                for seq in missing {
                    if let Err(place) = frames.binary_search_by_key(&seq, |frame| frame.position.seq) {
                        frames.insert(place, frame(1, seq, Some(30)));
                    }
                }
                folds.rewind(&frames[from]);
                folds.take(&frames[from..]);
            }
        }
        for after in 0..=seq {
            let pending: Vec<_> = frames.iter().filter(|frame| frame.position.seq > after).collect();
            let prices: Vec<i64> = pending.iter().filter_map(|frame| Some(frame.tick.price()?.units())).collect();
            let first = frames[0].position.seq;
            let missing: u64 = (after + 1..=seq).count() as u64 - pending.len() as u64;
            let mut missed = 0;
            let one = folds.merge(1, after, |gap| missed += gap.missed());
            prop_assert_eq!(missed, if pending.is_empty() { 0 } else { missing });
            let told = one.map(|one| (one.count, one.high.map(Price::units), one.low.map(Price::units)));
            let count = pending.len() as u64;
            prop_assert_eq!(told, (count > 0).then_some((count, prices.iter().max().copied(), prices.iter().min().copied())),
                            "after {} from {}", after, first);
        }
    }
}
