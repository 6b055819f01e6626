//! Scenarios: which faults happen when, as data (docs/simulator.md).

use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;
use sim_kit::fault::{Lasting, Param, SpecError};

use crate::fault::FaultSpec;

/// Steps a scenario may have, and faults one step may choose from.
const STEPS_MAX: usize = 1_000;

/// Longest time in a scenario, in seconds: ten years.
const SECONDS_MAX: f64 = 315_360_000.0;

/// Shortest time between two repetitions, in milliseconds.
const EVERY_MS_MIN: u64 = 10;

/// Faults and when they happen. Read from JSON; the same seed gives the same run.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// Chooses the times and the faults; the venue's own seed where it is not said.
    pub seed: Option<u64>,
    pub(crate) steps: Vec<Step>,
}

/// Why a scenario cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is no JSON, or has fields nobody knows.
    #[error("not a scenario: {0}")]
    Json(String),
    /// A step makes no sense.
    #[error("step {step}: {problem}")]
    Step {
        /// Which one, from 1 on.
        step: usize,
        /// Why.
        problem: String,
    },
    /// More steps than anybody needs.
    #[error("more than {STEPS_MAX} steps")]
    TooLong,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    pub(crate) when: When,
    /// One of these, by chance where there are several.
    pub(crate) choices: Vec<Choice>,
}

/// When a step happens; times are counted from the start of the scenario.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum When {
    /// At a time, and again at equal distances where `every` says so.
    At { at: Duration, every: Option<Duration>, until: Duration },
    /// At random: independent of each other, so often on average.
    AtRandom { mean: Duration, from: Duration, until: Duration },
    /// Each week on the wall clock of a zone.
    Weekly { day: Weekday, time: Time, zone: TimeZone },
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Choice {
    /// This fault, lasting a time between these two; with no times as long as its parameters say.
    One(FaultSpec, Option<(u64, u64)>),
    /// Any fault with drawn parameters; a lasting one for a time between these two.
    Any((u64, u64)),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    about: String,
    seed: Option<u64>,
    steps: Vec<FileStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileStep {
    at_s: Option<f64>,
    every_s: Option<f64>,
    mean_every_s: Option<f64>,
    from_s: Option<f64>,
    until_s: Option<f64>,
    weekly: Option<FileWeekly>,
    fault: Option<String>,
    #[serde(default)]
    params: Value,
    for_s: Option<Span>,
    #[serde(default)]
    one_of: Vec<FileFault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileFault {
    fault: String,
    #[serde(default)]
    params: Value,
    for_s: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWeekly {
    day: String,
    time: String,
    zone: String,
}

/// A time, or two between which it is chosen, in seconds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Span {
    Exactly(f64),
    Between([f64; 2]),
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`] with the first thing that makes no sense.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let file: File =
            serde_json::from_str(text).map_err(|error| ScenarioError::Json(error.to_string()))?;
        let steps =
            file.steps.into_iter().enumerate().map(|(at, step)| {
                step.read().map_err(|problem| ScenarioError::Step { step: at + 1, problem })
            });
        let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
        if steps.len() > STEPS_MAX || steps.iter().any(|step| step.choices.len() > STEPS_MAX) {
            return Err(ScenarioError::TooLong);
        }
        Ok(Self { name: file.name, about: file.about, seed: file.seed, steps })
    }

    /// The faults it names, for checking them against a venue's symbols.
    pub fn specs(&self) -> impl Iterator<Item = &FaultSpec> {
        self.steps.iter().flat_map(|step| &step.choices).filter_map(|choice| match choice {
            Choice::One(spec, _) => Some(spec),
            Choice::Any(_) => None,
        })
    }
}

impl FileStep {
    fn read(self) -> Result<Step, String> {
        let when = self.when()?;
        let mut faults = self.one_of;
        if let Some(fault) = self.fault {
            if !faults.is_empty() {
                return Err("has either fault or one_of".into());
            }
            faults.push(FileFault { fault, params: self.params, for_s: self.for_s });
        } else if !self.params.is_null() || self.for_s.is_some() {
            return Err("params and for_s belong to a fault".into());
        }
        if faults.is_empty() {
            return Err("names no fault".into());
        }
        let choices = faults.into_iter().map(FileFault::read).collect::<Result<_, _>>()?;
        Ok(Step { when, choices })
    }

    fn when(&self) -> Result<When, String> {
        let until = optional(self.until_s, "until_s")?.unwrap_or(Duration::MAX);
        match (self.at_s, self.mean_every_s, &self.weekly) {
            (Some(at), None, None) if self.from_s.is_none() => {
                let every = optional(self.every_s, "every_s")?;
                if every.is_some_and(|every| every < Duration::from_millis(EVERY_MS_MIN)) {
                    return Err(format!("every_s is at least {EVERY_MS_MIN} ms"));
                }
                Ok(When::At { at: seconds(at, "at_s")?, every, until })
            }
            (None, Some(mean), None) if self.every_s.is_none() => {
                let mean = seconds(mean, "mean_every_s")?;
                if mean < Duration::from_millis(EVERY_MS_MIN) {
                    return Err(format!("mean_every_s is at least {EVERY_MS_MIN} ms"));
                }
                let from = optional(self.from_s, "from_s")?.unwrap_or_default();
                Ok(When::AtRandom { mean, from, until })
            }
            (None, None, Some(weekly))
                if self.every_s.is_none() && self.from_s.is_none() && self.until_s.is_none() =>
            {
                weekly.read()
            }
            _ => Err(
                "happens at_s (and every_s until until_s), or mean_every_s (from_s until until_s), or weekly"
                    .into(),
            ),
        }
    }
}

impl FileFault {
    fn read(self) -> Result<Choice, String> {
        let between = self.for_s.map(Span::read).transpose()?;
        if self.fault == "any" {
            if !self.params.is_null() {
                return Err("any fault draws its own params".into());
            }
            return Ok(Choice::Any(between.ok_or("any fault needs for_s, for it may be a lasting one")?));
        }
        let spec =
            FaultSpec::named(&self.fault, &self.params).map_err(|error: SpecError| error.to_string())?;
        let once = spec.row().lasting == Lasting::Once;
        if once && between.is_some() {
            return Err(format!("{} happens and is over: it has no for_s", self.fault));
        }
        if between.is_some() && spec.number(Param::ForMs) > 0 {
            return Err("has either for_s or for_ms".into());
        }
        Ok(Choice::One(spec, between))
    }
}

impl FileWeekly {
    fn read(&self) -> Result<When, String> {
        let days = [
            ("monday", Weekday::Monday),
            ("tuesday", Weekday::Tuesday),
            ("wednesday", Weekday::Wednesday),
            ("thursday", Weekday::Thursday),
            ("friday", Weekday::Friday),
            ("saturday", Weekday::Saturday),
            ("sunday", Weekday::Sunday),
        ];
        let day = days.iter().find(|(name, _)| *name == self.day).map(|(_, day)| *day);
        let day = day.ok_or_else(|| format!("{:?} is no day of the week, in small letters", self.day))?;
        let time = self.time.parse().map_err(|_| format!("{:?} is no time such as 06:00", self.time))?;
        let zone =
            TimeZone::get(&self.zone).map_err(|_| format!("no time zone is called {:?}", self.zone))?;
        Ok(When::Weekly { day, time, zone })
    }
}

impl Span {
    /// Milliseconds, the shorter first.
    fn read(self) -> Result<(u64, u64), String> {
        let (least, most) = match self {
            Self::Exactly(time) => (time, time),
            Self::Between([least, most]) => (least, most),
        };
        let ms = |time: f64| -> Result<u64, String> {
            Ok(u64::try_from(seconds(time, "for_s")?.as_millis()).unwrap_or(u64::MAX).max(1))
        };
        let (least, most) = (ms(least)?, ms(most)?);
        if least > most {
            return Err("for_s names the shorter time first".into());
        }
        Ok((least, most))
    }
}

impl Choice {
    /// What happens, drawn by chance where it is open.
    pub(crate) fn draw(&self, rng: &mut fastrand::Rng, catalogue: &crate::Catalogue) -> FaultSpec {
        let (spec, between) = match self {
            Self::One(spec, None) => return spec.clone(),
            Self::One(spec, Some(between)) => (spec.clone(), *between),
            Self::Any(between) => (FaultSpec::draw(rng, catalogue), *between),
        };
        spec.lasting(Duration::from_millis(rng.u64(between.0..=between.1)))
    }
}

fn optional(time: Option<f64>, name: &str) -> Result<Option<Duration>, String> {
    time.map(|time| seconds(time, name)).transpose()
}

fn seconds(time: f64, name: &str) -> Result<Duration, String> {
    if !(0.0..=SECONDS_MAX).contains(&time) {
        return Err(format!("{name} is a number of seconds from 0 to {SECONDS_MAX}"));
    }
    Ok(Duration::from_millis(Duration::from_secs_f64(time).as_millis().try_into().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(steps: &str) -> String {
        Scenario::read(&format!(r#"{{"name":"x","steps":[{steps}]}}"#)).unwrap_err().to_string()
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_step_and_reason() {
        assert!(Scenario::read("{").unwrap_err().to_string().contains("not a scenario"));
        assert!(
            Scenario::read(r#"{"name":"x","steps":[],"speed":2}"#).unwrap_err().to_string().contains("speed")
        );
        for (step, words) in [
            (r#"{"fault":"cut"}"#, "happens at_s"),
            (r#"{"at_s":1,"mean_every_s":2,"fault":"cut"}"#, "happens at_s"),
            (r#"{"at_s":1}"#, "names no fault"),
            (r#"{"at_s":1,"fault":"earthquake"}"#, "earthquake"),
            (r#"{"at_s":1,"fault":"cut","for_s":5}"#, "has no for_s"),
            (r#"{"at_s":1,"fault":"mute","for_s":5,"params":{"for_ms":7}}"#, "either for_s or for_ms"),
            (r#"{"at_s":1,"fault":"mute","for_s":[9,5]}"#, "shorter time first"),
            (r#"{"at_s":-1,"fault":"mute"}"#, "at_s is a number"),
            (r#"{"at_s":1e300,"fault":"mute"}"#, "at_s is a number"),
            (r#"{"at_s":1,"every_s":0,"fault":"mute"}"#, "every_s is at least"),
            (r#"{"at_s":1,"fault":"any"}"#, "needs for_s"),
            (r#"{"at_s":1,"fault":"cut","one_of":[{"fault":"cut"}]}"#, "either fault or one_of"),
            (r#"{"weekly":{"day":"Saturday","time":"06:00","zone":"UTC"},"fault":"cut"}"#, "no day"),
            (r#"{"weekly":{"day":"saturday","time":"6 am","zone":"UTC"},"fault":"cut"}"#, "no time such"),
            (r#"{"weekly":{"day":"saturday","time":"06:00","zone":"Moon"},"fault":"cut"}"#, "no time zone"),
        ] {
            let error = refused(step);
            assert!(error.starts_with("step 1: ") && error.contains(words), "{step}: {error}");
        }
    }

    #[test]
    fn the_faults_it_names_can_be_checked() {
        let text = r#"{"name":"x","steps":[{"at_s":1,"one_of":[
            {"fault":"mute","params":{"symbols":["NOSUCH"]}},{"fault":"any","for_s":1}]}]}"#;
        let scenario = Scenario::read(text).unwrap();
        let unknown: Vec<String> =
            scenario.specs().flat_map(|spec| spec.unknown_symbols(&crate::Catalogue::new(9))).collect();
        assert_eq!(unknown, ["NOSUCH"]);
    }
}
