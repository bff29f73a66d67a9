//! Events in structured form: one body holds attributes and data, and its content type says so.
//!
//! What is published in this form is an event as any: [`Format::read`] makes a message of it. Foreign
//! producers write it to the brokers too, and there it is opened as it is received ([`opened`]), so that
//! every door shows an event in the same way whichever form it came in. A topic or a webhook that is to
//! have the form gets it by [`written`].

use std::borrow::Cow;

use bytes::Bytes;
use sidespan_bridge::{CE_PREFIX, Message};

use super::{BATCH, EventError, json, protobuf};
use crate::config::CloudEventsMode;

/// A format in which one body holds a whole event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The JSON event format.
    Json,
    /// The protobuf event format.
    Protobuf,
}

impl Format {
    /// Returns the format that a content type stands for, if it stands for one.
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or("").trim();
        [Self::Json, Self::Protobuf]
            .into_iter()
            .find(|format| essence.eq_ignore_ascii_case(format.media_type()))
    }

    /// Returns its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/cloudevents+json",
            Self::Protobuf => "application/cloudevents+protobuf",
        }
    }

    /// Reads an event. The message has no id of its own: an event is named by its source *and* its id.
    ///
    /// # Errors
    ///
    /// What makes it no CloudEvent.
    pub fn read(self, body: &Bytes) -> Result<Message, EventError> {
        match self {
            Self::Json => json::parse(body),
            Self::Protobuf => protobuf::parse(body),
        }
    }

    /// Writes a message that is an event.
    pub fn write(self, event: &Message) -> Bytes {
        match self {
            Self::Json => json::structured(event),
            Self::Protobuf => protobuf::write(event),
        }
    }
}

/// Returns a received message as the event that it is, where it is one and came in another way than events
/// are shown: in structured form, or with a `partitionkey` that its broker does not know as the key.
///
/// What calls itself an event and is none stays as it came.
pub fn opened(message: &Message) -> Option<Message> {
    match message.content_type.as_deref().and_then(Format::of) {
        Some(format) => {
            let event = format.read(message.payload.as_ref()?).ok()?;
            // The attributes may stand beside the body as well; those within count.
            let beside = message.headers.iter().filter(|header| attribute(&header.name).is_none());
            Some(Message {
                headers: event.headers.into_iter().chain(beside.cloned()).collect(),
                key: message.key.clone().or(event.key),
                payload: event.payload,
                content_type: event.content_type,
                ..message.clone()
            })
        }
        None if message.key.is_none() && message.is_cloud_event() => {
            let key = message.header("ce-partitionkey")?.clone();
            Some(Message { key: Some(key), ..message.clone() })
        }
        None => None,
    }
}

/// Writes a message in the form that is asked for; one that is no event stays as it is.
pub fn written(message: &Message, mode: CloudEventsMode) -> Cow<'_, Message> {
    if mode == CloudEventsMode::Binary || !message.is_cloud_event() || message.payload.is_none() {
        return Cow::Borrowed(message);
    }
    let whole = |format: Format| (format.write(message), format.media_type());
    let (payload, media_type) = match mode {
        CloudEventsMode::Batched => {
            let (event, _) = whole(Format::Json);
            (Bytes::from([&b"["[..], &event[..], &b"]"[..]].concat()), BATCH)
        }
        CloudEventsMode::Binary => return Cow::Borrowed(message),
        CloudEventsMode::Protobuf => whole(Format::Protobuf),
        CloudEventsMode::Structured => whole(Format::Json),
    };
    let beside = message.headers.iter().filter(|header| attribute(&header.name).is_none());
    Cow::Owned(Message {
        payload: Some(payload),
        headers: beside.cloned().collect(),
        content_type: Some(media_type.into()),
        ..message.clone()
    })
}

/// Returns the attribute that a header holds, by its bare name.
pub fn attribute(header: &str) -> Option<&str> {
    let (prefix, attribute) = header.split_at_checked(CE_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(CE_PREFIX).then_some(attribute)
}

#[cfg(test)]
mod tests {
    use sidespan_bridge::Header;

    use super::*;

    fn event() -> Message {
        let attributes = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("ce-partitionkey", "c-7"),
        ];
        Message {
            payload: Some("{\"a\": 1}".into()),
            content_type: Some("application/json".into()),
            key: Some("c-7".into()),
            id: Some("own".into()),
            reply_to: Some("answers".into()),
            headers: attributes
                .into_iter()
                .chain([("color", "red")])
                .map(|(name, value)| Header::new(name, value))
                .collect(),
            ..Message::default()
        }
    }

    #[test]
    fn an_event_that_was_written_in_one_body_is_the_same_once_it_is_opened() {
        for (mode, media_type) in [
            (CloudEventsMode::Structured, "application/cloudevents+json"),
            (CloudEventsMode::Protobuf, "application/cloudevents+protobuf"),
        ] {
            let event = event();
            let body = written(&event, mode);
            assert_eq!(body.content_type.as_deref(), Some(media_type));
            assert_eq!(body.headers, [Header::new("color", "red")]);
            assert_eq!(opened(&body), Some(event.clone()));
        }
        assert_eq!(*written(&event(), CloudEventsMode::Binary), event());
        assert_eq!(opened(&event()), None, "it is as it is shown");
    }

    #[test]
    fn attributes_beside_the_body_are_not_those_of_the_event() {
        let mut body = written(&event(), CloudEventsMode::Structured).into_owned();
        body.content_type = Some("Application/CloudEvents+JSON; charset=UTF-8".into());
        body.headers.insert(0, Header::new("Ce-Id", "2"));
        assert_eq!(opened(&body), Some(event()));
    }

    #[test]
    fn a_partition_key_is_the_key_where_there_is_none() {
        let keyless = Message { key: None, ..event() };
        assert_eq!(opened(&keyless), Some(event()));
        let body = written(&keyless, CloudEventsMode::Structured).into_owned();
        assert_eq!(opened(&body), Some(event()));
        let other = Message { key: Some("other".into()), ..body };
        assert_eq!(opened(&other).unwrap().key, Some("other".into()));
    }

    #[test]
    fn what_is_no_event_stays_as_it_is() {
        let plain = Message { headers: vec![Header::new("ce-id", "1")], ..event() };
        assert_eq!(*written(&plain, CloudEventsMode::Structured), plain);
        let tombstone = Message { payload: None, ..event() };
        assert_eq!(*written(&tombstone, CloudEventsMode::Structured), tombstone);
        for body in ["{}", "", "\u{feff}"] {
            let content_type = Some("application/cloudevents+json".into());
            let message = Message { payload: Some(body.into()), content_type, ..Message::default() };
            assert_eq!(opened(&message), None, "{body}");
        }
        let batch = Some("application/cloudevents-batch+json".into());
        assert_eq!(opened(&Message { content_type: batch, ..Message::default() }), None);
    }
}
