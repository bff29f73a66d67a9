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
#[path = "broker/streams.rs"]
mod streams;
#[path = "broker/takeover.rs"]
mod takeover;
#[path = "broker/tls.rs"]
mod tls;
#[path = "broker/unstored.rs"]
mod unstored;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sidespan_bridge::{
    Bridge, Delivery, Driver, Error, Event, Fault, Message, Order, Pattern, Receipt, Settings, Settlement,
    Start, Subscribe, Subscription, Topic, Verdict, Window,
};
use sidespan_bridge_nats::Nats as NatsDriver;
use sidespan_test_support::Nats;
use tokio::time::{Instant, timeout};
use tracing_subscriber::EnvFilter;

type Inbox = Box<dyn Subscription>;

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
        let mut config = json!({"name": name, "subjects": [name]});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ask(&format!("STREAM.CREATE.{name}"), config).await;
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
    let mut keys = json!({"servers": [nats.url()], "ack_wait": "2s", "priority_timeout": "2s"});
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    NatsDriver.open(&Settings::new("nats-tests", keys)).unwrap()
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// All of a topic, for a group of the same name.
fn all_of(topic: &str) -> Subscribe {
    Subscribe {
        pattern: Pattern::parse(topic).unwrap(),
        group: Some(topic.into()),
        start: Start::Begin,
        order: Order::None,
        window: Window::default(),
    }
}

/// What subscribing is refused with.
async fn refusal(bridge: &dyn Bridge, to: Subscribe) -> Error {
    match bridge.subscribe(to.clone()).await {
        Ok(_) => panic!("{to:?} was to be refused"),
        Err(error) => error,
    }
}

fn text(text: impl ToString) -> Message {
    Message { payload: Some(Bytes::from(text.to_string())), ..Message::default() }
}

async fn attempt(bridge: &dyn Bridge, topic: &str, message: Message) -> Result<Receipt, Fault> {
    let mut outcomes = bridge.publisher().publish(&Topic::new(topic), vec![message], soon()).await;
    outcomes.remove(0).map_err(|error| error.fault)
}

async fn publish(bridge: &dyn Bridge, topic: &str, messages: Vec<Message>) -> Vec<Receipt> {
    let outcomes = bridge.publisher().publish(&Topic::new(topic), messages, soon()).await;
    outcomes.into_iter().map(|outcome| outcome.unwrap()).collect()
}

/// Waits for a delivery; tells how often something was lost before it.
async fn next_after_losses(inbox: &mut Inbox) -> (Delivery, usize) {
    let mut losses = 0;
    loop {
        match timeout(PATIENCE, inbox.next()).await.expect("a delivery").unwrap().unwrap() {
            Event::Delivery(delivery) => return (delivery, losses),
            Event::Lost { .. } => losses += 1,
        }
    }
}

async fn next(inbox: &mut Inbox) -> Delivery {
    next_after_losses(inbox).await.0
}

/// Accepts, and waits until the broker has it.
async fn accept(delivery: Delivery) {
    assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);
}

/// Receives up to the message `last`, accepts all, and returns what came ahead of it.
async fn until(inbox: &mut Inbox, last: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let delivery = next(inbox).await;
        let body = body(&delivery);
        accept(delivery).await;
        if body == last {
            return bodies;
        }
        bodies.push(body);
    }
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.clone().unwrap().to_vec()).unwrap()
}

async fn close(inbox: Inbox) {
    inbox.control().close(soon()).await.unwrap();
}

const PATIENCE: Duration = Duration::from_secs(20);
