//! Compiles the venue's messages with a compiler written in Rust: no `protoc` to install.

use std::error::Error;

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
    // What holds a token or a password has no readable form.
    let secret = [
        "ProtoOAApplicationAuthReq",
        "ProtoOAAccountAuthReq",
        "ProtoOARefreshTokenReq",
        "ProtoOARefreshTokenRes",
        "ProtoOAGetAccountListByAccessTokenReq",
        "ProtoOAGetAccountListByAccessTokenRes",
    ];
    prost_build::Config::new().bytes(["."]).skip_debug(secret).compile_fds(descriptors)?;
    Ok(())
}
