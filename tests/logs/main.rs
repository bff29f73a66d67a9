//! The log of a running server: bounded in a storm, never waited for, changed while it runs, and never a secret.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod bridges;
mod ends;
mod levels;
mod panics;
mod pipe;
mod storm;

use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::{Client, Sidecar};

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// How long anything may take that should be done soon.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads a log, each line of which must be whole.
fn lines(stderr: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    stderr.lines().filter(|line| line.starts_with('{')).map(read).collect()
}

/// Publishes a message, which must be stored.
async fn store(sidecar: &Sidecar, topic: &str, body: &str, headers: &[(&'static str, &str)]) {
    let mut publish =
        Client::new().post(&sidecar.url(&format!("/v1/topics/{topic}/messages")), body.to_owned());
    for (name, value) in headers {
        publish = publish.header(name, value);
    }
    let answer = publish.send().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}
