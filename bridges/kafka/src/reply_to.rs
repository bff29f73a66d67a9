//! Where a reply is awaited: a topic, and a partition where the asker names one.
//!
//! On the wire these are two headers, as Spring has them; in the contract it is one text, `topic` or
//! `topic/partition`. No name of a topic holds a slash.

use sidespan_bridge::{Error, Fault, Message, Topic};

use crate::catalogue::{INTERNAL_PREFIX, check_name};

/// Where a reply goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    pub(crate) topic: Topic,
    pub(crate) partition: Option<u32>,
}

impl ReplyTo {
    /// Reads an address that a stranger has written.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (topic, partition) = match split(text) {
            Some((topic, partition)) => (topic, Some(partition)),
            None => (text, None),
        };
        check_name(topic)?;
        if topic.starts_with(INTERNAL_PREFIX) {
            return Err(
                Error::new(Fault::Invalid).detail("kafka keeps this topic for itself: no reply goes there")
            );
        }
        Ok(Self { topic: Topic::new(topic), partition })
    }
}

/// Takes `topic/partition` apart; `None` where it is something else.
pub(crate) fn split(text: &str) -> Option<(&str, u32)> {
    let (topic, number) = text.split_once('/')?;
    let partition: u32 = number.parse().ok().filter(|partition| i32::try_from(*partition).is_ok())?;
    // One way of writing each number, or what passes through would be changed.
    (check_name(topic).is_ok() && partition.to_string() == number).then_some((topic, partition))
}

/// Puts what two headers say into the one field, where they say it.
pub(crate) fn join(message: &mut Message) {
    let Some(topic) = message.reply_to.as_ref().filter(|topic| check_name(topic).is_ok()) else { return };
    let Some(index) = message.headers.iter().position(|header| &*header.name == PARTITION) else { return };
    let value = message.headers.get(index).and_then(|header| <[u8; 4]>::try_from(&*header.value).ok());
    if let Some(partition) = value.map(i32::from_be_bytes).filter(|partition| *partition >= 0) {
        message.reply_to = Some(format!("{topic}/{partition}").into());
        message.headers.remove(index);
    }
}

/// Header of the topic.
pub(crate) const TOPIC: &str = "kafka_replyTopic";
/// Header of the partition: four bytes, the highest first.
pub(crate) const PARTITION: &str = "kafka_replyPartition";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_topic_and_perhaps_a_partition() {
        let topic = || Topic::new("shop.replies");
        let parsed = |text| ReplyTo::parse(text).unwrap();
        assert_eq!(parsed("shop.replies"), ReplyTo { topic: topic(), partition: None });
        assert_eq!(parsed("shop.replies/3"), ReplyTo { topic: topic(), partition: Some(3) });
        for odd in
            ["", "a b", "a/b", "a/-1", "a/+1", "a/01", "a/2147483648", "a/1/2", "__consumer_offsets", "__x/0"]
        {
            assert_eq!(ReplyTo::parse(odd).unwrap_err().fault, Fault::Invalid, "{odd}");
        }
    }
}
