//! Compiles the venue's messages with a compiler written in Rust: no `protoc` to install.

use std::error::Error;
use std::path::Path;

use prost_types::FileDescriptorSet;

const FILES: [&str; 10] = [
    "envelope",
    "payload_types",
    "errors",
    "session",
    "symbols",
    "spots",
    "bars",
    "history",
    "depth",
    "trader",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    println!("cargo::rerun-if-changed={root}/ctrader");
    let descriptors = protox::compile(FILES.map(|name| format!("{root}/ctrader/{name}.proto")), [root])?;
    keep(&descriptors)?;
    prost_build::Config::new().bytes(["."]).enable_type_names().compile_fds(descriptors)?;
    Ok(())
}

/// Keeps what the code was generated from, so that a test and the peers can compare it with official descriptors.
fn keep(descriptors: &FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("ctrader.fds"), prost::Message::encode_to_vec(descriptors))?;
    Ok(())
}
