//! Every fault, by itself and in company.

use std::time::Duration;

use serde_json::{Value, json};
use sim_tradingview::{FAULTS, Fault, FaultSpec, Lasting, SimulatedVenue as _};

use crate::bench::{Bench, EUR, QS, names};

/// Whatever is on, nothing panics, nothing loops, and a client that starts anew afterwards is served.
#[test]
fn every_fault_ends_and_leaves_a_venue_that_works() {
    for row in FAULTS {
        let mut bench = Bench::usual();
        let id = bench.watching(&[EUR, "NYSE:IBM"]);
        bench.on(row.name, Value::Null);
        bench.run(3_000);
        bench.add(id, &["OANDA:GBPUSD"]);
        bench.run(3_000);
        if row.lasting == Lasting::UntilSwitchedOff {
            assert!(bench.venue.faults().has(row.fault), "{}", row.name);
        }
        bench.venue.heal(bench.now);
        assert_eq!(bench.venue.active_faults().count(), 0);
        assert_eq!(bench.venue.admit([]), Ok(()), "{}", row.name);
        let fresh = bench.watching(&[EUR, "NYSE:IBM"]);
        bench.run(20_000);
        let said = bench.said(fresh);
        assert!(names(&said).iter().filter(|name| **name == "quote_completed").count() == 2, "{}", row.name);
        assert!(said.len() > 20, "{}: {}", row.name, said.len());
    }
}

#[test]
fn no_world_of_faults_makes_it_panic_or_speak_in_broken_frames_forever() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::usual();
        for _ in 0..15 {
            let spec = FaultSpec::draw(&mut rng, bench.venue.catalogue())
                .lasting(Duration::from_secs(rng.u64(1..20)));
            let big = matches!(spec.fault(), Fault::OversizedMessage | Fault::Burst);
            if !big {
                bench.venue.fault(bench.now, spec, true);
            }
            let id = bench.watching(&[EUR, "1/XAUUSD", "KRX:005930"]);
            bench.send(id, "quote_remove_symbols", json!([QS, EUR]));
            bench.run(rng.u64(100..4_000));
            bench.told.clear();
        }
        bench.venue.heal(bench.now);
        bench.venue.fault(bench.now, Fault::Cut, true);
        bench.drain();
        let id = bench.watching(&[EUR]);
        bench.run(9_000);
        assert!(bench.quotes(id, EUR).len() > 10, "seed {seed}");
    }
}
