//! Kafka: one idempotent producer with `acks=all` that all share, and no lingering.

use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use super::{Broker, Consume, TAILED, TAKEN, TOPICS, Take};
use crate::Failed;
use crate::load::{Message, Publish, Target};

pub(crate) struct Kafka(sidespan_test_support::Kafka);

impl Broker for Kafka {
    const KIND: &'static str = "kafka";
    /// Each group is a client of its own.
    const SUBSCRIPTIONS: u32 = 50;

    async fn start() -> Result<Self, Failed> {
        let kafka = sidespan_test_support::Kafka::start().await?;
        for topic in TOPICS {
            kafka.create_topic(topic, PARTITIONS).await;
        }
        Ok(Self(kafka))
    }

    fn at(&self) -> String {
        self.0.address().to_owned()
    }

    fn bridge(&self) -> String {
        let (address, create) = (self.0.address(), "{ partitions: 1, replication_factor: 1 }");
        format!(r#"{{ kind: kafka, brokers: ["{address}"], create_topics: {create} }}"#)
    }
}

#[derive(Clone)]
pub(super) struct Raw {
    producer: FutureProducer,
    topic: String,
}

impl Raw {
    pub(super) fn connect(target: &Target) -> Result<Self, Failed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &target.at);
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "0");
        config.set("partitioner", "murmur2_random").set("socket.nagle.disable", "true");
        Ok(Self { producer: config.create()?, topic: target.topic.clone() })
    }
}

impl Publish for Raw {
    async fn publish(&mut self, message: &Message) -> Result<(), Failed> {
        let record = FutureRecord::to(&self.topic).key(&message.key).payload(&message.body);
        let stored = self.producer.send_result(record).map_err(|(error, _)| error)?;
        match stored.await? {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.into()),
        }
    }
}

pub(super) struct Tail(StreamConsumer);

impl Tail {
    pub(super) fn connect(at: &str) -> Result<Self, Failed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", at).set("group.id", TAILED);
        config.set("enable.auto.commit", "false").set("socket.nagle.disable", "true");
        let consumer: StreamConsumer = config.create()?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..i32::try_from(PARTITIONS)? {
            partitions.add_partition_offset(TAILED, partition, Offset::End)?;
        }
        consumer.assign(&partitions)?;
        Ok(Self(consumer))
    }
}

impl Consume for Tail {
    async fn next(&mut self) -> Result<Vec<u8>, Failed> {
        Ok(self.0.recv().await?.payload().unwrap_or_default().to_vec())
    }
}

/// A member of a group that commits each hundred messages.
pub(super) struct Taker(StreamConsumer);

impl Taker {
    pub(super) fn connect(at: &str) -> Result<Self, Failed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", at).set("group.id", TAKEN).set("auto.offset.reset", "earliest");
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        let consumer: StreamConsumer = config.create()?;
        consumer.subscribe(&[TAKEN])?;
        Ok(Self(consumer))
    }
}

impl Take for Taker {
    async fn take(&mut self, messages: usize) -> Result<(), Failed> {
        for number in 1..=messages {
            let message = self.0.recv().await?;
            self.0.store_offset_from_message(&message)?;
            if number % 100 == 0 {
                self.0.commit_consumer_state(CommitMode::Async)?;
            }
        }
        // What is committed already needs no commit.
        let _ = self.0.commit_consumer_state(CommitMode::Sync);
        Ok(())
    }
}

const PARTITIONS: u32 = 8;
