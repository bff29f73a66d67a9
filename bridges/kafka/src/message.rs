//! A message as a Kafka record, and back.
//!
//! Payload, key and headers are what they are; a record without a value is a tombstone. What Kafka
//! has no field for goes into headers: `content-type` and `ce_<attribute>` as the CloudEvents
//! binding for Kafka says, `kafka_replyTopic` and `kafka_correlationId` as Spring does, and
//! `sidespan-id`. They come back as fields; a header whose bytes don't fit its field stays a header.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rdkafka::message::{
    BorrowedHeaders, BorrowedMessage, Header as RecordHeader, Headers, Message as Record, OwnedHeaders,
};
use sidespan_bridge::{CE_PREFIX, Error, Fault, Header, Message};
use tracing::warn;

/// Returns the headers of the record that carries a message.
pub(crate) fn headers(message: &Message) -> Result<Option<OwnedHeaders>, Error> {
    let fields: [(&str, &Option<Box<str>>); 4] = [
        (CONTENT_TYPE, &message.content_type),
        (ID, &message.id),
        (REPLY_TO, &message.reply_to),
        (CORRELATION, &message.correlation),
    ];
    let present = fields.iter().filter(|(_, value)| value.is_some()).count() + message.headers.len();
    if present == 0 {
        return Ok(None);
    }
    let mut headers = OwnedHeaders::new_with_capacity(present);
    for (name, value) in fields {
        if let Some(value) = value {
            headers = headers.insert(RecordHeader { key: name, value: Some(value.as_bytes()) });
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
    }
    message
}

/// Puts a header where it belongs.
fn put(message: &mut Message, name: &str, value: &[u8]) {
    let field = match name {
        CONTENT_TYPE => Some(&mut message.content_type),
        ID => Some(&mut message.id),
        REPLY_TO => Some(&mut message.reply_to),
        CORRELATION => Some(&mut message.correlation),
        _ => None,
    };
    if let (Some(field @ None), Ok(text)) = (field, std::str::from_utf8(value)) {
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
const REPLY_TO: &str = "kafka_replyTopic";

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
        put(&mut message, CORRELATION, b"\xff\x00");
        assert_eq!(message.correlation, None);
        assert_eq!(message.headers, [Header::new(CORRELATION, &b"\xff\x00"[..])]);
    }

    #[test]
    fn a_zero_byte_in_a_name_is_refused() {
        let message = Message { headers: vec![Header::new("a\0b", "")], ..Message::default() };
        assert_eq!(headers(&message).unwrap_err().fault, Fault::Invalid);
    }
}
