//! RabbitMQ: persistent messages to a quorum queue, `mandatory` and confirmed, all on one channel.

use std::sync::Arc;

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use sidespan_test_support::Rabbit;

use super::{Broker, DELIVERED, TOPIC};
use crate::Failed;
use crate::load::Publish;

pub(crate) struct Amqp(Rabbit);

pub(crate) struct Raw {
    _connection: Arc<Connection>,
    channel: Channel,
    body: Bytes,
}

impl Broker for Amqp {
    const KIND: &'static str = "amqp";
    type Raw = Raw;

    async fn start() -> Result<Self, Failed> {
        let rabbit = Rabbit::start().await?;
        let connection = connect(&rabbit).await?;
        let channel = connection.create_channel().await?;
        for queue in [TOPIC, DELIVERED] {
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.into(), durable, arguments).await?;
        }
        Ok(Self(rabbit))
    }

    fn bridge(&self) -> String {
        format!(r#"{{ kind: amqp, url: "{}" }}"#, self.0.url())
    }

    /// The default exchange leads to the queue of that name.
    fn address(topic: &str) -> String {
        format!("/{topic}")
    }

    async fn publishers(&self, count: usize, body: &[u8]) -> Result<Vec<Raw>, Failed> {
        let connection = Arc::new(connect(&self.0).await?);
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let raw = || Raw {
            _connection: connection.clone(),
            channel: channel.clone(),
            body: Bytes::copy_from_slice(body),
        };
        Ok(std::iter::repeat_with(raw).take(count).collect())
    }
}

impl Publish for Raw {
    async fn publish(&mut self) -> Result<(), Failed> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let persistent = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let confirm =
            self.channel.basic_publish("".into(), TOPIC.into(), options, &self.body, persistent).await?;
        match confirm.await? {
            Confirmation::Ack(None) => Ok(()),
            other => Err(format!("a message was not stored: {other:?}").into()),
        }
    }
}

async fn connect(rabbit: &Rabbit) -> Result<Connection, Failed> {
    Ok(Connection::connect(rabbit.url(), ConnectionProperties::default()).await?)
}

const PERSISTENT: u8 = 2;
