//! From the name that a caller gives to a broker's address.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use sidespan_bridge::{Bridge, Pattern, Publisher, Topic};

use super::Budget;
use super::meters::Meters;
use crate::config::{CloudEventsMode, Config, Name, TopicConfig, TopicName};
use crate::error::Error;
use crate::telemetry::metrics::TopicMeter;

type Declared = BTreeMap<TopicName, Route>;

/// Every topic that can be published to or read.
#[derive(Debug)]
pub struct Routes {
    /// Replaced as a whole when the configuration changes.
    declared: RwLock<Declared>,
    default: Option<Arc<Outlet>>,
    is_open: bool,
    meters: Option<Meters>,
}

impl Routes {
    /// Resolves the configured topics over the opened bridges.
    pub fn new(config: &Config, outlets: &BTreeMap<Name, Arc<Outlet>>) -> Self {
        let default = config.default_bridge.as_ref();
        let meters = config.telemetry.metrics.then(Meters::default);
        Self {
            declared: RwLock::new(declared(config, outlets, meters.as_ref())),
            default: default.and_then(|name| outlets.get(name).cloned()),
            is_open: default.and_then(|name| config.bridges.get(name)).is_some_and(|bridge| bridge.open),
            meters,
        }
    }

    /// Declares the topics of another configuration instead. What is under way ends where it began.
    pub fn declare(&self, config: &Config, outlets: &BTreeMap<Name, Arc<Outlet>>) {
        let newer = declared(config, outlets, self.meters.as_ref());
        *self.declared.write().unwrap_or_else(PoisonError::into_inner) = newer;
        if let Some(meters) = &self.meters {
            meters.keep(|topic| config.topics.contains_key(topic));
        }
    }

    /// Finds a topic: a declared one, or an address on the open default bridge.
    ///
    /// # Errors
    ///
    /// `UnknownTopic`, or `Invalid` where this cannot be a topic's name.
    pub fn find(&self, name: &str) -> Result<Route, Error> {
        let declared = self.read();
        if let Some(route) = declared.get(name) {
            return Ok(route.clone());
        }
        let name = TopicName::parse(name).map_err(|error| Error::Invalid(error.to_string()))?;
        match self.open() {
            Some(outlet) if !claimed(&declared, name.as_str(), outlet) => {
                let address = Topic::new(name.as_str());
                let (cloudevents, outlet) = (CloudEventsMode::default(), outlet.clone());
                Ok(Route(Arc::new(Target { name, address, cloudevents, outlet, meter: None })))
            }
            Some(_) | None => Err(Error::UnknownTopic(name.as_str().to_owned())),
        }
    }

    /// Returns the declared topics, by name.
    pub fn declared(&self) -> Vec<Route> {
        self.read().values().cloned().collect()
    }

    /// Returns where publishes along a route are counted, if they are.
    pub(super) fn meter(&self, route: &Route) -> Option<Arc<TopicMeter>> {
        match &route.0.meter {
            Some(meter) => Some(meter.clone()),
            None => Some(self.meters.as_ref()?.open(route.name())),
        }
    }

    /// Returns what is counted of topics, if it is.
    pub(super) fn meters(&self) -> Option<&Meters> {
        self.meters.as_ref()
    }

    /// Returns the bridge where undeclared names are addresses.
    pub fn open(&self) -> Option<&Arc<Outlet>> {
        self.default.as_ref().filter(|_| self.is_open)
    }

    /// Tells whether messages of callers go to a bridge: it has a declared topic, or is the default.
    pub fn lead_to(&self, bridge: &Name) -> bool {
        self.default.as_ref().is_some_and(|outlet| outlet.name() == bridge)
            || self.read().values().any(|route| route.outlet().name() == bridge)
    }

    /// Returns the declared topics that a pattern on the open bridge takes in by their addresses, though they
    /// go by other names.
    pub fn within(&self, pattern: &Pattern) -> Vec<Route> {
        let Some(open) = self.open() else { return Vec::new() };
        let is_within = |route: &&Route| {
            Arc::ptr_eq(open, route.outlet())
                && route.name() != route.address().as_str()
                && pattern.matches(route.address())
        };
        self.read().values().filter(is_within).cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Declared> {
        self.declared.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn declared(config: &Config, outlets: &BTreeMap<Name, Arc<Outlet>>, meters: Option<&Meters>) -> Declared {
    let route = |(name, topic): (&TopicName, &TopicConfig)| {
        let outlet = outlets.get(&topic.bridge)?.clone();
        let TopicConfig { address, cloudevents, .. } = topic.clone();
        let meter = meters.map(|meters| meters.declared(name.as_str(), outlet.name()));
        let target = Target { name: name.clone(), address, cloudevents, outlet, meter };
        Some((name.clone(), Route(Arc::new(target))))
    };
    config.topics.iter().filter_map(route).collect()
}

/// A declared topic's address is reached by its name only, so that its rules hold.
fn claimed(declared: &Declared, address: &str, outlet: &Arc<Outlet>) -> bool {
    let same = |route: &Route| Arc::ptr_eq(&route.0.outlet, outlet) && route.address().as_str() == address;
    declared.values().any(same)
}

/// Where messages of one topic go. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Route(Arc<Target>);

#[derive(Debug)]
struct Target {
    name: TopicName,
    address: Topic,
    cloudevents: CloudEventsMode,
    outlet: Arc<Outlet>,
    /// Of a declared topic, where those are counted.
    meter: Option<Arc<TopicMeter>>,
}

impl Route {
    /// Returns the name that callers use.
    pub fn name(&self) -> &str {
        self.0.name.as_str()
    }

    /// Returns the broker's address.
    pub fn address(&self) -> &Topic {
        &self.0.address
    }

    /// Returns how CloudEvents are written to it.
    pub fn cloudevents(&self) -> CloudEventsMode {
        self.0.cloudevents
    }

    /// Returns the broker's side.
    pub fn outlet(&self) -> &Arc<Outlet> {
        &self.0.outlet
    }
}

/// An opened bridge, with what is shared by all who use it.
pub struct Outlet {
    name: Name,
    bridge: Arc<dyn Bridge>,
    publisher: Arc<dyn Publisher>,
    budget: Budget,
}

impl Outlet {
    /// Shares a bridge, within a budget.
    pub fn new(name: Name, bridge: Arc<dyn Bridge>, budget: Budget) -> Self {
        let publisher = bridge.publisher();
        Self { name, bridge, publisher, budget }
    }

    /// Returns the bridge's name in the configuration.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the bridge.
    pub fn bridge(&self) -> &Arc<dyn Bridge> {
        &self.bridge
    }

    /// Returns the one publisher that all share.
    pub fn publisher(&self) -> &Arc<dyn Publisher> {
        &self.publisher
    }

    /// Returns what may be in flight.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("name", &self.name).finish_non_exhaustive()
    }
}
