//! What the broker does not allow is `Denied`, which callers hear as 403.

use std::time::Duration;

use serde_json::json;
use sidespan_bridge::Fault;
use sidespan_test_support::unique_name;
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

    let sasl = json!({"mechanism": "plain", "username": "watcher", "password": "looks-only"});
    let bridge = open(&[&secured.at("SASL")], json!({"sasl": sasl}));
    receive(&*bridge, &topic, "hello").await;
    let (mut denied, end) = (0, Instant::now() + PATIENCE);
    while denied < 20 {
        match publish(&*bridge, &topic, "x").await.unwrap_err().fault {
            Fault::Denied => denied += 1,
            // Until it is known; on a busy machine the topic is not even found in time.
            fault => {
                let unknown_yet = matches!(fault, Fault::Timeout | Fault::Unavailable);
                assert!(unknown_yet && denied == 0 && Instant::now() < end, "{fault:?} after {denied}");
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let said = |line: &String| line.contains("lets us publish to no topic");
    assert_eq!(log::lines().iter().filter(|line| said(line)).count(), 1);
}
