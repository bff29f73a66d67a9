//! The topic that a registry is kept in.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use sidespan_bridge::{
    Error, Fault, Message, Order, Pattern, Publisher as _, Start, Subscribe, Topic, Window,
};
use tokio::time::{Instant, timeout_at};

use crate::asker::Asker;
use crate::clients::{Clients, Line};
use crate::publisher::KafkaPublisher;
use crate::subscription::{self, KafkaSubscription, Plan};
use crate::topics::{Topics, left};
use crate::{blocking, fault};

/// What a registry needs of its bridge.
pub(crate) struct Parts {
    /// What the topic's name begins with.
    pub(crate) prefix: Box<str>,
    /// Names the cursor.
    pub(crate) cursor: String,
    pub(crate) clients: Arc<Clients>,
    pub(crate) asker: Arc<Asker>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) publisher: Arc<KafkaPublisher>,
    pub(crate) mute: Arc<AtomicBool>,
}

impl Parts {
    /// Opens a cursor at the beginning of a topic.
    pub(super) async fn cursor(&self, topic: &Topic) -> Result<KafkaSubscription, Error> {
        let (config, line) = self.clients.consumer(&self.cursor)?;
        let to = Subscribe {
            pattern: Pattern::exactly(topic),
            group: None,
            start: Start::Begin,
            order: Order::None,
            window: Window::default(),
        };
        let (asker, mute) = (Arc::clone(&self.asker), Arc::clone(&self.mute));
        subscription::join(Plan { config, line, to, asker, mute }).await
    }

    /// Writes a record; returns its offset.
    pub(super) async fn publish(
        &self,
        topic: &Topic,
        message: Message,
        deadline: Instant,
    ) -> Result<u64, Error> {
        let outcome = self.publisher.publish(topic, vec![message], deadline).await.pop();
        // One outcome a message, and a position for each that is stored.
        let receipt = outcome.unwrap_or_else(|| Err(Fault::Timeout.into()))?;
        receipt.position.map(|position| position.sequence).ok_or_else(|| Fault::Timeout.into())
    }
}

/// Makes sure that the topic is there and is what it should be.
pub(super) async fn ensure(parts: &Parts, topic: &Topic, deadline: Instant) -> Result<(), Error> {
    let settings = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", COMPACTION_LAG)];
    match parts.topics.ensure(topic, Some(1), &settings, deadline).await {
        Ok(found) if found.partitions == 1 => check(parts, topic, deadline).await,
        Ok(found) => Err(Error::new(Fault::Conflict).detail(format!(
            "the topic {topic} has {} partitions, and a registry wants one: it is something else, and in the way",
            found.partitions
        ))),
        Err(error) if error.fault == Fault::UnknownTopic => Err(Error::new(error.fault).detail(format!(
            "there is no topic {topic} for the registry: create it with one partition, \
             `cleanup.policy=compact` and `min.compaction.lag.ms={COMPACTION_LAG}`, or set `create_topics`"
        ))),
        Err(error) => Err(error),
    }
}

/// Refuses a topic that forgets records by their age. Who may not see its settings is trusted.
async fn check(parts: &Parts, topic: &Topic, deadline: Instant) -> Result<(), Error> {
    let (config, line) = parts.clients.asker()?;
    let admin: AdminClient<Line> =
        blocking::call(move || config.create_with_context(line).map_err(fault::of_making)).await?;
    let options = AdminOptions::new().request_timeout(Some(left(deadline)));
    let described =
        timeout_at(deadline, admin.describe_configs(&[ResourceSpecifier::Topic(topic.as_str())], &options))
            .await;
    blocking::drop_apart(admin, || {});
    let Ok(Ok(resources)) = described else { return Ok(()) };
    let Some(Ok(resource)) = resources.into_iter().next() else { return Ok(()) };
    let policy = resource.get("cleanup.policy").and_then(|entry| entry.value.clone()).unwrap_or_default();
    if policy.is_empty() || policy == "compact" {
        return Ok(());
    }
    Err(Error::new(Fault::Conflict).detail(format!(
        "the topic {topic} has `cleanup.policy={policy}`, and a registry wants `compact`: change it, or set \
         `registry_prefix`"
    )))
}

/// A rejected record is followed by what stands long before.
const COMPACTION_LAG: &str = "86400000";
