//! What only Kafka has: groups whose lag others tell too.

use sidespan_test_support::{Kafka, Launch, eventually, unique_name};

use crate::{PATIENCE, SIDESPAN, metrics, store};

#[tokio::test]
async fn lag_goes_by_the_name_that_exporters_use_and_the_oldest_has_an_age() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("orders");
    kafka.create_topic(&topic, 3).await;
    let config = format!(
        "version: 1\nservice: {topic}\nbridges: {{ main: {{ kind: kafka, brokers: [\"{}\"] }} }}\ntopics: {{ orders: {{ \
         address: {topic} }} }}\nsubscriptions: {{ billing: {{ topic: orders, start: begin, dead_letter: false, pull: {{}} }} }}\n",
        kafka.address()
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    for _ in 0..5 {
        store(&sidecar, "orders").await;
    }
    eventually(PATIENCE, "the lag is known", async || {
        let seen = metrics(&sidecar).await;
        seen.all("kafka_consumergroup_lag_sum").next().is_some_and(|(_, lag)| lag == 5.0)
    })
    .await;
    let seen = metrics(&sidecar).await;
    let (group, address) = (format!("consumergroup=\"{topic}.billing\""), format!("topic=\"{topic}\""));
    assert_eq!(seen.one("kafka_consumergroup_lag_sum", &[&group, &address]), 5.0);
    assert_eq!(seen.one("sidespan_subscription_lag_messages", &["billing"]), 5.0);
    assert!(seen.one("sidespan_subscription_oldest_unsettled_age_seconds", &["billing"]) > 0.0);
    assert_eq!(seen.one("messaging_client_sent_messages_total", &["messaging_system=\"kafka\""]), 5.0);
}
