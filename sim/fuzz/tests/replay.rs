//! Replays the corpus of every target, then mutations of it: the same ones in each run, so what fails fails again.
//!
//! `FUZZ_ROUNDS=100000` makes more mutations. An input that breaks a promise is written to `target/fuzz/`; put it into
//! `sim/fuzz/corpus/<target>/` together with the repair.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test; the lints know only functions marked as one"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use sim_fuzz::{TARGETS, Target};

/// Mutations of each target in `./check`.
const ROUNDS: u64 = 3_000;
/// Longest input made.
const INPUT_BYTES_MAX: usize = 2_000;

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds nothing", directory.display());
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The input as it was or with a few changes, or with a part of another.
fn mutation(rng: &mut Rng, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = corpus[rng.usize(..corpus.len())].1.clone();
    for _ in 0..rng.usize(1..12) {
        let at = rng.usize(..=bytes.len());
        match rng.u8(..7) {
            0 => bytes.truncate(at),
            1 | 2 if at < bytes.len() => bytes[at] = rng.u8(..),
            3 => bytes.insert(at, rng.u8(..)),
            4 if at < bytes.len() => _ = bytes.remove(at),
            5 => {
                let other = &corpus[rng.usize(..corpus.len())].1;
                let from = rng.usize(..=other.len());
                let piece = &other[from..(from + rng.usize(..60)).min(other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => bytes.extend((0..rng.usize(..20)).map(|_| rng.u8(..))),
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// Runs one input; where it breaks a promise, leaves it where a person finds it.
fn holds(name: &str, target: Target, bytes: &[u8]) -> bool {
    let holds = catch_unwind(AssertUnwindSafe(|| target(bytes))).is_ok();
    if !holds {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
        fs::create_dir_all(&directory).unwrap();
        let sum = bytes.iter().fold(17u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let path = directory.join(format!("{name}-{sum:016x}"));
        fs::write(&path, bytes).unwrap();
        println!("{name} breaks a promise on {}", path.display());
    }
    holds
}

fn replay(name: &str) {
    let target = sim_fuzz::target(name).unwrap();
    let corpus = corpus(name);
    let mut broken = corpus.iter().filter(|(_, bytes)| !holds(name, target, bytes)).count();
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for seed in 0..rounds {
        let bytes = mutation(&mut Rng::with_seed(seed), &corpus);
        broken += usize::from(!holds(name, target, &bytes));
        if broken > 20 {
            break;
        }
    }
    assert_eq!(broken, 0, "of {} inputs of {name} and {rounds} mutations", corpus.len());
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            assert_eq!(replayed.to_vec(), TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        }
    };
}

targets!(frames session tradingview_stream tradingview_session supervisor browser_frames browser_session bus_messages bus_ticks);
