//! The conformance suite against a real RabbitMQ.
//!
//! One process serves all cases; those that disturb it run alone.

#![allow(clippy::expect_used, reason = "this is test code")]

use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sidespan_bridge::conformance::{self, Broker, Harness, Kind};
use sidespan_bridge::{Driver, Settings, Topic};
use sidespan_bridge_amqp::Amqp;
use sidespan_test_support::Rabbit;
use tokio::sync::Mutex;

#[tokio::main]
async fn main() -> ExitCode {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .try_init();
    let own = OwnBroker::default();
    conformance::main(async || Arc::new(OnRabbit::new(&own).await) as Arc<dyn Harness>).await
}

/// One broker process for all cases of the run; `None` where the environment names one.
#[derive(Default)]
struct OwnBroker(Mutex<Weak<Process>>);

struct Process {
    rabbit: Mutex<Rabbit>,
    url: String,
}

struct OnRabbit {
    process: Option<Arc<Process>>,
    url: String,
}

impl OnRabbit {
    async fn new(own: &OwnBroker) -> Self {
        let mut current = own.0.lock().await;
        let process = match current.upgrade() {
            Some(process) => Some(process),
            None => Rabbit::start().await.ok().map(|rabbit| {
                let url = rabbit.url().to_owned();
                Arc::new(Process { rabbit: Mutex::new(rabbit), url })
            }),
        };
        let url = match &process {
            Some(process) => {
                *current = Arc::downgrade(process);
                process.url.clone()
            }
            None => Rabbit::shared().await.url().to_owned(),
        };
        Self { process, url }
    }
}

#[async_trait]
impl Harness for OnRabbit {
    fn kind(&self) -> Kind {
        Kind::Amqp
    }

    fn driver(&self) -> &'static dyn Driver {
        &Amqp
    }

    fn settings(&self) -> Settings {
        let keys = json!({"url": self.url, "heartbeat": "5s"});
        Settings::new("conformance", keys)
    }

    /// A routing key of `amq.topic` needs nothing.
    async fn make(&self, _: &Topic, _: u32) {}

    fn broker(&self) -> Option<&dyn Broker> {
        self.process.as_deref().map(|process| process as &dyn Broker)
    }

    fn port(&self) -> Option<u16> {
        self.url.rsplit_once(':')?.1.split('/').next()?.parse().ok()
    }

    /// What the bridge takes by default. The broker's own limit is 128 MiB.
    fn largest_message(&self) -> usize {
        1 << 20
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[async_trait]
impl Broker for Process {
    /// RabbitMQ 3.10 keeps the register of its quorum queues in memory for minutes. A queue that is
    /// younger has no leader after a kill, and neither does what it held come back: that is not what is
    /// tested.
    async fn kill(&self) {
        let mut rabbit = self.rabbit.lock().await;
        rabbit.flush().await;
        rabbit.kill();
    }

    async fn start(&self) {
        self.rabbit.lock().await.start_again().await;
    }

    async fn freeze(&self) {
        self.rabbit.lock().await.freeze();
    }

    async fn thaw(&self) {
        self.rabbit.lock().await.thaw();
    }
}
