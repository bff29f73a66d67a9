//! Making a stream, and adapting one that is there.
//!
//! Safe is what loses nothing that is stored: more subjects, a longer age, more bytes, a longer
//! memory for idempotency keys. All else is refused, with both values.

use serde_json::{Map, Value, json};
use sidespan_bridge::{Error, Fault, Size, Span};
use tokio::time::Instant;
use tracing::info;

use crate::api::{Api, Refusal};
use crate::settings::StreamSettings;

/// Makes a stream, or adapts the one of this name.
pub(super) async fn sure_of(api: &Api, wanted: &StreamSettings, deadline: Instant) -> Result<(), Error> {
    let name = &wanted.name;
    let info = format!("STREAM.INFO.{name}");
    let found: Result<Value, Refusal> = api.ask(&info, Value::Null, deadline).await;
    let found = match found {
        Ok(found) => found,
        Err(refusal) if refusal.is_missing() => {
            let created: Result<Value, Refusal> =
                api.ask(&format!("STREAM.CREATE.{name}"), Value::Object(config(wanted)), deadline).await;
            match created {
                Ok(_) => {
                    info!(stream = %name, subjects = ?wanted.subjects, "made a stream");
                    return Ok(());
                }
                Err(refusal) if refusal.exists() => api.ask(&info, Value::Null, deadline).await?,
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let Some(Value::Object(mut current)) = found.get("config").cloned() else {
        return Err(Error::new(Fault::Rejected).detail("JetStream told of a stream without its settings"));
    };
    if adapt(&mut current, wanted)? {
        let _: Value = api.ask(&format!("STREAM.UPDATE.{name}"), Value::Object(current), deadline).await?;
        info!(stream = %name, "adapted a stream to the settings");
    }
    Ok(())
}

/// Changes what can be changed safely; tells whether there was something.
fn adapt(current: &mut Map<String, Value>, wanted: &StreamSettings) -> Result<bool, Error> {
    let mut config = config(wanted);
    for key in ["retention", "storage", "num_replicas"] {
        let (is, wants) = (current.get(key), config.get(key));
        if is != wants {
            return Err(conflict(wanted, key, is, wants));
        }
    }
    let mut changed = false;
    for key in ["max_age", "max_bytes", "duplicate_window"] {
        let (is, wants) = (current.get(key).cloned(), config.remove(key));
        let (have, want) = (extent(is.as_ref()), extent(wants.as_ref()));
        if have > want {
            return Err(conflict(wanted, key, is.as_ref(), wants.as_ref()));
        }
        if let (true, Some(wants)) = (have < want, wants) {
            current.insert(key.to_owned(), wants);
            changed = true;
        }
    }
    let subjects = current.entry("subjects").or_insert_with(|| json!([]));
    let Value::Array(subjects) = subjects else { return Ok(changed) };
    for subject in &wanted.subjects {
        if !subjects.iter().any(|known| known == subject) {
            subjects.push(json!(subject));
            changed = true;
        }
    }
    Ok(changed)
}

/// Nothing and less stand for no limit.
fn extent(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_u64).filter(|value| *value > 0).unwrap_or(u64::MAX)
}

fn conflict(wanted: &StreamSettings, key: &str, is: Option<&Value>, wants: Option<&Value>) -> Error {
    let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    Error::new(Fault::Conflict).detail(format!(
        "the stream {} exists with {key} {}, and the settings want {}: change one of them",
        wanted.name,
        show(is),
        show(wants)
    ))
}

fn config(wanted: &StreamSettings) -> Map<String, Value> {
    let nanos = |span: Span| u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX);
    // No stream may remember ids for longer than it keeps messages.
    let window = wanted.max_age.map_or(wanted.duplicate_window, |age| age.min(wanted.duplicate_window));
    let retention = match serde_json::to_value(wanted.retention) {
        Ok(Value::String(name)) => json!(name.replace("work_queue", "workqueue")),
        _ => Value::Null,
    };
    let config = json!({
        "name": wanted.name,
        "subjects": wanted.subjects,
        "num_replicas": wanted.replicas,
        "retention": retention,
        "storage": wanted.storage,
        "max_age": wanted.max_age.map_or(0, nanos),
        "max_bytes": wanted.max_bytes.map_or(json!(-1), |Size(bytes)| json!(bytes)),
        "max_msgs": -1,
        "max_consumers": -1,
        "discard": "old",
        "duplicate_window": nanos(window),
        "allow_direct": true,
    });
    match config {
        Value::Object(config) => config,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(more: &Value) -> StreamSettings {
        let mut keys = json!({"name": "ORDERS", "subjects": ["orders", "orders.>"]});
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(keys).unwrap()
    }

    #[test]
    fn what_is_there_already_is_left_alone() {
        let mut current = config(&wanted(&json!({"max_age": "1h", "retention": "work_queue"})));
        assert!(!adapt(&mut current, &wanted(&json!({"max_age": "1h", "retention": "work_queue"}))).unwrap());
    }

    #[test]
    fn more_subjects_and_a_longer_age_are_safe() {
        let mut current = config(&wanted(&json!({"max_age": "1h", "max_bytes": "1MiB"})));
        current["subjects"] = json!(["orders", "elsewhere"]);
        current.insert("description".into(), json!("kept"));
        assert!(adapt(&mut current, &wanted(&json!({"max_bytes": "2MiB"}))).unwrap());
        assert_eq!(current["subjects"], json!(["orders", "elsewhere", "orders.>"]));
        assert_eq!((&current["max_age"], &current["max_bytes"]), (&json!(0), &json!(2 << 20)));
        assert_eq!(current["description"], "kept");
    }

    #[test]
    fn what_would_lose_messages_is_a_conflict_that_names_both_values() {
        for (is, wants, key) in [
            (json!({}), json!({"max_age": "1h"}), "max_age"),
            (json!({"storage": "file"}), json!({"storage": "memory"}), "storage"),
            (json!({}), json!({"retention": "interest"}), "retention"),
            (json!({"replicas": 3}), json!({"replicas": 1}), "num_replicas"),
        ] {
            let error = adapt(&mut config(&wanted(&is)), &wanted(&wants)).unwrap_err();
            assert_eq!(error.fault, Fault::Conflict);
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
