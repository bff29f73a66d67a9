//! A message as a Kafka record, and back.
//!
//! Payload, key and headers are what they are; a record without a value is a tombstone. What Kafka
//! has no field for goes into headers: `content-type` and `ce_<attribute>` as the CloudEvents
//! binding for Kafka says, `kafka_replyTopic`, `kafka_replyPartition` and `kafka_correlationId` as Spring does
//! ([`reply_to`], [`mod@correlation`]), and `sidespan-id`. They come back as fields; a header whose bytes don't fit
//! its field stays a header.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rdkafka::message::{
    BorrowedHeaders, BorrowedMessage, Header as RecordHeader, Headers, Message as Record, OwnedHeaders,
};
use sidespan_bridge::{CE_PREFIX, Error, Fault, Header, Message};
use tracing::warn;

use crate::{correlation, reply_to};

/// Returns the headers of the record that carries a message.
pub(crate) fn headers(message: &Message) -> Result<Option<OwnedHeaders>, Error> {
    let reply_to = message.reply_to.as_deref();
    let (reply_topic, reply_partition) = match reply_to.and_then(reply_to::split) {
        Some((topic, partition)) => (Some(topic), Some(partition.to_be_bytes())),
        None => (reply_to, None),
    };
    let correlation = message.correlation.as_deref().map(correlation::bytes);
    let fields: [(&str, Option<&[u8]>); 5] = [
        (CONTENT_TYPE, message.content_type.as_deref().map(str::as_bytes)),
        (ID, message.id.as_deref().map(str::as_bytes)),
        (reply_to::TOPIC, reply_topic.map(str::as_bytes)),
        (reply_to::PARTITION, reply_partition.as_ref().map(<[u8; 4]>::as_slice)),
        (CORRELATION, correlation.as_deref()),
    ];
    let present = fields.iter().filter(|(_, value)| value.is_some()).count() + message.headers.len();
    if present == 0 {
        return Ok(None);
    }
    let mut headers = OwnedHeaders::new_with_capacity(present);
    for (name, value) in fields {
        if value.is_some() {
            headers = headers.insert(RecordHeader { key: name, value });
        }
    }
    for header in &message.headers {
        if header.name.contains('\0') {
            return Err(Error::new(Fault::Invalid).detail("a header's name holds a zero byte"));
        }
        let attribute = strip_prefix_in_any_case(&header.name, CE_PREFIX);
        let renamed = attribute.map(|attribute| format!("{RECORD_CE_PREFIX}{attribute}"));
        let key = renamed.as_deref().unwrap_or(&header.name);
        headers = headers.insert(RecordHeader { key, value: Some(&header.value[..]) });
    }
    Ok(Some(headers))
}

/// Reads a record.
pub(crate) fn of_record(record: &BorrowedMessage<'_>) -> Message {
    let mut message = Message {
        payload: record.payload().map(Bytes::copy_from_slice),
        key: record.key().map(Bytes::copy_from_slice),
        partition: u32::try_from(record.partition()).ok(),
        time: record.timestamp().to_millis().and_then(time),
        ..Message::default()
    };
    if let Some(headers) = record.headers() {
        message.headers.reserve(headers.count());
        for index in 0..headers.count() {
            match read(headers, index) {
                Some((name, value)) => put(&mut message, name, value),
                None => warn!(
                    topic = record.topic(),
                    partition = record.partition(),
                    offset = record.offset(),
                    "a record's header is left out: its name is not UTF-8"
                ),
            }
        }
        reply_to::join(&mut message);
    }
    message
}

/// Returns the correlation of a record.
pub(crate) fn correlation(record: &BorrowedMessage<'_>) -> Option<Box<str>> {
    let headers = record.headers()?;
    let named = |index| read(headers, index).filter(|(name, _)| *name == CORRELATION);
    let (_, value) = (0..headers.count()).find_map(named)?;
    Some(correlation::text(value).into())
}

/// Puts a header where it belongs.
fn put(message: &mut Message, name: &str, value: &[u8]) {
    let text = || std::str::from_utf8(value).ok().map(Cow::Borrowed);
    let (field, text) = match name {
        CONTENT_TYPE => (Some(&mut message.content_type), text()),
        ID => (Some(&mut message.id), text()),
        // What names a partition in the same header would be written as two.
        reply_to::TOPIC => {
            (Some(&mut message.reply_to), text().filter(|text| reply_to::split(text).is_none()))
        }
        CORRELATION => (Some(&mut message.correlation), Some(correlation::text(value))),
        _ => (None, None),
    };
    if let (Some(field @ None), Some(text)) = (field, text) {
        *field = Some(text.into());
        return;
    }
    let attribute = name.strip_prefix(RECORD_CE_PREFIX).filter(|attribute| !attribute.is_empty());
    let value = Bytes::copy_from_slice(value);
    message.headers.push(match attribute {
        Some(attribute) => Header::new(format!("{CE_PREFIX}{attribute}"), value),
        None => Header::new(name, value),
    });
}

/// Reads one header. The client library panics on a name that is not UTF-8, which any producer
/// may write: one such record must not end the subscription.
fn read(headers: &BorrowedHeaders, index: usize) -> Option<(&str, &[u8])> {
    let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok()??;
    Some((header.key, header.value.unwrap_or_default()))
}

fn strip_prefix_in_any_case<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = name.split_at_checked(prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && !tail.is_empty()).then_some(tail)
}

fn time(millis: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
}

const CONTENT_TYPE: &str = "content-type";
const CORRELATION: &str = "kafka_correlationId";
const ID: &str = "sidespan-id";
const RECORD_CE_PREFIX: &str = "ce_";

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip(message: &Message) -> Message {
        let mut back = Message::default();
        if let Some(headers) = headers(message).unwrap() {
            for header in headers.iter() {
                put(&mut back, header.key, header.value.unwrap());
            }
        }
        back
    }

    #[test]
    fn headers_keep_their_order_repeats_and_bytes() {
        let message = Message {
            content_type: Some("text/plain".into()),
            id: Some("7".into()),
            reply_to: Some("answers".into()),
            correlation: Some("q".into()),
            headers: vec![
                Header::new("b", &b"\x00\xff"[..]),
                Header::new("a", ""),
                Header::new("b", " blank "),
                Header::new("ce-id", "1"),
                Header::new("content-type", "second"),
            ],
            ..Message::default()
        };
        assert_eq!(roundtrip(&message), message);
    }

    #[test]
    fn cloud_event_attributes_are_written_as_the_kafka_binding_says() {
        let message = Message { headers: vec![Header::new("Ce-type", "t")], ..Message::default() };
        let headers = headers(&message).unwrap().unwrap();
        assert_eq!(headers.get(0).key, "ce_type");
    }

    #[test]
    fn a_field_that_is_not_text_stays_a_header() {
        let mut message = Message::default();
        put(&mut message, CONTENT_TYPE, b"\xff\x00");
        assert_eq!(message.content_type, None);
        assert_eq!(message.headers, [Header::new(CONTENT_TYPE, &b"\xff\x00"[..])]);
    }

    /// What a record has, in order.
    fn pairs(headers: &OwnedHeaders) -> Vec<(String, Vec<u8>)> {
        headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap().to_vec())).collect()
    }

    #[test]
    fn where_a_reply_goes_and_what_it_names_are_as_spring_has_them() {
        let id = [0x9f, 0x02, 0x33, 0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let given = [
            (reply_to::TOPIC, &b"shop.replies"[..]),
            (reply_to::PARTITION, &[0, 0, 1, 2]),
            (CORRELATION, &id),
            ("other", b"x"),
        ];
        let mut message = Message::default();
        given.iter().for_each(|(name, value)| put(&mut message, name, value));
        reply_to::join(&mut message);
        assert_eq!(message.reply_to.as_deref(), Some("shop.replies/258"));
        assert_eq!(message.headers, [Header::new("other", "x")]);
        let again = pairs(&headers(&message).unwrap().unwrap());
        let given: Vec<_> = given.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        assert_eq!(again, given, "and it passes through as it was");
    }

    #[test]
    fn what_is_no_place_for_a_reply_passes_through_as_it_was() {
        let odd: [&[(&str, &[u8])]; 5] = [
            &[(reply_to::TOPIC, b"a/3")],
            &[(reply_to::TOPIC, b"a"), (reply_to::PARTITION, b"3")],
            &[(reply_to::TOPIC, b"a"), (reply_to::PARTITION, &[0xff, 0, 0, 0])],
            &[(reply_to::TOPIC, b"https://a/b"), (reply_to::PARTITION, &[0, 0, 0, 1])],
            &[(reply_to::PARTITION, &[0, 0, 0, 1])],
        ];
        for given in odd {
            let mut message = Message::default();
            given.iter().for_each(|(name, value)| put(&mut message, name, value));
            reply_to::join(&mut message);
            let given: Vec<_> =
                given.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
            assert_eq!(pairs(&headers(&message).unwrap().unwrap()), given);
        }
    }

    #[test]
    fn a_zero_byte_in_a_name_is_refused() {
        let message = Message { headers: vec![Header::new("a\0b", "")], ..Message::default() };
        assert_eq!(headers(&message).unwrap_err().fault, Fault::Invalid);
    }
}
