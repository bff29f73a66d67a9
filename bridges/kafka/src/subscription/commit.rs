//! Hands to the broker what is settled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_bridge::{Epoch, Error, Fault};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::warn;

use super::member::Member;
use super::shard::Snapshot;
use super::shared::Shared;
use crate::catalogue::Partition;
use crate::{blocking, fault};

/// Commits for one consumer, one commit at a time.
pub(super) struct Committer {
    consumer: Arc<BaseConsumer<Member>>,
    shared: Arc<Shared>,
    /// Names the cluster in the metadata.
    cluster: Option<String>,
    /// The broker takes no metadata of ours.
    plain: AtomicBool,
    turn: Mutex<()>,
    clerk: mpsc::Sender<Job>,
}

/// A commit for the thread that may wait for it: a broker that is away keeps the client waiting
/// without end, and its version without waiting never tells how it went.
struct Job {
    consumer: Arc<BaseConsumer<Member>>,
    list: TopicPartitionList,
    reply: oneshot::Sender<Result<(), KafkaError>>,
}

/// An offset to commit.
pub(super) struct Offer<'a> {
    pub(super) partition: &'a Partition,
    pub(super) offset: u64,
    pub(super) metadata: &'a str,
}

impl Committer {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<Member>>,
        shared: Arc<Shared>,
        cluster: Option<String>,
    ) -> Result<Self, Error> {
        let (clerk, jobs) = mpsc::channel();
        blocking::thread("kafka-commit", move || work(&jobs))?;
        let plain = AtomicBool::new(false);
        Ok(Self { consumer, shared, cluster, plain, turn: Mutex::default(), clerk })
    }

    /// Commits what has changed every so often, and at once when somebody waits for it.
    pub(super) async fn run(&self) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shared.urgent.notified() => {}
                _ = tick.tick() => {}
            }
            if let Err(error) = self.commit(|_| true).await {
                warn!(%error, source = std::error::Error::source(&error), "settlements could not be handed to kafka yet");
                sleep(PAUSE).await;
            }
        }
    }

    /// Commits what the broker does not know yet of the partitions that `wanted` picks.
    pub(super) async fn commit(&self, wanted: impl Fn(Epoch) -> bool) -> Result<(), Error> {
        if !self.shared.durable {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        if self.shared.is_mute() {
            return Err(Error::new(Fault::Unavailable).detail("the bridge is gone"));
        }
        let cluster = self.cluster.as_deref().filter(|_| !self.plain.load(Ordering::Relaxed));
        let snapshots: Vec<Snapshot> = {
            let state = self.shared.lock();
            let owned = state.shards.values().filter(|owned| wanted(owned.epoch));
            owned.filter_map(|owned| owned.snapshot(cluster)).collect()
        };
        if snapshots.is_empty() {
            return Ok(());
        }
        let offers: Vec<Offer<'_>> = snapshots
            .iter()
            .map(|snapshot| Offer {
                partition: &snapshot.partition,
                offset: snapshot.floor,
                metadata: &snapshot.written.text,
            })
            .collect();
        let results = self.send(&offers).await?;
        let mut failure = None;
        let mut state = self.shared.lock();
        for (snapshot, result) in snapshots.iter().zip(results) {
            match result {
                Ok(()) => {
                    if let Some(owned) = state.shards.get_mut(&snapshot.epoch) {
                        owned.committed(snapshot);
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Commits offsets as they are.
    pub(super) async fn record(&self, offers: &[Offer<'_>]) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        self.send(offers).await?.into_iter().collect()
    }

    /// Commits offers together, and one by one if something is wrong with one of them: the client
    /// does not tell which.
    async fn send(&self, offers: &[Offer<'_>]) -> Result<Vec<Result<(), Error>>, Error> {
        match self.call(offers).await? {
            Ok(()) => Ok(offers.iter().map(|_| Ok(())).collect()),
            Err(error) if offers.len() == 1 => Ok(vec![Err(self.refused(error))]),
            Err(_) => {
                let mut results = Vec::with_capacity(offers.len());
                for offer in offers {
                    let result = self.call(std::slice::from_ref(offer)).await?;
                    results.push(result.map_err(|error| self.refused(error)));
                }
                Ok(results)
            }
        }
    }

    async fn call(&self, offers: &[Offer<'_>]) -> Result<Result<(), KafkaError>, Error> {
        let mut list = TopicPartitionList::with_capacity(offers.len());
        for offer in offers {
            let offset = i64::try_from(offer.offset).unwrap_or(i64::MAX);
            let mut element = list.add_partition(offer.partition.topic.as_str(), offer.partition.number);
            element.set_offset(Offset::Offset(offset)).map_err(fault::of_call)?;
            if !offer.metadata.is_empty() {
                element.set_metadata(offer.metadata);
            }
        }
        let (reply, answer) = oneshot::channel();
        let job = Job { consumer: Arc::clone(&self.consumer), list, reply };
        if self.clerk.send(job).is_err() {
            return Err(Error::new(Fault::Unavailable).detail("the subscription is closed"));
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Error::new(Fault::Timeout).detail("kafka did not answer a commit")),
        }
    }

    fn refused(&self, error: KafkaError) -> Error {
        if error.rdkafka_error_code() == Some(Code::OffsetMetadataTooLarge) {
            self.plain.store(true, Ordering::Relaxed);
            warn!("kafka takes no offset metadata of this size: more messages are repeated after a crash");
        }
        fault::of_call(error)
    }
}

/// Commits until the subscription is gone.
fn work(jobs: &mpsc::Receiver<Job>) {
    while let Ok(Job { consumer, list, reply }) = jobs.recv() {
        // Nobody waits any more: by now its partitions may belong to others.
        if reply.is_closed() {
            continue;
        }
        let answer = consumer.commit(&list, CommitMode::Sync);
        // Let go first: whoever awaits the answer may be about to drop the consumer.
        drop(consumer);
        let _ = reply.send(answer);
    }
}

/// What was settled within this time may be repeated after a crash.
const PERIOD: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_secs(1);
/// The client answers a commit by itself, at the latest when its requests time out.
const PATIENCE: Duration = Duration::from_secs(90);
