//! Offsets at which no message ever comes.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::json;
use sidespan_bridge::{Bridge, Event, Message, Subscribe, Verdict, Window};
use sidespan_test_support::{Kafka, eventually, unique_name};
use tokio::time::timeout;

use super::{PATIENCE, accept, all_of, body, close, next, open, open_with, publish, subscribe, text, until};

/// Three transactions of one message each end at offset 6, one that was aborted at 8: control
/// records and aborted messages are passed by what is committed, also at the end of the log.
#[tokio::test]
async fn control_records_and_aborted_messages_are_not_waited_for() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("gaps");
    kafka.create_topic(&topic, 1).await;
    let (address, name) = (kafka.address().to_owned(), topic.clone());
    tokio::task::spawn_blocking(move || publish_in_transactions(&address, &name)).await.unwrap();

    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    for expected in ["0", "1", "2"] {
        let delivery = next(&mut inbox).await;
        assert_eq!(body(&delivery), expected);
        accept(delivery).await;
    }
    let control = inbox.control();
    let is_committed = committed(kafka.address(), &topic, 8);
    tokio::select! {
        unexpected = next(&mut inbox) => panic!("{:?} came", body(&unexpected)),
        () = eventually(PATIENCE, "a commit behind the last control record", async || is_committed()) => {}
    }
    assert_eq!(control.lag().await.unwrap().messages, 0);

    publish(&*bridge, &topic, vec![text("last")]).await;
    assert!(until(&mut inbox, "last").await.is_empty());
    close(inbox).await;
}

/// What retention has removed is passed over; the rest is delivered.
#[tokio::test]
async fn a_position_that_the_log_no_longer_has_becomes_the_oldest() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("retention");
    kafka.create_topic(&topic, 1).await;
    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    publish(&*bridge, &topic, (0..10).map(text).collect()).await;
    accept(next(&mut inbox).await).await;
    close(inbox).await;

    delete_before(kafka.address(), &topic, 6).await;

    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    assert_eq!(until(&mut inbox, "9").await, ["6", "7", "8"]);
    close(inbox).await;
}

/// Retention overtakes a reader: it goes on at the oldest, and says which epoch ended.
#[tokio::test]
async fn a_reader_that_retention_overtakes_goes_on_at_the_oldest() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("overtaken");
    kafka.create_topic(&topic, 1).await;
    let small = json!({"properties": {
        "queued.min.messages": 1, "queued.max.messages.kbytes": 1, "fetch.message.max.bytes": 1000,
    }});
    let bridge = open_with(kafka, small);
    for n in 0..50 {
        publish(&*bridge, &topic, vec![text(format!("{n} {}", "x".repeat(1000)))]).await;
    }
    let window = Window { messages: 1, ..Window::default() };
    let mut inbox = subscribe(&*bridge, Subscribe { window, ..all_of(&topic) }).await;
    let first = next(&mut inbox).await;
    delete_before(kafka.address(), &topic, 40).await;
    let epoch = first.epoch;
    accept(first).await;
    loop {
        let delivery = next(&mut inbox).await;
        let body = body(&delivery);
        if delivery.epoch == epoch {
            // It had been fetched before.
            accept(delivery).await;
            continue;
        }
        assert!(body.starts_with("40 "), "{body}");
        accept(delivery).await;
        break;
    }
    close(inbox).await;
}

/// Compaction takes the older messages of each key away: what is left is delivered, and the commit
/// passes what is gone.
#[tokio::test]
async fn compacted_messages_are_not_waited_for() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("compacted");
    let soon = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.ms", "100"),
        ("max.compaction.lag.ms", "100"),
    ];
    kafka.create_topic_with(&topic, 1, &soon).await;
    let bridge = open(kafka);
    let keyed = |key: &str, n: usize| Message { key: Some(key.to_owned().into()), ..text(n) };
    let (mut published, mut left) = (0, 0);
    eventually(PATIENCE * 3, "compaction", async || {
        // Only what is not in the newest segment is compacted, and a message begins a new one.
        for key in ["a", "b"] {
            publish(&*bridge, &topic, vec![keyed(key, published)]).await;
            published += 1;
        }
        left = count(&*bridge, &topic).await;
        left + 4 < published
    })
    .await;

    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let last = (published - 1).to_string();
    assert!(until(&mut inbox, &last).await.len() + 4 < published);
    let is_committed = committed(kafka.address(), &topic, published as i64);
    eventually(PATIENCE, "a commit past all gaps", async || is_committed()).await;
    assert_eq!(inbox.control().lag().await.unwrap().messages, 0);
    close(inbox).await;
}

/// Reads all of a topic from its beginning, and counts.
async fn count(bridge: &dyn Bridge, topic: &str) -> usize {
    let mut cursor = subscribe(bridge, Subscribe { group: None, ..all_of(topic) }).await;
    let mut count = 0;
    while let Ok(Some(Ok(event))) = timeout(Duration::from_millis(500), cursor.next()).await {
        if let Event::Delivery(delivery) = event {
            count += 1;
            drop(delivery.ack.settle(Verdict::Accept));
        }
    }
    close(cursor).await;
    count
}

/// A log that was cut short (an unclean election, a topic made anew) ends before what was committed.
#[tokio::test]
async fn a_committed_offset_above_the_end_of_the_log_becomes_the_oldest() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("above");
    kafka.create_topic(&topic, 1).await;
    let bridge = open(kafka);
    publish(&*bridge, &topic, (0..3).map(text).collect()).await;
    let (address, name) = (kafka.address().to_owned(), topic.clone());
    tokio::task::spawn_blocking(move || commit(&address, &name, 100)).await.unwrap();
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    assert_eq!(until(&mut inbox, "2").await, ["0", "1"]);
    close(inbox).await;
}

/// Commits for the group of the same name.
fn commit(address: &str, topic: &str, offset: i64) {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", address).set("group.id", topic).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

async fn delete_before(address: &str, topic: &str, offset: i64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address).create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    admin.delete_records(&before, &AdminOptions::new()).await.unwrap();
}

fn publish_in_transactions(address: &str, topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("transactional.id", topic)
        .create()
        .unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    for n in 0..4 {
        producer.begin_transaction().unwrap();
        let payload = n.to_string();
        producer.send(BaseRecord::<(), String>::to(topic).payload(&payload)).unwrap();
        producer.flush(Duration::from_secs(10)).unwrap();
        if n == 3 {
            producer.abort_transaction(Duration::from_secs(10)).unwrap();
        } else {
            producer.commit_transaction(Duration::from_secs(10)).unwrap();
        }
    }
}

/// Returns a question: is this offset committed?
fn committed(address: &str, topic: &str, offset: i64) -> impl Fn() -> bool {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", address).set("group.id", topic).create().unwrap();
    let topic = topic.to_owned();
    move || {
        let mut query = TopicPartitionList::new();
        query.add_partition(&topic, 0);
        let answer = consumer.committed_offsets(query, Duration::from_secs(5)).unwrap();
        answer.elements()[0].offset() == Offset::Offset(offset)
    }
}
