//! Topics that no registry can be kept in, and records that are followed by what stands.

use serde_json::json;
use sidespan_bridge::{Fault, Message, Pattern, Revision, Start, Subscribe};
use sidespan_test_support::{Kafka, unique_name};
use tokio::time::timeout;

use super::{PATIENCE, all_of, next, open, open_with, publish, soon};

#[tokio::test]
async fn a_registry_is_kept_in_a_topic_that_can_keep_it_or_says_what_is_wrong() {
    let kafka = Kafka::shared().await;
    let cases = [
        (0, "compact", Fault::UnknownTopic, "cleanup.policy=compact"),
        (2, "compact", Fault::Conflict, "2 partitions"),
        (1, "delete", Fault::Conflict, "cleanup.policy=delete"),
    ];
    for (partitions, policy, fault, word) in cases {
        let name = unique_name("unfit");
        let topic = format!("kafka-tests.{name}");
        if partitions > 0 {
            kafka.create_topic_with(&topic, partitions, &[("cleanup.policy", policy)]).await;
        }
        let bridge = open(kafka);
        let registry = bridge.registry(&name).unwrap();
        let error = registry.watch().await.err().unwrap();
        assert_eq!(error.fault, fault, "{error}");
        assert!(error.to_string().contains(word) && error.to_string().contains(&topic), "{error}");
        let error = registry.put("key", Some("1".into()), Revision::NONE, soon()).await.unwrap_err();
        assert_eq!(error.fault, fault, "{error}");
    }
}

/// The topic is named by the settings, and what somebody else wrote over a record is followed by the record again,
/// which keeps its revision, before compaction could take it away.
#[tokio::test]
async fn what_was_written_over_a_record_is_followed_by_what_stands() {
    let kafka = Kafka::shared().await;
    let (prefix, create) = (unique_name("prefix"), json!({"partitions": 3, "replication_factor": 1}));
    let bridge = open_with(kafka, json!({"create_topics": create, "registry_prefix": format!("{prefix}-")}));
    let registry = bridge.registry("kept").unwrap();
    let revision = registry.put("key", Some("1".into()), Revision::NONE, soon()).await.unwrap();
    let topic = format!("{prefix}-kept");
    assert_eq!(kafka.partitions(&topic).await, 1);
    let over = Message { key: Some("key".into()), payload: Some("not ours".into()), ..Message::default() };
    publish(&*bridge, &topic, vec![over]).await;

    let cursor = Subscribe {
        group: None,
        start: Start::Begin,
        pattern: Pattern::parse(&topic).unwrap(),
        ..all_of(&topic)
    };
    let mut log = bridge.subscribe(cursor).await.unwrap();
    let restated = async {
        loop {
            let message = next(&mut log).await.message;
            if message.header("sidespan-restates").is_some() {
                return message;
            }
        }
    };
    let restated = timeout(PATIENCE, restated).await.expect("what stands, behind what was written over it");
    assert_eq!((restated.key, restated.payload), (Some("key".into()), Some("1".into())));
    let elsewhere = open_with(kafka, json!({"registry_prefix": format!("{prefix}-")}));
    let other = elsewhere.registry("kept").unwrap();
    other.put("key", Some("2".into()), revision, soon()).await.unwrap();
}
