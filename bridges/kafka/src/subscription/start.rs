//! Where reading begins. All calls block.
//!
//! For a group the broker knows: at what it committed, past what the metadata says is settled. A new group's
//! start is recorded for every partition before the first delivery, so that what comes in between
//! is not lost. Whatever appears later begins at its beginning.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_bridge::{Error, Position, Start, Topic};
use tracing::{error, info};

use super::member::Member;
use crate::asker::Asking;
use crate::catalogue::{self, Bounds, Partition};
use crate::fault;
use crate::offsets::{Place, SkipSet};

/// Where to begin with a partition.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) partition: Partition,
    pub(super) offset: u64,
    pub(super) skip: SkipSet,
    /// The broker does not know yet.
    pub(super) unrecorded: bool,
}

impl Begin {
    /// Returns what comes first, as the contract has it.
    pub(super) fn position(&self) -> Option<(Topic, Position)> {
        let partition = u32::try_from(self.partition.number).ok()?;
        Some((self.partition.topic.clone(), Position { partition, sequence: self.offset }))
    }
}

/// What a group has committed for a partition.
struct Commit {
    offset: u64,
    metadata: Option<String>,
}

/// What a group has not settled of a partition.
pub(super) struct Left {
    /// Where it goes on.
    pub(super) head: u64,
    /// How many messages, or what takes their place in the log.
    pub(super) messages: u64,
}

/// Tells whether a group has committed nothing for any of these.
pub(super) fn is_new(
    consumer: &BaseConsumer<Member>,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<bool, Error> {
    Ok(committed(consumer, partitions, timeout)?.iter().all(Option::is_none))
}

/// Returns what a group has committed.
pub(super) fn committed_offsets(
    consumer: &BaseConsumer<Member>,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Vec<Option<u64>>, Error> {
    let committed = committed(consumer, partitions, timeout)?;
    Ok(committed.into_iter().map(|commit| commit.map(|commit| commit.offset)).collect())
}

/// Finds where a group goes on.
pub(super) fn resume(
    consumer: &BaseConsumer<Member>,
    asking: &Asking,
    cluster: Option<&str>,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Vec<Begin>, Error> {
    let committed = committed(consumer, partitions, timeout)?;
    let bounds = catalogue::bounds(asking, partitions, timeout)?;
    let each = partitions.iter().zip(committed).zip(bounds);
    Ok(each.map(|((partition, commit), bounds)| begin(cluster, partition, commit, bounds)).collect())
}

/// Counts what a group has not settled of each partition; `None` where it has committed nothing at all.
pub(super) fn left(
    consumer: &Asking,
    asking: &Asking,
    cluster: Option<&str>,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Option<Vec<Left>>, Error> {
    let committed = committed(consumer, partitions, timeout)?;
    if committed.iter().all(Option::is_none) {
        return Ok(None);
    }
    let bounds = catalogue::bounds(asking, partitions, timeout)?;
    let each = partitions.iter().zip(committed).zip(bounds);
    Ok(Some(each.map(|((partition, commit), bounds)| left_of(cluster, partition, commit, bounds)).collect()))
}

fn left_of(cluster: Option<&str>, partition: &Partition, commit: Option<Commit>, bounds: Bounds) -> Left {
    let Some(commit) = commit.filter(|commit| (bounds.low..=bounds.high).contains(&commit.offset)) else {
        return Left { head: bounds.low, messages: bounds.high - bounds.low };
    };
    let beyond = skip_set(cluster, partition, &commit).map_or(0, |skip| skip.count_below(bounds.high));
    let messages = (bounds.high - commit.offset).saturating_sub(beyond);
    Left { head: commit.offset, messages }
}

/// Finds where something new begins.
pub(super) fn fresh(
    asking: &Asking,
    partitions: &[Partition],
    start: &Start,
    timeout: Duration,
) -> Result<Vec<Begin>, Error> {
    let bounds = catalogue::bounds(asking, partitions, timeout)?;
    let at = |offsets: Vec<u64>| {
        let each = partitions.iter().cloned().zip(offsets);
        each.map(|(partition, offset)| Begin {
            partition,
            offset,
            skip: SkipSet::default(),
            unrecorded: true,
        })
        .collect()
    };
    Ok(match start {
        Start::Begin => at(bounds.iter().map(|bounds| bounds.low).collect()),
        Start::End => at(bounds.iter().map(|bounds| bounds.high).collect()),
        Start::Time(time) => at(at_time(asking, partitions, &bounds, *time, timeout)?),
        Start::Position(positions) => {
            let each = partitions.iter().zip(&bounds);
            at(each.map(|(partition, bounds)| named(positions, partition, *bounds)).collect())
        }
        Start::Resume { from, since } => {
            let rest = at_time(asking, partitions, &bounds, *since, timeout)?;
            let each = partitions.iter().zip(&bounds).zip(rest);
            at(each.map(|((partition, bounds), rest)| resumed(from, partition, *bounds, rest)).collect())
        }
    })
}

/// Finds the first message at or after a time; the epoch is the beginning.
fn at_time(
    asking: &Asking,
    partitions: &[Partition],
    bounds: &[Bounds],
    time: SystemTime,
    timeout: Duration,
) -> Result<Vec<u64>, Error> {
    let millis = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    if millis == 0 {
        return Ok(bounds.iter().map(|bounds| bounds.low).collect());
    }
    let millis = Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX));
    let found = catalogue::offsets(asking, partitions, millis, timeout)?;
    Ok(found.into_iter().zip(bounds).map(|(found, bounds)| found.unwrap_or(bounds.high)).collect())
}

fn begin(cluster: Option<&str>, partition: &Partition, commit: Option<Commit>, bounds: Bounds) -> Begin {
    let partition = partition.clone();
    let Some(commit) = commit else {
        let (offset, skip) = (bounds.low, SkipSet::default());
        return Begin { partition, offset, skip, unrecorded: true };
    };
    let offset = commit.offset;
    if offset < bounds.low || offset > bounds.high {
        let (topic, number) = (&partition.topic, partition.number);
        let (oldest, end) = (bounds.low, bounds.high);
        if offset < oldest {
            error!(%topic, partition = number, committed = offset, oldest, end,
                "the log no longer has the position that was committed: messages were lost by retention; reading begins at the oldest");
        } else {
            error!(%topic, partition = number, committed = offset, oldest, end,
                "the log ends before the position that was committed: it was cut short or made anew; reading begins at the oldest");
        }
        return Begin { partition, offset: bounds.low, skip: SkipSet::default(), unrecorded: true };
    }
    let skip = skip_set(cluster, &partition, &commit);
    if skip.is_none() {
        info!(
            topic = %partition.topic, partition = partition.number, offset,
            "the committed offset's metadata is not of this group's own making and is ignored"
        );
    }
    Begin { offset, skip: skip.unwrap_or_default(), partition, unrecorded: false }
}

/// Reads what is settled beyond a commit; `None` where its metadata is not of this group's own making.
fn skip_set(cluster: Option<&str>, partition: &Partition, commit: &Commit) -> Option<SkipSet> {
    let Some(text) = commit.metadata.as_ref().filter(|text| !text.is_empty()) else {
        return Some(SkipSet::default());
    };
    let place = Place { cluster: cluster?, topic: partition.topic.as_str(), partition: partition.number };
    SkipSet::read(text, place, commit.offset)
}

fn named(positions: &[Position], partition: &Partition, bounds: Bounds) -> u64 {
    let number = u32::try_from(partition.number).ok();
    match positions.iter().find(|position| Some(position.partition) == number) {
        Some(position) => within(*position, partition, bounds),
        None => bounds.low,
    }
}

/// What lies behind the end was in a topic that was deleted: this one is of the same name only.
fn resumed(from: &[(Topic, Position)], partition: &Partition, bounds: Bounds, rest: u64) -> u64 {
    let number = u32::try_from(partition.number).ok();
    let known = from
        .iter()
        .find(|(topic, position)| Some(position.partition) == number && *topic == partition.topic)
        .filter(|(_, position)| position.sequence <= bounds.high);
    known.map_or(rest, |(_, position)| within(*position, partition, bounds))
}

fn within(position: Position, partition: &Partition, bounds: Bounds) -> u64 {
    if position.sequence < bounds.low {
        error!(
            topic = %partition.topic, partition = partition.number, wanted = position.sequence, oldest = bounds.low,
            "the log no longer has the position that was asked for: messages were lost by retention; reading begins at the oldest"
        );
    }
    position.sequence.clamp(bounds.low, bounds.high)
}

fn committed<C: ConsumerContext + 'static>(
    consumer: &BaseConsumer<C>,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Vec<Option<Commit>>, Error> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        query.add_partition(partition.topic.as_str(), partition.number);
    }
    let answer = consumer.committed_offsets(query, timeout).map_err(fault::of_call)?;
    let mut commits = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let Some(element) = answer.find_partition(partition.topic.as_str(), partition.number) else {
            commits.push(None);
            continue;
        };
        element.error().map_err(fault::of_call)?;
        let Offset::Offset(offset) = element.offset() else {
            commits.push(None);
            continue;
        };
        // The client library panics on bytes that are not UTF-8, which anybody may have committed.
        let metadata = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned())).ok();
        commits.push(u64::try_from(offset).ok().map(|offset| Commit { offset, metadata }));
    }
    Ok(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { low: 10, high: 20 };

    fn orders() -> Partition {
        Partition { topic: Topic::new("orders"), number: 1 }
    }

    fn at(offset: u64, metadata: &str) -> Begin {
        begin(Some("c"), &orders(), Some(Commit { offset, metadata: Some(metadata.to_owned()) }), BOUNDS)
    }

    #[test]
    fn a_position_out_of_range_becomes_the_oldest() {
        assert_eq!((at(9, "").offset, at(9, "").unrecorded), (10, true));
        assert_eq!(at(21, "").offset, 10);
        assert_eq!((at(20, "").offset, at(20, "").unrecorded), (20, false));
    }

    #[test]
    fn what_is_left_is_what_is_stored_and_not_settled() {
        let left = |offset, metadata: &str| {
            let commit = Commit { offset, metadata: Some(metadata.to_owned()) };
            let Left { head, messages } = left_of(Some("c"), &orders(), Some(commit), BOUNDS);
            (head, messages)
        };
        let place = Place { cluster: "c", topic: "orders", partition: 1 };
        let text = SkipSet::collect([14, 15, 18, 19, 20, 21]).write(place, 12, 4096).text;
        assert_eq!(left(12, ""), (12, 8));
        assert_eq!(left(12, &text), (12, 4));
        assert_eq!(left(13, &text), (13, 7), "that is of another commit");
        assert_eq!(left(20, ""), (20, 0));
        assert_eq!(left(9, ""), (10, 10), "it goes on at the oldest");
        assert_eq!(left(21, ""), (10, 10), "it goes on at the oldest");
    }

    #[test]
    fn metadata_of_others_is_ignored() {
        let place = Place { cluster: "c", topic: "orders", partition: 1 };
        let text = SkipSet::collect([14, 15]).write(place, 12, 4096).text;
        assert!(at(12, &text).skip.contains(14));
        assert!(!at(13, &text).skip.contains(14));
        assert!(!at(12, "by another program").skip.contains(14));
    }

    #[test]
    fn partitions_that_no_position_names_begin_at_their_beginning() {
        let positions = [Position { partition: 1, sequence: 15 }];
        assert_eq!(named(&positions, &orders(), BOUNDS), 15);
        assert_eq!(named(&positions, &Partition { number: 0, ..orders() }, BOUNDS), 10);
    }

    #[test]
    fn what_a_cursor_did_not_know_begins_at_a_time() {
        let position = |sequence| Position { partition: 1, sequence };
        let from = |topic, sequence| [(Topic::new(topic), position(sequence))];
        assert_eq!(resumed(&from("orders", 15), &orders(), BOUNDS, 12), 15);
        assert_eq!(resumed(&from("orders", 9), &orders(), BOUNDS, 12), 10);
        assert_eq!(resumed(&from("orders", 21), &orders(), BOUNDS, 12), 12);
        assert_eq!(resumed(&from("others", 15), &orders(), BOUNDS, 12), 12);
        assert_eq!(resumed(&from("orders", 15), &Partition { number: 0, ..orders() }, BOUNDS, 12), 12);
    }
}
