//! A message as AMQP carries it, and back.
//!
//! What AMQP has a property for is one: `content_type`, `message_id`, `correlation_id`, `reply_to`,
//! `timestamp`. The key is the header `sidespan-key`. CloudEvents attributes are
//! `cloudEvents_<attribute>`, as the AMQP binding says; `cloudEvents:` and `ce-` are read too. All other
//! headers are what [`headers`] makes of them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use sidespan_bridge::{CE_PREFIX, Error, Fault, Header, Message};

use crate::headers::{self, bytes_of};

/// What the broker gave beside the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// How often it was given before, where the queue counts.
    pub(crate) before: Option<u32>,
    /// It comes from a stream, from which nothing can be settled.
    pub(crate) of_stream: bool,
}

/// Returns the properties of a message that is handed over at `time`.
pub(crate) fn properties(message: &Message, time: SystemTime) -> Result<BasicProperties, Error> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_timestamp(seconds);
    if let Some(text) = &message.content_type {
        properties = properties.with_content_type(short("content type", text)?);
    }
    if let Some(text) = &message.id {
        properties = properties.with_message_id(short("id", text)?);
    }
    if let Some(text) = &message.reply_to {
        properties = properties.with_reply_to(short("reply address", text)?);
    }
    if let Some(text) = &message.correlation {
        properties = properties.with_correlation_id(short("correlation", text)?);
    }
    let named: Vec<Header> = message.headers.iter().map(to_wire).collect();
    let mut table = headers::write(&named);
    if let Some(key) = &message.key {
        table.insert(KEY.into(), headers::value(key));
    }
    if headers::size(&table) > MOST_HEADERS {
        let detail = format!("the message's key and headers take more than {MOST_HEADERS} bytes");
        return Err(Error::new(Fault::TooLarge).detail(detail));
    }
    if table.inner().is_empty() { Ok(properties) } else { Ok(properties.with_headers(table)) }
}

/// Reads a delivery.
pub(crate) fn of_delivery(delivery: Delivery) -> (Message, Given) {
    let properties = &delivery.properties;
    let text = |field: &Option<ShortString>| field.as_ref().map(|text| text.as_str().into());
    let mut message = Message {
        id: text(properties.message_id()),
        content_type: text(properties.content_type()),
        reply_to: text(properties.reply_to()),
        correlation: text(properties.correlation_id()),
        time: properties.timestamp().and_then(time),
        ..Message::default()
    };
    let mut given = Given { before: (!delivery.redelivered).then_some(0), of_stream: false };
    if let Some(table) = properties.headers() {
        take(&mut message, &mut given, table);
    }
    // A body that is encoded cannot be read by who does not know how.
    let encoding = properties.content_encoding().as_ref().map(ShortString::as_str);
    if let Some(encoding) = encoding.filter(|text| !text.is_empty() && message.header(ENCODING).is_none()) {
        message.headers.push(Header::new(ENCODING, encoding.to_owned()));
    }
    message.payload = Some(delivery.data.into());
    (message, given)
}

fn take(message: &mut Message, given: &mut Given, table: &FieldTable) {
    for (name, value) in headers::read(table) {
        match &*name {
            KEY => message.key = Some(bytes_of(&value)),
            COUNT => given.before = number(&value),
            ACQUIRED => {}
            OFFSET => given.of_stream = true,
            _ => message.headers.push(from_wire(&name, &value)),
        }
    }
}

/// Names a header as the wire does.
fn to_wire(header: &Header) -> Header {
    let attribute = header
        .name
        .split_at_checked(CE_PREFIX.len())
        .filter(|(head, attribute)| head.eq_ignore_ascii_case(CE_PREFIX) && !attribute.is_empty());
    match attribute {
        Some((_, attribute)) => Header::new(format!("{WIRE_CE_PREFIX}{attribute}"), header.value.clone()),
        None => header.clone(),
    }
}

/// Names a header as Sidespan does.
fn from_wire(name: &str, value: &AMQPValue) -> Header {
    let attribute = WIRE_CE_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    let Some(attribute) = attribute.filter(|attribute| !attribute.is_empty()) else {
        return Header::new(name, bytes_of(value));
    };
    let value = match (attribute, value) {
        // Some SDKs write a time as AMQP 1.0 has it: a number of milliseconds.
        ("time", AMQPValue::LongLongInt(millis)) => {
            let time = Timestamp::from_millisecond(*millis);
            time.map_or_else(|_| bytes_of(value), |time| time.to_string().into())
        }
        _ => bytes_of(value),
    };
    Header::new(format!("{CE_PREFIX}{attribute}"), value)
}

fn short(what: &str, text: &str) -> Result<ShortString, Error> {
    ShortString::try_new(text).map_err(|error| {
        let detail = format!("the message's {what} is longer than AMQP allows, 255 bytes");
        Error::new(Fault::Invalid).detail(detail).because(error)
    })
}

fn number(value: &AMQPValue) -> Option<u32> {
    std::str::from_utf8(&bytes_of(value)).ok()?.parse().ok()
}

fn time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// All properties must fit into one frame, of 128 KiB by RabbitMQ's default, or the broker ends the
/// connection.
const MOST_HEADERS: usize = 120 << 10;
/// Header of the key. There is no other name for it in AMQP 0-9-1.
pub(crate) const KEY: &str = "sidespan-key";
/// How often a quorum queue gave a message before.
const COUNT: &str = "x-delivery-count";
/// How often a quorum queue of RabbitMQ 4 gave a message before, returned or not.
const ACQUIRED: &str = "x-acquired-count";
/// Where a message stands in a stream.
const OFFSET: &str = "x-stream-offset";
const ENCODING: &str = "content-encoding";
const WIRE_CE_PREFIX: &str = "cloudEvents_";
const WIRE_CE_PREFIXES: [&str; 2] = [WIRE_CE_PREFIX, "cloudEvents:"];
const PERSISTENT: u8 = 2;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn arrive(properties: BasicProperties) -> (Message, Given) {
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, b"body".to_vec());
        delivery.properties = properties;
        of_delivery(delivery)
    }

    fn roundtrip(message: &Message) -> Message {
        let (mut back, _) = arrive(properties(message, SystemTime::UNIX_EPOCH).unwrap());
        assert_eq!(back.time.take(), Some(SystemTime::UNIX_EPOCH));
        back
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let message = Message {
            payload: Some("body".into()),
            key: Some(Bytes::from_static(&[0, 159])),
            id: Some("7".into()),
            content_type: Some("text/plain".into()),
            reply_to: Some("answers".into()),
            correlation: Some("q".into()),
            headers: vec![
                Header::new("b", &b"\x00\xff"[..]),
                Header::new("a", ""),
                Header::new("b", " blank "),
                Header::new("ce-id", "1"),
            ],
            ..Message::default()
        };
        assert_eq!(roundtrip(&message), message);
        let bare = Message { payload: Some("body".into()), ..Message::default() };
        assert_eq!(roundtrip(&bare), bare);
    }

    #[test]
    fn attributes_of_a_cloud_event_are_read_in_all_their_spellings() {
        for name in ["cloudEvents_id", "cloudEvents:id", "ce-id"] {
            let mut table = FieldTable::default();
            table.insert(name.into(), AMQPValue::LongString("1".into()));
            let (message, _) = arrive(BasicProperties::default().with_headers(table));
            assert_eq!(message.headers, [Header::new("ce-id", "1")], "{name}");
        }
        let event = Message { headers: vec![Header::new("Ce-id", "1")], ..Message::default() };
        let properties = properties(&event, SystemTime::now()).unwrap();
        assert!(properties.headers().as_ref().unwrap().contains_key("cloudEvents_id"));
    }

    #[test]
    fn a_time_in_milliseconds_is_read_as_a_time() {
        for value in [AMQPValue::LongLongInt(1_795_163_400_000), AMQPValue::Timestamp(1_795_163_400)] {
            let mut table = FieldTable::default();
            table.insert("cloudEvents_time".into(), value);
            let (message, _) = arrive(BasicProperties::default().with_headers(table));
            assert_eq!(message.headers, [Header::new("ce-time", "2026-11-20T08:30:00Z")]);
        }
    }

    #[test]
    fn what_the_broker_adds_is_not_the_messages() {
        let mut table = FieldTable::default();
        table.insert(COUNT.into(), AMQPValue::LongLongInt(3));
        let (message, given) = arrive(BasicProperties::default().with_headers(table));
        assert_eq!(message.headers, []);
        assert_eq!(given, Given { before: Some(3), of_stream: false });
    }

    #[test]
    fn an_encoded_body_says_so() {
        let (message, _) = arrive(BasicProperties::default().with_content_encoding("gzip".into()));
        assert_eq!(message.headers, [Header::new(ENCODING, "gzip")]);
    }

    #[test]
    fn what_does_not_fit_into_a_frame_is_refused() {
        let large =
            |size: usize| Message { headers: vec![Header::new("h", vec![b'x'; size])], ..Message::default() };
        assert!(properties(&large(100 << 10), SystemTime::now()).is_ok());
        assert_eq!(properties(&large(121 << 10), SystemTime::now()).unwrap_err().fault, Fault::TooLarge);
    }

    #[test]
    fn what_is_too_long_for_its_property_is_refused() {
        let message = Message { id: Some("i".repeat(256).into()), ..Message::default() };
        assert_eq!(properties(&message, SystemTime::now()).unwrap_err().fault, Fault::Invalid);
    }
}
