//! How clients get into a real Kafka, and what is said where they don't.

#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is test code"
)]

#[path = "security/acl.rs"]
mod acl;
#[path = "security/broker.rs"]
mod broker;
#[path = "security/log.rs"]
mod log;
#[path = "security/oauth.rs"]
mod oauth;
#[path = "security/refused.rs"]
mod refused;
#[path = "security/rotation.rs"]
mod rotation;
#[path = "security/ways.rs"]
mod ways;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sidespan_bridge::{
    Bridge, Delivery, Driver, Error, Event, Fault, Message, Order, Pattern, Receipt, Settings, Settlement,
    Start, Subscribe, Subscription, Topic, Verdict, Window,
};
use sidespan_bridge_kafka::Kafka as KafkaDriver;
use tokio::time::{Instant, timeout};

use broker::Secured;

type Inbox = Box<dyn Subscription>;

/// Opens a bridge to some addresses with further keys; all that it logs is kept.
fn open(brokers: &[&str], more: Value) -> Arc<dyn Bridge> {
    log::keep();
    let mut keys = json!({
        "brokers": brokers,
        "properties": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    KafkaDriver.open(&Settings::new("kafka-security", keys)).unwrap()
}

async fn publish(bridge: &dyn Bridge, topic: &str, body: &str) -> Result<Receipt, Error> {
    let message = Message { payload: Some(Bytes::from(body.to_owned())), ..Message::default() };
    let deadline = Instant::now() + Duration::from_secs(5);
    bridge.publisher().publish(&Topic::new(topic), vec![message], deadline).await.remove(0)
}

/// Publishes until it works: a new client takes a moment to get in.
async fn publish_at_last(bridge: &dyn Bridge, topic: &str, body: &str) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = publish(bridge, topic, body).await {
        assert!(Instant::now() < end, "{error}: {:?}", std::error::Error::source(&error));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn all_of(topic: &str) -> Subscribe {
    Subscribe {
        pattern: Pattern::parse(topic).unwrap(),
        group: Some(topic.into()),
        start: Start::Begin,
        order: Order::None,
        window: Window::default(),
    }
}

async fn subscribe(bridge: &dyn Bridge, topic: &str) -> Inbox {
    let end = Instant::now() + PATIENCE;
    loop {
        match bridge.subscribe(all_of(topic)).await {
            Ok(inbox) => return inbox,
            Err(error) if Instant::now() < end && error.fault != Fault::Invalid => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Returns the next delivery, or `None` if the subscription ended.
async fn next(inbox: &mut Inbox) -> Option<Delivery> {
    loop {
        match timeout(PATIENCE, inbox.next()).await.expect("a delivery")? {
            Ok(Event::Delivery(delivery)) => return Some(delivery),
            Ok(Event::Lost { .. }) => {}
            Err(_) => return None,
        }
    }
}

/// Receives one message and settles it, which takes all kinds of requests.
async fn receive(bridge: &dyn Bridge, topic: &str, body: &str) {
    let mut inbox = subscribe(bridge, topic).await;
    let delivery = next(&mut inbox).await.expect("a delivery");
    assert_eq!(delivery.message.payload.as_deref(), Some(body.as_bytes()));
    assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);
    inbox.control().close(Instant::now() + PATIENCE).await.unwrap();
}

const PATIENCE: Duration = Duration::from_secs(20);
