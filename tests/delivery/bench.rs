//! What the tests share: a log of their own, a subscription to it, and what they look at.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sidespan::config::{CloudEventsMode, Name, Push, PushProtocol, Retry, Subscription, Target};
use sidespan::delivery::{self, DeadLetterPlace, Running, Status};
use sidespan_bridge::{
    Bridge, Driver, Event, Guarantee, Message, Order, Pattern, Settings, Start, Subscribe, Topic, Window,
};
use sidespan_bridge_embedded::Embedded;
use sidespan_test_support::{Received, eventually};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

/// A log in a directory of its own.
pub(crate) struct Bench {
    pub(crate) bridge: Arc<dyn Bridge>,
    _dir: TempDir,
}

impl Bench {
    pub(crate) fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = open(&dir, json!({}));
        Self { bridge, _dir: dir }
    }

    pub(crate) fn open_with(settings: serde_json::Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = open(&dir, settings);
        Self { bridge, _dir: dir }
    }

    pub(crate) async fn publish(&self, messages: impl IntoIterator<Item = Message>) {
        let batch: Vec<_> = messages.into_iter().collect();
        let outcomes = self.bridge.publisher().publish(&Topic::new("orders"), batch, soon()).await;
        for outcome in outcomes {
            outcome.unwrap();
        }
    }

    /// Delivers with a place for dead letters on the same log.
    pub(crate) fn start(&self, subscription: &Subscription) -> Running {
        delivery::start(subscription.clone(), self.bridge.clone(), Some(self.place()))
    }

    pub(crate) fn place(&self) -> DeadLetterPlace {
        DeadLetterPlace { bridge: self.bridge.clone(), topic: Topic::new("dead") }
    }

    /// Waits for so many dead letters and returns them.
    pub(crate) async fn dead(&self, count: usize) -> Vec<Message> {
        let wish = Subscribe {
            pattern: Pattern::exactly(&Topic::new("dead")),
            group: None,
            start: Start::Begin,
            order: Order::None,
            window: Window::default(),
        };
        let mut inbox = self.bridge.subscribe(wish).await.unwrap();
        let mut dead = Vec::new();
        while dead.len() < count {
            match timeout(PATIENCE, inbox.next()).await.expect("a dead letter").unwrap().unwrap() {
                Event::Delivery(delivery) => dead.push(delivery.message),
                Event::Lost { .. } => panic!("nothing is lost here"),
            }
        }
        dead
    }

    pub(crate) async fn dead_count(&self) -> u64 {
        let infos = self.bridge.topics(&Pattern::exactly(&Topic::new("dead")), soon()).await.unwrap();
        infos.first().and_then(|info| info.messages).unwrap_or(0)
    }
}

fn open(dir: &TempDir, mut settings: serde_json::Value) -> Arc<dyn Bridge> {
    settings["dir"] = json!(dir.path());
    Embedded.open(&Settings::new("test", settings)).unwrap()
}

/// A subscription that tries again soon, and that one message more or less does not bother.
/// Returns the webhook of a wish, to be changed.
pub(crate) fn push(wish: &mut Subscription) -> &mut Push {
    match &mut wish.target {
        Target::Push(push) => push,
        Target::Pull(_) => panic!("a webhook"),
    }
}

pub(crate) fn subscription(url: &str) -> Subscription {
    Subscription {
        name: Name::parse("billing").unwrap(),
        bridge: Name::parse("main").unwrap(),
        topic: "orders".into(),
        pattern: Pattern::parse("orders").unwrap(),
        group: "test.billing".into(),
        start: Start::Begin,
        order: Order::None,
        guarantee: Guarantee::AtLeastOnce,
        max_in_flight: 16,
        max_held: Window::default(),
        target: Target::Push(Push {
            url: url.parse().unwrap(),
            timeout: Duration::from_secs(10),
            secrets: Vec::new(),
            headers: Vec::new(),
            protocol: PushProtocol::Http1,
            cloudevents: CloudEventsMode::Binary,
            reach: Default::default(),
            reply: None,
        }),
        retry: Retry {
            max_attempts: 3,
            base: Duration::from_millis(5),
            cap: Duration::from_millis(50),
            unavailable: Vec::new(),
            failed: Vec::new(),
            refused: Vec::new(),
        },
        dead_letter: None,
    }
}

pub(crate) fn message(body: impl std::fmt::Display) -> Message {
    Message { payload: Some(format!("{body}").into_bytes().into()), ..Message::default() }
}

pub(crate) fn keyed(key: &str, body: impl std::fmt::Display) -> Message {
    Message { key: Some(key.to_owned().into_bytes().into()), ..message(body) }
}

/// Waits until the status is as it should be.
pub(crate) async fn until(running: &Running, what: &str, condition: impl Fn(&Status) -> bool) {
    eventually(PATIENCE, what, async || condition(&running.status())).await;
}

/// Returns the bodies of what was answered with success, in that order.
pub(crate) fn accepted(received: &[Received]) -> Vec<String> {
    let accepted = received.iter().filter(|r| r.answered.is_some_and(|status| status.is_success()));
    accepted.map(|r| r.text().to_owned()).collect()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
