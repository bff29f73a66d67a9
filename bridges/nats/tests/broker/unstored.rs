//! What is special without a store.

use serde_json::json;
use sidespan_bridge::{Start, Subscribe};
use sidespan_test_support::{Nats, eventually, unique_name};
use tracing::Level;

use super::log::Log;
use super::{PATIENCE, all_of, close, open_with, publish, text};

/// Nobody takes what comes. What has no room is dropped, and in the end all of that was said, in few
/// lines.
#[tokio::test]
async fn drops_are_said_to_the_last_one_and_not_one_by_one() {
    let log = Log::begin(Level::WARN);
    let nats = Nats::shared().await;
    let topic = unique_name("dropped");
    let bridge = open_with(nats, json!({"mode": "core"}));
    let untaken = bridge.subscribe(Subscribe { start: Start::End, ..all_of(&topic) }).await.unwrap();
    let burst = async |count: usize| {
        for _ in 0..count {
            publish(&*bridge, &topic, vec![text("x".repeat(1_000_000))]).await;
        }
    };
    let said = |total: usize| {
        let lines = log.lines(&topic);
        lines.last().is_some_and(|line| line.contains(&format!("dropped={total} ")))
    };

    burst(33 + 20).await;
    eventually(PATIENCE, "all drops of a burst to be said", async || said(20)).await;
    burst(20).await;
    // Soon after the last line there would be none yet; the end says what is left.
    close(untaken).await;
    eventually(PATIENCE, "what was dropped before the end to be said", async || said(40)).await;
    assert!(log.lines(&topic).len() <= 4, "{}", log.text());
}
