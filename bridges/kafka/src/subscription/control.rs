//! Steers a subscription, and ends it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sidespan_bridge::{Control, Error, Fault, Lag, Pattern, Role};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::commit::Committer;
use super::member::Member;
use super::oldest::{self, Heads};
use super::ownership::{CALL, Ownership};
use super::shared::Shared;
use super::start;
use crate::asker::{Asker, Asking};
use crate::blocking;
use crate::catalogue::{self, Found, Partition};
use crate::clients::Line;

/// The handle on a subscription.
pub(crate) struct KafkaControl {
    pub(super) shared: Arc<Shared>,
    pub(super) pattern: Pattern,
    pub(super) asker: Arc<Asker>,
    /// What a consumer is made from that reads beside the group.
    pub(super) reader: (ClientConfig, Line),
    pub(super) running: Mutex<Option<Running>>,
}

/// All that runs for a subscription.
pub(super) struct Running {
    pub(super) consumer: Arc<BaseConsumer<Member>>,
    pub(super) committer: Arc<Committer>,
    pub(super) serving: Serving,
    pub(super) over: CancellationToken,
    pub(super) tasks: Vec<JoinHandle<()>>,
    pub(super) ownership: JoinHandle<Ownership>,
}

#[async_trait]
impl Control for KafkaControl {
    fn stop_intake(&self) {
        self.shared.stop_intake();
    }

    fn role(&self) -> Role {
        if self.shared.lock().owns_some() { Role::Active } else { Role::Standby }
    }

    async fn lag(&self) -> Result<Lag, Error> {
        if !self.shared.durable {
            let detail = "a cursor of its own settles nothing, so nothing is left to settle";
            return Err(Error::new(Fault::Unsupported).detail(detail));
        }
        let consumer = match &*self.running.lock().await {
            Some(running) => Arc::clone(&running.consumer),
            None => return Err(Error::new(Fault::Unavailable).detail("the subscription is closed")),
        };
        let (shared, pattern) = (Arc::clone(&self.shared), self.pattern.clone());
        let lag = move |asking: &Asking| {
            let found = catalogue::list(asking.client(), &pattern, CALL)?;
            let partitions: Vec<Partition> = found.iter().flat_map(Found::each).collect();
            let bounds = catalogue::bounds(asking, &partitions, CALL)?;
            let committed = start::committed_offsets(&consumer, &partitions, CALL)?;
            let state = shared.lock();
            let (mut messages, mut heads) = (0, Heads::new());
            for ((partition, bounds), committed) in partitions.iter().zip(bounds).zip(committed) {
                // Of our own partitions we know more than the broker.
                let owned = state.epoch_of(partition).and_then(|epoch| state.shards.get(&epoch));
                let (head, left) = match owned {
                    Some(owned) => (owned.floor(), owned.lag(bounds.high)),
                    None => {
                        let head = committed.unwrap_or(bounds.low).max(bounds.low);
                        (head, bounds.high.saturating_sub(head))
                    }
                };
                messages += left;
                if left > 0 {
                    heads.push((partition.clone(), head));
                }
            }
            Ok((messages, heads))
        };
        let (messages, heads) = self.asker.ask(lag).await?;
        let (config, line) = self.reader.clone();
        let oldest = blocking::call(move || oldest::age(config, line, &heads)).await?;
        Ok(Lag { messages, oldest })
    }

    async fn close(&self, deadline: Instant) -> Result<(), Error> {
        self.shared.stop_intake();
        let Some(running) = self.running.lock().await.take() else { return Ok(()) };
        let handed_over = if self.shared.is_mute() {
            Ok(())
        } else {
            // Something must be left to leave the group with.
            let until = deadline.checked_sub(LEAVE).unwrap_or(deadline).max(Instant::now());
            match timeout_at(until, commit_all(&running.committer)).await {
                Ok(committed) => committed,
                Err(_) => Err(Error::new(Fault::Timeout)
                    .detail("kafka did not take all settlements in time: some messages may come again")),
            }
        };
        running.end(&self.shared, deadline).await;
        handed_over
    }
}

/// Commits all that is settled. While members come and go the broker takes no commit, and it is just
/// then that members leave.
async fn commit_all(committer: &Committer) -> Result<(), Error> {
    loop {
        match committer.commit(|_| true).await {
            Err(error) if error.fault == Fault::Unavailable => sleep(PAUSE).await,
            committed => return committed,
        }
    }
}

/// The thread that serves the main queue.
pub(super) struct Serving {
    pub(super) end: DropGuard,
    pub(super) ended: oneshot::Receiver<()>,
}

impl Serving {
    /// Ends it, and waits until it has let go of the consumer.
    pub(super) async fn end(self) {
        drop(self.end);
        let _ = self.ended.await;
    }
}

impl Running {
    /// Ends all tasks, gives back what is not settled, and leaves the group.
    pub(super) async fn end(self, shared: &Shared, deadline: Instant) {
        let Self { consumer, committer, serving, over, tasks, ownership } = self;
        shared.lock().remove_all();
        over.cancel();
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        let rest = ownership.await;
        serving.end().await;
        consumer.context().close();
        if let Ok(mut rest) = rest {
            // What it took over while it was told to end.
            shared.lock().remove_all();
            let work = move || {
                rest.answer_rest();
                drop(rest);
                Ok(())
            };
            let _ = blocking::call(work).await;
        }
        drop(committer);
        if !blocking::drop_by(consumer, deadline).await {
            tracing::warn!(
                "kafka did not confirm in time that a member left its group: its partitions move when the session times out"
            );
        }
        shared.end(Ok(()));
    }
}

/// How long to wait before a commit is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long leaving a group takes, at most, when the broker is well.
const LEAVE: Duration = Duration::from_millis(500);
