//! What is special without a store.

use serde_json::json;
use sidespan_bridge::{Start, Subscribe, Window};
use sidespan_test_support::{Nats, eventually, unique_name};
use tracing::Level;

use super::log::Log;
use super::{PATIENCE, all_of, close, next, open_with, publish, text};

/// Nobody settles what comes. What has no room is dropped, and in the end all of that was said, in few
/// lines.
#[tokio::test]
async fn drops_are_said_to_the_last_one_and_not_one_by_one() {
    let log = Log::begin(Level::WARN);
    let nats = Nats::shared().await;
    let topic = unique_name("dropped");
    let bridge = open_with(nats, json!({"mode": "core"}));
    let window = Window { bytes: 64 << 20, ..Window::default() };
    let to = Subscribe { start: Start::End, window, ..all_of(&topic) };
    let mut inbox = bridge.subscribe(to).await.unwrap();
    let burst = async |count: usize| {
        for _ in 0..count {
            publish(&*bridge, &topic, vec![text("x".repeat(1_000_000))]).await;
        }
    };
    let said = |total: usize| {
        let lines = log.lines(&topic);
        lines.last().is_some_and(|line| line.contains(&format!("dropped={total} ")))
    };

    burst(FITTING + 20).await;
    eventually(PATIENCE, "all drops of a burst to be said", async || said(20)).await;
    burst(1).await;
    // There is room for a small one, and when it comes, the one before it was dropped.
    publish(&*bridge, &topic, vec![text("small")]).await;
    let mut held = Vec::new();
    for _ in 0..=FITTING {
        held.push(next(&mut inbox).await);
    }
    close(inbox).await;
    eventually(PATIENCE, "what was dropped before the end to be said", async || said(21)).await;
    assert!(log.lines(&topic).len() <= 4, "{}", log.text());
}

/// How many of a million bytes find room.
const FITTING: usize = 33;
