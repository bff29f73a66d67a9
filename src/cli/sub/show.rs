//! A message for people.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::output::visible;

/// What is read of a message object.
#[derive(Deserialize)]
struct Object<'a> {
    topic: Option<String>,
    position: Option<String>,
    time: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(default)]
    headers: Vec<(String, Value)>,
    #[serde(borrow, default, deserialize_with = "some")]
    data: Option<&'a RawValue>,
    text: Option<String>,
    data_base64: Option<String>,
    #[serde(default)]
    tombstone: bool,
}

/// Reads a field that is there, be it `null`.
fn some<'de, D: Deserializer<'de>>(field: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(field).map(Some)
}

/// Writes a message object as a line of where and when, one of headers, and the body.
pub(super) fn message(data: &str) -> String {
    let Ok(object) = serde_json::from_str::<Object<'_>>(data) else { return visible(data) };
    let mut head: Vec<String> = Vec::new();
    head.extend(object.time);
    head.extend(object.topic);
    head.extend(object.position);
    head.extend(object.key.map(|key| format!("key={key}")));
    head.extend(object.key_base64.map(|key| format!("key_base64={key}")));
    let mut lines = vec![head.join("  ")];
    for (name, value) in object.headers {
        let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        lines.push(format!("  {name}: {value}"));
    }
    lines.push(if object.tombstone {
        "  (tombstone)".to_owned()
    } else if let Some(data) = object.data {
        data.get().to_owned()
    } else if let Some(text) = object.text {
        text
    } else {
        let coded = object.data_base64.unwrap_or_default();
        let bytes = STANDARD.decode(&coded).map_or(0, |bytes| bytes.len());
        format!("  ({bytes} bytes that are not text: -o json shows them)")
    });
    visible(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_where_and_when_headers_and_body() {
        let data = r#"{"topic":"orders","position":"0-7","time":"2026-01-31T12:00:00Z","key":"c7","headers":[["a","1"],["b",{"base64":"/w=="}]],"data":{ "id":1.10 }}"#;
        assert_eq!(
            message(data),
            "2026-01-31T12:00:00Z  orders  0-7  key=c7\n  a: 1\n  b: {\"base64\":\"/w==\"}\n{ \"id\":1.10 }"
        );
        assert_eq!(message(r#"{"topic":"t","tombstone":true}"#), "t\n  (tombstone)");
        assert_eq!(message(r#"{"topic":"t","data":null}"#), "t\nnull");
        let bytes = message(r#"{"topic":"t","data_base64":"/w=="}"#);
        assert!(bytes.contains("1 bytes that are not text"), "{bytes}");
        assert_eq!(message(r#"{"topic":"t","text":"\u001b[2J"}"#), "t\n\\u{1b}[2J");
    }
}
