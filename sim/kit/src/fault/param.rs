//! What can be chosen about a fault: names, kinds and bounds, as data.

use serde_json::{Value, json};

macro_rules! params {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// A parameter of a fault. One name means one thing, in one unit, at every venue.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Param {
            $($(#[$doc])* $variant,)+
        }

        impl Param {
            /// Every parameter there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

params! {
    /// How long a lasting fault lasts, milliseconds.
    ForMs = "for_ms",
    /// How many.
    Count = "count",
    /// How late, milliseconds.
    DelayMs = "delay_ms",
    /// How late, seconds.
    DelayS = "delay_s",
    /// How often, milliseconds.
    EveryMs = "every_ms",
    /// How far, milliseconds.
    ByMs = "by_ms",
    /// How far away an end is said to be, milliseconds.
    EndInMs = "end_in_ms",
    /// A wait told to the client, seconds.
    RetryAfterS = "retry_after_s",
    /// Requests per second.
    PerS = "per_s",
    /// Bytes per second.
    BytesPerS = "bytes_per_s",
    /// A length in bytes.
    Bytes = "bytes",
    /// How far, percent of the price.
    Percent = "percent",
    /// Names of symbols.
    Symbols = "symbols",
    /// The name of a request.
    Request = "request",
    /// An error code or a status.
    Code = "code",
    /// Free text.
    Reason = "reason",
    /// Free text that goes with a reason.
    Info = "info",
    /// A whole payload.
    Payload = "payload",
    /// Which layer answers.
    Layer = "layer",
    /// Which of some ways.
    Which = "which",
    /// What changes.
    Change = "change",
    /// A name.
    Name = "name",
    /// Which part takes effect.
    Effect = "effect",
    /// Down, not up.
    Down = "down",
    /// Whether the socket is closed, too.
    Closes = "closes",
    /// Whether an event names nobody.
    EmptyList = "empty_list",
    /// Whether sessions really end.
    EndsSession = "ends_session",
    /// Whether sessions end when it begins.
    Disconnects = "disconnects",
    /// Whether the request is carried out.
    CarriedOut = "carried_out",
    /// Whether the venue counts it as still subscribed.
    Held = "held",
}

/// What a parameter may be, and what it is where nothing is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A whole number within bounds.
    Number {
        /// Where nothing is said.
        default: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Yes or no; this is meant where nothing is said.
    Flag(bool),
    /// Any text; this is meant where nothing is said.
    Text(&'static str),
    /// One of these words; the first is meant where nothing is said.
    OneOf(&'static [&'static str]),
    /// The name of a request; none where nothing is said.
    Request,
    /// Names of symbols; none where nothing is said.
    Symbols,
}

/// A parameter as one fault has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParamRow {
    /// Which one.
    pub param: Param,
    /// What it may be.
    pub kind: Kind,
    /// What it does, in a few words.
    pub meaning: &'static str,
}

/// A row of a table.
pub const fn param(param: Param, kind: Kind, meaning: &'static str) -> ParamRow {
    ParamRow { param, kind, meaning }
}

/// A whole number, its default and its bounds.
pub const fn number(default: u64, min: u64, max: u64) -> Kind {
    Kind::Number { default, min, max }
}

impl ParamRow {
    /// The row as JSON, for people and programs that want to choose.
    pub fn shown(&self) -> Value {
        let mut shown = match self.kind {
            Kind::Number { default, min, max } => {
                json!({ "type": "number", "default": default, "min": min, "max": max })
            }
            Kind::Flag(default) => json!({ "type": "boolean", "default": default }),
            Kind::Text(default) => json!({ "type": "string", "default": default }),
            Kind::OneOf(words) => {
                json!({ "type": "string", "default": words.first(), "one_of": words })
            }
            Kind::Request => json!({ "type": "string", "default": null }),
            Kind::Symbols => json!({ "type": "array of strings", "default": [] }),
        };
        shown["meaning"] = self.meaning.into();
        shown
    }

    /// The row in a page for people: its name, its default, what it does.
    pub(crate) fn told(&self) -> String {
        let default = match self.kind {
            Kind::Number { default, .. } => format!(" = {default}"),
            Kind::Flag(default) => format!(" = {default}"),
            Kind::Text("") | Kind::Request | Kind::Symbols => String::new(),
            Kind::Text(default) => format!(" = `{default}`"),
            Kind::OneOf(words) => format!(" = `{}`", words.join("` or `")),
        };
        format!("`{}`{default}: {}", self.param.name(), self.meaning)
    }
}
