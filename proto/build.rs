//! Compiles `pdu.proto` with protox, so that no `protoc` is needed on the build host.

use std::error::Error;

const SCHEMA: &str = "pdu.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SCHEMA}");
    let descriptors = protox::compile([SCHEMA], ["."])?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
