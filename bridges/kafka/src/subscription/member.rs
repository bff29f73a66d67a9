//! The consumer as a member of its group: what the client tells while it is polled.
//!
//! The client calls back from inside its poll, which must not block: changes of ownership are only
//! noted here, and another task carries them out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr as Response;
use serde::Deserialize;
use sidespan_bridge::{Epoch, Topic};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::catalogue::Partition;
use crate::link::Link;

/// Something about who owns what.
pub(super) enum Change {
    /// These are ours from now on.
    Assigned(Vec<Partition>),
    /// These are no longer ours; with `lost`, others have them already.
    Revoked { partitions: Vec<Partition>, lost: bool },
    /// The log no longer has what we wanted to read.
    OutOfRange(Epoch),
    /// Where the client saw logs end, and when (seconds of the clock).
    Ends { ends: Vec<(Partition, u64)>, at: u64 },
}

/// Takes what the client tells.
pub(super) struct Member {
    changes: mpsc::UnboundedSender<Change>,
    /// The consumer is being dropped: it waits for the answer inside the callback.
    closing: AtomicBool,
    link: Arc<Link>,
}

impl Member {
    pub(super) fn new(changes: mpsc::UnboundedSender<Change>, link: Arc<Link>) -> Self {
        Self { changes, closing: AtomicBool::new(false), link }
    }

    /// From here on changes are answered inside the callback.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.link.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.hear(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        match serde_json::from_slice::<Statistics>(statistics) {
            Ok(statistics) => {
                let (ends, at) = (statistics.ends(), statistics.time);
                if !ends.is_empty() {
                    let _ = self.changes.send(Change::Ends { ends, at });
                }
            }
            Err(error) => warn!(%error, "the kafka client's statistics cannot be read"),
        }
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: Response, list: &mut TopicPartitionList) {
        let assigned = matches!(event, Response::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        if self.closing.load(Ordering::Acquire) {
            let answer = if assigned {
                consumer.incremental_assign(list)
            } else {
                consumer.incremental_unassign(list)
            };
            if let Err(error) = answer {
                warn!(%error, "a change of partitions at the end was not taken");
            }
            return;
        }
        let partitions = partitions(list);
        debug!(assigned, ?partitions, "partitions change hands");
        let change = if assigned {
            Change::Assigned(partitions)
        } else {
            Change::Revoked { partitions, lost: consumer.assignment_lost() }
        };
        let _ = self.changes.send(change);
    }
}

/// Lists the partitions of a list of the client's.
fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let each = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| Partition {
        topic: Topic::new(element.topic()),
        number: element.partition(),
    };
    list.elements().into_iter().map(each).collect()
}

/// What is wanted of the client's statistics.
#[derive(Deserialize)]
struct Statistics {
    /// Seconds of the clock.
    time: u64,
    #[serde(default)]
    topics: HashMap<String, TopicStatistics>,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: HashMap<String, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    partition: i32,
    /// Negative: none.
    eof_offset: i64,
}

impl Statistics {
    fn ends(&self) -> Vec<(Partition, u64)> {
        let partitions = self.topics.iter().flat_map(|(name, topic)| {
            topic.partitions.values().filter(|known| known.partition >= 0).map(move |known| (name, known))
        });
        let end = |(name, known): (&String, &PartitionStatistics)| {
            let offset = u64::try_from(known.eof_offset).ok()?;
            Some((Partition { topic: Topic::new(name.as_str()), number: known.partition }, offset))
        };
        partitions.filter_map(end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_logs_are_read_from_the_statistics() {
        let text = r#"{"name": "x", "time": 7, "topics": {"orders": {"topic": "orders", "partitions": {
            "0": {"partition": 0, "eof_offset": 12, "hi_offset": 12},
            "1": {"partition": 1, "eof_offset": -1001},
            "-1": {"partition": -1, "eof_offset": 3}}}}}"#;
        let statistics: Statistics = serde_json::from_str(text).unwrap();
        let orders = Partition { topic: Topic::new("orders"), number: 0 };
        assert_eq!((statistics.time, statistics.ends()), (7, vec![(orders, 12)]));
    }
}
