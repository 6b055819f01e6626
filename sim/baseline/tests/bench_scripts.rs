//! The parts of ./bench that are not Rust.

#![allow(clippy::unwrap_used, reason = "a test, though not one that clippy recognises")]

use std::process::Command;

#[test]
fn the_statistics_and_tables_of_bench_hold() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/bench-test");
    let done = Command::new(script).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
