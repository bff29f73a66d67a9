//! The dead letters of a run, read as anybody can.

use std::collections::BTreeSet;
use std::time::Duration;

use sidespan_test_support::Client;
use sidespan_test_support::history::Order;
use tokio::time::timeout;

/// Reads a stream of dead letters until nothing more comes for a while.
pub(crate) async fn read(url: &str) -> BTreeSet<Order> {
    let mut letters = BTreeSet::new();
    let Ok(mut stream) = Client::new().get(url).open().await else { return letters };
    let mut text = String::new();
    while let Ok(Some(Ok(piece))) = timeout(QUIET, stream.next()).await {
        text.push_str(std::str::from_utf8(&piece).expect("events are text"));
    }
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        // The last line may be half a one.
        if let Ok(message) = serde_json::from_str::<serde_json::Value>(data) {
            let body = message["text"].as_str().expect("a dead letter keeps its body");
            let reasons = message["headers"].to_string();
            assert!(reasons.contains("sidespan-dead-reason"), "a dead letter says why: {reasons}");
            letters.insert(Order::read(body));
        }
    }
    letters
}

const QUIET: Duration = Duration::from_millis(500);
