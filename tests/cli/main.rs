//! the command line: every command, run as people run it

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use sidespan_test_support::{Ended, Launch, Sidecar};

mod answering;
mod calling;
mod configuring;
mod following;
mod injecting;
mod manifests;
mod manual;
mod operating;
mod publishing;
mod requesting;
mod starting;
mod subscriptions;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// Runs a command to its end.
async fn sidespan(arguments: &[&str]) -> Ended {
    Launch::new(SIDESPAN).arguments(arguments).run_to_end().await
}

/// Runs a line of shell, in which `$SIDESPAN` is the program.
async fn shell(line: &str) -> Ended {
    Launch::new("/bin/sh").arguments(&["-c", line]).env("SIDESPAN", SIDESPAN).run_to_end().await
}

async fn development() -> Sidecar {
    let sidecar = Launch::new(SIDESPAN).start().await;
    sidecar.until_ready().await;
    sidecar
}

#[track_caller]
fn ended(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "{}\n{}", ended.stdout, ended.stderr);
}

const PATIENCE: Duration = Duration::from_secs(30);
