//! What becomes of leases whose owner is gone, or does not answer.

use std::time::Duration;

use serde_json::{Value, json};
use sidespan_test_support::{Kafka, Nats, Rabbit, Scene, Signal};
use tokio::time::Instant;

use crate::cluster::{Cluster, ids, is_problem, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_kafka_member_leased_comes_again_by_another() {
    killed(&Scene::kafka(Kafka::shared().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_jetstream_member_leased_comes_again_by_another() {
    killed(&Scene::nats(Nats::shared().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_rabbitmq_member_leased_comes_again_by_another() {
    killed(&Scene::rabbit(Rabbit::shared().await)).await;
}

async fn killed(scene: &Scene) {
    let mut cluster = Cluster::start(scene).await;
    cluster.publish(0, COUNT).await;
    let owner = cluster.until_settled(scene).await.pop_first().unwrap();
    let (by, other) = ((owner + 1) % 3, (owner + 2) % 3);
    let messages = cluster.pull_all(by, COUNT).await;
    cluster.replicas[owner].kill();

    // An id of the process that is gone is over, wherever it is sent; those of others are as good as ever.
    let old = outcomes(&cluster, other, &messages).await;
    let lost: Vec<Value> =
        messages.iter().zip(&old).filter(|(_, status)| **status == 409).map(first).collect();
    assert!(!lost.is_empty(), "{old:?}");
    assert!(old.iter().all(|status| [200, 409].contains(status)), "{old:?}");

    let again = cluster.pull_all(by, lost.len()).await;
    assert_eq!(numbers(&again), numbers(&lost));
    cluster.settle(other, "ack", &again).await;

    // Another process at the same address knows nothing of them either.
    cluster.replicas[owner].start_again().await;
    cluster.replicas[owner].until_ready().await;
    let old = cluster.ask(by, "ack", json!({ "ack_ids": ids(&lost) })).await;
    is_problem(&old, 409, "LEASE_ENDED");
}

/// Without order JetStream takes an acknowledgement from anybody, and none is lost with a process.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_jetstream_member_leased_is_settled_by_the_others() {
    let scene = Scene::nats(Nats::shared().await).unordered();
    let mut cluster = Cluster::start(&scene).await;
    cluster.publish(0, COUNT).await;
    let messages = cluster.pull_all(1, COUNT).await;
    for owner in [0, 2] {
        cluster.replicas[owner].kill();
    }
    assert_eq!(outcomes(&cluster, 1, &messages).await, vec![200; COUNT]);
    // Longer than JetStream waits for a member that is gone.
    let again = cluster.ask(1, "pull", json!({ "wait": "6s" })).await;
    assert_eq!(again.json()["messages"], json!([]), "{}", again.text());
    is_problem(&cluster.ask(1, "nack", json!({ "ack_ids": ids(&messages) })).await, 409, "LEASE_ENDED");
}

fn first<T: Clone>((message, _): (&Value, T)) -> Value {
    message.clone()
}

async fn outcomes(cluster: &Cluster, by: usize, messages: &[Value]) -> Vec<u64> {
    let answer = cluster.ask(by, "ack", json!({ "ack_ids": ids(messages) })).await.json();
    let outcomes = answer["outcomes"].as_array().unwrap_or_else(|| panic!("{answer}"));
    outcomes.iter().map(|outcome| outcome["status"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_hangs_holds_nobody_beyond_the_deadline() {
    let scene = Scene::rabbit(Rabbit::shared().await);
    let mut cluster = Cluster::start(&scene).await;
    cluster.publish(0, 1).await;
    let owner = cluster.until_settled(&scene).await.pop_first().unwrap();
    let by = (owner + 1) % 3;
    let messages = cluster.pull_all(by, 1).await;
    cluster.replicas[owner].signal(Signal::Stop);

    let began = Instant::now();
    let body = json!({ "ack_ids": ids(&messages) });
    let late = cluster.post(by, "ack", &body).header("sidespan-timeout", "1s").send().await.unwrap();
    is_problem(&late, 504, "TIMEOUT");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    let began = Instant::now();
    let pulled = cluster.ask(by, "pull", json!({ "wait": "1s" })).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // It is empty as long as the owner may be thought to be well.
    assert!([200, 421].contains(&pulled.status.as_u16()), "{}", pulled.text());

    cluster.replicas[owner].signal(Signal::Continue);
    // It has had the verdict all the time, or another member has the message by now.
    let again = cluster.ask(by, "ack", body).await;
    assert!([200, 409].contains(&again.status.as_u16()), "{}", again.text());
}

const COUNT: usize = 20;
