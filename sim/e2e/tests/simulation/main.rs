//! Supervisor and cTrader session against the simulated venue's pure half, in virtual time: no socket, no clock, no
//! sleep. Each seed is a life of a few minutes with random faults, network delays, cut bytes and changing demand.
//!
//! `SIMULATION_SEEDS=10000` runs more lives, `SIMULATION_SEED=17` replays one and prints what happened.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test; the lints know only functions marked as one"
)]

mod world;

use world::World;

const SEEDS: u64 = 400;

fn seeds() -> Box<dyn Iterator<Item = u64>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SIMULATION_SEED") {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(0..number("SIMULATION_SEEDS").unwrap_or(SEEDS)),
    }
}

/// The invariants are asserted at every step by [`World`]; this is the end each life has to come to.
#[test]
fn every_life_full_of_faults_ends_well() {
    let (mut faults, mut recoveries, mut ticks) = (0, 0, 0);
    for seed in seeds() {
        let mut world = World::new(seed);
        world.live_with_faults();
        world.heal();
        world.assert_everything_wanted_is_held_and_true();
        faults += world.faults;
        recoveries += world.recoveries;
        ticks += world.ticks;
        world.stop();
    }
    assert!(faults > 0 && recoveries > 0 && ticks > 0, "nothing happened: {faults} faults, {ticks} ticks");
    println!("{faults} faults, {recoveries} recoveries, {ticks} ticks");
}

#[test]
fn the_same_seed_lives_the_same_life() {
    for seed in [3, 33] {
        let life = || {
            let mut world = World::new(seed);
            world.live_with_faults();
            world.history.clone()
        };
        assert_eq!(life(), life());
    }
}

#[test]
fn a_week_without_demand_keeps_the_link_by_heartbeats_alone() {
    let mut world = World::new(1);
    world.demand_nothing();
    world.run_for(std::time::Duration::from_secs(7 * 24 * 3600));
    assert_eq!(world.dials, 1, "one connection, never lost");
    assert_eq!(world.ticks, 0);
    world.stop();
}
