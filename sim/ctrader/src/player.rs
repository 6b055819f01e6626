//! A scenario under way.

use std::time::Duration;

use fastrand::Rng;
use jiff::civil::DateTime;
use jiff::{Span, Timestamp};
use sim_kit::Now;

use crate::catalogue::Catalogue;
use crate::fault::FaultSpec;
use crate::scenario::{Scenario, Step, When};

/// The wall clock may be set: what waits for it looks again at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Player {
    scenario: Scenario,
    rng: Rng,
    started: Duration,
    /// For each step when it is looked at next, in time elapsed; `None` where it is over.
    due: Vec<Option<Due>>,
    /// Faults so far.
    pub(crate) played: u64,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Duration,
    /// The time on the wall clock it waits for, Unix milliseconds.
    unix_ms: Option<i64>,
}

impl Player {
    pub(crate) fn new(scenario: Scenario, seed: u64, now: Now) -> Self {
        let rng = Rng::with_seed(scenario.seed.unwrap_or(seed));
        let mut player = Self { rng, started: now.elapsed, due: Vec::new(), scenario, played: 0 };
        for at in 0..player.scenario.steps.len() {
            let due = player.first(&player.scenario.steps[at].when.clone(), now);
            player.due.push(due);
        }
        player
    }

    pub(crate) fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// When the next step has to be looked at, in time elapsed; `None` once all are over.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.due.iter().flatten().map(|due| due.at).min()
    }

    /// The next fault that is due, if any.
    pub(crate) fn next(&mut self, now: Now, catalogue: &Catalogue) -> Option<FaultSpec> {
        loop {
            let waiting = self.due.iter().enumerate().filter_map(|(at, due)| Some((at, (*due)?)));
            let (at, due) = waiting.min_by_key(|(at, due)| (due.at, *at))?;
            if due.at > now.elapsed {
                return None;
            }
            let Step { when, choices } = self.scenario.steps[at].clone();
            if let Some(unix_ms) = due.unix_ms.filter(|unix_ms| *unix_ms > now.unix_ms) {
                self.due[at] = Some(wait_for(unix_ms, now));
                continue;
            }
            self.due[at] = self.again(&when, due, now);
            self.played += 1;
            let choice = self.rng.usize(..choices.len());
            return Some(choices[choice].draw(&mut self.rng, catalogue));
        }
    }

    fn first(&mut self, when: &When, now: Now) -> Option<Due> {
        match when {
            When::At { at, until, .. } => self.plain(*at, *until),
            When::AtRandom { mean, from, until } => {
                let at = *from + self.chance(*mean);
                self.plain(at, *until)
            }
            When::Weekly { .. } => weekly(when, now.unix_ms).map(|unix_ms| wait_for(unix_ms, now)),
        }
    }

    fn again(&mut self, when: &When, due: Due, now: Now) -> Option<Due> {
        // From the time it was due, but what a long sleep has missed is not made up for.
        let from = due.at.max(now.elapsed.saturating_sub(LOOK_EVERY)).saturating_sub(self.started);
        match when {
            When::At { every, until, .. } => self.plain(from + (*every)?, *until),
            When::AtRandom { mean, until, .. } => {
                let at = from + self.chance(*mean);
                self.plain(at, *until)
            }
            When::Weekly { .. } => weekly(when, now.unix_ms).map(|unix_ms| wait_for(unix_ms, now)),
        }
    }

    fn plain(&self, at: Duration, until: Duration) -> Option<Due> {
        (at <= until).then(|| Due { at: self.started + at, unix_ms: None })
    }

    /// A time to the next of many independent events, in whole milliseconds.
    fn chance(&mut self, mean: Duration) -> Duration {
        let share = -(1.0 - self.rng.f64()).ln();
        let ms = mean.mul_f64(share.min(50.0)).as_millis();
        Duration::from_millis(1 + u64::try_from(ms).unwrap_or(u64::MAX - 1))
    }
}

fn wait_for(unix_ms: i64, now: Now) -> Due {
    let left = Duration::from_millis(u64::try_from(unix_ms - now.unix_ms).unwrap_or(0));
    Due { at: now.elapsed + left.min(LOOK_EVERY), unix_ms: Some(unix_ms) }
}

/// The next time after this one on the wall clock of the zone, Unix milliseconds.
fn weekly(when: &When, unix_ms: i64) -> Option<i64> {
    let When::Weekly { day, time, zone } = when else { return None };
    let today = zone.to_datetime(Timestamp::from_millisecond(unix_ms).ok()?).date();
    (0..=8).find_map(|days| {
        let date = today.checked_add(Span::new().days(days)).ok()?;
        let at = DateTime::from_parts(date, *time).to_zoned(zone.clone()).ok()?;
        let at_ms = at.timestamp().as_millisecond();
        (date.weekday() == *day && at_ms > unix_ms).then_some(at_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Friday 2026-11-20, 21:00 UTC.
    const FRIDAY_MS: i64 = 1_795_208_400_000;

    fn now(ms: u64) -> Now {
        Now { elapsed: Duration::from_millis(5_000 + ms), unix_ms: FRIDAY_MS + i64::try_from(ms).unwrap() }
    }

    /// What happens until then, and when, in milliseconds from the start.
    fn run(steps: &str, seed: u64, until_ms: u64) -> Vec<(u64, String)> {
        let scenario = Scenario::read(&format!(r#"{{"name":"x","steps":[{steps}]}}"#)).unwrap();
        let mut player = Player::new(scenario, seed, now(0));
        let mut told = Vec::new();
        let mut ms = 0;
        while let Some(due) = player.deadline() {
            ms = ms.max(u64::try_from(due.as_micros().div_ceil(1_000)).unwrap() - 5_000);
            if ms > until_ms {
                break;
            }
            while let Some(spec) = player.next(now(ms), &Catalogue::new(5)) {
                told.push((ms, format!("{} {}", spec.row().name, spec.params())));
            }
        }
        assert_eq!(player.played, told.len() as u64);
        told
    }

    fn times(steps: &str, until_ms: u64) -> Vec<u64> {
        run(steps, 1, until_ms).into_iter().map(|(ms, _)| ms).collect()
    }

    #[test]
    fn a_step_happens_at_its_time_and_again_where_it_says_so() {
        assert_eq!(times(r#"{"at_s":1.5,"fault":"cut"}"#, 1_000_000), [1_500]);
        let every = r#"{"at_s":1,"every_s":2,"until_s":6,"fault":"cut"},{"at_s":3,"fault":"close"}"#;
        assert_eq!(times(every, 1_000_000), [1_000, 3_000, 3_000, 5_000]);
    }

    #[test]
    fn random_steps_keep_their_rate_and_window_and_are_repeated_by_the_seed() {
        let step = r#"{"mean_every_s":10,"from_s":100,"until_s":100100,"fault":"stall","for_s":[1,3]}"#;
        let told = run(step, 1, u64::MAX);
        assert!(told.len().abs_diff(10_000) < 500, "{}", told.len());
        assert!(told.iter().all(|(ms, _)| (100_000..=100_100_000).contains(ms)));
        assert_eq!(told, run(step, 1, u64::MAX));
        assert_ne!(told, run(step, 2, u64::MAX));
        assert_ne!(told[0].1, told[1].1, "durations differ");
    }

    #[test]
    fn one_of_several_is_chosen_and_any_fault_can_come() {
        let step =
            r#"{"mean_every_s":1,"until_s":2000,"one_of":[{"fault":"cut"},{"fault":"any","for_s":[1,2]}]}"#;
        let told = run(step, 3, u64::MAX);
        let cuts = told.iter().filter(|(_, what)| what.starts_with("cut {")).count();
        assert!(cuts > told.len() * 4 / 10 && cuts < told.len() * 6 / 10);
        for row in crate::FAULTS {
            assert!(told.iter().any(|(_, what)| what.starts_with(&format!("{} ", row.name))), "{}", row.name);
        }
    }

    #[test]
    fn weekly_steps_follow_the_wall_clock_of_their_zone() {
        let step = r#"{"weekly":{"day":"saturday","time":"06:00","zone":"America/New_York"},
            "fault":"maintenance","for_s":7200}"#;
        let hour = 3_600_000;
        assert_eq!(times(step, 300 * hour), [14 * hour, (14 + 168) * hour]);
    }

    #[test]
    fn a_clock_that_was_set_moves_what_waits_for_it() {
        let text =
            r#"{"name":"x","steps":[{"weekly":{"day":"friday","time":"22:00","zone":"UTC"},"fault":"cut"}]}"#;
        let mut player = Player::new(Scenario::read(text).unwrap(), 1, now(0));
        let catalogue = Catalogue::new(5);
        let set = Now { elapsed: now(600_000).elapsed, unix_ms: FRIDAY_MS + 3_600_000 };
        assert_eq!(player.deadline(), Some(set.elapsed));
        assert!(player.next(set, &catalogue).is_some());
        assert!(player.next(set, &catalogue).is_none());
    }
}
