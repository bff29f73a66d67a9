//! Says what is wrong with a configuration in the words of the person who typed it.
//!
//! # Why values are not repeated
//!
//! Serde's own messages quote what they found. Any value may be a secret that slid into the wrong
//! place, and these messages end up in logs: they name the key and the type that was found.

use figment::Metadata;
use figment::error::{Actual, Kind};
use sidespan_bridge::SettingsError;

use super::ConfigError;
use super::environment::Overrides;

/// Describes what figment could not read.
pub(super) fn explain(origin: &str, overrides: &Overrides, error: figment::Error) -> Vec<ConfigError> {
    error.into_iter().map(|error| explain_one(origin, overrides, &error)).collect()
}

fn explain_one(origin: &str, overrides: &Overrides, error: &figment::Error) -> ConfigError {
    let mut path = error.path.clone();
    let mut reason = match &error.kind {
        Kind::UnknownField(field, known) => {
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            format!("unknown key{}", suggestion(field, known.iter().copied()))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!("expected {expected}, found {}", kind_of(found))
        }
        Kind::MissingField(field) => format!("the key `{field}` is missing"),
        Kind::UnknownVariant(found, known) => {
            format!("{found:?} is not one of {}{}", known.join(", "), near(found, known.iter().copied()))
        }
        Kind::Message(text) => typed(text).unwrap_or_else(|| without_excerpt(text)),
        Kind::InvalidLength(..)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => error.kind.to_string(),
    };
    let set = error.metadata.as_ref().is_none_or(is_environment);
    let variable = overrides.origin(&path).filter(|_| set);
    let wants_text = matches!(&error.kind, Kind::InvalidType(_, expected) if expected.contains("string"));
    if variable.is_some() && wants_text {
        reason.push_str(
            r#"; put double quotes into the value of a text that looks like something else: "8080""#,
        );
    }
    let origin = variable.unwrap_or_else(|| origin.to_owned());
    ConfigError { origin, key: path.join("."), reason }
}

/// Splits what a bridge says about its settings into the key below its section and the reason.
pub(super) fn explain_settings(error: &SettingsError) -> (String, String) {
    let SettingsError { key, reason } = error;
    let mut quoted = reason.split('`').skip(1).step_by(2);
    if reason.starts_with("unknown field")
        && let Some(field) = quoted.next()
    {
        let last = key.rsplit('.').next();
        let key = match last {
            Some(last) if last == field => key.clone(),
            _ if key.is_empty() => field.to_owned(),
            _ => format!("{key}.{field}"),
        };
        return (key, format!("unknown key{}", suggestion(field, quoted)));
    }
    if reason.starts_with("missing field")
        && let Some(field) = quoted.next()
    {
        return (key.clone(), format!("the key `{field}` is missing"));
    }
    (key.clone(), typed(reason).unwrap_or_else(|| reason.clone()))
}

/// Rewrites serde's `invalid type: string "...", expected a map`.
fn typed(text: &str) -> Option<String> {
    let rest = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "))?;
    // The expectation comes last; what was found may itself hold the words.
    let (found, expected) = rest.rsplit_once(", expected ")?;
    Some(format!("expected {expected}, found {}", kind_of_text(found)))
}

/// Names the nearest known key, or all of them where none is near.
pub(super) fn suggestion<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = near(found, known.iter().copied());
    match near.is_empty() {
        false => near,
        true if known.is_empty() => String::new(),
        true => format!("; known here: {}", known.join(", ")),
    }
}

fn near<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let found = found.to_lowercase();
    known
        .map(|name| (strsim::damerau_levenshtein(&found, &name.to_lowercase()), name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// Tells whether a value came from the environment.
pub(super) fn is_environment(metadata: &Metadata) -> bool {
    metadata.name == Overrides::NAME
}

fn kind_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) => "an integer",
        Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "a string",
        Actual::Bytes(_) => "bytes",
        Actual::Unit | Actual::Option => "nothing",
        Actual::Seq => "a list",
        Actual::Map
        | Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant => "a section of keys",
        Actual::Other(_) => "something else",
    }
}

/// As serde's `Unexpected` writes them.
fn kind_of_text(found: &str) -> &'static str {
    const KINDS: [(&str, &str); 9] = [
        ("boolean", "true or false"),
        ("integer", "an integer"),
        ("floating point", "a number"),
        ("character", "a string"),
        ("string", "a string"),
        ("unit value", "nothing"),
        ("null", "nothing"),
        ("sequence", "a list"),
        ("map", "a section of keys"),
    ];
    KINDS.iter().find(|(prefix, _)| found.starts_with(prefix)).map_or("something else", |(_, kind)| kind)
}

/// A parser's message may show the line at fault, secrets included: only the place and the reason
/// are kept, in one line.
fn without_excerpt(text: &str) -> String {
    let is_excerpt = |line: &&str| {
        let rest = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        !rest.trim_start().starts_with('|') && !line.trim().is_empty()
    };
    text.lines().filter(is_excerpt).map(str::trim).collect::<Vec<_>>().join(": ")
}
