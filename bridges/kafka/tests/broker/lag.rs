//! How far a group is behind.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sidespan_bridge::Lag;
use sidespan_test_support::{eventually, unique_name};

use super::*;

#[tokio::test]
async fn the_oldest_message_that_is_not_settled_tells_how_old_the_lag_is() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("lagging");
    kafka.create_topic(&topic, 3).await;
    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let control = inbox.control();
    assert_eq!(control.lag().await.unwrap(), Lag { messages: 0, oldest: None });

    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.address()).create().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Each partition has one that is older than those of the partition behind it.
    let minutes = [30, 20, 10];
    for (partition, minutes) in (0..).zip(minutes) {
        for seconds in [0, 30] {
            let time = now.saturating_sub(Duration::from_secs(minutes * 60 - seconds));
            let body = minutes.to_string();
            let record: FutureRecord<'_, (), _> = FutureRecord::to(&topic)
                .partition(partition)
                .payload(&body)
                .timestamp(i64::try_from(time.as_millis()).unwrap());
            producer.send(record, PATIENCE).await.unwrap();
        }
    }
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(next(&mut inbox).await);
    }
    for (n, minutes) in minutes.into_iter().enumerate() {
        let lag = control.lag().await.unwrap();
        assert_eq!(lag.messages, 6 - 2 * n as u64);
        let oldest = lag.oldest.expect("an age").as_secs();
        assert!((minutes * 60..minutes * 60 + 300).contains(&oldest), "{oldest} s, not {minutes} min");
        let (done, rest) = held.into_iter().partition(|delivery| body(delivery) == minutes.to_string());
        held = rest;
        let done: Vec<_> = done;
        for delivery in done {
            accept(delivery).await;
        }
    }
    eventually(PATIENCE, "nothing left", async || {
        control.lag().await.unwrap() == Lag { messages: 0, oldest: None }
    })
    .await;
    close(inbox).await;
}
