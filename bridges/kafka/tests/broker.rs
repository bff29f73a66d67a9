//! What only Kafka has, against a real broker.

#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is test code"
)]

#[path = "broker/churn.rs"]
mod churn;
#[path = "broker/cluster.rs"]
mod cluster;
#[path = "broker/faults.rs"]
mod faults;
#[path = "broker/gaps.rs"]
mod gaps;
#[path = "broker/keys.rs"]
mod keys;
#[path = "broker/members.rs"]
mod members;
#[path = "broker/metadata.rs"]
mod metadata;
#[path = "broker/poison.rs"]
mod poison;
#[path = "broker/topics.rs"]
mod topics;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sidespan_bridge::{
    Bridge, Delivery, Driver, Event, Fault, Message, Order, Pattern, Receipt, Settings, Settlement, Start,
    Subscribe, Subscription, Topic, Verdict, Window,
};
use sidespan_bridge_kafka::Kafka as KafkaDriver;
use sidespan_test_support::Kafka;
use tokio::time::{Instant, timeout};
use tracing_subscriber::EnvFilter;

type Inbox = Box<dyn Subscription>;

fn open(kafka: &Kafka) -> Arc<dyn Bridge> {
    open_with(kafka, json!({}))
}

/// Opens a bridge; the log of a test that fails is shown as `RUST_LOG` says.
fn open_with(kafka: &Kafka, more: Value) -> Arc<dyn Bridge> {
    let filter = EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let mut keys = json!({
        "brokers": [kafka.address()],
        "properties": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    KafkaDriver.open(&Settings::new("kafka-tests", keys)).unwrap()
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// All of a topic, for a group of the same name.
fn all_of(topic: &str) -> Subscribe {
    Subscribe {
        pattern: Pattern::parse(topic).unwrap(),
        group: Some(topic.into()),
        start: Start::Begin,
        order: Order::None,
        window: Window::default(),
    }
}

/// Subscribes; tries again, as callers do, while a new broker has no coordinator yet.
async fn subscribe(bridge: &dyn Bridge, to: Subscribe) -> Inbox {
    let end = soon();
    loop {
        match bridge.subscribe(to.clone()).await {
            Ok(inbox) => return inbox,
            Err(error) if error.fault == Fault::Unavailable && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn text(text: impl ToString) -> Message {
    Message { payload: Some(Bytes::from(text.to_string())), ..Message::default() }
}

async fn publish(bridge: &dyn Bridge, topic: &str, messages: Vec<Message>) -> Vec<Receipt> {
    let outcomes = bridge.publisher().publish(&Topic::new(topic), messages, soon()).await;
    outcomes.into_iter().map(|outcome| outcome.unwrap()).collect()
}

async fn next(inbox: &mut Inbox) -> Delivery {
    loop {
        match timeout(PATIENCE, inbox.next()).await.expect("a delivery").unwrap().unwrap() {
            Event::Delivery(delivery) => return delivery,
            Event::Lost { .. } => {}
        }
    }
}

/// Accepts, and waits until the broker has it.
async fn accept(delivery: Delivery) {
    assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);
}

/// Receives up to the message `last`, accepts all, and returns what came ahead of it.
async fn until(inbox: &mut Inbox, last: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let delivery = next(inbox).await;
        let body = body(&delivery);
        accept(delivery).await;
        if body == last {
            return bodies;
        }
        bodies.push(body);
    }
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.clone().unwrap().to_vec()).unwrap()
}

async fn close(inbox: Inbox) {
    inbox.control().close(soon()).await.unwrap();
}

const PATIENCE: Duration = Duration::from_secs(30);
