//! The brokers: how each is started, named in a configuration, and published to without Sidespan.

use std::future::Future;

use crate::Failed;
use crate::load::Publish;

pub(crate) use amqp::Amqp;
pub(crate) use embedded::Embedded;
pub(crate) use kafka::Kafka;
pub(crate) use nats::Nats;

mod amqp;
mod embedded;
mod kafka;
mod nats;

/// A broker, in a process of its own where it is one.
pub(crate) trait Broker: Sized {
    /// Its `kind` in a configuration.
    const KIND: &'static str;
    /// Publishes by the library that the bridge uses, as safely as the bridge does.
    type Raw: Publish;

    /// Starts it, with both topics.
    fn start() -> impl Future<Output = Result<Self, Failed>>;

    /// Returns the bridge's section of a configuration, in one line.
    fn bridge(&self) -> String;

    /// Returns the address of a topic, which is its name on most brokers.
    fn address(topic: &str) -> String {
        topic.to_owned()
    }

    /// Prepares so many publishers to the topic [`TOPIC`], which share what the bridge shares.
    fn publishers(&self, count: usize, body: &[u8]) -> impl Future<Output = Result<Vec<Self::Raw>, Failed>>;
}

/// Where messages are published to.
pub(crate) const TOPIC: &str = "speed";
/// Where messages come from that are delivered.
pub(crate) const DELIVERED: &str = "delivered";
