use std::fmt::Write as _;
use std::time::Duration;

use crate::trouble::{CASES, Case};
use crate::tuning::Tuning;
use crate::world::World;

/// Times each fault is measured.
pub const RUNS: usize = 60;

/// How long one case took to be told and to be healed, over all runs, shortest first.
pub struct Times {
    /// From the beginning of the fault until a receiver was told of a state with a cause; runs without one left out.
    pub named: Vec<Duration>,
    /// From the end of the fault, or its beginning where it happens once, until all is live again.
    pub healed: Vec<Duration>,
}

/// Lets one case strike a healthy feed that has been running for a while, once per run, each with a seed of its own.
///
/// # Panics
/// Where a bound of the case is broken.
pub fn measure(case: &'static Case) -> Times {
    let mut times = Times { named: Vec::new(), healed: Vec::new() };
    for run in 0..RUNS {
        let mut world = World::new(1_000 + run as u64, Tuning::default());
        world.demand(&[0, 1, 2, 3, 4]);
        world.run_until_well(Duration::from_secs(30));
        // Any phase of heartbeats, leases and backoff.
        let before = Duration::from_millis(world.chance(60_000..120_000));
        world.run_for(before);
        let lasts = Duration::from_millis(world.chance(100_000..200_000));
        world.strike_for(case, lasts);
        let bound = case.named_within.map(|within| within(world.tuning()));
        let told = world.run_until_named(bound.unwrap_or(lasts).min(lasts));
        assert!(
            told.is_some() || bound.is_none(),
            "{} was not named within {bound:?} in run {run}",
            case.name
        );
        times.named.extend(told);
        if !case.lasts_s.is_empty() {
            world.run_for(lasts - told.unwrap_or(lasts).min(lasts));
            world.heal();
        }
        let told = told.filter(|_| case.lasts_s.is_empty()).unwrap_or_default();
        times.healed.push(told + world.run_until_well((case.healed_within)(world.tuning())));
    }
    times.named.sort();
    times.healed.sort();
    times
}

/// Measures every case and writes the table.
pub fn table() -> String {
    let mut text = String::from(
        "| fault | told with a cause: p50 | worst | at most | live again: p50 | worst | at most |\n|---|---|---|---|---|---|---|\n",
    );
    let tuning = Tuning::default();
    for case in CASES {
        let times = measure(case);
        let at = |times: &[Duration], part: usize| {
            times
                .get((times.len() * part / 100).min(times.len().saturating_sub(1)))
                .map_or("–".into(), seconds)
        };
        let bound = case.named_within.map_or("–".into(), |within| seconds(&within(&tuning)));
        writeln!(
            text,
            "| `{}` | {} | {} | {bound} | {} | {} | {} |",
            case.name,
            at(&times.named, 50),
            at(&times.named, 100),
            at(&times.healed, 50),
            at(&times.healed, 100),
            seconds(&(case.healed_within)(&tuning)),
        )
        .unwrap();
    }
    text
}

fn seconds(time: &Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}
