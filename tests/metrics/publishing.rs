//! What is counted of publishes.

use sidespan_test_support::{Client, Launch};
use tokio::task::JoinSet;

use crate::{PATIENCE, SIDESPAN, ask, metrics, publish, start, store, until};

const SENT: &str = "messaging_client_sent_messages_total";
const TOOK: &str = "messaging_client_operation_duration_seconds_count";

#[tokio::test]
async fn every_message_and_every_refusal_is_counted_once() {
    let sidecar = start("").await;
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.one(SENT, &[]), 0.0, "a declared topic is there before its first message");

    for _ in 0..3 {
        store(&sidecar, "orders").await;
    }
    let batch = "{\"text\":\"a\"}\n{\"text\":\"b\"}\n";
    let url = sidecar.url("/v1/topics/orders/batches");
    let answer = Client::new().post(&url, batch).header("content-type", "application/x-ndjson").send().await;
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(publish(&sidecar, "nothing", &[]).await.status, 404);

    let seen = metrics(&sidecar).await;
    let labels = [
        "messaging_destination_name=\"orders\"",
        "messaging_system=\"sidespan_embedded\"",
        "sidespan_bridge=\"local\"",
    ];
    assert_eq!(seen.one(SENT, &labels), 5.0);
    assert_eq!(seen.one(TOOK, &[&labels[..], &["messaging_operation_name=\"send\""]].concat()), 4.0);
    assert_eq!(seen.one("sidespan_rejected_total", &["door=\"rest\"", "reason=\"unknown_topic\""]), 1.0);
    assert_eq!(seen.one("sidespan_bridge_in_flight_messages", &["sidespan_bridge=\"local\""]), 0.0);
    assert!(seen.one("sidespan_http_requests_total", &["door=\"rest\""]) >= 5.0);
}

#[tokio::test]
async fn a_message_whose_publisher_leaves_is_counted_all_the_same() {
    let sidecar = start("").await;
    let answer = publish(&sidecar, "orders", &[("prefer", "respond-async")]).await;
    assert_eq!(answer.status, 202);
    let series = format!(
        "{SENT}{{messaging_destination_name=\"orders\",messaging_system=\"sidespan_embedded\",sidespan_bridge=\"local\"}}"
    );
    until(&sidecar, &series, 1.0).await;
}

#[tokio::test]
async fn ten_thousand_undeclared_topics_are_a_hundred_and_one_series() {
    let open = "version: 1\nservice: shop\nbridges: { local: { kind: embedded, dir: ./data, open: true } }\n";
    let sidecar = Launch::new(SIDESPAN).config(open).start().await;
    sidecar.until_ready().await;
    let (client, mut running) = (Client::new(), JoinSet::new());
    for worker in 0..40 {
        let urls: Vec<String> =
            (0..250).map(|n| sidecar.url(&format!("/v1/topics/topic-{worker}-{n}/messages"))).collect();
        let client = client.clone();
        running.spawn(async move {
            for url in urls {
                let request = client.post(&url, "x").header("content-type", "text/plain");
                let answer = request.deadline(PATIENCE).send().await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    running.join_all().await;
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.all(SENT).count(), 101);
    assert_eq!(seen.all(SENT).map(|(_, value)| value).sum::<f64>(), 10_000.0);
    assert_eq!(seen.one(SENT, &["messaging_destination_name=\"_other\""]), 9_900.0);
    assert!(seen.len() < 2_500, "{} series", seen.len());
}

#[tokio::test]
async fn where_metrics_are_off_there_are_none() {
    let sidecar = start("telemetry: { metrics: false }\n").await;
    store(&sidecar, "orders").await;
    assert_eq!(ask(&sidecar.admin_url("/metrics"), None).await.status, 404);
}
