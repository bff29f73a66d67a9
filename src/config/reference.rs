//! The reference of the configuration, in Markdown: what the schema knows, for people.
//!
//! Every key is a row: its type, its default and its meaning. A default is the schema's own where it has one;
//! else it is the sentence of the description that begins with `Default`, or with `Required`.

mod kind;
mod meaning;

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sidespan_bridge::Driver;

use self::kind::{Below, Kind};
use self::meaning::Meaning;

/// Returns the reference of the configuration, the settings of every kind of bridge included.
pub fn reference(drivers: &[&'static dyn Driver]) -> String {
    let root = super::schema(drivers);
    let none = Map::new();
    let definitions = root.get("$defs").and_then(Value::as_object).unwrap_or(&none);
    let mut page = Page { definitions, text: HEAD.to_owned() };
    page.section(&Below { heading: "All keys".into(), path: String::new(), schema: &root });
    page.text.push_str(VALUES);
    if let Some((_, tls)) = definitions.iter().find(|(name, _)| kind::base(name) == "Tls") {
        page.section(&Below { heading: "TLS".into(), path: "tls.".into(), schema: tls });
    }
    page.text
}

struct Page<'a> {
    definitions: &'a Map<String, Value>,
    text: String,
}

impl<'a> Page<'a> {
    /// Writes a section, and those below it.
    fn section(&mut self, section: &Below<'a>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "\n## {}\n", section.heading);
        if !section.path.is_empty() {
            let _ = writeln!(self.text, "{}\n", Meaning::of(section.schema).text);
        }
        self.text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        let mut below = Vec::new();
        let properties = section.schema.get("properties").and_then(Value::as_object);
        for (key, schema) in properties.into_iter().flatten() {
            let kind = Kind::of(schema, &format!("{}{key}", section.path), self.definitions);
            let meaning = Meaning::of(schema);
            let default = match &kind.fixed {
                Some(_) => "required".to_owned(),
                None => default(section.schema, key, schema, &meaning, &kind),
            };
            let cells = [format!("`{key}`"), kind.words.clone(), default, meaning.with_values(&kind)];
            let _ = writeln!(self.text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
            below.extend(kind.below);
        }
        for section in &below {
            self.section(section);
        }
    }
}

fn default(section: &Value, key: &str, schema: &Value, meaning: &Meaning, kind: &Kind<'_>) -> String {
    let required = section.get("required").and_then(Value::as_array);
    if required.is_some_and(|keys| keys.iter().any(|required| required == key)) {
        return "required".into();
    }
    match schema.get("default") {
        Some(Value::String(text)) => return format!("`{text}`"),
        Some(Value::Array(items)) if items.is_empty() => return "none".into(),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => return format!("`{value}`"),
        Some(Value::Array(_) | Value::Null | Value::Object(_)) | None => {}
    }
    match &meaning.default {
        Some(default) => default.clone(),
        // What is below has defaults of its own, and what there may be many of begins with none.
        None if kind.is_section => "as below".into(),
        None if kind.is_many => "none".into(),
        None => UNTOLD.into(),
    }
}

/// What stands for a default that neither schema nor description tells: a test finds it.
const UNTOLD: &str = "?";

const HEAD: &str = "\
# Configuration

One file, in YAML or TOML. `sidespan validate FILE` reads it without connecting to anything, `sidespan check FILE` also
connects, and `sidespan serve --config FILE` serves by it. An unknown key is an error that names the nearest known one.

The environment goes over the file, with two underscores after the prefix and between levels:
`SIDESPAN__LIMITS__TIMEOUT=5s`. `SIDESPAN_CONFIG` names the file where `--config` is not given.

This page is what `sidespan config reference` prints; `sidespan config schema` prints the same as a JSON Schema, for
editors.
";

const VALUES: &str = "
## Durations

A number with a unit: `250ms`, `5s`, `1m 30s`.

## Sizes

A number of bytes, or a number with a unit: `65536`, `64KiB`, `1MB`. The units are B, kB, MB, GB, KiB, MiB and GiB.

## Secrets

`{ file: PATH }`, `{ env: NAME }`, or the text itself. No error, log or answer shows a secret.
";
