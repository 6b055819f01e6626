//! The command line of the load tool.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use loadgen::{Arguments, LoadError, Settings, run, run_part};

/// Settings that cannot be used.
const EXIT_SETTINGS: u8 = 64;

fn main() -> ExitCode {
    // A missing .env is the usual case; a broken one shows in the settings it was to give.
    let _ = dotenvy::from_path(".env");
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(EXIT_SETTINGS) };
        }
    };
    match measure(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            let settings = matches!(error, LoadError::Settings(_));
            if settings { ExitCode::from(EXIT_SETTINGS) } else { ExitCode::FAILURE }
        }
    }
}

/// Does the run; true where it was clean.
fn measure(arguments: &Arguments) -> Result<bool, LoadError> {
    let settings = Settings::read(arguments)?;
    if settings.part.is_some() {
        run_part(&settings)?;
        return Ok(true);
    }
    let report = run(&settings)?;
    write!(std::io::stdout(), "{report}")?;
    if let Some(file) = &settings.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(report.is_clean())
}
