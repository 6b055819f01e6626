use std::ops::AddAssign;
use std::time::Duration;

use crate::trouble::{Case, RECONNECT};
use crate::tuning::Tuning;
use crate::venue::Venue;
use crate::world::World;

/// What a life is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Minutes in which one trouble follows the other, over the other, and demand changes.
    Storm,
    /// A day with a trouble every few minutes to an hour, each of which is over before the next.
    Day,
    /// Ten days with little demand change and a trouble every few hours: what is slow to show shows here.
    Week,
}

impl Kind {
    /// Every kind, by the name it has in a seed.
    pub const NAMED: [(&'static str, Self); 3] =
        [("storm", Self::Storm), ("day", Self::Day), ("week", Self::Week)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Says which life it was, where it ends in a panic.
struct Seed(&'static str, Kind, u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "SIMULATION_SEED={}:{}:{} replays this life and prints it",
                self.0,
                self.1.name(),
                self.2
            );
        }
    }
}

/// What lives amounted to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Virtual time lived.
    pub lived: Duration,
    /// Troubles.
    pub struck: u64,
    /// Connections that became ready.
    pub recoveries: u64,
    /// Ticks that reached receivers.
    pub ticks: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.lived += other.lived;
        self.struck += other.struck;
        self.recoveries += other.recoveries;
        self.ticks += other.ticks;
    }
}

/// Lives one life to its end, which has to be a good one.
///
/// # Panics
/// Where a promise is broken, with the seed that replays it.
pub fn live<V: Venue>(kind: Kind, seed: u64) -> Tally {
    let _seed = Seed(V::NAME, kind, seed);
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let tuning = if rng.bool() { Tuning::default() } else { Tuning::drawn(&mut rng) };
    let seconds = Duration::from_secs;
    let tuning = match kind {
        Kind::Storm => tuning,
        Kind::Day => {
            let stale_after = seconds(60);
            Tuning { slower: 3, stale_after, leader_ttl: seconds(20), lease_ttl: seconds(30), ..tuning }
        }
        Kind::Week => {
            let stale_after = seconds(60);
            Tuning {
                slower: 3,
                stale_after,
                leader_ttl: seconds(40),
                lease_ttl: seconds(60),
                calendar: true,
                ..tuning
            }
        }
    };
    let mut world = World::<V>::new(seed, tuning);
    match kind {
        Kind::Storm => storm(&mut world),
        Kind::Day => spells(&mut world, seconds(24 * 3600), 60..2_400),
        Kind::Week => spells(&mut world, seconds(10 * 24 * 3600), 3_600..40_000),
    }
    let tally = Tally {
        lived: world.elapsed(),
        struck: world.struck,
        recoveries: world.recoveries,
        ticks: world.ticks(),
    };
    world.stop();
    tally
}

/// Troubles over troubles; then all end and everything is well in time.
fn storm<V: Venue>(world: &mut World<V>) {
    for _ in 0..world.chance(3..8) {
        let mut struck: Vec<&Case> = Vec::new();
        for _ in 0..world.chance(5..30) {
            let spell = Duration::from_millis(world.chance(10..60_000));
            world.run_for(spell);
            if world.chance(0..3) == 0 {
                world.change_demand();
            } else {
                let case = case(world);
                struck.push(case);
                world.strike(case);
            }
        }
        world.heal();
        let unknown = world.tuning().symbols;
        world.demand(&[0, 1, 2, unknown]);
        // What the worst of them may take, each after the other's backoff.
        let bound = |case: &&Case| (case.healed_within)(world.tuning());
        let limit =
            struck.iter().map(bound).max().unwrap_or_default() + RECONNECT(world.tuning()) + V::DIALS_WITHIN;
        world.run_until_well(limit);
        // What lingers is let go, and nothing else comes of what was.
        world.run_for(Duration::from_secs(20));
        world.run_until_well(RECONNECT(world.tuning()));
        world.assert_everything_wanted_is_held_and_true();
    }
}

/// One trouble after the other, each healed within its own bound.
fn spells<V: Venue>(world: &mut World<V>, length: Duration, pause_s: std::ops::Range<u64>) {
    let end = world.elapsed() + length;
    world.demand(&[0, 1, 2]);
    world.run_until_well(Duration::from_secs(60));
    while world.elapsed() < end {
        let spell = Duration::from_secs(world.chance(pause_s.clone()));
        world.run_for(spell);
        let case = case(world);
        world.strike(case);
        let lasts = Duration::from_secs(case.lasts_s.end);
        world.run_for(lasts);
        world.heal();
        world.run_until_well((case.healed_within)(world.tuning()));
        world.run_for(Duration::from_secs(20));
        world.run_until_well(RECONNECT(world.tuning()));
        world.assert_everything_wanted_is_held_and_true();
    }
}

fn case<V: Venue>(world: &mut World<V>) -> &'static Case {
    let cases = V::cases();
    &cases[usize::try_from(world.chance(0..cases.len() as u64)).unwrap()]
}
