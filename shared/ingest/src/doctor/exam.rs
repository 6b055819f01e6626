use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tickcast_model::{AuthState, Cause, CauseKind, Price, StateChange, Symbol, SymbolState, Tick};
use tickcast_service::{Finding, Verdict};
use tickcast_session::{HoursState, MarketHours, Now, SessionOutput};

use super::advice::Names;

/// How long the steps of a session may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The login, and after it the list of symbols.
    pub(super) answer: Duration,
    /// The first quote.
    pub(super) tick: Duration,
}

/// What a session shows of login, symbols and one symbol's quotes: takes its outputs and the time, and says what it finds.
///
/// It wants one symbol, and nothing else is asked of the venue. No socket, no clock.
pub(super) struct Exam {
    names: Names,
    patience: Patience,
    /// Symbols worth looking at, the best first.
    favourites: Vec<Symbol>,
    stage: Stage,
    began: Duration,
    findings: Vec<Finding>,
}

enum Stage {
    Login,
    Symbols,
    Tick(Box<Watched>),
    Done,
}

/// The one symbol looked at.
struct Watched {
    symbol: Symbol,
    hours: Option<Arc<MarketHours>>,
    state: Option<StateChange>,
    snapshot: Option<Tick>,
}

impl Exam {
    /// An examination that begins with the login.
    pub(super) fn new(now: Now, names: Names, patience: Patience, favourites: Vec<Symbol>) -> Self {
        let (stage, began) = (Stage::Login, now.elapsed);
        Self { names, patience, favourites, stage, began, findings: Vec::new() }
    }

    /// Takes what the session says; gives the symbol to want, once.
    pub(super) fn output(&mut self, now: Now, output: SessionOutput) -> Option<Symbol> {
        let took_ms = now.elapsed.saturating_sub(self.began).as_millis();
        match (&mut self.stage, output) {
            (Stage::Login, SessionOutput::Auth(AuthState::Ok | AuthState::None, _)) => {
                self.right("login", format!("the venue accepts the credentials, after {took_ms} ms"));
                self.go_on(now, Stage::Symbols);
            }
            (Stage::Login, SessionOutput::Auth(AuthState::Refused, cause)) => {
                self.fail(&cause.unwrap_or_else(|| Cause::new(CauseKind::AuthRefused, "")));
            }
            (
                Stage::Symbols | Stage::Tick(_),
                SessionOutput::Auth(AuthState::Pending | AuthState::Refused, cause),
            ) => self.fail(&cause.unwrap_or_else(|| Cause::new(CauseKind::SessionLost, ""))),
            (Stage::Symbols, SessionOutput::Catalogue(catalogue)) => {
                let offered: BTreeSet<&Symbol> = catalogue.instruments.iter().map(|i| &i.symbol).collect();
                let favourite = self.favourites.iter().find(|f| catalogue.open || offered.contains(*f));
                let symbol = favourite.or(offered.first().copied())?.clone();
                let words = if catalogue.open {
                    "the venue takes any name".to_owned()
                } else {
                    format!("the account offers {} symbols, after {took_ms} ms", catalogue.instruments.len())
                };
                self.right("symbols", words);
                let watched = Watched { symbol: symbol.clone(), hours: None, state: None, snapshot: None };
                self.go_on(now, Stage::Tick(Box::new(watched)));
                return Some(symbol);
            }
            (Stage::Tick(watched), SessionOutput::Hours(symbol, hours)) if symbol == watched.symbol => {
                watched.hours = Some(hours);
                self.look(now);
            }
            (Stage::Tick(watched), SessionOutput::State(symbol, state)) if symbol == watched.symbol => {
                let refused = state.state == SymbolState::Refused;
                let words =
                    format!("{symbol} is refused: {}", state.message.as_deref().unwrap_or("no reason"));
                watched.state = Some(state);
                if refused {
                    self.wrong(words, "the account may not see its prices; ask the venue".to_owned());
                } else {
                    self.look(now);
                }
            }
            (Stage::Tick(watched), SessionOutput::Tick(symbol, tick)) if symbol == watched.symbol => {
                if tick.snapshot {
                    watched.snapshot = Some(tick);
                    self.look(now);
                } else {
                    let words = format!("{symbol} {}, after {took_ms} ms", prices(&tick));
                    self.right("tick", words);
                    self.stage = Stage::Done;
                }
            }
            _ => {}
        }
        None
    }

    /// The time of [`Exam::deadline`] has come.
    pub(super) fn timeout(&mut self, now: Now) {
        if self.deadline().is_none_or(|deadline| now.elapsed < deadline) {
            return;
        }
        let waited_ms = now.elapsed.saturating_sub(self.began).as_millis();
        match &self.stage {
            Stage::Login => self.wrong(
                format!("the venue does not answer the login within {waited_ms} ms"),
                "it takes connections and does not answer: under maintenance? Try again in some minutes"
                    .into(),
            ),
            Stage::Symbols => self.wrong(
                format!("no list of symbols within {waited_ms} ms"),
                "has the account any symbols? Else try again in some minutes".into(),
            ),
            Stage::Tick(watched) => {
                let (symbol, last) = (&watched.symbol, watched.snapshot.as_ref().map(prices));
                // Where a schedule says open, or nothing does.
                let (words, advice) = match (last, &watched.hours) {
                    (Some(last), None) => (
                        format!(
                            "{symbol} {last} is the last price, and no new one came within {waited_ms} ms"
                        ),
                        "is its market open? Else the venue sends no quotes: try again in some minutes",
                    ),
                    (Some(last), Some(_)) => (
                        format!(
                            "{symbol} {last} is the last price, and no new one came within {waited_ms} ms, though its market is open"
                        ),
                        "the venue sends no quotes: try again in some minutes, then ask the venue",
                    ),
                    (None, _) => (
                        format!("no price of {symbol} within {waited_ms} ms"),
                        "the venue took the subscription and sends nothing: try again in some minutes, then ask the venue",
                    ),
                };
                self.wrong(words, advice.to_owned());
            }
            Stage::Done => {}
        }
    }

    /// When [`Exam::timeout`] wants to be called, as [`Now::elapsed`]; none when all is done.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Login | Stage::Symbols => Some(self.began + self.patience.answer),
            Stage::Tick(_) => Some(self.began + self.patience.tick),
            Stage::Done => None,
        }
    }

    /// The connection or the session ended.
    pub(super) fn fail(&mut self, cause: &Cause) {
        if !matches!(self.stage, Stage::Done) {
            let advice = self.names.advice(cause.kind);
            self.wrong(cause.to_string(), advice);
        }
    }

    /// What was found since the last time.
    pub(super) fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// The steps that were not come to.
    pub(super) fn left(&self) -> &'static [&'static str] {
        match self.findings_end() {
            Some("login") => &["symbols", "tick"],
            Some("symbols") => &["tick"],
            _ => &[],
        }
    }

    fn findings_end(&self) -> Option<&'static str> {
        self.findings.last().filter(|finding| finding.verdict == Verdict::Wrong).map(|finding| finding.step)
    }

    /// A closed market sends its last price and no quotes: that is all there is to see.
    fn look(&mut self, now: Now) {
        let Stage::Tick(watched) = &self.stage else { return };
        let closed = match (&watched.hours, &watched.state) {
            (Some(hours), _) => match hours.state(now.unix_ms()) {
                HoursState::Closed { until_ms } => until_ms,
                HoursState::Open { .. } => return,
            },
            (None, Some(state)) if state.state == SymbolState::Closed => state.until_ms,
            _ => return,
        };
        let until = closed.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let until = until.map(|at| format!(" until {}", at.strftime("%a %Y-%m-%d %H:%M UTC")));
        let last = watched.snapshot.as_ref().map(|tick| format!("; the last price is {}", prices(tick)));
        let (symbol, until) = (&watched.symbol, until.unwrap_or_default());
        let words = format!("the market of {symbol} is closed{until}{}", last.unwrap_or_default());
        self.right("tick", words);
        self.stage = Stage::Done;
    }

    fn go_on(&mut self, now: Now, stage: Stage) {
        self.stage = stage;
        self.began = now.elapsed;
    }

    fn right(&mut self, step: &'static str, words: String) {
        self.findings.push(Finding::new(step, Verdict::Right, words));
    }

    fn wrong(&mut self, words: String, advice: String) {
        let step = match self.stage {
            Stage::Login => "login",
            Stage::Symbols => "symbols",
            Stage::Tick(_) | Stage::Done => "tick",
        };
        self.findings.push(Finding::wrong(step, words, advice));
        self.stage = Stage::Done;
    }
}

/// `1.14811 / 1.14813`
fn prices(tick: &Tick) -> String {
    let side = |price: Option<Price>| price.map(|price| price.with_digits(tick.digits).to_string());
    let sides: Vec<String> = [tick.bid, tick.ask, tick.last].into_iter().filter_map(side).collect();
    sides.join(" / ")
}

#[cfg(test)]
#[path = "exam_tests.rs"]
mod tests;
