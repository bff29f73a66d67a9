//! The topics: puts together what brokers have with what the configuration names.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde::Serialize;
use sidespan_bridge::{Fault, Guarantee, Guarantees, Pattern, Topic, TopicInfo};
use tokio::time::{Instant, timeout_at};

use crate::config::Subscription;
use crate::error::Error;
use crate::publish::{Outlet, Route, Routes};
use crate::security::caller::Caller;

/// A topic, as callers see it.
#[derive(Debug, Serialize)]
pub struct Described {
    /// What to call it.
    pub name: String,
    /// Where the broker has it.
    pub address: String,
    /// The bridge to that broker.
    pub bridge: String,
    /// The configuration names it.
    pub declared: bool,
    /// The broker has it; nobody knows while the broker is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// How many partitions; 1 where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// How many messages are stored, where the broker tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// How many bytes they take at the broker, where it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What holds there; in a list nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarantees: Option<Holding>,
    /// Who reads it, as far as the caller may know; in a list nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<Vec<String>>,
}

/// What holds on a topic.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Holding {
    /// What a receipt is worth: `at-least-once` is stored.
    pub delivery: &'static str,
    /// A message whose idempotency key is known is not stored again.
    pub deduplicates: bool,
    /// A subscription may ask for order.
    pub ordered: bool,
    /// A subscription may begin at the beginning, a time or a position.
    pub start: bool,
    /// A subscription may be moved.
    pub seek: bool,
    /// A request gets its reply.
    pub requests: bool,
}

/// All topics, as far as they are known.
#[derive(Debug)]
pub struct Catalogue {
    /// By name.
    pub topics: BTreeMap<String, Described>,
    /// Bridges that could not be asked.
    pub silent: Vec<Silent>,
    /// Bridges that have more topics than are listed.
    pub truncated: Vec<String>,
}

/// A bridge that could not be asked.
#[derive(Debug, Serialize)]
pub struct Silent {
    /// Its name.
    pub bridge: String,
    /// Why.
    pub detail: String,
}

/// Gathers the topics that a caller may publish to or read, by name, whose names fit the pattern, and the bridges that
/// may have more of them and could not be asked. Each bridge is asked once, all at the same time, and no more than
/// so many are taken of each ([`MOST`]).
pub async fn gather(
    routes: &Routes,
    caller: &Caller,
    pattern: Option<&Pattern>,
    deadline: Instant,
) -> Catalogue {
    let is_wanted =
        |name: &str| caller.may_see(name) && pattern.is_none_or(|it| it.matches(&Topic::new(name)));
    let mut outlets: BTreeMap<&str, &Outlet> = BTreeMap::new();
    let all = routes.declared();
    let declared = || all.iter().filter(|route| is_wanted(route.name()));
    for outlet in declared().map(Route::outlet).chain(routes.open()) {
        outlets.insert(outlet.name().as_str(), outlet);
    }
    let asked = outlets.values().map(|outlet| ask(outlet, None, deadline));
    let mut known: BTreeMap<(&str, String), TopicInfo> = BTreeMap::new();
    let (mut silent, mut truncated) = (Vec::new(), Vec::new());
    let addresses: BTreeSet<(&str, &str)> =
        declared().map(|route| (route.outlet().name().as_str(), route.address().as_str())).collect();
    for (name, answer) in outlets.keys().copied().zip(join_all(asked).await) {
        match answer {
            Ok(infos) => {
                let is_open = routes.open().is_some_and(|open| open.name().as_str() == name);
                let (own, mut others): (Vec<_>, Vec<_>) =
                    infos.into_iter().partition(|info| addresses.contains(&(name, info.topic.as_str())));
                others.retain(|info| is_open && is_wanted(info.topic.as_str()));
                others.sort_unstable_by(|one, other| one.topic.cmp(&other.topic));
                if others.len() > MOST {
                    others.truncate(MOST);
                    truncated.push(name.to_owned());
                }
                let all = own.into_iter().chain(others);
                known.extend(all.map(|info| ((name, info.topic.as_str().to_owned()), info)));
            }
            Err(error) => silent.push(Silent { bridge: name.to_owned(), detail: error.to_string() }),
        }
    }
    let mut topics = BTreeMap::new();
    for route in declared() {
        let bridge = route.outlet().name().as_str();
        let info = known.remove(&(bridge, route.address().as_str().to_owned()));
        let heard = !silent.iter().any(|silent| silent.bridge == bridge);
        topics.insert(route.name().to_owned(), Described::new(route, true, heard, info.as_ref()));
    }
    // What is left has no name of its own: its address is its name, on the open bridge.
    for ((_, address), info) in known {
        if let Ok(route) = routes.find(&address)
            && !topics.contains_key(route.name())
        {
            topics.insert(address, Described::new(&route, false, true, Some(&info)));
        }
    }
    // What else the open bridge has is for those whose rights go beyond what is declared.
    let is_declared = |name: &str| all.iter().any(|route| route.name() == name);
    let open =
        routes.open().filter(|_| caller.may_see_beyond(is_declared)).map(|outlet| outlet.name().as_str());
    silent.retain(|silent| {
        open == Some(&*silent.bridge) || topics.values().any(|topic| topic.bridge == silent.bridge)
    });
    Catalogue { topics, silent, truncated }
}

/// Describes one topic, and which of these subscriptions read it.
///
/// # Errors
///
/// `UnknownTopic`, if nobody declared it and the broker doesn't have it; the broker's own fault.
pub async fn describe(
    routes: &Routes,
    route: &Route,
    readers: impl Iterator<Item = &Subscription>,
    deadline: Instant,
) -> Result<Described, Error> {
    let declared = routes.declared().iter().any(|declared| declared.name() == route.name());
    match ask(route.outlet(), Some(route.address()), deadline).await {
        // An address with a wildcard in it would be asked for as a pattern, and others would answer.
        Ok(infos) => match infos.iter().find(|info| info.topic == *route.address()) {
            None if !declared => Err(Error::UnknownTopic(route.name().to_owned())),
            info => Ok(Described::new(route, declared, true, info).in_full(route, readers)),
        },
        Err(_) if declared => Ok(Described::new(route, declared, false, None).in_full(route, readers)),
        Err(error) => Err(error.into()),
    }
}

impl Described {
    fn new(route: &Route, declared: bool, heard: bool, info: Option<&TopicInfo>) -> Self {
        Self {
            name: route.name().to_owned(),
            address: route.address().as_str().to_owned(),
            bridge: route.outlet().name().to_string(),
            declared,
            exists: heard.then_some(info.is_some()),
            partitions: info.map(|info| info.partitions),
            messages: info.and_then(|info| info.messages),
            bytes: info.and_then(|info| info.bytes),
            guarantees: None,
            subscriptions: None,
        }
    }

    /// Adds what a list leaves out.
    fn in_full<'a>(mut self, route: &Route, readers: impl Iterator<Item = &'a Subscription>) -> Self {
        let reads =
            |it: &&Subscription| it.bridge == *route.outlet().name() && it.pattern.matches(route.address());
        let mut names: Vec<String> = readers.filter(reads).map(|it| it.name.to_string()).collect();
        names.sort_unstable();
        self.subscriptions = Some(names);
        self.guarantees = Some(Holding::new(route.outlet().bridge().guarantees()));
        self
    }
}

impl Holding {
    fn new(Guarantees { delivery, deduplicates, ordered, start, seek, requests }: Guarantees) -> Self {
        let delivery = match delivery {
            Guarantee::AtLeastOnce => AT_LEAST_ONCE,
            Guarantee::AtMostOnce => "at-most-once",
        };
        Self { delivery, deduplicates, ordered, start, seek, requests }
    }
}

async fn ask(
    outlet: &Outlet,
    address: Option<&Topic>,
    deadline: Instant,
) -> Result<Vec<TopicInfo>, sidespan_bridge::Error> {
    let pattern = address.map_or_else(everything, Pattern::exactly);
    let silent =
        || sidespan_bridge::Error::new(Fault::Unavailable).detail("the broker did not answer in time");
    let answer = timeout_at(deadline, outlet.bridge().topics(&pattern, deadline)).await;
    answer.unwrap_or_else(|_| Err(silent()))
}

#[expect(clippy::expect_used, reason = "`>` alone is a pattern")]
fn everything() -> Pattern {
    Pattern::parse(">").expect("the pattern of everything")
}

/// What the guarantee of a stored message is called.
pub const AT_LEAST_ONCE: &str = "at-least-once";
/// Topics that a bridge is taken to have beyond what the configuration names: a pattern that fits all is bounded.
pub const MOST: usize = 10_000;
