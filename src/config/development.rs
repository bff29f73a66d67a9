//! The configuration of somebody who has none: `sidespan` alone.

use std::ffi::OsString;
use std::path::Path;

use figment::Figment;
use figment::providers::Serialized;
use serde_json::{Map, Value, json};
use sidespan_bridge::{Driver, Pattern};

use super::load::finish;
use super::{Config, ConfigErrors};

/// The subscriptions of development mode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscriptions<'a> {
    /// Topics, and the webhooks that their messages are posted to.
    pub push: &'a [(String, String)],
    /// Topics whose messages are fetched.
    pub pull: &'a [String],
}

impl Config {
    /// Makes the configuration of development mode: the embedded log in `dir`, open to any topic,
    /// and these subscriptions. The environment goes over it, and what is given here goes over the
    /// environment.
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
        subscriptions: Subscriptions<'_>,
        drivers: &[&'static dyn Driver],
    ) -> Result<Self, ConfigErrors> {
        Self::develop(dir, listen, admin, subscriptions, std::env::vars_os(), drivers)
    }

    /// As [`Config::development`], with variables that are given.
    pub(super) fn develop(
        dir: Option<&Path>,
        listen: Option<&str>,
        admin: Option<&str>,
        asked: Subscriptions<'_>,
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
        let pushes = asked.push.iter().map(|(topic, url)| ("push", topic, json!({"url": url})));
        let pulls = asked.pull.iter().map(|topic| ("pull", topic, json!({})));
        for (way, topic, target) in pushes.chain(pulls) {
            let name = free_name(topic, &subscriptions);
            origins.push((format!("subscriptions.{name}"), format!("--{way} {topic}")));
            subscriptions.insert(name, subscription(topic, way, &target));
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
                let asked = origins.iter().find(|(prefix, _)| key.starts_with(prefix.as_str()));
                error.origin = match asked {
                    Some((_, option)) => option.clone(),
                    None if key.starts_with(&format!("bridges.{BRIDGE}")) => "--dir".into(),
                    None => format!("--{key}"),
                };
            }
            errors
        })
    }
}

fn subscription(topic: &str, way: &str, target: &Value) -> Value {
    let mut subscription = json!({"topic": topic, "start": "begin", way: target});
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
