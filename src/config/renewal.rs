//! A configuration that takes another one's place in a running server.

use super::{BridgeConfig, Config, Log, Name};

impl Config {
    /// Returns what of `newer` can be used without a restart, the rest as it is, and the keys that would need
    /// one. Topics and subscriptions on bridges that do not run are left out.
    pub fn renewed(&self, mut newer: Self) -> (Self, Vec<&'static str>) {
        let mut left = Vec::new();
        let mut keep = |key, same: bool| {
            if !same {
                left.push(key);
            }
        };
        keep("service", self.service == newer.service);
        keep("listen", self.listen == newer.listen);
        keep("admin", self.admin == newer.admin);
        keep("health", self.health == newer.health);
        keep("auth", self.auth.is_some() == newer.auth.is_some());
        keep("allowed_hosts", self.allowed_hosts == newer.allowed_hosts);
        keep("allowed_origins", self.allowed_origins == newer.allowed_origins);
        keep("log.format", self.log.format == newer.log.format);
        keep("log.access", self.log.access == newer.log.access);
        keep("telemetry", self.telemetry == newer.telemetry);
        keep("limits", self.limits == newer.limits);
        keep("drain", self.drain == newer.drain);
        keep("replicas", self.replicas == newer.replicas);
        keep("bridges", same_bridges(self, &newer));
        keep("default_bridge", self.default_bridge == newer.default_bridge);
        let place = |config: &Self| config.registry.as_ref().map(|kept| kept.bridge.clone());
        keep("registry.bridge", place(self) == place(&newer));

        let runs = |bridge: &Name| self.bridges.contains_key(bridge);
        newer.topics.retain(|_, topic| runs(&topic.bridge));
        newer.subscriptions.retain(|subscription| {
            let dead_letters = subscription.dead_letter.as_ref();
            runs(&subscription.bridge) && dead_letters.is_none_or(|place| runs(&place.bridge))
        });
        if place(self) != place(&newer) {
            newer.registry.clone_from(&self.registry);
        }
        if self.auth.is_some() != newer.auth.is_some() {
            newer.auth.clone_from(&self.auth);
        }
        let log = Log { level: newer.log.level, ..self.log.clone() };
        // What these say is in use already, and subscriptions that are made at run time go by it.
        let renewed = Self {
            log,
            auth: newer.auth,
            topics: newer.topics,
            subscriptions: newer.subscriptions,
            registry: newer.registry,
            push_allow: newer.push_allow,
            ..self.clone()
        };
        (renewed, left)
    }
}

fn same_bridges(one: &Config, other: &Config) -> bool {
    let same = |(one, other): ((&Name, &BridgeConfig), (&Name, &BridgeConfig))| {
        one.0 == other.0
            && one.1.driver.name() == other.1.driver.name()
            && one.1.settings.keys == other.1.settings.keys
            && one.1.open == other.1.open
    };
    one.bridges.len() == other.bridges.len() && one.bridges.iter().zip(&other.bridges).all(same)
}
