//! What subscriptions that are made at run time need: where they are kept, and what they may.

use sidespan_bridge::Secret;

use super::Errors;
use super::brokers::Brokers;
use crate::config::file::{PushRulesFile, RegistryFile};
use crate::config::{Allow, BridgeConfig, RegistryConfig};

/// Reads where they are kept.
pub(super) fn resolve(
    file: &RegistryFile,
    service: &str,
    brokers: &Brokers,
    errors: &mut Errors,
) -> Option<RegistryConfig> {
    let max_subscriptions = file.max_subscriptions.unwrap_or(MOST);
    if max_subscriptions == 0 {
        errors.add("registry.max_subscriptions", "must be at least 1");
    }
    for (index, _) in file.secrets.iter().enumerate().filter(|(_, secret)| matches!(secret, Secret::Text(_)))
    {
        let reason = "must say where the secret is, as {env: NAME} or {file: PATH}: that is what subscriptions refer to";
        errors.add(format!("registry.secrets.{index}"), reason);
    }
    let bridge = brokers.scope(service).bridge("registry.bridge", Some(&file.bridge), errors)?;
    if let Some(BridgeConfig { driver, settings, .. }) = brokers.bridges.get(&bridge)
        && !driver.keeps_registry(settings)
    {
        let reason =
            format!("the bridge {bridge} ({}) cannot keep a registry: name one that can", driver.name());
        errors.add("registry.bridge", reason);
    }
    let secrets = file.secrets.clone();
    Some(RegistryConfig { bridge, name: format!("sidespan-{service}"), max_subscriptions, secrets })
}

/// Reads where they may push messages to.
pub(super) fn allow(file: &PushRulesFile, errors: &mut Errors) -> Allow {
    let Some(listed) = &file.allow else { return Allow::default() };
    Allow::parse(listed).unwrap_or_else(|(index, reason)| {
        errors.add(format!("push.allow.{index}"), reason);
        Allow::default()
    })
}

const MOST: usize = 1000;
