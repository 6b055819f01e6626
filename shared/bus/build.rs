//! Compiles the bus messages with a compiler written in Rust: no `protoc` to install.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    let files =
        ["channel", "health", "demand", "catalogue", "why"].map(|name| format!("{root}/bus/v1/{name}.proto"));
    println!("cargo::rerun-if-changed={root}/bus/v1");
    let descriptors = protox::compile(&files, [root])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
