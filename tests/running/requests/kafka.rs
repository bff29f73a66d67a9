//! Through Kafka: replies come to a topic that the request names, in the headers of Spring's
//! `ReplyingKafkaTemplate`.

use futures_util::StreamExt;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_test_support::{Kafka, Sidecar, Webhook, unique_name};
use tokio::time::timeout;

use super::{QUESTIONS, ask, greeting, is_greeted, service};
use crate::{PATIENCE, ended_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_client_asks_a_service_that_speaks_only_http() {
    let kafka = Kafka::shared().await;
    let (asked, theirs, webhook) = (unique_name("asked"), unique_name("theirs"), service().await);
    kafka.create_topic(&asked, 1).await;
    kafka.create_topic(&theirs, 1).await;
    let mut sidecar = start(kafka, &asked, &webhook).await;
    let (client, replies) = (writer(kafka), reader(kafka, &theirs));
    // Not UTF-8, as most of what is random.
    for ((question, status), correlation) in QUESTIONS.into_iter().zip([[0xff; 16], [0xfe; 16]]) {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "kafka_replyTopic", value: Some(&theirs) })
            .insert(Header { key: "kafka_correlationId", value: Some(&correlation) });
        let request: FutureRecord<'_, (), _> = FutureRecord::to(&asked).payload(question).headers(headers);
        client.send(request, PATIENCE).await.unwrap();
        let reply = next(&replies).await;
        assert_eq!(reply.payload(), Some(greeting(question).as_bytes()));
        assert_eq!(header(&reply, "kafka_correlationId"), correlation);
        assert_eq!(header(&reply, "sidespan-status"), status.to_string().as_bytes());
        assert_eq!(header(&reply, "x-total"), b"42");
        assert_eq!(header(&reply, "content-type"), b"text/greeting");
    }
    assert_eq!(webhook.received().len(), QUESTIONS.len());
    ended_with(&sidecar.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_asks_a_service_that_speaks_only_kafka() {
    let kafka = Kafka::shared().await;
    let (own, asked, webhook) = (unique_name("own"), unique_name("service"), service().await);
    kafka.create_topic(&own, 1).await;
    kafka.create_topic(&asked, 1).await;
    let mut sidecar = start(kafka, &own, &webhook).await;
    let (requests, responder) = (reader(kafka, &asked), writer(kafka));
    let serving = tokio::spawn(async move {
        loop {
            let request = next(&requests).await;
            let to = str::from_utf8(header(&request, "kafka_replyTopic")).unwrap();
            let partition = header(&request, "kafka_replyPartition").try_into().unwrap();
            let correlation = header(&request, "kafka_correlationId");
            let headers = OwnedHeaders::new()
                .insert(Header { key: "kafka_correlationId", value: Some(correlation) })
                .insert(Header { key: "content-type", value: Some("text/greeting") })
                .insert(Header { key: "x-total", value: Some(header(&request, "total")) });
            let body = greeting(str::from_utf8(request.payload().unwrap()).unwrap());
            let reply: FutureRecord<'_, (), _> = FutureRecord::to(to).payload(&body).headers(headers);
            responder.send(reply.partition(i32::from_be_bytes(partition)), PATIENCE).await.unwrap();
        }
    });
    for question in ["hello", "again"] {
        is_greeted(&ask(&sidecar, &asked, question).await, question);
    }
    serving.abort();
    ended_with(&sidecar.stop().await, 0);
}

/// Starts a server that makes the topic for replies to itself, of which the broker has the default.
async fn start(kafka: &Kafka, asked: &str, webhook: &Webhook) -> Sidecar {
    let (address, replies) = (kafka.address(), unique_name("replies"));
    let bridge = format!(
        "{{ kind: kafka, brokers: ['{address}'], open: true, reply_topic: {replies}, \
         create_topics: {{ partitions: 1, replication_factor: 1 }} }}"
    );
    super::start(&bridge, "", asked, webhook).await
}

fn writer(kafka: &Kafka) -> FutureProducer {
    ClientConfig::new().set("bootstrap.servers", kafka.address()).create().unwrap()
}

/// Reads a topic of one partition from its beginning, in no group.
fn reader(kafka: &Kafka, topic: &str) -> StreamConsumer {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.address())
        .set("group.id", "foreign")
        .create()
        .unwrap();
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&place).unwrap();
    consumer
}

async fn next(reader: &StreamConsumer) -> OwnedMessage {
    let mut records = reader.stream();
    timeout(PATIENCE, records.next()).await.expect("a record in time").unwrap().unwrap().detach()
}

/// Returns the bytes of a record's header, which must be there.
#[track_caller]
fn header<'a>(record: &'a OwnedMessage, name: &str) -> &'a [u8] {
    let headers = record.headers().expect("a record with headers");
    let header = headers.iter().find(|header| header.key == name);
    header.unwrap_or_else(|| panic!("{name} in {headers:?}")).value.expect("a value")
}
