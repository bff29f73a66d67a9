//! What only Kafka has, against a real broker.

#![allow(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is test code"
)]

#[path = "broker/churn.rs"]
mod churn;
#[path = "broker/cluster.rs"]
mod cluster;
#[path = "broker/faults.rs"]
mod faults;
#[path = "broker/gaps.rs"]
mod gaps;
#[path = "broker/keys.rs"]
mod keys;
#[path = "broker/lag.rs"]
mod lag;
#[path = "broker/members.rs"]
mod members;
#[path = "broker/metadata.rs"]
mod metadata;
#[path = "broker/poison.rs"]
mod poison;
#[path = "broker/registry.rs"]
mod registry;
#[path = "broker/requests.rs"]
mod requests;
#[path = "broker/topics.rs"]
mod topics;

use std::sync::Arc;

use serde_json::{Value, json};
use sidespan_bridge::{Bridge, Driver, Fault, Settings, Subscribe};
use sidespan_bridge_kafka::Kafka as KafkaDriver;
use sidespan_test_support::Kafka;
use sidespan_test_support::bridge::{
    self, Inbox, PATIENCE, accept, all_of, body, close, next, publish, soon, text, until, with,
};
use tracing_subscriber::EnvFilter;

fn open(kafka: &Kafka) -> Arc<dyn Bridge> {
    open_with(kafka, json!({}))
}

/// Opens a bridge; the log of a test that fails is shown as `RUST_LOG` says.
fn open_with(kafka: &Kafka, more: Value) -> Arc<dyn Bridge> {
    let filter = EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let keys = json!({
        "brokers": [kafka.address()],
        "properties": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
    });
    KafkaDriver.open(&Settings::new("kafka-tests", with(keys, more))).unwrap()
}

/// Subscribes; tries again, as callers do, while a new broker has no coordinator yet.
async fn subscribe(bridge: &dyn Bridge, to: Subscribe) -> Inbox {
    bridge::subscribe(bridge, to, |fault| fault == Fault::Unavailable).await
}
