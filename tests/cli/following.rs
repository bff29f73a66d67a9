//! `sub`, and what it does when either side goes away.

use std::fs;

use sidespan_test_support::{Launch, eventually};

use crate::{PATIENCE, SIDESPAN, development, ended, shell, sidespan};

#[tokio::test]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let sidecar = development().await;
    let url = sidecar.url("");
    ended(&sidespan(&["publish", "t", "only", "--server", &url]).await, 0);
    let line = format!(
        "{{ $SIDESPAN sub t --start begin -o json --server {url}; echo \"code $?\" >&2; }} | head -n 1"
    );
    let seen = shell(&line).await;
    assert!(seen.stdout.contains("\"only\""), "{}", seen.stdout);
    assert_eq!(seen.stderr, "following t from begin\ncode 0\n");
}

#[tokio::test]
async fn following_goes_on_after_the_server_was_away_and_ends_with_an_interrupt() {
    let mut sidecar = development().await;
    let url = sidecar.url("");
    ended(&sidespan(&["publish", "t", "0", "--server", &url]).await, 0);
    let seen = sidecar.directory().join("seen");
    let line = format!("$SIDESPAN sub t -n 3 --start begin -o json --server {url} | tee {}", seen.display());
    let following = tokio::spawn(async move { shell(&line).await });
    ended(&sidespan(&["publish", "t", "1", "--server", &url]).await, 0);
    let lines = || fs::read_to_string(&seen).unwrap_or_default().lines().count();
    eventually(PATIENCE, "two messages are seen", async || lines() == 2).await;
    sidecar.kill();
    sidecar.start_again().await;
    ended(&sidespan(&["publish", "t", "2", "--server", &url]).await, 0);
    let seen = following.await.unwrap();
    ended(&seen, 0);
    let data: Vec<i64> = seen
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["data"].as_i64().unwrap())
        .collect();
    assert_eq!(data, [0, 1, 2]);

    let line = format!(
        "$SIDESPAN sub t --server {url} 2>said & until grep -qs following said; do sleep 0.05; done; \
         kill -INT $! && wait $! && cat said >&2"
    );
    let interrupted = shell(&line).await;
    ended(&interrupted, 0);
    assert_eq!(
        interrupted.stderr,
        "following t from end; 3 messages are stored earlier (--start begin shows them)\n"
    );
}

#[tokio::test]
async fn following_a_pattern_goes_on_without_a_gap() {
    let mut sidecar = development().await;
    let url = sidecar.url("");
    ended(&sidespan(&["publish", "t.a", "0", "--server", &url]).await, 0);
    let seen = sidecar.directory().join("seen");
    let line =
        format!("$SIDESPAN sub 't.*' -n 3 --start begin -o json --server {url} | tee {}", seen.display());
    let following = tokio::spawn(async move { shell(&line).await });
    let lines = || fs::read_to_string(&seen).unwrap_or_default().lines().count();
    eventually(PATIENCE, "a message is seen", async || lines() == 1).await;
    sidecar.kill();
    sidecar.start_again().await;
    // Before the reader is back, as a rule.
    for topic in ["t.b", "t.a"] {
        ended(&sidespan(&["publish", topic, "1", "--server", &url]).await, 0);
    }
    let seen = following.await.unwrap();
    ended(&seen, 0);
    let topics: Vec<String> = seen
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["topic"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(topics, ["t.a", "t.b", "t.a"]);
    assert!(seen.stderr.contains("connected again\n"), "{}", seen.stderr);
}

#[tokio::test]
async fn what_is_pulled_is_printed_once_and_acknowledged() {
    printed_once_and_acknowledged("--pull").await;
}

#[tokio::test]
async fn what_is_streamed_is_printed_once_and_acknowledged() {
    printed_once_and_acknowledged("--stream").await;
}

async fn printed_once_and_acknowledged(way: &str) {
    let sidecar = Launch::new(SIDESPAN).arguments(&["--pull", "jobs"]).start().await;
    sidecar.until_ready().await;
    let url = sidecar.url("");
    for text in ["one", "two", "three"] {
        ended(&sidespan(&["publish", "jobs", text, "--server", &url]).await, 0);
    }
    let taken = sidespan(&["sub", way, "jobs", "-n", "2", "-o", "json", "--server", &url]).await;
    ended(&taken, 0);
    assert_eq!(taken.stderr, "taking from jobs\n");
    let texts = |text: &str| -> Vec<String> {
        let message = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        text.lines().map(|line| message(line)["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&taken.stdout), ["one", "two"]);
    let rest = sidespan(&["sub", way, "jobs", "-n", "1", "-o", "json", "--server", &url]).await;
    assert_eq!(texts(&rest.stdout), ["three"]);
    let none = sidespan(&["sub", way, "nobody", "--server", &url]).await;
    ended(&none, 1);
    assert!(none.stderr.contains("There is no such subscription (404)"), "{}", none.stderr);
}
