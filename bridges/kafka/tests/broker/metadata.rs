//! Offset metadata that is not what this bridge wrote for exactly this place.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_bridge::Verdict;
use sidespan_test_support::{Kafka, unique_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{accept, all_of, close, next, open, publish, subscribe, text, until};

/// Offsets that were mirrored to another topic say nothing about the messages there.
#[tokio::test]
async fn metadata_of_another_topic_is_ignored() {
    let kafka = Kafka::shared().await;
    let (topic, mirror) = (unique_name("original"), unique_name("mirror"));
    kafka.create_topic(&topic, 1).await;
    kafka.create_topic(&mirror, 1).await;
    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    publish(&*bridge, &topic, (0..4).map(text).collect()).await;
    publish(&*bridge, &mirror, (0..4).map(text).collect()).await;
    let first = next(&mut inbox).await;
    for _ in 1..4 {
        accept(next(&mut inbox).await).await;
    }
    drop(first.ack.settle(Verdict::Release { after: Duration::from_secs(60) }));
    close(inbox).await;

    let metadata = mirror_offset(kafka.address(), &topic, &mirror);
    assert!(metadata.starts_with("sidespan/1 "), "{metadata}");
    let mut inbox = subscribe(&*bridge, all_of(&mirror)).await;
    assert_eq!(until(&mut inbox, "3").await, ["0", "1", "2"]);
    close(inbox).await;
}

/// Bytes that are no text, as any program may commit them.
#[tokio::test]
async fn metadata_that_is_no_text_is_ignored() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("bytes");
    kafka.create_topic(&topic, 1).await;
    let bridge = open(kafka);
    publish(&*bridge, &topic, (0..4).map(text).collect()).await;
    commit_bytes(kafka.address(), &topic, 2, b"\xff\xfe\x00sidespan/1").await;
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    assert_eq!(until(&mut inbox, "3").await, ["2"]);
    close(inbox).await;
}

/// Copies what one group has committed for its topic to another, as mirroring does.
fn mirror_offset(address: &str, from: &str, to: &str) -> String {
    let group = |name: &str| -> BaseConsumer {
        ClientConfig::new().set("bootstrap.servers", address).set("group.id", name).create().unwrap()
    };
    let mut query = TopicPartitionList::new();
    query.add_partition(from, 0);
    let answer = group(from).committed_offsets(query, Duration::from_secs(10)).unwrap();
    let element = &answer.elements()[0];
    assert_eq!(element.offset(), Offset::Offset(0));
    let mut commit = TopicPartitionList::new();
    let mut copy = commit.add_partition(to, 0);
    copy.set_offset(element.offset()).unwrap();
    copy.set_metadata(element.metadata());
    group(to).commit(&commit, CommitMode::Sync).unwrap();
    element.metadata().to_owned()
}

/// Commits by hand, since client libraries take text only (OffsetCommit, version 2).
async fn commit_bytes(address: &str, group: &str, offset: i64, metadata: &[u8]) {
    fn string(bytes: &mut Vec<u8>, text: &[u8]) {
        bytes.extend((text.len() as i16).to_be_bytes());
        bytes.extend(text);
    }
    for _ in 0..100 {
        let mut request = Vec::new();
        request.extend([0, 8, 0, 2]);
        request.extend(7i32.to_be_bytes());
        string(&mut request, b"test");
        string(&mut request, group.as_bytes());
        request.extend((-1i32).to_be_bytes());
        string(&mut request, b"");
        request.extend((-1i64).to_be_bytes());
        request.extend(1i32.to_be_bytes());
        string(&mut request, group.as_bytes());
        request.extend(1i32.to_be_bytes());
        request.extend(0i32.to_be_bytes());
        request.extend(offset.to_be_bytes());
        string(&mut request, metadata);
        let mut broker = TcpStream::connect(address).await.unwrap();
        broker.write_all(&(request.len() as i32).to_be_bytes()).await.unwrap();
        broker.write_all(&request).await.unwrap();
        let length = broker.read_i32().await.unwrap();
        let mut response = vec![0; length as usize];
        broker.read_exact(&mut response).await.unwrap();
        match response.last_chunk::<2>().map(|code| i16::from_be_bytes(*code)) {
            Some(0) => return,
            // The coordinator of the group is still loading.
            Some(14..=16) => tokio::time::sleep(Duration::from_millis(100)).await,
            code => panic!("the broker refused a commit: {code:?}"),
        }
    }
    panic!("the group's coordinator does not become ready");
}
