//! The chart's alert rules and dashboards: Prometheus itself reads them, and Sidespans in trouble set off what they should.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod dashboards;
mod prometheus;
mod rules;
mod troubles;

use std::path::PathBuf;
use std::time::Duration;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// How long to wait for what has to come.
const PATIENCE: Duration = Duration::from_secs(90);

/// Returns where the chart keeps a file.
fn chart(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("helm/sidespan/files").join(file)
}
