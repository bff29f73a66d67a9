//! Kafka: one idempotent producer with `acks=all` that all share, and no lingering.

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{Broker, DELIVERED, TOPIC};
use crate::Failed;
use crate::load::Publish;

pub(crate) struct Kafka(sidespan_test_support::Kafka);

pub(crate) struct Raw {
    producer: FutureProducer,
    body: Bytes,
}

impl Broker for Kafka {
    const KIND: &'static str = "kafka";
    type Raw = Raw;

    async fn start() -> Result<Self, Failed> {
        let kafka = sidespan_test_support::Kafka::start().await?;
        for topic in [TOPIC, DELIVERED] {
            kafka.create_topic(topic, 3).await;
        }
        Ok(Self(kafka))
    }

    fn bridge(&self) -> String {
        let address = self.0.address();
        format!(
            r#"{{ kind: kafka, brokers: ["{address}"], create_topics: {{ partitions: 3, replication_factor: 1 }} }}"#
        )
    }

    async fn publishers(&self, count: usize, body: &[u8]) -> Result<Vec<Raw>, Failed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.0.address());
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "0");
        let producer: FutureProducer = config.create()?;
        let raw = || Raw { producer: producer.clone(), body: Bytes::copy_from_slice(body) };
        Ok(std::iter::repeat_with(raw).take(count).collect())
    }
}

impl Publish for Raw {
    async fn publish(&mut self) -> Result<(), Failed> {
        let record = FutureRecord::<(), [u8]>::to(TOPIC).payload(&self.body);
        let stored = self.producer.send_result(record).map_err(|(error, _)| error)?;
        match stored.await? {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.into()),
        }
    }
}
