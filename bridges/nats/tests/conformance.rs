//! The conformance suite against a real NATS server with JetStream.

#![allow(clippy::expect_used, reason = "this is test code")]

#[path = "support/harness.rs"]
mod harness;

use std::process::ExitCode;

use sidespan_bridge::conformance::Kind;

#[tokio::main]
async fn main() -> ExitCode {
    harness::run(Kind::JetStream).await
}
