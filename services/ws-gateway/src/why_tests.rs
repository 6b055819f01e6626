use tickcast_model::{AuthState, Cause, CauseKind, DataState, LinkState, Symbol};

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn venue() -> VenueId {
    VenueId::new("ctrader").unwrap()
}

fn eurusd() -> Symbol {
    Symbol::new("EURUSD").unwrap()
}

fn health() -> VenueHealth {
    VenueHealth {
        venue: venue(),
        epoch: 7,
        link: LinkState::Down,
        auth: AuthState::None,
        data: DataState::Stale,
        link_since_ms: 1,
        auth_since_ms: 2,
        data_since_ms: 3,
        cause: Some(Cause::new(CauseKind::Refused, "127.0.0.1:5035")),
        attempt: 3,
        retry_in_ms: Some(100),
        last_tick_age_ms: None,
        catalogue_version: 1,
        at_ms: 9,
    }
}

/// Everything as it should be: a client reads EURUSD, and the ingest is heard.
fn here() -> Here {
    Here {
        venue: venue(),
        name: "EURUSD".into(),
        look_up: LookUp::Symbol(eurusd()),
        channel: Some(Held { is_read: true, last: Some((Position { epoch: 7, seq: 55 }, NOW_MS - 1_250)) }),
        has_room: true,
        word: Word {
            bus_is_up: true,
            bus_since_ms: NOW_MS - 60_000,
            is_heard: true,
            is_early: false,
            speaks_since_ms: Some(NOW_MS - 50_000),
            last_beat_ms: NOW_MS - 400,
            beat_age: Some(Duration::from_millis(400)),
            health: Some(health()),
        },
        now_ms: NOW_MS,
    }
}

fn said(hops: &[(&str, bool)]) -> Asked {
    let hops = hops.iter().map(|(name, ok)| Hop {
        name: (*name).into(),
        ok: *ok,
        since_ms: Some(5),
        detail: format!("about the {name}"),
        next: if *ok { String::new() } else { "it is tried again in 2 s".into() },
    });
    Asked::Answered(Explanation {
        venue: venue(),
        epoch: 7,
        symbol: eurusd(),
        hops: hops.collect(),
        at_ms: NOW_MS,
    })
}

fn all_well() -> Asked {
    said(&[("link", true), ("login", true), ("subscription", true), ("schedule", true), ("ticks", true)])
}

fn wrong(answer: &Answer) -> &HopView {
    answer.wrong.as_ref().unwrap_or_else(|| panic!("a wrong hop in {answer:?}"))
}

/// What a test changes, what the ingest says, the hop that must be named, and words of it.
type Case = (fn(&mut Here), Asked, &'static str, &'static str);

#[test]
fn a_way_without_a_fault_is_told_from_client_to_last_tick() {
    let answer = answer(&here(), &all_well());
    let names: Vec<_> = answer.hops.iter().map(|hop| hop.name.as_str()).collect();
    let way = ["client", "gateway", "bus", "leader", "link", "login", "subscription", "schedule", "ticks"];
    assert_eq!(names, way);
    assert!(answer.ok && answer.wrong.is_none());
    assert_eq!(answer.summary, "Every hop is as it should be. Ticks: about the ticks.");
    assert_eq!(answer.hops[1].detail, "holds the channel; its last tick arrived 1.2 s ago (number 55)");
    assert_eq!(answer.hops[2].since, Some(NOW_MS - 60_000));
    assert_eq!(answer.hops[3].since, Some(NOW_MS - 50_000));
}

#[test]
fn each_hop_that_is_wrong_alone_is_the_one_named() {
    let silent = |here: &mut Here| {
        here.word.is_heard = false;
        here.word.beat_age = Some(Duration::from_secs(12));
    };
    let cases: [Case; 14] = [
        (|here| here.channel = None, all_well(), "client", "no client of this gateway"),
        (|here| here.channel.as_mut().unwrap().is_read = false, all_well(), "client", "no client"),
        (|here| here.look_up = LookUp::Unknown, Asked::No, "client", "ctrader offers no EURUSD"),
        (|here| here.look_up = LookUp::NotYet, all_well(), "gateway", "has not got the list"),
        (|here| here.word.bus_is_up = false, Asked::No, "bus", "not connected to the message bus"),
        (silent, Asked::NobodyThere, "leader", "no ingest of ctrader is there: no beat for 12 s"),
        (silent, Asked::NoAnswer(Duration::from_secs(1)), "leader", "no beat for 12 s, and no answer"),
        (silent, all_well(), "leader", "answers questions, but no beat for 12 s"),
        (|_| {}, Asked::NobodyThere, "leader", "no instance answers for the connection"),
        (|_| {}, Asked::NoAnswer(Duration::from_secs(1)), "leader", "did not answer within 1000 ms"),
        (|_| {}, Asked::Unreadable("venue".into()), "leader", "cannot be read (venue)"),
        (|_| {}, said(&[("link", false), ("login", false)]), "link", "about the link"),
        (|_| {}, said(&[("link", true), ("login", false), ("ticks", false)]), "login", "about the login"),
        (|_| {}, said(&[("subscription", true), ("ticks", false)]), "ticks", "about the ticks"),
    ];
    for (change, asked, name, words) in cases {
        let mut here = here();
        change(&mut here);
        let answer = answer(&here, &asked);
        let hop = wrong(&answer);
        assert_eq!(hop.name, name, "{answer:?}");
        assert!(hop.detail.contains(words), "{words} in {hop:?}");
        assert!(!hop.next.is_empty(), "{hop:?}");
        assert!(answer.summary.starts_with(&capital(name)) && answer.summary.ends_with('.'), "{answer:?}");
        assert!(!answer.ok);
    }
}

#[test]
fn a_silent_ingest_is_shown_with_what_it_said_last_and_since_when() {
    let mut here = here();
    here.word.is_heard = false;
    here.word.beat_age = Some(Duration::from_secs(12));
    here.word.last_beat_ms = NOW_MS - 12_000;
    let answer = answer(&here, &Asked::NobodyThere);
    let hop = wrong(&answer);
    assert_eq!(hop.since, Some(NOW_MS - 12_000));
    let last =
        "Its last word, 12 s ago: link down, login none, data stale (connection refused: 127.0.0.1:5035)";
    assert!(hop.detail.ends_with(last), "{hop:?}");
    assert!(hop.next.contains("start ingest-ctrader"), "{hop:?}");
}

#[test]
fn an_ingest_never_heard_of_is_told_from_one_there_was_no_time_to_hear() {
    let mut here = here();
    let silent = |word: &mut Word| (word.is_heard, word.beat_age, word.health) = (false, None, None);
    silent(&mut here.word);
    here.word.is_early = true;
    let early = answer(&here, &Asked::NobodyThere);
    assert!(wrong(&early).detail.contains("has just begun to listen"), "{early:?}");
    here.word.is_early = false;
    let never = answer(&here, &Asked::NobodyThere);
    assert!(wrong(&never).detail.ends_with("no beat was ever heard here"), "{never:?}");
}

#[test]
fn a_list_that_cannot_be_here_yet_is_not_the_gateways_fault() {
    let mut here = here();
    (here.look_up, here.channel) = (LookUp::NotYet, None);
    (here.word.bus_is_up, here.word.is_heard) = (false, false);
    assert_eq!(wrong(&answer(&here, &Asked::No)).name, "bus");
    (here.word.bus_is_up, here.word.is_heard) = (true, true);
    here.word.health.as_mut().unwrap().catalogue_version = 0;
    assert_eq!(wrong(&answer(&here, &said(&[("link", true), ("login", false)]))).name, "login");
}

#[test]
fn a_full_gateway_and_a_lingering_channel_are_said() {
    let mut here = here();
    here.channel.as_mut().unwrap().is_read = false;
    assert!(answer(&here, &all_well()).hops[1].detail.starts_with("keeps the channel a moment longer"));
    (here.channel, here.has_room) = (None, false);
    let full = answer(&here, &all_well());
    assert!(!full.hops[1].ok && full.hops[1].detail.contains("MAX_CHANNELS"), "{full:?}");
}

#[test]
fn only_what_can_be_answered_is_asked() {
    assert!(should_ask(&here()));
    assert!(should_ask(&Here { look_up: LookUp::NotYet, ..here() }));
    assert!(!should_ask(&Here { look_up: LookUp::Unknown, ..here() }));
    let mut away = here();
    away.word.bus_is_up = false;
    assert!(!should_ask(&away));
}

#[test]
fn times_are_told_in_the_unit_that_fits() {
    let cases = [
        (-5, "0.0 s"),
        (1_250, "1.2 s"),
        (45_000, "45 s"),
        (300_000, "5 min"),
        (10_800_000, "3 h"),
        (259_200_000, "3 d"),
    ];
    for (ms, text) in cases {
        assert_eq!(duration(ms), text);
    }
}
