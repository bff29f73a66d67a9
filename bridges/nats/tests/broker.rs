//! What only NATS has, against a real server.

#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    reason = "this is test code"
)]

#[path = "broker/cluster.rs"]
mod cluster;
#[path = "broker/consumers.rs"]
mod consumers;
#[path = "broker/headers.rs"]
mod headers;
#[path = "broker/jwt.rs"]
mod jwt;
#[path = "broker/killed.rs"]
mod killed;
#[path = "broker/log.rs"]
mod log;
#[path = "broker/login.rs"]
mod login;
#[path = "broker/members.rs"]
mod members;
#[path = "broker/permissions.rs"]
mod permissions;
#[path = "broker/publish.rs"]
mod publish;
#[path = "broker/registry.rs"]
mod registry;
#[path = "broker/requests.rs"]
mod requests;
#[path = "broker/seek.rs"]
mod seek;
#[path = "broker/streams.rs"]
mod streams;
#[path = "broker/takeover.rs"]
mod takeover;
#[path = "broker/tls.rs"]
mod tls;
#[path = "broker/unstored.rs"]
mod unstored;

use std::sync::Arc;

use serde_json::{Value, json};
use sidespan_bridge::{Bridge, Driver, Error, Fault, Message, Receipt, Settings, Subscribe};
use sidespan_bridge_nats::Nats as NatsDriver;
use sidespan_test_support::Nats;
use sidespan_test_support::bridge::{
    self, Inbox, PATIENCE, accept, all_of, body, close, next, next_after_losses, publish, soon, text, until,
    with,
};
use tracing_subscriber::EnvFilter;

/// Asks and makes, as an operator does.
struct Operator(async_nats::Client);

impl Operator {
    async fn of(nats: &Nats) -> Self {
        Self(async_nats::connect(nats.url()).await.unwrap())
    }

    /// Asks JetStream; an error is the test's.
    async fn ask(&self, subject: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.0.request(format!("$JS.API.{subject}"), body.into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
        answer
    }

    /// Makes a stream for a topic of the same name, with more settings.
    async fn make(&self, name: &str, more: Value) {
        let config = json!({"name": name, "subjects": [name]});
        self.ask(&format!("STREAM.CREATE.{name}"), with(config, more)).await;
    }

    async fn delete(&self, stream: &str) {
        self.ask(&format!("STREAM.DELETE.{stream}"), Value::Null).await;
    }
}

fn open(nats: &Nats) -> Arc<dyn Bridge> {
    open_with(nats, json!({}))
}

/// Opens a bridge; the log of a test that fails is shown as `RUST_LOG` says.
fn open_with(nats: &Nats, more: Value) -> Arc<dyn Bridge> {
    let filter = EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let keys = json!({"servers": [nats.url()], "ack_wait": "2s", "priority_timeout": "2s"});
    NatsDriver.open(&Settings::new("nats-tests", with(keys, more))).unwrap()
}

/// What subscribing is refused with.
async fn refusal(bridge: &dyn Bridge, to: Subscribe) -> Error {
    match bridge.subscribe(to.clone()).await {
        Ok(_) => panic!("{to:?} was to be refused"),
        Err(error) => error,
    }
}

/// Publishes one message and returns what became of it.
async fn attempt(bridge: &dyn Bridge, topic: &str, message: Message) -> Result<Receipt, Fault> {
    bridge::attempt(bridge, topic, message).await.map_err(|error| error.fault)
}
