//! Where replies are read: one partition of the topic for replies, from its end on.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_bridge::{Error, Fault, Requests, Topic};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, error};

use crate::asker::{Asker, Asking};
use crate::catalogue::{self, Partition};
use crate::clients::Clients;
use crate::stranded::Stranded;
use crate::topics::Topics;
use crate::{blocking, fault, message};

/// Reads replies until it is dropped, or cannot go on.
pub(super) struct Desk {
    /// What requests name as the place for their replies.
    address: Box<str>,
    over: CancellationToken,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    _over: DropGuard,
}

impl Desk {
    /// Begins to read at the end of a partition, which is known once this returns.
    pub(super) async fn open(
        topic: &Topic,
        (clients, asker, topics): (&Clients, &Asker, &Topics),
        requests: Arc<Requests>,
        over: CancellationToken,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let settings = [("retention.ms", RETENTION), ("segment.ms", RETENTION), ("cleanup.policy", "delete")];
        let found =
            topics.ensure(topic, None, &settings, deadline).await.map_err(|error| explain(topic, error))?;
        let number = RandomState::new().hash_one(0) % u64::from(found.partitions.max(1));
        let partition = Partition { topic: topic.clone(), number: i32::try_from(number).unwrap_or_default() };
        let address = format!("{topic}/{}", partition.number).into();
        let end = end_of(asker, &partition, deadline).await.map_err(|error| explain(topic, error))?;
        let mut list = TopicPartitionList::with_capacity(1);
        let offset = Offset::Offset(i64::try_from(end).unwrap_or(i64::MAX));
        list.add_partition_offset(topic.as_str(), partition.number, offset).map_err(fault::of_call)?;
        // The client wants a group's name, and never joins the group.
        let (config, line) = clients.consumer(topic.as_str())?;
        let consumer = blocking::call(move || {
            let consumer: Asking = config.create_with_context(line).map_err(fault::of_making)?;
            consumer.assign(&list).map_err(fault::of_call)?;
            Ok(consumer)
        });
        let consumer = consumer.await?;
        let reading = over.clone();
        let ended = blocking::thread("kafka-replies", move || {
            read(&consumer, &requests, &reading);
            reading.cancel();
        })?;
        let guard = over.clone().drop_guard();
        Ok(Self { address, over, ended: Mutex::new(Some(ended)), _over: guard })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Tells whether replies are still read.
    pub(super) fn is_open(&self) -> bool {
        !self.over.is_cancelled()
    }

    /// Ends, and waits until the cluster is let go.
    pub(super) async fn close(&self, deadline: Instant) {
        self.over.cancel();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended {
            let _ = timeout_at(deadline, ended).await;
        }
    }
}

/// Asks where a partition ends; a topic that is new has no leader for a moment.
async fn end_of(asker: &Asker, partition: &Partition, deadline: Instant) -> Result<u64, Error> {
    loop {
        let asked = partition.clone();
        let asking = asker.ask(move |asking| catalogue::bounds(asking, &[asked], CALL));
        match asking.await {
            Ok(bounds) => {
                return bounds.first().map(|bounds| bounds.high).ok_or_else(|| Fault::Unavailable.into());
            }
            Err(error) if error.fault == Fault::Unavailable && Instant::now() < deadline => {
                sleep(PAUSE).await
            }
            Err(error) => return Err(error),
        }
    }
}

/// Hands replies to those who await them, until somebody ends it or it cannot go on.
fn read(consumer: &Asking, requests: &Requests, over: &CancellationToken) {
    let mut stranded = Stranded::default();
    while !over.is_cancelled() {
        match consumer.poll(TICK) {
            None => {}
            Some(Ok(record)) => {
                let Some(correlation) = message::correlation(&record) else { continue };
                // Those of other replicas come here, too.
                if requests.awaits(&correlation) {
                    requests.conclude(&correlation, Ok(message::of_record(&record)));
                }
            }
            Some(Err(trouble)) => {
                stranded.hear(&trouble);
                if ends(&trouble) {
                    return error!(error = %trouble, "replies cannot be read any more: the next request begins anew");
                }
                debug!(error = %trouble, "trouble that heals by itself");
            }
        }
        if let Some(reason) = stranded.is_certain(consumer, consumer.context()) {
            return error!(reason, "replies cannot be read any more: the next request begins anew");
        }
    }
}

/// Tells whether it is of no use to go on: the partition is gone, or what it holds is not for us, or it has no
/// longer what comes next.
fn ends(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                Code::AutoOffsetReset
                    | Code::OffsetOutOfRange
                    | Code::TopicAuthorizationFailed
                    | Code::UnknownPartition
                    | Code::UnknownTopic
                    | Code::UnknownTopicOrPartition
            )
        )
}

/// Says what to do about a topic for replies that cannot be used.
fn explain(topic: &Topic, error: Error) -> Error {
    let detail = match error.fault {
        Fault::UnknownTopic => format!(
            "kafka has no topic {topic} for replies: make it, with a short retention, name another by \
             `reply_topic` of the bridge, or allow `create_topics`"
        ),
        Fault::Denied => format!(
            "kafka does not let this server use the topic {topic} for replies: allow reading it, or name \
             another by `reply_topic` of the bridge"
        ),
        _ => return error,
    };
    Error::new(error.fault).detail(detail).because(error)
}

/// How long a reply is kept in a topic that is made for replies, in milliseconds.
const RETENTION: &str = "600000";
/// How long a question may take.
const CALL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// How soon the thread notices that it is not needed any more.
const TICK: Duration = Duration::from_millis(50);
