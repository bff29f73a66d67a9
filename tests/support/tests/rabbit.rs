//! The RabbitMQ that tests run against starts, dies, comes back and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sidespan_test_support::{Rabbit, eventually, unique_name};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn a_broker_is_shared_by_the_tests_of_a_binary() {
    let (one, other) = tokio::join!(Rabbit::shared(), Rabbit::shared());
    assert_eq!(one.url(), other.url());
    assert!(one.url().ends_with(&format!(":{}/%2f", one.port())), "{}", one.url());
}

#[tokio::test]
async fn a_broker_is_administered_dies_and_comes_back_with_its_data() {
    let mut rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let url = rabbit.url().to_owned();
    rabbit.ctl(&["add_vhost", "orders"]).await;

    rabbit.kill();
    assert!(TcpStream::connect(("127.0.0.1", rabbit.port())).await.is_err(), "a killed broker listens");
    let start = Instant::now();
    rabbit.start_again().await;
    eprintln!("back {:?} after a kill", start.elapsed());
    assert_eq!(rabbit.url(), url);
    assert!(rabbit.ctl(&["list_vhosts"]).await.contains("orders"));
}

#[tokio::test]
async fn a_broker_stops_politely_and_freezes() {
    let mut rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    rabbit.freeze();
    let mut socket = TcpStream::connect(("127.0.0.1", rabbit.port())).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut socket, b"AMQP\x00\x00\x09\x01").await.unwrap();
    let frozen = timeout(Duration::from_millis(300), socket.read_u8()).await;
    assert!(frozen.is_err(), "a frozen broker answers");
    rabbit.thaw();
    assert_eq!(timeout(Duration::from_secs(10), socket.read_u8()).await.unwrap().unwrap(), 1);

    rabbit.stop().await;
    assert!(TcpStream::connect(("127.0.0.1", rabbit.port())).await.is_err(), "a stopped broker listens");
    rabbit.start_again_unready();
    eventually(Duration::from_secs(60), "the broker listens", async || {
        TcpStream::connect(("127.0.0.1", rabbit.port())).await.is_ok()
    })
    .await;
}

/// Erlang likes to leave daemons behind, in sessions of their own.
#[tokio::test]
async fn a_test_run_that_is_killed_or_fails_leaves_nothing_behind() {
    for end in ["killed", "failed"] {
        let scratch = TempDir::new().unwrap();
        let mark = unique_name("run");
        let mut run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_test_run_that_ends_badly", "--ignored"])
            .env("SIDESPAN_TEST_AMQP", "")
            .env("TMPDIR", scratch.path())
            .env("SIDESPAN_TEST_LOGS", scratch.path().join("logs"))
            .env("ENDS", end)
            .env("MARK", &mark)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually(Duration::from_secs(90), "the run has a broker", async || {
            scratch.path().join("up").exists()
        })
        .await;
        let names = names_of(&mark);
        assert!(names.iter().any(|name| name == "beam.smp"), "{names:?}");
        assert!(names.iter().any(|name| name == "epmd"), "{names:?}");

        if end == "killed" {
            run.kill().unwrap();
        } else {
            fs::write(scratch.path().join("fail"), "").unwrap();
        }
        run.wait().unwrap();
        eventually(Duration::from_secs(10), "nothing is left", async || {
            let left = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names_of(&mark).is_empty()
                && left.filter(|name| name.to_string_lossy().starts_with("sidespan-")).count() == 0
        })
        .await;
    }
}

/// Not a test: [`a_test_run_that_is_killed_or_fails_leaves_nothing_behind`] starts it.
#[tokio::test]
#[ignore = "another test starts it"]
async fn the_test_run_that_ends_badly() {
    let Some(end) = std::env::var_os("ENDS") else { return };
    let _rabbit = Rabbit::start().await.unwrap();
    let scratch = std::env::temp_dir();
    fs::write(scratch.join("up"), "").unwrap();
    if end == "killed" {
        return std::future::pending().await;
    }
    eventually(Duration::from_secs(10), "it may fail", async || scratch.join("fail").exists()).await;
    panic!("this test fails on purpose");
}

/// Returns the names of the living processes whose environment holds `mark`: all that descend from
/// the one that was given it.
fn names_of(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let marked = processes.filter(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == format!("MARK={mark}").as_bytes())
    });
    marked.map(|process| fs::read_to_string(process.join("comm")).unwrap_or_default().trim().into()).collect()
}
