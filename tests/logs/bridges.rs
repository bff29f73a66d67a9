//! What is said of a broker names its bridge: there may be several of a kind.

#![cfg(any(feature = "amqp", feature = "kafka", feature = "nats"))]

use serde_json::Value;
use sidespan_test_support::{Launch, eventually, free_port};

use crate::{PATIENCE, SIDESPAN, lines};

#[cfg(feature = "kafka")]
#[tokio::test]
async fn what_is_said_of_kafka_and_by_its_client_names_the_bridge() {
    let bridge = |port| format!("{{kind: kafka, brokers: ['127.0.0.1:{port}']}}");
    let log = of_two_that_are_away(bridge, "kafka cannot be reached").await;
    let by_client = log.iter().filter(|line| line["target"] == "librdkafka");
    assert!(by_client.clone().count() > 0, "{log:?}");
    by_client.for_each(|line| assert!(["east", "west"].iter().any(|name| line["bridge"] == *name), "{line}"));
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn what_is_said_of_nats_names_the_bridge() {
    of_two_that_are_away(
        |port| format!("{{kind: nats, servers: ['nats://127.0.0.1:{port}']}}"),
        "nats cannot be reached",
    )
    .await;
}

#[cfg(feature = "amqp")]
#[tokio::test]
async fn what_is_said_of_rabbitmq_names_the_bridge() {
    of_two_that_are_away(
        |port| format!("{{kind: amqp, url: 'amqp://127.0.0.1:{port}'}}"),
        "rabbitmq cannot be reached",
    )
    .await;
}

/// Starts a server whose brokers are both away, waits until it has said so of both, and returns its log.
async fn of_two_that_are_away(bridge: impl Fn(u16) -> String, said: &str) -> Vec<Value> {
    let config = format!(
        "version: 1\nservice: shop\nlog: {{format: json, level: 'info,librdkafka=debug'}}\n\
         bridges: {{east: {}, west: {}}}\ntopics: {{orders: {{bridge: east}}, others: {{bridge: west}}}}\n",
        bridge(free_port()),
        bridge(free_port()),
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    let of = |name: &str| {
        let is_said = |line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with(said));
        lines(&sidecar.stderr()).iter().any(|line| is_said(line) && line["bridge"] == name)
    };
    eventually(PATIENCE, "a word on both", async || of("east") && of("west")).await;
    lines(&sidecar.stderr())
}
