//! Publishing: into the committer's queue, and the wait for its answer.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use sidespan_bridge::{Error, Fault, Message, Publisher, Receipt, Topic};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::committer::unknown_topic;
use crate::index::check_name;
use crate::log::Log;
use crate::queue::Job;

/// The one publisher of a log.
#[derive(Debug)]
pub(crate) struct EmbeddedPublisher {
    log: Arc<Log>,
}

impl EmbeddedPublisher {
    /// Publishes to a log.
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log }
    }

    fn check_topic(&self, topic: &Topic) -> Result<(), Error> {
        check_name(topic)?;
        if !self.log.limits.create_topics && self.log.index().find(topic).is_none() {
            return Err(unknown_topic(topic));
        }
        Ok(())
    }

    fn check(&self, message: &Message) -> Result<(), Error> {
        let limit = self.log.limits.message;
        if message.weight() as u64 > limit {
            let detail = format!(
                "the message is larger than the {limit} bytes that the embedded log takes (max_message)"
            );
            return Err(Error::new(Fault::TooLarge).detail(detail));
        }
        if message.partition.is_some_and(|partition| partition != 0) {
            let detail = "a topic of the embedded log has one partition, 0: leave the partition out";
            return Err(Error::new(Fault::Invalid).detail(detail));
        }
        Ok(())
    }
}

impl Publisher for EmbeddedPublisher {
    fn publish(
        &self,
        topic: &Topic,
        batch: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        if let Err(refusal) = self.check_topic(topic) {
            return ready(batch.iter().map(|_| Err(again(&refusal))).collect()).boxed();
        }
        let mut verdicts = Vec::with_capacity(batch.len());
        let mut messages = Vec::with_capacity(batch.len());
        for message in batch {
            let verdict = self.check(&message);
            if verdict.is_ok() {
                messages.push(message);
            }
            verdicts.push(verdict);
        }
        if messages.is_empty() {
            return ready(complete(verdicts, Vec::new())).boxed();
        }
        let count = messages.len();
        let weight = messages.iter().map(|message| message.weight() + FIXED).sum();
        let (answer, outcomes) = oneshot::channel();
        let job = Job::Publish { topic: topic.clone(), messages, weight, answer };
        if let Err(refusal) = self.log.queue.push(job) {
            let refusals = (0..count).map(|_| Err(again(&refusal))).collect();
            return ready(complete(verdicts, refusals)).boxed();
        }
        async move {
            let outcomes = match timeout_at(deadline, outcomes).await {
                Ok(Ok(outcomes)) => outcomes,
                Ok(Err(_)) | Err(_) => (0..count).map(|_| Err(Fault::Timeout.into())).collect(),
            };
            complete(verdicts, outcomes)
        }
        .boxed()
    }
}

/// Puts the outcomes of what was handed over between what was refused before.
fn complete(
    verdicts: Vec<Result<(), Error>>,
    outcomes: Vec<Result<Receipt, Error>>,
) -> Vec<Result<Receipt, Error>> {
    let mut outcomes = outcomes.into_iter();
    verdicts
        .into_iter()
        .map(|verdict| verdict.and_then(|()| outcomes.next().unwrap_or_else(|| Err(Fault::Timeout.into()))))
        .collect()
}

/// Says the same of one more message.
fn again(refusal: &Error) -> Error {
    Error::new(refusal.fault).detail(refusal.to_string())
}

/// What a message counts for in the queue beyond its weight.
const FIXED: usize = 128;
