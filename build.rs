//! Makes Rust of `proto/`, without protoc.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(FILES)?;
    // What reflection shows goes without the comments, which become the documentation of the Rust.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    compiler.include_source_info(true);
    tonic_prost_build::configure()
        // The door calls its methods by itself: each has limits of its own.
        .build_server(false)
        .build_transport(false)
        .bytes(".sidespan.v1.Message.payload")
        .bytes(".io.cloudevents.v1.CloudEvent.binary_data")
        .btree_map(".io.cloudevents.v1")
        .bytes(".sidespan.v1.Reply.payload")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

const FILES: [&str; 9] = [
    "io/cloudevents/v1/cloudevents.proto",
    "sidespan/v1/admin.proto",
    "sidespan/v1/failure.proto",
    "sidespan/v1/message.proto",
    "sidespan/v1/publisher.proto",
    "sidespan/v1/receiver.proto",
    "sidespan/v1/requester.proto",
    "sidespan/v1/socket.proto",
    "sidespan/v1/subscriber.proto",
];
