//! Whatever ends a server whose log is for programs: every line is JSON, and the last one says why.

use std::net::TcpListener;

use serde_json::{Value, json};
use sidespan_test_support::{Answer, Launch, Sidecar, Signal, Webhook, eventually};

use crate::{PATIENCE, SIDESPAN, store};

/// Reads a log that has nothing but JSON.
fn every_line(stderr: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    stderr.lines().map(read).collect()
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_in_json() {
    let config = "version: 1\nservice: shop\nlog: {format: json}\n\
                  bridges: {local: {kind: embedded, dir: data, open: true}}\n";
    let launch = Launch::new(SIDESPAN).config(config);
    let _taken = TcpListener::bind(launch.address()).unwrap();
    let ended = launch.run_to_end().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let last = every_line(&ended.stderr).pop().unwrap();
    assert_eq!((&last["level"], &last["message"]), (&json!("ERROR"), &json!("serving has failed")));
    assert!(last["error"].as_str().unwrap().starts_with("cannot listen on "), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_finish_in_time_says_what_was_left_in_json() {
    let webhook = Webhook::start(|_| Answer::hang()).await;
    let mut sidecar = delivering(&webhook, "500ms").await;
    let ended = sidecar.stop().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let last = every_line(&ended.stderr).pop().unwrap();
    assert_eq!((&last["message"], &last["attempts_left"]), (&json!("stopped"), &json!(1)), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_twice_says_so_in_json() {
    let webhook = Webhook::start(|_| Answer::hang()).await;
    let mut sidecar = delivering(&webhook, "60s").await;
    sidecar.signal(Signal::Terminate);
    eventually(PATIENCE, "it drains", async || sidecar.stderr().contains("draining")).await;
    let ended = sidecar.stop().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let last = every_line(&ended.stderr).pop().unwrap();
    assert_eq!((&last["level"], &last["message"]), (&json!("ERROR"), &json!("serving has failed")), "{last}");
    assert!(last["error"].as_str().unwrap().contains("second signal"), "{last}");
}

/// Starts a server with an attempt that does not end before its deliveries must.
async fn delivering(webhook: &Webhook, deliveries: &str) -> Sidecar {
    let config = format!(
        "version: 1\nservice: shop\nlog: {{format: json}}\nbridges: {{local: {{kind: embedded, dir: data}}}}\n\
         topics: {{orders: {{}}}}\ndrain: {{deliveries: {deliveries}, shutdown: 1s}}\n\
         subscriptions: {{billing: {{topic: orders, start: begin, dead_letter: false, push: {{url: '{}'}}}}}}\n",
        webhook.url("/")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    store(&sidecar, "orders", "x", &[]).await;
    webhook.wait_until("an attempt", |received| received.len() == 1).await;
    sidecar
}
