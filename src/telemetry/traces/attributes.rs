//! The names of all attributes that spans have, and what goes by them.
//!
//! They are those of OpenTelemetry's semantic conventions, but for the last few.

use opentelemetry::KeyValue;
use sidespan_bridge::{Fault, Message, Position};

use crate::error::Class;

pub(super) const BATCH_COUNT: &str = "messaging.batch.message_count";
pub(super) const BODY_SIZE: &str = "messaging.message.body.size";
pub(super) const CONVERSATION: &str = "messaging.message.conversation_id";
pub(super) const DESTINATION: &str = "messaging.destination.name";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const GROUP: &str = "messaging.consumer.group.name";
pub(super) const HTTP_STATUS: &str = "http.response.status_code";
pub(super) const KAFKA_OFFSET: &str = "messaging.kafka.offset";
pub(super) const KAFKA_TOMBSTONE: &str = "messaging.kafka.message.tombstone";
pub(super) const MESSAGE_ID: &str = "messaging.message.id";
pub(super) const OPERATION_NAME: &str = "messaging.operation.name";
pub(super) const OPERATION_TYPE: &str = "messaging.operation.type";
pub(super) const PARTITION: &str = "messaging.destination.partition.id";
pub(super) const ROUTING_KEY: &str = "messaging.rabbitmq.destination.routing_key";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const SYSTEM: &str = "messaging.system";
pub(super) const TEMPORARY: &str = "messaging.destination.temporary";

/// Which attempt this is, from 1.
pub(super) const ATTEMPT: &str = "sidespan.attempt";
/// The bridge's name in the configuration.
pub(super) const BRIDGE: &str = "sidespan.bridge";
/// Where a message stands at a broker for which the conventions have no name for that, as receipts tell it.
pub(super) const POSITION: &str = "sidespan.position";
/// The subscription's name.
pub(super) const SUBSCRIPTION: &str = "sidespan.subscription";
/// What a settlement says: `accept` or `release`.
pub(super) const VERDICT: &str = "sidespan.verdict";

/// The conventions' name of a kind of broker.
pub(super) fn system(kind: &'static str) -> &'static str {
    match kind {
        "amqp" => RABBITMQ,
        "embedded" => "sidespan_embedded",
        kind => kind,
    }
}

/// Tells of one message what it is.
pub(super) fn message(message: &Message, system: &str) -> impl Iterator<Item = KeyValue> + use<> {
    let size = message.payload.as_ref().map_or(0, |payload| payload.len());
    let text =
        |name, text: &Option<Box<str>>| text.as_ref().map(|text| KeyValue::new(name, text.to_string()));
    let is_tombstone = message.payload.is_none() && system == KAFKA;
    [
        text(MESSAGE_ID, &message.id),
        text(CONVERSATION, &message.correlation),
        Some(KeyValue::new(BODY_SIZE, i64::try_from(size).unwrap_or(i64::MAX))),
        is_tombstone.then(|| KeyValue::new(KAFKA_TOMBSTONE, true)),
    ]
    .into_iter()
    .flatten()
}

/// Tells where a message stands.
pub(super) fn position(position: Option<Position>, system: &str) -> impl Iterator<Item = KeyValue> + use<> {
    let is_kafka = system == KAFKA;
    let told = position.map(|position| match is_kafka {
        true => [
            Some(KeyValue::new(PARTITION, position.partition.to_string())),
            Some(KeyValue::new(KAFKA_OFFSET, i64::try_from(position.sequence).unwrap_or(i64::MAX))),
        ],
        false => [Some(KeyValue::new(POSITION, position.to_string())), None],
    });
    told.into_iter().flatten().flatten()
}

/// Tells the routing key of an address, where the broker has such a thing.
pub(super) fn routing_key(address: &str, system: &str) -> Option<KeyValue> {
    let key = address.split_once('/').map_or(address, |(_, key)| key);
    (system == RABBITMQ).then(|| KeyValue::new(ROUTING_KEY, key.to_owned()))
}

/// The problem's code in lower case.
pub(super) fn error_type(fault: Fault) -> String {
    Class::of(fault).slug.replace('-', "_")
}

const KAFKA: &str = "kafka";
const RABBITMQ: &str = "rabbitmq";
