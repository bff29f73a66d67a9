//! How long the oldest unsettled message has waited, which only the log itself tells. Blocks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_bridge::Error;

use crate::catalogue::Partition;
use crate::clients::Line;
use crate::{blocking, fault};

/// Where a group goes on with each partition that has something for it.
pub(super) type Heads = Vec<(Partition, u64)>;

/// Reads one message of each partition, and returns the age of the oldest; `None` where not all can be read in
/// a moment.
pub(super) fn age(mut config: ClientConfig, line: Line, heads: &Heads) -> Result<Option<Duration>, Error> {
    if heads.is_empty() {
        return Ok(None);
    }
    // One batch is sent, however large.
    for (name, value) in [("fetch.message.max.bytes", "1"), ("queued.min.messages", "1")] {
        config.set(name, value);
    }
    let reader: Arc<BaseConsumer<Line>> =
        Arc::new(config.create_with_context(line).map_err(fault::of_making)?);
    let oldest = oldest(&reader, heads);
    blocking::drop_apart(reader, || {});
    let now = SystemTime::now();
    Ok(oldest?.map(|oldest| now.duration_since(oldest).unwrap_or_default()))
}

fn oldest(reader: &Arc<BaseConsumer<Line>>, heads: &Heads) -> Result<Option<SystemTime>, Error> {
    let mut list = TopicPartitionList::with_capacity(heads.len());
    let mut queues = Vec::with_capacity(heads.len());
    for (partition, offset) in heads {
        let (topic, number) = (partition.topic.as_str(), partition.number);
        let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, number, offset).map_err(fault::of_call)?;
        queues.extend(reader.split_partition_queue(topic, number));
    }
    reader.assign(&list).map_err(fault::of_call)?;
    let (end, mut oldest) = (Instant::now() + MOMENT, None);
    for queue in queues {
        match queue.poll(end.saturating_duration_since(Instant::now())) {
            Some(Ok(record)) => {
                let time = record.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok());
                let Some(millis) = time else { return Ok(None) };
                let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
                oldest = Some(oldest.map_or(time, |oldest: SystemTime| oldest.min(time)));
            }
            // What is left there is no message: a transaction's end, or what was compacted away.
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(_)) | None => return Ok(None),
        }
    }
    Ok(oldest)
}

/// How long to wait for all of it.
const MOMENT: Duration = Duration::from_secs(2);
