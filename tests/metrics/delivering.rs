//! What is counted of deliveries.

use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::{Answer, Client, Sidecar, Webhook, eventually};

use crate::{PATIENCE, metrics, start, store, until};

fn pushed(webhook: &Webhook, more: &str) -> String {
    let url = webhook.url("/");
    format!(
        "subscriptions:\n  billing: {{ topic: orders, start: begin, push: {{ url: \"{url}\" }}, retry: {{ backoff: {{ base: \
         10ms, cap: 20ms }}{more} }} }}\n"
    )
}

const ATTEMPTS: &str = "sidespan_delivery_attempts_total";
const PROCESS: &str = "messaging_process_duration_seconds_count";

#[tokio::test]
async fn attempts_retries_and_dead_letters_are_counted_by_what_came_of_them() {
    // The first message fails once, the second is refused, the third always fails.
    let mut failed = 0;
    let webhook = Webhook::start(move |received| match received.text() {
        "refused" => Answer::status(400),
        "failing" => Answer::status(500),
        _ => {
            failed += 1;
            Answer::status(if failed == 1 { 503 } else { 204 })
        }
    })
    .await;
    let sidecar = start(&pushed(&webhook, ", max_attempts: 2")).await;
    for body in ["fine", "refused", "failing"] {
        let url = sidecar.url("/v1/topics/orders/messages");
        let request = Client::new().post(&url, body).header("content-type", "text/plain");
        assert_eq!(request.send().await.unwrap().status, 200);
    }
    let reason = |reason| {
        format!("sidespan_dead_letters_total{{reason=\"{reason}\",sidespan_subscription=\"billing\"}}")
    };
    until(&sidecar, &reason("refused"), 1.0).await;
    until(&sidecar, &reason("exhausted"), 1.0).await;
    let outcome = |outcome| format!("{ATTEMPTS}{{outcome=\"{outcome}\",sidespan_subscription=\"billing\"}}");
    until(&sidecar, &outcome("accepted"), 1.0).await;

    let seen = metrics(&sidecar).await;
    assert_eq!(seen.get(&outcome("failed")), Some(2.0));
    assert_eq!(seen.get(&outcome("refused")), Some(1.0));
    assert_eq!(seen.get(&outcome("unavailable")), Some(1.0));
    assert_eq!(seen.one("sidespan_delivery_retries_total", &["billing"]), 2.0);
    assert_eq!(seen.one("messaging_client_consumed_messages_total", &["billing"]), 3.0);
    let server = format!("server_address=\"{}\"", webhook.address());
    for (error, count) in [("400", 1.0), ("500", 2.0), ("503", 1.0)] {
        assert_eq!(seen.one(PROCESS, &[&format!("error_type=\"{error}\""), &server]), count);
    }
    let fine = seen.all(PROCESS).find(|(series, _)| !series.contains("error_type"));
    assert_eq!(fine.map(|(_, count)| count), Some(1.0));
    assert_eq!(seen.one("sidespan_subscription_state", &["state=\"running\""]), 1.0);
    assert_eq!(seen.all("sidespan_subscription_state").map(|(_, is)| is).sum::<f64>(), 1.0);
}

#[tokio::test]
async fn an_endpoint_that_is_away_is_seen_and_what_it_leaves_waiting() {
    let webhook = Webhook::start(|_| Answer::status(503)).await;
    let sidecar = start(&pushed(&webhook, "")).await;
    store(&sidecar, "orders").await;
    let of = |name: &str| format!("{name}{{sidespan_subscription=\"billing\"}}");
    until(&sidecar, &of("sidespan_breaker_open"), 1.0).await;
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.get(&of("sidespan_subscription_held_messages")), Some(1.0));
    assert!(seen.get(&of("sidespan_subscription_held_bytes")).unwrap() >= 1.0);
    webhook.follow(|_| Answer::status(204));
    until(&sidecar, &of("sidespan_breaker_open"), 0.0).await;
    until(&sidecar, &of("sidespan_subscription_held_bytes"), 0.0).await;
    until(&sidecar, &of("sidespan_subscription_held_messages"), 0.0).await;
}

async fn post(sidecar: &Sidecar, path: &str, body: &str) -> Value {
    Client::new().post(&sidecar.url(path), body.to_owned()).send().await.unwrap().json()
}

#[tokio::test]
async fn what_nobody_settles_grows_older_and_a_lease_is_seen() {
    let sidecar = start("subscriptions: { billing: { topic: orders, start: begin, pull: {} } }\n").await;
    let of = |name: &str| format!("{name}{{sidespan_subscription=\"billing\"}}");
    let (lag, age) =
        (of("sidespan_subscription_lag_messages"), of("sidespan_subscription_oldest_unsettled_age_seconds"));
    store(&sidecar, "orders").await;
    until(&sidecar, &lag, 1.0).await;
    let before = metrics(&sidecar).await.get(&age).unwrap();
    eventually(PATIENCE, "it grows older", async || metrics(&sidecar).await.get(&age) > Some(before + 1.0))
        .await;

    let path = "/v1/subscriptions/billing";
    let pulled = post(&sidecar, &format!("{path}/pull"), r#"{"wait": "10s"}"#).await;
    assert_eq!(metrics(&sidecar).await.get(&of("sidespan_leases_out")), Some(1.0));
    let ack = serde_json::json!({ "ack_ids": [pulled["messages"][0]["ack_id"]] }).to_string();
    post(&sidecar, &format!("{path}/ack"), &ack).await;
    until(&sidecar, &lag, 0.0).await;
    let seen = metrics(&sidecar).await;
    assert_eq!((seen.get(&age), seen.get(&of("sidespan_leases_out"))), (Some(0.0), Some(0.0)));
}

#[tokio::test]
async fn at_most_once_has_its_settlements_timed() {
    let webhook = Webhook::start(|_| Answer::status(500)).await;
    let url = webhook.url("/");
    let sidecar = start(&format!(
        "subscriptions: {{ billing: {{ topic: orders, start: begin, guarantee: at-most-once, push: {{ url: \"{url}\" }} }} }}\n"
    ))
    .await;
    store(&sidecar, "orders").await;
    until(&sidecar, "sidespan_delivery_dropped_total{sidespan_subscription=\"billing\"}", 1.0).await;
    let settle = ["messaging_operation_name=\"settle\"", "messaging_destination_name=\"orders\""];
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.one("messaging_client_operation_duration_seconds_count", &settle), 1.0);
}

#[tokio::test]
async fn open_streams_and_connections_are_seen_while_they_are_open() {
    let sidecar = start("").await;
    let url = sidecar.url("/v1/topics/orders/stream?start=begin");
    let stream = Client::new().get(&url).deadline(Duration::from_secs(60)).open().await.unwrap();
    until(&sidecar, "sidespan_streams_open{kind=\"sse\"}", 1.0).await;
    let seen = metrics(&sidecar).await;
    assert!(seen.one("sidespan_connections_open", &["services"]) >= 1.0);
    assert!(seen.one("sidespan_connections_open", &["admin"]) >= 1.0);
    drop(stream);
    until(&sidecar, "sidespan_streams_open{kind=\"sse\"}", 0.0).await;
}
