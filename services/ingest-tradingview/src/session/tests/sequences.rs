use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::{Peer, settings};
use crate::{Limits, SessionSettings};

/// Many lives of random wishes and mishaps; the model of the venue in [`Peer`] panics where a key is added twice, removed
/// where it is not, or a dead session is spoken to. In the end the venue holds what is wanted and nothing else.
#[test]
fn whatever_happens_the_venue_ends_up_holding_what_is_wanted() {
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let limits = Limits {
            messages_per_s: rng.usize(3..20),
            symbols_per_session: rng.usize(1..9),
            symbols_max: 24,
        };
        let names: Vec<String> = (0..24).map(|number| format!("X:{number:02}")).collect();
        let mut peer = Peer::upgraded(SessionSettings { limits, ..settings() });
        peer.chunk = if rng.bool() { usize::MAX } else { rng.usize(1..40) };
        peer.is_mute = rng.bool();
        peer.poison = names.iter().filter(|_| rng.u8(..) < 20).cloned().collect();
        let greet_at = rng.usize(0..3);
        let mut wanted: Vec<String> = Vec::new();
        let (mut broken, mut limited) = (0, 0);
        for step in 0..rng.usize(10..60) {
            if step == greet_at {
                peer.greet();
            }
            match rng.u8(0..8) {
                0..=2 => {
                    wanted = names.iter().filter(|_| rng.bool()).cloned().collect();
                    peer.want(&wanted);
                }
                3 => {
                    let silent: Vec<&String> = names.iter().filter(|_| rng.u8(..) < 40).collect();
                    peer.ask_again(&silent);
                }
                4 if broken < 6 && !peer.sessions.is_empty() => {
                    broken += 1;
                    let nth = rng.usize(..peer.sessions.len());
                    let id = peer.sessions.keys().nth(nth).unwrap().clone();
                    // A third session too many would end the connection.
                    let is_limit = limited < 2 && rng.bool();
                    limited += usize::from(is_limit);
                    let reason = if is_limit { "max sessions rate reached" } else { "invalid_parameters" };
                    peer.break_session(&id, reason, "x");
                }
                5 => {
                    let held: Vec<String> = peer.held().into_iter().collect();
                    for key in held {
                        if rng.bool() && peer.held().contains(&key) {
                            peer.qsd(&key, &json!({"lp": rng.u32(1..9), "bid": 1, "ask": rng.u32(2..9)}));
                        }
                    }
                }
                _ => peer.pass(Duration::from_millis(rng.u64(0..3_000))),
            }
        }
        // Whom a broken session made suspect is asked for again after ten minutes at the latest.
        for _ in 0..30 {
            peer.pass(Duration::from_secs(60));
        }
        let held = peer.held();
        let expected: BTreeSet<String> =
            wanted.iter().filter(|name| !peer.poison.contains(*name)).cloned().collect();
        assert_eq!(held, expected, "seed {seed}");
        let keys: usize = peer.sessions.values().map(BTreeSet::len).sum();
        assert_eq!(keys, held.len(), "seed {seed}: a key is in two sessions");
        let times: Vec<Duration> = peer.sent.iter().map(|(at, _)| *at).collect();
        for (index, start) in times.iter().enumerate() {
            let within =
                times[index..].iter().take_while(|at| **at < *start + Duration::from_secs(1)).count();
            assert!(within <= limits.messages_per_s, "seed {seed}: {within} in a second");
        }
    }
}

#[test]
fn the_same_wishes_make_the_same_bytes_but_for_the_masks() {
    let life = || {
        let mut peer = Peer::greeted(settings(), &["A:A", "A:B"]);
        peer.ask_again(&["A:B"]);
        peer.pass(Duration::from_secs(20));
        peer.sent
    };
    assert_eq!(life(), life());
}
