//! A recorded session that is played to every client in place of the market (facts 8).
//!
//! One payload a line, letter by letter as it is framed, after the milliseconds since the client's first quote session
//! was created; `+` instead of a time puts it into the message of the line before. `$QS` stands for the name of that
//! session. Empty lines and those that begin with `#` are passed over.

use std::time::Duration;

/// The most lines a script may have.
pub const SCRIPT_LINES_MAX: usize = 10_000;

/// What to say, and when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Script {
    messages: Vec<(Duration, Vec<String>)>,
}

/// Why a text is no script.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScriptError {
    /// A line does not begin with a time, or with `+` after another line.
    #[error("line {0} is not <ms> <payload> or + <payload>")]
    NoTime(usize),
    /// Times have to grow.
    #[error("line {0} is earlier than the one before")]
    Backwards(usize),
    /// There are too many lines.
    #[error("more than {SCRIPT_LINES_MAX} lines")]
    TooLong,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// [`ScriptError`] with the number of the first line that cannot be meant.
    pub fn read(text: &str) -> Result<Self, ScriptError> {
        let mut messages: Vec<(Duration, Vec<String>)> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let number = at + 1;
            if at >= SCRIPT_LINES_MAX {
                return Err(ScriptError::TooLong);
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (time, payload) = line.split_once(' ').ok_or(ScriptError::NoTime(number))?;
            if time == "+" {
                let (_, together) = messages.last_mut().ok_or(ScriptError::NoTime(number))?;
                together.push(payload.to_owned());
                continue;
            }
            let due = time.parse().map(Duration::from_millis).map_err(|_| ScriptError::NoTime(number))?;
            if messages.last().is_some_and(|(before, _)| *before > due) {
                return Err(ScriptError::Backwards(number));
            }
            messages.push((due, vec![payload.to_owned()]));
        }
        Ok(Self { messages })
    }

    /// The messages for a session: when after its creation, and the payloads.
    pub(crate) fn for_session(&self, session: &str) -> impl Iterator<Item = (Duration, Vec<String>)> {
        self.messages.iter().map(move |(due, payloads)| {
            (*due, payloads.iter().map(|payload| payload.replace("$QS", session)).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_messages_in_their_time() {
        let text = "# recorded\n\n0 {\"m\":\"a\",\"p\":[\"$QS\"]}\n+ ~h~1\n250 {\"m\": \"b\"}\n";
        let script = Script::read(text).unwrap();
        let told: Vec<_> = script.for_session("qs_1").collect();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                (Duration::ZERO, texts(&["{\"m\":\"a\",\"p\":[\"qs_1\"]}", "~h~1"])),
                (Duration::from_millis(250), texts(&["{\"m\": \"b\"}"])),
            ]
        );
    }

    #[test]
    fn what_is_no_script_is_told_with_its_line() {
        assert_eq!(Script::read("0 {}\nsoon {}"), Err(ScriptError::NoTime(2)));
        assert_eq!(Script::read("+ {}"), Err(ScriptError::NoTime(1)));
        assert_eq!(Script::read("7"), Err(ScriptError::NoTime(1)));
        assert_eq!(Script::read("9 {}\n8 {}"), Err(ScriptError::Backwards(2)));
        assert_eq!(Script::read(&"0 {}\n".repeat(SCRIPT_LINES_MAX + 1)), Err(ScriptError::TooLong));
        assert_eq!(Script::read(""), Ok(Script::default()));
    }
}
