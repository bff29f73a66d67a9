//! The conformance suite against a real Kafka.
//!
//! Cases that only need a broker share one; those that disturb it have one of their own.

#![allow(clippy::expect_used, reason = "this is test code")]

use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sidespan_bridge::conformance::{self, Broker, Harness, Kind};
use sidespan_bridge::{Driver, Message, Settings, Topic};
use sidespan_bridge_kafka::Kafka as KafkaDriver;
use sidespan_test_support::Kafka;
use tokio::sync::Mutex;
use tokio::time::Instant;

#[tokio::main]
async fn main() -> ExitCode {
    let own = OwnBroker::default();
    conformance::main(async || Arc::new(OnKafka::new(&own).await) as Arc<dyn Harness>).await
}

/// One broker process for all cases of the run; `None` where the environment names one.
#[derive(Default)]
struct OwnBroker(Mutex<Weak<Process>>);

struct Process {
    kafka: Mutex<Kafka>,
    address: String,
}

struct OnKafka {
    process: Option<Arc<Process>>,
    shared: Option<&'static Kafka>,
}

impl OnKafka {
    async fn new(own: &OwnBroker) -> Self {
        let mut current = own.0.lock().await;
        if let Some(process) = current.upgrade() {
            return Self { process: Some(process), shared: None };
        }
        match Kafka::start().await {
            Ok(kafka) => {
                let address = kafka.address().to_owned();
                let process = Arc::new(Process { kafka: Mutex::new(kafka), address });
                *current = Arc::downgrade(&process);
                Self { process: Some(process), shared: None }
            }
            Err(_) => Self { process: None, shared: Some(Kafka::shared().await) },
        }
    }

    fn address(&self) -> &str {
        match (&self.process, self.shared) {
            (Some(process), _) => &process.address,
            (None, Some(kafka)) => kafka.address(),
            (None, None) => unreachable!("a harness has a broker"),
        }
    }
}

#[async_trait]
impl Harness for OnKafka {
    fn kind(&self) -> Kind {
        Kind::Kafka
    }

    fn driver(&self) -> &'static dyn Driver {
        &KafkaDriver
    }

    fn settings(&self) -> Settings {
        let keys = json!({
            "brokers": [self.address()],
            // For replies. A publish makes no topic all the same.
            "create_topics": {"partitions": 3, "replication_factor": 1},
            "properties": {
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "max.poll.interval.ms": LEASE.as_millis() as u64,
                "topic.metadata.refresh.interval.ms": 1000,
            },
        });
        Settings::new("conformance", keys)
    }

    async fn make(&self, topic: &Topic, partitions: u32) {
        match (&self.process, self.shared) {
            (Some(process), _) => process.kafka.lock().await.create_topic(topic.as_str(), partitions).await,
            (None, Some(kafka)) => kafka.create_topic(topic.as_str(), partitions).await,
            (None, None) => unreachable!("a harness has a broker"),
        }
    }

    async fn litter(&self, registry: &str, key: &str) {
        let member = self.open().await;
        let litter = |key: &str| Message {
            key: Some(key.to_owned().into()),
            payload: Some("not ours".into()),
            ..Message::default()
        };
        let topic = Topic::new(format!("conformance.{registry}"));
        let deadline = Instant::now() + self.patience();
        let stored =
            member.publisher().publish(&topic, vec![litter(key), litter("stranger")], deadline).await;
        assert!(stored.iter().all(Result::is_ok), "records of somebody else: {stored:?}");
    }

    fn broker(&self) -> Option<&dyn Broker> {
        self.process.as_deref().map(|process| process as &dyn Broker)
    }

    fn port(&self) -> Option<u16> {
        self.address().rsplit_once(':')?.1.parse().ok()
    }

    fn largest_message(&self) -> usize {
        1 << 20
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

#[async_trait]
impl Broker for Process {
    async fn kill(&self) {
        self.kafka.lock().await.kill();
    }

    async fn start(&self) {
        self.kafka.lock().await.start_again().await;
    }

    async fn freeze(&self) {
        self.kafka.lock().await.freeze();
    }

    async fn thaw(&self) {
        self.kafka.lock().await.thaw();
    }
}

/// As short as Kafka allows: not below the session timeout.
const LEASE: Duration = Duration::from_secs(6);
