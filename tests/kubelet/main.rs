//! Life in Kubernetes: pods end in each order, gateways roll, brokers are away while pods start.
//!
//! The kubelet is played with real processes: a sidecar, an app beside it that takes what is pushed and publishes until
//! it ends, and `sidespan drain` as the hook. What the app saw is in its output, which outlives it; a successor with the
//! same configuration gets the rest, and then the history is checked: nothing that was answered 2xx is lost, and no
//! shutdown makes a dead letter.
//!
//! # The end of a pod, as the kubelet has it
//!
//! The hooks of all containers begin at once, also those of native sidecars (`initContainers` with `restartPolicy: Always`).
//! A container is sent SIGTERM when its own hook has ended; a native sidecar not before the main containers are gone. The
//! grace period counts from the beginning; what it leaves is what a container has after SIGTERM, but at least two
//! seconds. Then it is killed. That is `killContainer` in the kubelet's `kuberuntime_container.go`, and its
//! `terminationOrdering`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its figures are for the person who reads them"
)]

mod app;
mod away;
mod ends;
mod hook;
mod pod;
mod rolling;

use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::{Client, Ended, Sidecar, eventually};

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");
/// Attempts of a run in which nothing is given up.
const NEVER: u32 = 1_000;
/// How long anything may take that should be done soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the status that a probe is answered with.
async fn probe(sidecar: &Sidecar, path: &str) -> u16 {
    let answer = Client::new().get(&sidecar.admin_url(path)).send().await;
    answer.map_or(0, |answer| answer.status.as_u16())
}

/// Waits until a probe is answered so.
async fn until(sidecar: &Sidecar, path: &str, status: u16) {
    let what = format!("{path} says {status}");
    eventually(PATIENCE, &what, async || probe(sidecar, path).await == status).await;
}

/// Returns the last line of the log, which says what was left.
fn stopped(ended: &Ended) -> Value {
    let mut lines = ended.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = lines.next_back().expect("a log");
    assert_eq!(last["message"], "stopped", "{}", ended.stderr);
    last
}
