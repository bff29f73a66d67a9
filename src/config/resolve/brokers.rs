//! Bridges and topics.

use std::collections::BTreeMap;

use serde_json::Value;
use sidespan_bridge::{Driver, Pattern, Settings, Topic};

use super::Errors;
use super::scope::{Scope, unknown_bridge};
use crate::config::explain::{explain_settings, suggestion};
use crate::config::file::{BridgeFile, TopicFile};
use crate::config::{BridgeConfig, CloudEventsMode, File, Name, TopicConfig, TopicName};

/// The bridges and topics that have names.
pub(super) struct Brokers {
    pub(super) bridges: BTreeMap<Name, BridgeConfig>,
    pub(super) default_bridge: Option<Name>,
    pub(super) topics: BTreeMap<TopicName, TopicConfig>,
    /// What is wrong with bridges is said; that a default is missing would only follow from it.
    doubtful: bool,
}

/// Reads bridges and topics.
pub(super) fn resolve(
    file: &File,
    service: &str,
    drivers: &[&'static dyn Driver],
    errors: &mut Errors,
) -> Brokers {
    let bridges = bridges(&file.bridges, service, drivers, errors);
    let default_bridge = default_bridge(file, &bridges, errors);
    let doubtful = file.default_bridge.is_some() || bridges.len() < 2;
    let mut brokers = Brokers { bridges, default_bridge, topics: BTreeMap::new(), doubtful };
    for (name, topic) in &file.topics {
        brokers.declare(name, topic, errors);
    }
    brokers
}

impl Brokers {
    /// Returns what subscriptions are read by.
    pub(super) fn scope<'a>(&'a self, service: &'a str) -> Scope<'a> {
        Scope {
            bridges: &self.bridges,
            default_bridge: self.default_bridge.as_ref(),
            topics: &self.topics,
            doubtful: self.doubtful,
            service,
            largest_reply: 0,
        }
    }

    fn declare(&mut self, name: &str, file: &TopicFile, errors: &mut Errors) {
        let key = format!("topics.{name}");
        let parsed = errors.keep(&key, TopicName::parse(name));
        let bridge = self.scope("").bridge(&format!("{key}.bridge"), file.bridge.as_deref(), errors);
        if file.cloudevents == CloudEventsMode::Batched {
            let reason = "brokers have no batches: use binary, structured or protobuf";
            errors.add(format!("{key}.cloudevents"), reason);
        }
        let below = if file.address.is_some() { format!("{key}.address") } else { key };
        let address = errors.keep(below, address(file.address.as_deref().unwrap_or(name)));
        if let (Some(parsed), Some(bridge), Some(address)) = (parsed, bridge, address) {
            self.topics.insert(parsed, TopicConfig { bridge, address, cloudevents: file.cloudevents });
        }
    }
}

/// Reads the address of one topic: what a pattern could match is no address.
pub(super) fn address(text: &str) -> Result<Topic, String> {
    let name = TopicName::parse(text).map_err(|error| error.to_string())?;
    let topic = Topic::new(name.as_str());
    if Pattern::exactly(&topic).is_wildcard() {
        return Err(format!(
            "{text:?} stands for many topics, and this must be one: wildcards belong in a subscription's `topic`"
        ));
    }
    Ok(topic)
}

fn bridges(
    files: &BTreeMap<String, BridgeFile>,
    service: &str,
    drivers: &[&'static dyn Driver],
    errors: &mut Errors,
) -> BTreeMap<Name, BridgeConfig> {
    let mut bridges = BTreeMap::new();
    if files.is_empty() {
        let reason =
            "there is no bridge: name at least one broker, such as `main: {kind: embedded, dir: ./data}`";
        errors.add("bridges", reason);
    }
    for (name, file) in files {
        let key = format!("bridges.{name}");
        let parsed = errors.keep(&key, Name::parse(name));
        let Some(driver) = drivers.iter().copied().find(|driver| driver.name() == file.kind) else {
            let near = suggestion(&file.kind, drivers.iter().map(|driver| driver.name()));
            errors.add(format!("{key}.kind"), format!("unknown kind {:?}{near}", file.kind));
            continue;
        };
        let settings = Settings::new(service, Value::Object(file.keys.clone())).named(name.as_str());
        if let Err(error) = driver.check(&settings) {
            let (below, reason) = explain_settings(&error);
            let dot = if below.is_empty() { "" } else { "." };
            errors.add(format!("{key}{dot}{below}"), reason);
        }
        if let Some(parsed) = parsed {
            bridges.insert(parsed, BridgeConfig { driver, settings, open: file.open });
        }
    }
    bridges
}

fn default_bridge(file: &File, bridges: &BTreeMap<Name, BridgeConfig>, errors: &mut Errors) -> Option<Name> {
    let open = |name: &&Name| bridges.get(*name).is_some_and(|bridge| bridge.open);
    let Some(named) = file.default_bridge.as_deref() else {
        // A bridge that was refused counts: what is wrong with it is said, and nothing follows.
        if file.bridges.len() > 1 && bridges.keys().any(|name| open(&name)) {
            let reason = "the key is missing: with several bridges, say which one takes undeclared topics";
            errors.add("default_bridge", reason);
        }
        return bridges.keys().next().filter(|_| file.bridges.len() == 1).cloned();
    };
    let found = bridges.get_key_value(named).map(|(name, _)| name.clone());
    if found.is_none() && !file.bridges.contains_key(named) {
        errors.add("default_bridge", unknown_bridge(named, bridges));
    }
    for other in bridges.keys().filter(open).filter(|name| name.as_str() != named) {
        let reason = format!("has no effect: undeclared topics go to the default bridge, which is {named}");
        errors.add(format!("bridges.{other}.open"), reason);
    }
    found
}
