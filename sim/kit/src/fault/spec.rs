//! A fault with everything that was chosen about it.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Map, Value};

use super::{Drawn, FaultKind, FaultRow, Kind, Lasting, Param, SymbolNames};

/// A fault and its parameters. What is not chosen is as the table says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultSpec<F> {
    fault: F,
    chosen: BTreeMap<Param, Chosen>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Chosen {
    Number(u64),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
}

/// Why a fault cannot be had like this.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpecError {
    /// There is no such fault.
    #[error("no fault is called {0:?}")]
    NoSuchFault(String),
    /// What should describe the parameters is no JSON object.
    #[error("parameters of {0} are a JSON object")]
    NoObject(&'static str),
    /// This fault has no such parameter.
    #[error("{fault} has no parameter {param:?}")]
    NoSuchParam {
        /// The fault.
        fault: &'static str,
        /// What was given.
        param: String,
    },
    /// The parameter cannot be this.
    #[error("{param} of {fault} is {wanted}")]
    Unusable {
        /// The fault.
        fault: &'static str,
        /// The parameter.
        param: &'static str,
        /// What it has to be.
        wanted: String,
    },
}

impl<F: FaultKind> From<F> for FaultSpec<F> {
    /// The fault with nothing chosen.
    fn from(fault: F) -> Self {
        Self { fault, chosen: BTreeMap::new() }
    }
}

impl<F: FaultKind> FaultSpec<F> {
    /// Reads the parameters of a fault; JSON null means none.
    ///
    /// # Errors
    /// [`SpecError`] where a parameter is unknown or out of bounds.
    pub fn read(fault: F, params: &Value) -> Result<Self, SpecError> {
        let name = fault.row().name;
        let empty = Map::new();
        let params = match params {
            Value::Null => &empty,
            Value::Object(params) => params,
            _ => return Err(SpecError::NoObject(name)),
        };
        params.iter().try_fold(Self::from(fault), |spec, (param, value)| spec.choosing(param, value))
    }

    /// Reads a fault by its name.
    ///
    /// # Errors
    /// [`SpecError`] where there is no such fault, or a parameter is unknown or out of bounds.
    pub fn named(name: &str, params: &Value) -> Result<Self, SpecError> {
        let row = F::named(name).ok_or_else(|| SpecError::NoSuchFault(name.to_owned()))?;
        Self::read(row.fault, params)
    }

    /// The same with one parameter chosen; for tests and worlds that build faults in code.
    ///
    /// # Errors
    /// [`SpecError`] where this fault does not have the parameter or it cannot be this.
    pub fn with(self, param: Param, value: impl Into<Value>) -> Result<Self, SpecError> {
        self.choosing(param.name(), &value.into())
    }

    /// The same, over by itself after this time; a fault that happens once is over anyway.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        if self.fault.row().lasting == Lasting::UntilSwitchedOff {
            let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.chosen.insert(Param::ForMs, Chosen::Number(ms.max(1)));
        }
        self
    }

    /// Draws a fault with parameters by chance: any fault, each with values a client has to live with and
    /// recovers from once it is over.
    pub fn draw(rng: &mut Rng, symbols: &(impl SymbolNames + ?Sized)) -> Self {
        let row = &F::TABLE[rng.usize(..F::TABLE.len())];
        Self::draw_of(rng, row.fault, symbols)
    }

    /// Draws the parameters of one fault.
    pub fn draw_of(rng: &mut Rng, fault: F, symbols: &(impl SymbolNames + ?Sized)) -> Self {
        let row = fault.row();
        let mut spec = Self::from(fault);
        for param in row.params {
            let drawn = fault.drawn(param.param);
            if drawn != Drawn::Always && rng.u8(..100) < 40 || drawn == Drawn::Never {
                continue;
            }
            let chosen = match param.kind {
                // About what is usual, in both directions; a bound of chance keeps bursts and waits lively.
                Kind::Number { default, min, max } => {
                    let usual = default.max(1);
                    Chosen::Number(rng.u64((usual / 8).max(min)..=usual.saturating_mul(2).clamp(min, max)))
                }
                Kind::Flag(_) => Chosen::Flag(rng.bool()),
                Kind::Text(_) => continue,
                Kind::OneOf(words) => Chosen::Text(words[rng.usize(..words.len())].to_owned()),
                Kind::Request => {
                    let all = F::requests();
                    Chosen::Text(all[rng.usize(..all.len())].to_owned())
                }
                Kind::Symbols => {
                    let some = (0..rng.usize(1..=3))
                        .map(|_| symbols.name_at(rng.usize(..symbols.count())).to_owned());
                    Chosen::Texts(some.collect())
                }
            };
            spec.chosen.insert(param.param, chosen);
        }
        spec
    }

    /// Which fault it is.
    pub fn fault(&self) -> F {
        self.fault
    }

    /// What is known about the fault.
    pub fn row(&self) -> &'static FaultRow<F> {
        self.fault.row()
    }

    /// Names of symbols the venue does not have.
    pub fn unknown_symbols(&self, symbols: &(impl SymbolNames + ?Sized)) -> Vec<String> {
        let known = |name: &String| symbols.position_of(name).is_some();
        self.texts(Param::Symbols).iter().filter(|name| !known(name)).cloned().collect()
    }

    /// What was chosen, as JSON; read back it gives the same.
    pub fn params(&self) -> Value {
        let value = |chosen: &Chosen| match chosen {
            Chosen::Number(number) => Value::from(*number),
            Chosen::Flag(flag) => Value::from(*flag),
            Chosen::Text(text) => Value::from(text.as_str()),
            Chosen::Texts(texts) => Value::from(texts.clone()),
        };
        self.chosen.iter().map(|(param, chosen)| (param.name().to_owned(), value(chosen))).collect()
    }

    /// How long a lasting fault lasts; `None` = until switched off.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.number(Param::ForMs)).filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// A number; 0 where the fault has no such parameter.
    pub fn number(&self, param: Param) -> u64 {
        match (self.chosen.get(&param), self.kind(param)) {
            (Some(Chosen::Number(number)), _) => *number,
            (_, Some(Kind::Number { default, .. })) => default,
            _ => 0,
        }
    }

    /// How many.
    pub fn count(&self) -> usize {
        usize::try_from(self.number(Param::Count)).unwrap_or(usize::MAX)
    }

    /// A number of milliseconds.
    pub fn millis(&self, param: Param) -> Duration {
        Duration::from_millis(self.number(param))
    }

    /// A yes or no; no where the fault has no such parameter.
    pub fn flag(&self, param: Param) -> bool {
        match (self.chosen.get(&param), self.kind(param)) {
            (Some(Chosen::Flag(flag)), _) => *flag,
            (_, Some(Kind::Flag(default))) => default,
            _ => false,
        }
    }

    /// The text of a parameter; empty where none was chosen and none is usual.
    pub fn text(&self, param: Param) -> &str {
        match (self.chosen.get(&param), self.kind(param)) {
            (Some(Chosen::Text(text)), _) => text,
            (_, Some(Kind::Text(default))) => default,
            (_, Some(Kind::OneOf(words))) => words.first().copied().unwrap_or_default(),
            _ => "",
        }
    }

    /// A list of names; none where none was chosen.
    pub fn texts(&self, param: Param) -> &[String] {
        match self.chosen.get(&param) {
            Some(Chosen::Texts(texts)) => texts,
            _ => &[],
        }
    }

    fn kind(&self, param: Param) -> Option<Kind> {
        self.fault.row().param(param).map(|row| row.kind)
    }

    fn choosing(mut self, name: &str, value: &Value) -> Result<Self, SpecError> {
        let fault = self.fault.row();
        let row = Param::ALL.iter().find(|param| param.name() == name).and_then(|param| fault.param(*param));
        let Some(row) = row else {
            return Err(SpecError::NoSuchParam { fault: fault.name, param: name.to_owned() });
        };
        let unusable =
            |wanted: String| SpecError::Unusable { fault: fault.name, param: row.param.name(), wanted };
        let short = |text: &&str| text.len() <= F::TEXT_BYTES_MAX;
        let chosen = match row.kind {
            Kind::Number { min, max, .. } => {
                let number = value.as_u64().filter(|number| (min..=max).contains(number));
                Chosen::Number(number.ok_or_else(|| unusable(format!("a number from {min} to {max}")))?)
            }
            Kind::Flag(_) => Chosen::Flag(value.as_bool().ok_or_else(|| unusable("true or false".into()))?),
            Kind::Text(_) => {
                let text = value.as_str().filter(short);
                Chosen::Text(text.ok_or_else(|| unusable("a short text".into()))?.to_owned())
            }
            Kind::OneOf(words) => {
                let word = value.as_str().filter(|word| words.contains(word));
                let word = word.ok_or_else(|| unusable(format!("one of {}", words.join(", "))))?;
                Chosen::Text(word.to_owned())
            }
            Kind::Request => {
                let known = F::requests();
                let word = value.as_str().filter(|word| known.contains(word));
                let word = word.ok_or_else(|| unusable(format!("one of {}", known.join(", "))))?;
                Chosen::Text(word.to_owned())
            }
            Kind::Symbols => {
                let names = value.as_array().filter(|names| !names.is_empty());
                let names = names.and_then(|names| {
                    names.iter().map(|name| name.as_str().filter(short).map(str::to_owned)).collect()
                });
                Chosen::Texts(names.ok_or_else(|| unusable("a list of names".into()))?)
            }
        };
        self.chosen.insert(row.param, chosen);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fault::table::tests::{Places, Weather};

    #[test]
    fn what_is_chosen_is_read_and_shown_again_and_the_rest_is_as_the_table_says() {
        let params = json!({ "for_ms": 1500, "request": "walk", "delay_ms": 20 });
        let spec = FaultSpec::<Weather>::named("fog", &params).unwrap();
        assert_eq!(spec.params(), params);
        assert_eq!(spec.duration(), Some(Duration::from_millis(1_500)));
        assert_eq!(spec.millis(Param::DelayMs), Duration::from_millis(20));
        assert_eq!((spec.count(), spec.text(Param::Request)), (0, "walk"));
        let usual = FaultSpec::from(Weather::Storm);
        assert!(usual.flag(Param::CarriedOut) && !usual.flag(Param::Closes));
        assert_eq!((usual.text(Param::Reason), usual.text(Param::Layer)), ("low pressure", "low"));
        assert_eq!((usual.number(Param::Bytes), usual.number(Param::PerS)), (4_000, 0));
        assert_eq!(usual.clone().lasting(Duration::from_secs(1)), usual);
        let rain = FaultSpec::from(Weather::Rain).lasting(Duration::from_secs(1));
        assert_eq!(rain.duration(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_a_fault_does_not_have_or_cannot_be_is_refused_by_name() {
        for (fault, params, words) in [
            ("earthquake", json!({}), "earthquake"),
            ("storm", json!({ "for_ms": 5 }), "for_ms"),
            ("ice", json!({ "symbols": [] }), "a list of names"),
            ("ice", json!({ "symbols": [7] }), "a list of names"),
            ("ice", json!({ "nonsense": 1 }), "nonsense"),
            ("ice", json!(["north"]), "JSON object"),
            ("storm", json!({ "bytes": 0 }), "a number from 1 to"),
            ("storm", json!({ "bytes": -4 }), "a number from 1 to"),
            ("fog", json!({ "request": "fly" }), "drive, walk"),
            ("storm", json!({ "layer": "third" }), "low, high"),
            ("storm", json!({ "reason": "x".repeat(17) }), "a short text"),
            ("storm", json!({ "closes": "yes" }), "true or false"),
        ] {
            let error = FaultSpec::<Weather>::named(fault, &params).unwrap_err().to_string();
            assert!(error.contains(words), "{fault} {params}: {error}");
        }
    }

    #[test]
    fn a_draw_is_repeated_by_its_seed_and_always_readable() {
        let draws = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..2_000).map(|_| FaultSpec::<Weather>::draw(&mut rng, &Places)).collect::<Vec<_>>()
        };
        assert_eq!(draws(3), draws(3));
        assert_ne!(draws(3), draws(4));
        let mut chosen = std::collections::BTreeSet::new();
        for spec in draws(5) {
            assert_eq!(FaultSpec::read(spec.fault(), &spec.params()).unwrap(), spec);
            assert!(spec.unknown_symbols(&Places).is_empty());
            assert!(spec.fault() != Weather::Ice || !spec.texts(Param::Symbols).is_empty());
            chosen.extend(spec.chosen.into_keys());
        }
        let drawn = [
            Param::Count,
            Param::DelayMs,
            Param::Bytes,
            Param::Symbols,
            Param::Request,
            Param::Layer,
            Param::Closes,
        ];
        assert_eq!(chosen.into_iter().collect::<Vec<_>>(), drawn);
    }
}
