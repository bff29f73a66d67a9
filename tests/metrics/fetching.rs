//! What is counted of messages that consumers fetch.

use serde_json::{Value, json};
use sidespan_test_support::{Client, Sidecar, eventually};

use crate::{PATIENCE, metrics, start, store};

const PROCESS: &str = "messaging_process_duration_seconds_count";
const SETTLE: &str = "messaging_client_operation_duration_seconds_count";

async fn post(sidecar: &Sidecar, path: &str, body: Value) -> Value {
    let url = sidecar.url(&format!("/v1/subscriptions/billing/{path}"));
    let answer = Client::new().post(&url, body.to_string()).send().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Fetches one message, and returns its ack id.
async fn pull(sidecar: &Sidecar) -> Value {
    let pulled = post(sidecar, "pull", json!({ "max_messages": 1, "wait": "10s" })).await;
    pulled["messages"][0]["ack_id"].clone()
}

#[tokio::test]
async fn a_message_is_timed_from_when_it_is_handed_out_until_its_consumer_is_done_with_it() {
    let sidecar = start(
        "subscriptions: { billing: { topic: orders, start: begin, order: none, pull: { lease: 1s }, retry: { backoff: { base: \
         10s, cap: 10s } } } }\n",
    )
    .await;
    for _ in 0..3 {
        store(&sidecar, "orders").await;
    }
    let (done, back) = (pull(&sidecar).await, pull(&sidecar).await);
    assert!(pull(&sidecar).await.is_string(), "the third is left alone");
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.all(PROCESS).count(), 0, "nobody has said anything yet");
    post(&sidecar, "ack", json!({ "ack_ids": [done] })).await;
    post(&sidecar, "nack", json!({ "ack_ids": [back] })).await;
    let ended = ["messaging_destination_name=\"orders\"", "error_type=\"no_answer\""];
    eventually(PATIENCE, "a lease ends", async || {
        let seen = metrics(&sidecar).await;
        seen.all(PROCESS).any(|(series, _)| ended.iter().all(|label| series.contains(label)))
    })
    .await;

    let seen = metrics(&sidecar).await;
    let of = "messaging_destination_name=\"orders\",messaging_system=\"sidespan_embedded\",sidespan_subscription=\"billing\"";
    assert_eq!(seen.get(&format!("{PROCESS}{{{of}}}")), Some(1.0), "that of the acknowledgement");
    for error in ["given_back", "no_answer"] {
        assert_eq!(seen.get(&format!("{PROCESS}{{error_type=\"{error}\",{of}}}")), Some(1.0), "{error}");
    }
    let sum = seen.one("messaging_process_duration_seconds_sum", &["no_answer"]);
    assert!((1.0..10.0).contains(&sum), "the lease took {sum} s");
    let settle = [
        "messaging_operation_name=\"settle\"",
        "sidespan_bridge=\"local\"",
        "sidespan_subscription=\"billing\"",
    ];
    assert_eq!(seen.one(SETTLE, &settle), 1.0, "of the one that was acknowledged");
}
