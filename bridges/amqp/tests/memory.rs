//! What an idle connection costs.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "this is test code")]

use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Driver, Order, Pattern, Settings, Start, Subscribe, Window};
use sidespan_bridge_amqp::Amqp;
use sidespan_test_support::{Rabbit, eventually, unique_name};

/// The client library's buffers of 8 MiB a connection are used as far as they are needed.
#[tokio::test]
async fn an_idle_connection_takes_little_memory() {
    let rabbit = Rabbit::shared().await;
    let bridge = Amqp.open(&Settings::new("memory-tests", json!({"url": rabbit.url()}))).unwrap();
    eventually(Duration::from_secs(20), "a connection", async || {
        bridge.probe(tokio::time::Instant::now() + Duration::from_secs(1)).await.is_ok()
    })
    .await;
    let before = anonymous();
    let mut inboxes = Vec::new();
    for _ in 0..SUBSCRIPTIONS {
        let group = unique_name("idle");
        let to = Subscribe {
            pattern: Pattern::parse(&group).unwrap(),
            group: Some(group.into()),
            start: Start::End,
            order: Order::Key,
            window: Window::default(),
        };
        inboxes.push(bridge.subscribe(to).await.unwrap());
    }
    let each = anonymous().saturating_sub(before) / SUBSCRIPTIONS;
    eprintln!("anonymous memory: {before} KiB with one connection, and {each} KiB for each more");
    assert!(each < MOST, "{each} KiB for each connection");
}

/// Returns this process' anonymous memory in KiB.
fn anonymous() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const SUBSCRIPTIONS: usize = 8;
/// In KiB.
const MOST: usize = 1024;
