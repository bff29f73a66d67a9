//! Events in protobuf (protobuf event format 1.0, `io.cloudevents.v1.CloudEvent`).
//!
//! Attributes have types there, and here they are their canonical strings: an extension that came as a number
//! goes out as text. The attributes of the specification keep their types, since those are known.
//!
//! Data that are a message of protobuf stand in an `Any`, whose type URL becomes the `dataschema` where the event
//! says none, with the scheme that a type URL is understood to have.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use prost::Message as _;
use prost_types::Any;
use sidespan_bridge::Message;

use super::{Attributes, EventError, attribute, is_media_type};
use crate::proto::cloudevents::CloudEvent;
use crate::proto::cloudevents::cloud_event::cloud_event_attribute_value::Attr;
use crate::proto::cloudevents::cloud_event::{CloudEventAttributeValue, Data};
use crate::proto::fields::Fields;

/// Reads one event. Its bytes are not copied.
///
/// # Errors
///
/// What makes it no CloudEvent.
pub(super) fn parse(body: &Bytes) -> Result<Message, EventError> {
    // Two bytes stand for an attribute that takes a hundred times as much once it is decoded.
    if Fields(body).filter(|(tag, _)| *tag == ATTRIBUTES).count() > MOST_ATTRIBUTES {
        return Err(EventError::Protobuf("more than 256 attributes".into()));
    }
    let event = CloudEvent::decode(body.clone())
        .map_err(|error| EventError::Protobuf(error.to_string().chars().take(300).collect()))?;
    let mut attributes = Attributes::default();
    let required = [
        ("specversion", event.spec_version),
        ("id", event.id),
        ("source", event.source),
        ("type", event.r#type),
    ];
    for (name, value) in required {
        // Here empty and absent are the same.
        if !value.is_empty() {
            attributes.set(name, value)?;
        }
    }
    let mut content_type = None;
    let (payload, schema) = match event.data {
        None => (Bytes::new(), None),
        Some(Data::BinaryData(bytes)) => (bytes, None),
        Some(Data::TextData(text)) => (text.into(), None),
        Some(Data::ProtoData(Any { type_url, value })) => {
            content_type = Some(PROTOBUF.to_owned());
            let scheme = if type_url.contains("://") { "" } else { SCHEME };
            (value.into(), Some((format!("{scheme}{type_url}"), type_url)))
        }
    };
    for (name, value) in event.attributes {
        let value = text(&name, value)?;
        match name.as_str() {
            "datacontenttype" if is_media_type(&value) => content_type = Some(value),
            "datacontenttype" => {
                return Err(EventError::value(&name, "must be a media type, such as application/json"));
            }
            // The format advises to repeat the type URL here, which by itself is no URI.
            "dataschema" if schema.as_ref().is_some_and(|(_, type_url)| *type_url == value) => {}
            _ => attributes.set(&name, value)?,
        }
    }
    if let Some((schema, _)) = schema.filter(|_| attributes.find("dataschema").is_none()) {
        attributes.set("dataschema", schema)?;
    }
    let key = attributes.find("partitionkey").map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let headers = attributes.finish()?;
    let content_type = content_type.map(String::into_boxed_str);
    Ok(Message { payload: Some(payload), headers, key, content_type, ..Message::default() })
}

/// Writes a message that is a CloudEvent.
pub(super) fn write(message: &Message) -> Bytes {
    let mut event = CloudEvent::default();
    for header in message.headers.iter().rev() {
        let Some(name) = attribute(&header.name).map(str::to_ascii_lowercase) else { continue };
        let value = String::from_utf8_lossy(&header.value).into_owned();
        match name.as_str() {
            "specversion" => event.spec_version = value,
            "id" => event.id = value,
            "source" => event.source = value,
            "type" => event.r#type = value,
            _ => insert(&mut event.attributes, name, value),
        }
    }
    let content_type = message.content_type.as_deref();
    if let Some(content_type) = content_type {
        insert(&mut event.attributes, "datacontenttype".into(), content_type.to_owned());
    }
    let payload = message.payload.clone().filter(|payload| !payload.is_empty());
    event.data = payload.map(|payload| data(payload, content_type, message.header("ce-dataschema")));
    event.encode_to_vec().into()
}

fn insert(attributes: &mut BTreeMap<String, CloudEventAttributeValue>, name: String, value: String) {
    let attr = match name.as_str() {
        "dataschema" => Attr::CeUri(value),
        "time" => match value.to_ascii_uppercase().parse::<Timestamp>() {
            Ok(time) => {
                let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
                // Nanoseconds count forwards.
                let (seconds, nanos) =
                    if nanos < 0 { (seconds - 1, nanos + SECOND) } else { (seconds, nanos) };
                Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos })
            }
            Err(_) => Attr::CeString(value),
        },
        _ => Attr::CeString(value),
    };
    attributes.insert(name, CloudEventAttributeValue { attr: Some(attr) });
}

fn data(payload: Bytes, content_type: Option<&str>, schema: Option<&Bytes>) -> Data {
    let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or("").trim();
    let type_url = schema.and_then(|schema| std::str::from_utf8(schema).ok()?.strip_prefix(SCHEME));
    match type_url.filter(|url| url.starts_with(TYPES)) {
        Some(type_url) if essence.eq_ignore_ascii_case(PROTOBUF) => {
            return Data::ProtoData(Any { type_url: type_url.to_owned(), value: payload.into() });
        }
        Some(_) | None => {}
    }
    // JSON goes as bytes: as text the SDK for Go takes it for a string, and encodes it once more.
    let is_text = essence.get(..5).is_some_and(|group| group.eq_ignore_ascii_case("text/"));
    match std::str::from_utf8(&payload) {
        Ok(text) if is_text => Data::TextData(text.to_owned()),
        Ok(_) | Err(_) => Data::BinaryData(payload),
    }
}

/// Returns an attribute's canonical string. Those of the specification have types of their own.
fn text(name: &str, value: CloudEventAttributeValue) -> Result<String, EventError> {
    let typed = |text: String| match name {
        "datacontenttype" | "dataschema" | "partitionkey" | "subject" | "time" => {
            Err(EventError::value(name, "must be a string"))
        }
        _ => Ok(text),
    };
    match value.attr {
        None => Err(EventError::value(name, "has no value")),
        Some(Attr::CeString(text) | Attr::CeUri(text) | Attr::CeUriRef(text)) => Ok(text),
        Some(Attr::CeBoolean(value)) => typed(value.to_string()),
        Some(Attr::CeInteger(value)) => typed(value.to_string()),
        Some(Attr::CeBytes(value)) => typed(STANDARD.encode(value)),
        Some(Attr::CeTimestamp(prost_types::Timestamp { seconds, nanos })) => {
            let time = Timestamp::new(seconds, nanos).ok().filter(|time| (0..=9999).contains(&year(*time)));
            let text =
                time.ok_or_else(|| EventError::value(name, "is no time of the years 0 to 9999"))?.to_string();
            if name == "time" { Ok(text) } else { typed(text) }
        }
    }
}

fn year(time: Timestamp) -> i16 {
    time.to_zoned(jiff::tz::TimeZone::UTC).year()
}

/// `CloudEvent.attributes`.
const ATTRIBUTES: u32 = 5;
const MOST_ATTRIBUTES: usize = 256;
const PROTOBUF: &str = "application/protobuf";
/// What a type URL without a scheme is understood to begin with.
const SCHEME: &str = "https://";
const SECOND: i32 = 1_000_000_000;
/// Where type URLs are, unless somebody keeps types of their own.
const TYPES: &str = "type.googleapis.com/";

#[cfg(test)]
mod tests {
    use sidespan_bridge::Header;

    use super::*;

    fn event(attributes: &[(&str, Attr)]) -> CloudEvent {
        let value = |attr: &Attr| CloudEventAttributeValue { attr: Some(attr.clone()) };
        CloudEvent {
            id: "1".into(),
            source: "/s".into(),
            spec_version: "1.0".into(),
            r#type: "t".into(),
            attributes: attributes.iter().map(|(name, attr)| ((*name).to_owned(), value(attr))).collect(),
            data: None,
        }
    }

    fn read(event: &CloudEvent) -> Result<Message, EventError> {
        parse(&event.encode_to_vec().into())
    }

    #[test]
    fn every_type_of_attribute_is_its_canonical_string() {
        let time = Attr::CeTimestamp(prost_types::Timestamp { seconds: -1, nanos: 500_000_000 });
        let message = read(&event(&[
            ("flag", Attr::CeBoolean(true)),
            ("number", Attr::CeInteger(-7)),
            ("bytes", Attr::CeBytes(vec![0, 255])),
            ("link", Attr::CeUriRef("/a".into())),
            ("dataschema", Attr::CeUri("urn:x:y".into())),
            ("time", time.clone()),
            ("partitionkey", Attr::CeString("é".into())),
        ]))
        .unwrap();
        for (name, value) in [
            ("ce-flag", "true"),
            ("ce-number", "-7"),
            ("ce-bytes", "AP8="),
            ("ce-link", "/a"),
            ("ce-dataschema", "urn:x:y"),
            ("ce-time", "1969-12-31T23:59:59.5Z"),
            ("ce-specversion", "1.0"),
        ] {
            assert_eq!(message.header(name).map(|value| &value[..]), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(message.key, Some("é".into()));
        let again = CloudEvent::decode(write(&message)).unwrap();
        assert_eq!(again.attributes["time"].attr, Some(time));
        assert_eq!(again.attributes["dataschema"].attr, Some(Attr::CeUri("urn:x:y".into())));
    }

    #[test]
    fn data_are_text_bytes_or_a_message() {
        let any = Any { type_url: "type.googleapis.com/shop.Order".into(), value: vec![8, 1] };
        let typed = CloudEvent { data: Some(Data::ProtoData(any.clone())), ..event(&[]) };
        let message = read(&typed).unwrap();
        assert_eq!(message.payload.as_deref(), Some(&[8, 1][..]));
        assert_eq!(message.content_type.as_deref(), Some("application/protobuf"));
        let schema = message.header("ce-dataschema").unwrap();
        assert_eq!(schema, "https://type.googleapis.com/shop.Order");
        assert_eq!(CloudEvent::decode(write(&message)).unwrap().data, Some(Data::ProtoData(any)));

        let repeated = Attr::CeString("type.googleapis.com/shop.Order".into());
        let advised = CloudEvent { data: typed.data, ..event(&[("dataschema", repeated)]) };
        assert_eq!(read(&advised).unwrap(), message);

        let kind = |content_type: &'static str, data: &'static [u8]| {
            let content_type = Some(content_type.into());
            let message = Message { payload: Some(data.into()), content_type, ..read(&event(&[])).unwrap() };
            CloudEvent::decode(write(&message)).unwrap().data
        };
        assert_eq!(kind("Text/Plain", b"a"), Some(Data::TextData("a".into())));
        assert_eq!(kind("application/json; charset=utf-8", b"1"), Some(Data::BinaryData(b"1"[..].into())));
        assert_eq!(kind("text/plain", b"\xff"), Some(Data::BinaryData(b"\xff"[..].into())));
        assert_eq!(kind("application/protobuf", b"\x08"), Some(Data::BinaryData(b"\x08"[..].into())));
        assert_eq!(kind("text/plain", b""), None);
    }

    #[test]
    fn what_is_no_event_is_told_why() {
        let none = CloudEventAttributeValue { attr: None };
        let valueless = CloudEvent { attributes: [("x".to_owned(), none)].into(), ..event(&[]) };
        let far = Attr::CeTimestamp(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
        let many = (0..300).map(|n| format!("a{n}")).collect::<Vec<_>>();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), Attr::CeInteger(1))).collect();
        for (event, expected) in [
            (CloudEvent::default(), "needs the attribute `specversion`"),
            (CloudEvent { id: String::new(), ..event(&[]) }, "needs the attribute `id`"),
            (CloudEvent { spec_version: "0.3".into(), ..event(&[]) }, "must be \"1.0\""),
            (valueless, "`x` has no value"),
            (event(&[("Upper", Attr::CeBoolean(true))]), "no attribute name"),
            (event(&[("id", Attr::CeString("2".into()))]), "`id` twice"),
            (event(&[("subject", Attr::CeInteger(1))]), "`subject` must be a string"),
            (event(&[("time", Attr::CeString("noon".into()))]), "`time` must be a time"),
            (event(&[("time", far)]), "`time` is no time"),
            (event(&[("datacontenttype", Attr::CeString("json".into()))]), "media type"),
            (event(&many), "more than 256 attributes"),
        ] {
            let error = read(&event).unwrap_err().to_string();
            assert!(error.contains(expected), "{event:?}: {error}");
        }
        let broken = parse(&Bytes::from_static(b"{\"id\": 1}")).unwrap_err().to_string();
        assert!(broken.starts_with("this is not a CloudEvent in protobuf"), "{broken}");
    }

    #[test]
    fn of_an_attribute_that_is_there_twice_the_first_counts() {
        let mut message = read(&event(&[("x", Attr::CeString("1".into()))])).unwrap();
        message.headers.push(Header::new("CE-X", "2"));
        let again = CloudEvent::decode(write(&message)).unwrap();
        assert_eq!(again.attributes["x"].attr, Some(Attr::CeString("1".into())));
    }
}
