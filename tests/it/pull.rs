//! Fetching messages and settling them.

use std::time::Duration;

use serde_json::{Value, json};
use sidespan_test_support::eventually;

use crate::server::Server;

#[tokio::test]
async fn what_is_acknowledged_does_not_come_again() {
    let server = server("lease: 1s").await;
    server.publish("declared", "one").await;
    server.publish("declared", "two").await;
    held(&server, 2).await;
    let messages = pull(&server, json!({})).await;
    assert_eq!(texts(&messages), ["one", "two"]);
    for message in &messages {
        assert_eq!((&message["attempt"], &message["topic"]), (&json!(1), &json!("declared")), "{message}");
    }
    let settled = verdict(&server, "ack", &ids(&messages)).await;
    assert_eq!((&settled["settled"], &settled["failed"]), (&json!(2), &json!(0)));
    // Longer than the leases.
    assert!(pull(&server, json!({ "wait": "1500ms" })).await.is_empty());
    assert_eq!(server.get("/v1/subscriptions/jobs").expect(200).await["delivered"], 2);
}

#[tokio::test]
async fn a_message_whose_lease_ends_comes_again_and_its_old_ack_id_is_over() {
    let server = server("lease: 1s").await;
    server.publish("declared", "one").await;
    let first = pull(&server, json!({})).await;
    let second = pull(&server, json!({ "wait": "10s" })).await;
    assert_eq!(second[0]["attempt"], 2, "{second:?}");
    assert_eq!(first[0]["id"], second[0]["id"]);
    settle(&server, "ack", &ids(&first)).problem(409, "LEASE_ENDED").await;
    verdict(&server, "ack", &ids(&second)).await;
    settle(&server, "ack", &ids(&second)).problem(409, "LEASE_ENDED").await;
}

#[tokio::test]
async fn a_lease_that_is_extended_does_not_end() {
    let server = server("lease: 1s").await;
    server.publish("declared", "one").await;
    let messages = pull(&server, json!({})).await;
    let longer = json!({ "ack_ids": ids(&messages), "lease": "60s" }).to_string();
    server.post("/v1/subscriptions/jobs/extend", longer).expect(200).await;
    assert!(pull(&server, json!({ "wait": "1500ms" })).await.is_empty());
    verdict(&server, "ack", &ids(&messages)).await;
}

#[tokio::test]
async fn what_is_given_back_comes_again_when_its_consumer_says() {
    let server = server("lease: 30s").await;
    server.publish("declared", "one").await;
    let first = pull(&server, json!({})).await;
    let back = json!({ "ack_ids": ids(&first), "delay": "0s" }).to_string();
    server.post("/v1/subscriptions/jobs/nack", back).expect(200).await;
    let second = pull(&server, json!({})).await;
    assert_eq!(second[0]["attempt"], 2);
    let back = json!({ "ack_ids": ids(&second), "delay": "10m" }).to_string();
    server.post("/v1/subscriptions/jobs/nack", back).expect(200).await;
    assert!(pull(&server, json!({ "wait": "500ms" })).await.is_empty());
}

#[tokio::test]
async fn after_the_last_attempt_a_message_is_a_dead_letter() {
    let server = server("lease: 30s").await;
    server.publish("declared", "poison").await;
    for attempt in 1..=3 {
        let messages = pull(&server, json!({})).await;
        assert_eq!(messages[0]["attempt"], attempt);
        let back = json!({ "ack_ids": ids(&messages), "delay": "0s" }).to_string();
        server.post("/v1/subscriptions/jobs/nack", back).expect(200).await;
    }
    let dead = server.messages("dead.shop.jobs", 1).await;
    assert_eq!(dead[0]["text"], "poison");
    let headers = dead[0]["headers"].to_string();
    assert!(headers.contains("exhausted") && headers.contains("given back"), "{headers}");
    assert!(pull(&server, json!({ "wait": "0s" })).await.is_empty());
}

#[tokio::test]
async fn consumers_share_what_there_is_and_one_that_waits_is_given_what_comes() {
    let server = server("lease: 30s").await;
    let waiting = async { pull(&server, json!({ "wait": "20s" })).await };
    let publishing = async { server.publish("declared", "late").await };
    let (messages, _) = tokio::join!(waiting, publishing);
    assert_eq!(texts(&messages), ["late"]);
    for text in ["a", "b", "c"] {
        server.publish("declared", text).await;
    }
    held(&server, 4).await;
    let first = pull(&server, json!({ "max_messages": 2 })).await;
    let second = pull(&server, json!({})).await;
    assert_eq!((texts(&first), texts(&second)), (vec!["a", "b"], vec!["c"]));
}

#[tokio::test]
async fn in_order_a_key_has_one_message_out_at_a_time() {
    let server = server_with("pull: { lease: 30s }, order: key").await;
    for (key, text) in [("k", "k1"), ("k", "k2"), ("l", "l1")] {
        let body = json!([{ "key": key, "text": text }]).to_string();
        let batch =
            server.post("/v1/topics/declared/batches", body).header("content-type", "application/json");
        batch.expect(200).await;
    }
    held(&server, 3).await;
    let first = pull(&server, json!({})).await;
    assert_eq!(texts(&first), ["k1", "l1"]);
    assert!(pull(&server, json!({ "wait": "200ms" })).await.is_empty());
    verdict(&server, "ack", &ids(&first)).await;
    assert_eq!(texts(&pull(&server, json!({})).await), ["k2"]);
}

#[tokio::test]
async fn an_ack_id_is_good_for_nothing_else() {
    let server = Server::with(
        "subscriptions:\n  jobs: { topic: declared, start: begin, pull: {} }\n\
         \x20 others: { topic: declared, start: begin, pull: {} }\n",
    )
    .await;
    server.publish("declared", "one").await;
    let messages = pull(&server, json!({})).await;
    let ids = ids(&messages);
    let of_another = json!({ "ack_ids": ids }).to_string();
    server.post("/v1/subscriptions/others/ack", of_another).problem(400, "INVALID_REQUEST").await;
    let mixed = json!({ "ack_ids": [ids[0], "made-up", "", "x".repeat(10_000)] }).to_string();
    let problem = server.post("/v1/subscriptions/jobs/ack", mixed).problem(400, "INVALID_REQUEST").await;
    assert_eq!((&problem["settled"], &problem["failed"]), (&json!(1), &json!(3)), "{problem}");
    let statuses: Vec<_> = problem["outcomes"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, [200, 400, 400, 400]);
}

#[tokio::test]
async fn what_cannot_be_understood_is_told_why() {
    let server = server("lease: 30s").await;
    for (path, body) in [
        ("pull", r#"{"max_messages": 0}"#),
        ("pull", r#"{"max_messages": 1000000}"#),
        ("pull", r#"{"max_bytes": 0}"#),
        ("pull", r#"{"wait": "1h"}"#),
        ("pull", r#"{"wait": 5}"#),
        ("pull", r#"{"count": 5}"#),
        ("pull", "[]"),
        ("ack", "{}"),
        ("ack", r#"{"ack_ids": "one"}"#),
        ("nack", r#"{"ack_ids": [], "delay": "11m"}"#),
        ("extend", r#"{"ack_ids": []}"#),
        ("extend", r#"{"ack_ids": [], "lease": "0s"}"#),
        ("extend", r#"{"ack_ids": [], "lease": "11m"}"#),
    ] {
        let call = server.post(&format!("/v1/subscriptions/jobs/{path}"), body);
        call.problem(400, "INVALID_REQUEST").await;
    }
    let many = json!({ "ack_ids": vec![""; 10_001] }).to_string();
    server.post("/v1/subscriptions/jobs/ack", many).problem(413, "TOO_LARGE").await;
    for path in ["pull", "ack", "nack", "extend"] {
        let path = format!("/v1/subscriptions/nobody/{path}");
        server.post(&path, r#"{"ack_ids": []}"#).problem(404, "UNKNOWN_SUBSCRIPTION").await;
        server.get(&path).problem(405, "METHOD_NOT_ALLOWED").await;
    }
}

/// Empty lists without end would hide that nothing can come.
#[tokio::test]
async fn a_pull_says_that_the_subscription_does_not_run() {
    let broken = "subscriptions:\n  jobs: { topic: missing, dead_letter: false, pull: {} }\n";
    let server = Server::with(broken).await;
    eventually(PATIENCE, "it has failed to start", async || {
        server.get("/v1/subscriptions/jobs").expect(200).await["state"] == "retrying"
    })
    .await;
    let pull = server.post("/v1/subscriptions/jobs/pull", r#"{"wait": "10ms"}"#);
    let problem = pull.problem(503, "UNAVAILABLE").await;
    assert!(problem["detail"].as_str().unwrap().starts_with("the subscription does not run: "), "{problem}");
}

#[tokio::test]
async fn a_subscription_that_is_pushed_is_not_fetched_from() {
    let push = "subscriptions:\n  jobs: { topic: declared, push: { url: 'http://127.0.0.1:1/' } }\n";
    let server = Server::with(push).await;
    server.post("/v1/subscriptions/jobs/pull", "").problem(409, "NOT_PULLED").await;
}

#[tokio::test]
async fn a_drain_refuses_pulls_and_takes_verdicts() {
    let mut server = server("lease: 30s").await;
    server.publish("declared", "one").await;
    server.publish("declared", "two").await;
    let messages = pull(&server, json!({ "max_messages": 1 })).await;
    let waiting = server.post("/v1/subscriptions/others/pull", r#"{"wait": "30s"}"#);
    let waiting = tokio::spawn(waiting.problem(503, "DRAINING"));
    let stopping = server.begin_to_stop();
    waiting.await.unwrap();
    server.post("/v1/subscriptions/jobs/pull", "").problem(503, "DRAINING").await;
    verdict(&server, "ack", &ids(&messages)).await;
    let ended = stopping.await;
    assert!(ended.is_clean(), "{ended:?}");
}

/// A server with a subscription to fetch from.
async fn server(pull: &str) -> Server {
    server_with(&format!("pull: {{ {pull} }}")).await
}

async fn server_with(keys: &str) -> Server {
    Server::with(&format!(
        "subscriptions:\n  jobs: {{ topic: declared, start: begin, retry: {{ max_attempts: 3 }}, {keys} }}\n\
         \x20 others: {{ topic: other, start: begin, pull: {{}} }}\n"
    ))
    .await
}

/// Waits until the server has so many messages that are not settled: a pull takes what is there.
async fn held(server: &Server, count: usize) {
    let held = async || server.get("/v1/subscriptions/jobs").expect(200).await["held"] == count;
    eventually(PATIENCE, "the messages are held", held).await;
}

async fn pull(server: &Server, wish: Value) -> Vec<Value> {
    let pulled = server.post("/v1/subscriptions/jobs/pull", wish.to_string()).expect(200).await;
    pulled["messages"].as_array().unwrap().clone()
}

fn settle(server: &Server, verb: &str, ids: &[&str]) -> crate::server::Call {
    server.post(&format!("/v1/subscriptions/jobs/{verb}"), json!({ "ack_ids": ids }).to_string())
}

async fn verdict(server: &Server, verb: &str, ids: &[&str]) -> Value {
    settle(server, verb, ids).expect(200).await
}

fn ids(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["ack_id"].as_str().unwrap()).collect()
}

fn texts(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["text"].as_str().unwrap()).collect()
}

const PATIENCE: Duration = Duration::from_secs(10);
