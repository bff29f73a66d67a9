//! The environment over the file: `SIDESPAN__LIMITS__TIMEOUT=5s`.
//!
//! # Why figment's own provider is not used
//!
//! It writes every key in lower case, so that a bridge named `Main`, or `orders-eu` where a shell
//! allows no hyphen, cannot be reached; it drops what it cannot split; and it does not know which
//! variable a value came from.

use std::ffi::OsString;

use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider};

use super::ConfigError;

/// Two underscores after the prefix, since a Kubernetes Service named `sidespan` sets
/// `SIDESPAN_PORT` and its like in every pod.
const PREFIX: &str = "SIDESPAN__";

/// What the environment says, by the path of the key.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides(Vec<Override>);

#[derive(Clone)]
struct Override {
    variable: String,
    path: Vec<String>,
    value: Value,
}

impl std::fmt::Debug for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.variable)
    }
}

impl Overrides {
    /// Name of the source, in figment's metadata.
    pub(super) const NAME: &str = "environment";

    /// Reads variables; `file` has the keys that are there already, whose spelling is taken.
    pub(super) fn read(
        variables: impl Iterator<Item = (OsString, OsString)>,
        file: &Dict,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut overrides = Vec::new();
        let mut errors = Vec::new();
        for (variable, value) in variables {
            let variable = variable.to_string_lossy().into_owned();
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            match one(rest, value, file) {
                Ok((path, value)) => overrides.push(Override { variable, path, value }),
                Err(reason) => {
                    errors.push(ConfigError { origin: named(&variable), key: String::new(), reason })
                }
            }
        }
        // The environment has no order of its own; whole sections go before single keys in them.
        overrides.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.variable.cmp(&b.variable)));
        if errors.is_empty() { Ok(Self(overrides)) } else { Err(errors) }
    }

    /// Names the variable that gave the value at a path, or a part of it.
    pub(super) fn origin(&self, path: &[String]) -> Option<String> {
        let gave = |o: &&Override| path.starts_with(&o.path) || o.path.starts_with(path);
        self.0.iter().rev().find(gave).map(|o| named(&o.variable))
    }

    /// As [`Overrides::origin`], for a path that is written with dots.
    pub(super) fn origin_of(&self, key: &str) -> Option<String> {
        let gave = |o: &&Override| {
            let path = o.path.join(".");
            key.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.iter().rev().find(gave).map(|o| named(&o.variable))
    }
}

impl Provider for Overrides {
    fn metadata(&self) -> Metadata {
        Metadata::named(Self::NAME)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut root = Dict::new();
        for Override { path, value, .. } in &self.0 {
            put(&mut root, path, value.clone());
        }
        Ok(Profile::Default.collect(root))
    }
}

fn one(rest: &str, value: OsString, file: &Dict) -> Result<(Vec<String>, Value), String> {
    let mut path = Vec::new();
    let mut here = Some(file);
    for segment in rest.split("__") {
        if segment.is_empty() {
            return Err(format!(
                "between the levels of a key are two underscores, as in {PREFIX}LIMITS__TIMEOUT"
            ));
        }
        let key = spelling(segment, here)?;
        here = here.and_then(|dict| dict.get(&key)).and_then(Value::as_dict);
        path.push(key);
    }
    let value = value.into_string().map_err(|_| "the value is not UTF-8".to_owned())?;
    if is_misread(&value) {
        return Err(
            "a backslash cannot follow letters beyond ASCII here: write those as \\u and four digits, or \
                    set the key in the file"
                .to_owned(),
        );
    }
    // Infallible: what is nothing else is a string.
    let value = value.parse::<Value>().unwrap_or_else(|never| match never {});
    Ok((path, value))
}

/// Tells whether figment would misread a quoted text: 0.10 takes the count of letters before the first
/// escape for that of bytes, and loses some, or panics.
fn is_misread(value: &str) -> bool {
    let last = value.rfind('\\').unwrap_or(0);
    let quoted = value.trim_start().starts_with(['"', '[', '{']) && value.contains('"');
    quoted && value.get(..last).is_some_and(|before| !before.is_ascii())
}

/// Finds the key that a segment means: one of the file's, in any case and with `_` for what a
/// variable's name cannot hold, else the segment in lower case.
fn spelling(segment: &str, here: Option<&Dict>) -> Result<String, String> {
    let lower = segment.to_lowercase();
    let Some(here) = here else { return Ok(lower) };
    if here.contains_key(&lower) {
        return Ok(lower);
    }
    let plain = |key: &str| -> String {
        let plain = |c: char| if c.is_alphanumeric() { c } else { '_' };
        key.to_lowercase().chars().map(plain).collect()
    };
    let mut meant = here.keys().filter(|key| plain(key) == plain(&lower));
    match (meant.next(), meant.next()) {
        (None, _) => Ok(lower),
        (Some(key), None) => Ok(key.clone()),
        (Some(one), Some(two)) => Err(format!("{segment} may mean `{one}` or `{two}`: set it in the file")),
    }
}

fn put(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            dict.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let entry = dict.entry(key.clone()).or_insert_with(|| Value::from(Dict::new()));
            if !matches!(entry, Value::Dict(..)) {
                *entry = Value::from(Dict::new());
            }
            if let Value::Dict(_, below) = entry {
                put(below, rest, value);
            }
        }
    }
}

fn named(variable: &str) -> String {
    format!("environment variable {variable}")
}
