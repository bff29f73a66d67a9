//! What the cluster says about its topics. All calls block.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr as Response;
use sidespan_bridge::{Error, Fault, Pattern, Topic};

use crate::fault;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Partition {
    /// The topic.
    pub(crate) topic: Topic,
    /// The partition's number.
    pub(crate) number: i32,
}

/// A topic and how many partitions it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) topic: Topic,
    pub(crate) partitions: u32,
}

/// The oldest offset that is stored, and the one that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) low: u64,
    pub(crate) high: u64,
}

/// Tells whether Kafka takes this as a topic's name; says what is wrong.
pub(crate) fn check_name(topic: &str) -> Result<(), Error> {
    let invalid = |detail: &str| Err(Error::new(Fault::Invalid).detail(detail));
    if topic.is_empty() || topic == "." || topic == ".." {
        return invalid("this is no name for a kafka topic");
    }
    if topic.len() > NAME_LIMIT {
        return invalid("a kafka topic's name has at most 249 characters");
    }
    if !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return invalid("a kafka topic's name holds only letters, digits, `.`, `_` and `-`");
    }
    Ok(())
}

/// Looks one topic up; it is not created by asking.
pub(crate) fn find<C: ClientContext>(
    client: &Client<C>,
    topic: &Topic,
    timeout: Duration,
) -> Result<Found, Error> {
    let metadata = client.fetch_metadata(Some(topic.as_str()), timeout).map_err(fault::of_call)?;
    match metadata.topics().iter().find(|found| found.name() == topic.as_str()) {
        Some(found) => read(found),
        None => Err(Fault::UnknownTopic.into()),
    }
}

/// Lists the topics that a pattern stands for, those that Kafka keeps for itself left out.
pub(crate) fn list<C: ClientContext>(
    client: &Client<C>,
    pattern: &Pattern,
    timeout: Duration,
) -> Result<Vec<Found>, Error> {
    if let Some(topic) = pattern.literal() {
        check_name(topic.as_str())?;
        return match find(client, &topic, timeout) {
            Ok(found) => Ok(vec![found]),
            Err(error) if error.fault == Fault::UnknownTopic => Ok(Vec::new()),
            Err(error) => Err(error),
        };
    }
    let metadata = client.fetch_metadata(None, timeout).map_err(fault::of_call)?;
    let matching = |topic: &&MetadataTopic| {
        !topic.name().starts_with(INTERNAL_PREFIX) && pattern.matches(&Topic::new(topic.name()))
    };
    let mut found: Vec<Found> = metadata.topics().iter().filter(matching).flat_map(read).collect();
    found.sort_by(|a, b| a.topic.cmp(&b.topic));
    Ok(found)
}

/// Returns the regular expression that stands for a pattern at the broker's client.
pub(crate) fn expression(pattern: &Pattern) -> String {
    let Some(literal) = pattern.literal() else {
        let tokens = pattern.as_str().split('.').map(|token| match token {
            "*" => "[^.]+".to_owned(),
            ">" => ".+".to_owned(),
            token => token.to_owned(),
        });
        return format!("^{}$", tokens.collect::<Vec<_>>().join("[.]"));
    };
    literal.as_str().to_owned()
}

/// Asks where partitions begin and end.
pub(crate) fn bounds<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Vec<Bounds>, Error> {
    let low = offsets(consumer, partitions, Offset::Beginning, timeout)?;
    let high = offsets(consumer, partitions, Offset::End, timeout)?;
    let pair = |(low, high): (Option<u64>, Option<u64>)| match (low, high) {
        (Some(low), Some(high)) => Ok(Bounds { low, high: high.max(low) }),
        _ => {
            Err(Error::new(Fault::Unavailable).detail("kafka does not say where a partition begins and ends"))
        }
    };
    low.into_iter().zip(high).map(pair).collect()
}

/// Asks for the first offset at or behind a time (milliseconds), or for one of the two ends.
pub(crate) fn offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[Partition],
    at: Offset,
    timeout: Duration,
) -> Result<Vec<Option<u64>>, Error> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        query.add_partition_offset(partition.topic.as_str(), partition.number, at).map_err(fault::of_call)?;
    }
    let answer = consumer.offsets_for_times(query, timeout).map_err(fault::of_call)?;
    let mut offsets = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let element = answer.find_partition(partition.topic.as_str(), partition.number);
        let Some(element) = element else { return Err(Fault::Unavailable.into()) };
        element.error().map_err(fault::of_call)?;
        offsets.push(match element.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        });
    }
    Ok(offsets)
}

impl Found {
    /// Lists the partitions.
    pub(crate) fn each(&self) -> impl Iterator<Item = Partition> {
        let count = i32::try_from(self.partitions).unwrap_or(i32::MAX);
        (0..count).map(|number| Partition { topic: self.topic.clone(), number })
    }
}

fn read(topic: &MetadataTopic) -> Result<Found, Error> {
    match topic.error() {
        None => {}
        Some(Response::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => return Err(Fault::UnknownTopic.into()),
        Some(Response::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => return Err(Fault::Denied.into()),
        Some(Response::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION) => return Err(Fault::Invalid.into()),
        // It exists, and elects a leader.
        Some(_) if !topic.partitions().is_empty() => {}
        Some(_) => return Err(Fault::Unavailable.into()),
    }
    let partitions = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
    Ok(Found { topic: Topic::new(topic.name()), partitions })
}

/// Kafka's own topics (`__consumer_offsets`): no pattern stands for them.
pub(crate) const INTERNAL_PREFIX: &str = "__";
/// To ask for any topic is enough to see that the cluster answers, and cheaper than to ask for all.
pub(crate) const ANY_TOPIC: &str = "__consumer_offsets";
const NAME_LIMIT: usize = 249;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_a_whole_expression() {
        let expression = |text| expression(&Pattern::parse(text).unwrap());
        assert_eq!(expression("orders.*.paid"), "^orders[.][^.]+[.]paid$");
        assert_eq!(expression("orders.>"), "^orders[.].+$");
        assert_eq!(expression("orders.eu"), "orders.eu");
    }

    #[test]
    fn illegal_names_are_refused_with_a_reason() {
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert_eq!(check_name(name).unwrap_err().fault, Fault::Invalid, "{name}");
        }
        assert!(check_name("shop.orders_v1-eu").is_ok());
    }
}
