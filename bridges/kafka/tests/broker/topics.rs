//! Topics that do not exist, are made, or are smaller than one thinks.

use serde_json::json;
use sidespan_bridge::{Fault, Message, Pattern, Topic};
use sidespan_test_support::{Kafka, unique_name};

use super::{all_of, close, open, open_with, publish, soon, subscribe, text, until};

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

#[tokio::test]
async fn names_that_kafka_does_not_take_are_invalid() {
    let kafka = Kafka::shared().await;
    let bridge = open(kafka);
    for name in ["a b", "orders/eu", "..", "ä", &"x".repeat(250)] {
        let outcomes = bridge.publisher().publish(&Topic::new(name), vec![text("x")], soon()).await;
        assert_eq!(outcomes[0].as_ref().unwrap_err().fault, Fault::Invalid, "{name}");
    }
}
