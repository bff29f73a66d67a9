//! The configuration's JSON Schema, for editors.

use schemars::schema_for;
use serde_json::{Value, json};
use sidespan_bridge::Driver;

use super::File;

/// Returns the JSON Schema of the configuration, the settings of every kind of bridge included.
pub fn schema(drivers: &[&'static dyn Driver]) -> Value {
    let mut root = schema_for!(File).to_value();
    let Some(all) = root.pointer_mut("/$defs").and_then(Value::as_object_mut) else { return root };
    let mut kinds = Vec::new();
    for driver in drivers {
        let mut kind = kind_schema(*driver);
        // References within a schema are to the root: what they name moves there.
        if let Some(Value::Object(own)) = kind.as_object_mut().and_then(|kind| kind.remove("$defs")) {
            all.extend(own);
        }
        kinds.push(kind);
    }
    all.insert("BridgeFile".into(), json!({"description": "A broker.", "oneOf": kinds}));
    root
}

fn kind_schema(driver: &dyn Driver) -> Value {
    let mut schema = driver.schema().to_value();
    set_apart(&mut schema, driver.name());
    let Some(object) = schema.as_object_mut() else { return schema };
    object.remove("$schema");
    let open = "Takes undeclared topic names as addresses; only the default bridge can.";
    if let Some(properties) = object.entry("properties").or_insert_with(|| json!({})).as_object_mut() {
        properties
            .insert("kind".into(), json!({"const": driver.name(), "description": "The kind of broker."}));
        properties.insert("open".into(), json!({"type": "boolean", "default": false, "description": open}));
    }
    if let Some(required) = object.entry("required").or_insert_with(|| json!([])).as_array_mut() {
        required.push(json!("kind"));
    }
    schema
}

/// Puts the kind before the names of its definitions: two kinds may both have a `Retention`.
fn set_apart(schema: &mut Value, kind: &str) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match (key.as_str(), &mut *value) {
                    ("$ref", Value::String(reference)) => {
                        *reference = reference.replace("#/$defs/", &format!("#/$defs/{kind}."));
                    }
                    ("$defs", Value::Object(definitions)) => {
                        let named = std::mem::take(definitions).into_iter();
                        definitions
                            .extend(named.map(|(name, definition)| (format!("{kind}.{name}"), definition)));
                    }
                    _ => {}
                }
                set_apart(value, kind);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| set_apart(item, kind)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
