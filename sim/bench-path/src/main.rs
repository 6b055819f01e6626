//! The command line of the benchmark.

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use bench_path::{Arguments, BenchError, What, measure, stages};
use clap::Parser as _;
use serde::Serialize;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let file = arguments.json.as_deref();
    match arguments.what {
        What::Stages { events, only } => show(&stages(events, only), file),
        What::Ingest => show(&measure(&arguments.plan(), true, false)?, file),
        What::Gateway => show(&measure(&arguments.plan(), false, true)?, file),
        What::Both => show(&measure(&arguments.plan(), true, true)?, file),
    }
}

fn show(result: &(impl Display + Serialize), file: Option<&Path>) -> Result<(), BenchError> {
    write!(std::io::stdout(), "{result}")?;
    if let Some(file) = file {
        std::fs::write(file, serde_json::to_vec_pretty(result)?)?;
    }
    Ok(())
}
