//! Silence and market hours, symbol by symbol.

use super::*;

/// What was said of each symbol, in order.
fn said(actions: &[Action]) -> Vec<(String, StateChange)> {
    let said = |action: &Action| match action {
        Action::Event(ChannelEvent { symbol, body: Body::State(state), .. }) => {
            Some((symbol.to_string(), state.clone()))
        }
        _ => None,
    };
    actions.iter().filter_map(said).collect()
}

fn kinds(actions: &[Action]) -> Vec<(String, SymbolState)> {
    said(actions).into_iter().map(|(symbol, state)| (symbol, state.state)).collect()
}

fn both(state: SymbolState) -> Vec<(String, SymbolState)> {
    vec![("EURUSD".into(), state), ("GBPUSD".into(), state)]
}

/// The threshold as the last hop tells it, milliseconds.
fn threshold(bench: &Bench, name: &str) -> Duration {
    let hops = bench.supervisor.explain(bench.now(), &symbol(name));
    let words: Vec<&str> = hops[5].next.split(' ').collect();
    Duration::from_millis(words[2].parse().unwrap())
}

/// Passes time until a symbol is said to be stale, and says how long that took.
fn time_to_stale(bench: &mut Bench, name: &str, bytes: &[u8]) -> Duration {
    let from = bench.elapsed;
    for _ in 0..10_000 {
        let actions = bench.pass_with(Duration::from_millis(100), Duration::from_millis(100), bytes);
        if kinds(&actions).contains(&(name.to_owned(), SymbolState::Stale)) {
            return bench.elapsed - from;
        }
    }
    panic!("{name} never went stale");
}

#[test]
fn a_busy_symbol_that_stops_is_stale_within_three_seconds_of_its_own_threshold() {
    let mut bench = Bench::ready_at("2026-11-18T12:00:00Z");
    bench.pass_with(s(600), Duration::from_millis(100), b"tT");
    let own = threshold(&bench, "EURUSD");
    assert!(own <= s(6), "{own:?} at ten quotes a second");
    // The other goes on: this is about one symbol, and the venue is live.
    let took = time_to_stale(&mut bench, "EURUSD", b"T");
    assert!(took >= own && took <= own + s(3), "{took:?} for {own:?}");
    assert_eq!((bench.axes().2, bench.cause()), (DataState::Live, None));
    let again = bench.receive(b"t");
    assert_eq!(kinds(&again), [("EURUSD".into(), SymbolState::Live)]);
    assert!(threshold(&bench, "EURUSD") <= own * 2, "one long gap makes no slow symbol");
}

#[test]
fn a_slow_symbol_is_given_its_time_where_a_quick_one_is_not() {
    let mut bench = Bench::ready_at("2026-11-18T12:00:00Z");
    let mut actions = Vec::new();
    for _ in 0..60 {
        actions.extend(bench.pass_with(s(40), s(1), b"T"));
        actions.extend(bench.receive(b"t"));
    }
    let alarms = |name: &str| {
        kinds(&actions).iter().filter(|it| **it == (name.to_owned(), SymbolState::Stale)).count()
    };
    assert!(alarms("EURUSD") <= 3, "{} alarms", alarms("EURUSD"));
    assert_eq!(alarms("GBPUSD"), 0);
    assert!(threshold(&bench, "EURUSD") > s(60) && threshold(&bench, "GBPUSD") < s(30));
}

#[test]
fn symbols_go_stale_one_by_one_are_asked_for_and_the_venue_is_stale_last() {
    let mut bench = Bench::ready_at("2026-11-18T12:00:00Z");
    for _ in 0..120 {
        bench.pass_with(s(3), s(3), b"t");
        bench.receive(b"tT");
    }
    let (quick, slow) = (threshold(&bench, "EURUSD"), threshold(&bench, "GBPUSD"));
    assert!(quick <= slow);
    let actions = bench.pass(s(29));
    assert_eq!(kinds(&actions), both(SymbolState::Stale));
    let state = &said(&actions)[0].1;
    assert_eq!(state.code.as_deref(), Some("STALE"));
    assert!(state.message.as_ref().unwrap().contains("none for more than"), "{state:?}");
    assert_eq!(bench.axes().2, DataState::Live);
    assert!(closes(&bench.pass(s(1))).is_empty());
    assert_eq!((bench.axes().2, bench.cause()), (DataState::Stale, Some(CauseKind::Stale)));
    let asked: BTreeSet<Symbol> =
        bench.supervisor.session().unwrap().silent.iter().flatten().cloned().collect();
    assert_eq!(asked, [symbol("EURUSD"), symbol("GBPUSD")].into());
}

#[test]
fn a_silent_symbol_is_asked_for_again_ever_more_rarely_and_for_ever() {
    let mut bench = Bench::ready_at("2026-11-18T12:00:00Z");
    bench.receive(b"tT");
    let mut times = Vec::new();
    for second in 0..7_200 {
        let before = bench.supervisor.session().unwrap().silent.len();
        bench.pass_with(s(1), s(1), b"T");
        if bench.supervisor.session().unwrap().silent.len() > before {
            times.push(second);
        }
    }
    let gaps: Vec<i32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps[..5], [30, 60, 120, 240, 480]);
    assert!(gaps.len() >= 14 && gaps[5..].iter().all(|gap| *gap == 600), "{gaps:?}");
    bench.receive(b"s");
    let state = |bench: &Bench| bench.supervisor.ledger.state_of(&symbol("EURUSD"));
    assert_eq!(state(&bench), Some(SymbolState::Stale), "a snapshot is no new quote");
    bench.receive(b"t");
    assert_eq!(state(&bench), Some(SymbolState::Live));
}

#[test]
fn what_never_ticks_after_a_subscription_does_not_look_alive() {
    let mut bench = Bench::ready_at("2026-11-18T12:00:00Z");
    let actions = bench.pass_with(s(30), s(1), b"T");
    assert_eq!(
        kinds(&actions),
        [("GBPUSD".into(), SymbolState::Live), ("EURUSD".into(), SymbolState::Stale)]
    );
    assert_eq!(bench.supervisor.session().unwrap().silent, [[symbol("EURUSD")].into()]);
}

#[test]
fn a_weekend_is_closed_and_not_stale_and_nobody_is_asked_or_dialled() {
    let mut bench = Bench::ready_at("2026-11-20T21:00:00Z");
    bench.receive(b"hH");
    let week = bench.pass_with(s(3_600), s(1), b"tT");
    assert_eq!(kinds(&week), both(SymbolState::Live));
    // A quote a little late still belongs to the week.
    assert!(kinds(&bench.pass(s(1))).is_empty());
    bench.receive(b"t");
    let actions = bench.pass_with(s(60), s(10), b"");
    let closed = |name: &str| (name.to_owned(), SymbolState::Closed);
    assert_eq!(kinds(&actions), [closed("GBPUSD"), closed("EURUSD")]);
    let state = &said(&actions)[0].1;
    assert_eq!(state.until_ms, Some(unix_ms("2026-11-22T22:00:00Z")));
    assert_eq!(state.message.as_deref(), Some("the market is closed: until 2026-11-22T22:00:00Z"));
    assert_eq!((bench.axes().2, bench.cause()), (DataState::Idle, Some(CauseKind::MarketClosed)));

    let weekend = bench.pass_with(s(2 * 86_400 - 62), s(30), b"");
    assert!(closes(&weekend).is_empty() && kinds(&weekend).is_empty(), "{:?}", kinds(&weekend));
    assert_eq!(bench.supervisor.session().unwrap().asked_again, 0);
    let hops = bench.supervisor.explain(bench.now(), &symbol("EURUSD"));
    assert!(hops.iter().all(|hop| hop.ok), "a closed market is no fault: {hops:?}");
    let schedule = hops.iter().find(|hop| hop.name == "schedule").unwrap();
    assert_eq!(schedule.next, "opens at 2026-11-22T22:00:00Z");

    // From the opening on the thresholds count.
    let opening = bench.pass(s(2));
    assert_eq!(kinds(&opening), both(SymbolState::Pending));
    assert_eq!((bench.axes().2, bench.cause()), (DataState::Idle, None));
    assert!(kinds(&bench.pass(s(28))).is_empty());
    assert_eq!(kinds(&bench.pass(s(2))), both(SymbolState::Stale));
    assert_eq!(bench.axes().2, DataState::Stale);
}

#[test]
fn a_closed_market_is_closed_from_the_start_also_with_a_snapshot_and_over_a_lost_link() {
    let mut bench = Bench::ready_at("2026-11-21T12:00:00Z");
    assert_eq!(kinds(&bench.receive(b"hH")), both(SymbolState::Closed));
    assert!(kinds(&bench.receive(b"sS")).is_empty());
    assert_eq!(bench.axes().2, DataState::Idle);
    assert!(kinds(&bench.receive(b"e")).is_empty(), "closed with or without us");
    assert_eq!(bench.cause(), Some(CauseKind::SessionLost), "the link's cause goes first");
    bench.pass(s(8));
    bench.supervisor.dialled(bench.now());
    assert!(kinds(&bench.receive(b"o")).is_empty());
    assert_eq!(bench.cause(), Some(CauseKind::MarketClosed));
}

#[test]
fn a_market_closed_for_a_time_nobody_knows_is_asked_for_every_ten_minutes() {
    let mut bench = Bench::ready_at("2026-11-18T12:00:00Z");
    bench.receive(b"tT");
    assert_eq!(kinds(&bench.receive(b"d")), []);
    // Prices may be late; those of the other go on.
    assert_eq!(
        kinds(&bench.pass_with(s(6), s(1), b"T")),
        [("EURUSD".into(), SymbolState::Closed)],
        "closed, and not stale"
    );
    bench.pass_with(s(564), s(1), b"T");
    assert_eq!(bench.supervisor.session().unwrap().silent, Vec::<BTreeSet<Symbol>>::new());
    bench.pass_with(s(3_000), s(1), b"T");
    assert_eq!(bench.supervisor.session().unwrap().silent, vec![[symbol("EURUSD")].into(); 5]);
    assert_eq!((bench.axes().2, bench.cause()), (DataState::Live, None));
}

#[test]
fn quotes_of_a_closed_market_are_believed_more_than_its_schedule() {
    let mut bench = Bench::ready_at("2026-11-21T12:00:00Z");
    bench.receive(b"hH");
    assert_eq!(kinds(&bench.receive(b"t")), [("EURUSD".into(), SymbolState::Live)]);
    assert!(kinds(&bench.pass_with(s(120), s(10), b"t")).is_empty());
    assert_eq!(
        kinds(&bench.pass(s(59))),
        [("EURUSD".into(), SymbolState::Closed)],
        "and is not stale after it"
    );
    assert_eq!(bench.supervisor.session().unwrap().asked_again, 0);
}

#[test]
fn one_open_symbol_is_enough_to_be_stale() {
    let mut bench = Bench::ready_at("2026-11-21T12:00:00Z");
    bench.receive(b"h");
    assert_eq!(bench.axes().2, DataState::Idle);
    let actions = bench.pass(s(30));
    assert_eq!(kinds(&actions), [("GBPUSD".into(), SymbolState::Stale)]);
    assert_eq!(bench.axes().2, DataState::Stale);
}

#[test]
fn what_the_venue_refuses_is_not_waited_for() {
    let mut bench = Bench::ready_at("2026-11-18T12:00:00Z");
    bench.receive(b"xX");
    let actions = bench.pass(s(59));
    assert!(kinds(&actions).is_empty());
    assert_eq!((bench.axes().2, bench.supervisor.session().unwrap().asked_again), (DataState::Idle, 0));
}

#[test]
fn a_step_of_the_wall_clock_opens_and_closes_and_moves_no_other_deadline() {
    let day = s(86_400);
    let mut bench = Bench::ready_at("2026-11-18T12:00:00Z");
    let mut still = Bench::ready_at("2026-11-18T12:00:00Z");
    for it in [&mut bench, &mut still] {
        it.receive(b"hH");
        it.pass_with(s(5), s(1), b"tT");
    }
    // Three days ahead, into the weekend: seen within a minute, and nothing else happens.
    bench.wall_clock += 3 * day;
    let actions = bench.pass_with(s(59), s(10), b"");
    assert_eq!(kinds(&actions), both(SymbolState::Closed));
    assert!(closes(&actions).is_empty());
    bench.wall_clock -= 3 * day;
    let actions = bench.pass_with(s(29), s(10), b"");
    assert_eq!(kinds(&actions), both(SymbolState::Pending));

    // A step that stays in the same session changes nothing at all.
    let mut stepped = Bench::ready_at("2026-11-18T12:00:00Z");
    stepped.receive(b"hH");
    stepped.pass_with(s(5), s(1), b"tT");
    for (step, back) in [(s(3_600), false), (s(7_200), true), (s(3_600), false)] {
        stepped.wall_clock = if back { stepped.wall_clock - step } else { stepped.wall_clock + step };
        for it in [&mut stepped, &mut still] {
            it.pass(s(7));
        }
        let left = |bench: &Bench| bench.supervisor.deadline().unwrap() - bench.elapsed;
        assert_eq!(left(&stepped), left(&still));
    }
    let ends = |bench: &mut Bench| (closes(&bench.pass(s(40))), bench.elapsed, bench.health().retry_in_ms);
    assert_eq!(ends(&mut stepped), ends(&mut still));
}

#[test]
fn thousands_of_busy_symbols_wake_the_supervisor_a_few_times_a_second() {
    let names: Vec<String> = (0..3_000).map(|index| format!("S{index}")).collect();
    let mut bench = Bench::with_channels(5_000);
    bench.want(&names.iter().map(String::as_str).collect::<Vec<_>>());
    bench.connect();
    bench.receive(b"o");
    let mut wakes = 0;
    for round in 0..190u32 {
        for name in &names {
            let tick = quote(bench.now(), false);
            bench.supervisor.tick(bench.now(), &symbol(name), tick);
        }
        bench.actions();
        let until = s(100) + Duration::from_millis(300) * (round + 1);
        while let Some(deadline) = bench.supervisor.deadline().filter(|deadline| *deadline <= until) {
            bench.elapsed = bench.elapsed.max(deadline);
            bench.supervisor.timeout(bench.now());
            wakes += 1;
        }
        bench.elapsed = until;
        assert!(bench.supervisor.agenda.len() <= 8_000);
    }
    assert!(wakes < 60 * 6, "{wakes} in a minute");
    assert_eq!(states(&bench.actions()), [], "nobody is stale");
}
