//! The messages of the gRPC door and clients of its services, as `proto/` describes them.
//!
//! `build.rs` makes this. The generated clients are for the tests and for whoever embeds Sidespan.

#![allow(
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]

tonic::include_proto!("sidespan.v1");

/// The description of all of it, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
