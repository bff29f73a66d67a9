//! From HTTP into Kafka's records and out again: what others see in Kafka, and what webhooks get.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use sidespan_test_support::{
    Answer, Client, Kafka, Launch, Received, Request, Sidecar, Webhook, unique_name,
};

use crate::{PATIENCE, SIDESPAN, ended_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_a_plain_record_and_arrives_as_it_was_sent() {
    let bench = Bench::start("").await;
    let plain = bench.post("\0\u{1}{}").header("content-type", "application/x-odd; a=b");
    let plain = plain
        .header("sidespan-key-base64", "a/8B")
        .header("sidespan-header-color", "%00%FF%20red")
        .header("sidespan-header-empty", "");
    let receipt = stored(plain).await;
    let tombstone = bench.post("").header("sidespan-key", "gone").header("sidespan-tombstone", "true");
    let placed = stored(tombstone.header("sidespan-partition", "2")).await;
    for receipt in [&receipt, &placed] {
        let (partition, offset) = receipt["position"].as_str().unwrap().split_once('-').unwrap();
        assert!(partition.parse::<u32>().unwrap() < 3 && offset.parse::<u64>().is_ok(), "{receipt}");
        assert_eq!((&receipt["deduplicated"], &receipt["duplicate"]), (&json!(false), &json!(false)));
        assert_eq!((&receipt["guarantee"], &receipt["topic"]), (&json!("at-least-once"), &json!("orders")));
    }
    assert_eq!(placed["position"].as_str().unwrap().split('-').next(), Some("2"));

    let record = bench.record(&receipt).await;
    assert_eq!(record.payload(), Some(&b"\0\x01{}"[..]));
    assert_eq!(record.key(), Some(&b"k\xff\x01"[..]));
    assert_eq!(header(&record, "content-type"), b"application/x-odd; a=b");
    assert_eq!(header(&record, "color"), b"\0\xff red");
    assert_eq!(header(&record, "empty"), b"");
    let gone = bench.record(&placed).await;
    assert_eq!((gone.payload(), gone.key()), (None, Some(&b"gone"[..])));

    let received = bench.received(2).await;
    let plain = by_id(&received, &receipt);
    assert_eq!(&plain.body[..], b"\0\x01{}");
    assert_eq!(plain.header("content-type"), "application/x-odd; a=b");
    assert_eq!(plain.header("sidespan-key"), "k%FF%01");
    assert_eq!(plain.header("sidespan-header-color"), "%00%FF%20red");
    assert!(plain.headers.contains_key("sidespan-header-empty"));
    let gone = by_id(&received, &placed);
    assert_eq!((gone.header("sidespan-tombstone"), gone.text()), ("true", ""));
    assert_eq!(gone.header("sidespan-key"), "gone");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_event_is_a_binary_one_in_kafka_and_at_the_webhook() {
    let bench = Bench::start("").await;
    let event = json!({
        "specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.placed", "subject": "naïve",
        "time": "2026-11-20T12:00:00Z", "partitionkey": "customer 7", "datacontenttype": "application/json",
        "data": {"total": 17},
    });
    let structured = bench.post(&event.to_string()).header("content-type", "application/cloudevents+json");
    let receipt = stored(structured).await;
    let binary = bench.post("<order/>").header("content-type", "application/xml");
    let binary = binary.header("ce-specversion", "1.0").header("ce-id", "e-2").header("ce-source", "/shop");
    let second = stored(binary.header("ce-type", "order.placed").header("ce-subject", "na%C3%AFve")).await;

    let record = bench.record(&receipt).await;
    assert_eq!(record.key(), Some(&b"customer 7"[..]));
    assert_eq!(serde_json::from_slice::<Value>(record.payload().unwrap()).unwrap(), json!({"total": 17}));
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_id", "e-1"),
        ("ce_source", "/shop"),
        ("ce_type", "order.placed"),
        ("ce_subject", "naïve"),
        ("ce_time", "2026-11-20T12:00:00Z"),
        ("ce_partitionkey", "customer 7"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(String::from_utf8_lossy(&header(&record, name)), value, "{name}");
    }
    assert_eq!(header(&bench.record(&second).await, "ce_subject"), "naïve".as_bytes());

    let received = bench.received(2).await;
    let first = received.iter().find(|request| request.header("ce-id") == "e-1").unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&first.body).unwrap(), json!({"total": 17}));
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.header("ce-type"), "order.placed");
    assert_eq!(first.header("ce-subject"), "na%C3%AFve");
    assert_eq!(first.header("ce-partitionkey"), "customer%207");
    assert_eq!(first.header("sidespan-key"), "customer%207");
    let second = received.iter().find(|request| request.header("ce-id") == "e-2").unwrap();
    assert_eq!((second.text(), second.header("content-type")), ("<order/>", "application/xml"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_fails_alone() {
    // The door lets pass what the bridge may not hand over.
    let bench = Bench::start("limits: {max_message: 4MiB}\n").await;
    let large = "x".repeat(2 << 20);
    let alone = bench.post(&large).send().await.unwrap();
    assert_eq!((alone.status.as_u16(), alone.json()["outcome"].as_str()), (413, Some("not_stored")));

    let texts = ["one", &large, "three"];
    let batch: Vec<Value> = texts.iter().map(|text| json!({"key": "k", "text": text})).collect();
    let url = bench.sidecar.url("/v1/topics/orders/batches");
    let post = |prefer: &str| {
        let request = Client::new().post(&url, Value::from(batch.clone()).to_string());
        request.header("content-type", "application/json").header("prefer", prefer)
    };
    let strict = post("handling=strict").send().await.unwrap();
    let said = strict.json();
    assert_eq!((strict.status.as_u16(), &said["outcome"]), (413, &json!("partial")), "{said}");
    assert_eq!((&said["stored"], &said["failed"]), (&json!(2), &json!(1)), "{said}");
    let lenient = post("handling=lenient").send().await.unwrap();
    assert_eq!(lenient.status, 207, "{}", lenient.text());

    let received = bench.received(4).await;
    let bodies: Vec<&str> = received.iter().map(Received::text).collect();
    assert_eq!(bodies, ["one", "three", "one", "three"]);
    bench.stop().await;
}

/// A topic of three partitions, a sidecar that delivers it, and a webhook.
struct Bench {
    kafka: &'static Kafka,
    topic: String,
    webhook: Webhook,
    sidecar: Sidecar,
}

impl Bench {
    async fn start(sections: &str) -> Self {
        let kafka = Kafka::shared().await;
        let (topic, dead) = (unique_name("orders"), unique_name("dead"));
        kafka.create_topic(&topic, 3).await;
        kafka.create_topic(&dead, 1).await;
        let webhook = Webhook::start(|_| Answer::ok()).await;
        let config = format!(
            "version: 1\nservice: {}\nbridges:\n  main: {{kind: kafka, brokers: ['{}']}}\n\
             topics: {{orders: {{address: {topic}}}, dead: {{address: {dead}}}}}\n\
             subscriptions:\n  billing: {{topic: orders, start: begin, order: key, dead_letter: dead, \
             push: {{url: '{}'}}}}\n{sections}",
            unique_name("shop"),
            kafka.address(),
            webhook.url("/")
        );
        let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
        sidecar.until_ready().await;
        Self { kafka, topic, webhook, sidecar }
    }

    fn post(&self, body: &str) -> Request {
        Client::new().post(&self.sidecar.url("/v1/topics/orders/messages"), body.to_owned())
    }

    async fn received(&self, count: usize) -> Vec<Received> {
        self.webhook.wait_until("the messages", |received| received.len() >= count).await
    }

    /// Reads the record of a receipt as any client of Kafka does.
    async fn record(&self, receipt: &Value) -> OwnedMessage {
        let (partition, offset) = receipt["position"].as_str().unwrap().split_once('-').unwrap();
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.address())
            .set("group.id", unique_name("reader"))
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut place = TopicPartitionList::new();
        let offset = Offset::Offset(offset.parse().unwrap());
        place.add_partition_offset(&self.topic, partition.parse().unwrap(), offset).unwrap();
        consumer.assign(&place).unwrap();
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let record = tokio::time::timeout_at(end, consumer.recv()).await.expect("a record in time");
            match record {
                Ok(record) => return record.detach(),
                // The client tells of each address that it could not reach at first.
                Err(error) => {
                    eprintln!("reading: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn stop(mut self) {
        ended_with(&self.sidecar.stop().await, 0);
    }
}

/// Sends a publish, which must be stored, and returns the receipt.
async fn stored(request: Request) -> Value {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Returns the bytes of a record's header, which must be there once.
fn header(record: &OwnedMessage, name: &str) -> Vec<u8> {
    let headers = record.headers().expect("a record with headers");
    let values: Vec<_> = headers.iter().filter(|header| header.key == name).collect();
    assert_eq!(values.len(), 1, "{name} in {headers:?}");
    values[0].value.unwrap_or_default().to_vec()
}

fn by_id<'a>(received: &'a [Received], receipt: &Value) -> &'a Received {
    let id = receipt["id"].as_str().unwrap();
    received.iter().find(|request| request.header("webhook-id") == id).expect("the message arrived")
}
