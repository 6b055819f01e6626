//! Measures, in virtual time, how long each fault takes to be told and to be healed, and prints the table.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

fn main() {
    print!("{}", sim_world::table());
}
