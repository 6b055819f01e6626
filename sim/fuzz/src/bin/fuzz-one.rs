//! Runs one target on one file, or makes the file shorter while it still breaks its promise: `fuzz-one TARGET FILE [shrink]`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people")]

use std::panic::catch_unwind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, file, rest @ ..] = arguments.as_slice() else {
        println!("usage: fuzz-one TARGET FILE [shrink]");
        return ExitCode::from(64);
    };
    let target = sim_fuzz::target(name).expect("a target of this name");
    let mut bytes = std::fs::read(file).unwrap();
    if !rest.iter().any(|word| word == "shrink") {
        target(&bytes);
        return ExitCode::SUCCESS;
    }
    std::panic::set_hook(Box::new(|_| {}));
    let breaks = |bytes: &[u8]| catch_unwind(|| target(bytes)).is_err();
    if !breaks(&bytes) {
        println!("the promise holds");
        return ExitCode::SUCCESS;
    }
    // Whole pieces first, then single bytes, then smaller bytes.
    let mut piece = bytes.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < bytes.len() {
            let mut shorter = bytes.clone();
            shorter.drain(at..(at + piece).min(bytes.len()));
            if breaks(&shorter) {
                bytes = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    for at in 0..bytes.len() {
        for smaller in 0..bytes[at] {
            let mut simpler = bytes.clone();
            simpler[at] = smaller;
            if breaks(&simpler) {
                bytes = simpler;
                break;
            }
        }
    }
    std::fs::write(file, &bytes).unwrap();
    println!("{} bytes: {bytes:?}", bytes.len());
    ExitCode::SUCCESS
}
