//! What a test run starts ends with it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sidespan_test_support::{Process, Signal, eventually};
use tempfile::TempDir;

#[tokio::test]
async fn a_process_has_the_exit_code_and_the_output_of_its_program() {
    let scratch = TempDir::new().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo to $1; echo $LANGUAGE >&2; exit 7", "it", "out"]).env("LANGUAGE", "to err");
    let (out, err) = (scratch.path().join("out"), scratch.path().join("err"));
    let mut process =
        Process::start(&command, File::create(&out).unwrap(), File::create(&err).unwrap(), scratch.path())
            .unwrap();
    let status = process.wait(Duration::from_secs(10)).await.expect("it ends");
    assert_eq!(status.code(), Some(7));
    assert_eq!(std::fs::read_to_string(out).unwrap(), "to out\n");
    assert_eq!(std::fs::read_to_string(err).unwrap(), "to err\n");
}

#[tokio::test]
async fn signals_reach_the_program() {
    let scratch = TempDir::new().unwrap();
    let ready = scratch.path().join("ready");
    let mut process = start("trap 'exit 3' TERM; touch ready; while :; do sleep 0.01; done", scratch.path());
    eventually(Duration::from_secs(10), "the trap is set", async || ready.exists()).await;
    process.signal(Signal::Stop);
    process.signal(Signal::Terminate);
    assert_eq!(process.wait(Duration::from_millis(200)).await, None, "a frozen process went on");
    process.signal(Signal::Continue);
    let status = process.wait(Duration::from_secs(10)).await.expect("it ends");
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn a_dropped_process_is_gone() {
    let scratch = TempDir::new().unwrap();
    let process = start("sleep 300", scratch.path());
    let id = process.id();
    assert!(is_alive(id));
    drop(process);
    assert!(!is_alive(id));
}

#[tokio::test]
async fn a_killed_test_run_leaves_nothing_behind() {
    for signal in ["KILL", "TERM"] {
        let scratch = TempDir::new().unwrap();
        let left = scratch.path().join("left");
        std::fs::create_dir(&left).unwrap();
        let mut run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_test_run_that_is_killed", "--ignored"])
            .env("LEFT", &left)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pids = left.join("pids");
        let read = || std::fs::read_to_string(&pids).unwrap_or_default();
        eventually(Duration::from_secs(10), "the run has started a process and its child", async || {
            read().lines().count() == 2
        })
        .await;
        let ids: Vec<u32> = read().lines().map(|id| id.parse().unwrap()).collect();
        assert!(ids.iter().all(|id| is_alive(*id)));

        Command::new("sh").args(["-c", &format!("kill -s {signal} {}", run.id())]).status().unwrap();
        run.wait().unwrap();
        eventually(Duration::from_secs(10), "nothing is left", async || {
            !ids.iter().any(|id| is_alive(*id)) && !left.exists()
        })
        .await;
    }
}

/// Not a test: [`a_killed_test_run_leaves_nothing_behind`] starts and kills it.
#[tokio::test]
#[ignore = "another test starts and kills it"]
async fn the_test_run_that_is_killed() {
    let Some(left) = std::env::var_os("LEFT") else { return };
    let _process = start("sleep 300 & printf '%s\\n' $$ $! >new; mv new pids; wait", Path::new(&left));
    std::future::pending::<()>().await;
}

fn start(script: &str, scratch: &Path) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(scratch);
    let log = File::create(scratch.join("log")).unwrap();
    Process::start(&command, log.try_clone().unwrap(), log, scratch).unwrap()
}

/// A zombie that nobody has reaped yet is dead.
fn is_alive(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
