//! Faults by the clock, and recorded quotes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bench::{Bench, START_MS, subscribe_spots};
use sim_ctrader::wire::{ProtoOaSpotEvent, ProtoOaSubscribeSpotsRes};
use sim_ctrader::{Ending, Fault, Reason, Recording, Scenario, SimulatedVenue as _, VenueSettings};

const RECORDED: &str = include_str!("../../recordings/eurusd.jsonl");

const SHIPPED: [(&str, &str); 5] = [
    ("weekend", include_str!("../../scenarios/weekend.json")),
    ("bad Monday", include_str!("../../scenarios/bad-monday.json")),
    ("maintenance", include_str!("../../scenarios/maintenance.json")),
    ("token week", include_str!("../../scenarios/token-week.json")),
    ("anything", include_str!("../../scenarios/anything.json")),
];

fn play(bench: &mut Bench, text: &str) {
    bench.venue.play(bench.now(), Scenario::read(text).unwrap());
    bench.pump();
}

#[test]
fn a_scenario_switches_faults_on_and_off_in_its_time() {
    let mut bench = Bench::patient();
    let id = bench.log_in();
    bench.advance(700);
    play(
        &mut bench,
        r#"{"name":"x","steps":[{"at_s":10,"fault":"mute","for_s":5},{"at_s":20,"fault":"close"}]}"#,
    );
    bench.advance(9_999);
    assert!(!bench.venue.faults().has(Fault::Mute));
    bench.advance(1);
    assert!(bench.venue.faults().has(Fault::Mute));
    assert_eq!(bench.venue.played().map(|spec| spec.fault()), Some(Fault::Mute));
    bench.advance(5_000);
    assert!(!bench.venue.faults().has(Fault::Mute) && bench.closed(id).is_none());
    bench.advance(5_000);
    assert_eq!(bench.closed(id), Some((Ending::Orderly, Reason::Fault)));
    let (scenario, faults, next) = bench.venue.scenario().unwrap();
    assert_eq!((scenario.name.as_str(), faults, next), ("x", 2, None));
    bench.venue.stop_playing();
    assert!(bench.venue.scenario().is_none());
}

#[test]
fn every_scenario_shipped_can_be_played_for_eight_days() {
    for (name, text) in SHIPPED {
        let scenario = Scenario::read(text).unwrap();
        assert_eq!(scenario.name, name);
        assert!(!scenario.about.is_empty());
        let mut bench = Bench::new(VenueSettings { calendar: true, ..VenueSettings::default() });
        assert!(scenario.specs().all(|spec| bench.venue.check(spec).is_ok()));
        play(&mut bench, text);
        bench.advance(8 * 86_400_000);
        let faults: &BTreeMap<&str, u64> = &bench.venue.counters().faults;
        let total: u64 = faults.values().sum();
        let (least, most) = match name {
            "weekend" => (7, 14),
            "bad Monday" => (100, 190),
            "maintenance" => (250, 290),
            "token week" => (30, 80),
            _ => (10_000, 13_000),
        };
        assert!((least..=most).contains(&total), "{name}: {faults:?}");
        for fault in scenario.specs().map(|spec| spec.row().name) {
            assert!(faults.contains_key(fault) || name == "token week", "{name}: no {fault}");
        }
    }
}

#[test]
fn a_scenario_is_repeated_by_its_seed() {
    let told = |seed: u64| {
        let mut bench = Bench::new(VenueSettings { seed, symbols: 5, ..VenueSettings::default() });
        play(&mut bench, SHIPPED[4].1);
        let mut order = Vec::new();
        for _ in 0..3_600 {
            bench.advance(1_000);
            while let Some(spec) = bench.venue.played() {
                order.push((bench.now_ms, spec.row().name, spec.params().to_string()));
            }
        }
        order
    };
    assert!(told(1).len() > 30);
    assert_eq!(told(1), told(1));
    assert_ne!(told(1), told(2));
}

fn recorded() -> Bench {
    Bench::new(VenueSettings {
        symbols: 30,
        recording: Some(Recording::read(RECORDED).unwrap()),
        inactivity_cutoff: Duration::from_secs(86_400),
        heartbeat_after: Duration::from_secs(80_000),
        ..VenueSettings::default()
    })
}

#[test]
fn a_recording_is_played_as_it_was_with_times_of_today() {
    let mut bench = recorded();
    let id = bench.log_in();
    bench.advance(5_000);
    let snapshot = bench.subscribe(id, &[1]).remove(0);
    assert_eq!(
        (snapshot.bid, snapshot.ask, snapshot.session_close),
        (Some(114_811), Some(114_813), Some(114_761))
    );
    let started = START_MS + 5_000;
    // Times and sides of the recorded events, from the snapshot on (facts 3.6).
    let expected = [
        (306, Some(114_810), Some(114_812)),
        (2_850, None, Some(114_813)),
        (3_299, Some(114_813), Some(114_814)),
        (103_835, Some(114_814), None),
    ];
    bench.advance(104_000);
    let told: Vec<_> = bench
        .spots(id)
        .into_iter()
        .map(|event| (event.timestamp.unwrap() - started, event.bid, event.ask))
        .collect();
    assert_eq!(told, expected);
    bench.advance(1_000);
    assert_eq!(bench.spots(id)[0].bid, Some(114_810), "it begins again");
}

#[test]
fn a_recording_begins_anew_with_its_first_subscriber_and_others_walk() {
    let mut bench = recorded();
    let id = bench.log_in();
    bench.subscribe(id, &[1]);
    bench.advance(10_000);
    bench.venue.closed(id, Reason::Peer);
    let id = bench.log_in();
    bench.ask(id, &subscribe_spots(&[1, 3]));
    bench.answer::<ProtoOaSubscribeSpotsRes>(id);
    assert_eq!(bench.answer::<ProtoOaSpotEvent>(id).bid, Some(114_811));
    bench.advance(1_000);
    let events = bench.spots(id);
    assert!(events.iter().filter(|event| event.symbol_id == 3).count() > 5);
    assert_eq!(events.iter().filter(|event| event.symbol_id == 1).count(), 1);
}
