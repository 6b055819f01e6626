//! Measures, in virtual time, how long each fault takes to be told and to be healed, and writes `docs/faults.md`.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::path::Path;

fn main() -> std::io::Result<()> {
    let page = sim_world::page();
    print!("{page}");
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md"), page)
}
