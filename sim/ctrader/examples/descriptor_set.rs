//! Writes what `proto/ctrader` was compiled to (an encoded `FileDescriptorSet`) to standard output.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(sim_ctrader::DESCRIPTOR_SET)
}
