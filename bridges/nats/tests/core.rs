//! The conformance suite against a real NATS server, without JetStream.

#![allow(clippy::expect_used, reason = "this is test code")]

#[path = "support/harness.rs"]
mod harness;

use std::process::ExitCode;

use sidespan_bridge::conformance::Kind;

#[tokio::main]
async fn main() -> ExitCode {
    harness::run(Kind::CoreNats).await
}
