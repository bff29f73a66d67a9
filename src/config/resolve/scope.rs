//! What names stand for, where topics and subscriptions use them.

use std::collections::BTreeMap;

use super::Errors;
use crate::config::explain::suggestion;
use crate::config::{BridgeConfig, Name, TopicConfig, TopicName};

/// What the names in a subscription stand for.
pub(super) struct Scope<'a> {
    pub(super) bridges: &'a BTreeMap<Name, BridgeConfig>,
    pub(super) default_bridge: Option<&'a Name>,
    pub(super) topics: &'a BTreeMap<TopicName, TopicConfig>,
    /// As [`Brokers`](super::brokers::Brokers) has it.
    pub(super) doubtful: bool,
    pub(super) service: &'a str,
    /// What a reply may have, in bytes.
    pub(super) largest_reply: usize,
}

impl Scope<'_> {
    /// Finds a bridge by its name, or the default one; `None` was said.
    pub(super) fn bridge(&self, key: &str, named: Option<&str>, errors: &mut Errors) -> Option<Name> {
        match (named, self.default_bridge) {
            (Some(named), _) => {
                let found = self.bridges.get_key_value(named).map(|(name, _)| name.clone());
                if found.is_none() {
                    errors.add(key, unknown_bridge(named, self.bridges));
                }
                found
            }
            (None, Some(default)) => Some(default.clone()),
            (None, None) => {
                if !self.doubtful {
                    errors.add(key, "the key is missing, and there is no `default_bridge`");
                }
                None
            }
        }
    }
}

pub(super) fn unknown_bridge(named: &str, bridges: &BTreeMap<Name, BridgeConfig>) -> String {
    format!("there is no bridge named {named:?}{}", suggestion(named, bridges.keys().map(Name::as_str)))
}
