//! Topics that do not exist, are made, or are smaller than one thinks.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use sidespan_bridge::{Fault, Message, Pattern, Start, Subscribe, Topic};
use sidespan_test_support::{Kafka, eventually, unique_name};
use tokio::time::Instant;

use super::{
    PATIENCE, accept, all_of, body, close, next, open, open_with, publish, soon, subscribe, text, until,
};

#[tokio::test]
async fn a_topic_is_made_only_where_the_settings_say_so() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("ensured");
    let careful = open(kafka);
    let error = careful.ensure(&Topic::new(topic.as_str()), soon()).await.unwrap_err();
    assert_eq!(error.fault, Fault::UnknownTopic);
    assert_eq!(kafka.partitions(&topic).await, 0);

    let bold = open_with(kafka, json!({"create_topics": {"partitions": 3, "replication_factor": 1}}));
    bold.ensure(&Topic::new(topic.as_str()), soon()).await.unwrap();
    bold.ensure(&Topic::new(topic.as_str()), soon()).await.unwrap();
    assert_eq!(kafka.partitions(&topic).await, 3);
    publish(&*careful, &topic, vec![text("x"), text("y")]).await;
    let infos = careful.topics(&Pattern::parse(&topic).unwrap(), soon()).await.unwrap();
    assert_eq!((infos[0].partitions, infos[0].messages), (3, Some(2)));
}

/// A topic's own limit is lower than ours: it refuses that message, and no other, where batches are
/// kept below it.
#[tokio::test]
async fn a_message_that_only_the_broker_finds_too_large_fails_alone() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("small");
    kafka.create_topic_with(&topic, 1, &[("max.message.bytes", "20000")]).await;
    let bridge = open_with(kafka, json!({"properties": {"batch.size": 16_000}}));
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let large = Message { payload: Some("x".repeat(40_000).into()), ..Message::default() };
    let mut batch: Vec<Message> = (0..9).map(|n| text(format!("{n} {}", "y".repeat(4_000)))).collect();
    batch.insert(4, large);
    batch.push(text("last"));

    let outcomes = bridge.publisher().publish(&Topic::new(topic.as_str()), batch, soon()).await;
    let faults: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(|error| error.fault)).collect();
    let mut expected = vec![None; 11];
    expected[4] = Some(Fault::TooLarge);
    assert_eq!(faults, expected);
    let arrived: Vec<String> =
        until(&mut inbox, "last").await.into_iter().map(|body| body[..1].to_owned()).collect();
    assert_eq!(arrived, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    close(inbox).await;
}

/// The client puts messages together into a request that a topic with a low limit refuses as a whole.
#[tokio::test]
async fn small_messages_that_are_refused_together_are_not_called_too_large() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("together");
    kafka.create_topic_with(&topic, 1, &[("max.message.bytes", "20000")]).await;
    let bridge = open_with(kafka, json!({"linger": "200ms"}));
    let large = Message { payload: Some("x".repeat(40_000).into()), ..Message::default() };
    let batch = vec![text("y".repeat(8_000)), large, text("z".repeat(8_000))];

    let outcomes = bridge.publisher().publish(&Topic::new(topic.as_str()), batch, soon()).await;
    let faults: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap_err().fault).collect();
    assert_eq!(faults, [Fault::Rejected, Fault::TooLarge, Fault::Rejected]);
    let advice = outcomes[0].as_ref().unwrap_err().to_string();
    assert!(advice.contains("batch.size") && advice.contains("20000"), "{advice}");
}

/// What the client has no room for is refused together with what is behind it.
#[tokio::test]
async fn nothing_overtakes_a_message_that_the_client_had_no_room_for() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("full");
    kafka.create_topic(&topic, 1).await;
    let bridge = open_with(kafka, json!({"properties": {"queue.buffering.max.messages": 10}}));
    for _ in 0..20 {
        let batch = (0..3_000).map(text).collect();
        let outcomes = bridge.publisher().publish(&Topic::new(topic.as_str()), batch, soon()).await;
        let behind: Vec<_> = outcomes.iter().skip_while(|outcome| outcome.is_ok()).collect();
        let overtaking = behind.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(!behind.is_empty(), "the client was never full");
        assert_eq!(overtaking, 0);
    }
}

/// Each takes a question to the cluster, and only so many are asked at a time.
#[tokio::test]
async fn many_made_up_names_are_answered_soon() {
    let kafka = Kafka::shared().await;
    let bridge = open(kafka);
    let (begin, name) = (Instant::now(), unique_name("made-up"));
    let calls = (0..1_000)
        .map(|n| bridge.publisher().publish(&Topic::new(format!("{name}.{n}")), vec![text("x")], soon()));
    let calls: Vec<_> = calls.collect();
    let mut faults = Vec::new();
    for call in calls {
        faults.push(call.await.remove(0).unwrap_err().fault);
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(
        faults.iter().all(|fault| matches!(fault, Fault::UnknownTopic | Fault::Overloaded)),
        "{faults:?}"
    );
    assert!(faults.contains(&Fault::UnknownTopic) && faults.contains(&Fault::Overloaded));
}

#[tokio::test]
async fn names_that_kafka_does_not_take_are_invalid() {
    let kafka = Kafka::shared().await;
    let bridge = open(kafka);
    for name in ["a b", "orders/eu", "..", "ä", &"x".repeat(250)] {
        let outcomes = bridge.publisher().publish(&Topic::new(name), vec![text("x")], soon()).await;
        assert_eq!(outcomes[0].as_ref().unwrap_err().fault, Fault::Invalid, "{name}");
    }
    for pattern in ["orders|payments.*", "a$.>", "(.*"] {
        let error = bridge.subscribe(all_of(pattern)).await.err().expect("a refusal");
        assert_eq!(error.fault, Fault::Invalid, "{pattern}");
    }
}

/// Partitions are added while a member reads: it finds them by itself, and reads them from their
/// beginning, so nothing that came in between is missed.
#[tokio::test]
async fn a_topic_that_gains_partitions_is_read_whole() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("growing");
    kafka.create_topic(&topic, 1).await;
    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, Subscribe { start: Start::End, ..all_of(&topic) }).await;
    publish(&*bridge, &topic, vec![text("one")]).await;
    assert!(until(&mut inbox, "one").await.is_empty());

    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka.address()).create().unwrap();
    let grown =
        admin.create_partitions([&NewPartitions::new(&topic, 3)], &AdminOptions::new()).await.unwrap();
    grown.into_iter().for_each(|grown| drop(grown.unwrap()));
    // Another producer, which has never seen the topic smaller.
    let other = open(kafka);
    let placed = |partition| Message { partition: Some(partition), ..text(partition) };
    eventually(PATIENCE, "the new partitions take messages", async || {
        let batch = (0..3).map(placed).collect();
        let outcomes = other.publisher().publish(&Topic::new(topic.as_str()), batch, soon()).await;
        outcomes.iter().all(Result::is_ok)
    })
    .await;
    let mut missing: BTreeSet<String> = (0..3).map(|n| n.to_string()).collect();
    while !missing.is_empty() {
        let delivery = next(&mut inbox).await;
        missing.remove(&body(&delivery));
        accept(delivery).await;
    }
    // The producer that knew it smaller learns of them too.
    eventually(PATIENCE, "the older producer to know them", async || {
        let outcomes = bridge.publisher().publish(&Topic::new(topic.as_str()), vec![placed(2)], soon()).await;
        outcomes[0].is_ok()
    })
    .await;
    close(inbox).await;
}
