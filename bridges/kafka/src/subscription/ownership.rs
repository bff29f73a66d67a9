//! Takes partitions over and gives them up.
//!
//! The client waits for an answer to each change of ownership and meanwhile gives the member
//! nothing, so each is answered, also when the subscription ends in the middle of one.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_bridge::{Epoch, Error, Start};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::commit::{Committer, Offer};
use super::member::{Change, Member};
use super::shard::Owned;
use super::shared::Shared;
use super::start::{self, Begin};
use crate::asker::Asker;
use crate::blocking;
use crate::catalogue::Partition;
use crate::fault;
use crate::offsets::{METADATA_LIMIT, Place, SkipSet};

/// Carries out changes of ownership, one at a time.
pub(super) struct Ownership {
    pub(super) consumer: Arc<BaseConsumer<Member>>,
    pub(super) asker: Arc<Asker>,
    pub(super) shared: Arc<Shared>,
    pub(super) committer: Arc<Committer>,
    pub(super) cluster: Option<String>,
    pub(super) changes: mpsc::UnboundedReceiver<Change>,
    pub(super) over: CancellationToken,
}

impl Ownership {
    /// Runs until the subscription is over, then answers what is left.
    pub(super) async fn run(mut self) -> Self {
        loop {
            let change = tokio::select! {
                () = self.over.cancelled() => break,
                change = self.changes.recv() => change,
            };
            match change {
                None => break,
                Some(Change::Assigned(partitions)) => self.assigned(partitions, true).await,
                Some(Change::Revoked { partitions, lost }) => self.revoked(partitions, lost).await,
                Some(Change::OutOfRange(epoch)) => self.out_of_range(epoch).await,
            }
        }
        self
    }

    /// Answers the changes that nobody has answered, at the end.
    pub(super) fn answer_rest(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            let answer = match change {
                Change::Assigned(partitions) => self.consumer.incremental_assign(&list(&partitions)),
                Change::Revoked { partitions, .. } => self.consumer.incremental_unassign(&list(&partitions)),
                Change::OutOfRange(_) => continue,
            };
            if let Err(error) = answer {
                debug!(%error, "a change of partitions at the end was not taken");
            }
        }
    }

    /// Takes partitions over. What the group had settled ahead counts only if the log is `whole`.
    async fn assigned(&self, partitions: Vec<Partition>, whole: bool) {
        let begins = tokio::select! {
            begins = self.resume(partitions.clone(), whole) => begins,
            () = self.over.cancelled() => Vec::new(),
        };
        let unknown = begins.is_empty() && !partitions.is_empty();
        if unknown {
            self.answer(partitions, true).await;
        } else {
            self.take(begins).await;
        }
    }

    /// Finds where to go on, however long the broker takes, and records what it does not know.
    async fn resume(&self, partitions: Vec<Partition>, whole: bool) -> Vec<Begin> {
        if partitions.is_empty() {
            return Vec::new();
        }
        loop {
            match self.try_resume(partitions.clone(), whole).await {
                Ok(begins) => return begins,
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    warn!(%error, source, "kafka does not tell yet where a partition goes on");
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_resume(&self, partitions: Vec<Partition>, whole: bool) -> Result<Vec<Begin>, Error> {
        let (consumer, cluster, durable) =
            (Arc::clone(&self.consumer), self.cluster.clone(), self.shared.durable);
        let mut begins = self
            .asker
            .ask(move |asking| {
                if durable {
                    start::resume(&consumer, asking, cluster.as_deref(), &partitions, CALL)
                } else {
                    start::fresh(asking, &partitions, &Start::Begin, CALL)
                }
            })
            .await?;
        for begin in begins.iter_mut().filter(|_| !whole) {
            (begin.skip, begin.unrecorded) = (SkipSet::default(), true);
        }
        if durable {
            self.record(&begins).await?;
        }
        Ok(begins)
    }

    /// Has the broker keep where partitions begin, before anything of them is handed out.
    pub(super) async fn record(&self, begins: &[Begin]) -> Result<(), Error> {
        let unrecorded: Vec<(&Begin, String)> = begins
            .iter()
            .filter(|begin| begin.unrecorded)
            .map(|begin| (begin, self.metadata(begin)))
            .collect();
        if unrecorded.is_empty() {
            return Ok(());
        }
        let offers: Vec<Offer<'_>> = unrecorded
            .iter()
            .map(|(begin, metadata)| Offer { partition: &begin.partition, offset: begin.offset, metadata })
            .collect();
        self.committer.record(&offers).await
    }

    fn metadata(&self, begin: &Begin) -> String {
        let (topic, partition) = (begin.partition.topic.as_str(), begin.partition.number);
        let place = self.cluster.as_deref().map(|cluster| Place { cluster, topic, partition });
        place
            .map(|place| SkipSet::default().write(place, begin.offset, METADATA_LIMIT).text)
            .unwrap_or_default()
    }

    /// Begins to read partitions.
    pub(super) async fn take(&self, begins: Vec<Begin>) {
        let (consumer, shared) = (Arc::clone(&self.consumer), Arc::clone(&self.shared));
        let taken = blocking::call(move || {
            let mut assignment = TopicPartitionList::with_capacity(begins.len());
            for begin in begins {
                let (topic, number) = (begin.partition.topic.clone(), begin.partition.number);
                let offset = Offset::Offset(i64::try_from(begin.offset).unwrap_or(i64::MAX));
                assignment.add_partition_offset(topic.as_str(), number, offset).map_err(fault::of_call)?;
                let epoch = shared.lock().next_epoch();
                // Split first: what is fetched before goes to the main queue.
                let Some(mut queue) = consumer.split_partition_queue(topic.as_str(), number) else {
                    error!(%topic, partition = number, "a partition's queue is not to be had");
                    continue;
                };
                let ready = Arc::clone(&shared.ready);
                queue.set_nonempty_callback(move || ready.push(epoch));
                let mut state = shared.lock();
                let known = (begin.skip, state.recall(&begin.partition, begin.offset));
                let owned = Owned::new(begin.partition, epoch, queue, begin.offset, known);
                state.shards.insert(epoch, owned);
                drop(state);
                shared.ready.push(epoch);
            }
            consumer.incremental_assign(&assignment).map_err(fault::of_call)
        })
        .await;
        if let Err(error) = taken {
            self.shared.end(Err(error));
        }
    }

    async fn revoked(&self, partitions: Vec<Partition>, lost: bool) {
        self.give_up(&partitions, lost).await;
        self.answer(partitions, false).await;
    }

    /// Lets what is in flight finish, hands the rest to whoever comes next.
    async fn give_up(&self, partitions: &[Partition], lost: bool) {
        let finish_by = if lost { Instant::now() } else { Instant::now() + FINISH };
        let epochs: Vec<Epoch> = {
            let mut state = self.shared.lock();
            let epochs: Vec<Epoch> =
                partitions.iter().filter_map(|partition| state.epoch_of(partition)).collect();
            epochs.iter().for_each(|epoch| state.leave(*epoch, finish_by));
            epochs
        };
        if epochs.is_empty() {
            return;
        }
        self.shared.ready.wake.notify_one();
        if !lost {
            let _ = timeout_at(finish_by, self.until_quiet(&epochs)).await;
            let commit = self.committer.commit(|epoch| epochs.contains(&epoch));
            match timeout_at(Instant::now() + FINISH, commit).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    warn!(%error, "what was settled last could not be handed over: it may come again")
                }
                Err(_) => warn!("what was settled last could not be handed over in time: it may come again"),
            }
        }
        let mut state = self.shared.lock();
        epochs.iter().for_each(|epoch| state.remove(*epoch));
        drop(state);
        self.shared.ready.wake.notify_one();
    }

    async fn until_quiet(&self, epochs: &[Epoch]) {
        loop {
            {
                let state = self.shared.lock();
                let busy = |epoch: &Epoch| state.shards.get(epoch).is_some_and(|owned| owned.out > 0);
                if !epochs.iter().any(busy) || self.over.is_cancelled() {
                    return;
                }
            }
            tokio::select! {
                () = self.shared.quiet.notified() => {}
                () = self.over.cancelled() => {}
            }
        }
    }

    async fn answer(&self, partitions: Vec<Partition>, assigned: bool) {
        let consumer = Arc::clone(&self.consumer);
        let answered = blocking::call(move || {
            let list = list(&partitions);
            let answer = if assigned {
                consumer.incremental_assign(&list)
            } else {
                consumer.incremental_unassign(&list)
            };
            answer.map_err(fault::of_call)
        })
        .await;
        if let Err(error) = answered {
            self.shared.end(Err(error));
        }
    }

    /// Begins a partition anew where its log now begins.
    async fn out_of_range(&self, epoch: Epoch) {
        let partition = self.shared.lock().shards.get(&epoch).map(|owned| owned.partition.clone());
        let Some(partition) = partition else { return };
        error!(
            topic = %partition.topic, partition = partition.number,
            "the log no longer has the position to be read: messages were lost by retention"
        );
        let partitions = vec![partition];
        self.give_up(&partitions, false).await;
        self.answer(partitions.clone(), false).await;
        // A log that was cut short has other messages by now where some were settled.
        self.assigned(partitions, false).await;
    }
}

fn list(partitions: &[Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(partition.topic.as_str(), partition.number);
    }
    list
}

/// How long what is in flight may go on when a partition is to be given up.
const FINISH: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(500);
/// How long one question to the broker may take.
pub(super) const CALL: Duration = Duration::from_secs(5);
