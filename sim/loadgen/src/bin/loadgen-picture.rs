//! Draws latency against load from reports of loadgen.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use loadgen::picture::{Series, draw};
use serde_json::Value;

/// Draws latency (p99, from the tick's stamp to its arrival) against load from reports of loadgen.
#[derive(Parser, Debug)]
#[command(name = "loadgen-picture", version)]
struct Arguments {
    /// The SVG to write
    #[arg(long)]
    out: PathBuf,
    /// What stands above it
    #[arg(long, default_value = "Latency against load")]
    title: String,
    /// Reports as NAME=FILE; those of one name are one line
    #[arg(required = true)]
    reports: Vec<String>,
}

fn main() -> ExitCode {
    match picture(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn picture(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut series: Vec<Series> = Vec::new();
    for report in &arguments.reports {
        let (name, file) = report.rsplit_once('=').ok_or_else(|| format!("{report} is not NAME=FILE"))?;
        let text = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        let report: Value = serde_json::from_slice(&text).map_err(|error| format!("{file}: {error}"))?;
        let number = |value: &Value| value.as_f64().unwrap_or(0.0);
        let point =
            (number(&report["ticks_per_s"]), number(&report["latency_from_venue"]["p99_us"]) / 1000.0);
        match series.iter_mut().find(|one| one.name == name) {
            Some(one) => one.points.push(point),
            None => series.push(Series { name: name.to_owned(), points: vec![point] }),
        }
    }
    std::fs::write(&arguments.out, draw(&arguments.title, &series))?;
    Ok(())
}
