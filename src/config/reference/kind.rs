//! What a key takes, in words.

use serde_json::{Map, Value};

/// What a key takes.
#[derive(Debug, Default)]
pub(super) struct Kind<'a> {
    /// In words.
    pub(super) words: String,
    /// The sections that it leads to.
    pub(super) below: Vec<Below<'a>>,
    /// Its values, where each has a meaning.
    pub(super) values: Vec<(String, &'a str)>,
    /// It holds keys, which have defaults.
    pub(super) is_section: bool,
    /// There may be any number of what it holds.
    pub(super) is_many: bool,
    /// The one value that it can have.
    pub(super) fixed: Option<&'a Value>,
}

/// A section: what stands above it and before its keys, and its schema.
#[derive(Debug)]
pub(super) struct Below<'a> {
    pub(super) heading: String,
    pub(super) path: String,
    pub(super) schema: &'a Value,
}

impl<'a> Kind<'a> {
    /// Reads the schema of the key at `path`.
    pub(super) fn of(schema: &'a Value, path: &str, definitions: &'a Map<String, Value>) -> Self {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.trim_start_matches("#/$defs/");
            if let Some((_, words)) = SHARED.iter().find(|(shared, _)| *shared == base(name)) {
                return Self { words: (*words).to_owned(), ..Self::default() };
            }
            return definitions.get(name).map(|known| Self::of(known, path, definitions)).unwrap_or_default();
        }
        if let Some(value) = schema.get("const") {
            return Self { words: shown(value), fixed: Some(value), ..Self::default() };
        }
        let options = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        if let Some(options) = options {
            return Self::one_of(options, path, definitions);
        }
        if schema.get("properties").is_some() {
            return Self::section(schema, path, format!("`{path}`"));
        }
        if let Some(items) = schema.get("items") {
            return Self::of(items, &format!("{path}[]"), definitions).many("a list of sections", "list of");
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            let below = Self::of(values, &format!("{path}.<name>"), definitions);
            return below.many("a section for each name", "by name:");
        }
        Self { words: plain(schema), ..Self::default() }
    }

    fn one_of(options: &'a [Value], path: &str, definitions: &'a Map<String, Value>) -> Self {
        let is_null = |option: &&Value| option.get("type").is_some_and(|kind| kind == "null");
        let options: Vec<&Value> = options.iter().filter(|option| !is_null(option)).collect();
        if let [only] = options[..] {
            return Self::of(only, path, definitions);
        }
        let mut all = Self::default();
        let mut words = Vec::new();
        for option in options {
            // The settings of a bridge, which its kind tells apart from others.
            if let Some(kind) = option.pointer("/properties/kind/const") {
                let heading = format!("`{path}`, `kind: {}`", shown(kind).replace('`', ""));
                all.below.extend(Self::section(option, path, heading).below);
                all.is_section = true;
                continue;
            }
            // An object of one key, which is as good as a value.
            let inner =
                option.get("properties").and_then(Value::as_object).and_then(|inner| inner.keys().next());
            let word = match inner {
                Some(key) => format!("`{{{key}: ...}}`"),
                None => Self::of(option, path, definitions).words,
            };
            let is_value = inner.is_some() || option.get("const").is_some();
            if let Some(meaning) = option.get("description").and_then(Value::as_str).filter(|_| is_value) {
                all.values.push((word.clone(), meaning));
            }
            words.push(word);
        }
        all.words = if all.is_section { "a section".to_owned() } else { words.join(", ") };
        all
    }

    fn section(schema: &'a Value, path: &str, heading: String) -> Self {
        let words = format!("[a section](#{})", anchor(&heading));
        let below = vec![Below { heading, path: format!("{path}."), schema }];
        Self { words, below, is_section: true, ..Self::default() }
    }

    fn many(self, sections: &str, others: &str) -> Self {
        let words = match self.below.first() {
            Some(first) if self.below.len() == 1 => format!("[{sections}](#{})", anchor(&first.heading)),
            Some(_) => sections.to_owned(),
            None => format!("{others} {}", self.words),
        };
        Self { words, is_section: false, is_many: true, ..self }
    }
}

/// Returns the name of a definition without the kind of bridge that it is of.
pub(super) fn base(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Returns what a link to a heading names, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("`{value}`"), |text| format!("`{text}`"))
}

fn plain(schema: &Value) -> String {
    let is = |wanted: &str| match schema.get("type") {
        Some(Value::String(kind)) => kind == wanted,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == wanted),
        Some(Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_)) | None => false,
    };
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
    match (bound("minimum"), bound("maximum")) {
        _ if is("boolean") => "`true` or `false`".into(),
        _ if is("string") => "text".into(),
        (Some(least), Some(most)) if least == most => format!("`{least}`"),
        (Some(least), Some(most)) if is("integer") => format!("number, {least} to {most}"),
        (Some(least), None) if is("integer") && least > 0 => format!("number, from {least}"),
        _ => "number".into(),
    }
}

/// What keys of many sections take, and where the page tells of it.
const SHARED: [(&str, &str); 4] = [
    ("Duration", "[duration](#durations)"),
    ("Secret", "[secret](#secrets)"),
    ("Size", "[size](#sizes)"),
    ("Tls", "[section](#tls)"),
];
