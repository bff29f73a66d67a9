//! The configuration of somebody who has none: `sidespan` alone.

use std::ffi::OsString;
use std::path::Path;

use figment::Figment;
use figment::providers::Serialized;
use serde_json::{Map, Value, json};
use sidespan_bridge::{Driver, Pattern};

use super::load::finish;
use super::{Config, ConfigErrors};

impl Config {
    /// Makes the configuration of development mode: the embedded log in `dir`, open to any topic,
    /// and a webhook subscription for each `(topic, url)`. The environment goes over it, and what
    /// is given here goes over the environment.
    ///
    /// A subscription's name comes from its topic, and it begins at the beginning, so that what was
    /// published before the webhook was added arrives as well.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, by the option or variable that gave it.
    pub fn development(
        dir: Option<&Path>,
        listen: Option<&str>,
        admin: Option<&str>,
        pushes: &[(String, String)],
        drivers: &[&'static dyn Driver],
    ) -> Result<Self, ConfigErrors> {
        Self::develop(dir, listen, admin, pushes, std::env::vars_os(), drivers)
    }

    /// As [`Config::development`], with variables that are given.
    pub(super) fn develop(
        dir: Option<&Path>,
        listen: Option<&str>,
        admin: Option<&str>,
        pushes: &[(String, String)],
        variables: impl Iterator<Item = (OsString, OsString)>,
        drivers: &[&'static dyn Driver],
    ) -> Result<Self, ConfigErrors> {
        let base = json!({
            "version": 1,
            "service": "sidespan",
            "bridges": {BRIDGE: {"kind": "embedded", "open": true, "dir": DEFAULT_DIR}},
        });
        let mut options = Map::new();
        for (key, given) in [("listen", listen), ("admin", admin)] {
            options.extend(given.map(|given| (key.to_owned(), given.into())));
        }
        if let Some(dir) = dir {
            options.insert("bridges".into(), json!({BRIDGE: {"dir": dir.to_string_lossy()}}));
        }
        let mut subscriptions = Map::new();
        let mut origins = Vec::new();
        for (topic, url) in pushes {
            let name = free_name(topic, &subscriptions);
            origins.push((format!("subscriptions.{name}"), format!("--push {topic}")));
            subscriptions.insert(name, subscription(topic, url));
        }
        options.insert("subscriptions".into(), subscriptions.into());
        let resolved = finish(
            Figment::from(Serialized::defaults(base)),
            Figment::from(Serialized::defaults(Value::from(options))),
            "",
            variables,
            drivers,
        );
        resolved.map(|config| Self { development: true, ..config }).map_err(|mut errors| {
            for error in errors.0.iter_mut().filter(|error| error.origin.is_empty()) {
                let key = std::mem::take(&mut error.key);
                let push = origins.iter().find(|(prefix, _)| key.starts_with(prefix.as_str()));
                error.origin = match push {
                    Some((_, option)) => option.clone(),
                    None if key.starts_with(&format!("bridges.{BRIDGE}")) => "--dir".into(),
                    None => format!("--{key}"),
                };
            }
            errors
        })
    }
}

fn subscription(topic: &str, url: &str) -> Value {
    let mut subscription = json!({"topic": topic, "start": "begin", "push": {"url": url}});
    // The place for dead letters is on the same bridge: a pattern may cover it, and then they
    // would come back.
    if Pattern::parse(topic).is_ok_and(|pattern| pattern.is_wildcard())
        && let Some(keys) = subscription.as_object_mut()
    {
        keys.insert("dead_letter".into(), false.into());
    }
    subscription
}

/// Makes a subscription's name of a topic's: `orders.eu` gives `orders-eu`, and a second one
/// `orders-eu-2`.
fn free_name(topic: &str, taken: &Map<String, Value>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = topic.chars().map(plain).take(90).collect();
    let name = match name.trim_matches('-') {
        "" => "all",
        name => name,
    };
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    // The names that are taken end before the numbers do.
    names.find(|name| !taken.contains_key(name)).unwrap_or_default()
}

const BRIDGE: &str = "local";
const DEFAULT_DIR: &str = "./sidespan-data";
