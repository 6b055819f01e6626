use std::time::Duration;

use serde::Serialize;
use tickcast_bus::Explanation;
use tickcast_model::{Hop, Position, VenueHealth, VenueId};

use crate::health::{Word, millis};
use crate::session::LookUp;

/// What this gateway itself knows of the way to one symbol.
#[derive(Clone, Debug)]
pub struct Here {
    /// The venue.
    pub venue: VenueId,
    /// The symbol as it was asked for.
    pub name: String,
    /// What the name means at the venue.
    pub look_up: LookUp,
    /// The channel, where this gateway holds it.
    pub channel: Option<Held>,
    /// Whether this gateway holds the channel or could.
    pub has_room: bool,
    /// What is heard of the venue.
    pub word: Word,
    /// When this is asked, Unix milliseconds.
    pub now_ms: i64,
}

/// A channel this gateway holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// Whether a client reads it; else it is kept for a moment longer.
    pub is_read: bool,
    /// Its newest tick: position, and when it arrived here (Unix milliseconds).
    pub last: Option<(Position, i64)>,
}

/// What became of the question to the venue's ingest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// It was not put.
    No,
    /// It was answered.
    Answered(Explanation),
    /// Nothing on the bus listens to it.
    NobodyThere,
    /// No answer in time.
    NoAnswer(Duration),
    /// An answer that makes no sense.
    Unreadable(String),
}

/// The answer to "why is it quiet?".
#[derive(Serialize, Debug)]
pub struct Answer {
    /// The venue.
    pub source: String,
    /// The symbol: in the venue's spelling where that is known, else as asked.
    pub symbol: String,
    /// True where every hop is as it should be.
    pub ok: bool,
    /// The whole answer in a sentence or two.
    pub summary: String,
    /// The first hop that is not right.
    pub wrong: Option<HopView>,
    /// Every hop, from the client to the last tick.
    pub hops: Vec<HopView>,
    /// When this was said, Unix milliseconds.
    pub timestamp: i64,
}

/// A hop as HTTP clients see it.
#[derive(Clone, Serialize, Debug)]
pub struct HopView {
    /// Which hop.
    pub name: String,
    /// True where it is as it should be.
    pub ok: bool,
    /// Since when, Unix milliseconds, where that is known.
    pub since: Option<i64>,
    /// How it is, in words.
    pub detail: String,
    /// What happens next, or what to do; empty where nothing is to be said.
    pub next: String,
}

/// True where the venue's ingest should be asked: it can be reached, and the symbol may be one of its own.
pub fn should_ask(here: &Here) -> bool {
    here.word.bus_is_up && here.look_up != LookUp::Unknown
}

/// Puts the hops together and names the first that is not right.
pub fn answer(here: &Here, asked: &Asked) -> Answer {
    let mut hops = vec![client(here), gateway(here), bus(here), leader(here, asked)];
    if let Asked::Answered(explanation) = asked {
        hops.extend(explanation.hops.iter().cloned());
    }
    let hops: Vec<HopView> = hops
        .into_iter()
        .map(|hop| HopView {
            name: hop.name,
            ok: hop.ok,
            since: hop.since_ms,
            detail: hop.detail,
            next: hop.next,
        })
        .collect();
    let wrong = hops.iter().find(|hop| !hop.ok).cloned();
    let summary = match (&wrong, hops.last()) {
        (Some(hop), _) => sentence(hop),
        (None, Some(last)) => format!("Every hop is as it should be. {}", sentence(last)),
        (None, None) => String::new(),
    };
    let symbol = match &here.look_up {
        LookUp::Symbol(symbol) => symbol.as_str().to_owned(),
        LookUp::Unknown | LookUp::NotYet => here.name.clone(),
    };
    let source = here.venue.as_str().to_owned();
    Answer { source, symbol, ok: wrong.is_none(), summary, wrong, hops, timestamp: here.now_ms }
}

/// `Login: the credentials were refused. The next try is in 90 s.`
fn sentence(hop: &HopView) -> String {
    let mut text = format!("{}: {}", capital(&hop.name), hop.detail);
    if !hop.next.is_empty() {
        text.push_str(". ");
        text.push_str(&capital(&hop.next));
    }
    text.push('.');
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn hop(name: &str, ok: bool, since_ms: Option<i64>, detail: String, next: impl Into<String>) -> Hop {
    Hop { name: name.into(), ok, since_ms, detail, next: next.into() }
}

/// Does a client of this gateway want it?
fn client(here: &Here) -> Hop {
    let Here { venue, name, .. } = here;
    match &here.look_up {
        LookUp::Unknown => hop(
            "client",
            false,
            None,
            format!("{venue} offers no {name}, so no client can be subscribed to it"),
            format!("look for its name: GET /api/v1/symbols?source={venue}&q="),
        ),
        // Names that wait for the list are known to their clients' sessions only.
        LookUp::NotYet => {
            let detail =
                format!("what {venue} offers is not known here yet; clients that ask for {name} wait for it");
            hop("client", true, None, detail, "subscriptions go on by themselves once the list is known")
        }
        LookUp::Symbol(_) if here.channel.as_ref().is_some_and(|held| held.is_read) => {
            hop("client", true, None, format!("clients of this gateway are subscribed to {name}"), "")
        }
        LookUp::Symbol(_) => hop(
            "client",
            false,
            None,
            format!("no client of this gateway is subscribed to {name}"),
            "subscribe to it, or ask the gateway its client is connected to",
        ),
    }
}

/// Does this gateway hold what its clients want?
fn gateway(here: &Here) -> Hop {
    let Here { venue, name, word, .. } = here;
    let fine = |detail: String| hop("gateway", true, None, detail, "");
    match (&here.look_up, &here.channel) {
        (LookUp::NotYet, _)
            if word.is_heard && word.health.as_ref().is_some_and(|h| h.catalogue_version > 0) =>
        {
            let detail = format!("this gateway has not got the list of what {venue} offers yet");
            hop("gateway", false, None, detail, "it asks for the list every second")
        }
        (LookUp::NotYet, _) => fine(format!("waits for the list of what {venue} offers")),
        (LookUp::Unknown, _) => fine(format!("holds nothing for {name}")),
        (LookUp::Symbol(_), None) if !here.has_room => hop(
            "gateway",
            false,
            None,
            "this gateway holds as many channels as it may (MAX_CHANNELS)".into(),
            "there is room again when others are let go",
        ),
        (LookUp::Symbol(_), None) => fine("holds no channel for it, as nobody here reads it".into()),
        (LookUp::Symbol(_), Some(held)) => {
            let kept = if held.is_read { "holds the channel" } else { "keeps the channel a moment longer" };
            let last = match held.last {
                Some((position, at_ms)) => {
                    let age = duration(here.now_ms.saturating_sub(at_ms));
                    format!("its last tick arrived {age} ago (number {})", position.seq)
                }
                None => "no tick has arrived".into(),
            };
            fine(format!("{kept}; {last}"))
        }
    }
}

/// Is the message bus there?
fn bus(here: &Here) -> Hop {
    let since = Some(here.word.bus_since_ms);
    if here.word.bus_is_up {
        hop("bus", true, since, "this gateway is connected to the message bus".into(), "")
    } else {
        let next = "it reconnects by itself; see whether nats-server runs and can be reached";
        hop("bus", false, since, "this gateway is not connected to the message bus".into(), next)
    }
}

/// Is there an ingest that holds the venue's connection, and does it answer?
fn leader(here: &Here, asked: &Asked) -> Hop {
    let (venue, word) = (&here.venue, &here.word);
    let silence = match word.beat_age {
        Some(age) => format!("no beat for {}", duration(millis(age).try_into().unwrap_or(i64::MAX))),
        None => "no beat was ever heard here".into(),
    };
    let start = format!("start ingest-{venue}; where a standby runs, it takes over by itself within seconds");
    let wrong = |detail: String, next: String| {
        // Since it was last as it should be: the last beat, else since this gateway looks.
        let detail = format!("{detail}{}", last_word(word));
        hop("leader", false, Some(word.last_beat_ms), detail, next)
    };
    match asked {
        _ if !word.bus_is_up => wrong(
            format!("the ingest of {venue} cannot be asked while the bus is away"),
            "it goes on by itself, and is heard again when the bus is back".into(),
        ),
        Asked::Answered(explanation) if word.is_heard || word.is_early => hop(
            "leader",
            true,
            word.speaks_since_ms,
            format!("the ingest of {venue} answers (incarnation {})", explanation.epoch),
            "",
        ),
        Asked::Answered(_) => wrong(
            format!("the ingest of {venue} answers questions, but {silence}"),
            "its beats should come each second; if they stay away, restart it".into(),
        ),
        Asked::No if word.is_heard => {
            hop("leader", true, word.speaks_since_ms, format!("the ingest of {venue} is heard"), "")
        }
        Asked::NobodyThere if word.is_heard => wrong(
            format!("the ingest of {venue} is heard, and no instance answers for the connection"),
            "one takes it over by itself within seconds".into(),
        ),
        Asked::NoAnswer(waited) if word.is_heard => wrong(
            format!("the ingest of {venue} is heard, but did not answer within {} ms", waited.as_millis()),
            "ask again; if that does not help, see its log and its load".into(),
        ),
        Asked::Unreadable(error) => wrong(
            format!("the ingest of {venue} gave an answer that cannot be read ({error})"),
            "are gateway and ingest of versions that belong together?".into(),
        ),
        Asked::No | Asked::NobodyThere if word.is_early => wrong(
            format!("nothing was heard of an ingest of {venue} yet, this gateway has just begun to listen"),
            start,
        ),
        Asked::No | Asked::NobodyThere => wrong(format!("no ingest of {venue} is there: {silence}"), start),
        Asked::NoAnswer(waited) => wrong(
            format!(
                "no ingest of {venue} answers: {silence}, and no answer within {} ms",
                waited.as_millis()
            ),
            format!("either it or the bus hangs; {start}"),
        ),
    }
}

/// What the ingest said last, where it is not the one that answers now.
fn last_word(word: &Word) -> String {
    let (Some(health), Some(age)) = (&word.health, word.beat_age) else { return String::new() };
    format!(". Its last word, {} ago: {}", duration(millis(age).try_into().unwrap_or(i64::MAX)), axes(health))
}

fn axes(health: &VenueHealth) -> String {
    let mut text = format!(
        "link {}, login {}, data {}",
        health.link.as_str(),
        health.auth.as_str(),
        health.data.as_str()
    );
    if let Some(cause) = &health.cause {
        text.push_str(&format!(" ({cause})"));
    }
    text
}

/// A time in words, from milliseconds.
fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    match ms / 1_000 {
        0..10 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        s @ 10..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
