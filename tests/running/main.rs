//! The running server: probes, stopping, Kafka's troubles, secrets, pages that follow.
//!
//! The processes, brokers and webhooks are real: what is tested here is what only shows once all
//! the parts stand together.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its figures are for the person who reads them"
)]

mod allowing;
#[cfg(feature = "nats")]
mod authorities;
#[cfg(feature = "kafka")]
mod broker;
#[cfg(all(feature = "amqp", feature = "nats"))]
mod callers;
mod many;
#[cfg(feature = "kafka")]
mod records;
mod registry;
mod reloading;
#[cfg(any(feature = "amqp", feature = "kafka", feature = "nats"))]
mod requests;
mod secrets;
mod seeking;
mod starting;
mod stopping;
mod streams;

use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::{Client, Ended, Response, Sidecar};

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// How long anything may take that should be done soon.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns what `/readyz` says in full, and with which status.
async fn readiness(sidecar: &Sidecar) -> (u16, Value) {
    probe(sidecar, "/readyz?verbose").await
}

/// Returns what a probe says, and with which status.
async fn probe(sidecar: &Sidecar, path: &str) -> (u16, Value) {
    let answer = Client::new().get(&sidecar.admin_url(path)).send().await.unwrap();
    (answer.status.as_u16(), answer.json())
}

/// Publishes a message to a topic and returns the answer.
async fn publish(sidecar: &Sidecar, topic: &str, body: &str) -> Response {
    let url = sidecar.url(&format!("/v1/topics/{topic}/messages"));
    Client::new().post(&url, body.to_owned()).header("content-type", "text/plain").send().await.unwrap()
}

/// Publishes a message to a topic, which must be stored.
async fn store(sidecar: &Sidecar, topic: &str, body: &str) -> Value {
    let answer = publish(sidecar, topic, body).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json()
}

#[track_caller]
fn ended_with(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "{}\n{}", ended.stdout, ended.stderr);
}
