//! Every message is fetched and settled by any replica.

use std::time::Duration;

use serde_json::json;
use sidespan_test_support::{Kafka, Nats, Rabbit, Scene};
use tokio::time::Instant;

use crate::cluster::{Cluster, PATIENCE, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_partitions_are_fetched_by_any_replica() {
    any_replica(&Scene::kafka(Kafka::shared().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_without_order_is_fetched_by_any_replica() {
    any_replica(&Scene::kafka(Kafka::shared().await).await.unordered()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_in_order_is_fetched_by_those_who_stand_by() {
    any_replica(&Scene::nats(Nats::shared().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_without_order_is_fetched_by_any_replica() {
    any_replica(&Scene::nats(Nats::shared().await).unordered()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_in_order_is_fetched_by_those_who_stand_by() {
    any_replica(&Scene::rabbit(Rabbit::shared().await)).await;
}

async fn any_replica(scene: &Scene) {
    let cluster = Cluster::start(scene).await;
    for by in 0..3 {
        cluster.publish((by + 1) % 3, COUNT).await;
        let messages = cluster.pull_all(by, COUNT).await;
        assert_eq!(numbers(&messages), (0..COUNT).collect::<Vec<_>>(), "by {by}: each once, and all");
        assert!(messages.iter().all(|message| message["attempt"] == 1));
        // Leases of all owners, mixed, by a replica that did not hand them out.
        cluster.settle((by + 2) % 3, "ack", &messages).await;
        let again = cluster.ask(by, "ack", json!({ "ack_ids": [messages[0]["ack_id"]] })).await;
        crate::cluster::is_problem(&again, 409, "LEASE_ENDED");
    }
    given_back(&cluster).await;
    a_pull_that_waits(&cluster).await;
    a_consumer_that_goes_away(&cluster).await;
}

/// What is given back by one replica comes again by another.
async fn given_back(cluster: &Cluster) {
    cluster.publish(0, 3).await;
    let messages = cluster.pull_all(1, 3).await;
    cluster.settle(2, "nack", &messages).await;
    let again = cluster.pull_all(0, 3).await;
    assert_eq!(numbers(&again), [0, 1, 2]);
    assert!(again.iter().all(|message| message["attempt"] == 2), "{again:?}");
    cluster.settle(1, "ack", &again).await;
}

/// Whoever waits at a replica is given what comes to another, soon.
async fn a_pull_that_waits(cluster: &Cluster) {
    for by in 0..3 {
        let waiting = async {
            let messages = cluster.pull(by, 1, "30s").await;
            (messages, Instant::now())
        };
        let publishing = async {
            tokio::task::yield_now().await;
            cluster.publish(0, 1).await;
            Instant::now()
        };
        let ((messages, got), published) = tokio::join!(waiting, publishing);
        assert_eq!(messages.len(), 1);
        let took = got.saturating_duration_since(published);
        assert!(took < SOON, "{took:?}");
        cluster.settle(by, "ack", &messages).await;
    }
}

/// A consumer that stops waiting has taken nothing.
async fn a_consumer_that_goes_away(cluster: &Cluster) {
    for by in 0..3 {
        let wish = json!({ "wait": "30s" });
        let gone = cluster.post(by, "pull", &wish).deadline(Duration::from_millis(300)).send().await;
        assert!(gone.is_err(), "nothing was there");
    }
    cluster.publish(0, 3).await;
    for by in 0..3 {
        let messages = cluster.pull(by, 1, "10s").await;
        assert_eq!(messages[0]["attempt"], 1, "{messages:?}");
        cluster.settle((by + 1) % 3, "ack", &messages).await;
    }
    let left = cluster.pull(0, 1, "0s").await;
    assert!(left.is_empty(), "{left:?}");
}

const COUNT: usize = 60;
/// Less than the wait, and more than a busy machine takes.
const SOON: Duration = PATIENCE.checked_div(6).unwrap();
