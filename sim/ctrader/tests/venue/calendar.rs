//! Markets that open and close as their schedules say (facts 3.10).

use std::time::Duration;

use crate::bench::{ACCOUNT, Bench};
use sim_ctrader::wire::{ProtoOaSymbolByIdReq, ProtoOaSymbolByIdRes};
use sim_ctrader::{Class, ConnectionId, VenueSettings};

/// Friday 2026-11-20, 21:00 UTC: an hour before the weekend of New York.
const FRIDAY_MS: i64 = 1_795_208_400_000;
const HOUR_MS: u64 = 3_600_000;

fn bench(calendar: bool) -> Bench {
    let mut bench = Bench::new(VenueSettings {
        symbols: 70,
        ticks_per_s: 1,
        calendar,
        inactivity_cutoff: Duration::from_secs(1_000_000),
        heartbeat_after: Duration::from_secs(500_000),
        ..VenueSettings::default()
    });
    bench.start_ms = FRIDAY_MS;
    bench
}

/// The first symbol of a class.
fn of(bench: &Bench, class: Class) -> i64 {
    bench.venue.catalogue().listings().iter().find(|listing| listing.class() == class).unwrap().id
}

fn details(bench: &mut Bench, id: ConnectionId, symbols: &[i64]) -> ProtoOaSymbolByIdRes {
    let symbol_id = symbols.to_vec();
    bench.ask(id, &ProtoOaSymbolByIdReq { payload_type: None, ctid_trader_account_id: ACCOUNT, symbol_id });
    bench.answer(id)
}

#[test]
fn a_weekend_silences_what_closes_and_the_market_opens_by_itself() {
    let mut bench = bench(true);
    let id = bench.log_in();
    let (forex, crypto) = (of(&bench, Class::Forex), of(&bench, Class::Crypto));
    bench.subscribe(id, &[forex, crypto]);
    bench.advance(HOUR_MS - 1);
    assert!(bench.spots(id).iter().filter(|event| event.symbol_id == forex).count() > 1_000);
    let now = bench.now();
    assert!(bench.venue.is_open(now, forex));
    bench.advance(1);
    bench.spots(id);
    let now = bench.now();
    assert!(!bench.venue.is_open(now, forex) && bench.venue.is_open(now, crypto));
    bench.advance(47 * HOUR_MS);
    let weekend = bench.spots(id);
    assert!(weekend.len() > 50_000 && weekend.iter().all(|event| event.symbol_id == crypto));
    let gold = of(&bench, Class::Metals);
    let snapshot = bench.subscribe_quietly(id, gold);
    assert!(snapshot.session_close.is_some());
    let closing_ms = FRIDAY_MS + i64::try_from(HOUR_MS).unwrap();
    assert!(snapshot.timestamp.unwrap() <= closing_ms, "the last quote is from before the weekend");
    bench.advance(HOUR_MS + 1_000_000);
    assert!(bench.spots(id).iter().filter(|event| event.symbol_id == forex).count() > 500);
}

#[test]
fn the_schedules_told_are_the_ones_kept() {
    let classes = [Class::Forex, Class::Indices, Class::Shares, Class::Crypto];
    let mut bench = bench(true);
    let id = bench.log_in();
    let symbols = classes.map(|class| of(&bench, class));
    let told = details(&mut bench, id, &symbols);
    let zone = |at: usize| {
        let symbol = told.symbol.iter().find(|symbol| symbol.symbol_id == symbols[at]).unwrap();
        (symbol.schedule_time_zone().to_owned(), symbol.schedule.len(), symbol.holiday.len())
    };
    assert_eq!(zone(0), ("America/New_York".to_owned(), 1, 2));
    assert_eq!(zone(1), ("Europe/Berlin".to_owned(), 5, 2));
    assert_eq!(zone(2), ("America/New_York".to_owned(), 5, 3));
    assert_eq!(zone(3), ("UTC".to_owned(), 1, 0));
}

#[test]
fn a_venue_without_a_calendar_never_closes_and_says_so() {
    let mut bench = bench(false);
    let id = bench.log_in();
    let share = of(&bench, Class::Shares);
    let told = details(&mut bench, id, &[share]).symbol.remove(0);
    assert_eq!((told.schedule[0].start_second, told.schedule[0].end_second), (0, 604_800));
    assert_eq!((told.schedule.len(), told.holiday.len()), (1, 0));
    bench.subscribe(id, &[share]);
    bench.advance(30 * HOUR_MS);
    bench.spots(id);
    bench.advance(60_000);
    assert!(bench.spots(id).len() > 30);
}
