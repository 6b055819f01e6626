//! Field values as the venue writes them (facts 4.1).

use std::sync::Arc;

/// One value of a `qsd`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Number(f64),
    Whole(i64),
    Flag(bool),
    Text(Arc<str>),
    Texts(Arc<[Arc<str>]>),
    /// JSON null: cleared.
    Null,
    /// `1e+100`: there is no value.
    Absent,
}

/// How numbers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Style {
    /// The shortest text, a whole number without its `.0`.
    #[default]
    Plain,
    /// With the noise of binary fractions.
    Noisy,
    /// With an exponent.
    Exponent,
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// The number it is; `None` where it is something else or nothing.
    #[expect(clippy::cast_precision_loss, reason = "counts and times are far below 2^53")]
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Whole(number) => Some(*number as f64),
            _ => None,
        }
    }

    pub(crate) fn write(&self, out: &mut String, style: Style) {
        match self {
            Self::Number(number) => write_number(out, *number, style),
            Self::Whole(number) => out.push_str(&number.to_string()),
            Self::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Text(text) => write_text(out, text),
            Self::Texts(texts) => {
                out.push('[');
                for (at, text) in texts.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_text(out, text);
                }
                out.push(']');
            }
            Self::Null => out.push_str("null"),
            Self::Absent => out.push_str("1e+100"),
        }
    }
}

/// A JSON string; text beyond ASCII stays as it is, as the venue sends it.
pub(crate) fn write_text(out: &mut String, text: &str) {
    // Writing a string into a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// A JSON string of its own.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_text(&mut out, text);
    out
}

fn write_number(out: &mut String, number: f64, style: Style) {
    match style {
        // Whole numbers lose their fraction by themselves.
        Style::Plain => out.push_str(&number.to_string()),
        Style::Noisy => {
            let text = format!("{number:.19}");
            out.push_str(&text);
        }
        Style::Exponent => {
            let text = format!("{number:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            out.push_str(&format!("{digits}e{sign}{exponent:0>2}"));
        }
    }
}

/// A number of a bar: with a fraction even where it is whole (facts 4.2).
pub(crate) fn write_bar_number(out: &mut String, number: f64) {
    out.push_str(&format!("{number:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value, style: Style) -> String {
        let mut out = String::new();
        value.write(&mut out, style);
        out
    }

    #[test]
    fn values_are_written_as_the_captures_show_them() {
        for (value, style, text) in [
            (Value::Number(1.08421), Style::Plain, "1.08421"),
            (Value::Number(61_000.0), Style::Plain, "61000"),
            (Value::Number(0.000_05), Style::Plain, "0.00005"),
            (Value::Number(0.000_05), Style::Exponent, "5e-05"),
            (Value::Number(61_000.5), Style::Exponent, "6.10005e+04"),
            (Value::Number(1.08421), Style::Noisy, "1.0842099999999998960"),
            (Value::Whole(81_234), Style::Noisy, "81234"),
            (Value::Absent, Style::Plain, "1e+100"),
            (Value::Null, Style::Plain, "null"),
            (Value::Flag(true), Style::Plain, "true"),
            (Value::text("삼성 \"전자\" 😀"), Style::Plain, "\"삼성 \\\"전자\\\" 😀\""),
            (Value::Texts(["a".into(), "b".into()].into()), Style::Plain, "[\"a\",\"b\"]"),
        ] {
            assert_eq!(written(&value, style), text);
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn every_style_says_the_same_number() {
        for number in [1.08421, 0.000_05, 123_456.789, -3.25, 0.0, 100.0] {
            for style in [Style::Plain, Style::Noisy, Style::Exponent] {
                let text = written(&Value::Number(number), style);
                assert_eq!(text.parse::<f64>().unwrap(), number, "{text}");
            }
        }
    }

    #[test]
    fn numbers_of_bars_keep_their_fraction() {
        let mut out = String::new();
        write_bar_number(&mut out, 312.0);
        out.push(' ');
        write_bar_number(&mut out, 1_767_225_540.0);
        out.push(' ');
        write_bar_number(&mut out, 1.0841);
        assert_eq!(out, "312.0 1767225540.0 1.0841");
    }
}
