//! An event as it is compared: attributes as text, data as what it means.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use sidespan_test_support::Received;

/// An event, wherever it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    attributes: BTreeMap<String, String>,
    data: Vec<u8>,
    /// As the file has it.
    json: String,
}

/// The events of `events.json`.
pub(crate) fn events() -> Vec<Event> {
    let all: Vec<Value> = serde_json::from_str(include_str!("events.json")).unwrap();
    all.iter().map(Event::written).collect()
}

impl Event {
    fn written(json: &Value) -> Self {
        let mut members = json.as_object().unwrap().clone();
        let data = match (members.remove("data"), members.remove("data_base64")) {
            (None, None) => Vec::new(),
            (None, Some(encoded)) => STANDARD.decode(encoded.as_str().unwrap()).unwrap(),
            (Some(Value::String(text)), _) => text.into_bytes(),
            (Some(data), _) => data.to_string().into_bytes(),
        };
        Self { attributes: attributes(&members), data, json: json.to_string() }
    }

    /// Reads what a webhook was sent, in binary mode.
    pub(crate) fn pushed(request: &Received) -> Self {
        let mut attributes = BTreeMap::new();
        for (name, value) in &request.headers {
            if let Some(name) = name.as_str().strip_prefix("ce-") {
                let value = percent_decode_str(value.to_str().unwrap()).decode_utf8().unwrap();
                attributes.insert(name.to_owned(), moment(name, &value));
            }
        }
        if let Some(content_type) = request.headers.get("content-type") {
            attributes.insert("datacontenttype".into(), content_type.to_str().unwrap().into());
        }
        Self { attributes, data: request.body.to_vec(), json: String::new() }
    }

    /// Reads what an SDK says it has read.
    pub(crate) fn told(line: &Value) -> Self {
        let data = line["data"].as_str().map(|data| STANDARD.decode(data).unwrap());
        let attributes = attributes(line["attributes"].as_object().unwrap());
        Self { attributes, data: data.unwrap_or_default(), json: String::new() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.attributes["id"]
    }

    /// Returns an event of the file as it stands there.
    pub(crate) fn json(&self) -> &str {
        &self.json
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        let is_json = self.attributes.get("datacontenttype").is_some_and(|kind| kind.contains("json"));
        let value = |data: &[u8]| serde_json::from_slice::<Value>(data).ok();
        let same = if is_json { value(&self.data) == value(&other.data) } else { self.data == other.data };
        same && self.attributes == other.attributes
    }
}

fn attributes(members: &serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    members.iter().map(|(name, value)| (name.clone(), moment(name, &text(value)))).collect()
}

/// Times are written in more than one way.
fn moment(name: &str, value: &str) -> String {
    if name != "time" {
        return value.to_owned();
    }
    value.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{value}: {error}")).to_string()
}
