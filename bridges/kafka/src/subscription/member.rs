//! The consumer as a member of its group: what the client tells while it is polled.
//!
//! The client calls back from inside its poll, which must not block: changes of ownership are only
//! noted here, and another task carries them out.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr as Response;
use sidespan_bridge::{Epoch, Topic};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::catalogue::Partition;
use crate::clients::Line;

/// Something about who owns what.
pub(super) enum Change {
    /// These are ours from now on.
    Assigned(Vec<Partition>),
    /// These are no longer ours; with `lost`, others have them already.
    Revoked { partitions: Vec<Partition>, lost: bool },
    /// The log no longer has what we wanted to read.
    OutOfRange(Epoch),
}

/// Takes what the client tells.
pub(super) struct Member {
    changes: mpsc::UnboundedSender<Change>,
    /// The consumer is being dropped: it waits for the answer inside the callback.
    closing: AtomicBool,
    pub(super) line: Line,
}

impl Member {
    pub(super) fn new(changes: mpsc::UnboundedSender<Change>, line: Line) -> Self {
        Self { changes, closing: AtomicBool::new(false), line }
    }

    /// From here on changes are answered inside the callback.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Member {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.line.log(level, facility, message);
    }

    /// The client calls this inside the poll that then returns the error.
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
            END.set(end_of_log(reason));
        } else {
            self.line.error(error, reason);
        }
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.line.generate_oauth_token(config)
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

/// Returns the end of the log that the last poll on this thread came upon, once.
pub(super) fn last_end() -> Option<u64> {
    END.take()
}

thread_local! {
    /// The client library gives the offset of a log's end only inside the text of the event.
    static END: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Reads the offset in "Fetch from broker 1 reached end of partition at offset 8 (HighwaterMark 8)".
fn end_of_log(reason: &str) -> Option<u64> {
    let (_, behind) = reason.split_once(" reached end of partition at offset ")?;
    behind.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_read_from_the_event() {
        let reason = "Fetch from broker 1 reached end of partition at offset 8 (HighwaterMark 9)";
        assert_eq!(end_of_log(reason), Some(8));
        assert_eq!(end_of_log("Fetch from broker 1 reached the end"), None);
    }
}
