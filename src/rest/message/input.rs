//! Reads message objects.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sidespan_bridge::{CE_PREFIX, Message};

use crate::cloudevents::Format;
use crate::error::Error;
use crate::publish::fields::{Fields, check_content_type, check_id, event, set_key};
use crate::rest::base64::base64;

/// Reads a message object. Its `id` names the message and is its idempotency key.
pub(in crate::rest) fn parse(json: &Bytes) -> Result<Message, Error> {
    let object: Object<'_> =
        serde_json::from_slice(json).map_err(|error| Error::Invalid(describe(&error)))?;
    let mut message = Message { partition: object.partition, ..Message::default() };
    if let Some(id) = object.id {
        check_id("`id`", &id)?;
        message.deduplication = Some(id.as_ref().into());
        message.id = Some(id.into());
    }
    match (object.key, object.key_base64) {
        (Some(_), Some(_)) => return Err(Error::Invalid("give `key` or `key_base64`, not both".into())),
        (Some(key), None) => set_key(&mut message, key.into_owned().into())?,
        (None, Some(key)) => set_key(&mut message, base64("`key_base64`", key.as_bytes())?)?,
        (None, None) => {}
    }
    let default_type = match (object.data, object.text, object.data_base64, object.tombstone.unwrap_or(false))
    {
        (Some(Present(data)), None, None, false) => {
            message.payload = Some(json.slice_ref(data.get().as_bytes()));
            Some("application/json")
        }
        (None, Some(text), None, false) => {
            message.payload = Some(match text {
                Cow::Borrowed(text) => json.slice_ref(text.as_bytes()),
                Cow::Owned(text) => text.into(),
            });
            Some("text/plain; charset=utf-8")
        }
        (None, None, Some(data), false) => {
            message.payload = Some(base64("`data_base64`", data.as_bytes())?);
            None
        }
        (None, None, None, true) => None,
        _ => {
            return Err(Error::Invalid(
                "a message has exactly one of `data`, `text`, `data_base64` and `tombstone: true`".into(),
            ));
        }
    };
    if let Some(content_type) = &object.content_type {
        check_content_type(content_type)?;
    }
    message.content_type = object.content_type.as_deref().or(default_type).map(Into::into);
    let mut fields = Fields::default();
    for Pair(name, value) in object.headers {
        let lower = name.to_ascii_lowercase();
        match (lower.strip_prefix(CE_PREFIX), value) {
            // Here attributes are plain text; they are percent-encoded in HTTP headers only.
            (Some(attribute), Text::Plain(value)) => fields.attribute(attribute, value.into_owned())?,
            (Some(_), Text::Base64(_)) => {
                return Err(Error::Invalid(format!(
                    "the CloudEvents attribute {:?} must be text",
                    name.chars().take(80).collect::<String>()
                )));
            }
            (None, Text::Plain(value)) => fields.header(&name, value.into_owned().into())?,
            (None, Text::Base64(value)) => {
                fields.header(&name, base64("a header's value", value.as_bytes())?)?
            }
        }
    }
    fields.finish(&mut message)?;
    match message.content_type.as_deref().and_then(Format::of) {
        Some(format) => event(message, format),
        None => Ok(message),
    }
}

/// serde's text, without the position: that is within the item, and callers know its index.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let told: String = text.get(..end).unwrap_or(&text).chars().take(MOST_TOLD).collect();
    format!("this is no message object: {told}")
}

/// A caller's own field may have a name as long as a message, which needs not come back whole for
/// each message of a batch.
const MOST_TOLD: usize = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {\"key\": \"k\", \"data\": 1}")]
struct Object<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key_base64: Option<Cow<'a, str>>,
    partition: Option<u32>,
    #[serde(borrow)]
    content_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    headers: Vec<Pair<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<Present<'a>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
    tombstone: Option<bool>,
}

/// A value that is there, which includes `null`.
#[derive(Deserialize)]
struct Present<'a>(#[serde(borrow)] &'a RawValue);

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Present<'a>>, D::Error> {
    Present::deserialize(deserializer).map(Some)
}

/// `[name, value]`.
#[derive(Deserialize)]
struct Pair<'a>(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] Text<'a>);

/// A header's value: text, or `{"base64": "..."}` for bytes that are not.
enum Text<'a> {
    Plain(Cow<'a, str>),
    Base64(String),
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header's value: a string, or {\"base64\": \"...\"}")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text::Plain(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text::Plain(Cow::Owned(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text<'de>, A::Error> {
                let expected = || de::Error::custom("expected {\"base64\": \"...\"} as a header's value");
                let (name, value) = map.next_entry::<String, String>()?.ok_or_else(expected)?;
                if name != "base64" || map.next_key::<String>()?.is_some() {
                    return Err(expected());
                }
                Ok(Text::Base64(value))
            }
        }
        deserializer.deserialize_any(Value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<Message, String> {
        parse(&Bytes::copy_from_slice(json.as_bytes())).map_err(|error| error.to_string())
    }

    #[test]
    fn every_field_has_its_place() {
        let message = read(
            r#"{"id":"o-1","key":"k","partition":2,"headers":[["a","1"],["a","é"],["b",{"base64":"/w=="}]],
                "data":{ "n": 1.0 }}"#,
        )
        .unwrap();
        assert_eq!(message.payload.as_deref(), Some(&br#"{ "n": 1.0 }"#[..]));
        assert_eq!(message.content_type.as_deref(), Some("application/json"));
        assert_eq!(message.id, message.deduplication);
        assert_eq!(message.id.as_deref(), Some("o-1"));
        assert_eq!(message.partition, Some(2));
        let values: Vec<&[u8]> = message.headers.iter().map(|header| &header.value[..]).collect();
        assert_eq!(values, [&b"1"[..], "é".as_bytes(), &b"\xff"[..]]);
        assert_eq!(read(r#"{"data":null}"#).unwrap().payload.as_deref(), Some(&b"null"[..]));
        assert_eq!(read(r#"{"tombstone":true}"#).unwrap().payload, None);
        assert_eq!(read(r#"{"text":""}"#).unwrap().payload, Some(Bytes::new()));
    }

    #[test]
    fn a_cloud_event_may_come_as_headers() {
        let event = r#"{"headers":[["ce-specversion","1.0"],["CE-id","ü"],["ce-source","/s"],["ce-type","t"],
                        ["ce-partitionkey","p"]],"text":"x"}"#;
        let message = read(event).unwrap();
        assert!(message.is_cloud_event());
        assert_eq!(message.key.as_deref(), Some(&b"p"[..]));
        assert!(
            read(r#"{"headers":[["ce-id","1"]],"text":"x"}"#).unwrap_err().contains("needs the attribute")
        );
    }

    #[test]
    fn a_cloud_event_may_come_as_the_payload() {
        let message = read(
            r#"{"id":"7","content_type":"application/cloudevents+json","headers":[["a","1"]],
                "data":{"specversion":"1.0","id":"1","source":"/s","type":"t","partitionkey":"p","data":[1]}}"#,
        )
        .unwrap();
        assert!(message.is_cloud_event());
        assert_eq!(message.payload.as_deref(), Some(&b"[1]"[..]));
        assert_eq!((message.id.as_deref(), message.key.as_deref()), (Some("7"), Some(&b"p"[..])));
        assert_eq!(message.headers.last().map(|header| &*header.name), Some("a"));
        let broken = r#"{"content_type":"application/cloudevents+json","data":{"id":"1"}}"#;
        assert!(read(broken).unwrap_err().contains("needs the attribute"));
        let none = r#"{"content_type":"application/cloudevents+json","tombstone":true}"#;
        assert!(read(none).unwrap_err().contains("tombstone"));
    }

    #[test]
    fn what_is_no_message_is_told_why() {
        for (json, expected) in [
            ("1", "expected an object"),
            ("{", "EOF"),
            (r#"{"data":1,"date":2}"#, "unknown field `date`"),
            (r#"{"data":1,"data":2}"#, "duplicate field `data`"),
            (r#"{"id":"1","id":"2","data":1}"#, "duplicate field `id`"),
            (r#"{}"#, "exactly one of"),
            (r#"{"tombstone":false}"#, "exactly one of"),
            (r#"{"data":1,"text":""}"#, "exactly one of"),
            (r#"{"data":1,"tombstone":true}"#, "exactly one of"),
            (r#"{"data_base64":"a"}"#, "`data_base64` is not base64"),
            (r#"{"key":"a","key_base64":"YQ==","data":1}"#, "not both"),
            (r#"{"id":"","data":1}"#, "`id` must be"),
            (r#"{"partition":-1,"data":1}"#, "u32"),
            (r#"{"content_type":"json","data":1}"#, "no media type"),
            (r#"{"headers":[["Nats-Msg-Id","1"]],"data":1}"#, "reserved"),
            (r#"{"headers":[["a",1]],"data":1}"#, "a header's value"),
            (r#"{"headers":[["a"]],"data":1}"#, "this is no message object"),
            (r#"{"headers":[["a",{"base32":""}]],"data":1}"#, "base64"),
            (r#"{"headers":[["a",{"base64":"!"}]],"data":1}"#, "not base64"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_brings_it_down(
            tokens in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "null", "true", "1", " ", "\"data\"", "\"text\"", "\"headers\"",
                    "\"key\"", "\"data_base64\"", "\"base64\"", "\"YQ==\"", "\"\\u0000\"", "\"ce-id\"", "é",
                ]),
                0..24,
            ),
        ) {
            let _ = read(&tokens.concat());
            let _ = Format::Json.read(&Bytes::from(tokens.concat()));
        }
    }
}
