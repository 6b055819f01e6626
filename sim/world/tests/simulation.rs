//! Whole feeds against the simulated venue, in virtual time, with every fault in the catalogue: thousands of hours.
//!
//! `SIMULATION_SEEDS=10` lives ten times as many lives, `SIMULATION_SEED=ctrader:storm:17` replays one and prints what happened.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test; the lints know only functions marked as one"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sim_world::{Ctrader, Kind, Tally, TradingView, Tuning, Venue, World, live};

/// How many of each kind.
const LIVES: [(Kind, u64); 3] = [(Kind::Storm, 300), (Kind::Day, 48), (Kind::Week, 4)];
/// What `./check` has to live through with each venue.
const HOURS_MIN: f64 = 2_000.0;
/// As many threads as the smallest machine that checks has cores.
const THREADS: usize = 2;

/// The lives to live: `SIMULATION_SEED=ctrader:storm:17` is one, `SIMULATION_SEEDS=10` is ten times as many as usual.
fn lives<V: Venue>() -> Vec<(Kind, u64)> {
    if let Ok(life) = std::env::var("SIMULATION_SEED") {
        let parts: Vec<&str> = life.split(':').collect();
        let [venue, kind, seed] = parts.as_slice() else { panic!("SIMULATION_SEED=venue:kind:number") };
        if *venue != V::NAME {
            return Vec::new();
        }
        let kind = Kind::NAMED.iter().find(|(known, _)| known == kind).expect("a kind of life").1;
        return vec![(kind, seed.parse().expect("a number"))];
    }
    let times = std::env::var("SIMULATION_SEEDS").map_or(1, |times| times.parse().expect("a number"));
    LIVES.iter().flat_map(|(kind, count)| (0..count * times).map(|seed| (*kind, seed))).collect()
}

fn thousands_of_hours_end_well<V: Venue>() {
    let began = Instant::now();
    let lives = lives::<V>();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    let broken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((kind, seed)) = lives.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // A broken promise is printed where it breaks; the other lives show what else it breaks.
                    match std::panic::catch_unwind(|| live::<V>(*kind, *seed)) {
                        Ok(tally) => *total.lock().unwrap() += tally,
                        Err(_) => _ = broken.fetch_add(1, Ordering::Relaxed),
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    let hours = total.lived.as_secs_f64() / 3600.0;
    let took = began.elapsed().as_secs_f64();
    println!("{hours:.0} hours in {took:.1} s, {:.0} hours a second: {total:?}", hours / took);
    assert_eq!(broken.into_inner(), 0, "lives ended badly, of {}", lives.len());
    assert!(hours >= HOURS_MIN || lives.len() <= 1, "{hours} hours");
}

fn a_seed_gives_one_life<V: Venue>() {
    let life = || {
        let mut world = World::<V>::new(3, Tuning::default());
        world.history = Some(Vec::new());
        world.demand(&[0, 1, 2]);
        for case in V::cases() {
            world.strike(case);
            world.run_for(Duration::from_secs(100));
        }
        world.history.take().unwrap()
    };
    assert_eq!(life(), life());
}

fn heartbeats_keep_the_link_for_a_week<V: Venue>() {
    let mut world = World::<V>::new(1, Tuning::default());
    world.demand(&[]);
    world.run_for(Duration::from_secs(7 * 24 * 3600));
    assert_eq!(world.dials, 1, "one connection, never lost");
    assert_eq!(world.ticks(), 0);
    world.stop();
}

#[test]
fn thousands_of_hours_of_mixed_faults_at_ctrader_end_well() {
    thousands_of_hours_end_well::<Ctrader>();
}

#[test]
fn thousands_of_hours_of_mixed_faults_at_tradingview_end_well() {
    thousands_of_hours_end_well::<TradingView>();
}

#[test]
fn the_same_seed_lives_the_same_life() {
    a_seed_gives_one_life::<Ctrader>();
    a_seed_gives_one_life::<TradingView>();
}

#[test]
fn a_week_without_demand_keeps_the_link_by_heartbeats_alone() {
    heartbeats_keep_the_link_for_a_week::<Ctrader>();
    heartbeats_keep_the_link_for_a_week::<TradingView>();
}

fn weekends_pass_quietly<V: Venue>() {
    // Three weeks of a quote each second would be most of what this costs.
    let stale_after = Duration::from_secs(60);
    let tuning = Tuning { calendar: true, slower: 3, stale_after, ..Tuning::default() };
    let mut world = World::<V>::new(1, tuning);
    world.demand(&[0, 1, 2]);
    world.run_until_well(Duration::from_secs(30));
    let mut closings = 0;
    for _ in 0..3 * 7 * 24 {
        world.run_for(Duration::from_secs(3600));
        closings += usize::from(world.closed() == 3);
        // At the full hour markets open; a quote follows soon.
        world.run_until_well(Duration::from_secs(30));
    }
    assert!((3 * 46..3 * 54).contains(&closings), "three weekends, and {closings} hours of them");
    assert_eq!((world.dials, world.stales), (1, 0), "one connection, and nothing was called stale");
    world.stop();
}

#[test]
fn weekends_pass_without_a_reconnect_or_an_alarm_and_are_over_when_the_market_opens() {
    weekends_pass_quietly::<Ctrader>();
    weekends_pass_quietly::<TradingView>();
}
