//! Writes message objects.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sidespan_bridge::{Header, Message, Position};

use crate::cloudevents::is_json;

/// A received message as a message object.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Received<'a> {
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(flatten)]
    key: Option<Key<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Pair<'a>>,
    #[serde(flatten)]
    payload: Payload<'a>,
}

impl<'a> Received<'a> {
    /// Describes a message that was found at `topic`.
    pub(in crate::rest) fn new(
        message: &'a Message,
        topic: &'a str,
        position: Option<Position>,
        attempt: Option<u32>,
    ) -> Self {
        Self {
            topic,
            position: position.map(|position| position.to_string()),
            time: message.time.and_then(rfc3339),
            attempt,
            ack_id: None,
            id: message.id.as_deref(),
            key: message.key.as_ref().map(Key::of),
            partition: message.partition,
            reply_to: message.reply_to.as_deref(),
            correlation_id: message.correlation.as_deref(),
            content_type: message.content_type.as_deref(),
            headers: message.headers.iter().map(Pair).collect(),
            payload: Payload::of(message),
        }
    }

    /// Adds what settles it. A message that has no id of its own goes by `id`, the same in every attempt.
    pub(in crate::rest) fn leased(self, id: &'a str, ack_id: &'a str) -> Self {
        Self { id: self.id.or(Some(id)), ack_id: Some(ack_id), ..self }
    }

    /// Writes it as one line of JSON.
    ///
    /// Line breaks can only stand between the tokens of embedded JSON, where a blank is as good.
    pub(in crate::rest) fn line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        for byte in &mut line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        Ok(line)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Key<'a> {
    Key(&'a str),
    KeyBase64(String),
}

impl<'a> Key<'a> {
    fn of(key: &'a Bytes) -> Self {
        std::str::from_utf8(key).map_or_else(|_| Self::KeyBase64(STANDARD.encode(key)), Self::Key)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Payload<'a> {
    Data(&'a RawValue),
    DataBase64(String),
    Text(&'a str),
    Tombstone(bool),
}

impl<'a> Payload<'a> {
    fn of(message: &'a Message) -> Self {
        let Some(payload) = &message.payload else { return Self::Tombstone(true) };
        let Ok(text) = std::str::from_utf8(payload) else {
            return Self::DataBase64(STANDARD.encode(payload));
        };
        let json = message.content_type.as_deref().is_some_and(is_json);
        match serde_json::from_str(text) {
            Ok(data) if json => Self::Data(data),
            Ok(_) | Err(_) => Self::Text(text),
        }
    }
}

/// `[name, value]`; a value that is not text is `{"base64": "..."}`.
#[derive(Debug)]
struct Pair<'a>(&'a Header);

impl Serialize for Pair<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Value<'a> {
            Text(&'a str),
            Bytes { base64: String },
        }
        let Self(Header { name, value }) = self;
        let value = std::str::from_utf8(value)
            .map_or_else(|_| Value::Bytes { base64: STANDARD.encode(value) }, Value::Text);
        (name, value).serialize(serializer)
    }
}

fn rfc3339(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rest::message::parse;

    fn written(message: &Message) -> String {
        String::from_utf8(Received::new(message, "t", None, None).line().unwrap()).unwrap()
    }

    #[test]
    fn a_payload_is_written_as_what_it_is() {
        for (content_type, payload, expected) in [
            (
                Some("application/json"),
                Some(&b"{ \"a\":\n1.10 }"[..]),
                r#"{"topic":"t","content_type":"application/json","data":{ "a": 1.10 }}"#,
            ),
            (
                Some("application/json"),
                Some(b"{broken"),
                r#"{"topic":"t","content_type":"application/json","text":"{broken"}"#,
            ),
            (Some("text/plain"), Some(b"1"), r#"{"topic":"t","content_type":"text/plain","text":"1"}"#),
            (None, Some(b"a\nb"), r#"{"topic":"t","text":"a\nb"}"#),
            (None, Some(b"\xff"), r#"{"topic":"t","data_base64":"/w=="}"#),
            (None, None, r#"{"topic":"t","tombstone":true}"#),
        ] {
            let message = Message {
                content_type: content_type.map(Into::into),
                payload: payload.map(Bytes::copy_from_slice),
                ..Message::default()
            };
            assert_eq!(written(&message), expected);
        }
    }

    #[test]
    fn what_a_message_has_is_written_and_what_is_no_text_is_base64() {
        let message = Message {
            key: Some(Bytes::from_static(b"\xff")),
            headers: vec![Header::new("a", "é"), Header::new("a", &b"\xff"[..])],
            time: Some(SystemTime::UNIX_EPOCH),
            payload: Some(Bytes::new()),
            reply_to: Some("answers".into()),
            correlation: Some("7".into()),
            ..Message::default()
        };
        assert_eq!(
            written(&message),
            r#"{"topic":"t","time":"1970-01-01T00:00:00Z","key_base64":"/w==","reply_to":"answers","correlation_id":"7","headers":[["a","é"],["a",{"base64":"/w=="}]],"text":""}"#
        );
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop_oneof![
            any::<String>().prop_map(Bytes::from),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(
            payload in prop::option::of(bytes()),
            key in prop::option::of(bytes()),
            headers in prop::collection::vec(("[a-z][a-z0-9-]{0,8}", bytes()), 0..4),
            content_type in prop::sample::select(vec!["text/plain", "application/octet-stream"]),
        ) {
            let headers: Vec<Header> =
                headers.into_iter().map(|(name, value)| Header::new(format!("h-{name}"), value)).collect();
            let message =
                Message { payload, key, headers, content_type: Some(content_type.into()), ..Message::default() };
            let line = written(&message).replacen(r#"{"topic":"t","#, "{", 1);
            prop_assert!(!line.contains(['\n', '\r']));
            prop_assert_eq!(parse(&line.into()).unwrap(), message);
        }
    }
}
