//! What only Kafka has, against a real broker.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "this is test code")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sidespan_bridge::{
    Bridge, Delivery, Driver, Event, Fault, Message, Order, Pattern, Receipt, Settings, Settlement, Start,
    Subscribe, Subscription, Topic, Verdict, Window,
};
use sidespan_bridge_kafka::Kafka as KafkaDriver;
use sidespan_test_support::{Kafka, unique_name};
use tokio::time::{Instant, timeout};

fn log() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
}

async fn open(kafka: &Kafka) -> Arc<dyn Bridge> {
    log();
    let keys = json!({"brokers": [kafka.address()], "properties": {"session.timeout.ms": 6000}});
    KafkaDriver.open(&Settings::new("kafka-tests", keys)).unwrap()
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn subscribe(topic: &str, group: &str, start: Start) -> Subscribe {
    Subscribe {
        pattern: Pattern::parse(topic).unwrap(),
        group: Some(group.into()),
        start,
        order: Order::None,
        window: Window::default(),
    }
}

fn text(text: &str) -> Message {
    Message { payload: Some(Bytes::copy_from_slice(text.as_bytes())), ..Message::default() }
}

async fn publish(bridge: &dyn Bridge, topic: &str, messages: Vec<Message>) -> Vec<Receipt> {
    let outcomes = bridge.publisher().publish(&Topic::new(topic), messages, soon()).await;
    outcomes.into_iter().map(|outcome| outcome.unwrap()).collect()
}

async fn next(inbox: &mut Box<dyn Subscription>) -> Delivery {
    loop {
        match timeout(PATIENCE, inbox.next()).await.expect("a delivery").unwrap().unwrap() {
            Event::Delivery(delivery) => return delivery,
            Event::Lost { .. } => {}
        }
    }
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.clone().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_message_is_published_delivered_settled_and_not_seen_again() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("smoke");
    kafka.create_topic(&topic, 3).await;
    let bridge = open(kafka).await;
    let mut inbox = bridge.subscribe(subscribe(&topic, &topic, Start::End)).await.unwrap();
    for n in 0..10 {
        publish(&*bridge, &topic, vec![text(&n.to_string())]).await;
    }
    let mut seen = BTreeSet::new();
    let mut held = Vec::new();
    while seen.len() < 10 {
        let delivery = next(&mut inbox).await;
        assert!(seen.insert(body(&delivery)), "{} came twice", body(&delivery));
        if body(&delivery) == "3" {
            held.push(delivery);
        } else {
            assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);
        }
    }
    inbox.control().close(soon()).await.unwrap();
    bridge.close(soon()).await;

    let bridge = open(kafka).await;
    let mut inbox = bridge.subscribe(subscribe(&topic, &topic, Start::End)).await.unwrap();
    publish(&*bridge, &topic, vec![text("last")]).await;
    let mut again = BTreeSet::new();
    while again.len() < 2 {
        again.insert(body(&next(&mut inbox).await));
    }
    assert_eq!(again.into_iter().collect::<Vec<_>>(), ["3", "last"]);
    inbox.control().close(soon()).await.unwrap();
}

#[tokio::test]
async fn an_unknown_topic_is_said_within_a_second_and_not_created() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("missing");
    let bridge = open(kafka).await;
    bridge.probe(soon()).await.unwrap();
    let begin = Instant::now();
    let outcomes = bridge.publisher().publish(&Topic::new(topic.as_str()), vec![text("x")], soon()).await;
    assert_eq!(outcomes[0].as_ref().unwrap_err().fault, Fault::UnknownTopic);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(kafka.partitions(&topic).await, 0);
    bridge.close(soon()).await;
}

const PATIENCE: Duration = Duration::from_secs(30);
