//! the image: hadolint reads the Dockerfile, and the program runs with nothing but what it holds

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sidespan_test_support::{Said, run};

mod context;
mod dockerfile;
mod libraries;
mod release;
mod room;
mod running;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// Runs a program in the repository to its end, and fails unless it does well.
async fn done(program: &str, arguments: &[&str], environment: &[(&str, &Path)], patience: Duration) -> Said {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(ROOT);
    command.envs(environment.iter().copied());
    let said = run(program, &command, patience).await;
    assert!(said.success, "{program} {arguments:?}\n{}{}", said.output, said.errors);
    said
}

/// How long anything may take that compiles nothing.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a release build may take, beside other work.
const BUILD: Duration = Duration::from_secs(7200);
