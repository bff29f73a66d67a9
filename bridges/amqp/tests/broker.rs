//! What only RabbitMQ has, against a real broker.

#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is test code"
)]

#[path = "broker/alarm.rs"]
mod alarm;
#[path = "broker/connections.rs"]
mod connections;
#[path = "broker/foreign.rs"]
mod foreign;
#[path = "broker/log.rs"]
mod log;
#[path = "broker/permissions.rs"]
mod permissions;
#[path = "broker/publish.rs"]
mod publish;
#[path = "broker/queues.rs"]
mod queues;
#[path = "broker/security.rs"]
mod security;
#[path = "broker/timeouts.rs"]
mod timeouts;
#[path = "broker/topology.rs"]
mod topology;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use sidespan_bridge::{
    Bridge, Delivery, Driver, Error, Event, Fault, Message, Order, Pattern, Receipt, Settings, Settlement,
    Start, Subscribe, Subscription, Topic, Verdict, Window,
};
use sidespan_bridge_amqp::Amqp;
use sidespan_test_support::Rabbit;
use tokio::time::{Instant, timeout};

type Inbox = Box<dyn Subscription>;

fn open(rabbit: &Rabbit) -> Arc<dyn Bridge> {
    open_with(rabbit, json!({}))
}

fn open_with(rabbit: &Rabbit, more: Value) -> Arc<dyn Bridge> {
    log::keep();
    let mut keys = json!({"url": rabbit.url()});
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Amqp.open(&Settings::new("amqp-tests", keys)).unwrap()
}

/// A client that is not Sidespan.
async fn foreigner(rabbit: &Rabbit) -> (Connection, Channel) {
    let connection = Connection::connect(rabbit.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Settings of a queue.
fn arguments<const N: usize>(pairs: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert(name.into(), value);
    }
    table
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// All of a pattern from now on, for a group of the same name.
fn all_of(pattern: &str) -> Subscribe {
    Subscribe {
        pattern: Pattern::parse(pattern).unwrap(),
        group: Some(pattern.into()),
        start: Start::End,
        order: Order::None,
        window: Window::default(),
    }
}

/// Subscribes; tries again, as callers do, while the broker cannot be reached or lets
/// nobody in.
async fn subscribe(bridge: &dyn Bridge, to: Subscribe) -> Inbox {
    let end = soon();
    loop {
        match bridge.subscribe(to.clone()).await {
            Ok(inbox) => return inbox,
            Err(error)
                if matches!(error.fault, Fault::Denied | Fault::Unavailable) && Instant::now() < end =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Makes a group, and leaves nobody in it.
async fn make_group(bridge: &dyn Bridge, pattern: &str) {
    subscribe(bridge, all_of(pattern)).await.control().close(soon()).await.unwrap();
}

fn text(text: impl ToString) -> Message {
    Message { payload: Some(Bytes::from(text.to_string())), ..Message::default() }
}

async fn attempt(bridge: &dyn Bridge, topic: &str, message: Message) -> Result<Receipt, Error> {
    let mut outcomes = bridge.publisher().publish(&Topic::new(topic), vec![message], soon()).await;
    outcomes.pop().unwrap()
}

async fn fault_of(bridge: &dyn Bridge, topic: &str) -> Option<Fault> {
    attempt(bridge, topic, text("x")).await.err().map(|error| error.fault)
}

async fn event(inbox: &mut Inbox) -> Event {
    timeout(PATIENCE, inbox.next()).await.expect("an event").unwrap().unwrap()
}

async fn next(inbox: &mut Inbox) -> Delivery {
    loop {
        match event(inbox).await {
            Event::Delivery(delivery) => return delivery,
            Event::Lost { .. } => {}
        }
    }
}

/// Accepts, and waits until the broker has it.
async fn accept(delivery: Delivery) {
    assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.clone().unwrap().to_vec()).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);
