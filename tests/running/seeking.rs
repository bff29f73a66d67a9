//! A server that is killed while it moves a group.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidespan_test_support::{
    Answer, Client, Launch, Random, Request, Sidecar, Webhook, eventually, unique_name,
};

use crate::{SIDESPAN, store};

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_seek_leaves_a_group_of_the_embedded_log_where_it_was_or_where_it_was_to_go() {
    killed_in_a_seek("{ kind: embedded, dir: ./data, open: true }", 8).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_seek_leaves_a_group_of_kafka_where_it_was_or_where_it_was_to_go() {
    let kafka = sidespan_test_support::Kafka::shared().await;
    let bridge = format!(
        "{{ kind: kafka, brokers: ['{}'], create_topics: {{ partitions: 1, replication_factor: 1 }}, open: true, \
         properties: {{ session.timeout.ms: 3000, heartbeat.interval.ms: 500 }} }}",
        kafka.address()
    );
    killed_in_a_seek(&bridge, 4).await;
}

/// Begins a move to the beginning once everything is settled, and kills the server at an instant within the time that
/// such a move takes, so many times. Afterwards either everything comes again or nothing.
async fn killed_in_a_seek(bridge: &str, rounds: usize) {
    let (webhook, mut random) = (Webhook::start(|_| Answer::ok()).await, Random::from_env());
    let orders = unique_name("orders");
    let config = format!(
        "version: 1\nservice: {}\nbridges: {{ main: {bridge} }}\nregistry: {{ bridge: main }}\nsubscriptions:\n\
         \x20 billing: {{ topic: {orders}, start: begin, order: topic, dead_letter: false, push: {{ url: '{}' }} }}\n",
        unique_name("seeking"),
        webhook.url("/")
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    until_running(&sidecar).await;
    let mut stored: BTreeSet<String> = BTreeSet::new();
    for n in 0..COUNT {
        store(&sidecar, &orders, &n.to_string()).await;
        stored.insert(n.to_string());
    }
    eventually(PATIENCE, "all is delivered", async || webhook.received().len() >= COUNT).await;
    let began = Instant::now();
    assert_eq!(seek(&sidecar).send().await.unwrap().status, 200);
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap();
    println!("a move takes {micros} us");
    eventually(PATIENCE, "all comes again", async || webhook.received().len() >= COUNT * 2).await;
    for round in 0..rounds {
        eventually(PATIENCE, "all is settled", async || lag(&sidecar).await["messages"] == 0).await;
        // A polite stop, so that the broker knows of it; what it does not know comes again after a kill.
        sidecar.stop().await;
        sidecar.start_again().await;
        sidecar.until_ready().await;
        until_running(&sidecar).await;
        let before = webhook.received().len();
        let seeking = tokio::spawn(seek(&sidecar).send());
        // The instant is what is tested.
        tokio::time::sleep(Duration::from_micros(random.below(micros))).await;
        sidecar.kill();
        let moved = seeking.await.unwrap().is_ok_and(|answer| answer.status == 200);

        sidecar.start_again().await;
        sidecar.until_ready().await;
        until_running(&sidecar).await;
        let last = format!("last {round}");
        store(&sidecar, &orders, &last).await;
        let since = || -> Vec<String> {
            webhook.received().iter().skip(before).map(|one| one.text().to_owned()).collect()
        };
        eventually(PATIENCE, "what comes last", async || since().contains(&last)).await;
        let mut came: BTreeSet<String> = since().into_iter().collect();
        came.remove(&last);
        println!("round {round}: {} of {} came again, answered: {moved}", came.len(), stored.len());
        assert!(came.is_empty() || came == stored, "{came:?} came again of {stored:?}");
        assert!(!moved || came == stored, "the move was answered with 200 and has not happened");
        stored.insert(last);
    }
}

fn seek(sidecar: &Sidecar) -> Request {
    let url = sidecar.url("/v1/subscriptions/billing/seek");
    Client::new().post(&url, r#"{"to": "begin"}"#).header("content-type", "application/json")
}

async fn lag(sidecar: &Sidecar) -> Value {
    let url = sidecar.url("/v1/subscriptions/billing/lag");
    Client::new().get(&url).send().await.map_or(json!(null), |answer| answer.json())
}

async fn until_running(sidecar: &Sidecar) {
    let url = sidecar.url("/v1/subscriptions/billing");
    eventually(PATIENCE, "it runs", async || {
        let shown = Client::new().get(&url).send().await.expect("an answer").json();
        shown["state"] == "running"
    })
    .await;
}

const COUNT: usize = 30;
/// Longer than the others wait for a replica that moves a group and has died.
const PATIENCE: Duration = Duration::from_secs(90);
