//! How the cases publish, receive and settle: every wait has a deadline and says what it awaited.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::{Ability, Harness};
use crate::{
    Bridge, Control, Delivery, Epoch, Event, Fault, Message, Order, Pattern, Position, Receipt, Settlement,
    Shard, Start, Subscribe, Subscription, Topic, Verdict, Window,
};

/// A subscription that is read with patience.
pub(super) struct Inbox {
    subscription: Box<dyn Subscription>,
    patience: Duration,
    /// What was said to be lost so far.
    pub(super) losses: Vec<(Shard, Epoch)>,
}

impl Inbox {
    /// Subscribes; tries again, as callers do, while the broker cannot be reached.
    pub(super) async fn open(harness: &dyn Harness, member: &Arc<dyn Bridge>, wish: Subscribe) -> Self {
        let patience = harness.patience();
        let mut refusal = None;
        let attach = async {
            loop {
                match member.subscribe(wish.clone()).await {
                    Ok(subscription) => return subscription,
                    Err(error) if error.fault == Fault::Unavailable => refusal = Some(error),
                    Err(error) => panic!("subscribing to {wish:?} failed: {error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let Ok(subscription) = timeout(patience, attach).await else {
            panic!(
                "expected a subscription to {} within {patience:?}; last refusal: {refusal:?}",
                wish.pattern
            );
        };
        Self { subscription, patience, losses: Vec::new() }
    }

    /// Waits, without a deadline, for the next delivery; notes losses on the way. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        loop {
            // A bridge that always has something ready must not starve the other cases.
            tokio::task::coop::consume_budget().await;
            match self.subscription.next().await {
                Some(Ok(Event::Delivery(delivery))) => return Some(delivery),
                Some(Ok(Event::Lost { shard, epoch, .. })) => self.losses.push((shard, epoch)),
                Some(Err(error)) => panic!("the subscription failed: {error:?}"),
                None => return None,
            }
        }
    }

    /// Waits, without a deadline, for the next event. Cancel-safe.
    pub(super) async fn event(&mut self) -> Event {
        match self.subscription.next().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => panic!("the subscription failed: {error:?}"),
            None => panic!("the subscription ended, and nobody closed it"),
        }
    }

    /// Waits for one delivery.
    pub(super) async fn delivery(&mut self, awaited: &str) -> Delivery {
        let patience = self.patience;
        match within(patience, awaited, self.next()).await {
            Some(delivery) => delivery,
            None => panic!("the subscription ended, and nobody closed it; expected {awaited}"),
        }
    }

    /// Waits for so many deliveries and keeps them all.
    pub(super) async fn deliveries(&mut self, count: usize, awaited: &str) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(count);
        while deliveries.len() < count {
            let awaited = format!("{awaited}: number {} of {count}", deliveries.len() + 1);
            deliveries.push(self.delivery(&awaited).await);
        }
        deliveries
    }

    /// Receives and accepts everything up to the message whose body is `last`; returns the bodies
    /// ahead of it.
    pub(super) async fn bodies_until(&mut self, last: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let delivery = self.delivery(&format!("{last:?}, behind {bodies:?}")).await;
            let body = body(&delivery);
            drop(delivery.ack.settle(Verdict::Accept));
            if body == last {
                return bodies;
            }
            bodies.push(body);
        }
    }

    /// Shows that nothing is delivered for a while. Only for what would come at once if it came.
    pub(super) async fn rests(&mut self, time: Duration, why: &str) {
        if let Ok(Some(delivery)) = timeout(time, self.next()).await {
            panic!("{why}: nothing was to be delivered, but {:?} was", body(&delivery));
        }
    }

    /// Where a cursor began.
    pub(super) fn begun(&self) -> Vec<(Topic, Position)> {
        self.subscription.begun().expect("a cursor that tells where it began")
    }

    pub(super) fn control(&self) -> Arc<dyn Control> {
        self.subscription.control()
    }

    /// Closes politely and reads to the end; returns what was still delivered, which is dropped.
    pub(super) async fn close(mut self) {
        self.control()
            .close(Instant::now() + self.patience)
            .await
            .expect("a subscription that can be closed");
        let patience = self.patience;
        within(patience, "the end of a closed subscription", async { while self.next().await.is_some() {} })
            .await;
    }
}

/// Waits with a deadline.
pub(super) async fn within<T>(patience: Duration, awaited: &str, wait: impl Future<Output = T>) -> T {
    match timeout(patience, wait).await {
        Ok(value) => value,
        Err(_) => panic!("expected {awaited} within {patience:?}"),
    }
}

/// Makes a name that nobody used before.
pub(super) fn unique() -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the system's random numbers");
    format!("c{:016x}", u64::from_be_bytes(random))
}

/// Makes a fresh topic.
pub(super) async fn topic(harness: &dyn Harness, partitions: u32) -> Topic {
    let topic = Topic::new(unique());
    harness.make(&topic, partitions).await;
    topic
}

/// Tells whether the broker has an ability.
pub(super) fn has(harness: &dyn Harness, ability: Ability) -> bool {
    ability.of(harness.kind())
}

/// The usual wish: all of a topic, as far back as the broker goes.
pub(super) fn wish(harness: &dyn Harness, topic: &Topic, group: &str) -> Subscribe {
    Subscribe {
        pattern: Pattern::exactly(topic),
        group: Some(group.into()),
        start: if has(harness, Ability::Start) { Start::Begin } else { Start::End },
        order: Order::None,
        window: Window::default(),
    }
}

/// A message that is only a body.
pub(super) fn message(body: impl Into<String>) -> Message {
    Message { payload: Some(body.into().into()), ..Message::default() }
}

/// A message with a key.
pub(super) fn keyed(key: &str, body: impl Into<String>) -> Message {
    Message { key: Some(key.to_owned().into()), ..message(body) }
}

/// So many messages, with bodies from `<prefix>0` on, and keys that spread over partitions.
pub(super) fn numbered(prefix: &str, count: usize) -> Vec<Message> {
    (0..count).map(|n| keyed(&format!("key {n}"), format!("{prefix}{n}"))).collect()
}

/// The bodies of `numbered`.
pub(super) fn bodies_of(prefix: &str, count: usize) -> BTreeSet<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

pub(super) fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(delivery.message.payload.as_deref().unwrap_or_default()).into_owned()
}

pub(super) fn bodies(deliveries: &[Delivery]) -> BTreeSet<String> {
    deliveries.iter().map(body).collect()
}

/// Publishes a batch, all of which must be stored.
pub(super) async fn publish(
    harness: &dyn Harness,
    member: &Arc<dyn Bridge>,
    topic: &Topic,
    batch: Vec<Message>,
) -> Vec<Receipt> {
    let count = batch.len();
    let outcomes = attempt(harness, member, topic, batch).await;
    assert_eq!(outcomes.len(), count, "one outcome a message");
    let receipt = |(n, outcome): (usize, Result<Receipt, crate::Error>)| match outcome {
        Ok(receipt) => receipt,
        Err(error) => panic!("message {n} of {count} to {topic} was to be stored: {error:?}"),
    };
    outcomes.into_iter().enumerate().map(receipt).collect()
}

/// Publishes a batch with the usual deadline.
pub(super) async fn attempt(
    harness: &dyn Harness,
    member: &Arc<dyn Bridge>,
    topic: &Topic,
    batch: Vec<Message>,
) -> Vec<Result<Receipt, crate::Error>> {
    let deadline = Instant::now() + harness.patience();
    let grace = harness.patience() + Duration::from_secs(1);
    let outcomes = member.publisher().publish(topic, batch, deadline);
    within(grace, "the outcomes of a publish by its deadline", outcomes).await
}

/// Publishes one message again and again until it is stored, as long as the broker may be away.
pub(super) async fn publish_until_stored(
    harness: &dyn Harness,
    member: &Arc<dyn Bridge>,
    topic: &Topic,
    message: Message,
) {
    let again = async {
        loop {
            let deadline = Instant::now() + Duration::from_secs(3);
            let mut outcomes = member.publisher().publish(topic, vec![message.clone()], deadline).await;
            match outcomes.pop().expect("one outcome a message") {
                Ok(_) => return,
                Err(error) if matches!(error.fault, Fault::Timeout | Fault::Unavailable) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("a broker that was away was to be said as such: {error:?}"),
            }
        }
    };
    within(harness.patience() * 2, "a publish that works again", again).await;
}

/// Accepts everything and waits until the broker has it.
pub(super) async fn accept(harness: &dyn Harness, deliveries: Vec<Delivery>) {
    let settled: Vec<_> = deliveries.into_iter().map(|d| (body(&d), d.ack.settle(Verdict::Accept))).collect();
    let confirm = |(body, settled)| async move {
        let settlement = within(harness.patience(), &format!("the settlement of {body:?}"), settled).await;
        assert_eq!(settlement, Settlement::Confirmed, "accepting {body:?}");
    };
    join_all(settled.into_iter().map(confirm)).await;
}

/// Long enough for a bridge to do at once what it should not do at all.
pub(super) const QUIET: Duration = Duration::from_millis(300);
