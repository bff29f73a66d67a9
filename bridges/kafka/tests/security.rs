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

use serde_json::{Value, json};
use sidespan_bridge::{Bridge, Delivery, Driver, Error, Event, Fault, Receipt, Settings, Topic};
use sidespan_bridge_kafka::Kafka as KafkaDriver;
use sidespan_test_support::bridge::{self, Inbox, PATIENCE, accept, all_of, close, text, with};
use tokio::time::{Instant, timeout};

use broker::Secured;

/// Opens a bridge to some addresses with further keys; all that it logs is kept.
fn open(brokers: &[&str], more: Value) -> Arc<dyn Bridge> {
    log::keep();
    let keys = json!({
        "brokers": brokers,
        "properties": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
    });
    KafkaDriver.open(&Settings::new("kafka-security", with(keys, more))).unwrap()
}

async fn publish(bridge: &dyn Bridge, topic: &str, body: &str) -> Result<Receipt, Error> {
    let deadline = Instant::now() + Duration::from_secs(5);
    bridge.publisher().publish(&Topic::new(topic), vec![text(body)], deadline).await.remove(0)
}

/// Publishes until it works: a new client takes a moment to get in.
async fn publish_at_last(bridge: &dyn Bridge, topic: &str, body: &str) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = publish(bridge, topic, body).await {
        assert!(Instant::now() < end, "{error}: {:?}", std::error::Error::source(&error));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn subscribe(bridge: &dyn Bridge, topic: &str) -> Inbox {
    bridge::subscribe(bridge, all_of(topic), |fault| fault != Fault::Invalid).await
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
    assert_eq!(bridge::body(&delivery), body);
    accept(delivery).await;
    close(inbox).await;
}
