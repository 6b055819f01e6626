//! Recorded sessions: spot events as they once came, played again (docs/simulator.md).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::catalogue::Catalogue;

/// Events one recording may have.
const EVENTS_MAX: usize = 1_000_000;

/// Pause between the last event and the first one again.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// Spot events of some symbols, each in the order and at the distances they once had.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recording {
    tracks: BTreeMap<String, Track>,
}

/// The events of one symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Track {
    pub(crate) bid: u64,
    pub(crate) ask: u64,
    pub(crate) session_close: u64,
    /// Time of the snapshot, in the recording's own clock.
    from_ms: i64,
    events: Vec<Event>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    at_ms: i64,
    pub(crate) bid: Option<u64>,
    pub(crate) ask: Option<u64>,
}

/// Why a recording cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordingError {
    /// A line is no event.
    #[error("line {line}: {problem}")]
    Line {
        /// Which one, from 1 on.
        line: usize,
        /// Why.
        problem: String,
    },
    /// A symbol has nothing to play.
    #[error("{0} has no event behind its snapshot")]
    Empty(String),
    /// More events than fit.
    #[error("more than {EVENTS_MAX} events")]
    TooLong,
    /// The venue has no such symbol.
    #[error("the venue has no symbol {0}; SIM_SYMBOLS chooses how many it has")]
    NoSuchSymbol(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Line {
    symbol: String,
    timestamp: i64,
    bid: Option<u64>,
    ask: Option<u64>,
    session_close: Option<u64>,
}

impl Recording {
    /// Reads a recording: one JSON object per line, empty lines and lines that begin with `#` left out.
    ///
    /// # Errors
    /// [`RecordingError`] with the first line that makes no sense.
    pub fn read(text: &str) -> Result<Self, RecordingError> {
        let mut recording = Self::default();
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        for (count, (line, text)) in
            lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')).enumerate()
        {
            if count == EVENTS_MAX {
                return Err(RecordingError::TooLong);
            }
            let wrong = |problem: String| RecordingError::Line { line, problem };
            let event: Line = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            recording.add(event).map_err(|problem| wrong(problem.to_owned()))?;
        }
        match recording.tracks.iter().find(|(_, track)| track.events.is_empty()) {
            Some((symbol, _)) => Err(RecordingError::Empty(symbol.clone())),
            None => Ok(recording),
        }
    }

    /// Finds symbols a venue with so many symbols does not have.
    ///
    /// # Errors
    /// [`RecordingError::NoSuchSymbol`].
    pub fn check(&self, catalogue: &Catalogue) -> Result<(), RecordingError> {
        let unknown = self.tracks.keys().find(|symbol| catalogue.named(symbol).is_none());
        unknown.map_or(Ok(()), |symbol| Err(RecordingError::NoSuchSymbol(symbol.clone())))
    }

    pub(crate) fn tracks(&self) -> impl Iterator<Item = (&str, &Track)> {
        self.tracks.iter().map(|(symbol, track)| (symbol.as_str(), track))
    }

    fn add(&mut self, line: Line) -> Result<(), &'static str> {
        if [line.bid, line.ask]
            .into_iter()
            .flatten()
            .any(|price| price == 0 || price > i64::MAX.unsigned_abs() / 2)
        {
            return Err("a price is out of range");
        }
        let Some(track) = self.tracks.get_mut(&line.symbol) else {
            let (Some(bid), Some(ask), Some(session_close)) = (line.bid, line.ask, line.session_close) else {
                return Err("a symbol begins with a snapshot: bid, ask and sessionClose");
            };
            let track = Track { bid, ask, session_close, from_ms: line.timestamp, events: Vec::new() };
            self.tracks.insert(line.symbol, track);
            return Ok(());
        };
        if line.timestamp < track.events.last().map_or(track.from_ms, |event| event.at_ms) {
            return Err("time runs backwards within the symbol");
        }
        // A snapshot told again says nothing new: the venue makes its own.
        if line.session_close.is_some() {
            return Ok(());
        }
        if line.bid.is_none() && line.ask.is_none() {
            return Err("neither bid nor ask");
        }
        track.events.push(Event { at_ms: line.timestamp, bid: line.bid, ask: line.ask });
        Ok(())
    }
}

impl Track {
    /// The event number `at`; after the last comes the first.
    pub(crate) fn event(&self, at: usize) -> Event {
        self.events[at % self.events.len()]
    }

    /// The time between the event number `at` and the one before it, or the snapshot before the first.
    pub(crate) fn gap(&self, at: usize) -> Duration {
        let index = at % self.events.len();
        let before_ms = match index {
            0 if at > 0 => return REPEAT_AFTER,
            0 => self.from_ms,
            _ => self.events[index - 1].at_ms,
        };
        Duration::from_millis(u64::try_from(self.events[index].at_ms - before_ms).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &str = r#"{"symbol":"EURUSD","timestamp":100,"bid":5,"ask":7,"sessionClose":4}"#;

    #[test]
    fn events_keep_their_sides_and_distances() {
        let text = format!(
            "# recorded\n{SNAPSHOT}\n{SNAPSHOT}\n\n{}\n{}\n",
            r#"{"symbol":"EURUSD","timestamp":150,"ask":8}"#,
            r#"{"symbol":"EURUSD","timestamp":450,"bid":6,"ask":8}"#
        );
        let recording = Recording::read(&text).unwrap();
        let (symbol, track) = recording.tracks().next().unwrap();
        assert_eq!((symbol, track.bid, track.ask, track.session_close), ("EURUSD", 5, 7, 4));
        assert_eq!((track.event(0).bid, track.event(0).ask), (None, Some(8)));
        assert_eq!([0, 1, 2, 3].map(|at| track.gap(at).as_millis()), [50, 300, 1_000, 300]);
        assert_eq!(track.event(2), track.event(0));
        assert_eq!(recording.check(&Catalogue::new(1)), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, words) in [
            ("nonsense".to_owned(), "line 1"),
            (r#"{"symbol":"EURUSD","timestamp":1,"bid":5}"#.to_owned(), "begins with a snapshot"),
            (SNAPSHOT.to_owned(), "EURUSD has no event"),
            (format!("{SNAPSHOT}\n{}", r#"{"symbol":"EURUSD","timestamp":99,"bid":5}"#), "line 2: time runs"),
            (format!("{SNAPSHOT}\n{}", r#"{"symbol":"EURUSD","timestamp":100}"#), "neither"),
            (format!("{SNAPSHOT}\n{}", r#"{"symbol":"EURUSD","timestamp":100,"bid":0}"#), "out of range"),
            (format!("{SNAPSHOT}\n{}", r#"{"symbol":"EURUSD","timestamp":100,"size":1}"#), "size"),
        ] {
            let error = Recording::read(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
