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
#[path = "broker/management.rs"]
mod management;
#[path = "broker/permissions.rs"]
mod permissions;
#[path = "broker/publish.rs"]
mod publish;
#[path = "broker/queues.rs"]
mod queues;
#[path = "broker/requests.rs"]
mod requests;
#[path = "broker/security.rs"]
mod security;
#[path = "broker/timeouts.rs"]
mod timeouts;
#[path = "broker/topology.rs"]
mod topology;

use std::sync::Arc;

use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use sidespan_bridge::{Bridge, Driver, Fault, Message, Settings, Start, Subscribe};
use sidespan_bridge_amqp::Amqp;
use sidespan_test_support::bridge::{
    self, Inbox, PATIENCE, accept, attempt, body, close, event, next, soon, text, with,
};
use sidespan_test_support::{Rabbit, unique_name};

fn open(rabbit: &Rabbit) -> Arc<dyn Bridge> {
    open_with(rabbit, json!({}))
}

fn open_with(rabbit: &Rabbit, more: Value) -> Arc<dyn Bridge> {
    log::keep();
    Amqp.open(&Settings::new("amqp-tests", with(json!({"url": rabbit.url()}), more))).unwrap()
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

/// All of a pattern from now on, for a group of the same name.
fn all_of(pattern: &str) -> Subscribe {
    Subscribe { start: Start::End, ..bridge::all_of(pattern) }
}

/// Subscribes; tries again, as callers do, while the broker cannot be reached or lets
/// nobody in.
async fn subscribe(bridge: &dyn Bridge, to: Subscribe) -> Inbox {
    bridge::subscribe(bridge, to, |fault| matches!(fault, Fault::Denied | Fault::Unavailable)).await
}

/// Makes a group, and leaves nobody in it.
async fn make_group(bridge: &dyn Bridge, pattern: &str) {
    close(subscribe(bridge, all_of(pattern)).await).await;
}

async fn fault_of(bridge: &dyn Bridge, topic: &str) -> Option<Fault> {
    attempt(bridge, topic, text("x")).await.err().map(|error| error.fault)
}
