//! Writes a certificate for localhost and 127.0.0.1 and its key, for the runs with TLS.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Writes cert.pem and key.pem, a certificate of its own for localhost and 127.0.0.1.
#[derive(Parser, Debug)]
#[command(name = "certificate", version)]
struct Arguments {
    /// Where to write them
    #[arg(long)]
    directory: PathBuf,
}

fn main() -> ExitCode {
    match write(&Arguments::parse().directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    std::fs::write(directory.join("cert.pem"), made.cert.pem())?;
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(())
}
