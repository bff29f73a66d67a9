//! A bridge in the hands of a test: what tests of one broker ask of it again and again.
//!
//! What every bridge must do is in the contract's conformance suite; these tests are about what only
//! their broker has.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sidespan_bridge::{
    Bridge, Delivery, Error, Event, Fault, Message, Order, Pattern, Receipt, Settlement, Start, Subscribe,
    Subscription, Topic, Verdict, Window,
};
use tokio::time::{Instant, sleep, timeout};

use crate::eventually::PAUSE;

/// An open subscription.
pub type Inbox = Box<dyn Subscription>;

/// How long any one step may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Returns by when a step must be done.
pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Adds keys to those of a bridge, or replaces them.
pub fn with(mut keys: Value, more: Value) -> Value {
    if let (Some(keys), Value::Object(more)) = (keys.as_object_mut(), more) {
        keys.extend(more);
    }
    keys
}

/// All of a pattern, in any order, for a group of the same name.
pub fn all_of(pattern: &str) -> Subscribe {
    Subscribe {
        pattern: Pattern::parse(pattern).expect("a pattern"),
        group: Some(pattern.into()),
        start: Start::Begin,
        order: Order::None,
        window: Window::default(),
    }
}

/// Subscribes; tries again, as callers do, while it is refused for a reason that passes.
pub async fn subscribe(bridge: &dyn Bridge, to: Subscribe, passes: impl Fn(Fault) -> bool) -> Inbox {
    let end = soon();
    loop {
        match bridge.subscribe(to.clone()).await {
            Ok(inbox) => return inbox,
            Err(error) if passes(error.fault) && Instant::now() < end => sleep(PAUSE).await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Makes a message that says something.
#[expect(clippy::needless_pass_by_value, reason = "tests pass what they make for it")]
pub fn text(text: impl ToString) -> Message {
    Message { payload: Some(Bytes::from(text.to_string())), ..Message::default() }
}

/// Publishes one message and returns what became of it.
pub async fn attempt(bridge: &dyn Bridge, topic: &str, message: Message) -> Result<Receipt, Error> {
    bridge.publisher().publish(&Topic::new(topic), vec![message], soon()).await.remove(0)
}

/// Publishes a batch, all of which must be stored.
pub async fn publish(bridge: &dyn Bridge, topic: &str, messages: Vec<Message>) -> Vec<Receipt> {
    let outcomes = bridge.publisher().publish(&Topic::new(topic), messages, soon()).await;
    outcomes.into_iter().map(|outcome| outcome.expect("a receipt")).collect()
}

/// Waits for what comes next.
pub async fn event(inbox: &mut Inbox) -> Event {
    timeout(PATIENCE, inbox.next()).await.expect("an event").expect("no end").expect("no error")
}

/// Waits for a delivery; tells how often something was lost before it.
pub async fn next_after_losses(inbox: &mut Inbox) -> (Delivery, usize) {
    let mut losses = 0;
    loop {
        match event(inbox).await {
            Event::Delivery(delivery) => return (delivery, losses),
            Event::Lost { .. } => losses += 1,
        }
    }
}

/// Waits for a delivery.
pub async fn next(inbox: &mut Inbox) -> Delivery {
    next_after_losses(inbox).await.0
}

/// Returns what a delivery says.
pub fn body(delivery: &Delivery) -> String {
    let payload = delivery.message.payload.as_deref().expect("a payload");
    String::from_utf8(payload.to_vec()).expect("text")
}

/// Accepts, and waits until the broker has it.
pub async fn accept(delivery: Delivery) {
    assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);
}

/// Receives up to the message `last`, accepts all, and returns what came ahead of it.
pub async fn until(inbox: &mut Inbox, last: &str) -> Vec<String> {
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

/// Leaves a subscription in peace.
pub async fn close(inbox: Inbox) {
    inbox.control().close(soon()).await.expect("a polite end");
}
