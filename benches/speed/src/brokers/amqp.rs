//! RabbitMQ: persistent messages to a quorum queue, `mandatory` and confirmed, all on one channel.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use sidespan_test_support::Rabbit;

use super::{Broker, Consume, DELIVERED, TAILED, TAKEN, TOPICS, Take, WINDOW};
use crate::Failed;
use crate::load::{Message, Publish, Target};

pub(crate) struct Amqp(Rabbit);

impl Broker for Amqp {
    const KIND: &'static str = "amqp";
    const START: &'static str = "end";

    async fn start() -> Result<Self, Failed> {
        let rabbit = Rabbit::start().await?;
        let connection = connect(rabbit.url()).await?;
        let channel = connection.create_channel().await?;
        for queue in TOPICS {
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            if queue == DELIVERED {
                // As an ordered subscription makes it.
                arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
                arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
            }
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.into(), durable, arguments).await?;
        }
        Ok(Self(rabbit))
    }

    fn at(&self) -> String {
        self.0.url().to_owned()
    }

    fn bridge(&self) -> String {
        format!(r#"{{ kind: amqp, url: "{}" }}"#, self.0.url())
    }

    /// The default exchange leads to the queue of that name.
    fn address(topic: &str) -> String {
        format!("/{topic}")
    }
}

#[derive(Clone)]
pub(super) struct Raw {
    _connection: Arc<Connection>,
    channel: Channel,
    queue: ShortString,
}

impl Raw {
    pub(super) async fn connect(target: &Target) -> Result<Self, Failed> {
        let connection = Arc::new(connect(&target.at).await?);
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { _connection: connection, channel, queue: target.topic.as_str().into() })
    }
}

impl Publish for Raw {
    async fn publish(&mut self, message: &Message) -> Result<(), Failed> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut headers = FieldTable::default();
        headers.insert("sidespan-key".into(), AMQPValue::LongString(message.key.as_str().into()));
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers);
        let sent =
            self.channel.basic_publish("".into(), self.queue.clone(), options, &message.body, properties);
        match sent.await?.await? {
            Confirmation::Ack(None) => Ok(()),
            other => Err(format!("rabbitmq says {other:?}").into()),
        }
    }
}

pub(super) struct Tail {
    _connection: Connection,
    consumer: Consumer,
}

impl Tail {
    pub(super) async fn connect(at: &str) -> Result<Self, Failed> {
        let connection = connect(at).await?;
        let channel = connection.create_channel().await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(TAILED.into(), "".into(), options, FieldTable::default()).await?;
        Ok(Self { _connection: connection, consumer })
    }
}

impl Consume for Tail {
    async fn next(&mut self) -> Result<Vec<u8>, Failed> {
        Ok(self.consumer.next().await.ok_or("rabbitmq has ended the consumer")??.data)
    }
}

/// A consumer that acknowledges every message, not waiting for the broker's word.
pub(super) struct Taker {
    _connection: Connection,
    channel: Channel,
    consumer: Consumer,
}

impl Taker {
    pub(super) async fn connect(at: &str) -> Result<Self, Failed> {
        let connection = connect(at).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(u16::try_from(WINDOW)?, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(TAKEN.into(), "".into(), options, FieldTable::default()).await?;
        Ok(Self { _connection: connection, channel, consumer })
    }
}

impl Take for Taker {
    async fn take(&mut self, messages: usize) -> Result<(), Failed> {
        for _ in 0..messages {
            let delivery = self.consumer.next().await.ok_or("rabbitmq has ended the consumer")??;
            delivery.ack(BasicAckOptions::default()).await?;
        }
        // A method with an answer goes behind the acks.
        Ok(self.channel.basic_qos(u16::try_from(WINDOW)?, BasicQosOptions::default()).await?)
    }
}

async fn connect(url: &str) -> Result<Connection, Failed> {
    Ok(Connection::connect(url, ConnectionProperties::default()).await?)
}

const PERSISTENT: u8 = 2;
