//! Subscriptions: what each reads, how, where it goes, and where what nobody accepts goes.

mod target;
mod webhook;

use std::collections::BTreeMap;
use std::time::SystemTime;

use sidespan_bridge::{Guarantee, Order, Pattern, PositionError, Start, Window};

use super::Errors;
use super::brokers::address;
use super::scope::Scope;
use super::server::size;
use crate::config::explain::suggestion;
use crate::config::file::{DeadLetterFile, GuaranteeFile, HeldFile, OrderFile, StartFile, SubscriptionFile};
use crate::config::{BridgeConfig, CloudEventsMode, Name, Subscription, Target, TopicConfig, TopicName};

/// Reads the subscriptions.
pub(super) fn resolve(
    files: BTreeMap<String, SubscriptionFile>,
    scope: &Scope<'_>,
    errors: &mut Errors,
) -> Vec<Subscription> {
    let mut subscriptions: Vec<Subscription> = Vec::new();
    for (name, file) in files {
        let Some(subscription) = scope.subscription(&name, file, errors) else { continue };
        let same =
            |other: &&Subscription| other.bridge == subscription.bridge && other.group == subscription.group;
        if let Some(other) = subscriptions.iter().find(same) {
            let reason = format!(
                "subscription {} has the same group {:?}: each would get a part of the messages only",
                other.name, other.group
            );
            errors.add(format!("subscriptions.{name}.group"), reason);
        }
        subscriptions.push(subscription);
    }
    subscriptions
}

impl Scope<'_> {
    pub(super) fn subscription(
        &self,
        name: &str,
        file: SubscriptionFile,
        errors: &mut Errors,
    ) -> Option<Subscription> {
        let key = format!("subscriptions.{name}");
        let parsed = errors.keep(&key, Name::parse(name));
        let source = self.source(&key, &file, errors);
        let start =
            errors.keep(format!("{key}.start"), file.start.as_ref().map_or(Ok(Start::End), StartFile::start));
        let attempts = file.max_in_flight.unwrap_or(if file.pull.is_some() { 1 } else { 64 });
        let max_held = held(&format!("{key}.max_held"), &file.max_held, attempts, errors);
        // Consumers that fetch have their own say about how much they take.
        let max_in_flight = match (file.max_in_flight, &file.pull) {
            (None, Some(_)) => max_held.messages,
            (Some(_) | None, _) => attempts,
        };
        if max_in_flight == 0 {
            errors.add(format!("{key}.max_in_flight"), "must be at least 1");
        }
        let group = match file.group {
            Some(group) => errors.keep(format!("{key}.group"), group_name(group)),
            None => Some(format!("{}.{name}", self.service)),
        };
        let target = target::target(&key, file.push, file.pull, self.largest_reply, errors);
        let retry = webhook::retry(&format!("{key}.retry"), &file.retry, errors);
        let (bridge, pattern) = source?;
        let dead_letter = self.dead_letter(name, &bridge, &pattern, file.dead_letter.as_ref());
        let dead_letter = errors.keep(format!("{key}.dead_letter"), dead_letter);
        let at_most_once = matches!(file.guarantee, GuaranteeFile::AtMostOnce);
        if at_most_once && matches!(target, Some(Target::Pull(_))) {
            let reason =
                "messages that are fetched are settled by their consumer: leave this out, or use `push`";
            errors.add(format!("{key}.guarantee"), reason);
        }
        let mut subscription = Subscription {
            name: parsed?,
            bridge,
            topic: file.topic,
            pattern,
            group: group?.into(),
            start: start?,
            order: match file.order {
                OrderFile::Key => Order::Key,
                OrderFile::None => Order::None,
                OrderFile::Topic => Order::Topic,
            },
            guarantee: match file.guarantee {
                GuaranteeFile::AtLeastOnce => Guarantee::AtLeastOnce,
                GuaranteeFile::AtMostOnce => Guarantee::AtMostOnce,
            },
            max_in_flight,
            max_held,
            target: target?,
            retry,
            dead_letter: dead_letter?,
        };
        if let Some(BridgeConfig { driver, settings, .. }) = self.bridges.get(&subscription.bridge) {
            let limits = errors.keep(key.as_str(), driver.limits(settings, &subscription.wish()))?;
            if let Some(hold) = limits.longest_hold {
                let fits = webhook::fit(&mut subscription.retry, &file.retry, hold);
                errors.keep(format!("{key}.retry.max_attempts"), fits)?;
            }
        }
        Some(subscription)
    }

    /// Finds what a subscription reads: a declared topic, an address or pattern on the bridge it
    /// names, or one on the default bridge if that is open.
    fn source(&self, key: &str, file: &SubscriptionFile, errors: &mut Errors) -> Option<(Name, Pattern)> {
        let below = format!("{key}.topic");
        if let Some(topic) = self.topics.get(file.topic.as_str()) {
            if file.bridge.as_deref().is_some_and(|bridge| bridge != topic.bridge.as_str()) {
                let reason = format!("the topic {:?} is declared on bridge {}", file.topic, topic.bridge);
                errors.add(format!("{key}.bridge"), reason);
                return None;
            }
            return Some((topic.bridge.clone(), Pattern::exactly(&topic.address)));
        }
        let bridge = self.bridge(&format!("{key}.bridge"), file.bridge.as_deref(), errors)?;
        let open = self.bridges.get(&bridge).is_some_and(|bridge| bridge.open);
        if !open && file.bridge.is_none() {
            let near = suggestion(&file.topic, self.topics.keys().map(TopicName::as_str));
            let reason = format!(
                "there is no topic named {:?}{near}; declare it under `topics`, name its `bridge`, or set \
                 `open: true` on bridge {bridge}",
                file.topic
            );
            errors.add(below, reason);
            return None;
        }
        errors.keep(&below, TopicName::parse(&file.topic))?;
        let pattern = errors.keep(below, Pattern::parse(&file.topic))?;
        Some((bridge, pattern))
    }

    fn dead_letter(
        &self,
        name: &str,
        bridge: &Name,
        pattern: &Pattern,
        file: Option<&DeadLetterFile>,
    ) -> Result<Option<TopicConfig>, String> {
        let named = match file {
            Some(DeadLetterFile::Switch(false)) => return Ok(None),
            Some(DeadLetterFile::Switch(true)) | None => format!("dead.{}.{name}", self.service),
            Some(DeadLetterFile::Topic(topic)) => topic.clone(),
        };
        let place = match self.topics.get(named.as_str()) {
            Some(declared) => declared.clone(),
            None => TopicConfig {
                bridge: bridge.clone(),
                address: address(&named)?,
                cloudevents: CloudEventsMode::default(),
            },
        };
        let stores = |bridge: &BridgeConfig| bridge.driver.stores(&bridge.settings);
        if !self.bridges.get(&place.bridge).is_none_or(stores) {
            return Err(format!(
                "bridge {} stores nothing, and would lose dead letters: name a topic of another bridge, or \
                 `false` to hold messages and go on trying",
                place.bridge
            ));
        }
        if place.bridge == *bridge && pattern.matches(&place.address) {
            return Err(format!(
                "{} is within the subscription's own topic {pattern}, so that dead letters would come back: \
                 name another place, or `false` to hold messages and go on trying",
                place.address
            ));
        }
        Ok(Some(place))
    }
}

impl StartFile {
    /// Reads where it is.
    ///
    /// # Errors
    ///
    /// It is no position, or no time.
    pub fn start(&self) -> Result<Start, String> {
        Ok(match self {
            StartFile::Begin => Start::Begin,
            StartFile::End => Start::End,
            StartFile::Position(text) => {
                let positions: Result<Vec<_>, _> = text.split(',').map(|part| part.trim().parse()).collect();
                Start::Position(positions.map_err(|error: PositionError| format!("{text:?}: {error}"))?)
            }
            StartFile::Time(text) => {
                let time: jiff::Timestamp = text.parse().map_err(|_| {
                    format!("{text:?} is no time: write it as RFC 3339 says, such as 2026-01-31T12:00:00Z")
                })?;
                Start::Time(SystemTime::from(time))
            }
        })
    }
}

fn group_name(group: String) -> Result<String, String> {
    if group.is_empty() || group.len() > 255 || group.chars().any(char::is_control) {
        return Err("must be 1 to 255 bytes without control characters".into());
    }
    Ok(group)
}

fn held(key: &str, file: &HeldFile, max_in_flight: usize, errors: &mut Errors) -> Window {
    let default = Window::default();
    // More in flight than the default holds is clear enough: what is asked for is held.
    let messages = file.messages.unwrap_or(default.messages.max(max_in_flight));
    let held = Window { messages, bytes: size(file.bytes, default.bytes) };
    if held.messages < max_in_flight {
        errors.add(
            format!("{key}.messages"),
            format!("must be at least `max_in_flight`, which is {max_in_flight}"),
        );
    }
    if held.bytes == 0 {
        errors.add(format!("{key}.bytes"), "must be at least 1");
    }
    held
}
