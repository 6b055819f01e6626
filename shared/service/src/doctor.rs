use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// How one step of an examination came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As it should be.
    Right,
    /// Worth knowing, and no reason to act.
    Note,
    /// Not as it should be: a person must act.
    Wrong,
    /// Not looked at, because of a step before.
    Skipped,
}

/// What one step of an examination found. It shows as one line, and never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which step, a short lower-case word.
    pub step: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, in words.
    pub words: String,
    /// What to do about it; empty where nothing is.
    pub advice: String,
}

impl Finding {
    /// A finding without advice.
    pub fn new(step: &'static str, verdict: Verdict, words: impl Into<String>) -> Self {
        Self { step, verdict, words: words.into(), advice: String::new() }
    }

    /// Something that must be mended, and how.
    pub fn wrong(step: &'static str, words: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { step, verdict: Verdict::Wrong, words: words.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Right => "ok",
            Verdict::Note => "note",
            Verdict::Wrong => "WRONG",
            Verdict::Skipped => "skipped",
        };
        write!(f, "{verdict:<8}{:<10}", self.step)?;
        one_line(f, &self.words)?;
        if !self.advice.is_empty() {
            f.write_str("; ")?;
            one_line(f, &self.advice)?;
        }
        Ok(())
    }
}

/// What a venue says may hold anything; a line stays one.
fn one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| fmt::Write::write_char(f, if c.is_control() { ' ' } else { c }))
}

/// Where an examination says what it finds. Clones share everything.
#[derive(Clone)]
pub struct Examiner {
    /// True where the person insists on what the examination would rather not do (`--force`).
    pub force: bool,
    told: Arc<Mutex<Told>>,
}

struct Told {
    out: Box<dyn std::io::Write + Send>,
    wrong: bool,
}

impl Examiner {
    /// An examiner that writes a line for each finding.
    pub fn new(force: bool, out: impl std::io::Write + Send + 'static) -> Self {
        Self { force, told: Arc::new(Mutex::new(Told { out: Box::new(out), wrong: false })) }
    }

    /// Says what was found, at once.
    pub fn tell(&self, finding: &Finding) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.wrong |= finding.verdict == Verdict::Wrong;
        // A terminal that is gone changes nothing.
        let _ = writeln!(told.out, "{finding}");
        let _ = told.out.flush();
    }

    /// True where something was wrong.
    pub fn found_fault(&self) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_finding_is_one_line_and_only_a_fault_counts() {
        let page = Page::default();
        let examiner = Examiner::new(false, page.clone());
        examiner.tell(&Finding::new("dns", Verdict::Right, "127.0.0.1"));
        examiner.tell(&Finding::new("running", Verdict::Note, "not\nknown"));
        examiner.tell(&Finding::new("tick", Verdict::Skipped, "not looked at"));
        assert!(!examiner.found_fault());
        examiner.tell(&Finding::wrong("login", "refused\r\n\u{1b}[31m", "check them"));
        assert!(examiner.found_fault());
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "ok      dns       127.0.0.1",
                "note    running   not known",
                "skipped tick      not looked at",
                "WRONG   login     refused   [31m; check them",
            ]
        );
    }
}
