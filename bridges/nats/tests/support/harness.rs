//! What the conformance suite needs to know of NATS.
//!
//! Cases that only need a broker share one; those that disturb it have one of their own.

use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sidespan_bridge::conformance::{self, Broker, Harness, Kind};
use sidespan_bridge::{Driver, Settings, Topic};
use sidespan_bridge_nats::Nats as NatsDriver;
use sidespan_test_support::Nats;
use tokio::sync::Mutex;

/// Runs all cases, or those that the command line names.
pub(crate) async fn run(kind: Kind) -> ExitCode {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .try_init();
    let own = OwnBroker::default();
    conformance::main(async || Arc::new(OnNats::new(&own, kind).await) as Arc<dyn Harness>).await
}

/// One broker process for all cases of the run; `None` where the environment names one.
#[derive(Default)]
struct OwnBroker(Mutex<Weak<Process>>);

struct Process {
    nats: Mutex<Nats>,
    url: String,
}

struct OnNats {
    kind: Kind,
    process: Option<Arc<Process>>,
    url: String,
    /// Asks and makes, as an operator does.
    operator: async_nats::Client,
}

impl OnNats {
    async fn new(own: &OwnBroker, kind: Kind) -> Self {
        let mut current = own.0.lock().await;
        let process = match current.upgrade() {
            Some(process) => Some(process),
            None => Nats::start().await.ok().map(|nats| {
                let url = nats.url().to_owned();
                Arc::new(Process { nats: Mutex::new(nats), url })
            }),
        };
        let url = match &process {
            Some(process) => {
                *current = Arc::downgrade(process);
                process.url.clone()
            }
            None => Nats::shared().await.url().to_owned(),
        };
        let operator = async_nats::connect(&url).await.expect("a nats server");
        Self { kind, process, url, operator }
    }

    async fn ask(&self, subject: String, body: Value) -> Value {
        let answer = self.operator.request(format!("$JS.API.{subject}"), body.to_string().into()).await;
        serde_json::from_slice(&answer.expect("an answer of JetStream").payload).expect("JSON")
    }
}

#[async_trait]
impl Harness for OnNats {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn driver(&self) -> &'static dyn Driver {
        &NatsDriver
    }

    fn settings(&self) -> Settings {
        let mut keys = json!({ "servers": [self.url], "mode": "core" });
        if self.kind == Kind::JetStream {
            keys = json!({
                "servers": [self.url],
                "ack_wait": format!("{}s", LEASE.as_secs()),
                "priority_timeout": "2s",
            });
        }
        Settings::new("conformance", keys)
    }

    /// One stream for all topics of one first token, each by its full name.
    async fn make(&self, topic: &Topic, _: u32) {
        if self.kind == Kind::CoreNats {
            return;
        }
        let name = topic.as_str().split('.').next().unwrap_or_default();
        let known = self.ask(format!("STREAM.INFO.{name}"), Value::Null).await;
        let mut subjects = known["config"]["subjects"].as_array().cloned().unwrap_or_default();
        let verb = if subjects.is_empty() { "CREATE" } else { "UPDATE" };
        if !subjects.contains(&json!(topic.as_str())) {
            subjects.push(json!(topic.as_str()));
        }
        let config = json!({"name": name, "subjects": subjects, "storage": "file", "duplicate_window": 120_000_000_000_u64});
        let made = self.ask(format!("STREAM.{verb}.{name}"), config).await;
        assert!(made.get("error").is_none(), "the stream of {topic}: {made}");
    }

    /// What is written over a record is gone, as whoever writes there wants: so only beside it.
    async fn litter(&self, registry: &str, _: &str) {
        let subject = format!("$KV.conformance_{registry}.stranger");
        let stored = self.operator.request(subject, "{\"not\": \"ours\"}".into()).await.expect("an answer");
        let stored: Value = serde_json::from_slice(&stored.payload).expect("JSON");
        assert!(stored.get("seq").is_some(), "a record of somebody else: {stored}");
    }

    fn broker(&self) -> Option<&dyn Broker> {
        self.process.as_deref().map(|process| process as &dyn Broker)
    }

    fn port(&self) -> Option<u16> {
        self.url.rsplit_once(':')?.1.parse().ok()
    }

    fn largest_message(&self) -> usize {
        1 << 20
    }

    fn lease(&self) -> Duration {
        LEASE
    }
}

#[async_trait]
impl Broker for Process {
    async fn kill(&self) {
        self.nats.lock().await.kill();
    }

    async fn start(&self) {
        self.nats.lock().await.start_again().await;
    }

    async fn freeze(&self) {
        self.nats.lock().await.freeze();
    }

    async fn thaw(&self) {
        self.nats.lock().await.thaw();
    }
}

const LEASE: Duration = Duration::from_secs(3);
