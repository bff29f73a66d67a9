//! Events as JSON objects (JSON event format 1.0.2).

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sidespan_bridge::Message;

use super::{Attributes, EventError, attribute, is_media_type};

/// Reads one event in structured form. JSON data stay as they were written, and are not copied.
///
/// The message has no id of its own: an event is named by its source *and* its id.
///
/// # Errors
///
/// What makes it no CloudEvent.
pub(super) fn parse(json: &Bytes) -> Result<Message, EventError> {
    let Members(members) = serde_json::from_slice(json)
        .map_err(|error| EventError::Json(error.to_string().chars().take(300).collect()))?;
    let mut attributes = Attributes::default();
    let mut content_type = None;
    let mut data = None;
    for (name, value) in members {
        match name.as_ref() {
            // `null` is the same as not there (JSON event format, 2.2).
            _ if value.get() == "null" && name != "data" => {}
            "data" | "data_base64" if data.is_some() => return Err(EventError::BothData),
            "data" => data = Some(Data::Json(value)),
            "data_base64" => data = Some(Data::Base64(text(&name, value)?)),
            "datacontenttype" if content_type.is_some() => return Err(EventError::Twice(name.into())),
            "datacontenttype" => content_type = Some(media_type(text(&name, value)?)?),
            _ => attributes.set(&name, scalar(&name, value)?)?,
        }
    }
    let key = attributes.find("partitionkey").map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let headers = attributes.finish()?;
    let payload = match data {
        None => Bytes::new(),
        Some(Data::Base64(text)) => STANDARD
            .decode(text)
            .map_err(|_| EventError::value("data_base64", "is not base64 (RFC 4648, with padding)"))?
            .into(),
        Some(Data::Json(value)) => match &content_type {
            None => {
                content_type = Some("application/json".to_owned());
                json.slice_ref(value.get().as_bytes())
            }
            Some(declared) if is_json(declared) => json.slice_ref(value.get().as_bytes()),
            Some(_) if value.get() == "null" => Bytes::new(),
            Some(_) if !value.get().starts_with('"') => return Err(EventError::DataNotText),
            Some(_) => text("data", value)?.into(),
        },
    };
    let content_type = content_type.map(String::into_boxed_str);
    Ok(Message { payload: Some(payload), headers, key, content_type, ..Message::default() })
}

/// Writes a message that is a CloudEvent in structured form, as `application/cloudevents+json`.
///
/// JSON data are embedded as they are, other text as a string, anything else as `data_base64`.
pub(super) fn structured(message: &Message) -> Bytes {
    let mut out = String::with_capacity(message.weight() + 256);
    // Members that are none of the headers', whatever a foreign producer wrote there.
    let mut seen: Vec<String> = ["data", "data_base64"].map(str::to_owned).into();
    seen.extend(message.content_type.as_ref().map(|_| "datacontenttype".to_owned()));
    for header in &message.headers {
        let Some(name) = attribute(&header.name).map(str::to_ascii_lowercase) else { continue };
        if !seen.contains(&name) {
            member(&mut out, &name, &quoted(&String::from_utf8_lossy(&header.value)));
            seen.push(name);
        }
    }
    if let Some(content_type) = &message.content_type {
        member(&mut out, "datacontenttype", &quoted(content_type));
    }
    match message.payload.as_ref().filter(|payload| !payload.is_empty()) {
        None => {}
        Some(payload) => match embedded(payload, message.content_type.as_deref()) {
            Some(data) => member(&mut out, "data", &data),
            None => member(&mut out, "data_base64", &quoted(&STANDARD.encode(payload))),
        },
    }
    out.push('}');
    out.into()
}

/// Returns data that need no base64, as JSON. Without a content type a reader would take `data` for
/// JSON, so bytes of unknown type are never embedded.
fn embedded<'a>(payload: &'a [u8], content_type: Option<&str>) -> Option<Cow<'a, str>> {
    let content_type = content_type?;
    let text = std::str::from_utf8(payload).ok()?;
    if is_json(content_type) {
        return serde_json::from_str::<&RawValue>(text).ok().map(|raw| Cow::Borrowed(raw.get()));
    }
    Some(quoted(text).into())
}

fn member(out: &mut String, name: &str, value: &str) {
    out.push(if out.is_empty() { '{' } else { ',' });
    out.push_str(&quoted(name));
    out.push(':');
    out.push_str(value);
}

fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// Tells whether a media type is JSON, by its name or its suffix.
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

fn media_type(text: String) -> Result<String, EventError> {
    if is_media_type(&text) {
        Ok(text)
    } else {
        Err(EventError::value("datacontenttype", "must be a media type, such as application/json"))
    }
}

fn text(name: &str, value: &RawValue) -> Result<String, EventError> {
    serde_json::from_str(value.get()).map_err(|_| {
        // The grammar knows nothing of pairs, and all else was read by it.
        let is_string = value.get().starts_with('"');
        let reason = if is_string { "must not have half of a surrogate pair" } else { "must be a string" };
        EventError::value(name, reason)
    })
}

/// Strings, booleans and integers are what extensions can be; each has one canonical string. The attributes of
/// the specification are strings.
fn scalar(name: &str, value: &RawValue) -> Result<String, EventError> {
    let written = value.get();
    if written.starts_with('"') {
        return text(name, value);
    }
    let specified = super::REQUIRED.contains(&name) || TEXTS.contains(&name);
    if !specified && (matches!(written, "true" | "false") || written.parse::<i32>().is_ok()) {
        return Ok(written.to_owned());
    }
    let reason =
        if specified { "must be a string" } else { "must be a string, a boolean or a 32-bit integer" };
    Err(EventError::value(name, reason))
}

enum Data<'a> {
    Json(&'a RawValue),
    Base64(String),
}

/// An object's members in order, repeats kept, values as written.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    if members.len() == MOST_MEMBERS {
                        return Err(de::Error::custom("more than 256 attributes"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

const MOST_MEMBERS: usize = 256;
/// Attributes that need not be there, and are strings where they are.
const TEXTS: [&str; 4] = ["dataschema", "partitionkey", "subject", "time"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &'static str) -> Result<Message, EventError> {
        parse(&Bytes::from_static(json.as_bytes()))
    }

    #[test]
    fn json_data_stay_as_they_were_written() {
        let message = read(
            r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","partitionkey":"k","n":7,"b":true,
                "gone":null,"data":{ "b": 1.10, "a": [ ] }}"#,
        )
        .unwrap();
        assert_eq!(message.payload.as_deref(), Some(&br#"{ "b": 1.10, "a": [ ] }"#[..]));
        assert_eq!(message.content_type.as_deref(), Some("application/json"));
        assert_eq!(message.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(message.header("ce-n").map(|v| &v[..]), Some(&b"7"[..]));
        assert_eq!(message.header("ce-b").map(|v| &v[..]), Some(&b"true"[..]));
        assert_eq!(message.header("ce-partitionkey").map(|v| &v[..]), Some(&b"k"[..]));
        assert!(message.header("ce-gone").is_none());
        assert!(message.is_cloud_event());
    }

    #[test]
    fn every_kind_of_data_comes_back_the_same() {
        let cases: [(Option<&str>, &[u8]); 6] = [
            (Some("application/json"), b"{\"a\": 1}"),
            (Some("application/json"), b"{broken"),
            (Some("text/plain"), "ein \"Gruß\"\n".as_bytes()),
            (Some("application/octet-stream"), b"\x00\xff"),
            (Some("application/vnd.x+json; v=1"), b"[1]"),
            (None, b"true"),
        ];
        for (content_type, payload) in cases {
            let mut event = read(r#"{"specversion":"1.0","id":"é","source":"/o","type":"t"}"#).unwrap();
            event.content_type = content_type.map(Into::into);
            event.payload = Some(Bytes::copy_from_slice(payload));
            let again = parse(&structured(&event)).unwrap();
            assert_eq!(again, event, "{content_type:?} {payload:?}");
        }
    }

    #[test]
    fn an_event_without_data_has_an_empty_payload_and_no_data_member() {
        let event = read(r#"{"specversion":"1.0","id":"1","source":"/o","type":"t"}"#).unwrap();
        assert_eq!(event.payload, Some(Bytes::new()));
        let json = structured(&event);
        assert_eq!(json, r#"{"specversion":"1.0","id":"1","source":"/o","type":"t"}"#);
    }

    #[test]
    fn what_is_no_event_is_told_why() {
        let cases = [
            (r#"[]"#, "this is not a CloudEvent in JSON"),
            (r#"{"specversion":"1.0","id":"1","source":"/o"}"#, "needs the attribute `type`"),
            (r#"{"specversion":"1.0","id":1,"source":"/o","type":"t"}"#, "`id` must be a string"),
            (
                r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","subject":false}"#,
                "`subject` must be a string",
            ),
            (r#"{"specversion":"1.0","id":"1","id":"2","source":"/o","type":"t"}"#, "`id` twice"),
            (r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","x":{}}"#, "`x` must be"),
            (r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","x":1.5}"#, "`x` must be"),
            (
                r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","data":1,"data_base64":""}"#,
                "not both",
            ),
            (r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","data_base64":"*"}"#, "base64"),
            (
                r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","datacontenttype":"text/plain","data":{}}"#,
                "must be a string",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","datacontenttype":"text/plain","data":"\ud800"}"#,
                "half of a surrogate pair",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","subject":"\udc00 x"}"#,
                "`subject` must not have half of a surrogate pair",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","datacontenttype":"json"}"#,
                "must be a media type",
            ),
            (r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","Data":1}"#, "no attribute name"),
            (r#"{"specversion":"1.0","id":"1","source":"/o","type":"t","n":2147483648}"#, "32-bit"),
        ];
        for (json, expected) in cases {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
