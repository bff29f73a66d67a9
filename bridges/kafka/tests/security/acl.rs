//! What the broker does not allow is `Denied`, which callers hear as 403.

use std::fs;
use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Bridge, Fault};
use sidespan_test_support::unique_name;
use tempfile::tempdir;
use tokio::time::Instant;

use super::{PATIENCE, Secured, all_of, log, open, publish, publish_at_last, receive};

#[tokio::test]
async fn a_topic_or_group_of_others_is_denied() {
    let Some(secured) = Secured::shared().await else { return };
    let (own, hidden, read_only) = (unique_name("own"), unique_name("hidden"), unique_name("read-only"));
    for topic in [&own, &hidden, &read_only] {
        secured.kafka.create_topic(topic, 1).await;
    }
    tokio::join!(
        secured.allow("somebody", "All", vec!["--topic", &hidden]),
        secured.allow("reader", "Read", vec!["--topic", &read_only]),
        secured.allow("somebody", "All", vec!["--group", &own]),
    );
    let sasl = json!({"mechanism": "plain", "username": "reader", "password": "reads-only"});
    let bridge = open(&[&secured.at("SASL")], json!({"sasl": sasl}));
    publish_at_last(&*bridge, &own, "x").await;

    for topic in [&hidden, &read_only] {
        let error = publish(&*bridge, topic, "x").await.unwrap_err();
        assert_eq!(error.fault, Fault::Denied, "{topic}: {error:?}");
    }
    for topic in [&hidden, &own] {
        let error = bridge.subscribe(all_of(topic)).await.err().expect("a refusal");
        assert_eq!(error.fault, Fault::Denied, "{topic}: {error:?}");
    }
    // None of that disturbs what is allowed.
    publish(&*bridge, &own, "y").await.unwrap();
}

/// Somebody who may only read: the producer that comes with each bridge is refused, which disturbs
/// nobody, and what is published is denied.
#[tokio::test]
async fn a_service_that_may_only_read_reads_and_is_denied_the_rest() {
    // What is said of all topics here would change what holds for other tests.
    let Some(secured) = &Secured::start().await else { return };
    let topic = unique_name("watched");
    secured.kafka.create_topic(&topic, 1).await;
    tokio::join!(
        secured.allow("*", "All", vec!["--topic", "*"]),
        secured.deny("watcher", "Write", vec!["--topic", "*"]),
        secured.deny("watcher", "IdempotentWrite", vec!["--cluster"]),
    );
    let writer = open(&[secured.kafka.address()], json!({}));
    publish_at_last(&*writer, &topic, "hello").await;

    let directory = tempdir().unwrap();
    let (user, password) = (directory.path().join("user"), directory.path().join("password"));
    fs::write(&user, "watcher").unwrap();
    fs::write(&password, "looks-only").unwrap();
    let sasl = json!({"mechanism": "plain", "username": {"file": user}, "password": {"file": password}});
    let open = || open(&[&secured.at("SASL")], json!({"sasl": sasl}));

    let bridge = open();
    receive(&*bridge, &topic, "hello").await;
    let said = |line: &String| line.contains("lets us publish to no topic");
    for _ in 0..20 {
        assert_eq!(publish(&*bridge, &topic, "x").await.unwrap_err().fault, Fault::Denied);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(log::lines().iter().filter(|line| said(line)).count(), 1);

    // Also where the publish is there first, and waits with the client for leave to send.
    for _ in 0..5 {
        let new = open();
        assert_eq!(first_answer(&*new, &topic).await, Fault::Denied);
    }

    // Who comes with better credentials is not taken for the one before.
    fs::write(&password, "wonderland").unwrap();
    fs::write(&user, "alice").unwrap();
    publish_at_last(&*bridge, &topic, "y").await;
}

/// Publishes until the cluster has been heard: a client that is about to connect gets no word of the
/// topic in time, and hands nothing over.
async fn first_answer(bridge: &dyn Bridge, topic: &str) -> Fault {
    let end = Instant::now() + PATIENCE;
    loop {
        match publish(bridge, topic, "x").await.unwrap_err().fault {
            Fault::Unavailable if Instant::now() < end => {}
            fault => return fault,
        }
    }
}
