//! What is counted of each topic. Topics that are not declared are counted apart up to a bound, and together beyond it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Name;
use crate::telemetry::metrics::TopicMeter;
use crate::telemetry::names::OTHER;

/// The meters of topics.
#[derive(Debug, Default)]
pub(super) struct Meters {
    /// By topic, with the bridge that it is on.
    declared: RwLock<BTreeMap<String, (Name, Arc<TopicMeter>)>>,
    open: RwLock<HashMap<Box<str>, Arc<TopicMeter>>>,
    /// Of all undeclared topics beyond the bound.
    other: Arc<TopicMeter>,
}

impl Meters {
    /// Returns the meter of a declared topic: the one that it has, unless it was on another bridge.
    pub(super) fn declared(&self, topic: &str, bridge: &Name) -> Arc<TopicMeter> {
        let mut declared = self.declared.write().unwrap_or_else(PoisonError::into_inner);
        let (at, meter) =
            declared.entry(topic.to_owned()).or_insert_with(|| (bridge.clone(), Arc::default()));
        if at != bridge {
            (*at, *meter) = (bridge.clone(), Arc::default());
        }
        meter.clone()
    }

    /// Forgets declared topics.
    pub(super) fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        let mut declared = self.declared.write().unwrap_or_else(PoisonError::into_inner);
        declared.retain(|topic, _| is_kept(topic));
    }

    /// Returns the meter of an undeclared topic.
    pub(super) fn open(&self, topic: &str) -> Arc<TopicMeter> {
        let find = |open: &HashMap<Box<str>, Arc<TopicMeter>>| match open.get(topic) {
            Some(meter) => Some(meter.clone()),
            None => (open.len() >= MOST_OPEN).then(|| self.other.clone()),
        };
        if let Some(meter) = find(&self.open.read().unwrap_or_else(PoisonError::into_inner)) {
            return meter;
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        find(&open).unwrap_or_else(|| open.entry(topic.into()).or_default().clone())
    }

    /// Shows each declared topic and its bridge, and then each other one, for which there is `None`.
    pub(super) fn each(&self, mut show: impl FnMut(&str, Option<&Name>, &TopicMeter)) {
        for (topic, (bridge, meter)) in &*self.declared.read().unwrap_or_else(PoisonError::into_inner) {
            show(topic, Some(bridge), meter);
        }
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        for (topic, meter) in &*open {
            show(topic, None, meter);
        }
        if open.len() >= MOST_OPEN {
            show(OTHER, None, &self.other);
        }
    }
}

/// How many undeclared topics are told apart.
const MOST_OPEN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undeclared_topics_share_a_meter_beyond_the_bound() {
        let meters = Meters::default();
        for number in 0..10_000 {
            meters.open(&format!("topic-{number}"));
        }
        let mut shown = Vec::new();
        meters.each(|topic, _, _| shown.push(topic.to_owned()));
        assert_eq!(shown.len(), MOST_OPEN + 1);
        assert!(Arc::ptr_eq(&meters.open("topic-9999"), &meters.other));
        assert!(!Arc::ptr_eq(&meters.open("topic-0"), &meters.other));
    }

    #[test]
    fn a_topic_keeps_its_meter_until_it_moves_or_goes() {
        let meters = Meters::default();
        let bridge = |name| Name::parse(name).unwrap();
        let first = meters.declared("orders", &bridge("main"));
        assert!(Arc::ptr_eq(&first, &meters.declared("orders", &bridge("main"))));
        assert!(!Arc::ptr_eq(&first, &meters.declared("orders", &bridge("jobs"))));
        meters.keep(|_| false);
        assert!(!Arc::ptr_eq(&first, &meters.declared("orders", &bridge("main"))));
    }
}
