use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::ctrader::Ctrader;
use crate::tradingview::TradingView;
use crate::trouble::Case;
use crate::tuning::Tuning;
use crate::venue::Venue;
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
pub fn measure<V: Venue>(case: &'static Case) -> Times {
    let mut times = Times { named: Vec::new(), healed: Vec::new() };
    for run in 0..RUNS {
        let mut world = World::<V>::new(1_000 + run as u64, Tuning::default());
        world.demand(&[0, 1, 2, 3, 4]);
        world.run_until_well(Duration::from_secs(30));
        // Any phase of heartbeats, leases and backoff.
        let before = Duration::from_millis(world.chance(60_000..120_000));
        world.run_for(before);
        let lasts = Duration::from_millis(world.chance(100_000..200_000));
        let ends = !case.lasts_s.is_empty() && !case.taken_over;
        world.strike_for(case, lasts);
        let began = world.elapsed();
        let bound = case.named_within.map(|within| within(world.tuning()));
        let told = world.run_until_named(bound.unwrap_or(lasts).min(lasts));
        assert!(
            told.is_some() || bound.is_none(),
            "{} was not named within {bound:?} in run {run}",
            case.name
        );
        times.named.extend(told);
        if ends {
            world.run_for(lasts - told.unwrap_or(lasts).min(lasts));
            world.heal();
        }
        // What nobody was told of, and is over, had nothing to heal.
        let from = if ends || told.is_none() { world.elapsed() } else { began };
        world.run_until_well((case.healed_within)(world.tuning()));
        times.healed.push(world.elapsed() - from);
    }
    times.named.sort();
    times.healed.sort();
    times
}

/// The page about all of it: every case of every venue measured, with its bounds.
pub fn page() -> String {
    let tuning = Tuning::default();
    let mut text = format!(
        "# How fast a fault is told and healed

Made by `cargo run -p sim-world --bin fault-times`; seconds of virtual time, {RUNS} runs of each fault with a seed of its
own, each against a feed that was well for one to two minutes. Two ingests compete for the lease. *Told* counts from the
beginning of the fault until a receiver has a state with a cause; *live again* counts until everything wanted and tradable
ticks on one connection: from the end of a fault that lasts (100 to 200 s here), from the beginning of one that happens
once or is healed by another process (`process-*`, `store-wiped`). A dash: nothing was lost that anybody could be told of.
*At most* is asserted in each run, here and in the thousands of hours of `./check`.

Settings: `STALE_AFTER_MS` {}, `SILENCE_TIMEOUT_MS` {}, `CONNECT_TIMEOUT_MS` {}, `BACKOFF_MAX_MS` {}, `AUTH_RETRY_MS` {},
`LEADER_TTL_MS` {}. A busy feed is called stale sooner than the first of them, by its own rhythm.

Longer than 30 s after the end take with either venue only: credentials that were refused (tried again slowly), a half-open
link (its silence has to be long enough), a subscription that was lost without a word (it shows when ticks stay away),
symbols the venue let fall again and again (asked for at growing intervals), and a store that has forgotten who leads.
",
        tuning.stale_after.as_millis(),
        tuning.silence_timeout.as_millis(),
        tuning.connect_timeout.as_millis(),
        tuning.backoff_max.as_millis(),
        tuning.auth_retry.as_millis(),
        tuning.leader_ttl.as_millis(),
    );
    text.push_str(&section::<Ctrader>(&tuning));
    text.push_str(&section::<TradingView>(&tuning));
    text
}

fn section<V: Venue>(tuning: &Tuning) -> String {
    format!("\n## {}\n\n{}\n\n{}", V::TITLE, V::REMARK, table::<V>(tuning))
}

fn table<V: Venue>(tuning: &Tuning) -> String {
    let mut text = String::new();
    text.push_str("| fault | told: p50 | worst | at most | live again: p50 | worst | at most |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    let cases = V::cases();
    let next = AtomicUsize::new(0);
    let rows: Vec<OnceLock<String>> = cases.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((case, row)) = take(&next, cases, &rows) {
                    row.get_or_init(|| line::<V>(case, tuning));
                }
            });
        }
    });
    text.extend(rows.into_iter().filter_map(OnceLock::into_inner));
    text
}

fn take<'a>(
    next: &AtomicUsize,
    cases: &'static [Case],
    rows: &'a [OnceLock<String>],
) -> Option<(&'static Case, &'a OnceLock<String>)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((cases.get(at)?, rows.get(at)?))
}

fn line<V: Venue>(case: &'static Case, tuning: &Tuning) -> String {
    let times = measure::<V>(case);
    let at = |times: &[Duration], part: usize| {
        times
            .get((times.len() * part / 100).min(times.len().saturating_sub(1)))
            .map_or("–".into(), |time| seconds(*time))
    };
    let bound = case.named_within.map_or("–".into(), |within| seconds(within(tuning)));
    format!(
        "| `{}` | {} | {} | {bound} | {} | {} | {} |\n",
        case.name,
        at(&times.named, 50),
        at(&times.named, 100),
        at(&times.healed, 50),
        at(&times.healed, 100),
        seconds((case.healed_within)(tuning)),
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}
