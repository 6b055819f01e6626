//! A venue's table of faults: one row for each, and what can be asked of a row.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::{Kind, Param, ParamRow, number, param};

/// Something a venue can do wrong on demand: an enum of at most 64 variants, and a table that says what each does.
pub trait FaultKind: Copy + Ord + Debug + Send + Sync + 'static {
    /// Every fault there is, in the order of [`FaultKind::index`].
    const TABLE: &'static [FaultRow<Self>];
    /// Longest text a parameter may be, in bytes.
    const TEXT_BYTES_MAX: usize;

    /// Its place in the table.
    fn index(self) -> usize;

    /// The requests that faults can be about, by the names the venue has for them.
    fn requests() -> Vec<&'static str>;

    /// Whether its `count` is how many requests it acts on, after which it is over.
    fn counts_requests(self) -> bool;

    /// How a parameter is chosen where the fault is drawn by chance.
    fn drawn(self, _param: Param) -> Drawn {
        Drawn::ByChance
    }

    /// The fault of this name.
    fn named(name: &str) -> Option<&'static FaultRow<Self>> {
        Self::TABLE.iter().find(|row| row.name == name)
    }

    /// What is known about this fault.
    fn row(self) -> &'static FaultRow<Self> {
        &Self::TABLE[self.index()]
    }
}

/// How a parameter is chosen by chance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drawn {
    /// Often left as it is, else anything a client has to live with.
    ByChance,
    /// Always something.
    Always,
    /// Never: other values are beyond what a client recovers from.
    Never,
}

/// How long a fault lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// Happens when asked for and is over.
    Once,
    /// Stays until switched off, or until its `for_ms` have passed or its `count` is used up.
    UntilSwitchedOff,
}

/// What is known about a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultRow<F> {
    /// The fault.
    pub fault: F,
    /// Its name on the admin port and in scenarios.
    pub name: &'static str,
    /// How long it lasts.
    pub lasting: Lasting,
    /// What it does, in a sentence.
    pub effect: &'static str,
    /// What can be chosen about it. A lasting fault takes `for_ms` besides.
    pub params: &'static [ParamRow],
}

/// A row of a fault that happens when asked for and is over.
pub const fn once<F: Copy>(
    fault: F,
    name: &'static str,
    params: &'static [ParamRow],
    effect: &'static str,
) -> FaultRow<F> {
    FaultRow { fault, name, lasting: Lasting::Once, effect, params }
}

/// A row of a fault that stays until it is switched off.
pub const fn lasting<F: Copy>(
    fault: F,
    name: &'static str,
    params: &'static [ParamRow],
    effect: &'static str,
) -> FaultRow<F> {
    FaultRow { fault, name, lasting: Lasting::UntilSwitchedOff, effect, params }
}

impl<F> FaultRow<F> {
    /// What can be chosen about a parameter; `None` where this fault does not have it.
    pub fn param(&self, param: Param) -> Option<&'static ParamRow> {
        if param == Param::ForMs && self.lasting == Lasting::UntilSwitchedOff {
            return Some(&FOR_MS);
        }
        self.params.iter().find(|row| row.param == param)
    }
}

impl<F> FaultRow<F> {
    /// The row as a page for people has it: name, how long it lasts, effect, what can be chosen.
    fn told(&self) -> String {
        let lasts = match self.lasting {
            Lasting::Once => "once",
            Lasting::UntilSwitchedOff => "until off",
        };
        let mut params: Vec<String> = self.params.iter().map(ParamRow::told).collect();
        params.sort_unstable();
        format!("| `{}` | {lasts} | {} | {} |", self.name, self.effect, params.join("; "))
    }
}

static FOR_MS: ParamRow = param(
    Param::ForMs,
    number(0, 0, 604_800_000),
    "how long until it is over by itself, in ms; 0 = until switched off",
);

/// What is wrong with a venue's table, or with the Markdown page that lists its faults; for the venue's tests.
pub fn flaws<F: FaultKind>(page: &str) -> Vec<String> {
    let mut flaws = Vec::new();
    let mut names = BTreeSet::new();
    for (at, row) in F::TABLE.iter().enumerate() {
        let name = row.name;
        if row.fault.index() != at || at >= 64 {
            flaws.push(format!("{name} is not in its place"));
        }
        if !names.insert(name) {
            flaws.push(format!("{name} stands twice"));
        }
        let params: BTreeSet<Param> = row.params.iter().map(|row| row.param).collect();
        if params.len() != row.params.len() || params.contains(&Param::ForMs) {
            flaws.push(format!("{name} has a parameter twice"));
        }
        let default = |kind: Kind| match kind {
            Kind::Number { default, min, max } => (min..=max).contains(&default),
            Kind::OneOf(words) => !words.is_empty(),
            Kind::Text(text) => text.len() <= F::TEXT_BYTES_MAX,
            Kind::Flag(_) | Kind::Request | Kind::Symbols => true,
        };
        flaws.extend(
            row.params
                .iter()
                .filter(|row| !default(row.kind))
                .map(|row| format!("{name} cannot have its own default of {}", row.param.name())),
        );
        let told = row.told();
        if !page.lines().any(|line| line == told) {
            flaws.push(format!("the page does not say {told}"));
        }
    }
    flaws
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fault::SymbolNames;

    /// Faults for the tests of this crate.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub(crate) enum Weather {
        Storm,
        Fog,
        Ice,
        Rain,
    }

    const SYMBOLS: ParamRow = param(Param::Symbols, Kind::Symbols, "where");
    const TIMES: ParamRow = param(Param::Count, number(0, 0, 9), "how many");

    impl FaultKind for Weather {
        const TABLE: &'static [FaultRow<Self>] = &[
            once(
                Self::Storm,
                "storm",
                &[
                    param(Param::Bytes, number(4_000, 1, 5_000), "how strong"),
                    param(Param::Reason, Kind::Text("low pressure"), "why"),
                    param(Param::Closes, Kind::Flag(false), "everything"),
                    param(Param::CarriedOut, Kind::Flag(true), "never drawn"),
                    param(Param::Layer, Kind::OneOf(&["low", "high"]), "where"),
                ],
                "trees fall",
            ),
            lasting(
                Self::Fog,
                "fog",
                &[
                    TIMES,
                    param(Param::Request, Kind::Request, "on what"),
                    param(Param::DelayMs, number(3_000, 1, 9_000), "how late"),
                ],
                "nobody sees",
            ),
            lasting(Self::Ice, "ice", &[SYMBOLS, TIMES], "nobody moves"),
            lasting(Self::Rain, "rain", &[], "all is wet"),
        ];
        const TEXT_BYTES_MAX: usize = 16;

        fn index(self) -> usize {
            self as usize
        }

        fn requests() -> Vec<&'static str> {
            vec!["drive", "walk"]
        }

        fn counts_requests(self) -> bool {
            self == Self::Fog
        }

        fn drawn(self, param: Param) -> Drawn {
            match (self, param) {
                (Self::Ice, Param::Symbols) => Drawn::Always,
                (_, Param::CarriedOut) => Drawn::Never,
                _ => Drawn::ByChance,
            }
        }
    }

    /// Names for the tests of this crate.
    pub(crate) struct Places;

    const PLACES: [&str; 3] = ["north", "south", "west"];

    impl SymbolNames for Places {
        fn count(&self) -> usize {
            PLACES.len()
        }

        fn name_at(&self, position: usize) -> &str {
            PLACES[position]
        }

        fn position_of(&self, name: &str) -> Option<usize> {
            PLACES.iter().position(|place| *place == name)
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    enum Muddle {
        One,
        Two,
    }

    impl FaultKind for Muddle {
        const TABLE: &'static [FaultRow<Self>] = &[
            once(Self::Two, "two", &[TIMES, TIMES], "a"),
            once(Self::One, "two", &[param(Param::Bytes, number(5, 6, 7), "b")], "c"),
        ];
        const TEXT_BYTES_MAX: usize = 1;

        fn index(self) -> usize {
            self as usize
        }

        fn requests() -> Vec<&'static str> {
            Vec::new()
        }

        fn counts_requests(self) -> bool {
            false
        }
    }

    #[test]
    fn a_good_table_on_its_page_has_no_flaws_and_a_muddled_one_has_each_of_them() {
        let page = "\
| `storm` | once | trees fall | `bytes` = 4000: how strong; `carried_out` = true: never drawn; `closes` = false: everything; \
`layer` = `low` or `high`: where; `reason` = `low pressure`: why |
| `fog` | until off | nobody sees | `count` = 0: how many; `delay_ms` = 3000: how late; `request`: on what |
| `ice` | until off | nobody moves | `count` = 0: how many; `symbols`: where |
| `rain` | until off | all is wet |  |
";
        assert_eq!(flaws::<Weather>(page), Vec::<String>::new());
        assert_eq!(flaws::<Weather>(&page.replace("3000", "2000")).len(), 1);
        let all = flaws::<Muddle>(page).join("; ");
        for words in [
            "two is not in its place",
            "two stands twice",
            "two has a parameter twice",
            "two cannot have its own default of bytes",
            "the page does not say | `two` | once | a |",
        ] {
            assert!(all.contains(words), "{all}");
        }
    }

    #[test]
    fn rows_are_found_by_name_and_every_lasting_one_takes_a_time() {
        assert_eq!(Weather::named("ice").map(|row| row.fault), Some(Weather::Ice));
        assert_eq!(Weather::named("hail"), None);
        for row in Weather::TABLE {
            assert_eq!(row.fault.row(), row);
            assert_eq!(row.param(Param::ForMs).is_some(), row.lasting == Lasting::UntilSwitchedOff);
        }
    }
}
