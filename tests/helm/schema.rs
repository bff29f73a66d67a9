//! The schema of `config.file` is Sidespan's own, as far as a chart takes it: what the chart sets is left out, and secrets
//! are referred to.

use std::fs;

use serde_json::{Map, Value, json};

use crate::SIDESPAN;
use crate::tools::{assert_kept, root, run};

#[test]
fn the_charts_know_every_key_of_the_configuration() {
    let own = definitions();
    for chart in ["sidespan", "sidespan-sidecar"] {
        let path = root().join("helm").join(chart).join("values.schema.json");
        let mut schema: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let kept = schema["$defs"].as_object_mut().unwrap();
        kept.retain(|name, _| name != "config" && !name.starts_with("config."));
        kept.extend(own.clone());
        assert_kept(&path, &format!("{}\n", serde_json::to_string_pretty(&schema).unwrap()));
    }
}

/// Returns what `sidespan config schema` says, as definitions named `config` and `config.*`.
fn definitions() -> Map<String, Value> {
    let printed = run(SIDESPAN, &["config", "schema"]).printed();
    let mut root: Value = serde_json::from_str(&printed).unwrap();
    let root = root.as_object_mut().unwrap();
    root.remove("$schema");
    root.remove("title");
    let Some(Value::Object(named)) = root.remove("$defs") else { panic!("there are no definitions") };
    for key in ["listen", "admin", "health", "replicas"] {
        assert!(root["properties"].as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    let mut all = Map::from_iter([("config".to_owned(), Value::Object(root.clone()))]);
    for (name, definition) in named {
        let definition = match name.rsplit('.').next() {
            Some("Secret") => secret(),
            Some("BridgeFile") => bridge(&definition),
            Some(_) | None => definition,
        };
        all.insert(format!("config.{name}"), definition);
    }
    all.values_mut().for_each(adapt);
    all
}

/// No text: that would be in a ConfigMap.
fn secret() -> Value {
    json!({
        "description": "A secret: in an environment variable, or in a file.",
        "type": "object",
        "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

/// By its kind, so that what is said is about that kind alone.
fn bridge(definition: &Value) -> Value {
    let kinds = definition["oneOf"].as_array().unwrap();
    let named = |kind: &Value| kind["properties"]["kind"]["const"].clone();
    let rules = kinds.iter().map(|kind| {
        json!({"if": {"properties": {"kind": {"const": named(kind)}}, "required": ["kind"]}, "then": kind})
    });
    let mut names: Vec<String> = kinds.iter().map(|kind| named(kind).as_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    json!({
        "description": definition["description"],
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": names}},
        "allOf": rules.collect::<Vec<_>>(),
    })
}

/// Has references name what they now mean, and leaves null out, which Helm takes for no value.
fn adapt(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(either)) = object.get_mut("anyOf")
                && let [one, null] = either.as_slice()
                && *null == json!({"type": "null"})
            {
                let one = one.clone();
                object.remove("anyOf");
                object.extend(one.as_object().unwrap().clone());
            }
            if let Some(Value::String(reference)) = object.get_mut("$ref") {
                *reference = reference.replace("#/$defs/", "#/$defs/config.");
            }
            for (key, value) in object.iter_mut().filter(|(key, _)| *key != "$ref") {
                adapt(value);
                if PUBLIC.contains(&key.as_str()) {
                    let_text(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(adapt),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes text besides what refers to it.
fn let_text(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let reference = object.get("$ref").and_then(Value::as_str).unwrap_or_default().to_owned();
    if reference.ends_with("Secret") {
        object.remove("$ref");
        object.insert("anyOf".into(), json!([{"type": "string"}, {"$ref": reference}]));
    }
}

/// What is read as secrets are, and is none.
const PUBLIC: [&str; 3] = ["ca", "certificate", "username"];
