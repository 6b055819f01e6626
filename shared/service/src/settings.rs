use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

/// Reads settings from environment variables: remembers each variable it was asked for (that is `--help`) and every
/// problem it met (all of them are reported at once).
///
/// A variable set to the empty string counts as unset. So that `--help` is complete, read every variable always, and
/// check afterwards with [`Reader::problem`] whether they fit together.
#[derive(Default)]
pub struct Reader {
    values: BTreeMap<String, String>,
    declared: Vec<Declared>,
    problems: Vec<String>,
}

/// One variable as `--help` shows it.
struct Declared {
    name: &'static str,
    default: String,
    help: String,
}

/// The longest piece of a wrong value that a problem repeats.
const SHOWN_CHARS_MAX: usize = 60;

impl Reader {
    /// Reads from the given pairs and nothing else.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, ..Self::default() }
    }

    /// Reads from the environment and, for what it does not set, from the file `env_file` where that exists.
    ///
    /// A variable set to nothing in the environment hides the one in the file. The environment of the process itself is
    /// not changed.
    pub(crate) fn from_environment(env_file: &Path) -> Self {
        let mut reader = Self::default();
        match dotenvy::from_path_iter(env_file) {
            Ok(lines) => {
                for (index, line) in lines.enumerate() {
                    match line {
                        Ok((name, value)) => _ = reader.values.insert(name, value),
                        // The error repeats the line, which may hold a secret.
                        Err(_) => reader
                            .problem(".env", format!("entry {} is not NAME=value (quote spaces)", index + 1)),
                    }
                }
            }
            Err(error) if error.not_found() => {}
            Err(_) => reader.problem(".env", "the file cannot be read"),
        }
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            // A value that is not text becomes one that no setting accepts silently: the replacement character stays.
            reader.values.insert(name.to_owned(), value.to_string_lossy().into_owned());
        }
        reader
    }

    /// A text with a default.
    pub fn text(&mut self, name: &'static str, default: &'static str, help: &'static str) -> String {
        self.declare(name, if default.is_empty() { "unset" } else { default }, help);
        self.value(name).unwrap_or(default).to_owned()
    }

    /// A text that may be absent; an empty `default` is none.
    pub fn optional(
        &mut self,
        name: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Option<String> {
        self.declare(name, if default.is_empty() { "unset" } else { default }, help);
        let value = self.value(name).unwrap_or(default);
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// A text that must be set; where it is not, records the problem and returns an empty text.
    pub fn required(&mut self, name: &'static str, help: &'static str) -> String {
        self.declare(name, "required", help);
        self.value_or_problem(name).unwrap_or_default()
    }

    /// A secret that must be set. Its value is never shown.
    pub fn secret(&mut self, name: &'static str, help: &'static str) -> SecretString {
        self.declare(name, "required", format!("{help} (secret)"));
        SecretString::from(self.value_or_problem(name).unwrap_or_default())
    }

    /// A secret that may be absent. Its value is never shown.
    pub fn optional_secret(&mut self, name: &'static str, help: &'static str) -> Option<SecretString> {
        self.declare(name, "unset", format!("{help} (secret)"));
        self.value(name).map(SecretString::from)
    }

    /// A whole number in `range`, `unit` saying of what (`"ms"`, `"bytes"`, or empty for a count).
    pub fn number<T: FromStr + PartialOrd + Display + Copy>(
        &mut self,
        name: &'static str,
        default: T,
        range: RangeInclusive<T>,
        unit: &'static str,
        help: &'static str,
    ) -> T {
        let shown = if unit.is_empty() { default.to_string() } else { format!("{default} {unit}") };
        self.declare(name, shown, help);
        self.parse_number(name, &range, unit).unwrap_or(default)
    }

    /// A whole number that must be set; where it is not usable, records the problem and returns the start of the range.
    pub fn required_number<T: FromStr + PartialOrd + Display + Copy>(
        &mut self,
        name: &'static str,
        range: RangeInclusive<T>,
        help: &'static str,
    ) -> T {
        self.declare(name, "required", help);
        if self.value_or_problem(name).is_none() {
            return *range.start();
        }
        self.parse_number(name, &range, "").unwrap_or(*range.start())
    }

    /// A time in milliseconds.
    pub fn millis(
        &mut self,
        name: &'static str,
        default_ms: u64,
        range: RangeInclusive<u64>,
        help: &'static str,
    ) -> Duration {
        Duration::from_millis(self.number(name, default_ms, range, "ms", help))
    }

    /// An address to listen on or to reach, such as `127.0.0.1:8080`.
    ///
    /// # Panics
    /// Where `default` is not an address; that is a mistake in the program.
    pub fn address(&mut self, name: &'static str, default: &'static str, help: &'static str) -> SocketAddr {
        self.declare(name, default, help);
        let fallback = default.parse().expect("the default is an address");
        let Some(value) = self.value(name) else { return fallback };
        if let Ok(address) = value.parse() {
            return address;
        }
        let text = format!("{} is not an address like 127.0.0.1:8080", shown(value));
        self.problem(name, text);
        fallback
    }

    /// A file or directory that may be absent. Whether it exists is for the user of the path to find out.
    pub fn path(&mut self, name: &'static str, help: &'static str) -> Option<PathBuf> {
        self.declare(name, "unset", help);
        self.value(name).map(PathBuf::from)
    }

    /// One of a few words.
    pub fn choice(
        &mut self,
        name: &'static str,
        options: &[&'static str],
        default: &'static str,
        help: &'static str,
    ) -> &'static str {
        self.declare(name, default, format!("{help} ({})", options.join(", ")));
        let Some(value) = self.value(name) else { return default };
        if let Some(option) = options.iter().find(|option| **option == value) {
            return option;
        }
        let text = format!("{} is not one of {}", shown(value), options.join(", "));
        self.problem(name, text);
        default
    }

    /// A switch: `true`, `1`, `yes`, `on` or `false`, `0`, `no`, `off`.
    pub fn flag(&mut self, name: &'static str, default: bool, help: &'static str) -> bool {
        self.declare(name, default.to_string(), help);
        let Some(value) = self.value(name) else { return default };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                let text = format!("{} is not true or false", shown(value));
                self.problem(name, text);
                default
            }
        }
    }

    /// Whether a variable is set, be it to its default: for one that takes the place of another.
    pub fn is_set(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Records a problem, for example of two variables that exclude each other. `text` must not hold a secret.
    pub fn problem(&mut self, name: &str, text: impl Into<String>) {
        self.problems.push(format!("{name}: {}", text.into()));
    }

    /// Every problem met so far, each beginning with the variable's name.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The variables asked for so far, one line or more each: name, default with unit, meaning.
    pub(crate) fn help(&self) -> String {
        let widest = |width: fn(&Declared) -> usize| self.declared.iter().map(width).max().unwrap_or(0);
        let name_width = widest(|variable| variable.name.len());
        let default_width = widest(|variable| variable.default.len()).min(28);
        let mut text = String::new();
        for Declared { name, default, help } in &self.declared {
            let _ = writeln!(text, "  {name:name_width$}  {default:default_width$}  {help}");
        }
        text
    }

    fn declare(&mut self, name: &'static str, default: impl Into<String>, help: impl Into<String>) {
        if !self.declared.iter().any(|variable| variable.name == name) {
            self.declared.push(Declared { name, default: default.into(), help: help.into() });
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn value_or_problem(&mut self, name: &str) -> Option<String> {
        let value = self.value(name).map(str::to_owned);
        if value.is_none() {
            self.problem(name, "is required and not set");
        }
        value
    }

    fn parse_number<T: FromStr + PartialOrd + Display>(
        &mut self,
        name: &str,
        range: &RangeInclusive<T>,
        unit: &str,
    ) -> Option<T> {
        let value = self.value(name)?;
        let number = value.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (start, end) = (range.start(), range.end());
            let text = format!("{} is not a whole number from {start} to {end} {unit}", shown(value));
            self.problem(name, text.trim_end());
        }
        number
    }
}

/// A wrong value as a problem repeats it: quoted, on one line, not endless.
fn shown(value: &str) -> String {
    let short: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    let dots = if short.len() < value.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn every_problem_is_collected_and_names_its_variable() {
        let mut reader = Reader::from_pairs([
            ("PORT", "70000"),
            ("MODE", "both"),
            ("LISTEN", "here"),
            ("TIMEOUT_MS", "1.5"),
            ("SWITCH", "maybe"),
        ]);
        assert_eq!(reader.number("PORT", 8080_u16, 1..=65535, "", "listener"), 8080);
        assert_eq!(reader.choice("MODE", &["one", "two"], "one", "mode"), "one");
        assert_eq!(reader.address("LISTEN", "127.0.0.1:1", "listener").port(), 1);
        assert_eq!(reader.millis("TIMEOUT_MS", 5, 1..=10, "timeout"), Duration::from_millis(5));
        assert!(!reader.flag("SWITCH", false, "switch"));
        assert_eq!(reader.required("NAME", "name"), "");
        assert_eq!(reader.required_number("COUNT", 3_u64..=9, "count"), 3);
        reader.secret("PASSWORD", "password");
        reader.problem("A, B", "exclude each other");
        assert_eq!(
            reader.problems(),
            [
                "PORT: \"70000\" is not a whole number from 1 to 65535",
                "MODE: \"both\" is not one of one, two",
                "LISTEN: \"here\" is not an address like 127.0.0.1:8080",
                "TIMEOUT_MS: \"1.5\" is not a whole number from 1 to 10 ms",
                "SWITCH: \"maybe\" is not true or false",
                "NAME: is required and not set",
                "COUNT: is required and not set",
                "PASSWORD: is required and not set",
                "A, B: exclude each other",
            ]
        );
    }

    #[test]
    fn values_that_are_set_are_taken() {
        let mut reader = Reader::from_pairs([
            ("PORT", "1"),
            ("MODE", "two"),
            ("LISTEN", "[::1]:9"),
            ("SWITCH", "ON"),
            ("COUNT", "-4"),
            ("FILE", "/tmp/x y"),
            ("TOKEN", "hush"),
        ]);
        assert_eq!(reader.number("PORT", 8080_u16, 1..=65535, "", ""), 1);
        assert_eq!(reader.choice("MODE", &["one", "two"], "one", ""), "two");
        assert_eq!(reader.address("LISTEN", "127.0.0.1:1", "").to_string(), "[::1]:9");
        assert!(reader.flag("SWITCH", false, ""));
        assert_eq!(reader.required_number("COUNT", i64::MIN..=i64::MAX, ""), -4);
        assert_eq!(reader.path("FILE", ""), Some(PathBuf::from("/tmp/x y")));
        assert_eq!(reader.secret("TOKEN", "").expose_secret(), "hush");
        assert_eq!(reader.problems(), [] as [&str; 0]);
    }

    #[test]
    fn an_empty_value_counts_as_unset() {
        let mut reader = Reader::from_pairs([("A", ""), ("B", ""), ("C", ""), ("D", "")]);
        assert_eq!(reader.text("A", "default", ""), "default");
        assert_eq!(reader.optional("B", "", ""), None);
        assert!(reader.optional_secret("C", "").is_none());
        assert_eq!(reader.path("D", ""), None);
        assert_eq!(reader.optional("B", "x", "").as_deref(), Some("x"));
        assert_eq!(reader.problems(), [] as [&str; 0]);
    }

    #[test]
    fn help_shows_each_variable_once_with_default_and_unit() {
        let mut reader = Reader::from_pairs([("SIZE", "12"), ("TOKEN", "hush")]);
        reader.number("SIZE", 65536_u32, 1..=1_000_000, "bytes", "longest message");
        reader.number("SIZE", 65536_u32, 1..=1_000_000, "bytes", "longest message");
        reader.optional_secret("TOKEN", "the token");
        assert_eq!(
            reader.help(),
            "  SIZE   65536 bytes  longest message\n  TOKEN  unset        the token (secret)\n"
        );
    }

    #[test]
    fn a_long_or_ugly_value_is_shown_short_and_on_one_line() {
        let mut reader = Reader::from_pairs([("N", format!("\n{}", "9".repeat(5000)))]);
        reader.number("N", 1_u8, 0..=9, "", "");
        let problem = &reader.problems()[0];
        assert!(problem.starts_with("N: \"\\n999") && problem.len() < 160, "{problem}");
    }

    #[test]
    fn the_env_file_is_read_and_the_environment_wins() {
        let file = std::env::temp_dir().join(format!("tickcast-env-{}", fastrand::u64(..)));
        // PATH is set in every environment that runs cargo.
        let text = "# comment\nTICKCAST_TEST_A=one\nexport TICKCAST_TEST_B='two words $X'\nPATH=file\n";
        std::fs::write(&file, text).unwrap();
        let mut reader = Reader::from_environment(&file);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(reader.required("TICKCAST_TEST_A", ""), "one");
        assert_eq!(reader.required("TICKCAST_TEST_B", ""), "two words $X");
        assert_ne!(reader.required("PATH", ""), "file");
        assert_eq!(reader.problems(), [] as [&str; 0]);
    }

    #[test]
    fn a_broken_env_file_is_a_problem_that_does_not_repeat_the_line() {
        let file = std::env::temp_dir().join(format!("tickcast-env-{}", fastrand::u64(..)));
        std::fs::write(&file, "GOOD=1\nTOKEN=hush hush\n").unwrap();
        let reader = Reader::from_environment(&file);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(reader.problems(), [".env: entry 2 is not NAME=value (quote spaces)"]);
    }

    #[test]
    fn no_env_file_is_no_problem() {
        let reader = Reader::from_environment(Path::new("/nonexistent/.env"));
        assert_eq!(reader.problems(), [] as [&str; 0]);
    }
}
