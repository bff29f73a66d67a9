//! Reading the configuration: one file, and the environment over it.

use std::path::Path;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Toml};
use schemars::{Schema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sidespan_bridge::Driver;

use super::{Config, ConfigError, ConfigErrors, File, resolve};

/// Two underscores after the prefix, since a Kubernetes Service named `sidespan` sets
/// `SIDESPAN_PORT` and its like in every pod.
const PREFIX: &str = "SIDESPAN__";

impl Config {
    /// Reads a YAML or TOML file (by its ending) and the environment over it, and checks both.
    /// Connects to nothing.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each by file, key, what was expected and the nearest known key.
    pub fn load(path: &Path, drivers: &[&'static dyn Driver]) -> Result<Self, ConfigErrors> {
        let figment = match path.extension().and_then(|ending| ending.to_str()) {
            Some("toml") => Figment::from(Toml::file_exact(path)),
            Some("yaml" | "yml" | "json") => Figment::from(Yaml::file_exact(path)),
            _ => return Err(one(path, "", "the file's name must end in .yaml, .yml, .json or .toml")),
        };
        if let Err(error) = std::fs::File::open(path) {
            return Err(one(path, "", &format!("cannot read the configuration: {error}")));
        }
        let figment = figment.merge(Env::prefixed(PREFIX).split("__"));
        let file: File = figment.extract().map_err(|error| describe(path, error))?;
        resolve::resolve(file, drivers).map_err(|mut errors| {
            for error in &mut errors.0 {
                error.origin = path.display().to_string();
            }
            errors
        })
    }
}

/// Returns the JSON Schema of the configuration, the settings of every kind of bridge included.
pub fn schema(drivers: &[&'static dyn Driver]) -> Value {
    let mut root = schema_for!(File).to_value();
    let mut kinds = Vec::new();
    for driver in drivers {
        kinds.push(kind_schema(*driver));
    }
    if let Some(bridge) = root.pointer_mut("/$defs/BridgeFile") {
        *bridge = json!({"description": "A broker.", "oneOf": kinds});
    }
    root
}

fn kind_schema(driver: &dyn Driver) -> Value {
    let schema: Schema = driver.schema();
    let mut schema = schema.to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
    }
    if let Some(properties) = schema.pointer_mut("/properties").and_then(Value::as_object_mut) {
        properties.insert("kind".into(), json!({"const": driver.name()}));
        let open = "Takes undeclared topic names as addresses, if this is the default bridge.";
        properties.insert("open".into(), json!({"type": "boolean", "default": false, "description": open}));
    }
    schema
}

/// YAML for figment, by a parser that is kept up; figment's own is not.
struct Yaml;

impl Format for Yaml {
    type Error = yaml_serde::Error;
    const NAME: &'static str = "YAML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        // A file with only comments is an empty configuration, not a null.
        let value: yaml_serde::Value = yaml_serde::from_str(text)?;
        let value =
            if value.is_null() { yaml_serde::Value::Mapping(yaml_serde::Mapping::new()) } else { value };
        yaml_serde::from_value(value)
    }
}

fn one(path: &Path, key: &str, reason: &str) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        origin: path.display().to_string(),
        key: key.into(),
        reason: reason.into(),
    }])
}

fn describe(path: &Path, error: figment::Error) -> ConfigErrors {
    let errors = error.into_iter().map(|error| {
        let mut key = error.path.join(".");
        let from_environment = error.metadata.as_ref().is_some_and(|m| m.name.contains("environment"));
        let origin = if from_environment {
            format!("environment {PREFIX}{}", error.path.join("__").to_uppercase())
        } else {
            path.display().to_string()
        };
        let reason = match &error.kind {
            Kind::UnknownField(field, known) => {
                if error.path.last() != Some(field) {
                    key = if key.is_empty() { field.clone() } else { format!("{key}.{field}") };
                }
                format!("unknown key{}", suggestion(field, known.iter().copied()))
            }
            Kind::InvalidType(found, expected) => format!("expected {expected}, found {found}"),
            Kind::InvalidValue(found, expected) => format!("expected {expected}, found {found}"),
            Kind::MissingField(field) => format!("the key `{field}` is missing"),
            Kind::UnknownVariant(found, known) => {
                let near = suggestion(found, known.iter().copied());
                format!("{found:?} is not one of {}{near}", known.join(", "))
            }
            Kind::Message(_)
            | Kind::InvalidLength(..)
            | Kind::DuplicateField(_)
            | Kind::ISizeOutOfRange(_)
            | Kind::USizeOutOfRange(_)
            | Kind::Unsupported(_)
            | Kind::UnsupportedKey(..) => error.kind.to_string(),
        };
        ConfigError { origin, key, reason }
    });
    ConfigErrors(errors.collect())
}

/// Names the nearest known key, or all of them where none is near.
pub(super) fn suggestion<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3);
    match nearest {
        Some((_, name)) => format!("; did you mean `{name}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; known here: {}", known.join(", ")),
    }
}
