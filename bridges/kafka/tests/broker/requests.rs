//! Requests and replies, with clients on the other side that know nothing of Sidespan: their headers are
//! those of Spring's `ReplyingKafkaTemplate`.

use std::time::Duration;

use futures_util::StreamExt;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, Message as Record, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_bridge::{Error, Message, Start, Topic};
use sidespan_test_support::{eventually, unique_name};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

fn creating(kafka: &Kafka, more: Value) -> Arc<dyn Bridge> {
    let create = json!({"create_topics": {"partitions": 3, "replication_factor": 1}});
    open_with(kafka, with(create, more))
}

/// Somebody who reads partitions of a topic from their beginning, by hand.
fn reader(kafka: &Kafka, topic: &str, partitions: &[i32]) -> StreamConsumer {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.address())
        .set("group.id", "foreign")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}

fn writer(kafka: &Kafka) -> FutureProducer {
    ClientConfig::new().set("bootstrap.servers", kafka.address()).create().unwrap()
}

fn header<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a [u8]> {
    let headers = record.headers()?;
    headers.iter().find(|header| header.key == name).and_then(|header| header.value)
}

/// Answers each request in capitals.
struct Responder(JoinHandle<()>);

impl Responder {
    fn start(kafka: &Kafka, topic: &str) -> Self {
        let (requests, replies) = (reader(kafka, topic, &[0]), writer(kafka));
        Self(tokio::spawn(async move {
            let mut requests = requests.stream();
            while let Some(Ok(request)) = requests.next().await {
                let request = request.detach();
                let to = String::from_utf8(header(&request, "kafka_replyTopic").unwrap().to_vec()).unwrap();
                let partition = header(&request, "kafka_replyPartition").unwrap();
                let correlation = header(&request, "kafka_correlationId");
                let named =
                    OwnedHeaders::new().insert(Header { key: "kafka_correlationId", value: correlation });
                let body = String::from_utf8(request.payload().unwrap().to_vec()).unwrap().to_uppercase();
                let reply: FutureRecord<'_, (), _> = FutureRecord::to(&to)
                    .partition(i32::from_be_bytes(partition.try_into().unwrap()))
                    .payload(&body)
                    .headers(named);
                // Where the asker has gone it can't be helped.
                let _ = replies.send(reply, PATIENCE).await;
            }
        }))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ask(bridge: &dyn Bridge, topic: &str, question: &str) -> Result<String, Error> {
    let reply = bridge.request(&Topic::new(topic), text(question), soon()).await?;
    Ok(String::from_utf8(reply.payload.expect("a body").to_vec()).expect("text"))
}

#[tokio::test]
async fn a_responder_that_knows_nothing_of_sidespan_answers_each_replica() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("answered");
    kafka.create_topic(&topic, 1).await;
    let _responder = Responder::start(kafka, &topic);
    let place = json!({"reply_topic": unique_name("replies")});
    let replicas: Vec<_> = (0..4).map(|_| creating(kafka, place.clone())).collect();
    for (n, replica) in replicas.iter().enumerate() {
        assert_eq!(ask(&**replica, &topic, &format!("hello {n}")).await.unwrap(), format!("HELLO {n}"));
    }
    let own = Message { correlation: Some("my own".into()), ..text("again") };
    let reply = replicas[0].request(&Topic::new(topic.as_str()), own, soon()).await.unwrap();
    assert_eq!(reply.correlation.as_deref(), Some("my own"), "what the caller called it");
}

#[tokio::test]
async fn a_client_that_knows_nothing_of_sidespan_is_answered_where_it_waits() {
    let kafka = Kafka::shared().await;
    let (topic, replies) = (unique_name("asked"), unique_name("theirs"));
    kafka.create_topic(&topic, 1).await;
    kafka.create_topic(&replies, 3).await;
    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    // Not UTF-8, as most of what is random.
    let id = [0x9f, 0xff, 0x33, 0xfe, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    for partition in [Some(2_i32), None] {
        let mut named = OwnedHeaders::new()
            .insert(Header { key: "kafka_replyTopic", value: Some(replies.as_bytes()) })
            .insert(Header { key: "kafka_correlationId", value: Some(&id[..]) });
        if let Some(partition) = partition {
            let value = Some(partition.to_be_bytes());
            named = named.insert(Header { key: "kafka_replyPartition", value: value.as_ref() });
        }
        let request: FutureRecord<'_, (), _> = FutureRecord::to(&topic).payload("how many?").headers(named);
        writer(kafka).send(request, PATIENCE).await.unwrap();

        let request = next(&mut inbox).await;
        let to = request.message.reply_to.clone().expect("where the reply is awaited");
        let answer = format!("42 to {partition:?}");
        let reply = Message { correlation: request.message.correlation.clone(), ..text(&answer) };
        bridge.reply(&to, reply, soon()).await.unwrap();
        accept(request).await;

        let everywhere = partition.map_or_else(|| vec![0, 1, 2], |partition| vec![partition]);
        let theirs = reader(kafka, &replies, &everywhere);
        let found = theirs.stream().filter_map(|record| async { Some(record.unwrap().detach()) });
        let mut found = std::pin::pin!(found);
        let reply = loop {
            let record = timeout(PATIENCE, found.next()).await.unwrap().unwrap();
            if record.payload() == Some(answer.as_bytes()) {
                break record;
            }
        };
        assert_eq!(header(&reply, "kafka_correlationId"), Some(&id[..]), "byte by byte");
        assert_eq!(header(&reply, "kafka_replyTopic"), None);
    }
}

#[tokio::test]
async fn a_topic_for_replies_is_made_only_where_the_settings_say_so() {
    let kafka = Kafka::shared().await;
    let (topic, replies) = (unique_name("asks"), unique_name("for-replies"));
    kafka.create_topic(&topic, 1).await;
    let _responder = Responder::start(kafka, &topic);
    let careful = open_with(kafka, json!({"reply_topic": replies}));
    let begin = Instant::now();
    let error = ask(&*careful, &topic, "hello").await.unwrap_err();
    assert_eq!(error.fault, Fault::UnknownTopic, "{error}");
    for told in [&*replies, "reply_topic", "create_topics"] {
        assert!(error.to_string().contains(told), "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(kafka.partitions(&replies).await, 0);

    let bold = creating(kafka, json!({"reply_topic": replies}));
    assert_eq!(ask(&*bold, &topic, "hello").await.unwrap(), "HELLO");
    assert_eq!(kafka.partitions(&replies).await, 3);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka.address()).create().unwrap();
    let told = admin.describe_configs([&ResourceSpecifier::Topic(&replies)], &AdminOptions::new()).await;
    let told = told.unwrap().remove(0).unwrap();
    let value = |name| told.get(name).and_then(|entry| entry.value.clone());
    assert_eq!(value("retention.ms").as_deref(), Some("600000"));
    // It is there now.
    assert_eq!(ask(&*careful, &topic, "hello").await.unwrap(), "HELLO");
}

#[tokio::test]
async fn what_goes_to_no_topic_is_said_of_requests_and_of_replies() {
    let kafka = Kafka::shared().await;
    let bridge = creating(kafka, json!({}));
    let missing = unique_name("missing");
    assert_eq!(ask(&*bridge, &missing, "hello").await.unwrap_err().fault, Fault::UnknownTopic);
    let error = bridge.reply(&missing, text("42"), soon()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unroutable, "{error}");
    let error = bridge.reply("__consumer_offsets", text("42"), soon()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Invalid, "{error}");
    assert_eq!(kafka.partitions(&missing).await, 0);
}

#[tokio::test]
async fn as_many_requests_may_wait_as_the_settings_say_and_closing_ends_them() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("few");
    kafka.create_topic(&topic, 1).await;
    let bridge = creating(kafka, json!({"max_requests": 2}));
    let mut inbox = subscribe(&*bridge, Subscribe { start: Start::Begin, ..all_of(&topic) }).await;
    let ask_in_vain = || {
        let (bridge, topic) = (Arc::clone(&bridge), topic.clone());
        tokio::spawn(async move { ask(&*bridge, &topic, "how many?").await })
    };
    let [gone, waiting] = [ask_in_vain(), ask_in_vain()];
    for _ in 0..2 {
        accept(next(&mut inbox).await).await;
    }
    assert_eq!(ask(&*bridge, &topic, "one too many").await.unwrap_err().fault, Fault::Limited);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = bridge.request(&Topic::new(topic.as_str()), text("instead"), deadline).await.unwrap_err();
    assert_eq!(error.fault, Fault::Timeout, "there is room again: {error}");

    close(inbox).await;
    bridge.close(soon()).await;
    let error = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.fault, Fault::Timeout);
    assert!(error.to_string().contains("may have been handled"), "{error}");
    assert_eq!(ask(&*bridge, &topic, "more?").await.unwrap_err().fault, Fault::Unavailable);
}

/// A reply that is written while the asker cannot see the broker waits there.
#[tokio::test]
async fn requests_outlive_a_broker_that_is_away() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let topic = unique_name("away");
    kafka.create_topic(&topic, 1).await;
    let bridge = creating(&kafka, json!({}));
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let asked = tokio::spawn({
        let (bridge, topic) = (Arc::clone(&bridge), topic.clone());
        async move {
            let deadline = Instant::now() + PATIENCE * 3;
            bridge.request(&Topic::new(topic), text("how many?"), deadline).await
        }
    });
    let request = next(&mut inbox).await;
    kafka.kill();
    kafka.start_again().await;
    let to = request.message.reply_to.clone().unwrap();
    let reply = Message { correlation: request.message.correlation.clone(), ..text("42") };
    eventually(PATIENCE, "a reply", async || bridge.reply(&to, reply.clone(), soon()).await.is_ok()).await;
    assert_eq!(asked.await.unwrap().unwrap().payload.as_deref(), Some(&b"42"[..]));
}

/// What is awaited then is lost, and what is asked later is not.
#[tokio::test]
async fn a_topic_for_replies_that_is_deleted_is_made_anew() {
    let kafka = Kafka::shared().await;
    let (topic, replies) = (unique_name("answered"), unique_name("deleted"));
    kafka.create_topic(&topic, 1).await;
    let _responder = Responder::start(kafka, &topic);
    let refresh = json!({"topic.metadata.refresh.interval.ms": 500});
    let bridge = creating(kafka, json!({"reply_topic": replies, "properties": refresh}));
    assert_eq!(ask(&*bridge, &topic, "before").await.unwrap(), "BEFORE");
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka.address()).create().unwrap();
    admin.delete_topics(&[&replies], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    eventually(PATIENCE, "requests to be answered again", async || {
        let deadline = Instant::now() + Duration::from_secs(3);
        bridge.request(&Topic::new(topic.as_str()), text("after"), deadline).await.is_ok()
    })
    .await;
}
